"""One test for each check: a mark lost is a failed test."""

import pytest

from grading.checks import CHECKS


@pytest.mark.parametrize("check", [check for check in CHECKS if check.marks], ids=lambda check: check.name)
def test_graded(check, grades):
    (sentence,) = [row.sentence for row in grades.rows if row[:3] == check[:3]]
    if sentence:
        pytest.fail(sentence, pytrace=False)
