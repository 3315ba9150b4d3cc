"""The past over a real socket, on each engine: ``as_of`` on every call that has it."""

from __future__ import annotations

import time
from collections.abc import Callable

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from onefold.v1 import identity_service_pb2, profile_service_pb2
from tests.rpc.conftest import Client
from tests.rpc.echo import details
from tests.rpc.items import NOW, by_customer, by_id, code, customer, deletion, ingest, order, violations


def now() -> Timestamp:
    """This instant, apart from any before and after it by more than the graph's grain."""
    time.sleep(0.005)
    instant = Timestamp()
    instant.FromNanoseconds(time.time_ns())
    time.sleep(0.005)
    return instant


def failure(call: Callable[[], object]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def calls(client: Client, as_of: Timestamp) -> list[Callable[[], object]]:
    subject = by_customer("crm:1")
    resolve = identity_service_pb2.ResolveIdentityRequest(subject=subject, as_of=as_of)
    graph = identity_service_pb2.GetIdentityGraphRequest(subject=subject, as_of=as_of)
    profile = profile_service_pb2.GetProfileRequest(subject=subject, as_of=as_of)
    return [
        lambda: client.identity.ResolveIdentity(resolve, timeout=30),
        lambda: client.identity.GetIdentityGraph(graph, timeout=30),
        lambda: client.profile.GetProfile(profile, timeout=30),
    ]


def test_every_call_answers_as_it_did_then(client: Client) -> None:
    before = now()
    ingest(
        client,
        customer("crm:1", "email:ann@example.org", full_name="Ann"),
        customer("app:2", "email:ann@example.org"),
        order("shop:1", of="crm:1"),
    )
    answered = [call() for call in calls(client, now())]
    as_now = [call() for call in calls(client, now())]
    then = now()
    ingest(client, customer("crm:1", "email:lee@example.org", seen=NOW + 60, full_name="Lee"))
    parted = now()
    ingest(client, deletion("crm:1", made=NOW + 120))
    assert [call() for call in calls(client, then)] == answered == as_now
    resolved, graph, profile = (call() for call in calls(client, parted))
    assert resolved.identity.record_count == 1
    assert [n.name for n in graph.nodes] == ["customer:crm:1", "email:lee@example.org"]
    assert [t.value.string_value for t in profile.traits] == ["Lee"]
    assert profile.activity.order_count == 1
    for call in [*calls(client, before), *calls(client, now())]:
        status, _ = details(failure(call))
        assert code(status) is grpc.StatusCode.NOT_FOUND
        assert "customer:crm:1" in status.message


def test_an_id_of_then_tells_what_it_had_become_by_then(client: Client) -> None:
    first, _ = ingest(client, customer("crm:1", "email:ann@example.org"), customer("app:2", "email:ann@example.org"))
    whole = now()
    ingest(client, customer("app:2", seen=NOW + 60))

    def state(as_of: Timestamp) -> str:
        request = identity_service_pb2.ResolveIdentityRequest(subject=by_id(first.identity), as_of=as_of)
        answer = client.identity.ResolveIdentity(request, timeout=30)
        return identity_service_pb2.ResolutionState.Name(answer.state).removeprefix("RESOLUTION_STATE_")

    assert [state(whole), state(now())] == ["CURRENT", "SPLIT"]


def test_the_profiles_of_a_batch_are_all_of_then(client: Client) -> None:
    ingest(client, customer("crm:1", full_name="Ann"), customer("crm:2", full_name="Lee"))
    then = now()
    ingest(client, customer("crm:1", seen=NOW + 60, full_name="Anna"), customer("crm:3", full_name="Joe"))
    request = profile_service_pb2.BatchGetProfilesRequest(
        subjects=[by_customer(f"crm:{n}") for n in (1, 2, 3)], as_of=then
    )
    one, two, three = client.profile.BatchGetProfiles(request, timeout=30).results
    assert [r.profile.traits[0].value.string_value for r in (one, two)] == ["Ann", "Lee"]
    assert code(three.status) is grpc.StatusCode.NOT_FOUND


def test_the_future_can_not_be_asked_for(client: Client) -> None:
    ingest(client, customer("crm:1"))
    later = Timestamp(seconds=int(time.time()) + 60)
    for call in calls(client, later):
        status, _ = details(failure(call))
        assert code(status) is grpc.StatusCode.INVALID_ARGUMENT
        assert violations(status) == {"as_of": "must not be in the future"}
