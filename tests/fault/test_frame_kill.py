"""kill -9 of a service that publishes one frame after another: nothing is published by half, and the feed tells each
entry and each exit once."""

from __future__ import annotations

import random
import time
from pathlib import Path

import grpc

from onefold.graph.endpoint import Endpoint
from onefold.graph.memberships import SegmentChange, read_on
from onefold.graph.reader import Reader
from onefold.segments.generations import Generations
from onefold.v1 import identity_service_pb2, identity_service_pb2_grpc, record_pb2
from onefold.v1 import segment_service_pb2 as pb
from onefold.v1.segment_service_pb2_grpc import SegmentServiceStub
from tests.engines import driver_of
from tests.rpc import items as make
from tests.service import ServiceProcess
from tests.worlds import rules

RULES = {"buyers": "purchases >= 2", "everybody": "purchases >= 0", "read": '!in_segment("buyers")'}
PEOPLE = 60


def test_a_killed_service_publishes_nothing_by_half_and_tells_nothing_twice(
    endpoint: Endpoint, tmp_path: Path, proving: bool
) -> None:
    rng = random.Random(1)
    service = ServiceProcess(tmp_path, endpoint, frame_minutes="0.005")
    with driver_of(endpoint) as driver:
        reader = Reader(driver, endpoint.database, rules())
        kills = 15 if proving else 3
        for turn in range(kills + 1):
            with service, service.channel() as channel:
                stub = SegmentServiceStub(channel)
                if turn == 0:
                    for key, rule in RULES.items():
                        stub.CreateSegment(pb.CreateSegmentRequest(segment=pb.Segment(key=key, rule=rule)))
                say(channel, upheaval(rng, turn))
                if turn < kills:
                    time.sleep(rng.uniform(0, 3))
                    service.kill()
                else:
                    until_settled(reader, stub)
            generations = Generations(tmp_path / "frames")
            if generations.current() is not None:  # else it was killed before the first
                with generations.open() as frame:
                    frame.verify()
        assert told_once(feed(reader)) == on_identities(reader)


def upheaval(rng: random.Random, turn: int) -> list[record_pb2.Item]:
    """People who come, buy, turn out to be one, and are parted again."""
    seen = make.NOW + turn
    new = [make.customer(f"web:{turn}-{n}", seen=seen) for n in range(PEOPLE)]
    of = [f"web:{turn}-{n % PEOPLE}" for n in range(2 * PEOPLE)]
    orders = [make.order(f"shop:{turn}-{n}", of=each) for n, each in enumerate(of) if rng.random() < 0.6]
    matches = [
        make.match(f"web:{turn}-{n}", f"web:{rng.randint(0, turn)}-{n + 1}", seen) for n in range(0, PEOPLE - 1, 3)
    ]
    bans = [make.ban(f"web:{turn - 1}-{n}", f"web:{turn - 1}-{n + 1}", seen) for n in range(0, PEOPLE - 1, 6) if turn]
    return [*new, *orders, *matches, *bans, *(make.deletion(f"web:{turn}-{n}", seen) for n in range(2, PEOPLE, 20))]


def say(channel: grpc.Channel, items: list[record_pb2.Item]) -> None:
    stub = identity_service_pb2_grpc.IdentityServiceStub(channel)
    for start in range(0, len(items), 100):
        stub.IngestRecords(identity_service_pb2.IngestRecordsRequest(items=items[start : start + 100]), timeout=60)


def until_settled(reader: Reader, stub: SegmentServiceStub) -> None:
    end = time.monotonic() + 120
    while not settled(reader, stub):
        assert time.monotonic() < end
        time.sleep(0.5)


def settled(reader: Reader, stub: SegmentServiceStub) -> bool:
    """Whether the frame has everybody, identities have the frame, and nobody is left to be told of."""
    ((people, left),) = reader.rows(
        "MATCH (i:Identity) RETURN"
        " count(CASE WHEN i.merged_into IS NULL AND i.erased_at IS NULL AND NOT i.anonymous THEN 1 END),"
        " count(i.leaving)"
    )
    try:
        request = pb.PreviewSegmentRequest(group=pb.Group(segment="everybody"))
        found = stub.PreviewSegment(request, timeout=30).member_count
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.FAILED_PRECONDITION:  # no frame yet
            return False
        raise
    return left == 0 and found == people == sum(key == "everybody" for key, _ in on_identities(reader))


def feed(reader: Reader) -> list[SegmentChange]:
    """All of it, without gaps."""
    changes: list[SegmentChange] = []
    while (stretch := read_on(reader, len(changes))).changes:
        changes += stretch.changes
    assert [change.sequence for change in changes] == list(range(1, len(changes) + 1))
    return changes


def told_once(changes: list[SegmentChange]) -> set[tuple[str, str]]:
    """Who is in by what was told; nobody comes who is in, or leaves who is not."""
    members: set[tuple[str, str]] = set()
    for change in changes:
        who = (change.segment, change.identity)
        assert (change.kind.value == "LEFT") == (who in members), change
        (members.remove if who in members else members.add)(who)
    return members


def on_identities(reader: Reader) -> set[tuple[str, str]]:
    """Who is in by what is written on them."""
    rows = reader.rows("MATCH (i:Identity) WHERE i.segments IS NOT NULL RETURN i.id, i.segments")
    return {(segment, id) for id, segments in rows for segment in segments}
