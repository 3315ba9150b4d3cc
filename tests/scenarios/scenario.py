"""Stories with a known end: who comes, what is known of them, and who is who at the end.

A file is read by people first. Days count from the story's start; identifiers are ``kind:value`` under how they became
known; ``people`` are all identities with a record, each by the names of its records.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import yaml
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import BaseModel, ConfigDict

from onefold.v1 import record_pb2

START: Final = 1_640_995_200
"""2022-01-01, so that the longest story has ended."""

FILES: Final = sorted(Path(__file__).parent.glob("*.yaml"))


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Item(_Part):
    """One thing that comes in: exactly one of customer, order, event, match and ban."""

    customer: str = ""
    order: str = ""
    event: str = ""
    match: tuple[str, str] | None = None
    ban: tuple[str, str] | None = None
    day: int = 0
    verified: tuple[str, ...] = ()
    declared: tuple[str, ...] = ()
    observed: tuple[str, ...] = ()
    traits: dict[str, str] = {}
    device: str = ""
    by: str = ""
    why: str = ""


class Apart(_Part):
    """Two records that the evidence would join, and why they are not one."""

    who: tuple[str, str]
    reason: Literal["BAN", "SOURCE", "LIMIT"]
    kind: str = ""


class Scenario(_Part):
    """A story and its end."""

    title: str
    story: str
    items: tuple[Item, ...]
    people: tuple[tuple[str, ...], ...]
    apart: tuple[Apart, ...] = ()
    shared: tuple[str, ...] = ()
    anonymous_events: dict[str, int] = {}

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """The people, sorted."""
        return sorted(tuple(sorted(person)) for person in self.people)


def load(path: Path) -> Scenario:
    """The scenario in a file. Raises pydantic's error for anything that is no scenario."""
    return Scenario.model_validate(yaml.safe_load(path.read_text("utf-8")))


def messages(scenario: Scenario) -> list[record_pb2.Item]:
    """The story's items as a client sends them, in their order."""
    return [_message(item) for item in scenario.items]


def _message(item: Item) -> record_pb2.Item:
    at = Timestamp(seconds=START + item.day * 86_400)
    if item.customer:
        return record_pb2.Item(
            customer=record_pb2.Customer(
                key=customer_key(item.customer),
                identifiers=_identifiers(item),
                traits=record_pb2.Traits(**item.traits),
                observe_time=at,
            )
        )
    if item.order:
        source, _, order_id = item.order.partition(":")
        return record_pb2.Item(
            order=record_pb2.Order(
                key=record_pb2.OrderKey(source=source, order_id=order_id),
                identifiers=_identifiers(item),
                place_time=at,
                status=record_pb2.ORDER_STATUS_PAID,
                currency_code="EUR",
            )
        )
    if item.event:
        source, _, event_id = item.event.partition(":")
        device = _identifier(item.device, record_pb2.ASSURANCE_OBSERVED)
        return record_pb2.Item(
            event=record_pb2.Event(source=source, event_id=event_id, type="page_view", event_time=at, device=device)
        )
    a, b = map(customer_key, item.match or item.ban or ())
    if item.match:
        word = record_pb2.OperatorMatch(a=a, b=b, actor=item.by, reason=item.why, create_time=at)
        return record_pb2.Item(match=word)
    return record_pb2.Item(ban=record_pb2.OperatorBan(a=a, b=b, actor=item.by, reason=item.why, create_time=at))


def _identifiers(item: Item) -> Iterator[record_pb2.Identifier]:
    for name, assurance in (
        ("verified", record_pb2.ASSURANCE_VERIFIED),
        ("declared", record_pb2.ASSURANCE_DECLARED),
        ("observed", record_pb2.ASSURANCE_OBSERVED),
    ):
        for text in getattr(item, name):
            yield _identifier(text, assurance)


def _identifier(text: str, assurance: record_pb2.Assurance.ValueType) -> record_pb2.Identifier:
    kind, _, value = text.partition(":")
    return record_pb2.Identifier(kind=kind, value=value, assurance=assurance)


def customer_key(name: str) -> record_pb2.CustomerKey:
    """``customer_key("crm:1")``"""
    source, _, source_id = name.removeprefix("customer:").partition(":")
    return record_pb2.CustomerKey(source=source, source_id=source_id)
