"""What was sent comes back as it was sent: items through the domain's values and out again."""

from __future__ import annotations

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from onefold.graph import policy
from onefold.graph.model import (
    ORDER_STATUSES,
    Assertion,
    Assurance,
    Event,
    Order,
    OrderLine,
    PropertyValue,
    Refund,
)
from onefold.service import convert
from onefold.service.wire import violations
from onefold.v1 import record_pb2

POLICY = policy.load()

instants = st.integers(-2_208_988_800_000, 1_700_000_000_000)
micros = st.integers(0, 10**15)
words = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
sources = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,10}", fullmatch=True)
identifiers = st.sampled_from(["email:ann@example.org", "phone:+442079460018", "member:1001", "cookie:c1"])
assertions = st.builds(Assertion, identifiers, st.sampled_from(Assurance))
values: st.SearchStrategy[PropertyValue] = st.one_of(
    words,
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.dates(date(1, 1, 1), date(9999, 12, 31)),
    st.lists(words, max_size=3).map(tuple),
)
properties = st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True), values, max_size=3)
customers = st.builds("customer:{}:{}".format, sources, words)

lines = st.builds(OrderLine, words, st.integers(1, 1_000), micros, words, words)
refunds = st.builds(Refund, words, instants, micros, words, st.integers(0, 9), words)
orders = st.builds(
    Order,
    source=sources,
    order_id=words,
    placed_at=instants,
    currency=st.sampled_from(["GBP", "EUR", "JPY"]),
    total=micros,
    status=st.sampled_from(ORDER_STATUSES),
    observed_at=instants,
    customer=customers,
    assertions=st.lists(assertions, max_size=3, unique=True).map(tuple),
    lines=st.lists(lines, max_size=3).map(tuple),
    refunds=st.lists(refunds, max_size=2).map(tuple),
    channel=words,
    payment_method=words,
    coupons=st.lists(words, max_size=2).map(tuple),
    properties=properties,
    utc_offset_minutes=st.integers(-1080, 1080),
)
events = st.builds(
    Event,
    source=sources,
    event_id=words,
    type=st.sampled_from(["page_view", "cart.add"]),
    at=instants,
    customer=st.none() | customers,
    device=st.sampled_from(["cookie:c1", "device:d1"]),
    assurance=st.sampled_from(Assurance),
    channel=words,
    properties=properties,
    utc_offset_minutes=st.integers(-1080, 1080),
)


@given(orders)
def test_an_order_that_is_shown_can_be_sent_and_is_the_same(order: Order) -> None:
    message = record_pb2.Item(order=convert.order_to_proto(order))
    assert violations(message) == []
    assert convert.parse_item(message, POLICY) == order


@given(events)
def test_an_event_that_is_shown_can_be_sent_and_is_the_same(event: Event) -> None:
    message = record_pb2.Item(event=convert.event_to_proto(event))
    assert violations(message) == []
    assert convert.parse_item(message, POLICY) == event


@given(st.integers(-(10**18), 10**18))
def test_money_is_exact_and_its_parts_have_one_sign(amount: int) -> None:
    money = convert.money_to_proto(amount, "GBP")
    assert convert.parse_money(money) == amount
    assert money.units * money.nanos >= 0


@given(instants)
def test_an_instant_is_kept_to_the_millisecond(instant: int) -> None:
    assert convert.parse_timestamp(convert.timestamp_to_proto(instant)) == instant
