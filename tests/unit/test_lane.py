"""Which callers a writer lane commits together."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from onefold.graph.ingest import Answer, Batch
from onefold.graph.lane import WriterLanes


class Commits:
    """Notes how many callers each transaction has; the first waits until it is let go."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.go_on = threading.Event()

    def __call__(self, batches: Sequence[Batch], _seconds: float | None) -> list[Answer]:
        self.sizes.append(len(batches))
        self.go_on.wait(10)
        time.sleep(0.05)
        return [[] for _ in batches]


def test_callers_that_come_again_are_committed_with_those_who_waited() -> None:
    commits = Commits()
    lanes = WriterLanes(commits, gather_seconds=5.0)
    first = lanes.submit(Batch([]))
    while not commits.sizes:
        time.sleep(0.001)
    waiting = [lanes.submit(Batch([])) for _ in range(3)]
    commits.go_on.set()
    first.result(10)
    again = lanes.submit(Batch([]))
    for answer in (*waiting, again):
        answer.result(10)
    lanes.close()
    assert commits.sizes == [1, 4]


def test_whoever_was_answered_and_does_not_come_again_is_not_waited_for_longer_than_the_last_commit_took() -> None:
    commits = Commits()
    commits.go_on.set()
    lanes = WriterLanes(commits, gather_seconds=60.0)
    lanes.submit(Batch([])).result(10)
    both = [lanes.submit(Batch([])) for _ in range(2)]
    for answer in both:
        answer.result(10)
    alone = lanes.submit(Batch([]))
    alone.result(10)
    lanes.close()
    assert sum(commits.sizes) == 4
    assert commits.sizes[-1] == 1


def test_a_caller_who_is_alone_does_not_wait() -> None:
    commits = Commits()
    commits.go_on.set()
    lanes = WriterLanes(commits, gather_seconds=60.0)
    began = time.monotonic()
    for _ in range(3):
        lanes.submit(Batch([])).result(10)
    took = time.monotonic() - began
    lanes.close()
    assert commits.sizes == [1, 1, 1]
    assert took < 3.0, "three commits of 50 ms; a wait for the last caller would be one of 60 s"
