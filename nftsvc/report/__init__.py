"""What people and their CI read: values in, text out. Nothing is decided here.

One module for each thing that is told (problems, summary, explanation, comparison, golden, lint), one for each format
that others read (github, junit, markdown, sarif).
"""
