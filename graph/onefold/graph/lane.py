"""Writer lanes with group commit: concurrent callers' items share one transaction, and each is answered after it.

One lane is one thread. When people collide, one writer that gathers beats many that race, on every engine; an engine
that decides and commits on several cores may use a few lanes, since one lane's engine time hides another's Python.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from onefold.graph.errors import DeadlineExceeded, Overloaded, Unavailable
from onefold.graph.ingest import Answer, Batch, Outcome

Commit = Callable[[Sequence[Batch], float | None], list[Answer]]
"""Commits several batches in one transaction within some seconds: :func:`onefold.graph.ingest.ingest`."""


@dataclass(slots=True)
class _Job:
    batch: Batch
    until: float | None
    """On the monotonic clock."""
    answer: Future[list[Outcome]] = field(default_factory=Future)


class WriterLanes:
    """A bounded queue of batches and the threads that commit them."""

    def __init__(
        self,
        commit: Commit,
        *,
        lanes: int = 1,
        commit_items: int = 500,
        queue_items: int = 10_000,
        gather_seconds: float = 0.01,
    ) -> None:
        """``commit_items`` bounds a transaction (one larger batch still goes alone), ``queue_items`` what may wait;
        a transaction that is not full waits for the callers of the last one while each comes within
        ``gather_seconds``."""
        self._commit = commit
        self._commit_items = commit_items
        self._queue_items = queue_items
        self._gather_seconds = gather_seconds
        self._jobs: deque[_Job] = deque()
        self._waiting = 0
        self._changed = threading.Condition()
        self._closing = False
        self._threads = [
            threading.Thread(target=self._run, name=f"onefold-writer-{n}", daemon=True) for n in range(lanes)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting_items(self) -> int:
        """Items that wait for a transaction."""
        return self._waiting

    def submit(self, batch: Batch, seconds: float | None = None) -> Future[list[Outcome]]:
        """The outcomes of the batch's items, once they are durable; within ``seconds`` or DeadlineExceeded.

        Raises Overloaded at once if too many items wait, and Unavailable if the lanes are closing.
        """
        job = _Job(batch, None if seconds is None else time.monotonic() + seconds)
        with self._changed:
            if self._closing:
                raise Unavailable("the service is shutting down")
            if self._waiting and self._waiting + len(batch.items) > self._queue_items:
                raise Overloaded("the queue of items to be written")
            self._waiting += len(batch.items)
            self._jobs.append(job)
            self._changed.notify()
        return job.answer

    def close(self) -> None:
        """Commit what waits, then end the threads."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        answered, took = 0, 0.0
        while jobs := self._gather(answered, took):
            began = time.monotonic()
            self._commit_all(jobs)
            answered, took = len(jobs), time.monotonic() - began

    def _gather(self, answered: int, took: float) -> list[_Job]:
        """The jobs of the next transaction; empty when closing and nothing waits.

        Whoever has just been ``answered`` is likely to come again. To commit without them parts the callers into halves
        that wait for each other's transactions, so they are waited for: while each comes within the lane's
        ``gather_seconds``, and for no longer than the last transaction ``took``. A caller who is alone never waits.
        """
        with self._changed:
            expected = len(self._jobs) + answered
            while True:
                while not self._jobs:
                    if self._closing:
                        return []
                    self._changed.wait()
                until = time.monotonic() + took
                while not self._closing and self._waiting < self._commit_items and len(self._jobs) < expected:
                    left = min(self._gather_seconds, until - time.monotonic())
                    if left <= 0 or not self._changed.wait(left):
                        break
                # Another lane may have taken them all in the meantime.
                if jobs := self._take():
                    return jobs

    def _take(self) -> list[_Job]:
        jobs: list[_Job] = []
        items = 0
        while self._jobs and (not items or items + len(self._jobs[0].batch.items) <= self._commit_items):
            job = self._jobs.popleft()
            items += len(job.batch.items)
            if job.answer.set_running_or_notify_cancel():
                jobs.append(job)
        self._waiting -= items
        return jobs

    def _commit_all(self, jobs: list[_Job]) -> None:
        now = time.monotonic()
        alive = []
        for job in jobs:
            if job.until is not None and job.until <= now:
                job.answer.set_exception(DeadlineExceeded("the deadline ran out before the items' turn came"))
            else:
                alive.append(job)
        if not alive:
            return
        ends = [job.until for job in alive]
        seconds = None if None in ends else max(end for end in ends if end is not None) - now
        try:
            answers = self._commit([job.batch for job in alive], seconds)
        except (Unavailable, DeadlineExceeded) as err:
            for job in alive:
                job.answer.set_exception(err)
        except Exception as err:
            # What can't be written for one caller must not fail the others.
            if len(alive) == 1:
                alive[0].answer.set_exception(err)
            else:
                for job in alive:
                    self._commit_all([job])
        else:
            for job, answer in zip(alive, answers, strict=True):
                if isinstance(answer, Exception):
                    job.answer.set_exception(answer)
                else:
                    job.answer.set_result(answer)
