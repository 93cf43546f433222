"""The answers to the assignment as one page: `python -m report`."""
