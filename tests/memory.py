"""A graph in memory: the engine's part in the online path, as plain dictionaries.

It holds what the store would hold and hands out what the store would read: whole components, what is touched beside
them, and the ended links that matter. What is decided, and why, is the product's own code.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import count

from onefold.graph.decide import Plan, decide
from onefold.graph.errors import InvalidInput
from onefold.graph.evidence import (
    NEVER,
    Evidence,
    Given,
    IdentifierState,
    OrderState,
    RecordState,
    Touched,
)
from onefold.graph.model import IdentifierKey, Item, OwnItem, RecordName, kind_of
from onefold.graph.policy import Policy
from onefold.graph.resolve import Ban, Edges, Link, Partition, components, resolve
from tests.said import Said, said


@dataclass(slots=True)
class Memory:
    """What is stored, and what became of ids."""

    policy: Policy
    records: dict[RecordName, RecordState] = field(default_factory=dict)
    identifiers: dict[IdentifierKey, IdentifierState] = field(default_factory=dict)
    orders: dict[str, OrderState] = field(default_factory=dict)
    matches: dict[tuple[RecordName, RecordName], int] = field(default_factory=dict)
    bans: dict[tuple[RecordName, RecordName], Ban] = field(default_factory=dict)
    lapsed: set[tuple[RecordName, RecordName]] = field(default_factory=set)
    events: set[str] = field(default_factory=set)
    ids: Iterator[int] = field(default_factory=count)
    now: int = 0
    """What the clock says: bans that are over by then end as they come."""

    def ingest(self, items: Sequence[Item | OwnItem]) -> tuple[Plan, list[bool | None]]:
        """What a batch decided, and whether each of its items said anything new; None for one that was refused."""
        touched = Touched.by(items)
        evidence = self.read(touched)
        new = self._fold(evidence, items)
        if suspects := evidence.suspects():
            recounted = self._recount(evidence, suspects, touched)
            evidence = self.read(touched)
            new = self._fold(evidence, items)
            evidence.recounted = recounted
        plan = decide(evidence, self.policy, lambda: f"{next(self.ids):09}")
        self._write(evidence, plan)
        return plan, new

    # -- reading -----------------------------------------------------------------------------------------------------

    def read(self, touched: Touched) -> Evidence:
        """The whole components of what is touched, and what is touched and in none."""
        orders = {k: self._order(self.orders[k]) for k in touched.orders if k in self.orders}
        touched.records |= {order.placed_by or f"order:{k}" for k, order in orders.items()}
        touched.identifiers |= {key[0] for order in orders.values() for _, key in order.given}
        found = [self.records[r] for r in touched.records if r in self.records]
        found_identifiers = [self.identifiers[v] for v in touched.identifiers if v in self.identifiers]
        whole = {state.component for state in (*found, *found_identifiers)} - {None}
        members = {r: state for r, state in self.records.items() if state.component in whole}
        members |= {state.name: state for state in found}
        evidence = Evidence(
            records={name: self._record(state) for name, state in members.items()},
            orders=orders,
            events=self.events & touched.events,
        )
        beyond = self._links(evidence, touched)
        nobodys = {name for name in members if members[name].identity is None}
        matched = {end for pair in self.matches if nobodys & {*pair} for end in pair}
        if not (beyond <= touched.identifiers and matched <= touched.records):
            touched.identifiers |= beyond
            touched.records |= matched
            return self.read(touched)
        linked = {key[0] for record in evidence.records.values() for key in record.links}
        devices = {v for v, state in self.identifiers.items() if state.component in whole and kind_of(v) == "device"}
        for v in linked | devices | touched.identifiers & self.identifiers.keys():
            evidence.identifiers[v] = copy(self.identifiers[v])
        evidence.matches = {pair: at for pair, at in self.matches.items() if members.keys() & {*pair}}
        evidence.bans = {pair: ban for pair, ban in self.bans.items() if pair[0] in members}
        evidence.lapsed = self.lapsed & evidence.bans.keys()
        return evidence

    def _record(self, stored: RecordState) -> RecordState:
        """A record as read, without links. What is not stored but follows from what is, as the store has it follow."""
        label, _, key = stored.name.partition(":")
        return replace(
            stored,
            links={},
            spoken_for=stored.identity is not None or stored.observed_at != NEVER,
            claimed=label == "order" and self.orders[key].placed_by is not None,
        )

    def _order(self, stored: OrderState) -> OrderState:
        return replace(stored, customer=stored.placed_by)

    def _links(self, evidence: Evidence, touched: Touched) -> set[IdentifierKey]:
        """Hand out the links: those that hold, and of touched records the ended ones to touched identifiers. Returns
        the identifiers that must be touched too, since a record that comes back brings its links with it."""
        beyond = set()
        for name, record in evidence.records.items():
            for key, link in self.records[name].links.items():
                if link.stored or (name in touched.records and key[0] in touched.identifiers):
                    sighted_at = link.last_seen if link.stated_by is None else link.sighted_at
                    record.links[key] = replace(link, sighted_at=sighted_at)
                elif name in touched.records and record.identity is None:
                    beyond.add(key[0])
        return beyond

    def _fold(self, evidence: Evidence, items: Iterable[Item | OwnItem]) -> list[bool | None]:
        """Whether each of the items said anything new; None for one that was refused."""
        new = [_fold(evidence, item) for item in items]
        left: dict[Given, int] = {}
        for key, order in self.orders.items():
            for given in self._order(order).given & evidence.let_go:
                if key not in evidence.orders:
                    left[given] = max(order.placed_at, left.get(given, NEVER))
        evidence.hand_over(left)
        evidence.end_bans(self.now)
        return new

    def _recount(self, evidence: Evidence, suspects: Collection[IdentifierKey], touched: Touched) -> set[IdentifierKey]:
        """Those of the suspects that are shared no longer, with all their records touched."""
        given = {
            name: {key for key, link in record.links.items() if link.stored} for name, record in self.records.items()
        }
        given |= {name: {key for key, _ in record.standing()} for name, record in evidence.records.items()}
        edges = Edges([Link(name, *key, 0) for name, keys in given.items() for key in keys])
        recounted = {*suspects} - resolve(edges, self.policy)[0].shared
        touched.records |= {name for name, keys in given.items() if recounted & {key[0] for key in keys}}
        return recounted

    # -- writing -----------------------------------------------------------------------------------------------------

    def _write(self, evidence: Evidence, plan: Plan) -> None:
        now = next(self.ids)
        for key, order in evidence.orders.items():
            self.orders[key] = replace(order, placed_by=order.owner, stored=True)
        for name, record in evidence.records.items():
            self._write_record(record, plan, now, self.records.get(name, RecordState(name)))
        for key, order in self.orders.items():
            name = f"order:{key}"
            record = self.records.setdefault(name, RecordState(name, created_at=now))
            record.observed_at, record.digest, record.deleted_at = order.observed_at, order.digest, order.deleted_at
        for key, identifier in evidence.identifiers.items():
            to = plan.identifiers[key]
            self.identifiers[key] = IdentifierState(
                key, to.identity, to.component, to.shared, identifier.has_events, self.policy.kind(kind_of(key)).label
            )
        self.matches |= evidence.matches
        self.bans |= evidence.bans
        self.lapsed = self.lapsed - evidence.bans.keys() | evidence.lapsed
        self.events |= evidence.events

    def _write_record(self, record: RecordState, plan: Plan, now: int, before: RecordState) -> None:
        to = plan.records[record.name]
        links = before.links | {
            key: replace(link, stored=record.holds(link), dirty=False) for key, link in record.links.items()
        }
        self.records[record.name] = replace(
            record,
            identity=to.identity,
            component=to.component,
            created_at=now if record.created_at is None else record.created_at,
            ended=not all(link.stored for link in links.values()),
            links=links,
        )


def _fold(evidence: Evidence, item: Item | OwnItem) -> bool | None:
    try:
        return evidence.add(item)
    except InvalidInput:
        return None


# -- what it is held against ------------------------------------------------------------------------------------------


def differences(graph: Memory, items: Iterable[Item | OwnItem]) -> list[str]:
    """What is stored otherwise than bulk resolution of all that these items say would have it; in words."""
    truth = said(items)
    partition, _ = resolve(truth.edges, graph.policy, truth.bans)
    stored = {
        Link(name, *key, link.first_seen)
        for name, record in graph.records.items()
        for key, link in record.links.items()
        if link.stored
    }
    return [
        *(f"{link} should {'' if link in truth.edges.links else 'not '}hold" for link in stored ^ {*truth.edges.links}),
        *_versions(graph, truth),
        *_membership(graph, truth, partition),
        *_identifiers(graph, truth, partition),
        *_components(graph, truth, partition),
    ]


def _versions(graph: Memory, truth: Said) -> Iterator[str]:
    for name, digest in truth.digests.items():
        if name not in graph.records or graph.records[name].digest != digest:
            yield f"{name} should be as its latest version says"
    for key, order in graph.orders.items():
        if order.placed_by != truth.placed.get(f"order:{key}"):
            yield f"order {key} should be that of {truth.placed.get(f'order:{key}')}, and is that of {order.placed_by}"
    if graph.events != truth.events:
        yield f"these events are there or should be, and not both: {graph.events ^ truth.events}"


def _membership(graph: Memory, truth: Said, partition: Partition) -> Iterator[str]:
    stored = groups(graph)
    if stored != partition.groups():
        yield f"the identities are {stored} and should be {partition.groups()}"
    for name, record in graph.records.items():
        if (record.component is None) != (record.identity is None):
            yield f"{name} is in component {record.component} and of identity {record.identity}"


def groups(graph: Memory) -> list[tuple[RecordName, ...]]:
    """The stored identities as sorted tuples of records, sorted."""
    members: dict[str, list[RecordName]] = defaultdict(list)
    for name, record in sorted(graph.records.items()):
        if record.identity is not None:
            members[record.identity].append(name)
    return sorted(map(tuple, members.values()))


def _identifiers(graph: Memory, truth: Said, partition: Partition) -> Iterator[str]:
    persons = {record.identity for record in graph.records.values()}
    alone: list[str | None] = []
    for key, state in graph.identifiers.items():
        owner = partition.owner.get(key)
        if state.shared != (key in partition.shared):
            yield f"{key} is {'' if state.shared else 'not '}marked as shared"
        if owner is not None:
            if state.identity != graph.records[owner].identity:
                yield f"{key} should follow {owner}"
        elif key in truth.devices and not state.shared and not graph.policy.is_blocked(key):
            alone.append(state.identity)
        elif state.identity is not None:
            yield f"{key} should be nobody's"
    if len({*alone} - persons - {None}) < len(alone):
        yield f"anonymous devices should be identities of their own: {alone}"


def _components(graph: Memory, truth: Said, partition: Partition) -> Iterator[str]:
    links = {(link.record, link.identifier) for link in truth.edges.links}
    inert = partition.shared | {v for v in graph.identifiers if graph.policy.is_blocked(v)}
    found = components(truth.edges.records, links, [(m.a, m.b) for m in truth.edges.matches], inert)
    states = graph.records | graph.identifiers
    for key in graph.identifiers.keys() - found.keys():
        if graph.identifiers[key].identity is not None:
            found[key] = key
        elif graph.identifiers[key].component is not None:
            yield f"{key} should have no component"
    stored = {(root, states[node].component) for node, root in found.items()}
    roots, names = ({pair[n] for pair in stored} for n in (0, 1))
    if not len(roots) == len(names) == len(stored):
        yield f"the components are {stored}"
    own: dict[str, set[str | None]] = defaultdict(set)
    for node, root in found.items():
        own[root].add(states[node].identity)
    for node, root in found.items():
        if states[node].component not in own[root]:
            yield f"the component of {node} should be named after one of its own identities"
