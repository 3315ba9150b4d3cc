"""``IdentityService`` over a real socket, on each engine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from uuid import uuid4

import grpc
import pytest
from google.rpc.error_details_pb2 import ResourceInfo

from onefold.v1 import identity_pb2, record_pb2
from onefold.v1 import identity_service_pb2 as pb
from tests.rpc.conftest import Client
from tests.rpc.echo import details
from tests.rpc.items import (
    DAY,
    NOW,
    at,
    ban,
    by_customer,
    by_id,
    by_identifier,
    code,
    customer,
    deletion,
    event,
    identifier,
    ingest,
    match,
    order,
    violations,
)

CURRENT, MERGED = pb.RESOLUTION_STATE_CURRENT, pb.RESOLUTION_STATE_MERGED
SPLIT, ERASED = pb.RESOLUTION_STATE_SPLIT, pb.RESOLUTION_STATE_ERASED


def resolve(client: Client, subject: identity_pb2.Subject) -> pb.ResolveIdentityResponse:
    return client.identity.ResolveIdentity(pb.ResolveIdentityRequest(subject=subject), timeout=30)


def failure(call: Callable[[], object]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


# -- who it is -----------------------------------------------------------------------------------------------


def test_everything_that_leads_to_a_person_gives_one_identity(client: Client) -> None:
    ingest(
        client,
        customer("crm:1", "email:Ann@Example.org", "phone:+44 20 7946 0018"),
        order("shop:7", of="crm:1"),
        order("web:9", "email:ann@example.org"),
    )
    subjects = [
        by_customer("crm:1"),
        by_identifier("email:ANN@example.ORG"),
        by_identifier("phone:+442079460018"),
        identity_pb2.Subject(order=record_pb2.OrderKey(source="shop", order_id="7")),
        identity_pb2.Subject(order=record_pb2.OrderKey(source="web", order_id="9")),
    ]
    answers = [resolve(client, subject) for subject in subjects]
    assert len({a.identity.id for a in answers}) == 1
    assert {(a.state, a.requested_identity) for a in answers} == {(CURRENT, "")}
    assert answers[0].identity.record_count == 2
    assert [r.WhichOneof("record") for r in answers[0].identity.records] == ["customer", "order"]


def test_a_retired_id_leads_to_the_identity_it_was_merged_into(client: Client) -> None:
    (first,) = ingest(client, customer("crm:1", "email:ann@example.org"))
    (second,) = ingest(client, customer("app:2", "phone:+442079460018"))
    assert first.identity != second.identity
    ingest(client, customer("crm:1", "email:ann@example.org", "phone:+442079460018", seen=NOW + 60))
    answer = resolve(client, by_id(second.identity.upper()))
    assert (answer.identity.id, answer.state) == (first.identity, MERGED)
    assert answer.requested_identity == second.identity


def test_an_id_that_was_split_and_one_that_was_erased_still_answer(client: Client) -> None:
    first, *_ = ingest(
        client, customer("crm:1", "email:ann@example.org"), customer("app:2", "email:ann@example.org"),
        customer("web:3", "email:ann@example.org"),
    )  # fmt: skip
    (parted,) = ingest(client, customer("web:3", "email:lee@example.org", seen=NOW + 60))
    answer = resolve(client, by_id(first.identity))
    assert (answer.identity.id, answer.state) == (first.identity, SPLIT)
    assert sorted(answer.became) == sorted([first.identity, parted.identity])
    ingest(client, deletion("web:3", made=NOW + 120))
    answer = resolve(client, by_id(parted.identity))
    assert (answer.identity.id, answer.state, answer.identity.record_count) == (parted.identity, ERASED, 0)
    assert not answer.became


def test_an_unknown_key_is_not_found_with_resource_info(client: Client) -> None:
    for subject, kind, name in [
        (by_customer("crm:404"), "customer", "customer:crm:404"),
        (by_identifier("email:nobody@example.org"), "identity", "email:nobody@example.org"),
        (by_id("01890000-0000-7000-8000-000000000000"), "identity", "01890000-0000-7000-8000-000000000000"),
    ]:
        status, found = details(failure(lambda subject=subject: resolve(client, subject)))
        assert code(status) is grpc.StatusCode.NOT_FOUND
        resource: ResourceInfo = found["ResourceInfo"]
        assert (resource.resource_type, resource.resource_name) == (kind, name)


def test_a_bad_subject_is_named_by_its_path(client: Client) -> None:
    for subject, path in [
        (identity_pb2.Subject(), "subject.subject"),
        (by_id("17"), "subject.identity"),
        (by_identifier("email:no at sign"), "subject.identifier.value"),
        (by_identifier("emial:ann@example.org"), "subject.identifier.kind"),
        (by_identifier("phone:020 7946 0018"), "subject.identifier.value"),
    ]:
        status, _ = details(failure(lambda subject=subject: resolve(client, subject)))
        assert code(status) is grpc.StatusCode.INVALID_ARGUMENT
        assert list(violations(status)) == [path]


def test_the_graph_of_an_identity_shows_links_and_what_was_forbidden(client: Client) -> None:
    ingest(
        client,
        customer("crm:1", "email:ann@example.org", full_name="Ann Lee"),
        customer("app:2", "email:ann@example.org"),
        customer("web:3", "phone:+442079460018"),
    )
    ingest(client, ban("crm:1", "web:3"))
    graph = client.identity.GetIdentityGraph(pb.GetIdentityGraphRequest(subject=by_customer("crm:1")), timeout=30)
    nodes = {n.name: n for n in graph.nodes}
    edges = {(e.start, e.end): e for e in graph.edges}
    assert list(nodes) == ["customer:app:2", "customer:crm:1", "customer:web:3", "email:ann@example.org"]
    assert nodes["customer:crm:1"].display_name == "Ann Lee"
    assert nodes["email:ann@example.org"].identity == graph.identity
    assert nodes["customer:web:3"].identity != graph.identity
    link = edges["customer:crm:1", "email:ann@example.org"]
    assert (link.type, list(link.sources), link.eligible) == ("HAS_EMAIL", ["crm"], True)
    assert link.confidence == pytest.approx(0.98)
    assert edges["customer:crm:1", "customer:web:3"].type == "NEVER_SAME"


# -- bad input -----------------------------------------------------------------------------------------------


def invalid_utf8() -> bytes:
    good = customer("crm:utf8", full_name="AnnXLee").SerializeToString()
    return good.replace(b"AnnXLee", b"Ann\xffLee")


def changed(item: record_pb2.Item, change: Callable[[record_pb2.Item], object]) -> record_pb2.Item:
    change(item)
    return item


def bad_items() -> Iterator[tuple[bytes, str]]:
    """Items that break a rule, as bytes, and the path of the field below the item."""

    def of(item: record_pb2.Item, change: Callable[[record_pb2.Item], object] = lambda item: None) -> bytes:
        return changed(item, change).SerializeToString()

    yield of(record_pb2.Item()), ".item"
    yield of(customer("crm:1", "email:not an email")), ".customer.identifiers[0].value"
    yield of(customer("crm:1", "phone:12")), ".customer.identifiers[0].value"
    yield of(customer("crm:1", "shoe:42")), ".customer.identifiers[0].kind"
    yield of(customer("crm:1", full_name="x" * 100_000)), ".customer.traits.full_name"
    yield of(customer("", "email:a@example.org")), ".customer.key.source"
    yield of(customer("crm:1", seen=NOW + 400 * DAY)), ".customer.observe_time"
    yield (
        of(customer("crm:1", "email:a@example.org"), lambda i: setattr(i.customer.identifiers[0], "assurance", 77)),
        ".customer.identifiers[0].assurance",
    )
    yield invalid_utf8(), ".customer.traits.full_name"
    yield of(order("shop:1", of="crm:1"), lambda i: setattr(i.order, "status", 99)), ".order.status"
    yield (
        of(order("shop:1", of="crm:1"), lambda i: setattr(i.order.lines[0], "quantity", -2)),
        ".order.lines[0].quantity",
    )
    yield of(order("shop:1")), ".order"
    yield of(order("shop:1", of="crm:1", placed=NOW + 400 * DAY)), ".order.place_time"
    yield of(event("web:1")), ".event"
    yield of(event("web:1", on="email:ann@example.org")), ".event.device.kind"
    yield of(event("web:1", on="device:null")), ".event.device.value"
    yield of(order("shop:1", "email:n/a")), ".order.identifiers"
    yield of(match("crm:1", "crm:1")), ".match"
    yield of(match("crm:1", "crm:404")), ".match.a"
    yield b"\x0a\xff", ""


def request_of(items: list[bytes]) -> bytes:
    """An IngestRecordsRequest of already encoded items."""

    def length(number: int) -> bytes:
        return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + length(number >> 7)

    return b"".join(b"\x0a" + length(len(item)) + item for item in items)


def raw_ingest(client: Client, data: bytes) -> pb.IngestRecordsResponse:
    call = client.channel.unary_unary(
        "/onefold.v1.IdentityService/IngestRecords", response_deserializer=pb.IngestRecordsResponse.FromString
    )
    return call(data, timeout=30)


def test_each_bad_item_is_refused_by_its_field_and_the_rest_of_the_batch_lands(client: Client) -> None:
    bad = list(bad_items())
    good = [customer(f"good:{n}", f"email:good{n}@example.org").SerializeToString() for n in range(len(bad) + 1)]
    mixed = [data for pair in zip(good, [b for b, _ in bad], strict=False) for data in pair] + good[-1:]
    results = raw_ingest(client, request_of(mixed)).results
    assert [r.index for r in results] == list(range(len(mixed)))
    for result, (_, path) in zip(results[1::2], bad, strict=True):
        assert code(result.status) is grpc.StatusCode.INVALID_ARGUMENT
        fields = list(violations(result.status))
        assert any(f == f"items[{result.index}]{path}" for f in fields), (fields, path)
    assert all(r.changed and r.identity and not r.HasField("status") for r in results[::2])
    assert client.count("Customer") == client.count("Email") == len(good)
    assert client.count("Order") == client.count("Event") == client.count("Phone") == 0


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b"", "items"),
        (request_of([customer("crm:1").SerializeToString()] * 501), "items"),
        (b"\xff\xff\xff", "request"),
        (request_of([customer("crm:1").SerializeToString()]) + b"\x12\x03abc", "request_id"),
        (request_of([customer("crm:1", full_name="x" * 5_000_000).SerializeToString()]), "request"),
    ],
    ids=["empty", "501 items", "garbage", "a bad request id", "5 MB"],
)
def test_a_bad_request_is_refused_as_a_whole(client: Client, data: bytes, field: str) -> None:
    status, _ = details(failure(lambda: raw_ingest(client, data)))
    assert code(status) is grpc.StatusCode.INVALID_ARGUMENT
    assert list(violations(status)) == [field]
    assert client.count("Customer") == 0


# -- repeats -------------------------------------------------------------------------------------------------


def test_a_repeated_request_id_gets_the_first_answer(client: Client) -> None:
    request_id = str(uuid4())
    first = ingest(client, customer("crm:1", "email:ann@example.org"), request_id=request_id)
    again = ingest(client, customer("crm:1", "email:ann@example.org"), request_id=request_id)
    assert first[0].changed
    assert again == first


def test_the_same_items_again_change_nothing(client: Client) -> None:
    items = [customer("crm:1", "email:ann@example.org"), order("shop:1", of="crm:1"), event("web:1", of="crm:1")]
    ingest(client, *items)
    again = ingest(client, *items)
    assert [(r.changed, r.identity == r.identity_before) for r in again] == [(False, True)] * 3


# -- streams -------------------------------------------------------------------------------------------------


def message(sequence: int, *items: record_pb2.Item) -> pb.StreamRecordsRequest:
    return pb.StreamRecordsRequest(sequence=sequence, items=items)


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "not in time"
        time.sleep(0.02)


def stream_threads() -> int:
    return sum(t.name == "onefold-stream" for t in threading.enumerate())


def test_acknowledgements_come_in_order_and_mean_that_the_items_are_there(client: Client) -> None:
    messages = [message(n, customer(f"crm:{n}", f"email:p{n}@example.org")) for n in range(20)]
    acknowledged = list(client.identity.StreamRecords(iter(messages), timeout=60))
    assert [a.sequence for a in acknowledged] == list(range(20))
    assert all(a.results[0].identity for a in acknowledged)
    assert client.count("Customer") == 20


def test_a_message_that_is_refused_as_a_whole_does_not_end_the_stream(client: Client) -> None:
    messages = [message(1, customer("crm:1")), message(2), message(3, customer("crm:3"))]
    acknowledged = list(client.identity.StreamRecords(iter(messages), timeout=30))
    assert [a.HasField("status") for a in acknowledged] == [False, True, False]
    assert violations(acknowledged[1].status) == {"items": "must not be empty"}
    assert client.count("Customer") == 2


def test_a_word_on_records_of_the_message_before_is_understood(client: Client) -> None:
    messages = [message(1, customer("crm:1")), message(2, customer("crm:2")), message(3, match("crm:1", "crm:2"))]
    *_, last = client.identity.StreamRecords(iter(messages), timeout=30)
    assert not last.results[0].HasField("status")
    assert resolve(client, by_customer("crm:1")) == resolve(client, by_customer("crm:2"))


def test_a_message_that_is_too_large_is_refused_alone_and_those_around_it_land(client: Client) -> None:
    messages = [
        message(1, customer("crm:1")),
        message(2, customer("crm:2", full_name="x" * 5_000_000)),
        message(3, customer("crm:3")),
    ]
    first, refused, last = client.identity.StreamRecords(iter(messages), timeout=30)
    assert (first.sequence, last.sequence) == (1, 3)
    assert list(violations(refused.status)) == ["request"]
    assert client.count("Customer") == 2


def test_a_client_that_goes_away_leaves_no_thread_behind(client: Client) -> None:
    hold = threading.Event()

    def endless() -> Iterator[pb.StreamRecordsRequest]:
        yield message(1, customer("crm:1"))
        hold.wait(30)

    for _ in range(3):
        answers = client.identity.StreamRecords(endless())
        assert next(answers).sequence == 1
        answers.cancel()
    wait_until(lambda: stream_threads() == 0)
    hold.set()


def test_a_stream_ends_with_its_deadline(client: Client) -> None:
    hold = threading.Event()

    def slow() -> Iterator[pb.StreamRecordsRequest]:
        yield message(1, customer("crm:1"))
        hold.wait(30)

    answers = client.identity.StreamRecords(slow(), timeout=2)
    assert next(answers).sequence == 1
    assert failure(lambda: next(answers)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    wait_until(lambda: stream_threads() == 0)
    hold.set()


def test_a_client_that_does_not_read_is_held_back(client: Client) -> None:
    sent = 0
    done = threading.Event()

    def eager() -> Iterator[pb.StreamRecordsRequest]:
        nonlocal sent
        for n in range(400):
            if done.is_set():
                return
            sent = n
            yield message(n, *(customer(f"crm:{n}-{i}", full_name="x" * 400) for i in range(400)))

    answers = client.identity.StreamRecords(eager())
    assert next(answers).sequence == 0
    time.sleep(1)
    before = sent
    assert before < 399, "all was taken though nobody read the answers"
    done.set()
    answers.cancel()


def test_identifiers_keep_how_they_became_known(client: Client) -> None:
    seen = record_pb2.Item(
        link=record_pb2.IdentifierLink(
            source="web",
            customer=record_pb2.CustomerKey(source="crm", source_id="1"),
            identifier=identifier("email:ann@example.org", record_pb2.ASSURANCE_OBSERVED),
            observe_time=at(NOW),
        )
    )
    ingest(client, customer("crm:1"), seen)
    graph = client.identity.GetIdentityGraph(pb.GetIdentityGraphRequest(subject=by_customer("crm:1")), timeout=30)
    (edge,) = graph.edges
    assert (edge.sources, edge.eligible) == (["web"], False)
    assert edge.confidence == pytest.approx(0.75)
