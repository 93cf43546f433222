"""`pytest tests/graded --submission DIR`: the marks of grading/ with each check as a test."""
