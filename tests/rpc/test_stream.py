"""What a stream of records does when commits are slow, fail, or nobody waits for them: real lanes, a made-up commit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo

from onefold.graph import policy
from onefold.graph.errors import Conflict
from onefold.graph.ingest import Batch, Outcome
from onefold.graph.lane import WriterLanes
from onefold.graph.model import Customer
from onefold.graph.reader import Reader
from onefold.service import wire
from onefold.service.feed import IDENTITIES, Feed
from onefold.service.identity_servicer import IdentityServicer
from onefold.service.server import Server, Service
from onefold.service.settings import Settings
from onefold.v1 import identity_service_pb2 as pb
from onefold.v1 import identity_service_pb2_grpc
from tests.rpc.echo import details
from tests.rpc.items import code, customer, violations

IN_FLIGHT = 4
"""Messages of one item: each takes the room of its item and one more."""


class Commits:
    """Commits one batch at a time when the gate is open, and remembers the customers; some of them it can't."""

    def __init__(self, fails: str = "") -> None:
        self.gate = threading.Event()
        self.begun = threading.Event()
        self.committed: list[str] = []
        self._fails = fails

    def __call__(self, batches: Sequence[Batch], seconds: float | None) -> list[list[Outcome]]:
        self.begun.set()
        assert self.gate.wait(30)
        ids = [cast(Customer, item).source_id for batch in batches for item in batch.items]
        if self._fails in ids:
            raise Conflict("gave up")
        self.committed += ids
        return [[Outcome(True, "", "an-id") for _ in batch.items] for batch in batches]


@contextmanager
def serving(commits: Commits, **settings: Any) -> Iterator[tuple[WriterLanes, Any]]:
    lanes = WriterLanes(commits, commit_items=1)
    reader = Reader(cast(Any, None), "", policy.load())  # no call here reads
    service = Service(
        identity_service_pb2_grpc.add_IdentityServiceServicer_to_server,
        IdentityServicer(lanes, reader, Feed(reader, IDENTITIES), items_in_flight=2 * (IN_FLIGHT + 1)),
        "onefold.v1.IdentityService",
    )
    try:
        with (
            Server(Settings(listen="127.0.0.1:0", **settings), [service], decoders=wire.decoders()) as server,
            grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        ):
            yield lanes, identity_service_pb2_grpc.IdentityServiceStub(channel)
    finally:
        commits.gate.set()
        lanes.close()


class Sender:
    """Messages of one customer each, sent until told to stop; then the stream stays open."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._over = threading.Event()

    def __iter__(self) -> Iterator[pb.StreamRecordsRequest]:
        for n in range(self._count):
            yield pb.StreamRecordsRequest(sequence=n, items=[customer(f"crm:{n}")])
        self._over.wait(30)

    def end(self) -> None:
        self._over.set()


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "not in time"
        time.sleep(0.01)


def streams() -> int:
    return sum(thread.name == "onefold-stream" for thread in threading.enumerate())


def test_a_write_that_fails_ends_the_stream_with_its_status_after_what_was_acknowledged() -> None:
    commits, sender = Commits(fails="2"), Sender(20)
    commits.gate.set()
    with serving(commits) as (_, stub):
        answers = stub.StreamRecords(iter(sender), timeout=30)
        assert [next(answers).sequence, next(answers).sequence] == [0, 1]
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
        status, found = details(caught.value)
        assert code(status) is grpc.StatusCode.ABORTED
        assert isinstance(found["RetryInfo"], RetryInfo)
        wait_until(lambda: streams() == 0)
        sender.end()


def test_a_message_that_is_too_large_is_refused_alone_and_the_stream_goes_on() -> None:
    commits = Commits()
    commits.gate.set()
    messages = [
        pb.StreamRecordsRequest(sequence=1, items=[customer("crm:1")]),
        pb.StreamRecordsRequest(sequence=2, items=[customer("crm:2", full_name="x" * (1 << 16))]),
        pb.StreamRecordsRequest(sequence=3, items=[customer("crm:3")]),
    ]
    with serving(commits, max_message_bytes=1 << 16) as (_, stub):
        first, large, last = stub.StreamRecords(iter(messages), timeout=30)
    assert (first.sequence, large.sequence, last.sequence) == (1, 0, 3)
    assert code(large.status) is grpc.StatusCode.INVALID_ARGUMENT
    assert list(violations(large.status)) == ["request"]
    info = ErrorInfo()
    assert any(detail.Unpack(info) for detail in large.status.details)
    assert info.reason == "MESSAGE_TOO_LARGE"
    assert commits.committed == ["1", "3"]


def test_few_messages_of_a_stream_wait_for_their_commit_however_many_are_sent() -> None:
    commits, sender = Commits(), Sender(200)
    with serving(commits) as (lanes, stub):
        answers = stub.StreamRecords(iter(sender), timeout=30)
        assert commits.begun.wait(10)
        time.sleep(0.5)
        # One more is being acknowledged and one being put into the queue; the first is no longer waiting.
        assert 0 < lanes.waiting_items <= IN_FLIGHT + 1
        commits.gate.set()
        sender.end()
        assert [a.sequence for a in answers] == list(range(200))


def test_what_a_client_that_went_away_has_not_waited_for_is_not_written() -> None:
    commits, sender = Commits(), Sender(200)
    with serving(commits) as (lanes, stub):
        answers = stub.StreamRecords(iter(sender))
        wait_until(lambda: lanes.waiting_items >= IN_FLIGHT)
        answers.cancel()
        time.sleep(0.2)
        commits.gate.set()
        wait_until(lambda: streams() == 0 and lanes.waiting_items == 0)
        sender.end()
    assert len(commits.committed) <= 3


def test_a_deadline_ends_a_stream_whose_commit_takes_too_long() -> None:
    commits, sender = Commits(), Sender(3)
    with serving(commits) as (_, stub):
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.StreamRecords(iter(sender), timeout=1))
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        commits.gate.set()
        wait_until(lambda: streams() == 0)
        sender.end()


def test_a_unary_call_does_not_wait_longer_than_its_deadline() -> None:
    commits = Commits()
    with serving(commits) as (_, stub):
        began = time.monotonic()
        with pytest.raises(grpc.RpcError) as caught:
            stub.IngestRecords(pb.IngestRecordsRequest(items=[customer("crm:1")]), timeout=1)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - began < 5
