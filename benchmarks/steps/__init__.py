"""The benchmark's steps: each has something measured by processes of its own and takes the outcome into the results."""
