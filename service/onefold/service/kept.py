"""What was read of identities, kept for as long as it would be read again."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from onefold.graph.revision import Revision

_T = TypeVar("_T")


class Kept(Generic[_T]):
    """A value per identity, of the identities that were asked about last. All threads may use it."""

    def __init__(self, most: int, seconds: float) -> None:
        """Of at most so many identities, each for so long."""
        self._most = most
        self._seconds = seconds
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, tuple[Revision, Hashable, float, _T]] = OrderedDict()

    def get(self, revision: Revision, given: Hashable = None) -> _T | None:
        """What was put for this very revision and these givens; else None."""
        with self._lock:
            entry = self._entries.get(revision.identity)
            if entry is None or entry[:2] != (revision, given) or time.monotonic() >= entry[2]:
                return None
            self._entries.move_to_end(revision.identity)
            return entry[3]

    def put(self, value: _T, revision: Revision, given: Hashable = None) -> None:
        """Keeps a value, made of what was read after the revision was, in the place of the identity's before."""
        if not revision.locks:
            return  # without a component to lock, a later revision could not be told from this one
        with self._lock:
            self._entries[revision.identity] = (revision, given, time.monotonic() + self._seconds, value)
            self._entries.move_to_end(revision.identity)
            if len(self._entries) > self._most:
                self._entries.popitem(last=False)
