"""Turns: at most one writer at a time, among all threads and processes of a machine.

For an engine whose commits can be seen by halves, so that what a writer reads beside another one's commit may never
have been: see ``docs/adr/0014-writers-of-the-embedded-engine-take-turns.md``.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Final

from onefold.graph.endpoint import Endpoint
from onefold.graph.errors import DeadlineExceeded

Turn = Callable[[float | None], AbstractContextManager[None]]
"""A writer's turn, for the length of a ``with``; takes the end of the caller's patience on the monotonic clock, or
None, and raises DeadlineExceeded if the turn does not come by then."""

_LOOK_S: Final = 0.001


def turns_at(endpoint: Endpoint) -> Turn:
    """How writers take turns on this engine; all at once where it needs none."""
    return Turns(Path(endpoint.turns)).take if endpoint.turns else _at_once


def _at_once(until: float | None) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


class Turns:
    """The turns that are taken at one file. One that ends without giving its turn back, even killed, has given it."""

    def __init__(self, path: Path) -> None:
        """``path`` and a second file beside it are made in a folder that is there."""
        self._path = path
        self._mutex = threading.Lock()

    @contextlib.contextmanager
    def take(self, until: float | None) -> Iterator[None]:
        """See :data:`Turn`."""
        if not self._mutex.acquire(timeout=-1 if until is None else max(0.0, until - time.monotonic())):
            raise _too_late()
        try:
            with contextlib.ExitStack() as held:
                # Whoever waits stands in the door: one that is always busy would else be first in again each time.
                with self._file(".door") as door:
                    _lock(door, until)
                    room = held.enter_context(self._file(""))
                    _lock(room, until)
                yield
        finally:
            self._mutex.release()

    def _file(self, suffix: str) -> IO[bytes]:
        return open(f"{self._path}{suffix}", "ab")


def _lock(file: IO[bytes], until: float | None) -> None:
    """Lock a file until it is closed."""
    import fcntl  # not on Windows, where no embedded engine runs

    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if until is not None and time.monotonic() >= until:
                raise _too_late() from None
            time.sleep(_LOOK_S)


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("the deadline ran out before the items' turn came")
