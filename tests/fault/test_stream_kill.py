"""kill -9 of the service, and of its engine, while a stream writes: nothing acknowledged is lost, nothing is half.

Customers come in groups of six that share a few identifiers, so that most writes merge identities.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from neo4j.exceptions import DriverError

from onefold.graph import embedded, policy
from onefold.graph.audit import verify_log
from onefold.graph.endpoint import Endpoint
from onefold.graph.errors import Unavailable
from onefold.graph.reader import Reader
from onefold.graph.verify import verify
from onefold.v1 import identity_service_pb2 as pb
from onefold.v1 import identity_service_pb2_grpc as rpc
from onefold.v1 import record_pb2
from tests.conftest import Engine
from tests.engines import driver_of
from tests.service import ServiceProcess, assert_verified

ITEMS = 10
"""Items in a message."""
WINDOW = 8
"""Messages that may wait for their acknowledgement: enough to be in the middle of something."""

LINKS = "MATCH (c:Customer)-[:HAS_EMAIL|HAS_ID]->(v) RETURN c.key, collect(v.key)"


class Writer:
    """Streams customers, as many as it can, and remembers what was acknowledged."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._count = 0
        self._sent: dict[int, dict[str, set[str]]] = {}
        self._stop = threading.Event()
        self._window = threading.Semaphore(WINDOW)
        self.acknowledged: dict[str, set[str]] = {}
        """Each customer's key with the keys of its identifiers."""

    def write_while(self, channel: grpc.Channel, act: Callable[[], None]) -> None:
        """Stream; ``act`` after some acknowledgements, while more is under way; return when the stream has ended
        or broken."""
        self._stop.clear()
        self._window = threading.Semaphore(WINDOW)
        left = self._random.randrange(3, 30)
        acting = threading.Thread(target=self._act, args=(act,))
        try:
            for answer in rpc.IdentityServiceStub(channel).StreamRecords(self._messages()):
                refused = [result.status for result in answer.results if result.HasField("status")]
                assert not answer.HasField("status"), answer.status
                assert not refused, refused
                self.acknowledged |= self._sent.pop(answer.sequence)
                self._window.release()
                left -= 1
                if left == 0:
                    acting.start()
        except grpc.RpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                raise
        assert left <= 0, "the stream broke before anything was done to it"
        acting.join()

    def _act(self, act: Callable[[], None]) -> None:
        act()
        self._stop.set()

    def _messages(self) -> Iterator[pb.StreamRecordsRequest]:
        while not self._stop.is_set():
            if not self._window.acquire(timeout=0.1):
                continue
            message = pb.StreamRecordsRequest(sequence=self._count)
            self._sent[message.sequence] = dict(self._add(message) for _ in range(ITEMS))
            yield message

    def _add(self, message: pb.StreamRecordsRequest) -> tuple[str, set[str]]:
        number, self._count = self._count, self._count + 1
        group = number // 6
        identifiers = {
            "email": f"g{group}.{self._random.randrange(3)}@example.org",
            "member": f"{1000 + 10 * group + self._random.randrange(2)}",
        }
        customer = message.items.add().customer
        customer.key.source, customer.key.source_id = "crm", str(number)
        customer.observe_time.FromMilliseconds(1_700_000_000_000 + number)
        for kind, value in identifiers.items():
            customer.identifiers.add(kind=kind, value=value, assurance=record_pb2.ASSURANCE_VERIFIED)
        return f"crm:{number}", {f"{kind}:{value}" for kind, value in identifiers.items()}


@contextmanager
def reading(folder: Path) -> Iterator[Reader]:
    """The graph of the service that runs on the folder, by its back door."""
    endpoint = embedded.running(folder)
    with driver_of(endpoint) as driver:
        yield Reader(driver, endpoint.database, policy.load())


def assert_kept(folder: Path, writer: Writer) -> None:
    with reading(folder) as reader:
        assert_kept_in(reader, writer)


def assert_kept_in(reader: Reader, writer: Writer) -> None:
    found = {row[0]: set(row[1]) for row in reader.rows(LINKS)}
    assert {key: found.get(key) for key in writer.acknowledged} == writer.acknowledged
    assert verify(reader) == []
    assert verify_log(reader).fault == ""


@pytest.fixture
def rounds(proving: bool) -> int:
    return 10 if proving else 3


def test_kill_9_of_the_service_loses_nothing_acknowledged(tmp_path: Path, rounds: int) -> None:
    writer = Writer(seed=1)
    for _ in range(rounds):
        with ServiceProcess(tmp_path) as service:
            assert_kept(tmp_path, writer)  # from the rounds before
            with service.channel() as channel:
                writer.write_while(channel, service.kill)
    with ServiceProcess(tmp_path) as service:
        assert_kept(tmp_path, writer)
        with reading(tmp_path) as reader:
            assert_verified(service, reader)


def test_kill_9_of_a_service_on_a_running_engine_loses_nothing_acknowledged(
    engine: Engine, endpoint: Endpoint, tmp_path: Path, rounds: int
) -> None:
    writer = Writer(seed=3)
    reader = Reader(engine.driver, endpoint.database, policy.load())
    for _ in range(rounds):
        with ServiceProcess(tmp_path, endpoint) as service, service.channel() as channel:
            writer.write_while(channel, service.kill)
        assert_kept_in(reader, writer)
    assert_verified(service, reader)


def test_kill_9_of_the_engine_loses_nothing_acknowledged(tmp_path: Path, rounds: int) -> None:
    writer = Writer(seed=2)
    with ServiceProcess(tmp_path) as service:

        def kill_engine() -> None:
            os.kill(service.engine_pid(), signal.SIGKILL)
            time.sleep(0.1)

        for _ in range(rounds):
            with service.channel() as channel:
                writer.write_while(channel, kill_engine)
            wait_for_engine(tmp_path)
            assert_kept(tmp_path, writer)
        with reading(tmp_path) as reader:
            assert_verified(service, reader)


def wait_for_engine(folder: Path) -> None:
    """Return when the service's engine answers again."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with reading(folder) as reader:
                reader.rows("RETURN 1")
                return
        except (Unavailable, DriverError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
