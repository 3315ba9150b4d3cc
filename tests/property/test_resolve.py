"""Resolution equals its slow reference, depends on nothing but the set of evidence, and is components without rules."""

import random
from collections.abc import Iterable
from dataclasses import replace

import networkx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onefold.graph import policy
from onefold.graph import resolve as rules_of_resolution
from onefold.graph.resolve import Ban, Edges, Link, Match, Refusal, RefusalReason, components, resolve
from tests import reference
from tests.worlds import crowd, hinted, hinted_in_pairs, rules, world

POLICY = rules()
BLOCKS = 6


def refused(refusals: Iterable[Refusal]) -> set[tuple[tuple[str, str], str]]:
    """Refusals as the reference tells them."""
    return {
        ((r.record, r.identifier) if r.identifier else tuple(sorted((r.record, r.owner))), r.reason.value)
        for r in refusals
    }


@pytest.mark.parametrize("block", range(BLOCKS))
def test_it_equals_the_reference_on_random_worlds_with_every_rule_on(block: int, proving: bool) -> None:
    for seed in range(block, 4_200 if proving else 600, BLOCKS):
        edges, bans, as_of = world(seed, 8 if seed % 4 else 14, known_shared=True)
        partition, refusals = resolve(edges, POLICY, bans, as_of)
        assert (partition.groups(), refused(refusals)) == reference.resolve(edges, POLICY, bans, as_of), seed


@pytest.mark.parametrize("block", range(BLOCKS))
def test_it_equals_the_reference_on_crowds_of_guest_orders_with_the_same_hints(block: int, proving: bool) -> None:
    for seed in range(block, 400 if proving else 60, BLOCKS):
        edges, bans, as_of = crowd(seed, 40 if seed % 10 == 0 else 10)
        partition, refusals = resolve(edges, POLICY, bans, as_of)
        assert (partition.groups(), refused(refusals)) == reference.resolve(edges, POLICY, bans, as_of), seed


def test_some_crowds_match_and_some_do_not_and_some_are_kept_apart() -> None:
    found = [resolve(edges, POLICY, bans, as_of) for edges, bans, as_of in map(crowd, range(60))]
    assert {bool(partition.accumulated) for partition, _ in found} == {True, False}
    assert any(refusal.identifier is None for _, refusals in found for refusal in refusals)


@pytest.mark.parametrize("rule", reference.RULES)
def test_the_random_worlds_would_notice_the_loss_of_any_rule(rule: str) -> None:
    worlds = (world(seed, 8 if seed % 4 else 14, known_shared=True) for seed in range(600))
    assert any(
        reference.resolve(edges, POLICY, bans, as_of, without=rule) != reference.resolve(edges, POLICY, bans, as_of)
        for edges, bans, as_of in worlds
    )


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


def _link(record: str, identifier: str, at: int = 0) -> Link:
    return Link(f"customer:{record}", identifier, record.split(":")[0], "verified", at)


def test_a_limit_names_on_each_side_the_first_record_of_each_claim() -> None:
    links = [
        *(_link(f"web:{n}", "member:1") for n in (2, 1)),
        *(_link(f"shop:{n}", "member:2") for n in (4, 3)),
        _link("web:1", "device:1", 1),
        _link("shop:3", "device:1", 2),
    ]
    partition, (refusal,) = resolve(Edges(links), POLICY)
    assert len(partition.groups()) == 2
    assert (refusal.reason, refusal.kind, refusal.limit) == (RefusalReason.LIMIT, "member", 1)
    assert {refusal.record, refusal.owner} == {"customer:web:1", "customer:shop:3"}
    assert refusal.holders == ("customer:shop:3", "customer:web:1")


def test_a_deduplicated_source_names_its_records_on_both_sides() -> None:
    links = [_link("crm:1", "email:1"), _link("crm:2", "email:1", 1), _link("web:9", "email:1", 2)]
    _, refusals = resolve(Edges(links), POLICY)
    assert [(r.reason, r.kind, r.limit, r.holders) for r in refusals] == [
        (RefusalReason.SOURCE, "crm", 1, ("customer:crm:1", "customer:crm:2"))
    ]


def test_an_operators_word_goes_beyond_a_limit_and_a_source_but_not_beyond_a_ban() -> None:
    a, b, c = "customer:crm:1", "customer:crm:2", "customer:web:3"
    links = [_link("crm:1", "member:1"), _link("crm:2", "member:2"), _link("web:3", "member:3")]
    edges = Edges(links, [Match(a, b, 1), Match(b, c, 2)])
    partition, refusals = resolve(edges, POLICY, [Ban(c, a, 0)])
    assert partition.groups() == [(a, b), (c,)]
    assert [(r.reason, r.record, r.owner, r.identifier, r.holders) for r in refusals] == [
        (RefusalReason.BAN, b, c, None, (a, c))
    ]


def test_a_claim_that_both_sides_have_stands_in_nobodys_way() -> None:
    """Two identities that are each beyond a limit by an operator's word still join by what they share."""
    links = [_link(f"web:{n}", f"member:{n}") for n in (1, 2)]
    links += [_link("shop:3", "member:1"), _link("shop:3", "device:1"), _link("shop:4", "device:1", 1)]
    edges = Edges(links, [Match("customer:web:1", "customer:web:2", 0)])
    partition, refusals = resolve(edges, POLICY)
    assert (len(partition.groups()), refusals) == (1, [])


def _orders(count: int) -> Edges:
    """Guest orders with one email, which joins them, and one cookie, which doesn't."""
    email = [Link(f"order:shop:{n}", "email:1", "shop", "declared", n) for n in range(count)]
    return Edges(email + [Link(f"order:shop:{n}", "device:1", "shop", "observed", n) for n in range(count)])


def test_hints_are_not_asked_for_where_an_identifier_joins() -> None:
    partition, _ = resolve(_orders(3), POLICY)
    assert (len(partition.groups()), partition.accumulated) == (1, {})


def test_a_buyers_ten_thousand_guest_orders_are_one_identity_and_no_millions_of_pairs() -> None:
    partition, refusals = resolve(_orders(10_000), POLICY)
    assert (len(partition.groups()), refusals) == (1, [])


def test_hints_are_no_appeal_against_a_refusal() -> None:
    """Both have the email, which joins them but for the limit; what else they have in common is not asked."""
    links = [_link("web:1", "member:1"), _link("web:2", "member:2")]
    links += [_link(f"web:{n}", "email:1", n) for n in (1, 2)]
    links += [Link(f"customer:web:{n}", f"device:{d}", "web", "declared", 0) for n in (1, 2) for d in range(4)]
    partition, refusals = resolve(Edges(links), POLICY)
    assert (len(partition.groups()), partition.accumulated) == (2, {})
    assert [r.identifier for r in refusals] == ["email:1"]


@pytest.mark.parametrize(("early", "late"), [("a", "b"), ("b", "a")])
def test_of_equal_matches_the_one_counts_whose_latest_sight_is_earlier(early: str, late: str) -> None:
    """A third order that is like two that are banned from each other goes with the earlier of them."""
    seen = {"c": 1, early: 2, late: 3}
    links = [
        Link(f"order:shop:{name}", f"device:{n}", "shop", "declared", at) for name, at in seen.items() for n in range(2)
    ]
    partition, _ = resolve(Edges(links), POLICY, [Ban("order:shop:a", "order:shop:b", 0)])
    assert partition.groups() == sorted(
        [tuple(sorted((f"order:shop:{early}", "order:shop:c"))), (f"order:shop:{late}",)]
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows by one for each pair that is asked what its hints make together."""
    pairs: list[object] = []
    together = rules_of_resolution._together
    monkeypatch.setattr(rules_of_resolution, "_together", lambda a, b: pairs.append((a, b)) or together(a, b))
    return pairs


def test_twenty_thousand_guest_orders_with_hints_that_are_too_few_are_asked_nothing(asked: list[object]) -> None:
    partition, _ = resolve(Edges(hinted(20_000, 2)), POLICY)
    assert (len(partition.groups()), partition.accumulated, partition.shared) == (20_000, {}, frozenset())
    assert len(asked) == 0


def test_guest_orders_with_the_same_hints_are_asked_as_one(asked: list[object]) -> None:
    """Three hints don't join them with each other, but with the customer who proved to have all three."""
    log_ins = [Link("customer:shop:1", f"device:{hint}", "shop", "verified", 0) for hint in range(3)]
    partition, _ = resolve(Edges(hinted(20_000, 3) + log_ins), POLICY)
    assert (len(partition.groups()), len(partition.accumulated)) == (1, 20_000)
    assert len(asked) <= 3


def test_hints_that_differ_are_compared_only_where_they_could_be_enough(asked: list[object]) -> None:
    """Of 4,000 orders with two hints in common, each has a third in common with one other: enough for the two."""
    partition, _ = resolve(Edges(hinted_in_pairs(4_000)), POLICY)
    assert (len(partition.groups()), len(partition.accumulated), partition.shared) == (2_000, 2_000, frozenset())
    assert len(asked) <= 2_000
