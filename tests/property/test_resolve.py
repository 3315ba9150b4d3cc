"""Resolution equals its slow reference, depends on nothing but the set of evidence, and is components without rules."""

import random
from dataclasses import replace

import networkx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onefold.graph import policy
from onefold.graph.resolve import Edges, components, resolve
from tests import reference
from tests.worlds import rules, world

POLICY = rules()
WORLDS = range(1_500)


@pytest.mark.parametrize("block", range(0, len(WORLDS), 250))
def test_it_equals_the_reference_on_random_worlds_with_every_rule_on(block: int) -> None:
    for seed in WORLDS[block : block + 250]:
        edges, bans, as_of = world(seed)
        partition, refusals = resolve(edges, POLICY, bans, as_of)
        groups, refused = reference.resolve(edges, POLICY, bans, as_of)
        assert partition.groups() == groups, seed
        found = {
            ((r.record, r.identifier) if r.identifier else tuple(sorted((r.record, r.owner))), r.reason.value)
            for r in refusals
        }
        assert found == refused, seed


def test_the_random_worlds_exercise_every_reason_for_a_refusal() -> None:
    reasons = set()
    for seed in WORLDS:
        edges, bans, as_of = world(seed)
        reasons |= {r.reason.value for r in resolve(edges, POLICY, bans, as_of)[1]}
    assert reasons == {"BAN", "SOURCE", "LIMIT"}


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**9), st.randoms(use_true_random=False))
def test_the_order_of_the_evidence_does_not_matter(seed: int, rng: random.Random) -> None:
    edges, bans, as_of = world(seed)
    links, matches, names = list(edges.links), list(edges.matches), list(edges.records)
    for rows in (links, matches, names, bans):
        rng.shuffle(rows)
    shuffled = Edges(links + links[:3], matches, names)
    assert resolve(shuffled, POLICY, bans, as_of) == resolve(edges, POLICY, bans, as_of)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**9))
def test_without_rules_that_refuse_it_is_connected_components(seed: int) -> None:
    free = policy.parse(
        "version: 1\nlink_threshold: 0.5\naccumulated_threshold: 1.0\nkinds:\n"
        + "".join(
            f"  {kind}: {{label: {label}, confidence: {{verified: 1.0, declared: 1.0, observed: 1.0}},"
            " shared_above: 1000}\n"
            for kind, label in (("email", "Email"), ("phone", "Phone"), ("device", "Device"), ("member", "ExternalId"))
        )
    )
    edges, _, _ = world(seed, records=30)
    graph = networkx.Graph()
    graph.add_nodes_from(edges.records)
    graph.add_edges_from((link.record, link.identifier) for link in edges.links)
    graph.add_edges_from((m.a, m.b) for m in edges.matches)
    expected = sorted(
        tuple(sorted(n for n in part if n.startswith(("customer:", "order:"))))
        for part in networkx.connected_components(graph)
        if any(n.startswith(("customer:", "order:")) for n in part)
    )
    assert resolve(edges, free, (), 100)[0].groups() == expected


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**9))
def test_components_decide_apart_what_the_whole_decides_together(seed: int) -> None:
    """The unit of locking: deciding each component alone gives the partition of everything at once."""
    edges, bans, as_of = world(seed, records=14)
    links = [link for link in edges.links if link.first_seen <= as_of]
    edges = replace(edges, links=links)
    whole, _ = resolve(edges, POLICY, bans, as_of)
    inert = whole.shared | {link.identifier for link in links if POLICY.is_blocked(link.identifier)}
    component = components(
        edges.records,
        [(link.record, link.identifier) for link in links],
        [(m.a, m.b) for m in edges.matches],
        inert,
    )
    groups = []
    for root in {component[r] for r in edges.records}:
        records = {r for r in edges.records if component[r] == root}
        part = Edges(
            [link for link in links if link.record in records],
            [m for m in edges.matches if m.a in records],
            records,
            whole.shared,
        )
        groups += resolve(part, POLICY, bans, as_of)[0].groups()
    assert sorted(g for g in groups if g[0] in edges.records) == whole.groups()
