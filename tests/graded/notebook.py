"""Make Python source of a notebook that defines the graded functions: its imports and definitions, not its experiments."""

import ast
import json

from .checks import CHECKS

MOST_BYTES = 50 * 2**20
DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)


def functions_of(path):
    """The files whose functions a notebook defines."""
    names = {statement.name for statement in statements(path)[0] if isinstance(statement, ast.FunctionDef)}
    return sorted({check.file for check in CHECKS if check.function in names})


def sources(path):
    """Source text of the notebook's imports, functions, classes and plain constants, and notes on cells that cannot be read."""
    kept, notes = statements(path)
    modules = {alias.asname or alias.name.split(".")[0] for s in kept if isinstance(s, ast.Import) for alias in s.names}
    return "\n\n".join(ast.unparse(s) for s in kept if isinstance(s, DEFINITIONS) or constant(s, modules)) + "\n", notes


def constant(statement, modules):
    """Whether this assigns what is quickly had: a value without calls, but for those of an imported module, as torch.device."""
    return isinstance(statement, ast.Assign) and all(
        isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) and node.func.value.id in modules
        for node in ast.walk(statement.value)
        if isinstance(node, ast.Call)
    )


def statements(path):
    """The statements of all code cells, without the notebook's own commands (%, !), and notes on cells with a syntax error."""
    found, notes = [], []
    for number, text in enumerate(cells(path), start=1):
        lines = [line if not line.lstrip().startswith(("%", "!", "?")) else "" for line in text.splitlines()]
        if text.lstrip().startswith("%%"):
            continue
        try:
            found += ast.parse("\n".join(lines)).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            notes.append(f"code cell {number} of {path.name} is not Python and was left out")
    return found, notes


def cells(path):
    """The text of each code cell; none where the file is no notebook."""
    try:
        if path.stat().st_size > MOST_BYTES:
            return []
        book = json.loads(path.read_bytes())
        return ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
