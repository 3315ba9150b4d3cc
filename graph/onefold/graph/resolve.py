"""Who is who: a partition of records that is a function of the *set* of evidence, and of nothing else.

:func:`resolve` takes all evidence that can bear on some records — one component of the graph, or all of it — and
says which records are one identity, which identifiers belong with them, and which joins the policy refused. It does
no I/O, reads no clock and draws no random number; the order in which evidence arrived can't matter because
evidence is sorted into one canonical order before anything is decided.

The rules, in the order in which the code applies them:

1. *Rows.* A row counts if it was seen by ``as_of`` and its identifier is not blocked.
2. *Confidence* of a (record, identifier) pair: the best row per source, then noisy-or over sources in source
   order, at most 0.999, times the identifier's specificity; rounded to parts per million. Only that integer is
   ever compared, since sums of floats depend on their order.
3. *Eligible*: the identifier is not shared, and the confidence reaches the policy's link threshold.
4. *Accumulated match*: two records with two or more unshared identifiers in common, not all eligibly linked,
   whose combined confidence reaches a threshold of its own.
5. *Joins.* An identifier belongs with the record of its first eligible link (its owner); every further eligible
   link asks for a join of that record with the owner. Operator and accumulated matches ask for joins too.
6. *Claims* of an identity: every identifier eligibly linked to its records, refused joins included. Counting
   attached identifiers only would let a greedy pass evade a limit by orphaning one.
7. *Canonical order*: operator matches, oldest first; then confidence descending, first seen ascending, and a
   128-bit hash of the keys.
8. Two identities join unless a ban stands between them or — operator matches excepted — a deduplicated source has
   a record on both sides, or the union's claims of a kind exceed the limit and exceed what either side has alone.
9. *Refusals* are the refused joins whose ends are in different identities at the end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import NamedTuple

from onefold.graph.model import IdentifierKey, Instant, RecordName, kind_of, source_of
from onefold.graph.policy import Policy

PPM = 1_000_000
_CAP = 0.999


class Link(NamedTuple):
    """One row of evidence: a source's word that a record has an identifier."""

    record: RecordName
    identifier: IdentifierKey
    source: str
    assurance: str
    first_seen: Instant


class Match(NamedTuple):
    """An operator's word that two records are one person."""

    a: RecordName
    b: RecordName
    at: Instant


class Ban(NamedTuple):
    """An operator's word that two records are never one person, from ``at`` until ``expires_at``."""

    a: RecordName
    b: RecordName
    at: Instant
    expires_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class Edges:
    """All evidence that bears on some records."""

    links: Sequence[Link]
    matches: Sequence[Match] = ()
    records: Collection[RecordName] = ()
    """Records to place even if no link names them."""
    shared: Collection[IdentifierKey] = ()
    """Identifiers known to be shared by more records than are given here."""


class RefusalReason(StrEnum):
    """Why two identities were kept apart."""

    BAN = "BAN"
    SOURCE = "SOURCE"
    LIMIT = "LIMIT"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A join that the evidence asked for and the policy refused."""

    reason: RefusalReason
    record: RecordName
    owner: RecordName
    """The record on the other side: the identifier's owner, or the other end of a match."""
    identifier: IdentifierKey | None
    """The identifier that both sides claim; None for a match."""
    confidence: int
    """Of the refused link, in parts per million."""
    kind: str = ""
    """LIMIT: the kind whose limit was hit. SOURCE: the source. BAN: empty."""
    limit: int = 0
    holders: tuple[RecordName, ...] = ()
    """The records that hold what stood in the way: the banned pair, the source's two records, the claims' records."""


@dataclass(frozen=True, slots=True)
class Partition:
    """Which records are one identity."""

    root: Mapping[RecordName, RecordName]
    """Each record's identity, named by its alphabetically first record."""
    owner: Mapping[IdentifierKey, RecordName]
    """Each identifier that belongs with an identity: the record it belongs with."""
    shared: frozenset[IdentifierKey]
    """Identifiers above their kind's limit: inert."""
    confidence: Mapping[tuple[RecordName, IdentifierKey], int]
    """Each (record, identifier) pair's confidence in parts per million; shared identifiers have none."""
    accumulated: Mapping[tuple[RecordName, RecordName], int] = field(default_factory=dict)
    """Pairs of records, sorted, that several identifiers together ask to join: their confidence, likewise."""

    def groups(self) -> list[tuple[RecordName, ...]]:
        """The identities as sorted tuples of records, sorted."""
        members: dict[RecordName, list[RecordName]] = defaultdict(list)
        for record, root in self.root.items():
            members[root].append(record)
        return sorted(tuple(sorted(group)) for group in members.values())


def resolve(
    edges: Edges, policy: Policy, bans: Iterable[Ban] = (), as_of: Instant | None = None
) -> tuple[Partition, list[Refusal]]:
    """The partition of the records, and the joins that were refused on the way.

    ``as_of`` is the instant to decide for: later rows, matches and bans are not known yet, and a ban is over once it
    has expired; None takes all evidence, and every ban that has no end or whose end no evidence has reached.
    Every order of ``edges`` and ``bans`` gives an equal answer (refusals come in canonical order).
    """
    instant = _last_instant(edges, bans) if as_of is None else as_of
    pairs = _pairs(edges.links, policy, instant)
    distinct = _distinct(pairs)
    shared = frozenset(edges.shared) | {v for v, d in distinct.items() if d > policy.kind(kind_of(v)).shared_above}
    confidence, seen = _confidences(pairs, distinct, shared, policy)
    threshold = round(policy.link_threshold * PPM)
    joins, owner, claims = _joins(confidence, seen, threshold)
    accumulated = _accumulated(confidence, seen, threshold, policy)
    joins += accumulated
    joins += [_operator_join(m) for m in edges.matches if m.at <= instant]
    records = {*edges.records, *(r for r, _ in pairs)}
    for m in edges.matches:
        records.update((m.a, m.b))
    banned = [b for b in bans if b.at <= instant and (b.expires_at is None or instant < b.expires_at)]
    forest, refusals = _merge(records, joins, claims, banned, policy)
    scores = {(j.a, j.b): j.confidence for j in accumulated}
    return Partition(forest.names(records), owner, shared, confidence, scores), refusals


def standing(bans: Iterable[Ban], now: Instant) -> list[Ban]:
    """The bans that hold at ``now``, as holding at whatever instant rows are resolved for: rows of a source whose clock
    runs ahead are known already, and must not bring a ban to its end."""
    return [ban._replace(expires_at=None) for ban in bans if ban.expires_at is None or now < ban.expires_at]


def components(
    records: Iterable[RecordName],
    links: Iterable[tuple[RecordName, IdentifierKey]],
    matches: Iterable[tuple[RecordName, RecordName]],
    inert: Collection[IdentifierKey],
) -> dict[str, str]:
    """Each record's and identifier's connected component over *all* links, whatever their confidence, but for those
    to ``inert`` identifiers (shared or blocked): the unit that is fetched, locked and decided together.

    Components are named by one of their members; only equality of the names means anything.
    """
    forest = _Forest(records)
    for record, identifier in links:
        if identifier not in inert:
            forest.union(record, identifier)
    for a, b in matches:
        forest.union(a, b)
    return {node: forest.find(node) for node in list(forest.parent)}


# -- 1, 2, 3: rows to confidences ------------------------------------------------------------------------------------

_Pair = tuple[RecordName, IdentifierKey]


def _last_instant(edges: Edges, bans: Iterable[Ban]) -> Instant:
    """The latest instant that any evidence names: the instant at which all of it is known."""
    instants = [link.first_seen for link in edges.links]
    instants += [m.at for m in edges.matches]
    instants += [b.at for b in bans]
    return max(instants, default=0)


def _pairs(links: Iterable[Link], policy: Policy, as_of: Instant) -> dict[_Pair, tuple[dict[str, float], Instant]]:
    """Per (record, identifier): the best base confidence of each source, and when it was first seen."""
    pairs: dict[_Pair, tuple[dict[str, float], Instant]] = {}
    for record, identifier, source, assurance, first_seen in links:
        if first_seen > as_of or policy.is_blocked(identifier):
            continue
        base = policy.base_confidence(kind_of(identifier), assurance, source)
        known = pairs.get((record, identifier))
        if known is None:
            pairs[record, identifier] = ({source: base}, first_seen)
            continue
        best, since = known
        if base > best.get(source, 0.0):
            best[source] = base
        if first_seen < since:
            pairs[record, identifier] = (best, first_seen)
    return pairs


def _distinct(pairs: Mapping[_Pair, tuple[dict[str, float], Instant]]) -> dict[IdentifierKey, int]:
    """How many persons each identifier seems to have: for each source its distinct customers, plus its guest orders
    counted by their strongest other identifier (those that have no other count once); the largest over sources."""
    orders: dict[RecordName, list[tuple[float, IdentifierKey]]] = defaultdict(list)
    for (record, identifier), (best, _) in pairs.items():
        if record.startswith("order:"):
            orders[record].append((max(best.values()), identifier))
    for strongest in orders.values():
        strongest.sort(key=lambda s: (-s[0], s[1]))
    holders: dict[IdentifierKey, dict[str, set[str]]] = defaultdict(dict)
    for (record, identifier), (best, _) in pairs.items():
        if record in orders:
            holder = next((v for _, v in orders[record] if v != identifier), "")
        else:
            holder = record
        by_source = holders[identifier]
        for source in best:
            by_source.setdefault(source, set()).add(holder)
    return {v: max(map(len, by_source.values())) for v, by_source in holders.items()}


def _confidences(
    pairs: Mapping[_Pair, tuple[dict[str, float], Instant]],
    distinct: Mapping[IdentifierKey, int],
    shared: Collection[IdentifierKey],
    policy: Policy,
) -> tuple[dict[_Pair, int], dict[_Pair, Instant]]:
    """Confidence in parts per million and first sight of every pair whose identifier is not shared."""
    specificity = {v: policy.specificity(kind_of(v), d) for v, d in distinct.items()}
    confidence: dict[_Pair, int] = {}
    seen: dict[_Pair, Instant] = {}
    for pair, (best, first_seen) in pairs.items():
        if pair[1] in shared:
            continue
        if len(best) == 1:
            (combined,) = best.values()
        else:
            combined = noisy_or(best[source] for source in sorted(best))
        confidence[pair] = round(min(combined, _CAP) * specificity[pair[1]] * PPM)
        seen[pair] = first_seen
    return confidence, seen


def noisy_or(probabilities: Iterable[float]) -> float:
    """The probability that at least one of several independent signs is true: ``1 - prod(1 - p)``.

    Pearl, *Probabilistic Reasoning in Intelligent Systems* (1988), section 4.3.2.
    """
    none = 1.0
    for p in probabilities:
        none *= 1.0 - p
    return 1.0 - none


# -- 4, 5, 7: joins in canonical order -------------------------------------------------------------------------------


class _Join(NamedTuple):
    a: RecordName
    b: RecordName
    identifier: IdentifierKey | None
    confidence: int
    first_seen: Instant
    operator: bool


def _canonical(join: _Join) -> tuple[int, int, int, bytes]:
    if join.operator:
        return (0, join.first_seen, 0, _stable_hash(join))
    return (1, -join.confidence, join.first_seen, _stable_hash(join))


def _stable_hash(join: _Join) -> bytes:
    """128 bits of the join's own keys: of the link that asks for it, or of the two ends of a match."""
    ends = (join.a, join.identifier) if join.identifier is not None else sorted((join.a, join.b))
    return _hash(*ends)


def _hash(*keys: str) -> bytes:
    return blake2b("\0".join(keys).encode(), digest_size=16).digest()


def _operator_join(match: Match) -> _Join:
    a, b = sorted((match.a, match.b))
    return _Join(a, b, None, PPM, match.at, True)


def _joins(
    confidence: Mapping[_Pair, int], seen: Mapping[_Pair, Instant], threshold: int
) -> tuple[list[_Join], dict[IdentifierKey, RecordName], dict[RecordName, set[IdentifierKey]]]:
    """The joins that eligible links ask for, each identifier's owner, and each record's claims."""
    eligible: dict[IdentifierKey, list[RecordName]] = defaultdict(list)
    claims: dict[RecordName, set[IdentifierKey]] = defaultdict(set)
    for (record, identifier), ppm in confidence.items():
        if ppm >= threshold:
            eligible[identifier].append(record)
            claims[record].add(identifier)
    owner: dict[IdentifierKey, RecordName] = {}
    joins: list[_Join] = []
    for identifier, records in eligible.items():
        if len(records) == 1:
            owner[identifier] = records[0]
            continue
        first = owner[identifier] = _first(records, identifier, confidence, seen)
        joins += [
            _Join(r, first, identifier, confidence[r, identifier], seen[r, identifier], False)
            for r in records
            if r != first
        ]
    return joins, owner, claims


def _first(
    records: list[RecordName],
    identifier: IdentifierKey,
    confidence: Mapping[_Pair, int],
    seen: Mapping[_Pair, Instant],
) -> RecordName:
    """The record whose link to the identifier comes first in canonical order."""
    rank = {r: (-confidence[r, identifier], seen[r, identifier]) for r in records}
    best = min(rank.values())
    ties = [r for r in records if rank[r] == best]
    return ties[0] if len(ties) == 1 else min(ties, key=lambda r: _hash(r, identifier))


def _accumulated(
    confidence: Mapping[_Pair, int], seen: Mapping[_Pair, Instant], threshold: int, policy: Policy
) -> list[_Join]:
    """Matches between records that no single identifier joins, but several together do."""
    at: dict[IdentifierKey, list[RecordName]] = defaultdict(list)
    of: dict[RecordName, set[IdentifierKey]] = defaultdict(set)
    weak: set[IdentifierKey] = set()
    for (record, identifier), ppm in confidence.items():
        at[identifier].append(record)
        of[record].add(identifier)
        if ppm < threshold:
            weak.add(identifier)
    candidates: set[tuple[RecordName, RecordName]] = set()
    for identifier in weak:
        records = at[identifier]
        for a in records:
            if confidence[a, identifier] < threshold:
                candidates.update((min(a, b), max(a, b)) for b in records if b != a)
    needed = round(policy.accumulated_threshold * PPM)
    joins = []
    for a, b in candidates:
        common = sorted(of[a] & of[b])
        if len(common) < 2:
            continue
        ppm = round(min(noisy_or(confidence[a, v] / PPM * (confidence[b, v] / PPM) for v in common), _CAP) * PPM)
        if ppm >= needed:
            first_seen = max(max(seen[a, v], seen[b, v]) for v in common)
            joins.append(_Join(a, b, None, ppm, first_seen, False))
    return joins


# -- 6, 8, 9: merging, and the ordered greedy where a rule could bite ------------------------------------------------


class _Forest:
    """Disjoint sets by union by size with path halving."""

    def __init__(self, nodes: Iterable[str]) -> None:
        self.parent: dict[str, str] = {n: n for n in nodes}
        self.size: dict[str, int] = {}

    def find(self, node: str) -> str:
        parent = self.parent
        if node not in parent:
            parent[node] = node
            return node
        while parent[node] != node:
            parent[node] = node = parent[parent[node]]
        return node

    def union(self, a: str, b: str) -> str:
        """The surviving root of the two joined sets."""
        a, b = self.find(a), self.find(b)
        if a != b:
            size_a, size_b = self.size.get(a, 1), self.size.get(b, 1)
            if size_a < size_b:
                a, b = b, a
            self.parent[b] = a
            self.size[a] = size_a + size_b
        return a

    def names(self, records: Iterable[RecordName]) -> dict[RecordName, RecordName]:
        """Each record's set, named by its alphabetically first record."""
        name: dict[str, RecordName] = {}
        for record in sorted(records):
            name.setdefault(self.find(record), record)
        return {record: name[self.find(record)] for record in records}


class _Why(NamedTuple):
    reason: RefusalReason
    kind: str = ""
    limit: int = 0
    holders: tuple[RecordName, ...] = ()


def _merge(
    records: Collection[RecordName],
    joins: Sequence[_Join],
    claims: Mapping[RecordName, set[IdentifierKey]],
    bans: Sequence[Ban],
    policy: Policy,
) -> tuple[_Forest, list[Refusal]]:
    """The identities, and the refusals in canonical order.

    Where nothing is at stake the joins' order does not matter and this is plain connected components.
    """
    whole = _Forest(records)
    for join in joins:
        whole.union(join.a, join.b)
    stakes = _stakes(records, whole, claims, bans, policy)
    if not stakes:
        return whole, []
    forest = _Forest(records)
    contested = []
    for join in joins:
        if join.a in stakes:
            contested.append(join)
        else:
            forest.union(join.a, join.b)
    contested.sort(key=_canonical)
    refused = []
    for join in contested:
        why = _join(join, forest, stakes, bans, policy)
        if why is not None:
            refused.append((join, why))
    return forest, [
        Refusal(why.reason, join.a, join.b, join.identifier, join.confidence, why.kind, why.limit, why.holders)
        for join, why in refused
        if forest.find(join.a) != forest.find(join.b)
    ]


@dataclass(slots=True)
class _Stake:
    """What an identity in the making holds that could keep it from joining another one."""

    claims: dict[str, dict[IdentifierKey, set[RecordName]]] = field(default_factory=dict)
    """By kind that could exceed its limit: the identifiers claimed, and by which records."""
    sources: dict[str, RecordName] = field(default_factory=dict)
    """Deduplicated sources with more than one record in play: the record here."""
    bans: set[int] = field(default_factory=set)
    """Bans with an end here, by number."""

    def absorb(self, other: _Stake) -> None:
        """Take in what a joined identity held."""
        for kind, claimed in other.claims.items():
            ours = self.claims.setdefault(kind, {})
            for identifier, holders in claimed.items():
                ours.setdefault(identifier, set()).update(holders)
        self.sources.update(other.sources)
        self.bans |= other.bans


def _stakes(
    records: Iterable[RecordName],
    whole: _Forest,
    claims: Mapping[RecordName, set[IdentifierKey]],
    bans: Sequence[Ban],
    policy: Policy,
) -> dict[RecordName, _Stake]:
    """The stake of every record that hangs together with enough others for some limit, source or ban to bite."""
    limits = {kind: rule.limit for kind, rule in policy.kinds.items() if rule.limit is not None}
    claimed: dict[tuple[str, str], set[IdentifierKey]] = defaultdict(set)
    counted: dict[tuple[str, str], int] = defaultdict(int)
    members: dict[str, list[RecordName]] = defaultdict(list)
    for record in records:
        root = whole.find(record)
        members[root].append(record)
        for identifier in claims.get(record, ()):
            kind = kind_of(identifier)
            if kind in limits:
                claimed[root, kind].add(identifier)
        source = _deduplicated_source(record, policy)
        if source is not None:
            counted[root, source] += 1
    tight = {key for key, identifiers in claimed.items() if len(identifiers) > limits[key[1]]}
    doubled = {key for key, count in counted.items() if count > 1}
    banned = {whole.find(b.a) for b in bans if {b.a, b.b} <= whole.parent.keys() and whole.find(b.a) == whole.find(b.b)}
    stakes = {
        record: _stake(record, root, claims, tight, doubled, policy)
        for root in {root for root, _ in tight | doubled} | banned
        for record in members[root]
    }
    for number, ban in enumerate(bans):
        for end in (ban.a, ban.b):
            if end in stakes:
                stakes[end].bans.add(number)
    return stakes


def _stake(
    record: RecordName,
    root: str,
    claims: Mapping[RecordName, set[IdentifierKey]],
    tight: Collection[tuple[str, str]],
    doubled: Collection[tuple[str, str]],
    policy: Policy,
) -> _Stake:
    stake = _Stake()
    for identifier in claims.get(record, ()):
        kind = kind_of(identifier)
        if (root, kind) in tight:
            stake.claims.setdefault(kind, {})[identifier] = {record}
    source = _deduplicated_source(record, policy)
    if source is not None and (root, source) in doubled:
        stake.sources[source] = record
    return stake


def _deduplicated_source(record: RecordName, policy: Policy) -> str | None:
    source = source_of(record)
    return source if policy.is_deduplicated(source) and record.startswith("customer:") else None


def _join(
    join: _Join, forest: _Forest, stakes: dict[RecordName, _Stake], bans: Sequence[Ban], policy: Policy
) -> _Why | None:
    """None if the two ends are one identity now, else why they were kept apart."""
    a, b = forest.find(join.a), forest.find(join.b)
    if a == b:
        return None
    left, right = stakes[a], stakes[b]
    why = _banned(left, right, forest, bans)
    if why is None and not join.operator:
        why = _two_of_one_source(left, right) or _over_a_limit(left, right, policy)
    if why is None:
        root = forest.union(a, b)
        stakes[root].absorb(right if root == a else left)
    return why


def _banned(left: _Stake, right: _Stake, forest: _Forest, bans: Sequence[Ban]) -> _Why | None:
    for number in sorted(left.bans & right.bans):
        ban = bans[number]
        if forest.find(ban.a) != forest.find(ban.b):
            return _Why(RefusalReason.BAN, holders=tuple(sorted((ban.a, ban.b))))
    return None


def _two_of_one_source(left: _Stake, right: _Stake) -> _Why | None:
    for source in sorted(left.sources.keys() & right.sources.keys()):
        holders = tuple(sorted((left.sources[source], right.sources[source])))
        return _Why(RefusalReason.SOURCE, kind=source, limit=1, holders=holders)
    return None


def _over_a_limit(left: _Stake, right: _Stake, policy: Policy) -> _Why | None:
    for kind in sorted(left.claims.keys() & right.claims.keys()):
        ours, theirs, limit = left.claims[kind], right.claims[kind], policy.kind(kind).limit
        union = len(ours.keys() | theirs.keys())
        if limit is not None and union > max(limit, len(ours), len(theirs)):
            holders = set().union(*ours.values(), *theirs.values())
            return _Why(RefusalReason.LIMIT, kind=kind, limit=limit, holders=tuple(sorted(holders)))
    return None
