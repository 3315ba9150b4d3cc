"""The log read on from any place: what changed, in the one order in which it was committed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from onefold.graph.audit import ROW, Logged, logged_of
from onefold.graph.decide import DecisionKind
from onefold.graph.reader import Reader

CHANGES: Final = frozenset(
    {
        DecisionKind.CREATED,
        DecisionKind.CHANGED,
        DecisionKind.MERGED,
        DecisionKind.SPLIT,
        DecisionKind.ERASED,
    }
)
"""The decisions that change identities; the others are words, and what follows from a word is a decision of its own."""

MOVES_SHOWN: Final = 1_000
"""How many of the members that a change moved are told with it."""

_AT_ONCE: Final = 100
_MOVES_AT_ONCE: Final = 5_000
"""So that a message stays well below what a client takes."""

_END: Final = "MATCH (h:DecisionLog {key: 'head'}) RETURN coalesce(h.sequence, 0)"

_FOLLOWING: Final = f"""
MATCH (h:DecisionLog {{key: 'head'}})
WITH CASE WHEN h.sequence < $after + $limit THEN h.sequence ELSE $after + $limit END AS last
UNWIND range($after + 1, last) AS s MATCH (d:Decision {{sequence: s}})
RETURN {ROW}
"""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the log, from where the one before ended."""

    changes: tuple[Logged, ...]
    """By sequence."""
    sequence: int
    """Where it ends: the place to go on after."""
    more: bool = False
    """Whether there is more to be read at once."""


def end_of_log(reader: Reader) -> int:
    """The sequence of the last decision; 0 if there is none."""
    rows = reader.rows(_END)
    return int(rows[0][0]) if rows else 0


def read_on(reader: Reader, after: int) -> Stretch:
    """What follows after a place in the log, as much as fits into one message; where nothing does, it ends there.

    Commits wait for one another at the log's end, so decisions come to be seen in their order and without gaps: who
    goes on where a stretch ended gets each decision once.
    """
    rows = reader.rows(_FOLLOWING, after=after, limit=_AT_ONCE)
    changes: list[Logged] = []
    sequence, moves = after, 0
    for logged in sorted(map(logged_of, rows), key=lambda logged: logged.sequence):
        if logged.sequence != sequence + 1:
            break  # a commit that is just being made visible may show its last decision before an earlier one
        moves += min(len(logged.decision.moves), MOVES_SHOWN)
        if changes and moves > _MOVES_AT_ONCE:
            return Stretch(tuple(changes), sequence, more=True)
        sequence = logged.sequence
        if logged.decision.kind in CHANGES:
            changes.append(logged)
    return Stretch(tuple(changes), sequence, more=sequence == after + _AT_ONCE)
