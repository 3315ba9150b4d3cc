"""Which callers a writer lane commits together."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from onefold.graph.errors import InvalidInput, Violation
from onefold.graph.ingest import Answer, Batch
from onefold.graph.lane import Unprepared, WriterLanes
from onefold.graph.model import Deletion

ITEM = [Deletion("customer:crm:1", 0)]


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
    first = lanes.submit(Batch(ITEM))
    while not commits.sizes:
        time.sleep(0.001)
    waiting = [lanes.submit(Batch(ITEM)) for _ in range(3)]
    commits.go_on.set()
    first.result(10)
    again = lanes.submit(Batch(ITEM))
    for answer in (*waiting, again):
        answer.result(10)
    lanes.close()
    assert commits.sizes == [1, 4]


def test_whoever_was_answered_and_does_not_come_again_is_not_waited_for_longer_than_the_last_commit_took() -> None:
    commits = Commits()
    commits.go_on.set()
    lanes = WriterLanes(commits, gather_seconds=60.0)
    lanes.submit(Batch(ITEM)).result(10)
    both = [lanes.submit(Batch(ITEM)) for _ in range(2)]
    for answer in both:
        answer.result(10)
    alone = lanes.submit(Batch(ITEM))
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
        lanes.submit(Batch(ITEM)).result(10)
    took = time.monotonic() - began
    lanes.close()
    assert commits.sizes == [1, 1, 1]
    assert took < 3.0, "three commits of 50 ms; a wait for the last caller would be one of 60 s"


def test_who_was_answered_is_waited_for_though_others_have_waited_long() -> None:
    commits = Commits()
    lanes = WriterLanes(commits, gather_seconds=0.03)
    first = lanes.submit(Batch(ITEM))
    while not commits.sizes:
        time.sleep(0.001)
    waiting = lanes.submit(Batch(ITEM))
    commits.go_on.set()  # and the first commit goes on for longer than the lane waits for a caller
    first.result(10)
    again = lanes.submit(Batch(ITEM))
    waiting.result(10)
    again.result(10)
    lanes.close()
    assert commits.sizes == [1, 2]


def test_small_batches_are_made_on_the_lanes_thread_and_one_that_can_not_be_fails_alone() -> None:
    commits = Commits()
    commits.go_on.set()
    lanes = WriterLanes(commits)
    made_by: list[str] = []

    def good() -> Batch:
        made_by.append(threading.current_thread().name)
        return Batch(ITEM)

    def bad() -> Batch:
        raise InvalidInput([Violation("items", "must make sense")])

    answers = [lanes.submit(Unprepared(1, make)) for make in (good, bad, good)]
    assert [answer.exception(10) is None for answer in answers] == [True, False, True]
    lanes.close()
    assert sum(commits.sizes) == 2
    assert set(made_by) == {"onefold-writer-0"}


def test_who_has_nothing_to_write_is_answered_without_a_transaction() -> None:
    commits = Commits()
    commits.go_on.set()
    lanes = WriterLanes(commits)
    refused = Batch([], refused={0: [Violation("customer.key", "is required")]})
    for asked in (refused, Unprepared(1, lambda: refused)):
        (outcome,) = lanes.submit(asked).result(10)
        assert outcome.violations == (Violation("customer.key", "is required"),)
    lanes.close()
    assert commits.sizes == []
