"""What is read of marks: a table, Gradescope's results.json; of a class marks.csv, a summary, pages of feedback."""

import csv
import io
import json
import os
import re
import shutil
import tempfile
from collections import Counter
from html import escape
from itertools import groupby

from .judge import plain

STYLE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<style>body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}
td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #ccc;vertical-align:top}.n{text-align:right}
.bar{background:#48a;height:1em;display:inline-block;min-width:1px}p.reason{margin:.2em 0 .2em 2em}</style>
"""


def by_function(rows):
    """Question, function, marks, what they are of, and its rows, for each function that was graded."""
    for (question, function), its in groupby(rows, lambda row: row[:2]):
        its = list(its)
        yield question, function, sum(row.marks for row in its), sum(row.worth for row in its), its


def table(grades):
    """Lines: for each function its marks, below it what was lost and why; then notes and the total."""
    lines = []
    for question, function, marks, worth, rows in by_function(grades.rows):
        lines.append(f"{question}  {function:<32}{marks:>6g} / {worth:g}")
        lines += [f"      {amount}  {titles}: {sentence}" for amount, titles, sentence in reasons(rows)]
    lines += [f"note: {note}" for note in grades.notes]
    about = f"({grades.seconds:.1f} seconds, seed {grades.seed})"
    return [*lines, f"{'total':<38}{grades.total():>6g} / {grades.worth():g}   {about}"]


def reasons(rows):
    """For each reason the marks that it cost, or "remark" where it cost none, its checks' titles, and its sentence."""
    sentences = list(dict.fromkeys(row.sentence for row in rows if row.sentence))
    for sentence in sentences:
        its = [row for row in rows if row.sentence == sentence]
        cost = sum(row.worth for row in its)
        if cost or len(sentences) == 1 or any(row.marks for row in rows):
            yield f"-{cost:g}" if cost else "remark", ", ".join(row.title for row in its), sentence


def write_gradescope(path, grades):
    tests, notes = [], list(grades.notes)
    for question, function, _, _, rows in by_function(grades.rows):
        notes += [f"{function}: {sentence}" for cost, _, sentence in reasons(rows) if cost == "remark"]
        for row in (row for row in rows if row.worth):
            about = {"name": f"{question} {function}: {row.title}", "output": row.sentence or "right"}
            tests.append({**about, "visibility": "visible", "score": row.marks, "max_score": row.worth})
    write_results(path, grades.total(), notes, grades.seconds, tests)


def write_results(path, score, notes, seconds=0.0, tests=()):
    """Put results.json in place as a whole, whatever has been put there meanwhile."""
    results = {"score": score, "execution_time": round(seconds, 3), "output": "\n".join(notes), "visibility": "visible"}
    write_whole(path, json.dumps({**results, "tests": list(tests)}, indent=2))


def write_whole(path, text, encoding="utf-8"):
    """Write a file and rename it, so that no half of it is ever there."""
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


def shown(name):
    """A name whole, what cannot be printed as an escape of Python's: two names are never shown alike."""
    return "".join(c if c.isprintable() and c != "\\" else c.encode("unicode_escape").decode() for c in name)


def by_question(grades):
    """Question to marks and what they are of."""
    questions = dict.fromkeys(row.question for row in grades.rows)
    parts = {question: [row for row in grades.rows if row.question == question] for question in questions}
    return {question: (sum(r.marks for r in rows), sum(r.worth for r in rows)) for question, rows in parts.items()}


def csv_text(graded):
    """A line for each submission. What a spreadsheet would take for a formula is quoted by an apostrophe."""
    questions = list(dict.fromkeys(question for grades in graded.values() for question in by_question(grades)))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["submission", "status", "total", *questions, "why"])
    for name, grades in graded.items():
        name = "'" + shown(name) if name.startswith(("=", "+", "-", "@", "'")) else shown(name)
        marks = [f"{by_question(grades)[question][0]:g}" for question in questions]
        why = "; ".join(plain(note, 400) for note in grades.notes) if grades.status != "graded" else ""
        writer.writerow([name, grades.status, f"{grades.total():g}", *marks, why])
    return text.getvalue()


def feedback(name, grades):
    """A student's page: marks, and a sentence for each that was lost."""
    name = escape(shown(name))
    lines = [STYLE, f"<title>{name}</title><h1>{name}: {grades.total():g} of {grades.worth():g}</h1>"]
    lines += [f"<p>{escape(plain(note, 400))}</p>" for note in grades.notes]
    for question, function, marks, worth, rows in by_function(grades.rows):
        lines.append(f"<h3>{question} <code>{function}</code>: {marks:g} of {worth:g}</h3>")
        for label, names, sentence in reasons(rows):
            lines.append(f'<p class="reason"><b>{label}</b> {escape(names)}: {escape(sentence)}</p>')
    lines.append(f"<p>Status: {escape(grades.status)}. The inputs were drawn from seed {grades.seed}.</p>")
    return "\n".join(lines)


def summary(graded, links, assignment=""):
    """The class: how the marks of each question are distributed, what went wrong most often, and everybody's total."""
    statuses = Counter(grades.status for grades in graded.values()).most_common()
    lines = [STYLE, "<title>Marks</title>", f"<h1>{len(graded)} submissions</h1>"]
    lines += ["<p>" + ", ".join(f"{count} {escape(status)}" for status, count in statuses) + "</p>"]
    lines += [f"<p>{escape(shown(assignment))}</p>", "<h2>Marks by question</h2>", *distributions(graded.values())]
    lines += ["<h2>Most frequent mistakes</h2>", "<table><tr><th>times<th>function<th>mistake<th>for example"]
    for (function, mistake), (times, example) in frequent(graded)[:25]:
        lines.append(f'<tr><td class="n">{times}<td>{escape(function)}<td>{escape(mistake)}<td>{escape(example)}')
    lines += ["</table>", "<h2>Submissions</h2>", "<table><tr><th>submission<th>status<th>marks"]
    for name, grades in graded.items():
        lines.append(f'<tr><td><a href="{escape(links[name])}">{escape(shown(name))}</a><td>{escape(grades.status)}')
        lines.append(f'<td class="n">{grades.total():g}')
    return "\n".join([*lines, "</table>"])


def distributions(graded):
    """For each question a table: how many submissions got how many marks."""
    for question in dict.fromkeys(question for grades in graded for question in by_question(grades)):
        marks = [by_question(grades)[question][0] for grades in graded]
        worth = max(by_question(grades)[question][1] for grades in graded)
        counts = Counter(marks)
        yield f"<h3>{question}: mean {sum(marks) / len(marks):.2f} of {worth:g}</h3><table>"
        for value in sorted(counts, reverse=True):
            bar = f'<span class="bar" style="width:{30 * counts[value] / len(marks):.1f}em"></span>'
            yield f'<tr><td class="n">{value:g}<td class="n">{counts[value]}<td>{bar}'
        yield "</table>"


def frequent(graded):
    """(function, mistake) to how many submissions made it and one sentence about it, most frequent first."""
    times, example = Counter(), {}
    for grades in graded.values():
        rows = [row for row in grades.rows if row.sentence and row.worth]
        of_these = [row for row in rows if row.sentence not in grades.notes]  # those are of the whole submission
        found = {(row.function, mistake(row.sentence)): row.sentence for row in of_these}
        times.update(found.keys())
        example = found | example
    return [(key, (count, example[key])) for key, count in times.most_common()]


def mistake(sentence):
    """What a sentence has in common with others: the mistake that it names, else itself without its numbers."""
    named = re.search(r": looks like (.*)$", sentence)
    return named[1] if named else re.sub(r"-?\d[\d.,e+-]*", "#", sentence)
