"""What people and their CI read: values in, text out. Nothing is decided here.

One module for each thing that is told (problems, summary, explanation), one for each format that others read (github,
junit, markdown).
"""

from nftsvc.report.explanation import explanation_json, print_explanation
from nftsvc.report.problems import print_line, print_problems
from nftsvc.report.summary import bars, change_summary, family_names, print_input_summary, service_table

__all__ = [
    "bars",
    "change_summary",
    "explanation_json",
    "family_names",
    "print_explanation",
    "print_input_summary",
    "print_line",
    "print_problems",
    "service_table",
]
