"""Make Python source of a notebook: the graded functions and whatever binds the names that they use, not its experiments."""

import ast
import json
import math
import re
import symtable

from .checks import CHECKS, FILES

MOST_BYTES = 50 * 2**20
FUNCTIONS = {check.function: check.file for check in CHECKS}
FOREIGN = (
    "! bash cmd cython file html HTML javascript js latex markdown perl pypy python2 R ruby script sh sql svg SVG sx system"
)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
NOT_PARSED = (SyntaxError, ValueError, RecursionError, MemoryError, RuntimeError, TypeError)


class Unreadable(Exception):
    """What cannot be read as Python; the message says why, as the end of a sentence."""


def functions_of(path, templates=False):
    """The graded functions that a notebook or a .py defines itself, with or without those that return nothing."""
    names = set()
    for statement in statements(path)[0]:
        module = f"{getattr(statement, 'module', None)}.py"
        if module in FILES:
            continue
        empty = {node.name for node in ast.walk(statement) if isinstance(node, ast.FunctionDef) and not returns(node)}
        bound = names_in(statement)[0]
        names |= (
            FUNCTIONS.keys() if "*" in bound and (path.parent / module).is_file() else bound - (set() if templates else empty)
        )
    return names & FUNCTIONS.keys()


def returns(function):
    results = [node.value for node in ast.walk(function) if isinstance(node, ast.Return) and node.value]
    return any(ast.unparse(value) != "None" for value in results)


def sources(path):
    """Source text of what the graded functions of a notebook need, and notes on cells that cannot be read."""
    body, notes = statements(path)
    kept, used = needed(body)
    future = [s for s in kept if getattr(s, "module", "") == "__future__"]
    name = ["__name__ = '__main__'"] if "__name__" in used else []  # as it is in a notebook
    return "\n\n".join([*map(ast.unparse, future), *name, *(ast.unparse(s) for s in kept if s not in future)]) + "\n", notes


def needed(body):
    """The statements that the graded functions need, and the names that these use. What trains is not needed.

    Of the definitions of a name all are kept, of other statements those before its last use, if there are any: an experiment
    further down may use the name for something else.
    """
    trains = {"backward"} | {s.name for s in body if isinstance(s, DEFINITIONS[:3]) and "backward" in words_in(s)}
    found = [(s, *names_in(s)) for s in body if isinstance(s, DEFINITIONS) or trains.isdisjoint(words_in(s))]
    first, last, kept, before = {}, dict.fromkeys([*FUNCTIONS, "*"], math.inf), set(), None
    for statement, bound, _ in reversed(found):
        first |= dict.fromkeys(bound, statement.lineno)
    while before != last:
        before = dict(last)
        for statement, bound, used in found:
            line, wanted = statement.lineno, bound & last.keys()
            if any(isinstance(statement, DEFINITIONS) or line < last[name] or first[name] >= last[name] for name in wanted):
                kept.add(statement)
                last |= {name: max(line, last.get(name, 0)) for name in used}
    return [statement for statement in body if statement in kept], last


def words_in(statement):
    return {getattr(node, "attr", None) or getattr(node, "id", None) for node in ast.walk(statement)}


def names_in(statement):
    """The names that a statement binds or changes, and those that it uses; "*" is what a star import binds."""
    table = symtable.symtable(ast.unparse(statement), "a cell", "exec")
    bound = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    used, tables = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}, table.get_children()
    while tables:
        inner = tables.pop()
        tables += inner.get_children()
        used |= {symbol.get_name() for symbol in inner.get_symbols() if symbol.is_global()}
    if isinstance(statement, ast.ImportFrom) and (statement.names[0].name == "*" or statement.module == "__future__"):
        bound.add("*")
    for node in () if isinstance(statement, DEFINITIONS) else ast.walk(statement):  # x[0] = 1 binds nothing and changes x
        if isinstance(node, (ast.Assign, ast.AugAssign)):
            parts = ast.walk(ast.Tuple(getattr(node, "targets", None) or [node.target]))
            bound |= {part.id for part in parts if isinstance(part, ast.Name)}
    return bound, used


def statements(path):
    """The statements of a .py, or of all code cells of a notebook, their lines numbered on, and notes on cells left out."""
    found, notes = [], []
    for number, text in enumerate(cells(path) if path.suffix.lower() == ".ipynb" else [path.read_bytes()], start=1):
        try:
            source = ast.unparse(ast.Module(parsed(text), []))
            compile(source, "a cell", "exec")
            found.append(source)
        except NOT_PARSED:
            notes.append(f"code cell {number} of {path.name} is not Python and was left out")
        except Unreadable as problem:
            notes.append(f"code cell {number} of {path.name} {problem} and was left out")
    return ast.parse("\n".join(found)).body, notes


def parsed(text):
    """A cell as IPython reads it: its magics are calls of get_ipython(), but what %%time and %time run is Python and stays."""
    try:
        body = ast.parse(text).body
    except NOT_PARSED:
        body = ast.parse(as_ipython(text)).body
    found = []
    for statement in body:
        match statement:
            case ast.Expr(ast.Call(ast.Attribute(attr="run_cell_magic"), [ast.Constant(magic), _, ast.Constant(below)])):
                if magic in FOREIGN.split():
                    raise Unreadable(f"is %%{magic}")
                found += parsed(below)
            case ast.Expr(ast.Call(ast.Attribute(attr="run_line_magic"), [ast.Constant("time"), ast.Constant(line)])):
                found += parsed(line)
            case _:
                found.append(statement)
    return found


def as_ipython(text):
    try:
        from IPython.core.inputtransformer2 import TransformerManager
    except ImportError:
        raise Unreadable("needs IPython to be read, which is not installed (pip install ipython)") from None
    marks = re.findall(r"^\s*[%!?]|\?\s*$|=\s*[%!]", text, re.M)
    if len(marks) * len(text) > 3 * 10**5:  # IPython reads the cell again for each of them
        raise Unreadable("has too many magics to be read")
    return TransformerManager().transform_cell(text)


def cells(path):
    """The text of each code cell; Unreadable where the file is no notebook."""
    data = path.read_bytes()
    if len(data) > MOST_BYTES:
        raise Unreadable(f"is larger than {MOST_BYTES >> 20} MB")
    if not data.strip():
        raise Unreadable("is empty")
    try:
        book = json.loads(data)
        sheets = book.get("worksheets", [book])  # before nbformat 4
        found = [cell for sheet in sheets for cell in sheet["cells"] if cell["cell_type"] == "code"]
        return ["".join(cell.get("source", cell.get("input", ""))) for cell in found]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as problem:
        conflict = b"\n=======" in data and b"\n>>>>>>>" in data
        what = "a merge conflict of git, no notebook" if conflict else f"no notebook: {type(problem).__name__}: {problem}"
        raise Unreadable(f"holds {what}") from None
