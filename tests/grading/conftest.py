"""One worker for all gradings in this process: starting one takes as long as importing PyTorch."""

import os

import pytest

from grading.grading import Grader

collect_ignore_glob = [] if hasattr(os, "fork") else ["test_*.py"]  # nothing is graded there


@pytest.fixture(scope="session")
def grader():
    with Grader() as grader:
        yield grader
