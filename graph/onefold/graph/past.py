"""Who was who at an instant of the past: what would have been answered then, not what is known now about then.

The log tells who was of which identity. It is read from where the asked is or was last, back to the instant: each
decision after it that moved a member tells where that member came from. What sources and operators said is kept with
the instants between which it held; the Cypher below tells what that was. ``$at`` is the instant everywhere, and what
was recorded at it was known at it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from onefold.graph.audit import Logged, decisions_of, replay
from onefold.graph.cypher import IDENTIFIER_LABELS, RECORD_LABELS, RECORD_LINK_TYPES
from onefold.graph.errors import NotFound
from onefold.graph.identity import RECORDS_SHOWN, Found, Identity
from onefold.graph.model import IdentifierKey, Instant, RecordName, is_record, kind_of, split_name, to_datetime
from onefold.graph.policy import LINK_TYPES, ORDER_LINK_TYPES, Policy
from onefold.graph.reader import Reader
from onefold.graph.subject import Subject, SubjectKind


def held(thing: str, *ends: str) -> str:
    """The Cypher for whether something was recorded by then and had come to none of its ends, which are properties."""
    open_still = (f"({thing}.{end} IS NULL OR {thing}.{end}.epochMillis > $at)" for end in ends)
    return " AND ".join((f"{thing}.recorded_at.epochMillis <= $at", *open_still))


def shared(identifier: str) -> str:
    """The Cypher for whether an identifier was shared then: now, unless it has turned an odd number of times since."""
    turned = f"size([t IN coalesce({identifier}.turned, []) WHERE t > $at]) % 2 = 1"
    return f"(coalesce({identifier}.shared, false) <> ({turned}))"


LINK_HELD: Final = held("l", "ended_at")
"""Whether a link ``l`` held then, as it stands or as it ended."""

SAID: Final = f"""
CALL (n) {{
  MATCH (n)-[:WAS*0..1]->(s) WHERE {held("s", "replaced_at")}
  RETURN s ORDER BY coalesce(s.replaced_at.epochMillis, 9223372036854775807) LIMIT 1
}}
"""
"""Binds what a customer or an order ``n`` said then, itself or a version of it, as ``s``; no row if it said nothing."""

PLACED_BY: Final = """CASE WHEN s:Version THEN s.customer
    ELSE head(COLLECT { MATCH (c:Customer)-[:PLACED]->(n) RETURN c.key }) END"""
"""After :data:`SAID`: the key of the customer who had the order ``n`` then; null for a guest order and one deleted."""

_HOLDINGS: Final = {
    record: f"""
UNWIND $keys AS key MATCH (r:{RECORD_LABELS[record]} {{key: key}})-[l:{"|".join(types.values())}|HAD]->(v)
WHERE {LINK_HELD}
RETURN '{record}:' + key, v.key, {shared("v")}, l.source, l.assurance,
  l.first_seen.epochMillis, l.last_seen.epochMillis, l.observations, l.seen
"""
    for record, types in RECORD_LINK_TYPES.items()
}

_HOLDERS: Final[Mapping[str, str]] = {
    label: f"""
UNWIND $keys AS key MATCH (v:{label} {{key: key}})<-[l:{LINK_TYPES[label]}|{ORDER_LINK_TYPES[label]}|HAD]-(r)
WHERE {LINK_HELD}
RETURN DISTINCT labels(r)[0], r.key
"""
    for label in IDENTIFIER_LABELS
}

_ASKED: Final = "MATCH (i:Identity {id: $id}) RETURN i.created_at.epochMillis"

_MERGED: Final = """
MATCH (:Identity {id: $id})-[m:MERGED_INTO]->() WITH m.decision AS decision
MATCH (d:Decision {id: decision}) RETURN d.identity, d.at.epochMillis
"""
"""Which identity it merged into first: the relationship always leads to the one that is there now.

(In a later pattern's map one engine does not know the property of a relationship.)
"""

_CREATED: Final = {
    label: f"MATCH (n:{label} {{key: $key}}) RETURN n.created_at.epochMillis" for label in RECORD_LABELS.values()
}

_WHOSE_ORDERS: Final = f"UNWIND $keys AS key MATCH (n:Order {{key: key}}) {SAID} RETURN key, {PLACED_BY}"

_LATEST: Final = {
    label: f"""
UNWIND $keys AS key MATCH (n:{label} {{key: key}})
RETURN n.identity, COLLECT {{ MATCH (n)-[:MEMBER_OF|LEFT]->(i:Identity) RETURN i.id }}
"""
    for label in (*RECORD_LABELS.values(), *IDENTIFIER_LABELS)
}
"""The identity of each member and those that it left for nobody."""


def find_as_of(reader: Reader, subject: Subject, at: Instant) -> Found:
    """The identity that the subject led to at an instant, as it was then.

    Raises NotFound, with the reason, if it led to nobody then; InvalidInput for an unknown kind of identifier.
    """
    identity, members = identity_as_of(reader, subject, at)
    if subject.kind is not SubjectKind.IDENTITY:
        return Found(identity)
    heirs = _heirs(reader, subject.name, at)
    return Found.by_id(identity, subject.name, heirs, erased=not members)


def identity_as_of(reader: Reader, subject: Subject, at: Instant) -> tuple[Identity, set[str]]:
    """The identity that the subject led to at an instant, and all its members, records and identifiers. Raises as
    :func:`find_as_of` does."""
    id = identity_of(reader, subject, at)
    members = members_of(reader, id, at)
    records = sorted(filter(is_record, members))
    ((created_at,),) = reader.rows(_ASKED, id=id)
    anonymous = bool(members) and not records
    return Identity(id, created_at, anonymous, len(records), tuple(records[:RECORDS_SHOWN])), members


def identity_of(reader: Reader, subject: Subject, at: Instant) -> str:
    """The id of the identity that the subject led to at an instant. Raises as :func:`find_as_of` does."""
    if subject.kind is SubjectKind.IDENTITY:
        return _survivor(reader, subject, at)
    if subject.kind is SubjectKind.IDENTIFIER:
        reader.policy.kind(kind_of(subject.name))  # raises if it is none
    found = identities_of(reader, _owners(reader, [subject.name], at), at)
    if not found:
        raise _nobody(reader, subject, at)
    return next(iter(found.values()))


def identities_of(reader: Reader, names: Collection[str], at: Instant) -> dict[str, str]:
    """The identities that members, records or identifiers, were of at an instant; who was nobody's then is left out."""
    member = next(iter(names)) if len(names) == 1 else None
    wanted = frozenset(names)
    log: dict[int, Logged] = {}
    seen: set[str] = set()
    following = _latest(reader, wanted)
    while following:
        seen |= following
        found = decisions_of(reader, following, member)
        log.update((logged.sequence, logged) for logged in found)
        moves = (move for logged in found if logged.at > at for move in logged.decision.moves)
        following = {move.origin for move in moves if move.member in wanted} - seen - {""}
    partition = replay((log[sequence] for sequence in sorted(log)), at)
    return {name: partition[name] for name in names if name in partition}


def members_of(reader: Reader, id: str, at: Instant) -> set[str]:
    """The records and identifiers of an identity at an instant."""
    partition = replay(decisions_of(reader, [id]), at)
    return {member for member, identity in partition.items() if identity == id}


def holdings(reader: Reader, records: Collection[RecordName], at: Instant) -> list[Any]:
    """The links that records had at an instant, each as record, identifier, whether that was shared, source,
    assurance, first seen, last seen, observations; the last two as known now."""
    return [
        [*link, known_then(first_seen, seen, at), last_seen, observations]
        for label, keys in _keys_by_label(records, reader.policy).items()
        for *link, first_seen, last_seen, observations, seen in reader.rows(
            _HOLDINGS[_RECORD_OF[label]], keys=keys, at=at
        )
    ]


def known_then(now: Instant, until: Sequence[Instant] | None, at: Instant) -> Instant:
    """What was known at an instant, of what is known ``now``: ``until`` tells, in pairs, at which instant what was
    known until then."""
    pairs = iter(until or ())
    return next((before for recorded_at, before in zip(pairs, pairs, strict=True) if recorded_at > at), now)


def holders(reader: Reader, identifiers: Collection[IdentifierKey], at: Instant) -> set[RecordName]:
    """The records that had any of these identifiers at an instant."""
    return {
        f"{_RECORD_OF[record]}:{key}"
        for label, keys in _keys_by_label(identifiers, reader.policy).items()
        for record, key in reader.rows(_HOLDERS[label], keys=keys, at=at)
    }


_RECORD_OF: Final = {label: record for record, label in RECORD_LABELS.items()}


def _keys_by_label(names: Iterable[str], policy: Policy) -> dict[str, list[str]]:
    """The keys of members' nodes, by label; without those of kinds that the policy does not know."""
    keys: dict[str, list[str]] = defaultdict(list)
    for name in names:
        label = label_of(name, policy)
        if label is not None:
            keys[label].append(split_name(name)[1] if is_record(name) else name)
    return keys


def label_of(name: str, policy: Policy) -> str | None:
    """The label of a member's node; None for an identifier of a kind that the policy does not know."""
    if is_record(name):
        return RECORD_LABELS[split_name(name)[0]]
    rule = policy.kinds.get(kind_of(name))
    return None if rule is None else rule.label


def _latest(reader: Reader, names: Iterable[str]) -> set[str]:
    """The identities from which the ways back into the past of these members begin."""
    ids: set[str] = set()
    for label, keys in _keys_by_label(names, reader.policy).items():
        for identity, left in reader.rows(_LATEST[label], keys=keys):
            ids.update(left, () if identity is None else (identity,))
    return ids


def _survivor(reader: Reader, subject: Subject, at: Instant) -> str:
    """The identity that an id led to: itself, or the last of those that it had merged into one after the other."""
    id = subject.name
    created = reader.rows(_ASKED, id=id)
    if not created:
        raise NotFound("identity", id)
    if not any(logged.at <= at for logged in decisions_of(reader, [id])):
        raise NotFound("identity", id, f"it came to be at {_told(created[0][0])}, which is after {_told(at)}")
    while merged := reader.rows(_MERGED, id=id):
        ((into, merged_at),) = merged
        if merged_at > at:
            break
        id = into
    return id


def _heirs(reader: Reader, id: str, at: Instant) -> set[str]:
    """The identities, at an instant, of all records that were of this one by then; of its devices if it had none."""
    ever = {
        move.member
        for logged in decisions_of(reader, [id])
        if logged.at <= at
        for move in logged.decision.moves
        if id in (move.origin, move.identity)
    }
    records = set(filter(is_record, ever))
    return set(identities_of(reader, _owners(reader, records or ever, at), at).values())


def _owners(reader: Reader, names: Collection[str], at: Instant) -> set[str]:
    """These members, with the customer who had it then in the place of each order that was a customer's."""
    keys = [split_name(name)[1] for name in names if name.startswith("order:")]
    rows = reader.rows(_WHOSE_ORDERS, keys=keys, at=at) if keys else ()
    customers = {f"order:{key}": f"customer:{customer}" for key, customer in rows if customer is not None}
    return {customers.get(name, name) for name in names}


def _nobody(reader: Reader, subject: Subject, at: Instant) -> NotFound:
    if subject.kind is SubjectKind.IDENTIFIER:
        return NotFound("identity", subject.name, f"it was not known at {_told(at)}, or belonged with nobody")
    return NotFound(split_name(subject.name)[0], subject.name, _why_no_record(reader, subject.name, at))


def _why_no_record(reader: Reader, name: RecordName, at: Instant) -> str:
    label, key = split_name(name)
    created = reader.rows(_CREATED[RECORD_LABELS[label]], key=key)
    if not created:
        return ""
    if created[0][0] > at:
        return f"it was first heard of at {_told(created[0][0])}, which is after {_told(at)}"
    return f"it was nobody's at {_told(at)}: deleted by then, or not there yet"


def _told(at: Instant) -> str:
    return f"{to_datetime(at).isoformat(timespec='milliseconds')}".replace("+00:00", "Z")
