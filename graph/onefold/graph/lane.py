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


@dataclass(frozen=True, slots=True)
class Unprepared:
    """A batch that is yet to be made, on the lane's thread. Each thread that checks one record finds cold caches, and
    one that checks thirty in a row is several times as fast: worth it where a batch is small."""

    items: int
    """How many it will have at most."""
    prepare: Callable[[], Batch]
    """Makes it; what this raises is the answer."""


@dataclass(slots=True)
class _Job:
    batch: Batch | Unprepared
    size: int
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
        self._newest = 0.0
        """When the newest job came, on the monotonic clock."""
        self._enough: dict[int, int] = {}
        """By thread, for how many jobs the lanes wait that gather."""
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

    def submit(self, batch: Batch | Unprepared, seconds: float | None = None) -> Future[list[Outcome]]:
        """The outcomes of the batch's items, once they are durable; within ``seconds`` or DeadlineExceeded.

        A batch without anything to write or to remember is answered at once. Raises Overloaded at once if too many
        items wait, and Unavailable if the lanes are closing.
        """
        size = batch.items if isinstance(batch, Unprepared) else len(batch.items)
        job = _Job(batch, size, None if seconds is None else time.monotonic() + seconds)
        if isinstance(batch, Batch) and batch.is_empty:
            job.answer.set_result(batch.answer(iter(())))
            return job.answer
        with self._changed:
            if self._closing:
                raise Unavailable("the service is shutting down")
            if self._waiting and self._waiting + size > self._queue_items:
                raise Overloaded("the queue of items to be written")
            self._waiting += size
            self._jobs.append(job)
            self._newest = time.monotonic()
            if not self._enough:
                self._changed.notify()
            elif self._is_full or len(self._jobs) >= min(self._enough.values()):
                self._changed.notify_all()  # a lane that was woken by each job would keep the next one from coming
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
                self._await(expected, took)
                # Another lane may have taken them all in the meantime.
                if jobs := self._take():
                    return jobs

    def _await(self, expected: int, seconds: float) -> None:
        """Return when that many jobs are there, or as much as a transaction takes; or when none has come for a while;
        after these ``seconds`` at the latest."""
        me, began = threading.get_ident(), time.monotonic()
        self._enough[me] = expected
        while not self._closing and not self._is_full and len(self._jobs) < expected:
            left = min(max(began, self._newest) + self._gather_seconds, began + seconds) - time.monotonic()
            if left <= 0:
                break
            self._changed.wait(left)
        del self._enough[me]

    @property
    def _is_full(self) -> bool:
        return self._waiting >= self._commit_items

    def _take(self) -> list[_Job]:
        jobs: list[_Job] = []
        items = 0
        while self._jobs and (not items or items + self._jobs[0].size <= self._commit_items):
            job = self._jobs.popleft()
            items += job.size
            if job.answer.set_running_or_notify_cancel():
                jobs.append(job)
        self._waiting -= items
        return jobs

    def _commit_all(self, jobs: list[_Job]) -> None:
        now = time.monotonic()
        alive: list[_Job] = []
        batches: list[Batch] = []
        for job in jobs:
            if job.until is not None and job.until <= now:
                job.answer.set_exception(DeadlineExceeded("the deadline ran out before the items' turn came"))
            elif (batch := _prepared(job)) is not None:
                alive.append(job)
                batches.append(batch)
        if not alive:
            return
        ends = [job.until for job in alive]
        seconds = None if None in ends else max(end for end in ends if end is not None) - now
        try:
            answers = self._commit(batches, seconds)
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


def _prepared(job: _Job) -> Batch | None:
    """The job's batch; None if there is nothing to write, and the job is answered."""
    try:
        batch = job.batch.prepare() if isinstance(job.batch, Unprepared) else job.batch
    except Exception as err:
        job.answer.set_exception(err)
        return None
    job.batch = batch  # which may be tried again, alone
    if batch.is_empty:
        job.answer.set_result(batch.answer(iter(())))
        return None
    return batch
