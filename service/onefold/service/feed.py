"""Feeds of changes: any number of watchers, each of which reads a log on at its own pace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from onefold.graph import memberships, watch
from onefold.graph.decide import DecisionKind
from onefold.graph.errors import DeadlineExceeded, InvalidInput, Unavailable, Violation
from onefold.graph.memberships import SegmentStretch
from onefold.graph.reader import Reader
from onefold.graph.watch import Stretch

_GATHER_SECONDS: Final = 0.05
"""How often a watcher looks at most: many commits then are one look."""
_LONGEST_PAUSE_SECONDS: Final = 1.0
_READ_SECONDS: Final = 10.0


class Part(Protocol):
    """A part of a log, from where the one before ended."""

    @property
    def changes(self) -> Sequence[Any]:
        """What was asked for."""

    @property
    def sequence(self) -> int:
        """Where it ends."""

    @property
    def more(self) -> bool:
        """Whether there is more to be read at once."""


P = TypeVar("P", bound=Part)


@dataclass(frozen=True, slots=True)
class Log(Generic[P]):
    """What is watched."""

    end: Callable[[Reader], int]
    """The sequence of the last change."""
    read: Callable[[Reader, int, Collection[Any]], P]
    """What follows after a place, of these kinds, or of all where none is named."""
    nothing: Callable[[int], P]
    """A part without changes that ends there."""


def _of_kinds(reader: Reader, after: int, kinds: Collection[DecisionKind]) -> Stretch:
    stretch = watch.read_on(reader, after)
    changes = tuple(c for c in stretch.changes if not kinds or c.decision.kind in kinds)
    return Stretch(changes, stretch.sequence, stretch.more)


IDENTITIES: Final = Log(watch.end_of_log, _of_kinds, lambda sequence: Stretch((), sequence))
SEGMENTS: Final = Log(memberships.end_of_feed, memberships.read_on, lambda sequence: SegmentStretch((), sequence))


class Feed(Generic[P]):
    """Watches a log for whoever asks. What this process commits is seen at once, what others do within a second."""

    def __init__(
        self, reader: Reader, log: Log[P], *, heartbeat_seconds: float = 10.0, lag_seconds: float = 5.0
    ) -> None:
        """A watcher hears something every ``heartbeat_seconds``; ``lag_seconds`` is how long a follower of a cluster
        may take to learn of a decision that a watcher knows already."""
        self._reader = reader
        self._log = log
        self._heartbeat_seconds = heartbeat_seconds
        self._lag_seconds = lag_seconds
        self._news = threading.Condition()
        self._rung = 0
        self._closed = False

    def ring(self) -> None:
        """Says that something was committed."""
        with self._news:
            self._rung += 1
            self._news.notify_all()

    def close(self) -> None:
        """Ends all watching."""
        with self._news:
            self._closed = True
            self._news.notify_all()

    def watch(self, after: int | None, kinds: Collection[Any], active: Callable[[], bool]) -> Iterator[P]:
        """The changes of these kinds (none named: all) after a place in the log (None: from now on), as they come.

        The first stretch comes at once and is empty, and so is one that comes when nothing else has for a while; each
        says where to go on. Ends when ``active`` says so. Raises InvalidInput (field ``after_sequence``) for a place
        beyond the end of the log, Unavailable when the feed is closed or the graph can't be reached.
        """
        sequence = self._begin(after)
        yield self._log.nothing(sequence)
        told_at, pause = time.monotonic(), _GATHER_SECONDS
        while active():
            rung, looked_at = self._rung, time.monotonic()
            stretch = self._read(sequence, kinds)
            if stretch.changes or looked_at - told_at >= self._heartbeat_seconds:
                yield stretch
                told_at = time.monotonic()
            pause = _GATHER_SECONDS if stretch.sequence > sequence else min(2 * pause, _LONGEST_PAUSE_SECONDS)
            sequence = stretch.sequence
            if not stretch.more:
                self._rest(rung, pause, looked_at)

    def _begin(self, after: int | None) -> int:
        """The place to watch from."""
        end = self._end()
        until = time.monotonic() + self._lag_seconds
        while after is not None and after > end:
            if time.monotonic() >= until:
                rule = f"must not be beyond the end of the log, which is at {end}"
                raise InvalidInput([Violation("after_sequence", rule)])
            self._rest(self._rung, _GATHER_SECONDS, time.monotonic())
            end = self._end()
        return end if after is None else after

    def _end(self) -> int:
        try:
            return self._log.end(self._reader.within(_READ_SECONDS))
        except DeadlineExceeded as err:
            raise _unanswered() from err

    def _read(self, after: int, kinds: Collection[Any]) -> P:
        try:
            return self._log.read(self._reader.within(_READ_SECONDS), after, kinds)
        except DeadlineExceeded as err:
            raise _unanswered() from err

    def _rest(self, rung: int, seconds: float, looked_at: float) -> None:
        """Returns when somebody has rung since, or after some seconds; but never too soon after the last look."""
        with self._news:
            self._news.wait_for(lambda: self._closed or self._rung != rung, seconds)
            too_soon = looked_at + _GATHER_SECONDS - time.monotonic()
            self._news.wait_for(lambda: self._closed, max(0.0, too_soon))
            if self._closed:
                raise Unavailable("the service is stopping: go on after the last sequence")


def _unanswered() -> Unavailable:
    return Unavailable("the graph engine does not answer in time")
