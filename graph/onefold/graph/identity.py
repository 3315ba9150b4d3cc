"""From anything that leads to a person to their identity as it is now, and what became of an id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from onefold.graph import cypher
from onefold.graph.errors import NotFound
from onefold.graph.model import IdentifierKey, Instant, RecordName, is_record, kind_of, split_name
from onefold.graph.policy import Policy
from onefold.graph.reader import Reader
from onefold.graph.subject import Subject, SubjectKind

RECORDS_SHOWN: Final = 1000
"""How many of an identity's records are named; their count is always whole."""

HEIRS_SHOWN: Final = 1000
"""How many of the identities are named that an identity became."""


class State(StrEnum):
    """How a subject led to an identity."""

    CURRENT = "CURRENT"
    """Directly."""
    MERGED = "MERGED"
    """By an id that is retired; this identity has all that is left of its records."""
    SPLIT = "SPLIT"
    """By an id some of whose records are of other identities than this one."""
    ERASED = "ERASED"
    """By an id of which nothing is left."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One resolved person, in short."""

    id: str
    created_at: Instant
    anonymous: bool
    """It has no record yet, only devices with events."""
    record_count: int
    records: tuple[RecordName, ...]
    """By name, the first :data:`RECORDS_SHOWN`."""


@dataclass(frozen=True, slots=True)
class Found:
    """An identity, and how the subject led to it."""

    identity: Identity
    requested: str = ""
    """The id that was asked for; empty when the person was not named by an id."""
    state: State = State.CURRENT
    became: tuple[str, ...] = ()
    """Unless the state is CURRENT: the identities that have the records which the id that was asked for ever had, by
    age, the first :data:`HEIRS_SHOWN`."""
    became_more: bool = False
    """Whether there are more of them."""

    @classmethod
    def by_id(cls, identity: Identity, requested: str, heirs: Collection[str], *, erased: bool) -> Found:
        """What a request for an id leads to, given the identities of all records it ever had."""
        if erased:
            state = State.ERASED
        elif not {identity.id}.issuperset(heirs):
            state = State.SPLIT
        else:
            state = State.CURRENT if requested == identity.id else State.MERGED
        became = () if state is State.CURRENT else sorted(heirs)
        return cls(identity, requested, state, tuple(became[:HEIRS_SHOWN]), len(became) > HEIRS_SHOWN)


LOCATE: Final[Mapping[str, str]] = {
    "Identity": """
MATCH (asked:Identity {id: $key}) MATCH (i:Identity {id: coalesce(asked.merged_into, asked.id)})
""",
    "Customer": """
MATCH (:Customer {key: $key})-[:MEMBER_OF]->(i:Identity)
""",
    "Order": """
MATCH (asked:Order {key: $key})
CALL (asked) {
  MATCH (asked)-[:MEMBER_OF]->(i:Identity) RETURN i
  UNION ALL
  MATCH (asked)<-[:PLACED]-(:Customer)-[:MEMBER_OF]->(i:Identity) RETURN i
}
""",
} | {
    label: f"""
MATCH (asked:{label} {{key: $key}}) MATCH (i:Identity {{id: asked.identity}})
"""
    for label in cypher.IDENTIFIER_LABELS
}
"""How a statement about one person begins, by the label of the node that ``$key`` names: it binds ``i``, their identity
as it is now, or gives no row."""


def located(statement: str) -> dict[str, str]:
    """The whole text of a statement about an identity ``i``, by the label of the node that leads to it."""
    return {label: text + statement for label, text in LOCATE.items()}


_FIND: Final = located(f"""
RETURN i.id, i.created_at.epochMillis, coalesce(i.anonymous, false),
  coalesce(i.split, false) OR i.erased_at IS NOT NULL, i.erased_at IS NOT NULL,
  COUNT {{ MATCH (i)<-[:MEMBER_OF]-() }},
  COLLECT {{ MATCH (i)<-[:MEMBER_OF]-(r:Customer) WITH r.key AS k ORDER BY k LIMIT {RECORDS_SHOWN} RETURN k }},
  COLLECT {{ MATCH (i)<-[:MEMBER_OF]-(r:Order) WITH r.key AS k ORDER BY k LIMIT {RECORDS_SHOWN} RETURN k }}
""")

_FIND_IDS: Final = {
    label: "UNWIND $keys AS key" + text.replace("$key", "key") + "RETURN key, i.id" for label, text in LOCATE.items()
}

_EVER: Final = """
MATCH (:Identity {id: $id})<-[:AFFECTED]-(d:Decision) WHERE d.identity = $id
UNWIND d.members AS member RETURN DISTINCT member
"""

_WHY_NOT: Final = {label: f"MATCH (v:{label} {{key: $key}}) RETURN v.shared" for label in cypher.IDENTIFIER_LABELS}


_IS_KNOWN: Final = {label: f"MATCH (n:{label} {{key: $key}}) RETURN 1" for label in cypher.RECORD_LABELS.values()}


def find(reader: Reader, subject: Subject) -> Found:
    """The identity that the subject leads to. Raises NotFound, InvalidInput for an unknown kind of identifier."""
    row = one(reader, _FIND, subject)
    id, created_at, anonymous, parted, erased, count, customers, orders = row
    names = [f"customer:{key}" for key in customers] + [f"order:{key}" for key in orders]
    identity = Identity(id, created_at, anonymous, count, tuple(names[:RECORDS_SHOWN]))
    if subject.kind is not SubjectKind.IDENTITY:
        return Found(identity)
    requested = subject.name
    if requested == id and not parted:
        return Found(identity, requested)
    return Found.by_id(identity, requested, _heirs(reader, requested), erased=erased)


def _heirs(reader: Reader, id: str) -> set[str]:
    """The identities of all records that were ever of this one; of an id that was only ever anonymous, of its devices.

    The log knows them: whoever came to an identity, or left it for nobody, is a member of a decision that bears its id.
    """
    ever = {row[0] for row in reader.rows(_EVER, id=id)}
    subjects = [Subject.record(name) for name in ever if is_record(name)] or [
        Subject.identifier(key) for key in ever if kind_of(key) in reader.policy.kinds
    ]
    return set(find_ids(reader, subjects).values())


def find_ids(reader: Reader, subjects: Iterable[Subject]) -> dict[Subject, str]:
    """The id of the identity that each subject leads to, by a statement per label; who leads to nobody is missing.

    Raises InvalidInput for an unknown kind of identifier.
    """
    return {subject: id for subject, (id,) in each(reader, _FIND_IDS, subjects).items()}


def each(reader: Reader, statement: Mapping[str, str], subjects: Iterable[Subject]) -> dict[Subject, list[Any]]:
    """What a statement per label says of each subject, by a row that begins with the one of ``$keys`` it is about."""
    asked: dict[str, dict[str, Subject]] = defaultdict(dict)
    for subject in subjects:
        label, key = node_of(subject, reader.policy)
        asked[label][key] = subject
    return {
        by_key[key]: said
        for label, by_key in asked.items()
        for key, *said in reader.rows(statement[label], keys=list(by_key))
    }


def one(
    reader: Reader,
    statement: Mapping[str, str],
    subject: Subject,
    **parameters: Any,
) -> Any:
    """The one row of a :func:`located` statement. Raises NotFound if the subject leads to nobody."""
    label, key = node_of(subject, reader.policy)
    rows = reader.rows(statement[label], key=key, **parameters)
    if not rows:
        raise not_found(reader, subject)
    return rows[0]


def node_of(subject: Subject, policy: Policy) -> tuple[str, str]:
    """The label and key of the node that a subject names."""
    match subject.kind:
        case SubjectKind.IDENTITY:
            return "Identity", subject.name
        case SubjectKind.RECORD:
            record, key = split_name(subject.name)
            return cypher.RECORD_LABELS[record], key
        case SubjectKind.IDENTIFIER:
            return policy.kind(kind_of(subject.name)).label, subject.name


def not_found(reader: Reader, subject: Subject) -> NotFound:
    """The error for a subject that leads to nobody: for a known identifier it says why."""
    match subject.kind:
        case SubjectKind.IDENTITY:
            return NotFound("identity", subject.name)
        case SubjectKind.RECORD:
            return NotFound(split_name(subject.name)[0], subject.name, _why_no_record(reader, subject.name))
        case SubjectKind.IDENTIFIER:
            return NotFound("identity", subject.name, _why_nobody(reader, subject.name))


def _why_no_record(reader: Reader, name: RecordName) -> str:
    label, key = split_name(name)
    rows = reader.rows(_IS_KNOWN[cypher.RECORD_LABELS[label]], key=key)
    return "it was deleted, or has not come yet and was only spoken against" if rows else ""


def _why_nobody(reader: Reader, key: IdentifierKey) -> str:
    label = reader.policy.kind(kind_of(key)).label
    rows = reader.rows(_WHY_NOT[label], key=key)
    if not rows:
        return ""
    if rows[0][0]:
        return "so many use this identifier that it belongs with nobody"
    if reader.policy.is_blocked(key):
        return "the policy blocks this identifier, so it belongs with nobody"
    return "this identifier is known, but no link to it is sure enough for it to belong with anybody"
