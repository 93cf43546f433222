"""One worker for all gradings in this process: starting one takes as long as importing PyTorch."""

import os

import pytest

from grading.grading import Grader
from grading.sessions import NO_FORK


@pytest.fixture(autouse=True)
def only_where_grading_works():
    if not hasattr(os, "fork"):
        pytest.skip(NO_FORK)


@pytest.fixture(scope="session")
def grader():
    with Grader() as grader:
        yield grader
