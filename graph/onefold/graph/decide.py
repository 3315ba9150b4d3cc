"""From evidence to what has to be written: who is who now, under which ids, and which decisions say so.

:func:`decide` is pure. It resolves whole components, keeps identity ids as stable as the partition allows, and
returns a :class:`Plan` in which every id is final, so that each node is written once, in its final state.

Ids: when identities merge, the oldest keeps its id (a person's before an anonymous one's); when one splits, the
part with most of its records keeps it (a tie goes to the part with the oldest record). UUIDv7 ids sort by age.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from onefold.graph.evidence import Evidence
from onefold.graph.model import BanExpiry, IdentifierKey, Instant, OperatorBan, OperatorMatch, RecordName
from onefold.graph.policy import Policy
from onefold.graph.resolve import Edges, Partition, Refusal, components, resolve

_CAUSES_SHOWN = 50


class DecisionKind(StrEnum):
    """What a decision did to identities."""

    CREATED = "CREATED"
    CHANGED = "CHANGED"
    MERGED = "MERGED"
    SPLIT = "SPLIT"
    ERASED = "ERASED"
    """Nothing is left of the identity: its last record was deleted, or its device turned out to be shared."""
    OPERATOR_MATCH = "OPERATOR_MATCH"
    OPERATOR_BAN = "OPERATOR_BAN"
    BAN_EXPIRED = "BAN_EXPIRED"


@dataclass(frozen=True, slots=True)
class Move:
    """A member that went from one identity to another; empty where there was none before."""

    member: str
    """A record's name or an identifier's key."""
    origin: str
    identity: str


@dataclass(frozen=True, slots=True)
class Decision:
    """One change of membership, or one operator's word."""

    id: str
    kind: DecisionKind
    identities: tuple[str, ...]
    """All it touched; the one that holds the members now comes first. None where both ends of a word are nobody's."""
    moves: tuple[Move, ...] = ()
    causes: tuple[str, ...] = ()
    """The new evidence behind it: ``record -> identifier (source)``."""
    actor: str = "policy"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal as people read it: with the two identities it kept apart."""

    refusal: Refusal
    identity: str
    """Of the refusal's ``record``."""
    other_identity: str
    """Of its ``owner``."""


@dataclass(slots=True)
class Placement:
    """Where a node stands."""

    identity: str | None
    component: str | None
    shared: bool = False


@dataclass(slots=True)
class Plan:
    """Everything that one commit writes about identities."""

    records: dict[RecordName, Placement] = field(default_factory=dict)
    """Every fetched or new record's placement."""
    identifiers: dict[IdentifierKey, Placement] = field(default_factory=dict)
    new_identities: dict[str, bool] = field(default_factory=dict)
    """Id to whether it is anonymous."""
    named: list[str] = field(default_factory=list)
    """Anonymous identities that are persons now."""
    retired: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Retired id to (the id it merged into, the decision's id)."""
    split: set[str] = field(default_factory=set)
    """Identities that records have left for another one than the one they merged into."""
    erased: list[str] = field(default_factory=list)
    """Identities of which nothing is left."""
    largest: tuple[str, int] = ("", 0)
    """The largest component and how many records it has."""
    decisions: list[Decision] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    confidence: Mapping[tuple[RecordName, IdentifierKey], int] = field(default_factory=dict)

    def survivor(self, identity: str) -> str:
        """What an identity of before goes on as: itself, or the one it merged into."""
        return self.retired.get(identity, (identity,))[0]

    def identity_of(self, record: RecordName | None, identifier: IdentifierKey | None) -> str:
        """The identity of a record or, without one, of an identifier; empty if it has none."""
        placement = self.records.get(record) if record else self.identifiers.get(identifier or "")
        return (placement.identity or "") if placement else ""


def decide(evidence: Evidence, policy: Policy, new_id: Callable[[], str]) -> Plan:
    """Who is who, given this evidence, and what follows from it for ids, components and the log."""
    edges = evidence.edges()
    partition, refusals = resolve(edges, policy, evidence.standing_bans())
    plan = Plan(refusals=refusals, confidence=partition.confidence)
    groups = _groups(evidence, partition, policy)
    before = _Before(evidence)
    ids = _assign(groups, before, new_id, plan)
    _place_members(evidence, groups, ids, plan)
    _place_identifiers(evidence, partition, plan)
    _place_components(evidence, edges, partition, policy, plan)
    _log(evidence, groups, ids, before, new_id, plan)
    _mark_refused(evidence, refusals)
    return plan


@dataclass(slots=True)
class _Group:
    """One identity-to-be: its records, or the one identifier it is anonymous on."""

    records: list[RecordName] = field(default_factory=list)
    anonymous: list[IdentifierKey] = field(default_factory=list)
    """Identifiers that were anonymous identities of their own, or are one now."""


def _groups(evidence: Evidence, partition: Partition, policy: Policy) -> list[_Group]:
    by_root: dict[RecordName, _Group] = defaultdict(_Group)
    for record in evidence.records:
        root = partition.root.get(record)
        if root is not None:
            by_root[root].records.append(record)
    groups = list(by_root.values())
    persons = {r.identity for r in evidence.records.values() if r.identity}
    for key, identifier in evidence.identifiers.items():
        owner = partition.owner.get(key)
        if owner is not None:
            if identifier.identity and identifier.identity not in persons:
                by_root[partition.root[owner]].anonymous.append(key)
        elif identifier.has_events and key not in partition.shared and not policy.is_blocked(key):
            groups.append(_Group(anonymous=[key]))
    return groups


class _Before:
    """Who belonged to which identity before this batch."""

    def __init__(self, evidence: Evidence) -> None:
        self.of: dict[str, str] = {}
        self.age: dict[str, tuple[Instant, str]] = {}
        for name, record in evidence.records.items():
            if belonged := evidence.belonged(name):
                self.of[name] = belonged
            self.age[name] = (record.created_at if record.created_at is not None else 1 << 62, name)
        self.persons = set(self.of.values())
        for name, record in evidence.records.items():
            # One that lost its membership was of whom its component is named after, where nobody else is.
            if name not in self.of and record.component and record.component not in self.persons:
                self.of[name] = record.component
        self.persons = set(self.of.values())
        for key, identifier in evidence.identifiers.items():
            if identifier.identity and (belonged := evidence.belonged(key)) not in self.persons:
                self.of[key] = belonged

    def main_part(self, identity: str, parts: Mapping[int, list[str]]) -> int:
        """Which group goes on as this identity: the one with most of its records, then with the oldest one."""
        return min(parts, key=lambda g: (-len(parts[g]), min(self.age.get(m, (1 << 62, m)) for m in parts[g])))


def _assign(groups: list[_Group], before: _Before, new_id: Callable[[], str], plan: Plan) -> list[str]:
    """The id of each group; notes new, named and retired ids in the plan (decision ids follow in the log)."""
    parts: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for number, group in enumerate(groups):
        for member in (*group.records, *group.anonymous):
            if (identity := before.of.get(member)) is not None:
                parts[identity][number].append(member)
    heirs: dict[int, list[str]] = defaultdict(list)
    for identity, by_group in parts.items():
        heirs[before.main_part(identity, by_group)].append(identity)
    ids = []
    for number, group in enumerate(groups):
        candidates = heirs.get(number)
        if not candidates:
            identity = new_id()
            plan.new_identities[identity] = not group.records
        else:
            identity = min(candidates, key=lambda i: (i not in before.persons, i))
            for other in candidates:
                if other != identity:
                    plan.retired[other] = (identity, "")
            if group.records and identity not in before.persons:
                plan.named.append(identity)
        ids.append(identity)
    return ids


def _place_members(evidence: Evidence, groups: list[_Group], ids: list[str], plan: Plan) -> None:
    for name in evidence.records:
        plan.records[name] = Placement(None, None)
    for group, identity in zip(groups, ids, strict=True):
        for record in group.records:
            plan.records[record].identity = identity
        for key in group.anonymous:
            plan.identifiers[key] = Placement(identity, None)


def _place_identifiers(evidence: Evidence, partition: Partition, plan: Plan) -> None:
    """Identifiers follow their owner's record."""
    for key in evidence.identifiers:
        owner = partition.owner.get(key)
        if owner is not None:
            plan.identifiers[key] = Placement(plan.records[owner].identity, None)
        elif key not in plan.identifiers:
            plan.identifiers[key] = Placement(None, None, shared=key in partition.shared)


def _place_components(evidence: Evidence, edges: Edges, partition: Partition, policy: Policy, plan: Plan) -> None:
    """Name each component after one of its identities: the name that most of its members bear already."""
    links = {(link.record, link.identifier) for link in edges.links}
    inert = partition.shared | {v for _, v in links if policy.is_blocked(v)}
    component = components(edges.records, links, [(m.a, m.b) for m in edges.matches], inert)
    members: dict[str, list[str]] = defaultdict(list)
    for key in evidence.identifiers:
        if key not in inert and key not in component and plan.identifiers[key].identity:
            component[key] = key
    for node, root in component.items():
        members[root].append(node)
    for nodes in members.values():
        named = _name(nodes, evidence, plan)
        records = 0
        for node in nodes:
            placement = plan.records.get(node)
            if placement is None:
                placement = plan.identifiers[node]
            else:
                records += 1
            placement.component = named
        if records > plan.largest[1]:
            plan.largest = (named, records)


def _name(nodes: Iterable[str], evidence: Evidence, plan: Plan) -> str:
    identities = set()
    borne: Counter[str] = Counter()
    for node in nodes:
        placement = plan.records.get(node) or plan.identifiers[node]
        if placement.identity:
            identities.add(placement.identity)
        state = evidence.records.get(node) or evidence.identifiers[node]
        if state.component:
            borne[state.component] += 1
    return min(identities, key=lambda i: (-borne[i], i))


# -- the log ---------------------------------------------------------------------------------------------------------


def _log(
    evidence: Evidence,
    groups: list[_Group],
    ids: list[str],
    before: _Before,
    new_id: Callable[[], str],
    plan: Plan,
) -> None:
    """One decision per identity whose members changed, and one per operator's word."""
    causes = _causes(evidence)
    moves = _moves(evidence, plan)
    for group, identity in zip(groups, ids, strict=True):
        if identity not in moves:
            continue
        kind = _kind(group, identity, before, plan)
        decision = _decision(new_id(), kind, identity, moves.pop(identity), _causes_of(group, causes))
        plan.decisions.append(decision)
        for origin in decision.identities[1:]:
            if origin in plan.retired and plan.survivor(origin) == identity:
                plan.retired[origin] = (identity, decision.id)
    for identity, left in moves.items():
        plan.erased.append(identity)
        plan.decisions.append(_decision(new_id(), DecisionKind.ERASED, identity, left, ()))
    for name, placement in plan.records.items():
        origin = before.of.get(name, "")
        if origin and placement.identity and placement.identity not in (origin, plan.survivor(origin)):
            plan.split.add(origin)
    plan.decisions += _operators_words(evidence, plan, new_id)


def _moves(evidence: Evidence, plan: Plan) -> dict[str, list[Move]]:
    """All moves, records' first, by the identity that a member came to or, where it is nobody's now, left.

    Who leaves an identity that is retired leaves the one it merged into: a stored decision has only one identity, and
    whose origin that is went to nobody.
    """
    moves: dict[str, list[Move]] = {}
    for states, placements in ((evidence.records, plan.records), (evidence.identifiers, plan.identifiers)):
        for member in states:
            origin, identity = evidence.belonged(member), placements[member].identity or ""
            if origin != identity:
                if not identity:
                    origin = plan.survivor(origin)
                moves.setdefault(identity or origin, []).append(Move(member, origin, identity))
    return moves


def _decision(id: str, kind: DecisionKind, identity: str, moves: Sequence[Move], causes: tuple[str, ...]) -> Decision:
    return Decision(
        id=id,
        kind=kind,
        identities=(identity, *sorted({m.origin for m in moves} - {"", identity})),
        moves=tuple(moves),
        causes=causes if kind is not DecisionKind.CREATED else (),
    )


def _kind(group: _Group, identity: str, before: _Before, plan: Plan) -> DecisionKind:
    origins = {before.of[m] for m in (*group.records, *group.anonymous) if m in before.of} - {identity}
    if any(plan.survivor(origin) == identity for origin in origins):
        return DecisionKind.MERGED
    if identity in plan.new_identities:
        return DecisionKind.SPLIT if origins else DecisionKind.CREATED
    return DecisionKind.CHANGED


def _causes(evidence: Evidence) -> dict[RecordName, list[str]]:
    """What began or ceased to hold with this batch, by record."""
    causes: dict[RecordName, list[str]] = defaultdict(list)
    for name, (identifier, source, _), link in evidence.turned():
        causes[name].append(f"{name} {'-/->' if link.stored else '->'} {identifier} ({source})")
    return causes


def _causes_of(group: _Group, causes: Mapping[RecordName, list[str]]) -> tuple[str, ...]:
    found = [cause for record in group.records for cause in causes.get(record, ())]
    return tuple(found[:_CAUSES_SHOWN])


def _operators_words(evidence: Evidence, plan: Plan, new_id: Callable[[], str]) -> list[Decision]:
    words: list[tuple[DecisionKind, OperatorMatch | OperatorBan | BanExpiry, str]] = [
        *((DecisionKind.OPERATOR_MATCH, item, "=") for item in evidence.new_matches),
        *((DecisionKind.OPERATOR_BAN, item, "!=") for item in evidence.new_bans),
        *((DecisionKind.BAN_EXPIRED, item, "!=") for item in evidence.expired),
    ]
    return [
        Decision(
            id=new_id(),
            kind=kind,
            identities=tuple(
                i for i in dict.fromkeys((plan.identity_of(item.a, None), plan.identity_of(item.b, None))) if i
            ),
            causes=(f"{item.a} {sign} {item.b}",),
            actor="policy" if isinstance(item, BanExpiry) else item.actor,
            reason="" if isinstance(item, BanExpiry) else item.reason,
        )
        for kind, item, sign in words
    ]


def _mark_refused(evidence: Evidence, refusals: Iterable[Refusal]) -> None:
    """Note on each link why it is refused, so that a query sees it where it happens."""
    refused = {(r.record, r.identifier): refused_words(r) for r in refusals if r.identifier is not None}
    for name, record in evidence.records.items():
        for key, link in record.links.items():
            why = refused.get((name, key[0])) if refused else None
            if link.refused != why:
                link.refused, link.dirty = why, True
                evidence.noted[name, key] = link


def refused_words(refusal: Refusal) -> str:
    """How a refusal is noted on the link that it refused."""
    return f"{refusal.reason} {refusal.kind}".strip()
