"""The options of the graded suite, as a plugin that pytest loads before it looks at the folders on its command line.

Were they defined in conftest.py, pytest would not yet know at that moment that what follows --submission is no folder of tests,
and would run a conftest.py that it finds there.
"""


def pytest_addoption(parser):
    group = parser.getgroup("graded suite")
    group.addoption("--submission", metavar="PATH", help="grade that folder, .zip or .ipynb, not this project")
    group.addoption("--questions", metavar="LIST", default="1,2", help="grade these alone, as in 1,2.4 (default 1,2)")
    group.addoption("--gradescope", metavar="FILE", help="write the marks to FILE as Gradescope's results.json")
    group.addoption("--time-limit", metavar="SECONDS", type=float, default=10.0, help="for each call (default 10)")
    group.addoption("--total-limit", metavar="SECONDS", type=float, default=120.0, help="for a whole grading (default 120)")
    group.addoption("--seed", metavar="N", type=int, help="draw the inputs of an earlier grading again")
