"""All checks in the order of the assignment, 28 marks together."""

from . import checks_q1, checks_q2

CHECKS = checks_q1.CHECKS + checks_q2.CHECKS
FILES = sorted({check.file for check in CHECKS})


def chosen(questions):
    """The checks of the questions that a text like "1,2.4" names; ValueError for one that does not exist."""
    asked = [part.strip() for part in questions.split(",")]
    known = {name for check in CHECKS for name in (check.question[1], check.question[1:])}
    for part in asked:
        if part not in known:
            raise ValueError(f"--questions: there is no question {part!r}, only {', '.join(sorted(known))}")
    return [check for check in CHECKS if check.question[1] in asked or check.question[1:] in asked]
