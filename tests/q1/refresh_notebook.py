"""`make notebook`: write into vae.ipynb the copy of the modules that it carries for where it is opened alone.

`python -m tests.q1.refresh_notebook --execute DATA_DIR` also runs it on the data there, for its outputs.
"""

import argparse
import base64
import json
import re
import tempfile
import zlib
from modulefinder import ModuleFinder
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from experiments.harness.files import write_atomically

PROJECT = Path(__file__).parents[2]
NOTEBOOK = PROJECT / "vae.ipynb"
COPY = re.compile(r'^COPY = "([^"]*)"', flags=re.MULTILINE)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def parameters(notebook: NotebookNode) -> NotebookNode:
    """The cell of what there is to choose, marked as papermill would have it."""
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    return cell


def modules(notebook: NotebookNode) -> dict[str, str]:
    """The project's files that the notebook imports, directly or not: path below the project to text."""
    finder = ModuleFinder(path=[str(PROJECT)])
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "cells.py"
        script.write_text("\n".join(cell.source for cell in code_cells(notebook)), encoding="utf-8")
        finder.run_script(str(script))
    found = [Path(module.__file__) for module in finder.modules.values() if module.__file__ not in (None, str(script))]
    return {path.relative_to(PROJECT).as_posix(): path.read_text(encoding="utf-8") for path in sorted(found)}


def carried(notebook: NotebookNode) -> dict[str, str]:
    """The files in the copy that the notebook's first cell holds."""
    (copy,) = COPY.findall(code_cells(notebook)[0].source)
    return json.loads(zlib.decompress(base64.b64decode(copy)))


def pack(files: dict[str, str]) -> str:
    """The text between the quotes of COPY, of which `carried` is the inverse."""
    return base64.b64encode(zlib.compress(json.dumps(files).encode(), 9)).decode()


def refresh(notebook: NotebookNode) -> None:
    """Put the files as they are now into the first cell, where what it holds differs: zlib's own bytes vary."""
    if carried(notebook) != (now := modules(notebook)):
        cell = code_cells(notebook)[0]
        cell.source = COPY.sub(f'COPY = "{pack(now)}"', cell.source)


def run(notebook: NotebookNode) -> None:
    """Run all cells in the project's folder."""
    options = {"timeout": None, "record_timing": False, "coalesce_streams": True}
    NotebookClient(notebook, resources={"metadata": {"path": str(PROJECT)}}, **options).execute()


def show_sources(notebook: NotebookNode) -> None:
    """Renew the outputs that show source, by running their cells, the setup and the imports, without the training."""
    part = nbformat.from_dict(notebook)
    setup, *others = code_cells(part)
    part.cells = [setup, *(cell for cell in others if "inspect" in cell.source)]
    run(part)
    shown = {cell.id: cell.outputs for cell in part.cells if "inspect.getsource" in cell.source}
    for cell in code_cells(notebook):
        cell.outputs = shown.get(cell.id, cell.outputs)


def execute(notebook: NotebookNode, data_dir: Path) -> None:
    """Run all cells on the data in data_dir, whose place stays out of the notebook."""
    cell = parameters(notebook)
    source = cell.source
    cell.source += f"\nDATA_DIR = {str(data_dir.resolve())!r}"
    run(notebook)
    cell.source = source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--execute", type=Path, metavar="DATA_DIR", help="also run the notebook on the data in this folder"
    )
    options = parser.parse_args()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    stale = carried(notebook) != modules(notebook)
    refresh(notebook)
    if options.execute:
        execute(notebook, options.execute)
    elif stale:
        show_sources(notebook)
    write_atomically(NOTEBOOK, nbformat.writes(notebook).encode() + b"\n")
    print(f"{NOTEBOOK.name}: {len(carried(notebook))} modules carried, {NOTEBOOK.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
