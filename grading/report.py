"""The marks of one submission as a table to read and as the results.json of Gradescope."""

import json
import os
import shutil
import tempfile
from itertools import groupby
from pathlib import Path
from typing import NamedTuple


class Row(NamedTuple):
    """What came of one check; a list of the same values in the record of a class."""

    question: str
    function: str
    title: str
    worth: float
    marks: float
    sentence: str | None


def rows_of(grades):
    return [Row(*check[:4], grades.marks(check), grades.lost[check.name]) for check in grades.checks]


def by_function(rows):
    """Question, function, marks, what they are of, and its rows, for each function that was graded."""
    for (question, function), its in groupby(rows, lambda row: row[:2]):
        its = list(its)
        yield question, function, sum(row.marks for row in its), sum(row.worth for row in its), its


def table(grades):
    """Lines: for each function its marks, below it what was lost and why; then notes and the total."""
    lines = []
    for question, function, marks, worth, rows in by_function(rows_of(grades)):
        lines.append(f"{question}  {function:<32}{marks:>6g} / {worth:g}")
        lines += [f"      {amount}  {titles}: {sentence}" for amount, titles, sentence in reasons(rows)]
    lines += [f"note: {note}" for note in grades.notes]
    about = f"({grades.seconds:.1f} seconds, seed {grades.seed})"
    return [*lines, f"{'total':<38}{grades.total():>6g} / {grades.worth():g}   {about}"]


def reasons(rows):
    """For each reason the marks that it cost ("remark" where it cost none), the titles of its checks, and its sentence."""
    sentences = list(dict.fromkeys(row.sentence for row in rows if row.sentence))
    for sentence in sentences:
        its = [row for row in rows if row.sentence == sentence]
        cost = sum(row.worth for row in its)
        if cost or len(sentences) == 1 or any(row.marks for row in rows):
            yield f"-{cost:g}" if cost else "remark", ", ".join(row.title for row in its), sentence


def write_gradescope(path, grades):
    """The marks as results.json."""
    tests, notes = [], list(grades.notes)
    for question, function, _, _, rows in by_function(rows_of(grades)):
        notes += [f"{function}: {sentence}" for cost, _, sentence in reasons(rows) if cost == "remark"]
        for row in (row for row in rows if row.worth):
            about = {
                "name": f"{question} {function}: {row.title}",
                "output": row.sentence or "right",
                "visibility": "visible",
            }
            tests.append({**about, "score": row.marks, "max_score": row.worth})
    write_results(path, grades.total(), notes, grades.seconds, tests)


def write_results(path, score, notes, seconds=0.0, tests=()):
    """Put results.json in place as a whole, whatever has been put there meanwhile."""
    results = {"score": score, "execution_time": round(seconds, 3), "output": "\n".join(notes), "visibility": "visible"}
    write_whole(path, json.dumps({**results, "tests": list(tests)}, indent=2))


def write_whole(path, text, encoding="utf-8"):
    """Write a file and rename it, so that no half of it is ever there."""
    path = Path(path)
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(descriptor, "w", encoding=encoding, errors="backslashreplace") as file:
            file.write(text)
        os.chmod(partial, 0o644)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise
