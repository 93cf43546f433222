"""Read a .py or a notebook: which graded functions it defines, and which statements bind the names that these use."""

import ast
import json
import math
import re
import symtable
import sys
import textwrap

from .checks import CHECKS, FILES

FUNCTIONS = {check.function: check.file for check in CHECKS}
FOREIGN = re.compile(
    r"(?i)\s*(%%(?:!|bash|cmd|cython|file|html|javascript|js|latex|markdown|perl|pypy|python2|R|ruby|script|sh|sql|svg"
    r"|sx|system|writefile)\b)"
)
MAGIC = re.compile(r"\s*[!%?]|.*=\s*[!%]|.*\?\s*$")
NEWER = re.compile(r"^\s*(type|match|lazy)\s+\w|^\s*((async\s+)?def|class)\s+\w+\s*\[|^\s*except(\*|.*,)|\bt[\"']")
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
NOT_PARSED = (SyntaxError, ValueError, RecursionError, MemoryError)


class SubmissionError(Exception):
    """Something that was handed in cannot be read; the message says why, in one line."""


def is_notebook(path):
    return path.suffix.lower() == ".ipynb"


def functions_of(path):
    """The graded functions that a file defines itself, each with whether it returns something or is a template."""
    found = {}
    if not is_notebook(path) and not any(name.encode() in path.read_bytes() for name in [*FUNCTIONS, "import *"]):
        return found
    for statement in ast.parse(read(path)[0]).body:
        module = f"{getattr(statement, 'module', None)}.py"
        if isinstance(statement, ast.ImportFrom) and (module in FILES or path.name.lower() not in FILES):
            continue  # what others import is graded where it is defined
        bound = names_in(statement)[0]
        if "*" in bound and (path.parent / module).is_file():
            bound = FUNCTIONS
        results = [node.value for node in ast.walk(statement) if isinstance(node, ast.Return) and node.value]
        written = not isinstance(statement, ast.FunctionDef) or any(ast.unparse(value) != "None" for value in results)
        found |= {name: found.get(name) or written for name in FUNCTIONS if name in bound}
    return found


def needed_lines(text):
    """The first lines of the statements that the graded functions need. What trains is not needed.

    Of the definitions of a name all are kept, of other statements those before its last use, if there are any: an
    experiment further down may use the name for something else.
    """
    body = ast.parse(text).body
    trains = {"backward"} | {s.name for s in body if isinstance(s, DEFINITIONS[:3]) and "backward" in words_in(s)}
    found = [(s, *names_in(s)) for s in body if isinstance(s, DEFINITIONS) or trains.isdisjoint(words_in(s))]
    first, last, kept, before = {}, dict.fromkeys([*FUNCTIONS, "*"], math.inf), set(), None
    for statement, bound, _ in reversed(found):
        first |= dict.fromkeys(bound, statement.lineno)
    while before != last:
        before = dict(last)
        for statement, bound, used in found:
            line, wanted = statement.lineno, bound & last.keys()
            defines = isinstance(statement, DEFINITIONS)
            if any(defines or line < last[name] or first[name] >= last[name] for name in wanted):
                kept.add(line)
                last |= {name: max(line, last.get(name, 0)) for name in used}
    return sorted(kept)


def words_in(statement):
    return {getattr(node, "attr", None) or getattr(node, "id", None) for node in ast.walk(statement)}


def names_in(statement):
    """The names that a statement binds or changes, and those that it uses; "*" is what a star import binds."""
    try:
        table = symtable.symtable(ast.unparse(statement), "a cell", "exec")
    except NOT_PARSED:  # a return outside of a function
        return set(), set()
    bound = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    used, tables = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}, table.get_children()
    while tables:
        inner = tables.pop()
        tables += inner.get_children()
        used |= {symbol.get_name() for symbol in inner.get_symbols() if symbol.is_global()}
    if isinstance(statement, ast.ImportFrom) and (statement.names[0].name == "*" or statement.module == "__future__"):
        bound.add("*")
    if isinstance(statement, DEFINITIONS):
        return bound, used
    for node in ast.walk(statement):  # x[0] = 1 binds nothing and changes x
        if isinstance(node, (ast.Assign, ast.AugAssign)):
            parts = ast.walk(ast.Tuple(getattr(node, "targets", None) or [node.target]))
            bound |= {part.id for part in parts if isinstance(part, ast.Name)}
    return bound, used


def read(path):
    """The text of a .py, or of all code cells of a notebook, and notes on what is no Python and was left out."""
    notebook, found, notes = is_notebook(path), [], []
    texts = cells(path) if notebook else [path.read_text(encoding="utf-8-sig", errors="replace")]
    for number, text in enumerate(texts, start=1):
        where = f"code cell {number} of {path.name}" if notebook else path.name
        if notebook and (foreign := FOREIGN.match(text)):
            notes.append(f"{where} is {foreign[1]} and was left out")
            continue
        python, left_out = as_python(textwrap.dedent(text) if notebook else text)
        found.append(python)
        for line, why, shown in left_out:
            if not (notebook and MAGIC.match(shown)):
                notes.append(f"{where}, line {line}, is not Python{why} and was left out: {shown}")
    if notebook and any("__name__" in text for text in found):
        found.insert(0, "__name__ = '__main__'")  # as it is there
    return "\n".join(found), notes


def as_python(text):
    """A text without the lines that are no Python, and of each of these its number, a remark and what is in it."""
    lines, left_out = text.splitlines(), []
    while True:
        try:
            ast.parse("\n".join(lines))
            return "\n".join(lines) + "\n", left_out
        except NOT_PARSED as problem:
            first = (getattr(problem, "lineno", None) or 0) - 1
            line = lines[first].strip() if 0 <= first < len(lines) else ""
            if len(left_out) == 100 or line in ("", "pass"):
                return "", [(1, "", text.strip()[:80])]
            why = " {}.{}".format(*sys.version_info)
            if NEWER.match(line) or "f-string" in str(problem):
                why += " (it looks like the syntax of a later version)"
            left_out.append((first + 1, why, line[:80]))
            replace(lines, first)


def replace(lines, first):
    """Put Python in the place of a line that is none: a magic does and gives nothing, but what %time runs stays."""
    line = lines[first]
    indent = len(line) - len(line.lstrip())
    assigned, timed = re.match(r"(\s*\w[\w, ]*=)\s*[!%]", line), re.match(r"\s*%time\s+(.+)", line)
    lines[first] = assigned[1] + " get_ipython()" if assigned else " " * indent + (timed[1] if timed else "pass")
    for below in range(first + 1, len(lines)):  # a block goes with its first line
        if lines[below].strip() and len(lines[below]) - len(lines[below].lstrip()) <= indent:
            break
        lines[below] = ""


def cells(path):
    """The text of each code cell; SubmissionError where the file is no notebook."""
    data = path.read_bytes()
    if not data.strip():
        raise SubmissionError("is empty")
    try:
        book = json.loads(data)
        sheets = book.get("worksheets", [book])  # before nbformat 4
        found = [cell for sheet in sheets for cell in sheet["cells"] if cell["cell_type"] == "code"]
        return ["".join(cell.get("source", cell.get("input", ""))) for cell in found]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as problem:
        if b"\n=======" in data and b"\n>>>>>>>" in data:
            raise SubmissionError("holds a merge conflict of git, no notebook") from None
        raise SubmissionError(f"holds no notebook: {type(problem).__name__}: {problem}") from None
