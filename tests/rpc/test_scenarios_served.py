"""The stories of ``tests/scenarios``, told to the service over gRPC, on each engine."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from onefold.v1 import audit_service_pb2, identity_pb2, identity_service_pb2, profile_service_pb2, record_pb2
from tests.rpc.conftest import Client
from tests.rpc.items import ingest
from tests.scenarios.scenario import FILES, Scenario, customer_key, load, messages


def subject(name: str) -> identity_pb2.Subject:
    label, _, rest = name.partition(":")
    if label == "customer":
        return identity_pb2.Subject(customer=customer_key(rest))
    source, _, order_id = rest.partition(":")
    return identity_pb2.Subject(order=record_pb2.OrderKey(source=source, order_id=order_id))


def groups(client: Client, scenario: Scenario) -> list[tuple[str, ...]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in sorted(name for person in scenario.people for name in person):
        request = identity_service_pb2.ResolveIdentityRequest(subject=subject(name))
        found[client.identity.ResolveIdentity(request, timeout=30).identity.id].append(name)
    return sorted(tuple(names) for names in found.values())


def shared(client: Client, scenario: Scenario) -> set[str]:
    found = set()
    for person in scenario.people:
        request = identity_service_pb2.GetIdentityGraphRequest(subject=subject(person[0]))
        graph = client.identity.GetIdentityGraph(request, timeout=30)
        found |= {node.name for node in graph.nodes if node.shared}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_story_ends_as_told(client: Client, path: Path) -> None:
    scenario = load(path)
    for message in messages(scenario):  # one by one: each may merge and part what came before
        (result,) = ingest(client, message)
        assert not result.HasField("status"), result.status.message
    assert groups(client, scenario) == scenario.groups
    assert shared(client, scenario) == set(scenario.shared)
    for apart in scenario.apart:
        a, b = map(subject, apart.who)
        told = client.audit.ExplainLink(audit_service_pb2.ExplainLinkRequest(a=a, b=b), timeout=30)
        reason = identity_pb2.RefusalReason.Value(f"REFUSAL_REASON_{apart.reason}")
        assert (reason, apart.kind) in {(r.reason, r.kind) for r in told.refusals}
    for name, count in scenario.anonymous_events.items():
        request = profile_service_pb2.GetProfileRequest(subject=subject(name), read_mask=FieldMask(paths=["activity"]))
        assert client.profile.GetProfile(request, timeout=30).activity.anonymous_event_count == count
