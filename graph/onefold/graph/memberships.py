"""What a frame says of people, in the graph: features, labels and segments on their identities, so that a query sees
what the service serves, and the feed of who came into a segment and who left it.

Who came and who left is told by what an identity had until the very transaction that changes it. So each change is told
once, whoever wrote the last frame, however far they came with it. ``docs/segments.md`` tells the properties.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from enum import StrEnum
from typing import Any, Final

import neo4j.time

from onefold.graph.feature_owners import Owner, claim, give_up, names_of
from onefold.graph.identity import located, one
from onefold.graph.ingest import Writer, transaction, until_committed
from onefold.graph.model import Instant, to_instant
from onefold.graph.reader import Reader
from onefold.graph.subject import Subject

Property = float | int | bool | str | Sequence[str]

_AT_ONCE: Final = 1_000

_ALIVE: Final = "i.merged_into IS NULL AND i.erased_at IS NULL"

_NEWEST: Final = "(i.frame_computed_at IS NULL OR i.frame_computed_at.epochMillis <= $computed_at)"
"""Whether no frame that was computed later has been written to ``i``. The instant that frames are of may go back: that
of the newest order does where it is deleted, or where the first ones come and they are old."""

_LEAVE: Final = f"""
UNWIND $rows AS id MATCH (i:Identity {{id: id}}) SET i.lock = $lock
WITH i, coalesce(CASE WHEN {_ALIVE} THEN i.segments ELSE i.leaving END, []) AS before
WHERE i.frame_left_at IS NULL AND {_NEWEST}
SET i += $nothing, i.frame_left_at = datetime({{epochMillis: $now}})
RETURN i.id, before, coalesce(i.merged_into, ''), i.erased_at IS NOT NULL
"""
"""A retired or erased identity keeps what it was in as ``leaving``, until it has been told."""

_OWN: Final = ("frame", "frame_as_of", "frame_computed_at", "labels", "segments", "leaving")
"""What a frame writes besides features."""

_LEFT_BEHIND: Final = """
MATCH (i:Identity) WHERE i.leaving IS NOT NULL OR (i.anonymous AND i.segments IS NOT NULL) RETURN i.id ORDER BY i.id
"""

_LOCK_FEED: Final = """
MERGE (h:SegmentFeed {key: 'head'}) SET h.lock = $lock RETURN coalesce(h.sequence, 0)
"""

_APPEND: Final = """
MATCH (h:SegmentFeed {key: 'head'}) SET h.sequence = $sequence
WITH h UNWIND $rows AS r
CREATE (:SegmentChange {sequence: r[0], segment: r[1], identity: r[2], kind: r[3], cause: r[4], successor: r[5],
  at: datetime({epochMillis: $now})})
"""

_END: Final = "MATCH (h:SegmentFeed {key: 'head'}) RETURN coalesce(h.sequence, 0)"

_FOLLOWING: Final = """
MATCH (h:SegmentFeed {key: 'head'})
WITH CASE WHEN h.sequence < $after + $limit THEN h.sequence ELSE $after + $limit END AS last
UNWIND range($after + 1, last) AS s MATCH (c:SegmentChange {sequence: s})
RETURN c.sequence, c.segment, c.identity, c.kind, c.cause, c.successor, c.at.epochMillis
"""

_READ: Final = located("RETURN i.id, properties(i)")

_COUNT: Final = """
MERGE (c:FrameCount {key: $key})
SET c.at = datetime({epochMillis: $as_of}), c.counted_at = datetime({epochMillis: $counted_at}),
    c.people = $people, c.names = $names, c.members = $members
"""

_COUNTS: Final = """
MATCH (c:FrameCount) WITH c ORDER BY c.counted_at DESC, c.key DESC LIMIT $limit
RETURN c.key, c.at.epochMillis, c.people, c.names, c.members
"""


class Cause(StrEnum):
    """What made somebody come in or leave."""

    DATA = "DATA"
    """What is known of the person changed."""
    TIME = "TIME"
    """Nothing but time went on."""
    RULE = "RULE"
    """The segment's definition changed, or that of something it reads."""
    MERGE = "MERGE"
    SPLIT = "SPLIT"
    ERASE = "ERASE"


class ChangeKind(StrEnum):
    """What became of a membership."""

    ENTERED = "ENTERED"
    LEFT = "LEFT"


@dataclass(frozen=True, slots=True)
class FramedRow:
    """What a frame says of one identity that is in it."""

    identity: str
    features: Mapping[str, Property | None]
    """By the property's name; None for what is unknown."""
    instants: Mapping[str, Instant | None]
    """Features that are instants, the same names in each row."""
    labels: Sequence[str]
    """Sorted."""
    segments: Sequence[str]
    """Sorted."""


@dataclass(frozen=True, slots=True)
class Leaver:
    """An identity that was in the frame before and is in this one no more."""

    identity: str
    cause: Cause
    """Of one that is still current: that of a retired or erased one is known by then."""


CauseOf = Callable[[str, str], Cause]
"""Of an identity and a segment: why it came in or left."""


@dataclass(frozen=True, slots=True)
class SegmentChange:
    """Somebody came into a segment or left it."""

    sequence: int
    """Its place in the feed, from 1, without gaps."""
    at: Instant
    segment: str
    identity: str
    kind: ChangeKind
    cause: Cause
    successor: str = ""
    """The id that it merged into."""


@dataclass(frozen=True, slots=True)
class SegmentStretch:
    """A part of the feed, from where the one before ended."""

    changes: tuple[SegmentChange, ...]
    sequence: int
    """Where it ends: the place to go on after."""
    more: bool = False
    """Whether there is more to be read at once."""


@dataclass(frozen=True, slots=True)
class FrameCount:
    """How many had each label and were in each segment, in one frame."""

    frame: str
    as_of: Instant
    people: int
    members: Mapping[str, int] = field(default_factory=dict)
    """By ``label silent`` or ``segment winback``, 0 included; what is not there was not defined."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What is on an identity."""

    identity: str
    properties: Mapping[str, Any]
    """By name; instants in milliseconds."""

    @property
    def frame(self) -> str:
        """The id of the frame that it was written from last; empty if from none."""
        return str(self.properties.get("frame") or "")


def write_rows(
    writer: Writer,
    frame: str,
    as_of: Instant,
    computed_at: Instant,
    rows: Sequence[FramedRow],
    cause: CauseOf,
    seconds: float | None = None,
) -> frozenset[str]:
    """Put what a frame says on identities, a thousand in a transaction, and into the feed who comes and goes by that.

    Returns the ids of those that took it: identities that were retired or erased meanwhile get nothing, and what is of
    a frame that was computed later stays. The same again changes nothing. Raises as
    :func:`onefold.graph.ingest.ingest` does: what was committed before stays, and may be written again.
    """
    names = {name for row in rows for name in (*row.features, *row.instants)}
    instants = tuple(sorted({name for row in rows for name in row.instants}))
    text = _write_text(instants)

    def attempt(part: Sequence[FramedRow], until: float | None) -> set[str]:
        lock, now = uuid.uuid4().hex, writer.clock()
        with transaction(writer, until) as tx:
            own = claim(tx, Owner.FRAMES, names, lock)
            found = tx.run(
                text,
                rows=[_row(row, own, instants) for row in part],
                lock=lock,
                frame=frame,
                as_of=as_of,
                computed_at=computed_at,
            ).values()
            after = {row.identity: row.segments for row in part}
            _append(tx, _changes(((id, before, after[id]) for id, before in found), cause), lock, now)
            tx.commit()
        return {id for id, _ in found}

    return _in_parts(writer, rows, attempt, seconds)


def write_leavers(
    writer: Writer, computed_at: Instant, leavers: Sequence[Leaver], seconds: float | None = None
) -> frozenset[str]:
    """Take what frames wrote from identities that are in none any more, and tell the feed: one that was merged leaves
    with its successor. Returns and raises as :func:`write_rows`."""
    of = {leaver.identity: leaver for leaver in leavers}

    def attempt(part: Sequence[Leaver], until: float | None) -> set[str]:
        lock, now = uuid.uuid4().hex, writer.clock()
        with transaction(writer, until) as tx:
            nothing = dict.fromkeys((*_OWN, *names_of(tx)[Owner.FRAMES]))
            asked = [leaver.identity for leaver in part]
            found = tx.run(_LEAVE, rows=asked, lock=lock, computed_at=computed_at, now=now, nothing=nothing).values()
            successors = {id: successor for id, _, successor, _ in found}
            ended = {id: Cause.MERGE if merged else Cause.ERASE for id, _, merged, erased in found if merged or erased}
            gone = ((id, before, ()) for id, before, *_ in found)
            changes = _changes(gone, lambda id, _: ended.get(id, of[id].cause))
            _append(tx, ((*change, successors[change[1]] or None) for change in changes), lock, now)
            tx.commit()
        return {id for id, *_ in found}

    return _in_parts(writer, sorted(leavers, key=lambda leaver: leaver.identity), attempt, seconds)


def left_behind(reader: Reader) -> list[str]:
    """The ids of those who can be in no frame, and of whom the feed has not told that they left: whoever wrote the last
    frame did not come so far."""
    return [id for (id,) in reader.rows(_LEFT_BEHIND)]


def give_up_features(writer: Writer, kept: Collection[str], seconds: float | None = None) -> None:
    """Say that all identities have been written, with no other properties of frames than those that are ``kept``."""

    def attempt(until: float | None) -> None:
        with transaction(writer, until) as tx:
            dropped = names_of(tx)[Owner.FRAMES] - frozenset(kept)
            if dropped:
                give_up(tx, Owner.FRAMES, dropped, uuid.uuid4().hex)
            tx.commit()

    until_committed(writer, attempt, seconds)


def read_stored(reader: Reader, subject: Subject) -> Stored:
    """What is on the identity that a subject leads to, predictions included.

    Raises NotFound, InvalidInput for an unknown kind of identifier, DeadlineExceeded, Unavailable.
    """
    id, properties = one(reader, _READ, subject)
    return Stored(id, {name: _plain(value) for name, value in properties.items()})


def end_of_feed(reader: Reader) -> int:
    """The sequence of the last change; 0 if there is none."""
    rows = reader.rows(_END)
    return int(rows[0][0]) if rows else 0


def read_on(reader: Reader, after: int, segments: Collection[str] = ()) -> SegmentStretch:
    """What follows after a place in the feed, of these segments or of all, as much as fits into one message.

    Commits wait for one another at the feed's end, so changes come to be seen in their order and without gaps.
    """
    changes: list[SegmentChange] = []
    sequence = after
    for row in sorted(reader.rows(_FOLLOWING, after=after, limit=_AT_ONCE), key=lambda row: row[0]):
        if row[0] != sequence + 1:
            break  # a commit that is just being made visible may show its last change before an earlier one
        sequence, segment, identity, kind, cause, successor, at = row
        if not segments or segment in segments:
            changes.append(
                SegmentChange(sequence, at, segment, identity, ChangeKind(kind), Cause(cause), successor or "")
            )
    return SegmentStretch(tuple(changes), sequence, more=sequence == after + _AT_ONCE)


def write_count(writer: Writer, count: FrameCount, seconds: float | None = None) -> None:
    """Keep how many had each label and were in each segment. The same frame again takes the place of what was."""

    def attempt(until: float | None) -> None:
        names = sorted(count.members)
        with transaction(writer, until) as tx:
            tx.run(
                _COUNT, key=count.frame, as_of=count.as_of, counted_at=writer.clock(), people=count.people, names=names,
                members=[count.members[name] for name in names],
            ).consume()  # fmt: skip
            tx.commit()

    until_committed(writer, attempt, seconds)


def read_counts(reader: Reader, limit: int) -> list[FrameCount]:
    """The counts of the last frames, the one that was counted last first. Not by their ``as_of``: an empty graph is
    counted as of now, and the orders that come then may be old."""
    return [
        FrameCount(frame, as_of, people, dict(zip(names, members, strict=True)))
        for frame, as_of, people, names, members in reader.rows(_COUNTS, limit=limit)
    ]


def _plain(value: Any) -> Any:
    """A moment in milliseconds; one engine does not tell that it is in UTC."""
    if not isinstance(value, neo4j.time.DateTime):
        return value
    native = value.to_native()
    return to_instant(native if native.tzinfo is not None else native.replace(tzinfo=UTC))


def _in_parts(
    writer: Writer,
    of: Sequence[Any],
    attempt: Callable[[Sequence[Any], float | None], set[str]],
    seconds: float | None,
) -> frozenset[str]:
    written: set[str] = set()
    for start in range(0, len(of), _AT_ONCE):
        part = of[start : start + _AT_ONCE]
        written |= until_committed(writer, lambda until, part=part: attempt(part, until), seconds)  # type: ignore[misc]
    return frozenset(written)


def _write_text(instants: Iterable[str]) -> str:
    """The same for the same instants: one plan a catalogue. Their names are of the catalogue, so plain words."""
    moments = "".join(
        f",\n  i.`{name}` = CASE WHEN r[2][{place}] IS NULL THEN null ELSE datetime({{epochMillis: r[2][{place}]}}) END"
        for place, name in enumerate(instants)
    )
    return f"""
UNWIND $rows AS r MATCH (i:Identity {{id: r[0]}}) SET i.lock = $lock
WITH i, r, coalesce(i.segments, []) AS before WHERE {_ALIVE} AND {_NEWEST}
SET i += r[1], i.frame = $frame, i.frame_as_of = datetime({{epochMillis: $as_of}}),
  i.frame_computed_at = datetime({{epochMillis: $computed_at}}), i.frame_left_at = null{moments}
RETURN i.id, before
"""


def _row(row: FramedRow, own: Collection[str], instants: Sequence[str]) -> list[Any]:
    said = {name: row.features.get(name) for name in own if name not in instants}  # null takes away
    lists = {"labels": list(row.labels), "segments": list(row.segments)}
    return [row.identity, {**said, **lists}, [row.instants.get(name) for name in instants]]


def _changes(
    moved: Iterable[tuple[str, Sequence[str], Sequence[str]]], cause: CauseOf
) -> Iterator[tuple[str, str, str, str]]:
    for id, before, after in sorted(moved, key=lambda those: those[0]):
        for segment in sorted({*before} ^ {*after}):
            kind = ChangeKind.ENTERED if segment in after else ChangeKind.LEFT
            yield segment, id, kind.value, cause(id, segment).value


def _append(tx: neo4j.Transaction, changes: Iterable[Sequence[str | None]], lock: str, now: Instant) -> None:
    """The changes at the feed's end, which stays locked until the transaction is over."""
    told = [[*change, None][:5] for change in changes]
    if not told:
        return
    (end,) = tx.run(_LOCK_FEED, lock=lock).single(strict=True)
    rows = [[sequence, *change] for sequence, change in enumerate(told, start=end + 1)]
    tx.run(_APPEND, rows=rows, sequence=end + len(rows), now=now).consume()
