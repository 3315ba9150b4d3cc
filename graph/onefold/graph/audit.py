"""The log of decisions: who became one with whom, when, why, and whether anybody changed the log since."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from onefold.graph.decide import Decision, DecisionKind, Move
from onefold.graph.errors import NotFound
from onefold.graph.model import Instant
from onefold.graph.page import Page, Place, place_of, size_of, token_of
from onefold.graph.reader import Reader
from onefold.graph.store import seal

ROW: Final = """d.id, d.sequence, d.kind, d.actor, d.reason, d.members, d.origins, d.identity, d.causes,
  COLLECT { MATCH (d)-[:AFFECTED]->(i:Identity) RETURN i.id } AS affected,
  d.policy_version, d.at.epochMillis, d.prev_hash, d.hash"""
"""One decision ``d`` as :func:`logged_of` reads it."""

_HEAD: Final = """
MATCH (h:DecisionLog {key: 'head'}) RETURN coalesce(h.sequence, 0) AS sequence, coalesce(h.hash, '') AS hash
"""

_LIST: Final = f"""
MATCH (h:DecisionLog {{key: 'head'}})
WITH CASE WHEN h.sequence < $before THEN h.sequence ELSE $before - 1 END AS newest
UNWIND range(newest, newest - $limit + 1, -1) AS s MATCH (d:Decision {{sequence: s}})
RETURN {ROW}
"""
"""Sequences have no gaps, so a page is found by its numbers: no sorting, however long the log."""

_LIST_OF: Final = f"""
MATCH (:Identity {{id: $identity}})<-[:AFFECTED]-(d:Decision) WHERE d.sequence < $before
WITH d ORDER BY d.sequence DESC LIMIT $limit
RETURN {ROW}
"""

_ALL_OF: Final = f"""
UNWIND $identities AS id MATCH (:Identity {{id: id}})<-[:AFFECTED]-(d:Decision)
WITH DISTINCT d WHERE $member IS NULL OR $member IN d.members
RETURN {ROW}
"""

_GET: Final = f"MATCH (d:Decision {{id: $id}}) RETURN {ROW}"

_START: Final[Place] = (1 << 62,)
_CHECKED_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Logged:
    """A decision as the log has it."""

    decision: Decision
    sequence: int
    """Its place in the log, from 1, without gaps."""
    at: Instant
    policy_version: str
    prev_hash: str
    """The seal of the commit before; empty for the first."""
    hash: str
    """The seal of its own commit, over all decisions of that commit and the seal before."""


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether the log is as it was written."""

    decisions: int
    """How many are as they were written, from the first on."""
    fault: str = ""
    """What is wrong with the one that follows; empty if nothing is wrong at all."""


def list_decisions(reader: Reader, identity: str = "", *, size: int = 0, token: str = "") -> Page[Logged]:
    """One page of the log, newest first; with ``identity`` only what affected the identity of that id.

    Raises InvalidInput (field ``page_token``).
    """
    asked = ("decisions", identity)
    (before,) = place_of(asked, token, _START)
    size = size_of(size)
    text = _LIST_OF if identity else _LIST
    rows = reader.rows(text, before=before, limit=size + 1, identity=identity)
    found = sorted((logged_of(row) for row in rows), key=lambda d: -d.sequence)
    more = len(found) > size
    return Page(tuple(found[:size]), token_of(asked, (found[size - 1].sequence,)) if more else "")


def decisions_of(reader: Reader, identities: Iterable[str], member: str | None = None) -> list[Logged]:
    """Every decision that affected any of these identities, oldest first; with ``member`` only those that moved it."""
    rows = reader.rows(_ALL_OF, identities=sorted(identities), member=member)
    return sorted(map(logged_of, rows), key=lambda logged: logged.sequence)


def replay(decisions: Iterable[Logged], until: Instant | None = None) -> dict[str, str]:
    """The identity of each member, records and identifiers, after these decisions; whoever is nobody's is left out.

    ``decisions`` come in the order of the log; with ``until``, those after that instant are left out. From the whole
    log this is the whole partition of then. From all decisions on some identities it is right in what it says of the
    members of these, and says nothing about others.
    """
    partition: dict[str, str] = {}
    for logged in decisions:
        if until is not None and logged.at > until:
            break  # the log's instants never go back
        for move in logged.decision.moves:
            if move.identity:
                partition[move.member] = move.identity
            else:
                partition.pop(move.member, None)
    return partition


def read_log(reader: Reader) -> Iterator[Logged]:
    """The whole log as it is now, oldest first. Raises NotFound, with its number, for a decision that is missing."""
    heads = reader.rows(_HEAD)
    last = heads[0]["sequence"] if heads else 0
    expected = 1
    for logged in map(logged_of, _rows(reader, last)):
        if logged.sequence != expected:
            break
        expected += 1
        yield logged
    if expected <= last:
        raise NotFound("decision", str(expected))


def get_decision(reader: Reader, id: str) -> Logged:
    """One decision. Raises NotFound."""
    rows = reader.rows(_GET, id=id)
    if not rows:
        raise NotFound("decision", id)
    return logged_of(rows[0])


def verify_log(reader: Reader) -> Verification:
    """Whether every seal still follows from the decisions and the seal before it, up to the log's head.

    What is written meanwhile is not looked at.
    """
    heads = reader.rows(_HEAD)
    last, head = heads[0] if heads else (0, "")
    sound, previous = 0, ""
    for commit in _commits(reader, last):
        fault = _fault(commit, sound, previous)
        if fault:
            return Verification(sound, fault)
        sound, previous = commit[-1].sequence, commit[-1].hash
    if sound != last:
        return Verification(sound, f"decision {sound + 1} is missing")
    return Verification(sound, "" if previous == head else "the log's head bears another seal than its last decision")


@dataclass(frozen=True, slots=True)
class _Stored:
    """A decision as it stands in the graph, whether it makes sense or not."""

    sequence: int
    content: Sequence[Any]
    """What was sealed, in the form of :func:`onefold.graph.store.log_row`."""
    commit: tuple[Any, ...]
    """What all decisions of a commit share: the policy's version, the instant and the seal before."""
    hash: str

    @classmethod
    def of(cls, row: Sequence[Any]) -> _Stored:
        *content, affected, policy_version, at, prev_hash, hash = row
        identity = content[7]
        first = [identity] if identity in affected else []
        return cls(
            row[1],
            [*content, [*first, *sorted(i for i in affected if i != identity)]],
            (policy_version, at, prev_hash),
            hash,
        )


def _commits(reader: Reader, last: int) -> Iterator[list[_Stored]]:
    """The decisions from the first on, those of one commit together."""
    for _, commit in groupby(map(_Stored.of, _rows(reader, last)), key=lambda d: d.hash):
        yield list(commit)


def _rows(reader: Reader, last: int) -> Iterator[Any]:
    """The decisions from the first to the last, by sequence."""
    for first in range(1, last + 1, _CHECKED_AT_ONCE):
        before = min(first + _CHECKED_AT_ONCE, last + 1)
        yield from sorted(reader.rows(_LIST, before=before, limit=before - first), key=lambda row: row["d.sequence"])


def _fault(commit: Sequence[_Stored], sound: int, previous: str) -> str:
    first = commit[0]
    for number, stored in enumerate(commit, start=sound + 1):
        if stored.sequence != number:
            return f"decision {number} is missing"
        if stored.commit != first.commit:
            return f"decision {number} is not what was sealed"
    policy_version, at, prev_hash = first.commit
    if prev_hash != previous:
        return f"decision {first.sequence} does not follow the seal before it"
    if seal(previous, [stored.content for stored in commit], policy_version, at) != first.hash:
        return f"decisions {first.sequence} to {commit[-1].sequence} are not what was sealed"
    return ""


def logged_of(row: Any) -> Logged:
    """The decision in a :data:`ROW`."""
    (
        id, sequence, kind, actor, reason, members, origins, identity, causes, affected, policy_version, at,
        prev_hash, hash,
    ) = row  # fmt: skip
    decision = Decision(
        id=id,
        kind=DecisionKind(kind),
        identities=(identity, *sorted(i for i in affected if i != identity)),
        # Who is said to have come from where it came to has left for nobody.
        moves=tuple(Move(m, o, "" if o == identity else identity) for m, o in zip(members, origins, strict=True)),
        causes=tuple(causes),
        actor=actor,
        reason=reason,
    )
    return Logged(decision, sequence, at, policy_version, prev_hash, hash)
