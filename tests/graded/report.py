"""The marks as a table to read and as the results.json of Gradescope."""

import json
import os
from itertools import groupby
from pathlib import Path

from .checks import CHECKS

TOTAL = sum(check.marks for check in CHECKS)


def table(grades):
    """Lines: for each function its marks, below it what was lost and why; then notes and the total."""
    lines = []
    for (question, function), checks in groupby(CHECKS, lambda check: (check.question, check.function)):
        checks = list(checks)
        marks, worth = sum(map(grades.marks, checks)), sum(check.marks for check in checks)
        lines.append(f"{question}  {function:<32}{marks:>6g} / {worth:g}")
        lines += reasons(grades, checks)
    lines += [f"note: {note}" for note in grades.notes]
    return [*lines, f"{'total':<38}{grades.total():>6g} / {TOTAL:g}   ({grades.seconds:.1f} seconds)"]


def reasons(grades, checks):
    """One line for each reason, with all checks that were lost for it."""
    titles = {}
    for check in checks:
        if grades.lost[check.name]:
            titles.setdefault(grades.lost[check.name], []).append(check)
    return [
        f"      -{sum(check.marks for check in lost):g}  {', '.join(check.title for check in lost)}: {sentence}"
        for sentence, lost in titles.items()
    ]


def write_gradescope(path, grades):
    """Replace the file as a whole, so that a run that is killed leaves no half of it."""
    results = {
        "score": grades.total(),
        "execution_time": round(grades.seconds, 3),
        "output": "\n".join(grades.notes),
        "visibility": "visible",
        "tests": [
            {
                "name": check.name,
                "score": grades.marks(check),
                "max_score": check.marks,
                "output": grades.lost[check.name] or "right",
                "visibility": "visible",
            }
            for check in CHECKS
        ],
    }
    partial = Path(path).with_name(Path(path).name + ".part")
    partial.write_text(json.dumps(results, indent=2))
    os.replace(partial, path)
