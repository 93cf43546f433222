"""The marks of one submission as a table to read and as the results.json of Gradescope."""

import json
import os
import shutil
import tempfile
from itertools import groupby
from pathlib import Path


def by_function(grades):
    """Question, function, marks, what they are of, and its checks, for each function that was graded."""
    for (question, function), checks in groupby(grades.checks, lambda check: (check.question, check.function)):
        checks = list(checks)
        yield question, function, sum(map(grades.marks, checks)), sum(check.marks for check in checks), checks


def table(grades):
    """Lines: for each function its marks, below it what was lost and why; then notes and the total."""
    lines = []
    for question, function, marks, worth, checks in by_function(grades):
        lines.append(f"{question}  {function:<32}{marks:>6g} / {worth:g}")
        lines += [f"      {amount}  {titles}: {sentence}" for amount, titles, sentence in reasons(grades, checks)]
    lines += [f"note: {note}" for note in grades.notes]
    return [
        *lines,
        f"{'total':<38}{grades.total():>6g} / {grades.worth():g}   ({grades.seconds:.1f} seconds, seed {grades.seed})",
    ]


def reasons(grades, checks):
    """For each reason the marks that it cost ("remark" where it cost none), the titles of its checks, and its sentence."""
    lost = [check for check in checks if grades.lost[check.name]]
    sentences = list(dict.fromkeys(grades.lost[check.name] for check in lost))
    for sentence in sentences:
        its = [check for check in lost if grades.lost[check.name] == sentence]
        cost = sum(check.marks for check in its)
        if cost or len(sentences) == 1 or not all_marks_lost(grades, checks):
            yield f"-{cost:g}" if cost else "remark", ", ".join(check.title for check in its), sentence


def all_marks_lost(grades, checks):
    return not any(map(grades.marks, checks))


def write_gradescope(path, grades):
    """The marks as results.json."""
    tests, notes = [], list(grades.notes)
    for _, function, _, _, checks in by_function(grades):
        notes += [f"{function}: {sentence}" for cost, _, sentence in reasons(grades, checks) if cost == "remark"]
        for check in (check for check in checks if check.marks):
            marks = {"score": grades.marks(check), "max_score": check.marks}
            tests.append({"name": check.name, **marks, "output": grades.lost[check.name] or "right", "visibility": "visible"})
    write_results(path, grades.total(), notes, grades.seconds, tests)


def write_results(path, score, notes, seconds=0.0, tests=()):
    """Put results.json in place as a whole, whatever has been put there meanwhile."""
    results = {"score": score, "execution_time": round(seconds, 3), "output": "\n".join(notes), "visibility": "visible"}
    write_whole(path, json.dumps({**results, "tests": list(tests)}, indent=2))


def write_whole(path, text):
    """Write a file and rename it, so that no half of it is ever there."""
    path = Path(path)
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(partial, 0o644)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise
