"""One test for each check: a mark lost is a failed test."""

import pytest

from grading.checks import CHECKS


@pytest.mark.parametrize("check", [check for check in CHECKS if check.marks], ids=lambda check: check.name)
def test_graded(check, grades):
    if grades.lost[check.name]:
        pytest.fail(grades.lost[check.name], pytrace=False)
