"""`python -m grading`: the marks of one submission, or with --out those of a class, without pytest."""

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path

from . import course, intake
from .checks import chosen
from .grading import grade
from .report import table, write_gradescope, write_results
from .sessions import GraderError
from .submission import SubmissionError

SECONDS = {"metavar": "SECONDS", "type": float}
OPTIONS = {
    "--questions": {"metavar": "LIST", "default": "1,2", "help": "grade these alone, as in 1,2.4 (default 1,2)"},
    "--time-limit": {**SECONDS, "default": 10.0, "help": "for each call (default 10)"},
    "--total-limit": {**SECONDS, "default": 120.0, "help": "for all of a submission (default 120)"},
    "--seed": {"metavar": "N", "type": int, "help": "draw the inputs of an earlier grading again"},
}


def limits_of(options):
    for name in ("time_limit", "total_limit", "jobs"):
        if not getattr(options, name, 1) > 0:
            raise ValueError(f"--{name.replace('_', '-')}: must be above 0")
    if options.seed is not None and not 0 <= options.seed < 2**63:
        raise ValueError("--seed: must be between 0 and 2^63")
    return {"time_limit": options.time_limit, "total_limit": options.total_limit, "seed": options.seed}


def path(text):
    return Path(text).expanduser()


def parse(arguments):
    parser = argparse.ArgumentParser("python -m grading", description=__doc__)
    add = parser.add_argument
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    add("submission", type=path, help="a folder, archive or .ipynb; with --out or --list one with many of them")
    add("--out", type=path, metavar="FOLDER", help="grade a class: write marks.csv, index.html and a page for each")
    add("--list", action="store_true", help="print whose each file of a class is, and grade nothing")
    add("--student", metavar="REGEX", help="with a group (?P<student>...): whose a loose file is, by its name")
    add("--jobs", type=int, default=cores, metavar="N", help="so many at a time (default %(default)s)")
    add("--gradescope", type=path, metavar="FILE", help="write one submission's marks as Gradescope's results.json")
    for name, about in OPTIONS.items():
        add(name, **about)
    options = parser.parse_args(arguments)
    try:
        options.checks, options.limits = chosen(options.questions), limits_of(options)
        if options.gradescope and (options.gradescope.is_dir() or not options.gradescope.parent.is_dir()):
            raise ValueError(f"--gradescope: {options.gradescope} is a folder, or in none")
        options.student = options.student and re.compile(options.student)
        if options.student and "student" not in options.student.groupindex:
            raise ValueError("--student: there is no group (?P<student>...) in it")
        if options.gradescope and options.out:
            raise ValueError("--gradescope is for one submission, --out for a class")
        if options.out and options.submission.resolve() == options.out.resolve():
            raise ValueError(f"--out: {options.out} is the class's own folder")
    except ValueError as problem:
        parser.exit(2, f"error: {problem}\n")
    except re.error as problem:
        parser.exit(2, f"error: --student: {problem}\n")
    return options


def main(arguments=None):
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # what a student wrote may not be printable here
    options = parse(arguments)
    try:
        if options.out or options.list:
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
        students, left_out = intake.assign(options.submission, Path(scratch), options.student)
        assignment = f"{len(students)} student{'s' * (len(students) != 1)}"
        if left_out:
            assignment += f", {len(left_out)} file{'s' * (len(left_out) != 1)} left out: {', '.join(left_out)}"
        if options.list:
            for name, pieces in students.items():
                print(f"{name}: {', '.join(piece.path.name for piece in pieces)}")
        print(assignment, flush=True)
        if options.list:
            return 0
        graded = course.Course(students, options.out, options.checks, options.limits, assignment)
        marks = graded.grade_all(options.jobs)
    print(f"{len(marks)} submissions: {options.out / 'marks.csv'}, {options.out / 'index.html'}")
    return 0 if all(grades.status != course.NOT_GRADED for grades in marks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
