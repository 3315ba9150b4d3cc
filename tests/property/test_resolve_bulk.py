"""Columns are decided as plain evidence is, whatever their order and however they are cut into blocks."""

import random
from dataclasses import replace

import numpy as np
import pytest

from onefold.graph.bulk import ColumnPartition, EvidenceColumns, columns_of, links, matches, resolve_columns
from onefold.graph.errors import InvalidInput
from onefold.graph.policy import Policy
from onefold.graph.resolve import Ban, Edges, Link, Match, Partition, Refusal, resolve
from tests import reference
from tests.bench import evidence
from tests.property.test_resolve import refused
from tests.worlds import crowd, hinted, hinted_in_pairs, rules, world

POLICY = rules()
BLOCKS = 6


def named(columns: EvidenceColumns, partition: ColumnPartition) -> Partition:
    """The partition by names."""
    records, identifiers = columns.records.to_pylist(), columns.identifiers.to_pylist()
    root = [records[r] for r in partition.root]
    first: dict[str, str] = {}
    for record, name in sorted(zip(records, root, strict=True)):
        first.setdefault(name, record)
    pairs = zip(partition.record, partition.identifier, partition.confidence, strict=True)
    matched = zip(partition.matched, partition.matched_confidence, strict=True)
    return Partition(
        {record: first[name] for record, name in zip(records, root, strict=True)},
        {identifiers[v]: records[r] for v, r in enumerate(partition.owner) if r >= 0},
        frozenset(identifiers[v] for v in np.flatnonzero(partition.shared)),
        {(records[r], identifiers[v]): ppm for r, v, ppm in pairs},
        {(min(records[a], records[b]), max(records[a], records[b])): ppm for (a, b), ppm in matched},
    )


def by_columns(edges: Edges, policy: Policy, bans: list[Ban], as_of: int | None) -> tuple[Partition, list[Refusal]]:
    columns = columns_of(edges, policy)
    partition, refusals = resolve_columns(columns, policy, bans, as_of)
    return named(columns, partition), refusals


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that even a small world has several."""
    monkeypatch.setattr(links, "_BLOCK", 3)
    monkeypatch.setattr(matches, "_AT_ONCE", 2)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("block", range(BLOCKS))
def test_both_fronts_and_the_reference_agree_on_random_worlds_with_every_rule_on(block: int, proving: bool) -> None:
    for seed in range(block, 4_200 if proving else 600, BLOCKS):
        edges, bans, as_of = world(seed, 8 if seed % 4 else 14, known_shared=True)
        found = by_columns(edges, POLICY, bans, as_of)
        assert found == resolve(edges, POLICY, bans, as_of), seed
        groups, reasons = reference.resolve(edges, POLICY, bans, as_of)
        assert (found[0].groups(), refused(found[1])) == (groups, reasons), seed


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("block", range(BLOCKS))
def test_both_fronts_agree_on_crowds_of_guest_orders_with_the_same_hints(block: int, proving: bool) -> None:
    for seed in range(block, 400 if proving else 60, BLOCKS):
        edges, bans, as_of = crowd(seed)
        assert by_columns(edges, POLICY, bans, as_of) == resolve(edges, POLICY, bans, as_of), seed


def test_the_order_and_the_numbering_of_the_columns_do_not_matter(small_blocks: None) -> None:
    for seed in range(150):
        edges, bans, as_of = world(seed)
        shuffled = list(edges.links)
        random.Random(seed).shuffle(shuffled)
        other = replace(edges, links=shuffled, records=sorted(edges.records, reverse=True))
        assert by_columns(other, POLICY, bans, as_of) == by_columns(edges, POLICY, bans, as_of), seed


def test_the_order_of_factors_is_the_keys_where_it_could_tip_the_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken as tipping everywhere, so that the rare path is walked by every accumulated match."""
    monkeypatch.setattr(matches, "_TIPPING", 1.0)
    for seed in range(300):
        edges, bans, as_of = world(seed)
        assert by_columns(edges, POLICY, bans, as_of) == resolve(edges, POLICY, bans, as_of), seed


def test_without_an_instant_all_evidence_counts() -> None:
    for seed in range(100):
        edges, bans, _ = world(seed)
        assert by_columns(edges, POLICY, bans, None) == resolve(edges, POLICY, bans), seed


@pytest.mark.parametrize("seed", range(2))
def test_both_fronts_agree_on_thousands_of_made_people_under_the_shipped_rules(seed: int) -> None:
    policy = evidence.rules()
    columns, bans = evidence.population(40_000, seed)
    records, identifiers = columns.records.to_pylist(), columns.identifiers.to_pylist()
    columns = replace(columns, blocked=np.array([policy.is_blocked(key) for key in identifiers]))
    rows = zip(columns.record, columns.identifier, columns.source, columns.assurance, columns.first_seen, strict=True)
    edges = Edges(
        [
            Link(records[r], identifiers[v], columns.sources[s], columns.assurances[a], int(seen))
            for r, v, s, a, seen in rows
        ],
        columns.matches,
        records,
    )
    partition, refusals = resolve_columns(columns, policy, bans, evidence.AS_OF)
    assert (named(columns, partition), refusals) == resolve(edges, policy, bans, evidence.AS_OF)
    assert {r.reason.value for r in refusals} == {"BAN", "SOURCE", "LIMIT"}
    assert partition.shared.any()
    assert len(partition.matched)


def test_no_evidence_is_no_partition() -> None:
    assert by_columns(Edges([]), POLICY, [], None) == resolve(Edges([]), POLICY)


def test_records_without_links_are_identities_of_their_own() -> None:
    edges = Edges([], [Match("customer:web:1", "customer:web:2", 5)], ["customer:web:3"])
    partition, _ = by_columns(edges, POLICY, [], None)
    assert partition.groups() == [("customer:web:1", "customer:web:2"), ("customer:web:3",)]


def test_a_match_of_a_record_that_is_not_there_is_named() -> None:
    columns = replace(columns_of(Edges([], (), ["customer:web:1"]), POLICY), matches=[Match("customer:web:1", "x", 0)])
    with pytest.raises(InvalidInput, match="'x'"):
        resolve_columns(columns, POLICY)


def test_a_ban_on_records_that_are_not_there_keeps_nobody_apart() -> None:
    edges = Edges([Link("customer:web:1", "email:1", "web", "verified", 0)])
    partition, refusals = by_columns(edges, POLICY, [Ban("customer:web:1", "customer:web:2", 0)], None)
    assert (len(partition.groups()), refusals) == (1, [])


def test_a_buyers_ten_thousand_guest_orders_are_one_identity_and_no_millions_of_pairs() -> None:
    email = [Link(f"order:shop:{n}", "email:1", "shop", "declared", n) for n in range(10_000)]
    cookie = [Link(f"order:shop:{n}", "device:1", "shop", "observed", n) for n in range(10_000)]
    partition, refusals = by_columns(Edges(email + cookie), POLICY, [], None)
    assert (len(partition.groups()), partition.accumulated, refusals) == (1, {}, [])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by how many pairs at a time are asked what their hints make together."""
    pairs: list[int] = []
    together = matches._matches

    def counted(columns: EvidenceColumns, index: matches._Index, of: np.ndarray, rules: object) -> matches.Matches:
        pairs.append(len(of))
        return together(columns, index, of, rules)

    monkeypatch.setattr(matches, "_matches", counted)
    return pairs


def test_twenty_thousand_guest_orders_with_hints_that_are_too_few_are_asked_nothing(asked: list[int]) -> None:
    partition, _ = by_columns(Edges(hinted(20_000, 2)), POLICY, [], None)
    assert (len(partition.groups()), partition.accumulated, partition.shared) == (20_000, {}, frozenset())
    assert sum(asked) == 0


def test_guest_orders_with_the_same_hints_are_asked_as_one(asked: list[int]) -> None:
    """Three hints don't join them with each other, but with the customer who proved to have all three. Each is then
    asked once more, for when it was seen."""
    log_ins = [Link("customer:shop:1", f"device:{hint}", "shop", "verified", 0) for hint in range(3)]
    partition, _ = by_columns(Edges(hinted(20_000, 3) + log_ins), POLICY, [], None)
    assert (len(partition.groups()), len(partition.accumulated)) == (1, 20_000)
    assert sum(asked) <= 20_003


def test_hints_that_differ_are_compared_only_where_they_could_be_enough(asked: list[int]) -> None:
    """Of 4,000 orders with two hints in common, each has a third in common with one other: enough for the two."""
    partition, _ = by_columns(Edges(hinted_in_pairs(4_000)), POLICY, [], None)
    assert (len(partition.groups()), len(partition.accumulated), partition.shared) == (2_000, 2_000, frozenset())
    assert sum(asked) <= 4_000
