"""Lanes: bounded pools of threads, so that a flood of calls is refused at the door and never queued without
end.

A call is in its lane from its arrival to its end, waiting for a thread or running on one. There are three:

* ``unary``: short calls, a few threads, a bounded queue;
* ``streams``: calls that may stay for minutes (streams, waits), a thread each, so that they never keep short
  ones waiting;
* ``control``: health checks and refusals, which must be answered most of all when the others are full.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent import futures
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from onefold.service.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")


class Lane(futures.ThreadPoolExecutor):
    """A thread pool that knows how many tasks it holds, and how many it may."""

    def __init__(self, name: str, threads: int, limit: int) -> None:
        super().__init__(max_workers=threads, thread_name_prefix=f"onefold-{name}")
        self.name = name
        self.limit = limit
        self._held = 0
        self._counting = threading.Lock()

    @property
    def held(self) -> int:
        """Tasks that run or wait."""
        return self._held

    @property
    def full(self) -> bool:
        """Whether one more should be refused."""
        return self._held >= self.limit

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> futures.Future[T]:
        """As the pool's own, counted until the task is over however it ends."""
        with self._counting:
            self._held += 1
        try:
            future = super().submit(fn, *args, **kwargs)
        except BaseException:
            self._over()
            raise
        future.add_done_callback(self._over)
        return future

    def _over(self, _future: object = None) -> None:
        with self._counting:
            self._held -= 1


@dataclass(frozen=True, slots=True)
class Lanes:
    """The three lanes of one server."""

    unary: Lane
    streams: Lane
    control: Lane

    @classmethod
    def from_settings(cls, settings: Settings) -> Lanes:
        """As many threads and places as the settings say."""
        return cls(
            unary=Lane("unary", settings.workers, settings.max_concurrent_rpcs),
            streams=Lane("streams", settings.max_streams, settings.max_streams),
            control=Lane("control", 4, 1_024),
        )

    @property
    def all(self) -> tuple[Lane, Lane, Lane]:
        """The lanes in the order of this module's docstring."""
        return self.unary, self.streams, self.control

    @property
    def places(self) -> int:
        """Calls that all lanes may hold together: what the transport should let in."""
        return sum(lane.limit for lane in self.all)

    def close(self) -> None:
        """Ends the threads once their tasks are over; tasks that wait are dropped."""
        for lane in self.all:
            lane.shutdown(wait=False, cancel_futures=True)
