"""``ProfileService`` over a real socket, on each engine."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc.error_details_pb2 import ResourceInfo

from onefold.v1 import identity_pb2, record_pb2
from onefold.v1 import profile_service_pb2 as pb
from tests.rpc.conftest import Client
from tests.rpc.echo import details
from tests.rpc.items import (
    DAY,
    NOW,
    at,
    by_customer,
    by_identifier,
    code,
    customer,
    event,
    identifier,
    ingest,
    key,
    money,
    order,
    violations,
)


def get(client: Client, subject: identity_pb2.Subject, *fields: str) -> pb.Profile:
    request = pb.GetProfileRequest(subject=subject, read_mask=FieldMask(paths=fields))
    return client.profile.GetProfile(request, timeout=30)


def failure(call: Callable[[], object]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def ann(client: Client) -> str:
    """A person with two records, a guest order and visits before she was known; her identity's id."""
    results = ingest(
        client,
        event("web:1", on="cookie:c1", happened=NOW - 9 * DAY),
        event("web:2", on="cookie:c1", happened=NOW - 8 * DAY, type="cart_add"),
        customer("crm:1", "email:ann@example.org", seen=NOW - 7 * DAY, full_name="Ann Lee", city="Leeds"),
        customer("app:2", "email:ann@example.org", "cookie:c1", seen=NOW, full_name="Ann M. Lee"),
        order("shop:1", of="crm:1", placed=NOW - 5 * DAY, pounds=10),
        order("web:9", "email:ann@example.org", placed=NOW - 3 * DAY, pounds=20),
        event("app:3", of="app:2", happened=NOW - DAY),
    )
    return results[-1].identity


def test_a_profile_is_over_all_records_and_devices_of_a_person(client: Client) -> None:
    id = ann(client)
    profile = get(client, by_identifier("cookie:c1"))
    assert profile.identity == id
    traits = {t.name: t for t in profile.traits}
    assert traits["full_name"].value.string_value == "Ann M. Lee"
    assert traits["full_name"].record.customer == key("app:2")
    assert [a.value.string_value for a in traits["full_name"].alternatives] == ["Ann Lee"]
    assert traits["city"].observe_time == at(NOW - 7 * DAY)
    assert [(i.kind, i.value) for i in profile.identifiers] == [("cookie", "c1"), ("email", "ann@example.org")]
    assert len(profile.records) == 3
    assert profile.activity.order_count == 2
    (spending,) = profile.activity.spending
    assert (spending.total_spent, spending.average_order_value) == (money(30), money(15))
    assert (profile.activity.event_count, profile.activity.anonymous_event_count) == (3, 2)
    assert profile.activity.event_counts == {"page_view": 2, "cart_add": 1}
    assert [o.key.order_id for o in profile.recent_orders] == ["9", "1"]
    assert [e.event_id for e in profile.recent_events] == ["3", "2", "1"]
    assert profile.completeness == pytest.approx(2 / 16)
    assert not profile.HasField("churn")  # there is no model


def test_an_order_is_shown_as_it_was_sent(client: Client) -> None:
    sent = record_pb2.Order(
        key=record_pb2.OrderKey(source="shop", order_id="A/1:2"),
        identifiers=[identifier("email:ann@example.org"), identifier("phone:+442079460018")],
        place_time=at(NOW - DAY),
        observe_time=at(NOW),
        utc_offset_minutes=60,
        status=record_pb2.ORDER_STATUS_RETURNED,
        currency_code="GBP",
        lines=[
            record_pb2.OrderLine(sku="b", name="B", category="pots", quantity=3, unit_price=money(2)),
            record_pb2.OrderLine(sku="a", quantity=1, unit_price=money(0)),
            record_pb2.OrderLine(sku="b", name="B", category="pots", quantity=1, unit_price=money(2)),
        ],
        total=money(7),
        channel="web",
        payment_method="card",
        coupons=["SPRING", "AGAIN"],
        refunds=[record_pb2.Refund(refund_id="r:1", refund_time=at(NOW), amount=money(7), sku="b", quantity=3)],
        properties={
            "gift": record_pb2.PropertyValue(bool_value=True),
            "notes": record_pb2.PropertyValue(string_list_value=record_pb2.StringList(values=["ring", "twice"])),
            "weight": record_pb2.PropertyValue(double_value=1.0),
        },
    )
    ingest(client, record_pb2.Item(order=sent))
    (shown,) = client.profile.ListOrders(pb.ListOrdersRequest(subject=by_identifier("email:ann@example.org"))).orders
    assert shown == sent


def test_only_the_fields_that_were_asked_for_come(client: Client) -> None:
    ann(client)
    profile = get(client, by_customer("crm:1"), "records", "completeness")
    assert {field.name for field, _ in profile.ListFields()} == {"records", "completeness"}
    everything = get(client, by_customer("crm:1"))
    assert get(client, by_customer("crm:1"), "*") == everything


def test_a_field_that_no_profile_has_is_named(client: Client) -> None:
    ann(client)
    for path, field in [("shoes", "read_mask"), ("activity.order_count", "read_mask.paths[0]")]:
        status, _ = details(failure(lambda path=path: get(client, by_customer("crm:1"), path)))
        assert code(status) is grpc.StatusCode.INVALID_ARGUMENT
        assert list(violations(status)) == [field]


def test_a_profile_of_nobody_is_not_found_with_resource_info(client: Client) -> None:
    status, found = details(failure(lambda: get(client, by_customer("crm:404"))))
    assert code(status) is grpc.StatusCode.NOT_FOUND
    resource: ResourceInfo = found["ResourceInfo"]
    assert (resource.resource_type, resource.resource_name) == ("customer", "customer:crm:404")


def test_visits_without_a_person_have_a_profile_too(client: Client) -> None:
    ingest(client, event("web:1", on="cookie:c1"))
    profile = get(client, by_identifier("cookie:c1"))
    assert profile.identity
    assert not profile.records
    assert [e.event_id for e in profile.recent_events] == ["1"]


def test_a_batch_answers_each_subject_by_itself(client: Client) -> None:
    id = ann(client)
    subjects = [by_customer("crm:1"), by_customer("crm:404"), by_identifier("email:none at all"), by_customer("")]
    request = pb.BatchGetProfilesRequest(
        subjects=[*subjects, by_customer("app:2")], read_mask=FieldMask(paths=["identity"])
    )
    results = client.profile.BatchGetProfiles(request, timeout=30).results
    assert [r.index for r in results] == [0, 1, 2, 3, 4]
    assert [r.profile for r in results if r.HasField("profile")] == [pb.Profile(identity=id)] * 2
    assert code(results[1].status) is grpc.StatusCode.NOT_FOUND
    assert list(violations(results[2].status)) == ["subjects[2].identifier.value"]
    assert "subjects[3].customer.source" in violations(results[3].status)


@pytest.mark.parametrize("size", [1, 3, 7])
def test_every_order_and_event_comes_once_over_all_pages(client: Client, size: int) -> None:
    # Three of each at each instant, so that pages end within ties.
    orders = [order(f"shop:{n}", of="crm:1", placed=NOW - n // 3 * DAY) for n in range(7)]
    events = [event(f"web:{n}", of="crm:1", happened=NOW - n // 3 * DAY) for n in range(7)]
    ingest(client, *orders, *events)
    seen_orders: list[str] = []
    token = ""
    while True:
        page = client.profile.ListOrders(
            pb.ListOrdersRequest(subject=by_customer("crm:1"), page_size=size, page_token=token), timeout=30
        )
        assert len(page.orders) <= size
        seen_orders += [o.key.order_id for o in page.orders]
        if not (token := page.next_page_token):
            break
    assert seen_orders == ["2", "1", "0", "5", "4", "3", "6"]
    seen_events: list[str] = []
    while True:
        listed = client.profile.ListEvents(
            pb.ListEventsRequest(subject=by_customer("crm:1"), page_size=size, page_token=token), timeout=30
        )
        seen_events += [e.event_id for e in listed.events]
        if not (token := listed.next_page_token):
            break
    assert seen_events == seen_orders


def test_events_are_listed_by_type_and_time(client: Client) -> None:
    ann(client)
    request = pb.ListEventsRequest(
        subject=by_customer("crm:1"), types=["page_view"], start_time=at(NOW - 9 * DAY), end_time=at(NOW - DAY)
    )
    assert [e.event_id for e in client.profile.ListEvents(request, timeout=30).events] == ["1"]


def test_a_token_of_another_list_is_refused(client: Client) -> None:
    ann(client)
    first = client.profile.ListOrders(pb.ListOrdersRequest(subject=by_customer("crm:1"), page_size=1), timeout=30)
    assert first.next_page_token
    other = pb.ListEventsRequest(subject=by_customer("crm:1"), page_size=1, page_token=first.next_page_token)
    status, _ = details(failure(lambda: client.profile.ListEvents(other, timeout=30)))
    assert list(violations(status)) == ["page_token"]
