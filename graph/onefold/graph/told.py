"""What the log of decisions tells of who is who, held against where everything stands.

The graph may be written to meanwhile: who stands elsewhere than the log told is looked at again, beside what the log
has told since. A decision and what it moved are of one commit, so what stays different is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from onefold.graph.audit import StoredDecision, head_of, stored_decisions
from onefold.graph.bulk.stored import Stored
from onefold.graph.bulk.texts import Texts
from onefold.graph.cypher import IDENTIFIER_LABELS, RECORD_LABELS
from onefold.graph.decide import DecisionKind
from onefold.graph.looks import looks
from onefold.graph.model import is_record, split_name
from onefold.graph.reader import Reader

_AT_ONCE: Final = 1_000

_PLACES: Final[Mapping[str, str]] = {
    **{
        label: f"""
UNWIND $keys AS k MATCH (n:{label} {{key: k}})-[:MEMBER_OF]->(i:Identity) RETURN '{record}:' + k, i.id
"""
        for record, label in RECORD_LABELS.items()
    },
    **{
        label: f"UNWIND $keys AS k MATCH (n:{label} {{key: k}}) WHERE n.identity IS NOT NULL RETURN k, n.identity"
        for label in IDENTIFIER_LABELS
    },
}

_RETIRED: Final = (
    "MATCH (i:Identity) WHERE i.merged_into IS NOT NULL RETURN i.id",
    "MATCH (i:Identity)-[:MERGED_INTO]->(:Identity) RETURN i.id",
)

_ENDS: Final = """
UNWIND $ids AS id MATCH (i:Identity {id: id})
RETURN id, i.merged_into,
  COLLECT { MATCH (i)-[m:MERGED_INTO]->(x:Identity) RETURN [x.id, x.merged_into, m.decision] },
  COUNT { (i)<-[:MEMBER_OF]-() }
"""

_MERGERS: Final = """
UNWIND $ids AS id MATCH (d:Decision {id: id})
RETURN id, d.kind, d.identity, COLLECT { MATCH (i:Identity {id: d.identity}) RETURN i.merged_into }, d.origins
"""


class Told:
    """What a log tells, as columns. Costs about what the names of all members that ever moved have bytes."""

    def __init__(self) -> None:
        self._member = Texts()
        self._identity = Texts()
        self._erased: set[str] = set()
        self._last = 0
        self._now: _Now | None = None
        self._since: dict[str, str] = {}
        """Where members have gone since all of it was told."""

    def hear(self, decision: StoredDecision) -> None:
        """Take in one decision; they come in the order of the log."""
        self._last = max(self._last, decision.sequence)
        moves = list(decision.moves)
        self._member.add(move.member for move in moves)
        self._identity.add(move.identity or None for move in moves)
        if decision.kind == DecisionKind.ERASED:
            self._erased.add(decision.identity)

    def now(self) -> _Now:
        """Where everybody is, by all that was heard."""
        if self._now is None:
            code, members = self._member.numbered()
            at, ids = self._identity.numbered()
            latest = np.full(len(members), -1, np.int32)
            latest[code] = at  # of several the last one stays
            self._now = _Now(members, ids, latest)
        return self._now

    def retired(self) -> pa.Array:
        """The identities that have gone on as others."""
        now = self.now()
        left = np.ones(len(now.ids), np.bool_)
        left[now.latest[now.latest >= 0]] = False
        gone = now.ids.filter(pa.array(left))
        return gone.filter(pc.invert(pc.is_in(gone, pa.array(sorted(self._erased), pa.string()))))

    def catch_up(self, reader: Reader) -> None:
        """Take in what the log has told since."""
        last, _ = head_of(reader)
        for decision in stored_decisions(reader, self._last, last):
            self._since.update((move.member, move.identity) for move in decision.moves)
        self._last = max(self._last, last)

    def since(self, member: str, before: str) -> str:
        """Where a member is after all that was caught up on, which was ``before`` by what was heard."""
        return self._since.get(member, before)


@dataclass(frozen=True, slots=True)
class _Now:
    members: pa.Array
    ids: pa.Array
    latest: NDArray[np.int32]
    """For each of the members the place of its identity in ``ids``; -1 for nobody's."""


class Strangers:
    """The members that stood elsewhere than the log told when both were read."""

    def __init__(self, stored: Stored, told: Told) -> None:
        self._told = told
        self._names, self._before = _differing(stored, told.now())

    def __len__(self) -> int:
        return len(self._names)

    def again(self, reader: Reader, part: slice) -> tuple[list[str], int]:
        """Those of a part that stay where the log does not see them, in words, and how many they are."""
        words = in_words(self.still(reader, part))
        return words, len(words)

    def still(self, reader: Reader, part: slice) -> dict[str, tuple[set[str], str]]:
        """The same: where they are found, and where they are by the log; empty for nobody's."""
        before = dict(zip(self._names[part], self._before[part], strict=True))
        found: dict[str, tuple[set[str], str]] = {name: (set(), "") for name in before}
        for _ in looks():
            self._told.catch_up(reader)
            places = _places(reader, found)
            found = {
                name: (places[name], told)
                for name in found
                if places[name] != ({told} if (told := self._told.since(name, before[name])) else set())
            }
            if not found:
                break
        return found


def in_words(found: Mapping[str, tuple[set[str], str]]) -> list[str]:
    """Where members are found, and where they are by the log."""
    return [
        f"{name} is of identity {' and '.join(sorted(at)) or 'none'} and by the log of {told or 'none'}"
        for name, (at, told) in found.items()
    ]


def _differing(stored: Stored, now: _Now) -> tuple[list[str], list[str]]:
    """The names of members that stand elsewhere than was told, and where that is; empty for nobody's."""
    # Ids of the log that nobody is of get numbers beyond those of what is stored, and the other way round.
    number = pc.index_in(now.ids, stored.ids).fill_null(-2).to_numpy(zero_copy_only=False)
    told = np.where(now.latest >= 0, number[now.latest] if len(number) else -2, -1)
    names: list[str] = []
    before: list[str] = []
    there = np.zeros(len(now.members), np.bool_)

    def take(name: pa.Array, member: NDArray[Any]) -> None:
        names.extend(name.to_pylist())
        codes = np.where(member >= 0, now.latest[member] if len(now.latest) else -1, -1)
        before.extend(id or "" for id in now.ids.take(pa.array(codes, mask=codes < 0)).to_pylist())

    for name, at in (
        (stored.evidence.records, stored.records.identity),
        (stored.evidence.identifiers, stored.identifiers.identity),
    ):
        member = pc.index_in(name, now.members).fill_null(-1).to_numpy(zero_copy_only=False)
        there[member[member >= 0]] = True
        should = np.where(member >= 0, told[member] if len(told) else -1, -1)
        wrong = np.flatnonzero(should != at)
        take(name.take(pa.array(wrong)), member[wrong])
    missing = np.flatnonzero(~there & (now.latest >= 0))
    take(now.members.take(pa.array(missing)), missing)
    return names, before


def _places(reader: Reader, names: Collection[str]) -> defaultdict[str, set[str]]:
    """The identities that members are of."""
    keys: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if is_record(name):
            record, key = split_name(name)
            keys[RECORD_LABELS[record]].append(key)
        else:
            for of in IDENTIFIER_LABELS:  # of which label a kind is may be another policy's to say
                keys[of].append(name)
    places: defaultdict[str, set[str]] = defaultdict(set)
    for label, of_label in keys.items():
        for name, identity in reader.rows(_PLACES[label], keys=of_label):
            places[name].add(identity)
    return places


def stored_retired(reader: Reader) -> pa.Array:
    """The identities that are marked as having merged into others."""
    ids = Texts()
    for text in _RETIRED:
        for row in reader.stream(text, batch=10_000):
            ids.add(row)
    return ids.numbered()[1]


def misled(reader: Reader, retired: Sequence[str]) -> Iterator[str]:
    """Those of retired identities that do not seem to lead on to the one they merged into."""
    for start in range(0, len(retired), _AT_ONCE):
        yield from _misled(reader, retired[start : start + _AT_ONCE])


def misled_still(reader: Reader, ids: Sequence[str]) -> tuple[list[str], int]:
    """Those of them that do not indeed, in words, and how many they are."""
    words: dict[str, str] = {}
    for _ in looks():
        words = _misled(reader, ids)
        ids = list(words)
        if not ids:
            break
    return list(words.values()), len(words)


def _misled(reader: Reader, ids: Sequence[str]) -> dict[str, str]:
    ends = {id: end for id, *end in reader.rows(_ENDS, ids=list(ids))}
    decisions = sorted({way[2] for _, ways, _ in ends.values() for way in ways if way[2] is not None})
    mergers = {id: merger for id, *merger in reader.rows(_MERGERS, ids=decisions)} if decisions else {}
    return {id: f"retired identity {id} {fault}" for id in ids if (fault := _astray(id, ends.get(id), mergers))}


def _astray(id: str, end: Sequence[Any] | None, mergers: dict[str, list[Any]]) -> str:
    if end is None:
        return "is not there"
    into, ways, members = end
    if into is None or [way[0] for way in ways] != [into]:
        ends = " and ".join(sorted(way[0] for way in ways))
        return f"should have merged into one identity: it names {into or 'none'} and leads to {ends or 'none'}"
    _, further, decision = ways[0]
    if further is not None:
        return f"leads to {into}, which is retired itself"
    if members:
        return "has members"
    kind, survivor, gone_on, origins = mergers.get(decision, ["", "", [], []])
    if kind != DecisionKind.MERGED or id not in origins or into not in (survivor, *gone_on):
        return f"leads to {into}, and by the log it does not"
    return ""
