"""Items into the domain's values: what only the policy can say is wrong with them."""

from __future__ import annotations

import pytest

from onefold.graph import policy
from onefold.graph.errors import InvalidInput, Violation
from onefold.graph.model import Event
from onefold.service import convert
from onefold.v1 import record_pb2
from tests.rpc.items import event, order

POLICY = policy.load()


def refused(item: record_pb2.Item) -> list[Violation]:
    with pytest.raises(InvalidInput) as caught:
        convert.parse_item(item, POLICY)
    return caught.value.violations


@pytest.mark.parametrize("device", ["device:null", "cookie:undefined"])
def test_an_event_that_hangs_on_nothing_but_a_placeholder_is_refused(device: str) -> None:
    assert refused(event("web:1", on=device)) == [Violation("event.device.value", "is a value that identifies nobody")]


def test_an_event_of_a_customer_may_have_a_placeholder_for_its_device() -> None:
    parsed = convert.parse_item(event("web:1", of="crm:1", on="device:null"), POLICY)
    assert isinstance(parsed, Event)
    assert parsed.customer == "customer:crm:1"


def test_a_guest_order_with_placeholders_only_is_refused() -> None:
    found = refused(order("shop:1", "email:n/a", "phone:unknown"))
    assert found == [Violation("order.identifiers", "must have a value that identifies somebody")]


def test_one_good_identifier_or_a_customer_is_enough_for_an_order() -> None:
    convert.parse_item(order("shop:1", "email:n/a", "email:ann@example.org"), POLICY)
    convert.parse_item(order("shop:1", "email:n/a", of="crm:1"), POLICY)
