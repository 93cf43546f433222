"""Marks for anybody's q1_solution.py and q2_solution.py, with reasons. README.md shows how to run it."""
