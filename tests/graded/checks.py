"""All checks in the order of the assignment, 28 marks together."""

from . import checks_q1, checks_q2

CHECKS = checks_q1.CHECKS + checks_q2.CHECKS
