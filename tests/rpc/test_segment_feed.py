"""Who comes and who goes, as a service tells it, and what it does with questions that can't be answered; on each
engine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import grpc
import pytest

from onefold.service import app, client
from onefold.v1 import identity_service_pb2, record_pb2
from onefold.v1 import segment_service_pb2 as pb
from tests.conftest import Engine
from tests.engines import empty
from tests.rpc import items as make
from tests.rpc.conftest import Client, settings
from tests.rpc.items import DAY, NOW

ENTERED, LEFT = pb.SEGMENT_CHANGE_KIND_ENTERED, pb.SEGMENT_CHANGE_KIND_LEFT
DATA, TIME, RULE = pb.SEGMENT_CHANGE_CAUSE_DATA, pb.SEGMENT_CHANGE_CAUSE_TIME, pb.SEGMENT_CHANGE_CAUSE_RULE
MERGE, SPLIT, ERASE = pb.SEGMENT_CHANGE_CAUSE_MERGE, pb.SEGMENT_CHANGE_CAUSE_SPLIT, pb.SEGMENT_CHANGE_CAUSE_ERASE
MANY = 3_000


@pytest.fixture(scope="module")
def shop(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A service that looks at everybody anew every three seconds."""
    empty(engine.driver, engine.endpoint.database)
    with ExitStack() as resources:
        given = settings(engine.endpoint, tmp_path_factory.mktemp("data"), frame_minutes=0.05)
        server = app.start(given, resources)
        server.set_ready(True)
        channel = resources.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.port}"))
        yield Client(channel, engine, given)


def ingest(shop: Client, *items: record_pb2.Item) -> list[str]:
    results = make.ingest(shop, *items)
    assert not any(result.HasField("status") for result in results), results
    return [result.identity for result in results]


def create(shop: Client, key: str, rule: str) -> None:
    shop.segment.CreateSegment(pb.CreateSegmentRequest(segment=pb.Segment(key=key, rule=rule)))


@contextmanager
def watched(shop: Client, *segments: str, after: int | None = None) -> Iterator[Iterator[pb.SegmentChange]]:
    """The changes of some segments from now on, or from a place in the feed on."""
    stream = shop.segment.WatchSegment(pb.WatchSegmentRequest(segments=segments, after_sequence=after), timeout=300)
    try:
        yield (change for message in stream for change in message.changes)
    finally:
        stream.cancel()


def told(changes: Iterator[pb.SegmentChange], count: int) -> set[tuple[int, str, int, str]]:
    """The next changes: in or out, who, why, and the successor."""
    found = [next(changes) for _ in range(count)]
    return {(c.kind, c.identity, c.cause, c.successor) for c in found}


def refused(call: object, *arguments: object) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as raised:
        call(*arguments, timeout=30)  # type: ignore[operator]
    return raised.value.code(), str(client.error_of(raised.value))


def preview(shop: Client, rule: str) -> pb.PreviewSegmentResponse:
    """Of nobody while there is no frame."""
    try:
        return shop.segment.PreviewSegment(pb.PreviewSegmentRequest(group=pb.Group(rule=rule)), timeout=30)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
            return pb.PreviewSegmentResponse()
        raise


def wait(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 240
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def until(shop: Client, rule: str, members: int) -> None:
    """Wait until so many are in."""
    wait(lambda: preview(shop, rule).member_count == members)


def order_gone(name: str) -> record_pb2.Item:
    source, _, order_id = name.partition(":")
    key = record_pb2.RecordKey(order=record_pb2.OrderKey(source=source, order_id=order_id))
    return record_pb2.Item(deletion=record_pb2.Deletion(record=key, delete_time=make.at(NOW + 9)))


def test_a_merge_its_undo_by_a_ban_and_an_erasure_are_told_with_cause_and_successor(shop: Client) -> None:
    create(shop, "buyers", "purchases >= 2")
    with watched(shop, "buyers", after=0) as changes:
        # The older id has two records, so that it stays with them whatever happens.
        bob, _ = ingest(
            shop, make.customer("web:2", "email:b@example.org"), make.customer("crm:2", "email:b@example.org")
        )
        orders = ("shop:1", "shop:2")
        ann, *_ = ingest(
            shop, make.customer("web:1", "email:a@example.org"), *(make.order(o, of="web:1") for o in orders)
        )
        assert told(changes, 1) == {(ENTERED, ann, DATA, "")}
        ingest(shop, make.match("web:1", "web:2"))
        assert told(changes, 2) == {(ENTERED, bob, MERGE, ""), (LEFT, ann, MERGE, bob)}
        ingest(shop, make.ban("web:1", "web:2", NOW + 1))
        parted = shop.identity.ResolveIdentity(
            identity_service_pb2.ResolveIdentityRequest(subject=make.by_customer("web:1"))
        ).identity.id
        assert parted not in (ann, bob)
        assert told(changes, 2) == {(LEFT, bob, SPLIT, ""), (ENTERED, parted, SPLIT, "")}
        ingest(shop, make.deletion("web:1", NOW + 9), *map(order_gone, orders))
        assert told(changes, 1) == {(LEFT, parted, ERASE, "")}


def test_time_that_goes_on_brings_people_in(shop: Client) -> None:
    create(shop, "quiet", "days_since(last_order_at) > 30")
    with watched(shop, "quiet") as changes:
        ingest(shop, make.event("web:e0", of="web:2", happened=NOW))
        wait(lambda: preview(shop, "purchases >= 0").frame.as_of_time.seconds == NOW)
        (cid, _) = ingest(shop, make.customer("web:3"), make.order("shop:3", of="web:3", placed=NOW - 30 * DAY + 900))
        until(shop, "purchases >= 1", 1)
        ingest(shop, make.event("web:e1", of="web:2", happened=NOW + 1_800))
        assert told(changes, 1) == {(ENTERED, cid, TIME, "")}


def test_another_rule_is_told_as_such(shop: Client) -> None:
    with watched(shop, "once") as changes:
        create(shop, "once", "purchases >= 1")
        ((entered, who, _, _),) = told(changes, 1)
        shop.segment.UpdateSegment(pb.UpdateSegmentRequest(segment=pb.Segment(key="once", rule="purchases >= 5")))
        assert (entered, told(changes, 1)) == (ENTERED, {(LEFT, who, RULE, "")})


def test_an_export_is_of_one_frame_whatever_is_published_meanwhile(shop: Client) -> None:
    request = pb.ExportSegmentRequest(
        group=pb.Group(rule="purchases >= 0"),
        format=pb.EXPORT_FORMAT_JSONL,
        features=["purchases", "created_at", "segments", "labels", "gender"],
    )
    crowd = f'gender == "{"x" * 60}"'
    items = [make.customer(f"web:m{n}", gender="x" * 60) for n in range(MANY)]
    for start in range(0, MANY, 500):
        ingest(shop, *items[start : start + 500])
    until(shop, crowd, MANY)
    stream = shop.segment.ExportSegment(request, timeout=300)
    frame = next(stream).frame
    ingest(shop, *(make.order(f"shop:m{n}", of=f"web:m{n}") for n in range(100)))
    until(shop, f"purchases == 1 && {crowd}", 100)
    newer = shop.segment.PreviewSegment(pb.PreviewSegmentRequest(group=pb.Group(rule="purchases >= 0"))).frame
    rows = [json.loads(line) for line in b"".join(message.data for message in stream).splitlines()]
    assert newer.id != frame.id
    assert len(rows) == frame.person_count
    assert [row["identity"] for row in rows] == sorted({row["identity"] for row in rows})
    assert sum(row["purchases"] for row in rows if row["gender"]) == 0


@pytest.mark.parametrize(
    "text",
    ["orders > 1 && " * 700_000 + "orders > 1", "(" * 10_000_000, "é" * 5_000_000],
    ids=["clauses", "nesting", "letters"],
)
def test_ten_megabytes_are_refused_in_words_and_at_once(shop: Client, text: str) -> None:
    group = pb.Group(rule=text)
    for call, request in (
        (shop.segment.ParseRule, pb.ParseRuleRequest(text=text)),
        (shop.segment.PreviewSegment, pb.PreviewSegmentRequest(group=group)),
        (shop.segment.CreateSegment, pb.CreateSegmentRequest(segment=pb.Segment(key="big", rule=text))),
    ):
        began = time.monotonic()
        code, words = refused(call, request)
        assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert "bytes" in words
        assert time.monotonic() - began < 10
    problem = shop.segment.ParseRule(pb.ParseRuleRequest(text=text[:1_000_000])).problems[0]
    assert "a rule may have 65,536 bytes" in problem.message


def test_a_dependency_is_not_deleted_nor_a_circle_made_and_nothing_changes(shop: Client) -> None:
    create(shop, "base", "purchases >= 2")
    create(shop, "upon", 'in_segment("base")')
    create(shop, "over", 'in_segment("upon") || purchases > 9')
    before = shop.segment.GetSegment(pb.GetSegmentRequest(key="base"))
    code, words = refused(shop.segment.DeleteSegment, pb.DeleteSegmentRequest(key="base"))
    assert (code, "segment upon" in words) == (grpc.StatusCode.FAILED_PRECONDITION, True)
    circle = pb.UpdateSegmentRequest(segment=pb.Segment(key="base", rule='in_segment("over")'))
    code, words = refused(shop.segment.UpdateSegment, circle)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert all(name in words for name in ("base", "upon", "over"))
    text = shop.segment.GetCatalogue(pb.GetCatalogueRequest()).text
    code, words = refused(
        shop.segment.ApplyCatalogue,
        pb.ApplyCatalogueRequest(text=text + "\n  - {key: base, rule: purchases > 1, description: x, owner: x}\n"),
    )
    assert (code, "segment base" in words) == (grpc.StatusCode.FAILED_PRECONDITION, True)
    after = shop.segment.GetSegment(pb.GetSegmentRequest(key="base"))
    assert (after.rule, after.etag) == (before.rule, before.etag)


def test_nobody_is_an_answer(shop: Client) -> None:
    nobody = pb.Group(rule="purchases > 1000")
    preview = shop.segment.PreviewSegment(pb.PreviewSegmentRequest(group=nobody, example_count=5, overlaps=True))
    assert (preview.member_count, preview.share, len(preview.examples), len(preview.overlaps)) == (0, 0, 0, 0)
    assert not shop.segment.ListSegmentMembers(pb.ListSegmentMembersRequest(group=nobody)).identities
    streamed = list(shop.segment.StreamSegmentMembers(pb.StreamSegmentMembersRequest(group=nobody)))
    assert [len(message.identities) for message in streamed] == [0]
    for format, size in ((pb.EXPORT_FORMAT_JSONL, 0), (pb.EXPORT_FORMAT_CSV, len("identity\n"))):
        pieces = list(shop.segment.ExportSegment(pb.ExportSegmentRequest(group=nobody, format=format)))
        assert sum(len(piece.data) for piece in pieces) == size
    code, words = refused(shop.segment.SnapshotSegment, pb.SnapshotSegmentRequest(group=nobody, key="none"))
    assert (code, "nobody is in it" in words) == (grpc.StatusCode.INVALID_ARGUMENT, True)
