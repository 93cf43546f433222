"""What a teaching assistant and a student read after a class is graded: marks.csv, a summary, a page of feedback for each."""

import csv
import io
import re
from collections import Counter, defaultdict
from html import escape

from .judge import plain
from .report import Row, by_function, reasons

STYLE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<style>body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}
td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #ccc;vertical-align:top}.n{text-align:right}
.bar{background:#48a;height:1em;display:inline-block;min-width:1px}p.reason{margin:.2em 0 .2em 2em}</style>
"""


def shown(name):
    """A name that a student chose, whole, what cannot be printed as an escape of Python's: two names are never shown alike."""
    return "".join(c if c.isprintable() and c != "\\" else c.encode("unicode_escape").decode() for c in name)


def rows_in(record):
    return [Row(*values) for values in record["checks"]]


def by_question(record):
    """Question to marks and what they are of."""
    rows = rows_in(record)
    questions = dict.fromkeys(row.question for row in rows)
    return {q: [sum(part) for part in zip(*((r.marks, r.worth) for r in rows if r.question == q))] for q in questions}


def csv_text(records):
    """A line for each submission. What a spreadsheet would take for a formula is quoted by an apostrophe."""
    questions = list(dict.fromkeys(question for record in records for question in by_question(record)))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["submission", "status", "total", *questions, "why"])
    for record in records:
        name = shown(record["name"])
        name = "'" + name if name.startswith(("=", "+", "-", "@", "'")) else name
        marks = [f"{by_question(record)[question][0]:g}" for question in questions]
        writer.writerow([name, record["status"], f"{record['total']:g}", *marks, why(record)])
    return text.getvalue()


def why(record):
    """What is to be known of a submission that was not just graded."""
    return "" if record["status"] == "graded" else "; ".join(plain(note, 400) for note in record["notes"])


def feedback(record):
    """A student's page: marks, and a sentence for each that was lost."""
    name = escape(shown(record["name"]))
    lines = [STYLE, f"<title>{name}</title><h1>{name}: {record['total']:g} of {record['worth']:g}</h1>"]
    lines += [f"<p>{escape(plain(note, 400))}</p>" for note in record["notes"]]
    for question, function, marks, worth, rows in by_function(rows_in(record)):
        lines.append(f"<h3>{question} <code>{function}</code>: {marks:g} of {worth:g}</h3>")
        for label, names, sentence in reasons(rows):
            lines.append(f'<p class="reason"><b>{label}</b> {escape(names)}: {escape(sentence)}</p>')
    lines.append(f"<p>Status: {escape(record['status'])}. The inputs were drawn from seed {record['seed']}.</p>")
    return "\n".join(lines)


def summary(records, links, assignment=""):
    """The class: how the marks of each question are distributed, what went wrong most often, and everybody's total."""
    statuses = Counter(record["status"] for record in records).most_common()
    lines = [STYLE, "<title>Marks</title>", f"<h1>{len(records)} submissions</h1>"]
    lines += ["<p>" + ", ".join(f"{count} {escape(status)}" for status, count in statuses) + "</p>"]
    lines += [f"<p>{escape(shown(assignment))}</p>", "<h2>Marks by question</h2>", *distributions(records)]
    lines += ["<h2>Most frequent mistakes</h2>", "<table><tr><th>times<th>function<th>mistake<th>for example"]
    for (function, mistake), (times, example) in frequent(records)[:25]:
        lines.append(f'<tr><td class="n">{times}<td>{escape(function)}<td>{escape(mistake)}<td>{escape(example)}')
    lines += ["</table>", "<h2>Submissions</h2>", "<table><tr><th>submission<th>status<th>marks"]
    for record in records:
        name, link = escape(shown(record["name"])), escape(links[record["name"]])
        lines.append(
            f'<tr><td><a href="{link}">{name}</a><td>{escape(record["status"])}<td class="n">{record["total"]:g}'
        )
    return "\n".join([*lines, "</table>"])


def distributions(records):
    """For each question a table: how many submissions got how many marks."""
    for question in dict.fromkeys(question for record in records for question in by_question(record)):
        marks = [by_question(record)[question][0] for record in records]
        worth = max(by_question(record)[question][1] for record in records)
        counts = Counter(marks)
        yield f"<h3>{question}: mean {sum(marks) / len(marks):.2f} of {worth:g}</h3><table>"
        for value in sorted(counts, reverse=True):
            width = 30 * counts[value] / len(marks)
            bar = f'<span class="bar" style="width:{width:.1f}em"></span>'
            yield f'<tr><td class="n">{value:g}<td class="n">{counts[value]}<td>{bar}'
        yield "</table>"


def frequent(records):
    """(function, mistake) to how many submissions made it and one sentence about it, most frequent first."""
    makers, example = defaultdict(set), {}
    for record in records:
        for row in rows_in(record):
            if row.sentence and row.worth and row.sentence not in record["notes"]:  # of the whole submission
                key = row.function, mistake(row.sentence)
                makers[key].add(record["name"])
                example.setdefault(key, row.sentence)
    ordered = sorted(makers, key=lambda key: (-len(makers[key]), key))
    return [(key, (len(makers[key]), example[key])) for key in ordered]


def mistake(sentence):
    """What a sentence has in common with others: the mistake that it names, else itself without its numbers."""
    named = re.search(r": looks like (.*)$", sentence)
    return named[1] if named else re.sub(r"-?\d[\d.,e+-]*", "#", sentence)
