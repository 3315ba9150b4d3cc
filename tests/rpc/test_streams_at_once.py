"""One world told by several streams at once, each with every item twice and in an order and batches of its own: what is
stored is what bulk resolution makes of it, and every message is acknowledged in its turn."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

from onefold.graph.reader import Reader
from onefold.v1 import identity_service_pb2 as pb
from onefold.v1 import identity_service_pb2_grpc as rpc
from onefold.v1 import record_pb2
from tests import items as make
from tests.conftest import Engine
from tests.service import ServiceProcess, assert_kept
from tests.wire import is_sayable, item_to_proto
from tests.worlds import RULES, rules

SIZES = (2, 7, 25)
"""Items in a message, a stream each."""


def messages(items: Sequence[record_pb2.Item], size: int, seed: str, stream: str = "") -> list[pb.StreamRecordsRequest]:
    """Every item twice, shuffled."""
    told = random.Random(seed).sample([*items, *items], 2 * len(items))
    parts = [told[n : n + size] for n in range(0, len(told), size)]
    return [pb.StreamRecordsRequest(sequence=n, items=part, stream_id=stream) for n, part in enumerate(parts, start=1)]


def accepted(sent: Iterable[pb.StreamRecordsRequest], answers: Iterable[pb.StreamRecordsResponse]) -> set[bytes]:
    """The items that were, as they go over the wire; a word on a record that nobody has spoken of yet is not."""
    found = set()
    for message, answer in zip(sent, answers, strict=True):
        assert not answer.HasField("status"), answer.status
        for item, result in zip(message.items, answer.results, strict=True):
            if not result.HasField("status"):
                found.add(item.SerializeToString(deterministic=True))
            else:
                assert item.WhichOneof("item") in ("match", "ban"), result.status
    return found


def test_streams_that_tell_one_world_in_their_own_ways_leave_what_bulk_makes_of_it(
    engine: Engine, endpoint: object, tmp_path: Path, proving: bool
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(RULES)
    lanes = {"neo4j": "3", "embedded": "1"}[engine.name]
    reader = Reader(engine.driver, engine.endpoint.database, rules())
    said: list[record_pb2.Item] = []
    with (
        ServiceProcess(tmp_path, engine.endpoint, policy_file=str(policy), writer_lanes=lanes) as service,
        service.channel() as channel,
        ThreadPoolExecutor(len(SIZES) + 2) as callers,
    ):
        stub = rpc.IdentityServiceStub(channel)

        def send(sent: Sequence[pb.StreamRecordsRequest]) -> list[pb.StreamRecordsResponse]:
            answers = list(stub.StreamRecords(iter(sent), timeout=120))
            assert [answer.sequence for answer in answers] == [message.sequence for message in sent]
            return answers

        for seed in range(20 if proving else 1):
            items = [item_to_proto(item, seed) for item in make.upheavals(seed, 40) if is_sayable(item)]
            streams = [messages(items, size, f"{seed}/{size}") for size in SIZES]
            # A stream that its client took for broken is resumed while the service still reads it.
            streams += [messages(items, 5, f"{seed}", str(uuid4()))] * 2
            *answers, first, second = callers.map(send, streams)
            assert first == second, "one message is answered alike"
            heard = set[bytes]().union(*map(accepted, streams, [*answers, first, second]))
            late = [item for item in items if item.SerializeToString(deterministic=True) not in heard]
            said += [item for item in items if item not in late]
            for item in late:
                alone = [pb.StreamRecordsRequest(sequence=1, items=[item])]
                said += [item] if accepted(alone, send(alone)) else []
        assert_kept(reader, said)
