"""The weakest merge of an identity: what it is, and what hangs on it."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from itertools import combinations

import pytest

from onefold.graph.confidence import Confidence, confidence
from onefold.graph.model import is_record
from onefold.graph.network import POLICY, Edge, Network
from onefold.graph.resolve import PPM, RefusalReason

A, B, C, D = (f"customer:web:{n}" for n in "abcd")
GUEST = "order:till:1"


def link(record: str, end: str, sure: float, refusal: RefusalReason | None = None) -> Edge:
    type_ = "SAME_AS" if is_record(end) else "HAS"
    return Edge(record, end, type_, ("web",), round(sure * PPM), sure >= 0.7, refusal=refusal)


def weakest(members: Iterable[str], *edges: Edge, steps: int = 1 << 30, **placed: int) -> Confidence:
    orders = {f"customer:web:{n}": count for n, count in placed.items()}
    return confidence(Network({}, edges), set(members), orders, steps)


def same(found: Confidence, probability: float, share: float, *records: str) -> None:
    assert found.probability == pytest.approx(probability, abs=1e-9)
    assert found.share == pytest.approx(share)
    assert found.records == records


def test_a_single_record_hangs_on_no_merge() -> None:
    assert weakest([A], link(A, "email:1", 0.8), link(A, "phone:1", 0.9), a=3) == Confidence(1.0, 0.0, (), True)


def test_two_records_hang_on_the_weaker_of_their_links() -> None:
    same(weakest([A, B], link(A, "email:1", 0.98), link(B, "email:1", 0.9), a=3, b=1), 0.9, 0.25, B)


def test_independent_ways_make_a_merge_surer() -> None:
    ways = [link(r, v, sure) for v, sure in (("email:1", 0.9), ("phone:1", 0.8)) for r in (A, B)]
    same(weakest([A, B], *ways, a=1, b=1), 1 - 0.1 * 0.2, 0.5, A)


def test_an_identifier_that_only_one_record_has_is_no_merge() -> None:
    found = weakest([A, B], link(A, "email:1", 0.98), link(B, "email:1", 0.97), link(A, "phone:1", 0.75), a=1)
    same(found, 0.97, 0.0, B)


def test_an_identifier_alone_is_never_a_side() -> None:
    sure = [link(r, v, 0.99) for v in ("email:1", "email:2", "phone:1") for r in (A, B)]
    found = weakest([A, B], *sure, link(A, "device:1", 0.71), link(B, "device:1", 0.71), a=1, b=2)
    same(found, 1 - 0.01**3 * 0.29, 1 / 3, A)


def test_the_weakest_merge_may_part_groups() -> None:
    pairs = [(A, "email:1"), (B, "email:1"), (A, "phone:1"), (B, "phone:1"), (C, "email:2"), (D, "email:2"),
             (C, "phone:2"), (D, "phone:2")]  # fmt: skip
    bridge = [link(B, "device:1", 0.8), link(C, "device:1", 0.75)]
    found = weakest([A, B, C, D], *(link(r, v, 0.95) for r, v in pairs), *bridge, a=5, b=5, c=2, d=3)
    same(found, 0.75, 1 / 3, C, D)


def test_of_equally_weak_merges_that_counts_on_which_most_hangs() -> None:
    found = weakest([A, B, GUEST], *(link(r, "email:1", 0.9) for r in (A, B, GUEST)), a=4, b=6)
    same(found, 0.9, 5 / 11, A, GUEST)


def test_matches_count_as_links() -> None:
    accumulated = Edge(A, B, "SAME_AS", (POLICY,), 750_000, True)
    same(weakest([A, B], accumulated, a=1, b=1), 0.75, 0.5, A)
    same(weakest([A, B, C], accumulated, link(B, C, 1.0), a=1, b=1), 0.75, 0.5, A)


def test_nothing_hangs_on_a_merge_that_an_operator_made() -> None:
    assert weakest([A, B], link(A, B, 1.0), a=1, b=1) == Confidence()


def test_what_was_refused_or_too_weak_or_leads_to_others_joins_nobody() -> None:
    edges = [link(A, "email:1", 0.9), link(B, "email:1", 0.9)]
    more = [link(A, "phone:1", 0.95, RefusalReason.LIMIT), link(B, "phone:1", 0.95), link(A, "device:1", 0.6)]
    more += [link(B, "device:1", 0.6), link(A, C, 1.0)]
    assert weakest([A, B], *edges, *more, a=1) == weakest([A, B], *edges, a=1)


def test_records_that_nothing_holds_together_are_told_so() -> None:
    same(weakest([A, B, C], link(A, "email:1", 0.9), link(B, "email:1", 0.9), a=1, b=1, c=2), 0.0, 0.5, C)


def test_without_orders_records_count() -> None:
    same(weakest([A, B, C], *(link(r, "email:1", 0.9) for r in (A, B, C))), 0.9, 1 / 3, A)


def test_an_order_of_a_guest_counts_as_one() -> None:
    same(weakest([A, GUEST], link(A, "email:1", 0.9), link(GUEST, "email:1", 0.9), a=3), 0.9, 0.25, GUEST)


def test_a_large_identity_is_answered_by_what_was_seen_within_the_steps() -> None:
    edges = [link(f"order:till:{n}", v, 0.9) for n in range(300) for v in ("email:1", "phone:1")]
    members = [f"order:till:{n}" for n in range(300)]
    whole = weakest(members, *edges)
    same(whole, 0.99, 1 / 300, "order:till:0")
    part = weakest(members, *edges, steps=50)
    assert (part.probability, part.exact, whole.exact) == (whole.probability, False, True)


def world(rng: random.Random) -> tuple[list[str], list[Edge]]:
    members = [A, B, C, D, GUEST, "order:till:2"][: rng.randint(2, 6)]
    values = ["email:1", "email:2", "phone:1", "device:1"]
    edges = [link(r, v, rng.choice([0.7, 0.8, 0.9, 0.97])) for r in members for v in values if rng.random() < 0.5]
    edges += [link(a, b, rng.choice([0.75, 1.0])) for a, b in combinations(members, 2) if rng.random() < 0.1]
    return members, edges


def brute(members: list[str], edges: list[Edge]) -> dict[frozenset[str], float]:
    """The doubt of each way to part the records in two, with each identifier on the side that doubts less."""
    values = sorted({e.end for e in edges if not is_record(e.end)})
    doubts = {}
    for size in range(1, len(members)):
        for part in map(frozenset, combinations(members, size)):
            across = [e for e in edges if is_record(e.end) and (e.start in part) != (e.end in part)]
            doubt = math.prod(1 - e.confidence / PPM for e in across)
            for value in values:
                here, there = (
                    math.prod(1 - e.confidence / PPM for e in edges if e.end == value and (e.start in part) == side)
                    for side in (True, False)
                )
                doubt *= max(here, there)
            doubts[part] = doubt
    return doubts


def test_no_other_way_to_part_the_records_is_weaker() -> None:
    for seed in range(600):
        members, edges = world(random.Random(seed))
        doubts = brute(members, edges)
        found = weakest(members, *edges)
        assert found.exact
        most = max(doubts.values())
        assert 1 - found.probability == pytest.approx(most, abs=1e-9), seed
        if found.records:
            assert doubts[frozenset(found.records)] == pytest.approx(most, abs=1e-9), seed
            assert weakest(members[::-1], *edges) == found
        else:
            assert most == 0.0, seed
