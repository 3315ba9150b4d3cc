"""The command line: ``onefold``. Words and options are in :mod:`app`, what each command does in a module of its own."""

from __future__ import annotations


def main() -> None:
    """Runs the command line, and ends the process with its exit code."""
    from onefold.service.cli.app import run

    run()
