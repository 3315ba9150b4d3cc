"""Where commands write: answers to standard output, all else to standard error, plain when nobody is looking.

On a terminal there is colour and progress; into a pipe or a file go the same words without them, on lines that are
not folded.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Final

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from onefold.graph.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    OnefoldError,
    Overloaded,
    Unavailable,
)

EXIT_FAILED: Final = 1
EXIT_INVALID: Final = 2
EXIT_UNAVAILABLE: Final = 3
EXIT_NOT_FOUND: Final = 4
EXIT_INTERRUPTED: Final = 130

EXIT_CODES: Final = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage or input, 3 not reachable or busy (try again), 4 not found, "
    "130 interrupted."
)

_UNFOLDED: Final = 10_000
"""Columns of a line that goes to a file."""


def out() -> Console:
    """For what was asked for."""
    return _console(sys.stdout)


def err() -> Console:
    """For progress, advice and errors."""
    return _console(sys.stderr)


def _console(stream: IO[str]) -> Console:
    folded = stream.isatty() or "COLUMNS" in os.environ
    return Console(file=stream, highlight=False, emoji=False, width=None if folded else _UNFOLDED)


def fail(error: OnefoldError) -> int:
    """Says what went wrong, a line for each thing, and gives the exit code for it."""
    lines = [f"{v.field}: {v.rule}" for v in error.violations] if isinstance(error, InvalidInput) else [str(error)]
    for line in lines:
        err().print(f"[bold red]error:[/] {escape(line)}", soft_wrap=True)
    match error:
        case InvalidInput():
            return EXIT_INVALID
        case Unavailable() | DeadlineExceeded() | Overloaded() | Conflict():
            return EXIT_UNAVAILABLE
        case NotFound():
            return EXIT_NOT_FOUND
    return EXIT_FAILED


def note(words: str) -> None:
    """Something worth knowing that is no answer."""
    err().print(f"[dim]{escape(words)}[/]", soft_wrap=True)


def table(columns: Sequence[str] = ()) -> Table:
    """A table without frames, whose cells fold rather than get cut off."""
    made = Table(
        box=box.SIMPLE_HEAD if columns else None,
        show_header=bool(columns),
        pad_edge=False,
        show_edge=False,
        padding=(0, 2, 0, 0),
    )
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


@contextmanager
def progress(words: str) -> Iterator[Progress]:
    """A bar on standard error, or nothing where that is no terminal."""
    console = err()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[said]}", style="dim"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal, expand=True) as bars:
        bars.add_task(words, total=None, said="")
        yield bars
