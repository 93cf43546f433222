"""`python -m grading`: the marks of one submission, or with --out those of a class, without pytest."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from . import course
from .checks import chosen
from .grading import grade
from .options import OPTIONS, limits_of
from .report import table, write_gradescope, write_results
from .sessions import GraderError
from .submission import SubmissionError


def parse(arguments):
    parser = argparse.ArgumentParser("python -m grading", description=__doc__)
    kinds = "a folder, archive or .ipynb; with --out a folder or archive of many of them"
    parser.add_argument("submission", type=Path, help=kinds)
    out = "grade a class: write marks.csv, index.html and a page for each"
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=out)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="so many at a time (default %(default)s)")
    for name, about in OPTIONS.items():
        parser.add_argument(name, **about)
    options = parser.parse_args(arguments)
    options.gradescope = options.gradescope and Path(options.gradescope)
    try:
        options.checks, options.limits = chosen(options.questions), limits_of(options, options.gradescope)
    except ValueError as problem:
        parser.exit(2, f"error: {problem}\n")
    if options.gradescope and options.out:
        parser.exit(2, "error: --gradescope is for one submission, --out for a class\n")
    return options


def main(arguments=None):
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # what a student wrote may not be printable here
    options = parse(arguments)
    try:
        if options.out:
            return grade_class(options)
        grades = grade(options.submission, checks=options.checks, **options.limits)
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


def grade_class(options):
    with tempfile.TemporaryDirectory(prefix="graded-") as scratch:
        found, notes = course.find(options.submission, scratch, options.out)
        records = course.Course(found, options.out, options.checks, options.limits, notes).grade_all(options.jobs)
    print("\n".join(f"note: {note}" for note in notes), end="\n" * bool(notes))
    print(f"{len(records)} submissions: {options.out / 'marks.csv'}, {options.out / 'index.html'}")
    return 0 if all(record["status"] != course.AGAIN for record in records) else 1


if __name__ == "__main__":
    sys.exit(main())
