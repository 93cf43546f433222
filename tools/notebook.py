"""`make notebook`: write into vae.ipynb the copy of the modules that it carries for where it is opened alone.

`python -m tools.notebook --execute DATA_DIR` also runs it on the data there, for its outputs.
"""

import argparse
import base64
import json
import re
import zlib
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

PROJECT = Path(__file__).parents[1]
NOTEBOOK = PROJECT / "vae.ipynb"
BOUNDS = ("experiments/__init__.py", "experiments/vae/__init__.py", "experiments/vae/bounds.py")
MODULES = ("q1_solution.py", "q1_samplers.py", "model.py", *BOUNDS)  # of which the notebook carries a copy
COPY = re.compile(r'^COPY = "([^"]*)"', flags=re.MULTILINE)


def tagged(notebook: NotebookNode, tag: str) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", ())]


def modules() -> dict[str, str]:
    """The modules as they are now, path below the project to text."""
    return {name: (PROJECT / name).read_text(encoding="utf-8") for name in MODULES}


def pack(files: dict[str, str]) -> str:
    """The text between the quotes of COPY, of which `unpack` is the inverse."""
    return base64.b64encode(zlib.compress(json.dumps(files).encode(), 9)).decode()


def unpack(source: str) -> dict[str, str]:
    """The files in the copy that the setup cell holds."""
    return json.loads(zlib.decompress(base64.b64decode(COPY.search(source)[1])))


def run(notebook: NotebookNode) -> None:
    """Run all cells in the project's folder."""
    options = {"timeout": None, "record_timing": False, "coalesce_streams": True}
    NotebookClient(notebook, resources={"metadata": {"path": str(PROJECT)}}, **options).execute()


def refresh(notebook: NotebookNode) -> None:
    """Renew the copy where it differs (zlib's own bytes vary), and the outputs that show source."""
    (setup,) = tagged(notebook, "setup")
    if unpack(setup.source) == modules():
        return
    setup.source = COPY.sub(f'COPY = "{pack(modules())}"', setup.source)
    part = nbformat.from_dict({**notebook, "cells": [setup, *tagged(notebook, "source")]})
    run(part)
    for old, new in zip(tagged(notebook, "source"), tagged(part, "source")):
        old.outputs = new.outputs


def execute(notebook: NotebookNode, data_dir: Path) -> None:
    """Run all cells on the data in data_dir, whose place stays out of the notebook."""
    (cell,) = tagged(notebook, "parameters")
    source = cell.source
    cell.source += f"\nDATA_DIR = {str(data_dir.resolve())!r}"
    run(notebook)
    cell.source = source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--execute", type=Path, metavar="DATA_DIR", help="run the notebook on the data in this folder")
    options = parser.parse_args()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    refresh(notebook)
    if options.execute:
        execute(notebook, options.execute)
    temporary = NOTEBOOK.with_suffix(".tmp")
    temporary.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8", newline="\n")
    temporary.replace(NOTEBOOK)


if __name__ == "__main__":
    main()
