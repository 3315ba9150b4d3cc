"""``SegmentService`` over a real socket, on each engine."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import grpc
import pyarrow.parquet as pq
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from onefold.service import app, client
from onefold.v1 import identity_pb2, identity_service_pb2, record_pb2
from onefold.v1 import segment_service_pb2 as pb
from tests.conftest import Engine
from tests.engines import empty
from tests.rpc import items as make
from tests.rpc.conftest import Client, settings

BUYERS = "purchases >= 2"
NOBODY = 'in_segment("buyers") && purchases < 1'


@pytest.fixture(scope="module")
def shop(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A service that keeps frames, over a few people of whom one buys much."""
    empty(engine.driver, engine.endpoint.database)
    with ExitStack() as resources:
        given = settings(engine.endpoint, tmp_path_factory.mktemp("data"), frame_minutes=60)
        server = app.start(given, resources)
        server.set_ready(True)
        channel = resources.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.port}"))
        shop = Client(channel, engine, given)
        ingest(shop, *(make.customer(f"web:{n}", f"email:p{n}@example.org") for n in range(5)))
        ingest(shop, *(make.order(f"shop:{n}", of="web:0") for n in range(3)))
        ingest(shop, make.order("shop:9", of="web:1"))
        shop.segment.CreateSegment(pb.CreateSegmentRequest(segment=pb.Segment(key="buyers", rule=BUYERS)))
        until(lambda: knows_all(shop))
        yield shop


def knows_all(shop: Client) -> bool:
    """Whether the frame has all of the orders, and the graph all of the frame: it is written there a little later."""
    bought = pb.PreviewSegmentRequest(group=pb.Group(rule="purchases >= 1"))
    if count(shop, "buyers") != 1 or shop.segment.PreviewSegment(bought).member_count != 2:
        return False
    rules = {"web:0": 'purchases == 3 && in_segment("buyers")', "web:1": "purchases == 1"}
    asked = [pb.CheckMembershipRequest(group=pb.Group(rule=rule), subject=who(name)) for name, rule in rules.items()]
    return all(shop.segment.CheckMembership(request).truth == pb.TRUTH_TRUE for request in asked)


def ingest(shop: Client, *items: record_pb2.Item) -> None:
    response = shop.identity.IngestRecords(identity_service_pb2.IngestRecordsRequest(items=items))
    assert not any(result.HasField("status") for result in response.results), response


def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def count(shop: Client, key: str) -> int:
    """In the frame, not by the rule: who is written as a member."""
    request = pb.PreviewSegmentRequest(group=pb.Group(rule=f'in_segment("{key}")'))
    try:
        return int(shop.segment.PreviewSegment(request).member_count)
    except grpc.RpcError:  # no frame yet, or no such segment
        return -1


def who(name: str) -> identity_pb2.Subject:
    return identity_pb2.Subject(customer=make.key(name))


def refused(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as raised:
        call()
    error = raised.value
    return error.code(), str(client.error_of(error))


def test_a_preview_counts_shows_some_and_names_who_is_in_others(shop: Client) -> None:
    request = pb.PreviewSegmentRequest(group=pb.Group(rule="purchases >= 1"), example_count=5, overlaps=True)
    found = shop.segment.PreviewSegment(request)
    assert (found.member_count, found.unknown_count, found.share, len(found.examples)) == (2, 0, 0.4, 2)
    assert [(o.segment, o.member_count, o.other_count) for o in found.overlaps if o.segment == "buyers"] == [
        ("buyers", 1, 1)
    ]
    assert found.frame.person_count == 5
    assert found.frame.as_of_time.seconds > 0
    unknown = shop.segment.PreviewSegment(pb.PreviewSegmentRequest(group=pb.Group(rule="gap_mean > 1")))
    assert unknown.unknown_count > 0


def test_members_come_in_pages_in_a_stream_and_in_files(shop: Client) -> None:
    everybody = pb.Group(rule="purchases >= 0")
    first = shop.segment.ListSegmentMembers(pb.ListSegmentMembersRequest(group=everybody, page_size=3))
    rest = shop.segment.ListSegmentMembers(
        pb.ListSegmentMembersRequest(group=everybody, page_size=3, page_token=first.next_page_token)
    )
    ids = [*first.identities, *rest.identities]
    assert (len(ids), ids, rest.next_page_token) == (5, sorted(set(ids)), "")
    streamed = list(shop.segment.StreamSegmentMembers(pb.StreamSegmentMembersRequest(group=everybody, after=ids[1])))
    assert [id for message in streamed for id in message.identities] == ids[2:]
    assert streamed[0].frame.id

    def file(format: pb.ExportFormat.ValueType, **more: str) -> bytes:
        request = pb.ExportSegmentRequest(
            group=everybody, format=format, features=["purchases", "last_order_at", "segments"], **more
        )
        return b"".join(message.data for message in shop.segment.ExportSegment(request))

    table = pq.read_table(io.BytesIO(file(pb.EXPORT_FORMAT_PARQUET))).to_pylist()
    lines = [json.loads(line) for line in file(pb.EXPORT_FORMAT_JSONL).splitlines()]
    cells = list(csv.DictReader(io.StringIO(file(pb.EXPORT_FORMAT_CSV, contactable_on="email").decode())))
    for found in (table, lines, cells):
        assert [row["identity"] for row in found] == ids
        assert sorted(int(row["purchases"]) for row in found) == [0, 0, 0, 1, 3]
    assert file(pb.EXPORT_FORMAT_JSONL, contactable_on="phone") == b""
    code, words = refused(lambda: file(pb.EXPORT_FORMAT_CSV, contactable_on="fax"))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "contactable_on" in words


def test_membership_is_explained_clause_by_clause(shop: Client) -> None:
    rule = 'purchases >= 2 && in_segment("buyers") && gap_mean > 100000'
    request = pb.CheckMembershipRequest(group=pb.Group(rule=rule), subject=who("web:0"))
    found = shop.segment.CheckMembership(request)
    assert [(c.text, c.truth) for c in found.clauses][:2] == [
        ("purchases >= 2", pb.TRUTH_TRUE),
        ('in_segment("buyers")', pb.TRUTH_TRUE),
    ]
    assert found.clauses[0].values["purchases"].number_value == 3
    assert found.truth != pb.TRUTH_TRUE
    other = shop.segment.CheckMembership(
        pb.CheckMembershipRequest(group=pb.Group(segment="buyers"), subject=who("web:1"))
    )
    assert (other.truth, other.clauses[0].values["purchases"].number_value) == (pb.TRUTH_FALSE, 1)
    missing = pb.CheckMembershipRequest(group=pb.Group(segment="buyers"), subject=who("web:77"))
    assert refused(lambda: shop.segment.CheckMembership(missing))[0] is grpc.StatusCode.NOT_FOUND


def test_a_rule_is_text_tree_and_conditions_and_its_faults_have_places(shop: Client) -> None:
    text = shop.segment.ParseRule(pb.ParseRuleRequest(text="orders>=2&&days_since(last_order_at)>30d"))
    assert text.text == "orders >= 2 && days_since(last_order_at) > 30d"
    again = shop.segment.ParseRule(pb.ParseRuleRequest(tree=text.tree))
    assert (again.text, again.tree) == (text.text, text.tree)
    assert list(text.features) == ["orders", "last_order_at"]
    assert "i.`f_orders` >= $p0" in text.cypher_where
    assert text.cypher_parameters["p0"] == 2
    wrong = shop.segment.ParseRule(pb.ParseRuleRequest(text="ordrs >= 2\n&& gap_mean > spend"))
    assert [(p.place, p.start, p.end) for p in wrong.problems] == [
        ("line 1, column 1", 0, 5),
        ("line 2, column 4", 14, 30),
    ]
    assert "did you mean orders?" in wrong.problems[0].message
    tree = pb.ParseRuleRequest()
    tree.tree.update({"is": "Name", "key": 5})
    assert shop.segment.ParseRule(tree).problems[0].place == "rule.key"
    tree.tree.update({"is": "Number", "value": float("nan")})
    assert shop.segment.ParseRule(tree).problems[0].message == "a number must be finite"


def test_a_rule_that_is_nested_too_deep_for_a_message_comes_without_its_tree(shop: Client) -> None:
    for depth in (3, 24):
        text = "orders > 0"
        for level in range(depth - 1):
            text = f"orders > {level} {'&&' if level % 2 else '||'} ({text})"
        told = shop.segment.ParseRule(pb.ParseRuleRequest(text=text))
        assert (bool(told.text), told.HasField("tree"), list(told.problems)) == (True, depth == 3, [])


def test_a_segment_is_made_changed_and_deleted(shop: Client) -> None:
    wanted = pb.Segment(key="some", rule="purchases>=1", owner="crm", description="who bought")
    made = shop.segment.CreateSegment(pb.CreateSegmentRequest(segment=wanted))
    assert (made.rule, made.member_count, made.source) == ("purchases >= 1", 2, pb.SEGMENT_SOURCE_STORED)
    again = shop.segment.CreateSegment(pb.CreateSegmentRequest(segment=wanted))
    assert (again.etag, again.create_time) == (made.etag, made.create_time)
    shop.segment.CreateSegment(pb.CreateSegmentRequest(segment=pb.Segment(key="reader", rule='!in_segment("some")')))
    code, words = refused(lambda: shop.segment.DeleteSegment(pb.DeleteSegmentRequest(key="some")))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "segment reader" in words
    circle = pb.UpdateSegmentRequest(
        segment=pb.Segment(key="some", rule='in_segment("reader")'), update_mask=FieldMask(paths=["rule"])
    )
    code, words = refused(lambda: shop.segment.UpdateSegment(circle))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "reads" in words
    changed = shop.segment.UpdateSegment(
        pb.UpdateSegmentRequest(
            segment=pb.Segment(key="some", owner="sales", etag=made.etag), update_mask=FieldMask(paths=["owner"])
        )
    )
    assert (changed.owner, changed.description, changed.rule) == ("sales", "who bought", "purchases >= 1")
    late = pb.UpdateSegmentRequest(segment=pb.Segment(key="some", owner="x", etag=made.etag))
    assert refused(lambda: shop.segment.UpdateSegment(late))[0] is grpc.StatusCode.ABORTED
    listed = shop.segment.ListSegments(pb.ListSegmentsRequest(page_size=500))
    assert {"buyers", "some", "reader", "about_to_leave"} <= {s.key for s in listed.segments}
    assert [s.key for s in listed.segments] == sorted(s.key for s in listed.segments)
    for key in ("reader", "some"):
        shop.segment.DeleteSegment(pb.DeleteSegmentRequest(key=key))
    assert refused(lambda: shop.segment.GetSegment(pb.GetSegmentRequest(key="some")))[0] is grpc.StatusCode.NOT_FOUND
    of_catalogue = pb.DeleteSegmentRequest(key="about_to_leave")
    assert refused(lambda: shop.segment.DeleteSegment(of_catalogue))[0] is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("segment", "words"),
    [
        (pb.Segment(key="bad", rule="ordrs > 1"), "did you mean orders?"),
        (pb.Segment(key="Bad", rule="orders > 1"), "segment.key"),
        (pb.Segment(key="bad"), "must have one of rule, records"),
        (pb.Segment(key="bad", rule='in_segment("bad")'), "there is no segment bad"),
        (pb.Segment(key="about_to_leave", rule="orders > 1"), "call yours otherwise"),
        (pb.Segment(key="bad", records=pb.RecordList(records=["17"])), "customer:SOURCE:ID"),
    ],
)
def test_what_is_no_segment_is_refused_in_words(shop: Client, segment: pb.Segment, words: str) -> None:
    code, said = refused(lambda: shop.segment.CreateSegment(pb.CreateSegmentRequest(segment=segment)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert words in said


def test_a_list_that_is_made_again_is_the_one_that_is_there(shop: Client) -> None:
    segment = pb.Segment(key="listed", owner="crm", records=pb.RecordList(records=["customer:web:0", "customer:web:1"]))
    made = shop.segment.CreateSegment(pb.CreateSegmentRequest(segment=segment))
    assert (made.record_count, made.HasField("member_count")) == (2, False)
    get = pb.GetSegmentRequest(key="listed")
    until(lambda: shop.segment.GetSegment(get).HasField("member_count"))
    assert shop.segment.GetSegment(get).member_count == 2
    segment.records.records.reverse()
    again = shop.segment.CreateSegment(pb.CreateSegmentRequest(segment=segment))
    assert (again.etag, again.create_time) == (made.etag, made.create_time)
    segment.records.records.append("customer:web:2")
    other = pb.CreateSegmentRequest(segment=segment)
    assert refused(lambda: shop.segment.CreateSegment(other))[0] is grpc.StatusCode.INVALID_ARGUMENT
    unlike = pb.UpdateSegmentRequest(segment=segment, update_mask=FieldMask(paths=["rule"]))
    assert "must have what the mask names" in refused(lambda: shop.segment.UpdateSegment(unlike))[1]
    shop.segment.DeleteSegment(pb.DeleteSegmentRequest(key="listed"))


def test_a_snapshot_holds_on_to_whom_it_had(shop: Client) -> None:
    request = pb.SnapshotSegmentRequest(group=pb.Group(segment="buyers"), key="first_buyers", owner="crm")
    made = shop.segment.SnapshotSegment(request)
    assert (made.record_count, made.WhichOneof("definition")) == (1, None)
    until(lambda: count(shop, "first_buyers") == 1)
    nobody = pb.SnapshotSegmentRequest(group=pb.Group(rule=NOBODY), key="nobody")
    assert refused(lambda: shop.segment.SnapshotSegment(nobody))[0] is grpc.StatusCode.INVALID_ARGUMENT


def test_entries_are_watched_and_followed_on(shop: Client) -> None:
    watching = shop.segment.WatchSegment(pb.WatchSegmentRequest(segments=["buyers"]), timeout=60)
    place = next(watching).sequence
    ingest(shop, make.order("shop:10", of="web:1"))
    changes = next(message for message in watching if message.changes).changes
    watching.cancel()
    assert [(c.segment, c.kind, c.cause) for c in changes] == [
        ("buyers", pb.SEGMENT_CHANGE_KIND_ENTERED, pb.SEGMENT_CHANGE_CAUSE_DATA)
    ]
    assert changes[0].sequence > place
    resumed = shop.segment.WatchSegment(pb.WatchSegmentRequest(after_sequence=0), timeout=60)
    seen = [c.sequence for c in next(message for message in resumed if message.changes).changes]
    resumed.cancel()
    assert seen == list(range(1, len(seen) + 1))


def test_members_are_counted_over_time(shop: Client) -> None:
    def history(key: str) -> list[pb.MemberCount]:
        return list(shop.segment.GetSegment(pb.GetSegmentRequest(key=key, history_count=50)).history)

    def counts(key: str) -> list[int]:
        return [count.member_count for count in history(key)]

    shop.segment.CreateSegment(pb.CreateSegmentRequest(segment=pb.Segment(key="counted", rule="purchases >= 9")))
    until(lambda: counts("counted")[:1] == [0])
    wider = pb.Segment(key="counted", rule="purchases >= 3")
    shop.segment.UpdateSegment(pb.UpdateSegmentRequest(segment=wider))
    until(lambda: counts("counted")[:2] == [1, 0])
    assert len(counts("counted")) < len(counts("buyers"))  # frames before it was defined know nothing of it
    assert not shop.segment.GetSegment(pb.GetSegmentRequest(key="buyers")).history
    told = {label.key: label for label in shop.segment.ListLabels(pb.ListLabelsRequest(history_count=1)).labels}
    assert [[count.member_count for count in told[key].history] for key in ("prospect", "champion")] == [[3], [0]]
    shop.segment.DeleteSegment(pb.DeleteSegmentRequest(key="counted"))


def test_labels_are_counted_and_doubted(shop: Client) -> None:
    found = shop.segment.ListLabels(pb.ListLabelsRequest(history_count=2))
    labels = {label.key: label for label in found.labels}
    assert {label.layer for label in found.labels} >= {"attribute", "behaviour", "value", "life_cycle"}
    assert all(label.HasField("member_count") for label in labels.values())
    assert list(labels["champion"].doubts) == ["nobody has it", "no label and no segment reads it"]
    assert list(labels["lost"].doubts) == ["nobody has it"]  # a segment of the catalogue reads it
    prospects = pb.PreviewSegmentRequest(group=pb.Group(rule='has_label("prospect")'))
    assert shop.segment.PreviewSegment(prospects).member_count == labels["prospect"].member_count == 3
    assert {count.member_count for count in labels["champion"].history} == {0}


def test_a_catalogue_is_put_in_force(shop: Client) -> None:
    before = shop.segment.GetCatalogue(pb.GetCatalogueRequest())
    text = before.text.replace("catalogue: ", "catalogue: 9", 1) + "\n"
    dry = shop.segment.ApplyCatalogue(pb.ApplyCatalogueRequest(text=text, dry_run=True))
    assert shop.segment.GetCatalogue(pb.GetCatalogueRequest()).etag == before.etag != dry.catalogue.etag
    code, words = refused(lambda: shop.segment.ApplyCatalogue(pb.ApplyCatalogueRequest(text="labels: 5")))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "labels" in words
    late = pb.ApplyCatalogueRequest(text=text, etag="other")
    assert refused(lambda: shop.segment.ApplyCatalogue(late))[0] is grpc.StatusCode.ABORTED
    small = 'catalogue: 1\nsegments:\n  - {key: gone, rule: "orders > 0"}\n  - {key: staff, static: {records: s.csv}}\n'
    lists = {"staff": pb.RecordList(records=["customer:web:0"])}
    done = shop.segment.ApplyCatalogue(pb.ApplyCatalogueRequest(text=small, etag=before.etag, lists=lists))
    assert any("label new" in change for change in done.changes)
    until(lambda: count(shop, "gone") == 2)
    assert shop.segment.GetSegment(pb.GetSegmentRequest(key="staff")).record_count == 1
    again = shop.segment.ApplyCatalogue(pb.ApplyCatalogueRequest(text=small, lists=lists))
    assert (list(again.changes), again.catalogue.etag) == ([], done.catalogue.etag)
    lists["staff"].records.append("customer:web:1")
    more = shop.segment.ApplyCatalogue(pb.ApplyCatalogueRequest(text=small, lists=lists))
    assert list(more.changes) == ["segment staff: 2 records"]
    shop.segment.ApplyCatalogue(pb.ApplyCatalogueRequest(text=before.text))


def test_a_definition_that_is_broken_by_an_upgrade_is_told(shop: Client) -> None:
    with shop.engine.driver.session(database=shop.engine.endpoint.database) as session:
        session.run("CREATE (:Segment {key: 'old', rule: 'no_such_feature > 1', etag: 'x'})").consume()
    try:
        code, words = refused(lambda: shop.segment.GetSegment(pb.GetSegmentRequest(key="nothing_like_it")))
        assert code is grpc.StatusCode.NOT_FOUND
        group = pb.Group(segment="old")
        code, words = refused(lambda: shop.segment.PreviewSegment(pb.PreviewSegmentRequest(group=group)))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "no_such_feature" in words
    finally:
        shop.segment.DeleteSegment(pb.DeleteSegmentRequest(key="old"))
