"""What a teaching assistant and a student read after a class is graded: marks.csv, a summary, a page of feedback for each."""

import csv
import io
import re
from collections import Counter, defaultdict
from html import escape
from itertools import groupby

from .judge import plain

STYLE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<style>body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}
td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #ccc;vertical-align:top}.n{text-align:right}
.bar{background:#48a;height:1em;display:inline-block;min-width:1px}p.reason{margin:.2em 0 .2em 2em}</style>
"""


def one_line(name):
    """A name that a student chose, for a terminal or a page."""
    return plain(name, 60)


def csv_text(records):
    """A line for each submission. What a spreadsheet would take for a formula is quoted by an apostrophe."""
    questions = list(dict.fromkeys(question for record in records for question in record["questions"]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["submission", "status", "total", *questions])
    for record in records:
        name = one_line(record["name"])
        name = "'" + name if name.startswith(("=", "+", "-", "@")) else name
        marks = [f"{record['questions'].get(question, [0])[0]:g}" for question in questions]
        writer.writerow([name, record["status"], f"{record['total']:g}", *marks])
    return text.getvalue()


def feedback(record):
    """A student's page: marks, and a sentence for each that was lost."""
    name = escape(one_line(record["name"]))
    lines = [STYLE, f"<title>{name}</title><h1>{name}: {record['total']:g} of {record['worth']:g}</h1>"]
    lines += [f"<p>{escape(plain(note, 400))}</p>" for note in record["notes"]]
    for (question, function), checks in groupby(record["checks"], lambda check: (check["question"], check["function"])):
        checks = list(checks)
        marks, worth = sum(check["marks"] for check in checks), sum(check["worth"] for check in checks)
        lines.append(f"<h3>{question} <code>{function}</code>: {marks:g} of {worth:g}</h3>")
        titles = defaultdict(list)
        for check in checks:
            if check["sentence"]:
                titles[check["sentence"]].append(check)
        for sentence, lost in titles.items():
            cost = sum(check["worth"] for check in lost)
            names = ", ".join(check["title"] for check in lost)
            label = f"-{cost:g}" if cost else "remark"
            lines.append(f'<p class="reason"><b>{label}</b> {escape(names)}: {escape(sentence)}</p>')
    lines.append(f"<p>Status: {escape(record['status'])}. The inputs were drawn from seed {record['seed']}.</p>")
    return "\n".join(lines)


def summary(records, links):
    """The class: how the marks of each question are distributed, what went wrong most often, and everybody's total."""
    lines = [STYLE, "<title>Marks</title>", f"<h1>{len(records)} submissions</h1>", "<p>" + statuses(records) + "</p>"]
    lines += ["<h2>Marks by question</h2>", *distributions(records)]
    lines += ["<h2>Most frequent mistakes</h2>", "<table><tr><th>times<th>function<th>mistake<th>for example"]
    for (function, mistake), (times, example) in frequent(records)[:25]:
        lines.append(f'<tr><td class="n">{times}<td>{escape(function)}<td>{escape(mistake)}<td>{escape(example)}')
    lines += ["</table>", "<h2>Submissions</h2>", "<table><tr><th>submission<th>status<th>marks"]
    for record in records:
        name, link = escape(one_line(record["name"])), escape(links[record["name"]])
        lines.append(f'<tr><td><a href="{link}">{name}</a><td>{escape(record["status"])}<td class="n">{record["total"]:g}')
    return "\n".join([*lines, "</table>"])


def statuses(records):
    counts = Counter(record["status"] for record in records)
    return ", ".join(f"{count} {escape(status)}" for status, count in counts.most_common())


def distributions(records):
    """For each question a table: how many submissions got how many marks."""
    questions = list(dict.fromkeys(question for record in records for question in record["questions"]))
    for question in questions:
        marks = [record["questions"].get(question, [0, 0])[0] for record in records]
        worth = max(record["questions"].get(question, [0, 0])[1] for record in records)
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
        for check in record["checks"]:
            if check["sentence"] and check["worth"]:
                key = check["function"], mistake(check["sentence"])
                makers[key].add(record["name"])
                example.setdefault(key, check["sentence"])
    ordered = sorted(makers, key=lambda key: (-len(makers[key]), key))
    return [(key, (len(makers[key]), example[key])) for key in ordered]


def mistake(sentence):
    """What a sentence has in common with others: the mistake that it names, else itself without its numbers."""
    named = re.search(r": looks like (.*)$", sentence)
    return named[1] if named else re.sub(r"-?\d[\d.,e+-]*", "#", sentence)
