"""From evidence to what has to be written: who is who now, under which ids, and which decisions say so.

:func:`decide` is pure. It resolves whole components, keeps identity ids as stable as the partition allows, and
returns a :class:`Plan` in which every id is final, so that each node is written once, in its final state.

Ids: when identities merge, the oldest keeps its id (a person's before an anonymous one's); when one splits, the
part with most of its records keeps it (a tie goes to the part with the oldest record). UUIDv7 ids sort by age.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from onefold.graph.evidence import Evidence
from onefold.graph.model import IdentifierKey, Instant, OperatorBan, OperatorMatch, RecordName
from onefold.graph.policy import Policy
from onefold.graph.resolve import Partition, Refusal, components, resolve, standing

_CAUSES_SHOWN = 50


class DecisionKind(StrEnum):
    """What a decision did to identities."""

    CREATED = "CREATED"
    CHANGED = "CHANGED"
    MERGED = "MERGED"
    SPLIT = "SPLIT"
    OPERATOR_MATCH = "OPERATOR_MATCH"
    OPERATOR_BAN = "OPERATOR_BAN"


@dataclass(frozen=True, slots=True)
class Move:
    """A member that went from one identity to another; empty where there was none before."""

    member: str
    """A record's name, or the key of an identifier that is anonymous on one side."""
    origin: str
    identity: str


@dataclass(frozen=True, slots=True)
class Decision:
    """One change of membership, or one operator's word."""

    id: str
    kind: DecisionKind
    identities: tuple[str, ...]
    """All it touched; the one that holds the members now comes first."""
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
    decisions: list[Decision] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    confidence: Mapping[tuple[RecordName, IdentifierKey], int] = field(default_factory=dict)

    def identity_of(self, record: RecordName | None, identifier: IdentifierKey | None) -> str:
        """The identity of a record or, without one, of an identifier; empty if it has none."""
        placement = self.records.get(record) if record else self.identifiers.get(identifier or "")
        return (placement.identity or "") if placement else ""


def decide(evidence: Evidence, policy: Policy, now: Instant, new_id: Callable[[], str]) -> Plan:
    """Who is who, given this evidence, and what follows from it for ids, components and the log."""
    edges = evidence.edges()
    bans = standing(evidence.bans.values(), now)
    partition, refusals = resolve(edges, policy, bans, as_of=_as_of(evidence, now))
    plan = Plan(refusals=refusals, confidence=partition.confidence)
    groups = _groups(evidence, partition, policy)
    before = _Before(evidence)
    ids = _assign(groups, before, new_id, plan)
    _place_members(groups, ids, plan)
    _place_identifiers(evidence, partition, plan)
    _place_components(evidence, partition, policy, plan)
    _log(evidence, groups, ids, before, new_id, plan)
    _mark_refused(evidence, refusals)
    return plan


def _as_of(evidence: Evidence, now: Instant) -> Instant:
    """Now, or the latest sight if a source's clock runs ahead: what is stored is never unknown."""
    latest = max((link.first_seen for r in evidence.records.values() for link in r.links.values()), default=now)
    return max(now, latest, *evidence.matches.values(), *(b.at for b in evidence.bans.values()))


@dataclass(slots=True)
class _Group:
    """One identity-to-be: its records, or the one identifier it is anonymous on."""

    records: list[RecordName] = field(default_factory=list)
    anonymous: list[IdentifierKey] = field(default_factory=list)
    """Identifiers that were anonymous identities of their own, or are one now."""


def _groups(evidence: Evidence, partition: Partition, policy: Policy) -> list[_Group]:
    by_root: dict[RecordName, _Group] = defaultdict(_Group)
    for record in evidence.records:
        by_root[partition.root[record]].records.append(record)
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
            if record.identity:
                self.of[name] = record.identity
            self.age[name] = (record.created_at if record.created_at is not None else 1 << 62, name)
        self.persons = set(self.of.values())
        for key, identifier in evidence.identifiers.items():
            if identifier.identity and identifier.identity not in self.persons:
                self.of[key] = identifier.identity

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


def _place_members(groups: list[_Group], ids: list[str], plan: Plan) -> None:
    for group, identity in zip(groups, ids, strict=True):
        for record in group.records:
            plan.records[record] = Placement(identity, None)
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


def _place_components(evidence: Evidence, partition: Partition, policy: Policy, plan: Plan) -> None:
    """Name each component after one of its identities: the name that most of its members bear already."""
    links = {(name, key[0]) for name, record in evidence.records.items() for key in record.links}
    inert = partition.shared | {v for _, v in links if policy.is_blocked(v)}
    component = components(evidence.records, links, evidence.matches, inert)
    members: dict[str, list[str]] = defaultdict(list)
    for key in evidence.identifiers:
        if key not in inert and key not in component and plan.identifiers[key].identity:
            component[key] = key
    for node, root in component.items():
        members[root].append(node)
    for nodes in members.values():
        identities = set()
        borne: Counter[str] = Counter()
        for node in nodes:
            placement = plan.records.get(node) or plan.identifiers[node]
            if placement.identity:
                identities.add(placement.identity)
            state = evidence.records.get(node) or evidence.identifiers[node]
            if state.component:
                borne[state.component] += 1
        named = min(identities, key=lambda i: (-borne[i], i))
        for node in nodes:
            (plan.records.get(node) or plan.identifiers[node]).component = named


def _log(
    evidence: Evidence,
    groups: list[_Group],
    ids: list[str],
    before: _Before,
    new_id: Callable[[], str],
    plan: Plan,
) -> None:
    """One decision per identity whose members changed, and one per operator's word."""
    causes: dict[RecordName, list[str]] = defaultdict(list)
    for record, (identifier, source, _) in evidence.new_links:
        causes[record].append(f"{record} -> {identifier} ({source})")
    for group, identity in zip(groups, ids, strict=True):
        moves = tuple(
            Move(member, origin, identity)
            for member in (*group.records, *group.anonymous)
            if (origin := before.of.get(member, "")) != identity
        )
        if not moves:
            continue
        kind = _kind(moves, identity, plan)
        decision = Decision(
            id=new_id(),
            kind=kind,
            identities=(identity, *sorted({m.origin for m in moves if m.origin})),
            moves=moves,
            causes=_causes_of(group, causes) if kind is not DecisionKind.CREATED else (),
        )
        plan.decisions.append(decision)
        for origin in decision.identities[1:]:
            if origin in plan.retired and plan.retired[origin][0] == identity:
                plan.retired[origin] = (identity, decision.id)
    placed = {member for group in groups for member in (*group.records, *group.anonymous)}
    plan.decisions += [
        # An anonymous identity ends with its device's being told apart: the device is shared, or blocked.
        Decision(new_id(), DecisionKind.CHANGED, (identity,), (Move(member, identity, ""),))
        for member, identity in before.of.items()
        if member not in placed
    ]
    plan.decisions += _operators_words(evidence, plan, new_id)


def _kind(moves: Iterable[Move], identity: str, plan: Plan) -> DecisionKind:
    origins = {m.origin for m in moves if m.origin}
    if any(plan.retired.get(origin, ("",))[0] == identity for origin in origins):
        return DecisionKind.MERGED
    if identity in plan.new_identities:
        return DecisionKind.SPLIT if origins else DecisionKind.CREATED
    return DecisionKind.CHANGED


def _causes_of(group: _Group, causes: Mapping[RecordName, list[str]]) -> tuple[str, ...]:
    found = [cause for record in group.records for cause in causes.get(record, ())]
    return tuple(found[:_CAUSES_SHOWN])


def _operators_words(evidence: Evidence, plan: Plan, new_id: Callable[[], str]) -> list[Decision]:
    words: list[tuple[DecisionKind, OperatorMatch | OperatorBan, str]] = [
        *((DecisionKind.OPERATOR_MATCH, item, "=") for item in evidence.new_matches),
        *((DecisionKind.OPERATOR_BAN, item, "!=") for item in evidence.new_bans),
    ]
    return [
        Decision(
            id=new_id(),
            kind=kind,
            identities=tuple(dict.fromkeys((plan.identity_of(item.a, None), plan.identity_of(item.b, None)))),
            causes=(f"{item.a} {sign} {item.b}",),
            actor=item.actor,
            reason=item.reason,
        )
        for kind, item, sign in words
    ]


def _mark_refused(evidence: Evidence, refusals: Iterable[Refusal]) -> None:
    """Note on each link why it is refused, so that a query sees it where it happens."""
    refused = {(r.record, r.identifier): _words(r) for r in refusals if r.identifier is not None}
    for name, record in evidence.records.items():
        for (identifier, _, _), link in record.links.items():
            why = refused.get((name, identifier))
            if link.refused != why:
                link.refused, link.dirty = why, True


def _words(refusal: Refusal) -> str:
    return f"{refusal.reason} {refusal.kind}".strip()
