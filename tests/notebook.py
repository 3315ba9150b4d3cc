"""The example notebook, run from top to bottom in a fresh kernel; ``make notebook`` stores what it then shows."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

PATH: Final = Path(__file__).parents[1] / "examples" / "churn.ipynb"


def stored() -> NotebookNode:
    """The notebook as it is in the repository."""
    return nbformat.read(PATH, as_version=4)


def executed() -> NotebookNode:
    """The same, with what it shows when it is run now. Raises CellExecutionError with what a cell raised."""
    notebook = stored()
    # Times of day would make two runs differ.
    client = NotebookClient(notebook, timeout=500, record_timing=False, resources={"metadata": {"path": PATH.parent}})
    return client.execute()


if __name__ == "__main__":
    nbformat.write(executed(), PATH)
