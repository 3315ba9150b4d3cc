"""The log of decisions: who became one with whom, when, why, and whether anybody changed the log since."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, Protocol

from onefold.graph.decide import Decision, DecisionKind, Move
from onefold.graph.errors import NotFound
from onefold.graph.looks import looks
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

_BEYOND: Final = "MATCH (d:Decision) WHERE d.sequence > $last RETURN min(d.sequence), count(d)"

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
    last, _ = head_of(reader)
    expected = 1
    for logged in map(logged_of, _rows(reader, 0, last)):
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


class Listener(Protocol):
    """Who is told every decision as it stands in the graph, whether it makes sense or not, in the order of the log."""

    def hear(self, decision: StoredDecision) -> None:
        """One of them."""


def verify_log(
    reader: Reader, listener: Listener | None = None, progress: Callable[[int, int], None] = lambda done, total: None
) -> Verification:
    """Whether every seal still follows from the decisions and the seal before it, up to the log's head, and nothing
    lies beyond that.

    What is written meanwhile is not looked at. ``listener`` hears all that is there, faults or not; ``progress`` is
    told how many decisions have been read, of how many.
    """
    last, head = head_of(reader)
    sound, previous, fault = 0, "", ""
    for commit in _commits(reader, last):
        fault = fault or _fault(commit, sound, previous)
        if not fault:
            sound, previous = commit[-1].sequence, commit[-1].hash
        elif listener is None:
            break
        if listener is not None:
            for decision in commit:
                listener.hear(decision)
        if commit[-1].sequence // _CHECKED_AT_ONCE > (commit[0].sequence - 1) // _CHECKED_AT_ONCE:
            progress(commit[-1].sequence, last)
    if not fault and sound != last:
        fault = f"decision {sound + 1} is missing"
    if not fault and previous != head:
        fault = "the log's head bears another seal than its last decision"
    return Verification(sound, fault or _beyond(reader, last))


def head_of(reader: Reader) -> tuple[int, str]:
    """The number of the last decision and its seal, by the log's head; 0 and nothing where there is none."""
    heads = reader.rows(_HEAD)
    sequence, hash = heads[0] if heads else (0, "")
    return sequence, hash


def stored_decisions(reader: Reader, after: int, last: int) -> Iterator[StoredDecision]:
    """The decisions after one up to another as they stand in the graph, by their numbers."""
    return map(StoredDecision.of, _rows(reader, after, last))


def _beyond(reader: Reader, last: int) -> str:
    """What is wrong beyond the head as it was when the log was read: nothing may be there that came before its head."""
    for _ in looks():
        ((first, count),) = reader.rows(_BEYOND, last=last)
        last, _ = head_of(reader)  # a decision and the head's advance to it are of one commit
        if not count or first <= last:
            break
    else:
        return f"decision {first} lies beyond the log's head"
    return ""


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """A decision as it stands in the graph, whether it makes sense or not."""

    sequence: int
    content: Sequence[Any]
    """What was sealed, in the form of :func:`onefold.graph.store.log_row`."""
    commit: tuple[Any, ...]
    """What all decisions of a commit share: the policy's version, the instant and the seal before."""
    hash: str

    @classmethod
    def of(cls, row: Sequence[Any]) -> StoredDecision:
        """The decision in a :data:`ROW`."""
        *content, affected, policy_version, at, prev_hash, hash = row
        identity = content[7]
        first = [identity] if identity in affected else []
        return cls(
            row[1],
            [*content, [*first, *sorted(i for i in affected if i != identity)]],
            (policy_version, at, prev_hash),
            hash,
        )

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.content[0])

    @property
    def kind(self) -> str:
        """Its kind, a value of :class:`DecisionKind`."""
        return str(self.content[2])

    @property
    def identity(self) -> str:
        """The identity it is about; empty if about none."""
        return self.content[7] or ""

    @property
    def moves(self) -> Iterator[Move]:
        """Who went from where to where."""
        for member, origin in zip(self.content[5] or (), self.content[6] or (), strict=False):
            yield _move(member, origin, self.identity)


def _commits(reader: Reader, last: int) -> Iterator[list[StoredDecision]]:
    """The decisions from the first on, those of one commit together."""
    for _, commit in groupby(stored_decisions(reader, 0, last), key=lambda d: d.hash):
        yield list(commit)


def _rows(reader: Reader, after: int, last: int) -> Iterator[Any]:
    """The decisions after one up to another, by sequence."""
    for first in range(after + 1, last + 1, _CHECKED_AT_ONCE):
        before = min(first + _CHECKED_AT_ONCE, last + 1)
        yield from sorted(reader.rows(_LIST, before=before, limit=before - first), key=lambda row: row["d.sequence"])


def _fault(commit: Sequence[StoredDecision], sound: int, previous: str) -> str:
    first = commit[0]
    for number, stored in enumerate(commit, start=sound + 1):
        if stored.sequence == number - 1:
            return f"decision {number - 1} is there twice"
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
        moves=tuple(_move(m, o, identity) for m, o in zip(members, origins, strict=True)),
        causes=tuple(causes),
        actor=actor,
        reason=reason,
    )
    return Logged(decision, sequence, at, policy_version, prev_hash, hash)


def _move(member: str, origin: str, identity: str) -> Move:
    # Who is said to have come from where it came to has left for nobody.
    return Move(member, origin, "" if origin == identity else identity)
