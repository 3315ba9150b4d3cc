"""How sure it is that an identity is one person: the weakest merge that it hangs on, and how much hangs on that.

The weakest merge is the minimum cut of what joined the identity's records: of all ways to part them in two, the one
against which the evidence says least. The links across a cut are independent signs, each of them enough to make the
two sides one, so that the probability that they are is the noisy-or of their confidences (Pearl, *Probabilistic
Reasoning in Intelligent Systems*, 1988, section 4.3.2); with ``-log(1 - confidence)`` as a link's capacity it grows
with the capacity of the cut. Each side of a cut has a record: an identifier alone is nobody. So it is not the minimum
cut of all nodes that is sought but the least of those between a record and all records before it, each by shortest
augmenting paths (Edmonds, Karp, 1972).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from onefold.graph.fetch import fetch_component
from onefold.graph.model import RecordName, is_record, split_name
from onefold.graph.network import Edge, Network, network
from onefold.graph.reader import Reader
from onefold.graph.resolve import PPM
from onefold.graph.subject import Subject

STEPS: Final = 2_000_000
"""How many links are followed, at most, in search of the weakest merge: a second or two."""

_SAME: Final = 1e-9
"""Capacities that differ by less are equal: they are sums of floats."""

_COUNT_ORDERS: Final = """
UNWIND $keys AS key MATCH (c:Customer {key: key}) RETURN key, COUNT { (c)-[:PLACED]->(:Order) }
"""


@dataclass(frozen=True, slots=True)
class Confidence:
    """The weakest merge of an identity: the way to part its records against which the evidence says least."""

    probability: float = 1.0
    """That its two sides are one person. 1 where there is no merge or only an operator's word made it; 0 where no
    evidence holds the two together, as after a change of policy that the graph was not rebuilt for."""
    share: float = 0.0
    """How much of the identity's evidence is on the smaller side, from 0 to 0.5: of its orders or, where it has none,
    of its records. 0 where there is no merge."""
    records: tuple[RecordName, ...] = ()
    """The records on that side, sorted."""
    exact: bool = True
    """False where the identity was too large to look at every merge: there may then be a weaker one."""


def read_confidence(reader: Reader, subject: Subject, steps: int = STEPS) -> Confidence:
    """The weakest merge of the identity that the subject leads to, as it is now.

    Costs as much as its component is large. Raises NotFound, DeadlineExceeded, Unavailable.
    """
    component = fetch_component(reader, subject)
    (identity,) = component.identities
    members = component.members(identity)
    if len(members) < 2:
        return Confidence()
    keys = [split_name(name)[1] for name in members if not _is_guest_order(name)]
    placed = {f"customer:{key}": count for key, count in reader.rows(_COUNT_ORDERS, keys=keys)}
    return confidence(network(component, reader.policy), members, placed, steps)


def confidence(
    net: Network, members: Collection[RecordName], placed: Mapping[RecordName, int], steps: int = STEPS
) -> Confidence:
    """The weakest merge of an identity with these records, by what joined them: links and matches that were sure
    enough and not refused. ``placed`` has the number of orders of each customer.

    Of several equally weak ones, that with the greatest share among those that were looked at. After ``steps`` links
    were followed, the search ends with the weakest merge it has seen; that of each single record is among them.
    """
    weights = _weights(members, placed)
    whole = sum(weights.values())
    cuts = _Cuts(sorted(members), net.edges, steps)
    best, share = _Cut(math.inf, frozenset()), 0.0
    for cut in cuts.found():
        part = sum(weights[name] for name in cut.side) / whole
        part = min(part, 1.0 - part)
        if cut.capacity < best.capacity - _SAME or (cut.capacity <= best.capacity + _SAME and part > share):
            best, share = cut, part
    if not best.side or math.isinf(best.capacity):
        return Confidence(exact=cuts.exact)
    return Confidence(-math.expm1(-best.capacity), share, _smaller(best.side, weights), cuts.exact)


def _weights(members: Collection[RecordName], placed: Mapping[RecordName, int]) -> dict[RecordName, int]:
    """How much hangs on each record: its orders or, where there are none at all, one each."""
    orders = {name: 1 if _is_guest_order(name) else placed.get(name, 0) for name in members}
    return orders if any(orders.values()) else dict.fromkeys(members, 1)


def _is_guest_order(name: RecordName) -> bool:
    return name.startswith("order:")


def _smaller(side: Collection[RecordName], weights: Mapping[RecordName, int]) -> tuple[RecordName, ...]:
    """The side with less on it, then with fewer records: the one that is given, or the other."""
    parts = tuple(sorted(side)), tuple(sorted(weights.keys() - side))
    return min(parts, key=lambda part: (sum(weights[name] for name in part), len(part), part))


@dataclass(frozen=True, slots=True)
class _Cut:
    capacity: float
    """``-log`` of the probability that nothing across it is true."""
    side: frozenset[RecordName]
    """The records on one side; never all of them."""


class _Cuts:
    """The cuts between the records of an identity that can be the weakest, in an order of no chance."""

    def __init__(self, records: Sequence[RecordName], edges: Iterable[Edge], steps: int) -> None:
        self._records = records
        self._capacity: dict[str, dict[str, float]] = {name: {} for name in records}
        for edge in edges:
            if edge.eligible and edge.refusal is None and self._inside(edge):
                self._join(edge.start, edge.end, _capacity(edge))
        self._left: dict[tuple[str, str], float] = {}
        """What is left of the capacity of links that a flow has used, in each direction."""
        self._steps = steps

    @property
    def exact(self) -> bool:
        """Whether all cuts were looked at that can be the weakest."""
        return self._steps >= 0

    def found(self) -> Iterator[_Cut]:
        """Every single record's, then those less or as weak as any before, until the steps are used up."""
        weakest = math.inf
        if len(self._records) > 1:
            for name in self._records:
                cut = _Cut(self._alone(name), frozenset([name]))
                weakest = min(weakest, cut.capacity)
                yield cut
        before: set[RecordName] = set()
        for name in self._in_reach():
            cut_off = self._least(name, before, weakest) if before else None
            if not self.exact:
                return
            if cut_off is not None:
                weakest = min(weakest, cut_off.capacity)
                yield cut_off
            before.add(name)

    def _inside(self, edge: Edge) -> bool:
        return edge.start in self._capacity and (edge.end in self._capacity or not is_record(edge.end))

    def _join(self, a: str, b: str, capacity: float) -> None:
        for one, other in ((a, b), (b, a)):
            ends = self._capacity.setdefault(one, {})
            ends[other] = ends.get(other, 0.0) + capacity

    def _alone(self, record: RecordName) -> float:
        """The capacity of the least cut that has but this record on one side: each of its identifiers goes to the side
        that it is tied to more."""
        total = 0.0
        for end, capacity in self._capacity[record].items():
            others = (c for name, c in self._capacity[end].items() if name != record)
            total += capacity if is_record(end) else min(capacity, sum(others))
        return total

    def _in_reach(self) -> Iterator[RecordName]:
        """The records, each as near to those before as can be."""
        seen: set[str] = set()
        for start in self._records:
            following = deque([] if start in seen else [start])
            seen.add(start)
            while following:
                node = following.popleft()
                if is_record(node):
                    yield node
                fresh = [end for end in self._capacity[node] if end not in seen]
                seen.update(fresh)
                following.extend(fresh)

    def _least(self, record: RecordName, before: Collection[RecordName], weakest: float) -> _Cut | None:
        """The least cut between a record and all of those before; None if there are weaker ones already."""
        self._left.clear()
        capacity = 0.0
        while capacity <= weakest + _SAME and self.exact:
            way, reached = self._way(record, before)
            if not way:
                return _Cut(capacity, frozenset(filter(is_record, reached)))
            narrowest = min(self._room(*link) for link in way)
            if math.isinf(narrowest):
                break
            for a, b in way:
                self._left[b, a] = self._room(b, a) + narrowest
                self._left[a, b] = self._room(a, b) - narrowest
            capacity += narrowest
        return None

    def _way(self, start: str, ends: Collection[str]) -> tuple[list[tuple[str, str]], Collection[str]]:
        """The links of a shortest way with room to any of the ends; if there is none, all that is in reach."""
        came: dict[str, str] = {start: start}
        following = deque([start])
        while following and self.exact:
            node = following.popleft()
            for end in self._capacity[node]:
                self._steps -= 1
                if end not in came and self._room(node, end) > 0.0:
                    came[end] = node
                    if end in ends:
                        return _back(end, came), came
                    following.append(end)
        return [], came

    def _room(self, a: str, b: str) -> float:
        return self._left.get((a, b), self._capacity[a][b])


def _capacity(edge: Edge) -> float:
    return math.inf if edge.confidence == PPM else -math.log1p(-edge.confidence / PPM)


def _back(end: str, came: Mapping[str, str]) -> list[tuple[str, str]]:
    way = []
    while came[end] != end:
        way.append((came[end], end))
        end = came[end]
    return way
