"""The online path without an engine: whatever comes in which order and in which batches, what is stored equals bulk
resolution of all that was said, ids last, and the log tells it all."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from onefold.graph.decide import Plan
from onefold.graph.evidence import NEVER
from onefold.graph.model import (
    BanExpiry,
    IdentifierKey,
    Instant,
    Item,
    OperatorBan,
    OwnItem,
    Recheck,
    RecordName,
)
from tests import items as make
from tests.memory import Memory, differences, groups
from tests.worlds import rules

ORDERS = 4
"""How many orders of arrival each world is told in."""

MUST_HAPPEN = (
    "MERGED", "SPLIT", "ERASED", "BAN_EXPIRED", "OPERATOR_MATCH", "BAN", "SOURCE", "LIMIT",
    "became shared", "shared no longer", "came back", "order claimed", "order given up", "order changed hands",
    "no order says so", "another order says so", "was loose", "retired twice",
)  # fmt: skip
"""What a proof that never meets it does not prove."""


def test_no_order_of_arrival_makes_a_difference_and_all_of_them_equal_bulk(proving: bool) -> None:
    met: Counter[str] = Counter()
    worlds = 2_600 if proving else 80
    for seed in range(worlds):
        items = make.upheavals(seed)
        told = [Replay(items, f"{seed}/{n}", met) for n in range(ORDERS)]
        assert len({tuple(groups(replay.graph)) for replay in told}) == 1, seed
    rare = {what: met[what] for what in MUST_HAPPEN if met[what] * 20 < worlds}
    assert not rare


def test_bans_that_were_over_before_they_came_part_nobody_in_any_order(proving: bool) -> None:
    met: Counter[str] = Counter()
    worlds = 400 if proving else 40
    for seed in range(worlds):
        items = [_over(item) for item in make.upheavals(seed)]
        ends = [BanExpiry(i.a, i.b, i.at) for i in items if isinstance(i, OperatorBan)]
        told = [Replay(items, f"{seed}/{n}", met, make.NOW + 200, ends) for n in range(ORDERS)]
        assert len({tuple(groups(replay.graph)) for replay in told}) == 1, seed
    assert met["BAN"] == 0
    assert worlds < met["BAN_EXPIRED"] <= met["OPERATOR_BAN"]


def _over(item: Item | OwnItem) -> Item | OwnItem:
    return replace(item, expires_at=make.NOW + 200) if isinstance(item, OperatorBan) else item


class Replay:
    """One world told in one random order, held against bulk resolution after every batch."""

    def __init__(
        self,
        items: Sequence[Item | OwnItem],
        seed: str,
        met: Counter[str],
        now: Instant = 0,
        ends: Sequence[BanExpiry] = (),
    ) -> None:
        """``ends`` are those of the bans that are over by ``now``, which the service says by itself."""
        self.graph = Memory(rules(), now=now)
        self._seed = seed
        self._met = met
        self._logged: dict[str, str] = {}
        self._became: dict[str, str] = {}
        self._erased: set[str] = set()
        for said in make.tell(items, random.Random(seed), self._commit):
            assert differences(self.graph, [*said, *ends]) == [], seed
        self._again([*said, *ends])

    def _again(self, said: Sequence[Item | OwnItem]) -> None:
        """Nothing is new about what was said already, and nothing about looking at all of it anew."""
        everything = Recheck(frozenset(self.graph.records), frozenset(self.graph.identifiers))
        assert not any(self._commit([*said, everything])), self._seed
        assert differences(self.graph, said) == [], self._seed

    def _commit(self, batch: Sequence[Item | OwnItem]) -> list[bool | None]:
        before = Memory(self.graph.policy, {**self.graph.records}, {**self.graph.identifiers}, {**self.graph.orders})
        plan, new = self.graph.ingest(batch)
        self._note(before, plan)
        self._ids_last(before, plan)
        self._log_tells(plan)
        return new

    def _note(self, before: Memory, plan: Plan) -> None:
        """Count what happened, so that a proof that never meets something is found out."""
        met = self._met
        met.update(decision.kind.value for decision in plan.decisions)
        met.update(refusal.reason.value for refusal in plan.refusals)
        for v, now in self.graph.identifiers.items():
            then = before.identifiers.get(v)
            met["became shared"] += now.shared and then is not None and not then.shared
            met["shared no longer"] += then is not None and then.shared and not now.shared
            was_loose = then is not None and then.component is None and not then.shared
            met["was loose"] += was_loose and now.component is not None
        for name, record in self.graph.records.items():
            earlier = before.records.get(name)
            met["came back"] += record.identity is not None and earlier is not None and earlier.identity is None
            for link, state in record.links.items():
                held = earlier.links.get(link) if earlier is not None else None
                if held is not None and held.stored and state.ordered_at < held.ordered_at:
                    met["no order says so"] += not state.stored
                    met["another order says so"] += state.ordered_at != NEVER
        for key, order in self.graph.orders.items():
            was = before.orders.get(key)
            if was is not None and was.placed_by != order.placed_by:
                handed_on = was.placed_by is not None and order.placed_by is not None
                met["order changed hands"] += handed_on
                met["order given up" if order.placed_by is None else "order claimed"] += 1

    def _ids_last(self, before: Memory, plan: Plan) -> None:
        """The oldest keeps its id in a merge and the largest part in a split; a retired id leads on for ever."""
        then, now = _members(before), _members(self.graph)
        persons = {record.identity for record in before.records.values()}
        states = self.graph.records | self.graph.identifiers
        holder = {member: state.identity for member, state in states.items() if state.identity is not None}
        heirs: dict[str, list[str]] = defaultdict(list)
        for identity, members in then.items():
            parts: dict[str, list[str]] = defaultdict(list)
            for member in members:
                if member in holder:
                    parts[holder[member]].append(member)
            if not parts:
                assert identity in plan.erased, self._seed
                continue
            largest = max(len(part) for part in parts.values())
            oldest = min((self._age(before, m), p) for p, part in parts.items() if len(part) == largest for m in part)
            heirs[oldest[1]].append(identity)
        for identity in now:
            candidates = heirs.pop(identity, [])
            if candidates:
                assert identity == min(candidates, key=lambda i: (i not in persons, i)), self._seed
            else:
                assert identity in plan.new_identities, self._seed
            for other in {*candidates} - {identity}:
                self._met["retired twice"] += other in self._became.values()
                self._became[other] = identity
        self._erased |= set(plan.erased)
        assert not now.keys() & (self._became.keys() | self._erased), self._seed
        for retired in self._became:
            while retired in self._became:
                retired = self._became[retired]
            assert retired in now or retired in self._erased, self._seed

    @staticmethod
    def _age(graph: Memory, member: str) -> tuple[int, str]:
        record = graph.records.get(member)
        return (0 if record is None or record.created_at is None else record.created_at, member)

    def _log_tells(self, plan: Plan) -> None:
        """Every move starts where the one before ended, and all of them lead to what is stored."""
        for decision in plan.decisions:
            for move in decision.moves:
                was = self._logged.get(move.member, "")
                assert (was if move.identity else plan.survivor(was)) == move.origin, self._seed
                self._logged[move.member] = move.identity
        stored = {name: state.identity for name, state in (self.graph.records | self.graph.identifiers).items()}
        assert {m: i for m, i in self._logged.items() if i} == {m: i for m, i in stored.items() if i}, self._seed


def _members(graph: Memory) -> dict[str, set[RecordName | IdentifierKey]]:
    """Each identity's records, or the device that it is anonymous on."""
    members: dict[str, set[str]] = defaultdict(set)
    for name, record in graph.records.items():
        if record.identity is not None:
            members[record.identity].add(name)
    for key, identifier in graph.identifiers.items():
        if identifier.identity is not None and not any(
            r.identity == identifier.identity for r in graph.records.values()
        ):
            members[identifier.identity].add(key)
    return members
