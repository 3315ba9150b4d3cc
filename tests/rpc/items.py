"""Items as a client sends them."""

from __future__ import annotations

import time
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from google.type.money_pb2 import Money

from onefold.v1 import identity_pb2, identity_service_pb2, record_pb2
from tests.rpc.conftest import Client

NOW: Final = int(time.time()) - 3600
DAY: Final = 86_400


def at(seconds: int) -> Timestamp:
    return Timestamp(seconds=seconds)


def identifier(text: str, assurance: int = record_pb2.ASSURANCE_VERIFIED) -> record_pb2.Identifier:
    """``identifier("email:ann@example.org")``"""
    kind, _, value = text.partition(":")
    return record_pb2.Identifier(kind=kind, value=value, assurance=assurance)


def key(name: str) -> record_pb2.CustomerKey:
    """``key("crm:1")``"""
    source, _, source_id = name.partition(":")
    return record_pb2.CustomerKey(source=source, source_id=source_id)


def customer(name: str, *identifiers: str, seen: int = NOW, **traits: object) -> record_pb2.Item:
    return record_pb2.Item(
        customer=record_pb2.Customer(
            key=key(name),
            identifiers=map(identifier, identifiers),
            traits=record_pb2.Traits(**traits),
            observe_time=at(seen),
        )
    )


def order(name: str, *identifiers: str, of: str = "", placed: int = NOW, pounds: int = 10) -> record_pb2.Item:
    source, _, order_id = name.partition(":")
    return record_pb2.Item(
        order=record_pb2.Order(
            key=record_pb2.OrderKey(source=source, order_id=order_id),
            customer=key(of) if of else None,
            identifiers=map(identifier, identifiers),
            place_time=at(placed),
            status=record_pb2.ORDER_STATUS_PAID,
            currency_code="GBP",
            lines=[record_pb2.OrderLine(sku="mug", name="A mug", quantity=2, unit_price=money(pounds // 2))],
        )
    )


def event(name: str, *, of: str = "", on: str = "", happened: int = NOW, type: str = "page_view") -> record_pb2.Item:
    source, _, event_id = name.partition(":")
    return record_pb2.Item(
        event=record_pb2.Event(
            source=source,
            event_id=event_id,
            type=type,
            event_time=at(happened),
            customer=key(of) if of else None,
            device=identifier(on) if on else None,
        )
    )


def match(a: str, b: str, made: int = NOW) -> record_pb2.Item:
    return record_pb2.Item(
        match=record_pb2.OperatorMatch(a=key(a), b=key(b), actor="ann", reason="a call", create_time=at(made))
    )


def ban(a: str, b: str, made: int = NOW) -> record_pb2.Item:
    return record_pb2.Item(
        ban=record_pb2.OperatorBan(a=key(a), b=key(b), actor="ann", reason="a call", create_time=at(made))
    )


def deletion(name: str, made: int = NOW) -> record_pb2.Item:
    return record_pb2.Item(
        deletion=record_pb2.Deletion(record=record_pb2.RecordKey(customer=key(name)), delete_time=at(made))
    )


def money(pounds: int) -> Money:
    return Money(currency_code="GBP", units=pounds)


def by_customer(name: str) -> identity_pb2.Subject:
    return identity_pb2.Subject(customer=key(name))


def by_identifier(text: str) -> identity_pb2.Subject:
    return identity_pb2.Subject(identifier=identifier(text))


def by_id(id: str) -> identity_pb2.Subject:
    return identity_pb2.Subject(identity=id)


def ingest(client: Client, *items: record_pb2.Item, request_id: str = "") -> list[identity_service_pb2.ItemResult]:
    """The results of the items, sent in one call."""
    request = identity_service_pb2.IngestRecordsRequest(items=items, request_id=request_id)
    return list(client.identity.IngestRecords(request, timeout=30).results)


def violations(status: Status) -> dict[str, str]:
    """The rule that each field breaks, by its path."""
    return {v.field: v.description for v in _detail(status, BadRequest()).field_violations}


def _detail(status: Status, detail: BadRequest) -> BadRequest:
    for packed in status.details:
        assert isinstance(packed, AnyMessage)
        if packed.Unpack(detail):
            return detail
    raise AssertionError(f"no {type(detail).__name__} in {status}")


def code(status: Status) -> grpc.StatusCode:
    return next(c for c in grpc.StatusCode if c.value[0] == status.code)
