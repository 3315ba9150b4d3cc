"""The stories of ``tests/scenarios``, told to the service over gRPC, on each engine."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import combinations
from pathlib import Path

import grpc
import pytest
import yaml
from google.protobuf.field_mask_pb2 import FieldMask

from onefold.graph import policy
from onefold.service import app
from onefold.service.ending import rules
from onefold.service.scenario import BanItem, Scenario, load, messages, record_key
from onefold.v1 import audit_service_pb2, identity_pb2, identity_service_pb2, profile_service_pb2
from tests.rpc.conftest import Client, settings
from tests.rpc.items import ingest

FILES = sorted((Path(__file__).parents[1] / "scenarios").glob("*.yaml"))


@contextmanager
def under_its_rules(scenario: Scenario, client: Client, folder: Path) -> Iterator[Client]:
    """The service; another one, with a policy of its own, for a story that has a word on its sources."""
    if not scenario.sources:
        yield client
        return
    file = folder / "policy.yaml"
    content = rules(scenario, policy.load()).model_dump(mode="json", by_alias=True)
    file.write_text(yaml.safe_dump(content), "utf-8")
    with ExitStack() as resources:
        server = app.start(settings(client.engine.endpoint, folder, policy_file=file), resources)
        server.set_ready(True)
        channel = resources.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.port}"))
        yield Client(channel, client.engine, client.settings)


def subject(name: str) -> identity_pb2.Subject:
    record = record_key(name)
    if record.HasField("customer"):
        return identity_pb2.Subject(customer=record.customer)
    return identity_pb2.Subject(order=record.order)


def groups(client: Client, scenario: Scenario) -> list[tuple[str, ...]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in sorted(name for person in scenario.groups for name in person):
        request = identity_service_pb2.ResolveIdentityRequest(subject=subject(name))
        found[client.identity.ResolveIdentity(request, timeout=30).identity.id].append(name)
    return sorted(tuple(names) for names in found.values())


def shared(client: Client, scenario: Scenario) -> set[str]:
    found = set()
    for name in (name for person in scenario.groups for name in person):
        request = identity_service_pb2.GetIdentityGraphRequest(subject=subject(name))
        graph = client.identity.GetIdentityGraph(request, timeout=30)
        found |= {node.name for node in graph.nodes if node.shared}
    return found


Apart = tuple[tuple[str, ...], tuple[str, ...], str, str]
"""Two persons, by the names of their records, and the reason and the kind for which they are two."""


def told_apart(scenario: Scenario) -> set[Apart]:
    person = {name: group for group in scenario.groups for name in group}
    return {(*sorted(person[name] for name in apart.who), apart.reason, apart.kind) for apart in scenario.apart}


def apart(client: Client, scenario: Scenario) -> set[Apart]:
    """Whoever of the people is kept apart, whether or not the story says so."""
    found = set()
    for one, other in combinations(scenario.groups, 2):
        request = audit_service_pb2.ExplainLinkRequest(a=subject(one[0]), b=subject(other[0]))
        for refusal in client.audit.ExplainLink(request, timeout=30).refusals:
            reason = identity_pb2.RefusalReason.Name(refusal.reason).removeprefix("REFUSAL_REASON_")
            found.add((one, other, reason, refusal.kind))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_story_ends_as_told(client: Client, path: Path, tmp_path: Path) -> None:
    scenario = load(path)
    with under_its_rules(scenario, client, tmp_path) as served:
        for message in messages(scenario):  # one by one: each may merge and part what came before
            (result,) = ingest(served, message)
            assert not result.HasField("status"), result.status.message
        wait_for_the_end_of_bans(served, scenario)
        ends_as_told(served, scenario)


def wait_for_the_end_of_bans(client: Client, scenario: Scenario) -> None:
    """The service sees by itself, and in its own time, that a ban is over."""
    ending = any(isinstance(item, BanItem) and item.until is not None for item in scenario.items)
    patience = time.monotonic() + 30
    while ending and groups(client, scenario) != scenario.groups and time.monotonic() < patience:
        time.sleep(0.2)


def ends_as_told(client: Client, scenario: Scenario) -> None:
    assert groups(client, scenario) == scenario.groups
    assert shared(client, scenario) == set(scenario.shared)
    assert apart(client, scenario) == told_apart(scenario)
    for name, count in scenario.anonymous_events.items():
        request = profile_service_pb2.GetProfileRequest(subject=subject(name), read_mask=FieldMask(paths=["activity"]))
        assert client.profile.GetProfile(request, timeout=30).activity.anonymous_event_count == count
