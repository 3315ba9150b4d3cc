"""Requests are decoded and checked: the bad field is named by its path, and the rest of a batch goes on."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onefold.graph.errors import InvalidInput, Violation
from onefold.graph.normalize import MAX_LENGTH
from onefold.service import wire
from onefold.v1 import (
    audit_service_pb2,
    identity_pb2,
    identity_service_pb2,
    prediction_service_pb2,
    profile_service_pb2,
    record_pb2,
)
from onefold.v1.identity_service_pb2 import IngestRecordsRequest, StreamRecordsRequest
from onefold.v1.record_pb2 import Item

NOON = 1_700_000_000


def customer() -> Item:
    item = Item()
    made = item.customer
    made.key.source, made.key.source_id = "crm", "c-1"
    made.observe_time.seconds = NOON
    made.identifiers.add(kind="email", value="ann@example.org", assurance=record_pb2.ASSURANCE_VERIFIED)
    made.traits.city = "Leeds"
    made.traits.birth_date.year, made.traits.birth_date.month, made.traits.birth_date.day = 2000, 2, 29
    made.properties["size"].double_value = 41.5
    return item


def order() -> Item:
    item = Item()
    made = item.order
    made.key.source, made.key.order_id = "shop", "o-1"
    made.customer.source, made.customer.source_id = "crm", "c-1"
    made.place_time.seconds = NOON
    made.utc_offset_minutes = 60
    made.status = record_pb2.ORDER_STATUS_PAID
    made.currency_code = "GBP"
    for sku in ("A", "B", "C"):
        line = made.lines.add(sku=sku, quantity=2)
        line.unit_price.currency_code, line.unit_price.units, line.unit_price.nanos = "GBP", 2, 550_000_000
    return item


def event() -> Item:
    item = Item()
    made = item.event
    made.source, made.event_id, made.type = "web", "e-1", "page_view"
    made.event_time.seconds = NOON
    made.device.kind, made.device.value = "cookie", "f00d"
    return item


def ban() -> Item:
    item = Item()
    made = item.ban
    made.a.source, made.a.source_id = "crm", "c-1"
    made.b.source, made.b.source_id = "crm", "c-2"
    made.actor, made.reason = "kim", "father and son"
    made.create_time.seconds = NOON
    return item


def set_(path: str, value: object) -> Callable[[Item], None]:
    """Sets a field of an item by its path, as in ``order.lines.2.quantity``."""

    def change(item: Item) -> None:
        *parents, last = path.split(".")
        at: object = item
        for name in parents:
            at = at[int(name)] if name.isdigit() else getattr(at, name)  # type: ignore[index]
        setattr(at, last, value)

    return change


def clear(path: str) -> Callable[[Item], None]:
    def change(item: Item) -> None:
        *parents, last = path.split(".")
        at = item
        for name in parents:
            at = getattr(at, name)
        at.ClearField(last)  # type: ignore[arg-type]

    return change


TOMORROW_AND_MORE = int(time.time()) + 2 * 86_400

BAD = [
    (customer, set_("customer.key.source", "C:RM"), "customer.key.source", "lower-case letters"),
    (customer, set_("customer.key.source_id", ""), "customer.key.source_id", "1 to 256 characters"),
    (customer, set_("customer.key.source_id", "a\nb"), "customer.key.source_id", "control character"),
    (customer, clear("customer.key"), "customer.key", "is required"),
    (customer, clear("customer.observe_time"), "customer.observe_time", "is required"),
    (
        customer,
        set_("customer.observe_time.seconds", TOMORROW_AND_MORE),
        "customer.observe_time",
        "in the future",
    ),
    (customer, set_("customer.observe_time.seconds", 2**63 - 1), "customer.observe_time", "in the future"),
    (customer, set_("customer.observe_time.seconds", -(2**63)), "customer.observe_time", "1900-01-01"),
    (customer, set_("customer.utc_offset_minutes", 1081), "customer.utc_offset_minutes", "1080"),
    (customer, set_("customer.region", "gb"), "customer.region", "ISO 3166-1"),
    (customer, set_("customer.identifiers.0.kind", "E-Mail"), "customer.identifiers[0].kind", "lower-case"),
    (
        customer,
        set_("customer.identifiers.0.value", ""),
        "customer.identifiers[0].value",
        "must not be empty",
    ),
    (customer, set_("customer.identifiers.0.value", "é" * 257), "customer.identifiers[0].value", "256 characters"),
    (
        customer,
        set_("customer.identifiers.0.assurance", 9),
        "customer.identifiers[0].assurance",
        "must be one of ASSURANCE_VERIFIED, ASSURANCE_DECLARED, ASSURANCE_OBSERVED",
    ),
    (customer, set_("customer.traits.birth_date.year", 1999), "customer.traits.birth_date", "calendar"),
    (customer, set_("customer.traits.birth_date.year", 2400), "customer.traits.birth_date", "to this year"),
    (
        customer,
        lambda item: setattr(item.customer.properties["Size"], "int_value", 1),
        'customer.properties["Size"]',
        "must be named by",
    ),
    (
        customer,
        lambda item: setattr(item.customer.properties["size"], "double_value", float("nan")),
        'customer.properties["size"].double_value',
        "must be a finite number",
    ),
    (
        customer,
        lambda item: item.customer.properties["size"].ClearField("value"),
        'customer.properties["size"].value',
        "must have one of string_value, int_value, double_value, bool_value, date_value, string_list_value",
    ),
    (order, clear("order.customer"), "order", "a customer or at least one identifier"),
    (order, set_("order.lines.2.quantity", -1), "order.lines[2].quantity", "greater than 0"),
    (order, set_("order.lines.2.quantity", 0), "order.lines[2].quantity", "greater than 0"),
    (order, set_("order.lines.1.unit_price.units", -1), "order.lines[1].unit_price", "from zero"),
    (order, set_("order.lines.1.unit_price.nanos", 1), "order.lines[1].unit_price", "six decimals"),
    (order, set_("order.lines.1.unit_price.currency_code", "EUR"), "order", "unit_price of every line"),
    (order, set_("order.total.currency_code", "EUR"), "order", "total must be in"),
    (order, set_("order.currency_code", "pounds"), "order.currency_code", "ISO 4217"),
    (order, set_("order.currency_code", "XQZ"), "order.currency_code", "must be an ISO 4217 code such as GBP"),
    (order, set_("order.currency_code", "gbp"), "order.currency_code", "must be an ISO 4217 code such as GBP"),
    (order, set_("order.currency_code", "EUR,"), "order.currency_code", "must be an ISO 4217 code such as GBP"),
    (order, set_("order.status", 0), "order.status", "is required"),
    (order, set_("order.status", 77), "order.status", "must be one of ORDER_STATUS_PENDING"),
    (event, clear("event.device"), "event", "a customer or a device"),
    (event, set_("event.type", "Page View"), "event.type", "lower-case"),
    (ban, set_("ban.b.source_id", "c-1"), "ban", "two different"),
    (ban, set_("ban.expire_time.seconds", NOON), "ban", "expire after"),
    (ban, set_("ban.actor", ""), "ban.actor", "must not be empty"),
]


@pytest.mark.parametrize("make", [customer, order, event, ban])
def test_a_good_item_breaks_no_rule(make: Callable[[], Item]) -> None:
    assert wire.violations(make()) == []


@pytest.mark.parametrize(
    ("make", "spoil", "path", "words"), BAD, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_bad_item_is_told_its_field_and_its_rule(
    make: Callable[[], Item], spoil: Callable[[Item], None], path: str, words: str
) -> None:
    item = make()
    spoil(item)
    told = [violation.rule for violation in wire.violations(item) if violation.field == path]
    assert any(words in rule for rule in told), wire.violations(item)


def test_an_item_that_is_nothing_is_told_what_it_may_be() -> None:
    assert wire.violations(Item(), "items[7]") == [
        Violation("items[7].item", "must have one of customer, order, event, link, match, ban, withdrawal, deletion")
    ]


def test_a_bad_item_is_refused_and_the_others_are_not() -> None:
    bad = order()
    bad.order.lines[1].quantity = -3
    batch = wire.decode_batch(
        IngestRecordsRequest, IngestRecordsRequest(items=[customer(), bad, event()]).SerializeToString()
    )
    assert batch.error is None
    assert {index: [v.field for v in broken] for index, broken in batch.refused.items()} == {
        1: ["items[1].order.lines[1].quantity"]
    }
    assert batch.message.items[2] == event()


def garbled(request: IngestRecordsRequest | StreamRecordsRequest, *marks: str) -> bytes:
    """The encoded request, with the first letter of each mark made a byte that is not UTF-8."""
    data = request.SerializeToString()
    for mark in marks:
        assert mark.encode() in data
        data = data.replace(mark.encode(), b"\xff" + mark[1:].encode())
    return data


def test_a_string_that_is_not_utf8_refuses_its_item_alone_by_its_path() -> None:
    bad = customer()
    bad.customer.traits.city = "CITY"
    bad.customer.identifiers.add(kind="phone", value="PHONE")
    bad.customer.properties["note"].string_list_value.values.extend(["fine", "NOTE"])
    request = StreamRecordsRequest(sequence=-5, items=[event(), order(), customer(), bad, ban()])
    batch = wire.decode_batch(StreamRecordsRequest, garbled(request, "CITY", "PHONE", "NOTE"))
    assert batch.error is None
    assert batch.message.sequence == -5
    assert [batch.message.items[place] for place in (0, 1, 2, 4)] == [event(), order(), customer(), ban()]
    assert {place: sorted(v.field for v in broken) for place, broken in batch.refused.items()} == {
        3: [
            "items[3].customer.identifiers[1].value",
            'items[3].customer.properties["note"].string_list_value.values[1]',
            "items[3].customer.traits.city",
        ]
    }
    assert {v.rule for v in batch.refused[3]} == {"is not valid UTF-8"}


def test_a_property_whose_name_is_not_utf8_is_named_by_its_map() -> None:
    bad = event()
    bad.event.properties["NAME"].int_value = 1
    batch = wire.decode_batch(IngestRecordsRequest, garbled(IngestRecordsRequest(items=[bad]), "NAME"))
    assert batch.refused == {0: [Violation("items[0].event.properties", "has a name that is not valid UTF-8")]}


def test_an_item_broken_off_refuses_itself_alone() -> None:
    whole = event().SerializeToString()
    torn = whole[:-3]
    data = b"".join(b"\x0a" + bytes([len(item)]) + item for item in (whole, torn, whole))
    batch = wire.decode_batch(IngestRecordsRequest, data)
    assert batch.error is None
    assert batch.refused == {1: [Violation("items[1]", "can't be read as onefold.v1.Item")]}
    assert batch.message.items[2] == event()


@pytest.mark.parametrize(
    ("data", "path", "words"),
    [
        (b"", "items", "must not be empty"),
        (IngestRecordsRequest(items=[event()] * 501).SerializeToString(), "items", "no more than 500 items"),
        (IngestRecordsRequest(items=[event()], request_id="7").SerializeToString(), "request_id", "UUID"),
        (
            garbled(IngestRecordsRequest(items=[event()], request_id="QQ"), "QQ"),
            "request_id",
            "not valid UTF-8",
        ),
        (b"\xff\xff\xff", "request", "can't be read"),
        (IngestRecordsRequest(items=[event()]).SerializeToString()[:-1], "request", "can't be read"),
    ],
)
def test_a_batch_that_is_bad_as_a_whole_says_why(data: bytes, path: str, words: str) -> None:
    batch = wire.decode_batch(IngestRecordsRequest, data)
    assert batch.error is not None
    assert batch.error.violations[0].field == path
    assert words in batch.error.violations[0].rule
    assert batch.refused == {}


def test_a_request_is_checked_before_a_servicer_sees_it() -> None:
    decoders = wire.decoders()
    someone = identity_pb2.Subject(customer=record_pb2.CustomerKey(source="crm", source_id="c-1"))
    bad = {
        "/onefold.v1.IdentityService/IngestRecords": IngestRecordsRequest(),
        "/onefold.v1.IdentityService/ResolveIdentity": identity_service_pb2.ResolveIdentityRequest(),
        "/onefold.v1.ProfileService/GetProfile": profile_service_pb2.GetProfileRequest(
            subject=someone, read_mask={"paths": ["churn", "shoe_size"]}
        ),
        "/onefold.v1.ProfileService/ListEvents": profile_service_pb2.ListEventsRequest(subject=someone, page_size=-1),
        "/onefold.v1.PredictionService/ScoreChurn": prediction_service_pb2.ScoreChurnRequest(
            subject=someone, max_reasons=-1
        ),
        "/onefold.v1.AuditService/GetDecision": audit_service_pb2.GetDecisionRequest(id="the last one"),
    }
    told = {}
    for path, request in bad.items():
        with pytest.raises(InvalidInput) as caught:
            decoders[path](request.SerializeToString())
        told[path.rpartition("/")[2]] = [v.field for v in caught.value.violations]
    assert told == {
        "IngestRecords": ["items"],
        "ResolveIdentity": ["subject"],
        "GetProfile": ["read_mask"],
        "ListEvents": ["page_size"],
        "ScoreChurn": ["max_reasons"],
        "GetDecision": ["id"],
    }


@pytest.mark.parametrize("code", ["AED", "EUR", "JPY", "KWD", "SLE", "VES", "XCG", "ZMW", "ZWG"])
def test_an_order_may_be_in_any_currency_of_the_standard(code: str) -> None:
    item = order()
    item.order.currency_code = code
    for line in item.order.lines:
        line.unit_price.currency_code = code
    assert wire.violations(item) == []


@pytest.mark.parametrize("letter", ["a", "é", "語"])
def test_an_identifier_is_as_long_as_normalisation_takes_it_in_any_script(letter: str) -> None:
    item = customer()
    item.customer.identifiers[0].value = letter * MAX_LENGTH
    assert wire.violations(item) == []
    item.customer.identifiers[0].value += letter
    assert [v.field for v in wire.violations(item)] == ["customer.identifiers[0].value"]


def test_a_bad_message_does_not_end_a_stream() -> None:
    decode = wire.decoders()["/onefold.v1.IdentityService/StreamRecords"]
    batch = decode(StreamRecordsRequest(sequence=8).SerializeToString())
    assert batch.message.sequence == 8
    assert [v.field for v in batch.error.violations] == ["items"]


def test_a_request_that_can_not_be_read_names_the_field() -> None:
    someone = identity_pb2.Subject(identifier=record_pb2.Identifier(kind="email", value="VALUE"))
    data = identity_service_pb2.ResolveIdentityRequest(subject=someone).SerializeToString()
    with pytest.raises(InvalidInput) as caught:
        wire.decode(identity_service_pb2.ResolveIdentityRequest, data.replace(b"VALUE", b"VAL\xc3\x28"))
    assert caught.value.violations == [Violation("subject.identifier.value", "is not valid UTF-8")]


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, 399), junk=st.binary(min_size=1, max_size=6))
def test_no_bytes_at_all_make_decoding_a_batch_fail(place: int, junk: bytes) -> None:
    data = IngestRecordsRequest(items=[customer(), order(), event(), ban()]).SerializeToString()
    spoilt = data[: place % len(data)] + junk + data[place % len(data) + len(junk) :]
    batch = wire.decode_batch(IngestRecordsRequest, spoilt)
    assert batch.error is not None or len(batch.message.items) >= 1
    assert all(place < len(batch.message.items) and broken for place, broken in batch.refused.items())
