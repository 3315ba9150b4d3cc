"""The importer's stream over a real socket, against a service that breaks in ways that pass, and in some that don't."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from onefold.graph.errors import InvalidInput, NotFound, NotReady, OnefoldError, Unavailable, Violation
from onefold.service.client import (
    MAX_ITEMS,
    MESSAGE_BYTES,
    SERVICE,
    StreamingImporter,
    error_of,
    messages_of,
    require_service,
)
from onefold.service.status import DETAILS_KEY, status_of
from onefold.v1 import identity_service_pb2, identity_service_pb2_grpc, record_pb2


class Flaky(identity_service_pb2_grpc.IdentityServiceServicer):
    """Keeps what it acknowledges (and now and then more); fails as it is told, once for each telling."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.failures: dict[int, grpc.StatusCode] = {}
        """Before which acknowledgement (counted over all streams) to fail, and how."""
        self.keeps_before_failing = False
        self.ends_early_at = -1
        self.acknowledged = 0
        self.answers: dict[tuple[str, int], list[str]] = {}
        """What each number of each stream stood for."""
        self.most_waiting = 0
        self._waiting = 0
        self._lock = threading.Lock()

    def StreamRecords(self, requests: Any, context: Any) -> Any:  # noqa: N802
        inbox: list[Any] = []
        with self._lock:
            self._waiting = 0
        more = threading.Semaphore(0)

        def read() -> None:
            try:
                for request in requests:
                    with self._lock:
                        self._waiting += 1
                        self.most_waiting = max(self.most_waiting, self._waiting)
                    inbox.append(request)
                    more.release()
            except Exception:  # the call is over
                pass
            inbox.append(None)
            more.release()

        threading.Thread(target=read, daemon=True).start()
        while more.acquire() and (request := inbox.pop(0)) is not None:
            names = [item.customer.key.source_id for item in request.items]
            if self.answers.setdefault((request.stream_id, request.sequence), names) != names:
                other = InvalidInput([Violation("sequence", "stood for other items of this stream before")])
                yield identity_service_pb2.StreamRecordsResponse(sequence=request.sequence, status=status_of(other))
                continue
            failure = self.failures.pop(self.acknowledged, None)
            if failure is not None:
                if self.keeps_before_failing:
                    self.kept += names
                context.abort(failure, "told to")
            if self.acknowledged == self.ends_early_at:
                self.ends_early_at = -1
                return
            self.kept += names
            self.acknowledged += 1
            with self._lock:
                self._waiting -= 1
            if names == ["huge"]:
                status = status_of(InvalidInput([Violation("request", "is too large")]))
                yield identity_service_pb2.StreamRecordsResponse(status=status)  # it was too large to look into
            else:
                results = [identity_service_pb2.ItemResult(index=i, identity=n) for i, n in enumerate(names)]
                yield identity_service_pb2.StreamRecordsResponse(sequence=request.sequence, results=results)


@contextmanager
def serving(servicer: Flaky, port: int = 0) -> Iterator[tuple[grpc.Server, int]]:
    server = grpc.server(ThreadPoolExecutor(8))
    identity_service_pb2_grpc.add_IdentityServiceServicer_to_server(servicer, server)
    watcher = health.HealthServicer()
    watcher.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(watcher, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield server, bound
    finally:
        server.stop(None).wait()


@contextmanager
def importing(servicer: Flaky, **options: Any) -> Iterator[StreamingImporter]:
    with serving(servicer) as (_, port), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield StreamingImporter(channel, sleep=lambda seconds: None, **options)


def item(name: str, padding: int = 0) -> record_pb2.Item:
    key = record_pb2.CustomerKey(source="crm", source_id=name)
    return record_pb2.Item(customer=record_pb2.Customer(key=key, traits=record_pb2.Traits(full_name="x" * padding)))


def messages(count: int) -> list[list[record_pb2.Item]]:
    return [[item(f"{n}a"), item(f"{n}b")] for n in range(count)]


def names(sent: list[list[record_pb2.Item]]) -> list[list[str]]:
    return [[i.customer.key.source_id for i in message] for message in sent]


def flat(nested: list[list[str]]) -> list[str]:
    return [name for names in nested for name in names]


def answered(importer: StreamingImporter, sent: list[list[record_pb2.Item]]) -> list[list[str]]:
    return [[result.identity for result in results] for results in importer.send(sent)]


def test_every_message_is_answered_once_and_in_order() -> None:
    servicer = Flaky()
    with importing(servicer) as importer:
        assert answered(importer, messages(50)) == names(messages(50))
    assert servicer.kept == flat(names(messages(50)))


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
    ],
)
def test_a_broken_stream_is_taken_up_after_the_last_acknowledgement(code: grpc.StatusCode) -> None:
    servicer = Flaky()
    servicer.failures = {0: code, 7: code, 8: code, 29: code}
    with importing(servicer) as importer:
        assert answered(importer, messages(30)) == names(messages(30))
    assert servicer.kept == flat(names(messages(30)))


def test_what_was_kept_but_not_acknowledged_is_sent_again() -> None:
    servicer = Flaky()
    servicer.failures = {5: grpc.StatusCode.UNAVAILABLE}
    servicer.keeps_before_failing = True
    with importing(servicer) as importer:
        assert answered(importer, messages(10)) == names(messages(10))
    assert servicer.kept.count("5a") == 2
    assert set(servicer.kept) == set(flat(names(messages(10))))


def test_all_streams_of_one_sending_have_one_id_and_those_of_another_one_another() -> None:
    servicer = Flaky()
    servicer.failures = {3: grpc.StatusCode.UNAVAILABLE, 7: grpc.StatusCode.ABORTED}
    with importing(servicer) as importer:
        for _ in range(2):
            assert answered(importer, messages(10)) == names(messages(10))
    sent: dict[str, list[int]] = {}
    for stream, sequence in servicer.answers:
        sent.setdefault(str(uuid.UUID(stream)), []).append(sequence)
    assert list(sent.values()) == [list(range(1, 11))] * 2


def test_a_sending_that_is_resumed_goes_on_with_its_id_and_its_numbers() -> None:
    servicer, stream = Flaky(), str(uuid.uuid4())
    with importing(servicer) as importer:
        list(importer.send(messages(10)[:4], stream))
        list(importer.send(messages(10)[3:], stream, 3))
    assert servicer.answers == {(stream, n): names(messages(10))[n - 1] for n in range(1, 11)}


def test_a_resumed_sending_whose_messages_have_become_others_loses_none_of_them() -> None:
    servicer, stream = Flaky(), str(uuid.uuid4())
    others = [[item(f"{n}c")] for n in range(20)]
    with importing(servicer) as importer:
        list(importer.send(messages(4), stream))
        received = importer.send(others, stream, 2)
        assert [[result.identity for result in results] for results in received] == names(others)
    assert set(servicer.kept) == set(flat(names(messages(4)) + names(others)))


def test_a_stream_that_ends_too_early_counts_as_broken() -> None:
    servicer = Flaky()
    servicer.ends_early_at = 3
    with importing(servicer) as importer:
        assert answered(importer, messages(10)) == names(messages(10))


def test_no_more_than_the_window_waits_for_an_acknowledgement() -> None:
    servicer = Flaky()
    with importing(servicer, window=3) as importer:
        assert len(answered(importer, messages(40))) == 40
    assert servicer.most_waiting <= 3


def test_messages_are_read_only_as_far_ahead_as_the_window() -> None:
    read = 0

    def source() -> Iterator[list[record_pb2.Item]]:
        nonlocal read
        for message in messages(100):
            read += 1
            yield message

    with importing(Flaky(), window=4) as importer:
        for done, _ in enumerate(importer.send(source()), 1):
            assert read <= done + 3 + 1


def test_an_error_that_does_not_pass_ends_it_at_once() -> None:
    servicer = Flaky()
    servicer.failures = {2: grpc.StatusCode.INTERNAL}
    with importing(servicer) as importer:
        received = importer.send(messages(10))
        assert [next(received), next(received)]
        with pytest.raises(OnefoldError, match="told to"):
            next(received)


def test_patience_ends_and_says_why() -> None:
    pauses: list[float] = []
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        importer = StreamingImporter(
            channel, patience=0.2, on_pause=lambda error, seconds: pauses.append(seconds), sleep=lambda seconds: None
        )
        with pytest.raises(Unavailable):
            next(importer.send(messages(1)))
    assert pauses
    assert max(pauses) <= 5.0


def test_an_importer_outlives_a_restart_of_the_service() -> None:
    first, second = Flaky(), Flaky()
    with serving(first) as (server, port), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        received = StreamingImporter(channel, window=2).send(messages(20))
        head = [next(received) for _ in range(5)]
        server.stop(None).wait()
        with serving(second, port):
            tail = list(received)
    assert [[r.identity for r in results] for results in [*head, *tail]] == names(messages(20))
    assert set(first.kept) | set(second.kept) == set(flat(names(messages(20))))


def test_a_message_refused_as_a_whole_is_an_error_of_each_of_its_items() -> None:
    with importing(Flaky()) as importer:
        refused, good = importer.send([[item("huge")], [item("small")]])
    assert [result.status.code for result in refused] == [grpc.StatusCode.INVALID_ARGUMENT.value[0]]
    assert [result.identity for result in good] == ["small"]


def test_messages_are_bounded_by_items_and_by_bytes() -> None:
    many = list(messages_of(item(str(n)) for n in range(2 * MAX_ITEMS + 1)))
    assert [len(message) for message in many] == [MAX_ITEMS, MAX_ITEMS, 1]
    large = list(messages_of(item(str(n), MESSAGE_BYTES // 3) for n in range(7)))
    assert [len(message) for message in large] == [2, 2, 2, 1]
    assert [len(message) for message in messages_of([item("huge", 2 * MESSAGE_BYTES), item("small")])] == [1, 1]
    assert list(messages_of([])) == []


def test_a_service_that_is_there_is_told_from_one_that_is_not() -> None:
    with serving(Flaky()) as (_, port), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        require_service(channel, "here")
    with (
        grpc.insecure_channel("127.0.0.1:1") as channel,
        pytest.raises(Unavailable, match=r"no Onefold answers at there: start one with `onefold serve`"),
    ):
        require_service(channel, "there")


class Failure(grpc.RpcError):
    """A call that failed as the service says it."""

    def __init__(self, error: OnefoldError) -> None:
        self._status = status_of(error)

    def code(self) -> grpc.StatusCode:
        return next(code for code in grpc.StatusCode if code.value[0] == self._status.code)

    def details(self) -> str:
        return str(self._status.message)

    def trailing_metadata(self) -> Any:
        return ((DETAILS_KEY, self._status.SerializeToString()),)


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput([Violation("subject.identity", "must be a UUID"), Violation("page_size", "is negative")]),
        NotFound("customer", "crm:17"),
        NotReady("churn model", "none has been trained yet"),
    ],
)
def test_an_error_comes_back_as_what_it_was(error: OnefoldError) -> None:
    back = error_of(Failure(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
