"""The example notebooks, run from top to bottom in a fresh kernel; ``make notebook`` stores what they then show."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER: Final = Path(__file__).parents[1] / "examples"
NAMES: Final = ("churn", "insight")


def stored(name: str) -> NotebookNode:
    """The notebook as it is in the repository."""
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def executed(name: str) -> NotebookNode:
    """The same, with what it shows when it is run now. Raises CellExecutionError with what a cell raised."""
    notebook = stored(name)
    # Times of day would make two runs differ.
    client = NotebookClient(notebook, timeout=500, record_timing=False, resources={"metadata": {"path": FOLDER}})
    return client.execute()


if __name__ == "__main__":
    for name in sys.argv[1:] or NAMES:
        nbformat.write(executed(name), FOLDER / f"{name}.ipynb")
