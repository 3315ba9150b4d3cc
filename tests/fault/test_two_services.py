"""Two services on one Neo4j under load, one of them killed by kill -9 every few seconds, and the engine too: nothing
acknowledged is lost, a repeat gets its first answer, and all is as bulk resolution has it."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TypeVar

import grpc
import pytest

from onefold.graph.embedded import EmbeddedEngine
from onefold.graph.endpoint import Endpoint
from onefold.graph.reader import Reader
from onefold.v1 import identity_service_pb2 as ipb
from onefold.v1 import identity_service_pb2_grpc as rpc
from onefold.v1 import record_pb2 as pb
from tests import items as make
from tests.engines import Neo4jProcess, NoNeo4j, driver_of
from tests.service import ServiceProcess, assert_kept, assert_verified
from tests.wire import is_sayable, item_to_proto
from tests.worlds import RULES, rules

T = TypeVar("T")

CLIENTS = 4
PASSING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
"""What a client tries again after."""


def test_two_services_on_one_engine_lose_nothing_when_they_are_killed(
    endpoint: Endpoint, tmp_path: Path, proving: bool
) -> None:
    drill(endpoint, tmp_path, kills=12 if proving else 2)


def test_nor_when_the_embedded_engine_is_killed_too(tmp_path: Path, proving: bool) -> None:
    folder = tmp_path / "engine"
    with EmbeddedEngine(folder, heap="512m") as endpoint:

        def kill_engine() -> None:
            owner = json.loads((folder / "engine" / "owner.json").read_text())
            os.kill(owner["engine"]["pid"], signal.SIGKILL)  # it is started again by whom it belongs to

        drill(endpoint, tmp_path, kills=8 if proving else 2, kill_engine=kill_engine)


def test_nor_when_neo4j_is_killed_too(tmp_path: Path, proving: bool) -> None:
    try:
        neo4j = Neo4jProcess(tmp_path / "neo4j")
    except NoNeo4j as reason:
        pytest.skip(f"no Neo4j to kill: {reason}")
    with closing(neo4j):

        def kill_engine() -> None:
            neo4j.kill()
            neo4j.start()

        drill(neo4j.endpoint, tmp_path, kills=8 if proving else 2, kill_engine=kill_engine)


def drill(endpoint: Endpoint, folder: Path, kills: int, kill_engine: Callable[[], None] | None = None) -> None:
    """Kill one of two services every few seconds, and some times the engine, while clients write through both."""
    policy = folder / "policy.yaml"
    policy.write_text(RULES)
    over = threading.Event()
    with ExitStack() as stack:
        replicas = [
            stack.enter_context(Replica(ServiceProcess(folder / name, endpoint, policy_file=str(policy))))
            for name in ("one", "other")
        ]
        clients = [Client(n, replicas, over) for n in range(CLIENTS)]
        with ThreadPoolExecutor(CLIENTS) as pool:
            running = [pool.submit(client.run) for client in clients]
            try:
                for n in range(kills):
                    time.sleep(random.Random(n).uniform(1, 3))
                    replicas[n % 2].kill_and_start()
                    if kill_engine and n % 6 == 1:
                        kill_engine()
            finally:
                over.set()
        for client in running:
            client.result()
        assert all(client.said for client in clients), "the drill needs load"
        late = Client(0, replicas, over)
        said = [item for client in clients for item in (*client.said, *late.say(client.refused))]
        with driver_of(endpoint) as driver:
            reader = Reader(driver, endpoint.database, rules())
            assert_kept(reader, said)
            assert_verified(replicas[0].process, reader)


class Replica:
    """A service that is killed and started again, wherever it then serves."""

    def __init__(self, process: ServiceProcess) -> None:
        self.process = process

    def __enter__(self) -> Replica:
        self.process.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.__exit__(None, None, None)

    def kill_and_start(self) -> None:
        self.process.kill()
        self.process.__exit__(None, None, None)
        self.process.__enter__()

    def channel(self) -> grpc.Channel:
        return self.process.channel()


class Client:
    """Says its share of one world after the other: even ones in calls, odd ones on streams."""

    def __init__(self, number: int, replicas: Sequence[Replica], over: threading.Event) -> None:
        self._number = number
        self._replicas = replicas
        self._over = over
        self._random = random.Random(number)
        self.said: list[pb.Item] = []
        """What was acknowledged."""
        self.refused: list[pb.Item] = []
        """Words on records that nobody had spoken of yet."""

    def run(self) -> None:
        """Until it is over."""
        space = 0
        while not self._over.is_set():
            share = [item for item in make.upheavals(space, 80) if is_sayable(item)][self._number :: CLIENTS]
            items = [item_to_proto(item, space) for item in self._random.sample(share, len(share))]
            batches = [items[n : n + 5] for n in range(0, len(items), 5)]
            answers = self._stream(batches) if self._number % 2 else [self._call(batch) for batch in batches]
            for batch, results in zip(batches, answers, strict=True):
                self._note(batch, results)
            space += 1

    def say(self, items: Sequence[pb.Item]) -> list[pb.Item]:
        """Those of the items that are accepted, said one by one."""
        return [item for item in items if not self._call([item])[0].HasField("status")]

    def _note(self, batch: Sequence[pb.Item], results: Sequence[ipb.ItemResult]) -> None:
        for item, result in zip(batch, results, strict=True):
            refused = result.HasField("status")
            assert not refused or item.WhichOneof("item") in ("match", "ban"), result.status
            (self.refused if refused else self.said).append(item)

    def _call(self, batch: Sequence[pb.Item]) -> list[ipb.ItemResult]:
        """One call until it is answered; asked again of another replica, it is answered the same."""
        request = ipb.IngestRecordsRequest(items=batch, request_id=str(uuid.uuid4()))

        def call(stub: rpc.IdentityServiceStub) -> list[ipb.ItemResult]:
            return list(stub.IngestRecords(request, timeout=30).results)

        answer = self._try(call)
        if self._random.random() < 0.1:
            assert self._try(call) == answer
        return answer

    def _stream(self, batches: Sequence[Sequence[pb.Item]]) -> list[list[ipb.ItemResult]]:
        """One stream of messages, resumed until all are acknowledged; resumed once more, it is answered the same."""
        stream = str(uuid.uuid4())
        messages = [
            ipb.StreamRecordsRequest(sequence=number, items=batch, stream_id=stream)
            for number, batch in enumerate(batches, start=1)
        ]
        answers: dict[int, list[ipb.ItemResult]] = {}

        def resume(stub: rpc.IdentityServiceStub) -> None:
            left = iter(messages[len(answers) :])
            for answer in stub.StreamRecords(left, timeout=60):
                assert not answer.HasField("status"), answer.status
                assert answer.sequence == len(answers) + 1, "acknowledgements come in order"
                answers[answer.sequence] = list(answer.results)

        self._try(resume)
        first = dict(answers)
        answers.clear()
        if self._random.random() < 0.2:
            self._try(resume)
            assert answers == first
        return [first[message.sequence] for message in messages]

    def _try(self, ask: Callable[[rpc.IdentityServiceStub], T]) -> T:
        until = time.monotonic() + 120
        while True:
            try:
                with self._random.choice(self._replicas).channel() as channel:
                    return ask(rpc.IdentityServiceStub(channel))
            except grpc.RpcError as error:
                if error.code() not in PASSING or time.monotonic() > until:
                    raise
                time.sleep(self._random.uniform(0.05, 0.2))
