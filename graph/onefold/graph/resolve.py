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
4. *Accumulated match*: two records with two or more unshared identifiers in common, none of which is eligibly
   linked to both, whose combined confidence reaches a threshold of its own.
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

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from itertools import combinations, product
from typing import NamedTuple

from onefold.graph.greedy import greedy, holders
from onefold.graph.model import IdentifierKey, Instant, RecordName, kind_of
from onefold.graph.policy import Policy
from onefold.graph.rulebook import CAP as CAP
from onefold.graph.rulebook import PPM as PPM
from onefold.graph.rulebook import Quota, Rulebook, rulebook
from onefold.graph.rulebook import in_ppm as in_ppm


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
    """Who holds what stood in the way, sorted. BAN: the banned pair. SOURCE: the source's records on both sides.
    LIMIT: on each side, for each identifier of the kind, the alphabetically first record that claims it."""


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

    This is the front for some components; :func:`onefold.graph.bulk.resolve_columns` decides millions of rows alike.
    """
    bans = list(bans)
    instant = last_instant((link.first_seen for link in edges.links), edges.matches, bans) if as_of is None else as_of
    rules = rulebook(policy)
    sights = _sights(edges.links, rules, instant)
    records = set(edges.records).union(*sights.values(), *((m.a, m.b) for m in edges.matches))
    links, shared = _links(sights, _strongest(records, sights), edges.shared, rules)
    eligible, weak = _eligible(links, rules)
    accumulated = _accumulated(links, eligible, weak, rules) if weak else []
    owner = {identifier: _first(identifier, at) for identifier, at in eligible.items()}
    matches = accumulated + [_operator_match(m) for m in edges.matches if m.at <= instant]
    forest, refusals = _joined(records, eligible, owner, matches, holding(bans, instant), rules)
    partition = Partition(
        forest.names(records),
        owner,
        frozenset(shared),
        {(record, v): PPM - doubt for v, at in links.items() for doubt, _, record in at},
        {(match.a, match.b): PPM - match.doubt for match in accumulated},
    )
    return partition, refusals


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


# -- what both fronts share ------------------------------------------------------------------------------------------


def noisy_or(probabilities: Iterable[float]) -> float:
    """The probability that at least one of several independent signs is true: ``1 - prod(1 - p)``.

    Pearl, *Probabilistic Reasoning in Intelligent Systems* (1988), section 4.3.2.
    """
    none = 1.0
    for p in probabilities:
        none *= 1.0 - p
    return 1.0 - none


def tie(*keys: str) -> bytes:
    """What decides between equals: 128 bits of the keys themselves."""
    return blake2b("\0".join(keys).encode(), digest_size=16).digest()


def last_instant(sights: Iterable[Instant], matches: Iterable[Match], bans: Iterable[Ban]) -> Instant:
    """The latest instant that any evidence names: the instant at which all of it is known."""
    return max([*sights, *(m.at for m in matches), *(b.at for b in bans)], default=0)


def holding(bans: Iterable[Ban], instant: Instant) -> list[tuple[RecordName, RecordName]]:
    """The pairs that are banned at an instant, each sorted, all sorted."""
    return sorted(
        {
            (min(a, b), max(a, b))
            for a, b, at, end in bans
            if a != b and at <= instant and (end is None or instant < end)
        }
    )


def refusal(
    quota: Quota,
    a: RecordName,
    b: RecordName,
    identifier: IdentifierKey | None,
    ppm: int,
    held_by: tuple[RecordName, ...],
) -> Refusal:
    """That a quota kept two records apart."""
    if quota.is_ban:
        return Refusal(RefusalReason.BAN, a, b, identifier, ppm, holders=held_by)
    reason = RefusalReason.SOURCE if quota.is_source else RefusalReason.LIMIT
    return Refusal(reason, a, b, identifier, ppm, quota.what[0], quota.limit, held_by)


# -- rules 1 to 3: from rows to links --------------------------------------------------------------------------------

_Sight = tuple[dict[str, float], Instant]
"""The best base confidence of each source, and when the first of them said so."""


_Link = tuple[int, Instant, RecordName]
"""A record's link to an identifier: its *doubt* (what the confidence lacks of certainty, in parts per million), when it
was first seen, and the record. But for ties, canonical order is the order of these tuples."""


def _sights(links: Iterable[Link], rules: Rulebook, as_of: Instant) -> dict[IdentifierKey, dict[RecordName, _Sight]]:
    """Who says of which record that it has which identifier, as far as it counts."""
    kind_at = rules.kind_at
    sights: dict[IdentifierKey, dict[RecordName, _Sight]] = {}
    for record, identifier, source, assurance, first_seen in links:
        kind = kind_at(identifier)
        if kind is None or first_seen > as_of:
            continue
        base = kind.base(assurance, source)
        at = sights.get(identifier)
        if at is None:
            at = sights[identifier] = {}
        known = at.get(record)
        if known is None:
            at[record] = ({source: base}, first_seen)
            continue
        best, since = known
        if base > best.get(source, 0.0):
            best[source] = base
        if first_seen < since:
            at[record] = (best, first_seen)
    return sights


def _links(
    sights: Mapping[IdentifierKey, Mapping[RecordName, _Sight]],
    strongest: Mapping[RecordName, list[IdentifierKey]],
    known_shared: Collection[IdentifierKey],
    rules: Rulebook,
) -> tuple[dict[IdentifierKey, list[_Link]], set[IdentifierKey]]:
    """The links to each identifier that is not shared, and the shared identifiers."""
    shared = set(known_shared)
    links: dict[IdentifierKey, list[_Link]] = {}
    for identifier, at in sights.items():
        kind = rules.kinds[kind_of(identifier)]
        d = 1 if len(at) <= kind.alike else _persons(identifier, at, strongest)
        if d > kind.shared_above or identifier in shared:
            shared.add(identifier)
            continue
        factor = kind.factor(d)
        links[identifier] = at_identifier = []
        for record, (best, first_seen) in at.items():
            if len(best) == 1:
                (sure,) = best.values()
            else:
                sure = noisy_or(best[source] for source in sorted(best))
            at_identifier.append((PPM - round(min(sure, CAP) * factor * PPM), first_seen, record))
    return links, shared


def _strongest(
    records: Iterable[RecordName], sights: Mapping[IdentifierKey, Mapping[RecordName, _Sight]]
) -> dict[RecordName, list[IdentifierKey]]:
    """Each guest order's identifiers, those that say most first."""
    found: dict[RecordName, list[tuple[float, IdentifierKey]]] = {r: [] for r in records if r.startswith("order:")}
    if found:
        for identifier, at in sights.items():
            for record in found.keys() & at.keys():
                found[record].append((-max(at[record][0].values()), identifier))
    return {order: [v for _, v in sorted(ranked)] for order, ranked in found.items()}


def _persons(
    identifier: IdentifierKey, at: Mapping[RecordName, _Sight], strongest: Mapping[RecordName, list[IdentifierKey]]
) -> int:
    """How many persons an identifier seems to have: for each source its distinct customers, plus its guest orders
    counted by their strongest other identifier (those that have no other count once); the largest over sources."""
    persons: dict[str, int] = {}
    guests: set[tuple[str, IdentifierKey]] = set()
    for record, (best, _) in at.items():
        if record in strongest:
            other = next((v for v in strongest[record] if v != identifier), "")
            guests.update((source, other) for source in best)
        else:
            for source in best:
                persons[source] = persons.get(source, 0) + 1
    for source, _ in guests:
        persons[source] = persons.get(source, 0) + 1
    return max(persons.values())


def _eligible(
    links: Mapping[IdentifierKey, list[_Link]], rules: Rulebook
) -> tuple[dict[IdentifierKey, list[_Link]], list[IdentifierKey]]:
    """The links that join, by identifier; and the identifiers of several records that have a link that doesn't."""
    eligible: dict[IdentifierKey, list[_Link]] = {}
    weak = []
    for identifier, at in links.items():
        joining = [link for link in at if link[0] <= rules.most_doubt]
        if joining:
            eligible[identifier] = joining
        if len(joining) < len(at) > 1:
            weak.append(identifier)
    return eligible, weak


# -- rules 4, 5, 7: the joins that are asked for ---------------------------------------------------------------------


class _Join(NamedTuple):
    """That two records be one; joins are decided in the order of :meth:`place`."""

    a: RecordName
    b: RecordName
    identifier: IdentifierKey | None
    doubt: int
    first_seen: Instant
    operator: bool = False

    def place(self) -> tuple[bool, int, Instant, bytes]:
        """Rule 7: its place in canonical order."""
        ends = (self.a, self.b) if self.identifier is None else (self.a, self.identifier)
        return (not self.operator, self.doubt, self.first_seen, tie(*ends))


def _operator_match(match: Match) -> _Join:
    return _Join(min(match.a, match.b), max(match.a, match.b), None, 0, match.at, operator=True)


def _first(identifier: IdentifierKey, links: list[_Link]) -> RecordName:
    """The record whose link comes first in canonical order."""
    if len(links) == 1:
        return links[0][2]
    best = min(links)[:2]
    equals = [record for doubt, first_seen, record in links if (doubt, first_seen) == best]
    return equals[0] if len(equals) == 1 else min(equals, key=lambda record: tie(record, identifier))


class _Alike(NamedTuple):
    """Records that rule 4 can't tell apart, but for when they were seen."""

    hints: Mapping[IdentifierKey, int]
    """The doubt of each link to an identifier that two records can have in common unjoined, in the keys' order."""
    telling: Collection[IdentifierKey]
    """Those of the hints by which such records can meet one that they match."""
    joining: frozenset[IdentifierKey]
    """The identifiers that join them with others."""
    records: list[RecordName]


def _accumulated(
    links: Mapping[IdentifierKey, list[_Link]],
    eligible: Mapping[IdentifierKey, list[_Link]],
    weak: list[IdentifierKey],
    rules: Rulebook,
) -> list[_Join]:
    """Matches between records that no single identifier joins, but several together do.

    Records that are alike are asked about as one: thousands of guest orders with the same hints are one question.
    """
    of: dict[RecordName, dict[IdentifierKey, _Link]] = defaultdict(dict)
    for identifier in sorted(weak):
        for link in links[identifier]:
            of[link[2]][identifier] = link
    groups = _alike(of, links, eligible, weak, rules)
    matches = []
    for a, b in _candidates(groups, rules):
        ppm = _together(a, b)
        if ppm < rules.accumulated_threshold:
            continue
        common = a.hints.keys() & b.hints.keys()
        since, others = ([(r, max(of[r][v][1] for v in common)) for r in group.records] for group in (a, b))
        pairs = combinations(since, 2) if a is b else product(since, others)
        matches += [
            _Join(min(one, other), max(one, other), None, PPM - ppm, max(seen, also))
            for (one, seen), (other, also) in pairs
        ]
    return matches


def _together(a: _Alike, b: _Alike) -> int:
    """The combined confidence of what two records have in common; 0 if that is too little, or joins them already."""
    common = [v for v in a.hints if v in b.hints]
    if len(common) < 2 or not a.joining.isdisjoint(b.joining):
        return 0
    return in_ppm(min(noisy_or(_sign(a.hints[v], b.hints[v]) for v in common), CAP))


def _sign(doubt: int, other: int) -> float:
    """What two links to one identifier say for a match."""
    return (PPM - doubt) / PPM * ((PPM - other) / PPM)


def _alike(
    of: Mapping[RecordName, Mapping[IdentifierKey, _Link]],
    links: Mapping[IdentifierKey, list[_Link]],
    eligible: Mapping[IdentifierKey, list[_Link]],
    weak: list[IdentifierKey],
    rules: Rulebook,
) -> list[_Alike]:
    """The records that could match any, by what rule 4 looks at."""
    same: dict[tuple[tuple[IdentifierKey, int], ...], list[RecordName]] = defaultdict(list)
    for record, has in of.items():
        if len(has) > 1:
            same[tuple((identifier, link[0]) for identifier, link in has.items())].append(record)
    if not same:
        return []
    # Of the links at an identifier: how many, the surest, and the surest of those that don't join.
    at = {v: (len(links[v]), min(links[v])[0], min(d for d, _, _ in links[v] if d > rules.most_doubt)) for v in weak}
    telling = {hints: found for hints in same if (found := _telling(hints, at, rules))}
    joining: dict[RecordName, list[IdentifierKey]] = {r: [] for hints in telling for r in same[hints]}
    if joining:
        for identifier, joined in eligible.items():
            if len(joined) > 1:
                for _, _, record in joined:
                    if record in joining:
                        joining[record].append(identifier)
    groups = []
    for hints, found in telling.items():
        alike: dict[frozenset[IdentifierKey], list[RecordName]] = defaultdict(list)
        for record in same[hints]:
            alike[frozenset(joining[record])].append(record)
        groups += [_Alike(dict(hints), found, joined, records) for joined, records in alike.items()]
    return groups


def _telling(
    hints: Iterable[tuple[IdentifierKey, int]],
    at: Mapping[IdentifierKey, tuple[int, int, int]],
    rules: Rulebook,
) -> list[IdentifierKey]:
    """Those of a record's hints of which any match of it has one: all but the commonest, as many as together stay below
    the threshold whoever else has them.

    As all records go from common to rare in one order, the rarest that two have in common is telling for both; so they
    need to be looked for nowhere else. (Bayardo, Ma, Srikant: *Scaling up all pairs similarity search*, 2007.)
    """
    ranked = sorted(hints, key=lambda hint: (-at[hint[0]][0], hint[0]))
    none = 1.0
    for n, (identifier, doubt) in enumerate(ranked):
        _, surest, surest_weak = at[identifier]
        none *= 1.0 - _sign(doubt, surest if doubt > rules.most_doubt else surest_weak)
        # One is never enough. The order of the factors, which is another here, moves less than one in a million.
        if n and min(1.0 - none, CAP) * PPM >= rules.accumulated_threshold - 1:
            return [v for v, _ in ranked[n:]]
    return []


def _candidates(groups: Sequence[_Alike], rules: Rulebook) -> Iterator[tuple[_Alike, _Alike]]:
    """Pairs that meet at a telling identifier, one of them there by a link that doesn't join; each pair once, and a
    group of several records with itself.

    Those that the most common of their other identifiers joins are no pairs among themselves: ten thousand guest orders
    with one email and one cookie are not fifty million.
    """
    at: dict[IdentifierKey, list[int]] = defaultdict(list)
    for n, group in enumerate(groups):
        for identifier in group.telling:
            at[identifier].append(n)
    pairs = set()
    for identifier, here in at.items():
        counts = Counter(v for n in here for v in groups[n].joining)
        most_common = max(counts, key=counts.__getitem__, default="")
        others = [n for n in here if most_common not in groups[n].joining]
        for a in here:
            if groups[a].hints[identifier] > rules.most_doubt:
                for b in others if most_common in groups[a].joining else here:
                    if a != b or len(groups[a].records) > 1:
                        pairs.add((a, b) if a < b else (b, a))
    for a, b in pairs:
        yield groups[a], groups[b]


# -- rules 6, 8, 9: plain components, and the ordered greedy where a quota could bite ---------------------------------


class _Forest:
    """Disjoint sets with path halving."""

    def __init__(self, nodes: Iterable[str]) -> None:
        self.parent: dict[str, str] = {n: n for n in nodes}

    def find(self, node: str) -> str:
        parent = self.parent
        above = parent.setdefault(node, node)
        while above != node:
            parent[node] = node = parent[above]
            above = parent[node]
        return node

    def union(self, a: str, b: str) -> None:
        self.parent[self.find(b)] = self.find(a)

    def join(self, owner: RecordName, links: Iterable[_Link]) -> None:
        """Unite the records of an identifier's links with its owner."""
        parent, find = self.parent, self.find
        root = find(owner)
        for _, _, record in links:
            if record != owner:
                parent[find(record)] = root

    def names(self, records: Iterable[RecordName]) -> dict[RecordName, RecordName]:
        """Each record's set, named by its alphabetically first record."""
        find = self.find
        name: dict[str, RecordName] = {}
        return {record: name.setdefault(find(record), record) for record in sorted(records)}


def _joined(
    records: Collection[RecordName],
    eligible: Mapping[IdentifierKey, list[_Link]],
    owner: Mapping[IdentifierKey, RecordName],
    matches: list[_Join],
    bans: list[tuple[RecordName, RecordName]],
    rules: Rulebook,
) -> tuple[_Forest, list[Refusal]]:
    """The identities, and the refusals in canonical order.

    Joins that no quota could forbid are made in any order; only what hangs together with enough others for a quota
    to bite is decided in canonical order.
    """
    whole = _Forest(records)
    for identifier, links in eligible.items():
        if len(links) > 1:
            whole.join(owner[identifier], links)
    for match in matches:
        whole.union(match.a, match.b)
    tight = _tight(records, whole, owner, bans, rules)
    if not tight:
        return whole, []
    contested = {root for root, _ in tight}
    names = sorted(record for record in records if whole.find(record) in contested)
    number = {record: n for n, record in enumerate(names)}
    joins = [match for match in matches if match.a in number]
    joins += [
        _Join(record, owner[identifier], identifier, doubt, first_seen)
        for identifier, links in eligible.items()
        if owner[identifier] in number
        for doubt, first_seen, record in links
        if record != owner[identifier]
    ]
    joins.sort(key=_Join.place)
    quotas = sorted({quota for _, quota in tight})
    claims = list(_claims(number, quotas, tight, whole, eligible, rules))
    root, refused = greedy(
        len(names),
        [(number[join.a], number[join.b]) for join in joins],
        claims,
        [quota.limit for quota in quotas],
        words=sum(join.operator for join in joins),
        bans=sum(quota.is_ban for quota in quotas),
    )
    for record, n in number.items():
        whole.parent[record] = names[root[n]]
    apart = [(number[joins[n].a], number[joins[n].b], quota) for n, quota in refused]
    return whole, [
        refusal(quotas[quota], joins[n].a, joins[n].b, joins[n].identifier, PPM - joins[n].doubt, held_by)
        for (n, quota), held_by in zip(refused, holders(claims, root, apart, names), strict=True)
    ]


_Tight = set[tuple[str, Quota]]
"""Connected components, by root, with the quotas that they exceed as a whole."""


def _tight(
    records: Iterable[RecordName],
    whole: _Forest,
    owner: Mapping[IdentifierKey, RecordName],
    bans: Iterable[tuple[RecordName, RecordName]],
    rules: Rulebook,
) -> _Tight:
    """Where a quota could bite. All eligible links to an identifier are in its owner's component: one count does."""
    counts: dict[tuple[str, str], int] = {}
    for identifier, record in owner.items():
        kind = kind_of(identifier)
        if kind in rules.limited:
            key = whole.find(record), kind
            counts[key] = counts.get(key, 0) + 1
    tight = {(root, rules.limited[kind]) for (root, kind), n in counts.items() if n > rules.limited[kind].limit}
    if rules.deduplicated:
        counted = Counter(
            (whole.find(record), quota) for record in records if (quota := rules.quota_of_source(record)) is not None
        )
        tight.update(key for key, n in counted.items() if n > 1)
    for a, b in bans:
        if a in whole.parent and b in whole.parent and whole.find(a) == whole.find(b):
            tight.add((whole.find(a), Quota.of_ban(a, b)))
    return tight


def _claims(
    number: Mapping[RecordName, int],
    quotas: Iterable[Quota],
    tight: _Tight,
    whole: _Forest,
    eligible: Mapping[IdentifierKey, list[_Link]],
    rules: Rulebook,
) -> Iterator[tuple[int, int, int]]:
    """Which contested record claims what of which quota, by their numbers. Rule 6: refused joins included."""
    place = {quota: n for n, quota in enumerate(quotas)}
    for quota, n in place.items():
        if quota.is_ban:
            yield from ((number[end], n, number[end]) for end in quota.what)
    for record, r in number.items():
        quota_of_source = rules.quota_of_source(record)
        if quota_of_source is not None and (whole.find(record), quota_of_source) in tight:
            yield r, place[quota_of_source], r
    for v, (identifier, links) in enumerate(eligible.items()):
        quota_of_kind = rules.limited.get(kind_of(identifier))
        if quota_of_kind is not None and (whole.find(links[0][2]), quota_of_kind) in tight:
            yield from ((number[record], place[quota_of_kind], v) for _, _, record in links)
