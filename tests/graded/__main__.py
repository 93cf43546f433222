"""`python -m tests.graded`: the marks of one submission, or with --out those of a class, without pytest."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from . import course
from .checks import chosen
from .grading import TIME_LIMIT, TOTAL_LIMIT, grade
from .report import table, write_gradescope, write_results
from .sessions import GraderError
from .submission import SubmissionError


def parse(arguments):
    parser = argparse.ArgumentParser("python -m tests.graded", description=__doc__)
    parser.add_argument("submission", type=Path, help="a folder, .zip or .ipynb; with --out a folder or .zip of many of them")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="grade a class: write marks.csv, index.html and a page for each"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="so many at a time (default %(default)s)")
    parser.add_argument(
        "--questions", default="1,2", metavar="LIST", help="grade these alone, as in 1,2.4 (default %(default)s)"
    )
    parser.add_argument("--gradescope", type=Path, metavar="FILE", help="write the marks of one to FILE as results.json")
    parser.add_argument(
        "--time-limit", type=float, default=TIME_LIMIT, metavar="SECONDS", help="for each call (default %(default)g)"
    )
    limit = "for all of a submission (default %(default)g)"
    parser.add_argument("--total-limit", type=float, default=TOTAL_LIMIT, metavar="SECONDS", help=limit)
    parser.add_argument("--seed", type=int, metavar="N", help="draw the inputs of an earlier grading again")
    options = parser.parse_args(arguments)
    try:
        options.checks = chosen(options.questions)
    except ValueError as problem:
        parser.error(f"--questions: {problem}")
    for name in ("jobs", "time_limit", "total_limit"):
        if not getattr(options, name) > 0:
            parser.error(f"--{name.replace('_', '-')}: must be above 0")
    if options.gradescope and (options.out or options.gradescope.is_dir() or not options.gradescope.parent.is_dir()):
        parser.error("--gradescope: give the name of a file in a folder that is there, and no --out")
    return options


def main(arguments=None):
    options = parse(arguments)
    limits = {"time_limit": options.time_limit, "total_limit": options.total_limit, "seed": options.seed}
    try:
        if options.out:
            return grade_class(options, limits)
        grades = grade(options.submission, checks=options.checks, **limits)
    except (GraderError, SubmissionError, OSError) as problem:
        if options.gradescope:
            write_results(options.gradescope, 0, [f"could not be graded: {problem}"])
        print(f"error: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted" + (": the same command goes on from here" if options.out else ""), file=sys.stderr)
        return 130
    if options.gradescope:
        write_gradescope(options.gradescope, grades)
    print("\n".join(table(grades)))
    return 0 if grades.total() == grades.worth() else 1


def grade_class(options, limits):
    with tempfile.TemporaryDirectory(prefix="graded-") as scratch:
        found = course.find(options.submission, scratch)
        records = course.Course(found, options.out, options.checks, limits).grade_all(options.jobs)
    print(f"{len(records)} submissions: {options.out / 'marks.csv'}, {options.out / 'index.html'}")
    return 0 if all(record["status"] != course.AGAIN for record in records) else 1


if __name__ == "__main__":
    sys.exit(main())
