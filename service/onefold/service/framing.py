"""Keeps the current frame: builds it, brings those up to date who were touched, and looks again as time goes on.

A frame is first published in its folder, then asked, then written to identities, so that nobody is told of a member
whom a crash takes back. What fails on the way is done again at the next look; the feed tells each change once all the
same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.compute as pc
import structlog
from neo4j.exceptions import DriverError, Neo4jError

from onefold.graph import columns, people
from onefold.graph.decide import DecisionKind
from onefold.graph.errors import NotReady, OnefoldError
from onefold.graph.ingest import Writer
from onefold.graph.memberships import (
    Cause,
    FrameCount,
    FramedRow,
    Leaver,
    give_up_features,
    left_behind,
    write_count,
    write_leavers,
    write_rows,
)
from onefold.graph.model import Instant, RecordName
from onefold.graph.reader import Reader
from onefold.graph.segments import listed, listed_records, records_of
from onefold.graph.watch import end_of_log, read_on
from onefold.segments import features
from onefold.segments.features import Population
from onefold.segments.frame import evaluated
from onefold.segments.generations import FrameId, Generations
from onefold.segments.query import query
from onefold.segments.reads import Named
from onefold.segments.vocabulary import LABELS, SEGMENTS, Type, TypedFeature
from onefold.service.defined import Defined, Definer
from onefold.service.live_frame import IDENTITY, About, LiveFrame

LOOK_SECONDS: Final = 1.0
AT_ONCE: Final = 500
"""So many touched people are brought up to date together."""
TOO_MANY: Final = 5_000
"""When so many were touched, everybody is looked at anew, once it is quiet."""
_QUIET_SECONDS: Final = 1.0
_LONGEST_WAIT_SECONDS: Final = 30.0
_MANY: Final = 20
_MANY_OF_ALL: Final = 0.1
"""When more than these were brought up to date, what people are compared to is another population."""
_REST: Final = 9.0
"""While others write, so many times as long as a step took is rested after it."""
_MOST_UPDATED: Final = 5_000
"""An update has all rows that changed since everybody was published: with more of them, everybody is again."""
_ROWS_A_PART: Final = 100_000
_ROWS_TO_GRAPH: Final = 5_000

log = structlog.get_logger("onefold.framing")


@dataclass(slots=True)
class _Touched:
    """Who is to be brought up to date, and why they changed."""

    identities: set[str] = field(default_factory=set)
    causes: dict[str, Cause] = field(default_factory=dict)
    """Of those whom a merge, a split or an erasure touched."""
    heard: int | None = None
    """The place in the log up to which all that decisions have touched is in here, or was dealt with before."""
    first_at: float = 0.0
    """On the monotonic clock."""
    last_at: float = 0.0

    def add(self, identities: Iterable[str]) -> None:
        new = {id for id in identities if id}
        if new:
            self.last_at = time.monotonic()
            self.first_at = self.first_at if self.identities else self.last_at
            self.identities |= new


class Framing:
    """The current frame, and all that keeps it so. A context manager: inside, a thread looks for what is due."""

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        definer: Definer,
        folder: Path,
        *,
        anew_seconds: float = 3_600.0,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """Frames are kept in ``folder``. Everybody is looked at anew every ``anew_seconds``, for time goes on.
        ``on_change`` is called when somebody may have come into a segment or left it."""
        self._reader = reader
        self._writer = writer
        self.definer: Final = definer
        self._generations = Generations(folder)
        self._anew_seconds = anew_seconds
        self._on_change = on_change
        self._live: LiveFrame | None = None
        self._id: FrameId | None = None
        self._built: _Built | None = None
        self._sequence: int | None = None
        self._told: int | None = None
        """The place in the log up to which all that followed is on identities and in the feed."""
        self._is_told = False
        """Whether all of the frame in use is on identities."""
        self._updated = 0
        """Rows of updates since everybody was published."""
        self._anew_at = 0.0
        self._rest_until = 0.0
        self._touched = _Touched()
        self._mutex = threading.Lock()
        self._over = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="onefold-framing", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._woken.set()
        self._thread.join()

    @property
    def current(self) -> LiveFrame:
        """The frame to be asked. Raises NotReady before the first."""
        if self._live is None:
            raise NotReady("frame", "none was built yet: the first one is under way")
        return self._live

    def members(self, segment: str, seconds: float | None = None) -> list[str]:
        """The ids of who is in a segment, as it is defined by now, sorted. Raises NotFound for one that there is not,
        NotReady before the first frame, DeadlineExceeded after ``seconds``."""
        rule = self.definer.look(seconds).membership(segment)
        with self.current.asked(seconds) as asked:
            return [id for batch in asked.rows(rule) for id in batch.column(0).to_pylist()]

    def knows(self, segment: str, now: Defined) -> bool:
        """Whether the frame in use was evaluated by the list that a segment has now; of one by a rule, yes: it is asked
        by the rule of now."""
        built = self._built
        return now.lists.get(segment) == (built.defined.lists.get(segment) if built else None)

    def touch(self, identities: Iterable[str]) -> None:
        """Says that something was written of these, by now or before."""
        with self._mutex:
            self._touched.add(identities)

    def wake(self) -> None:
        """Says that definitions have changed."""
        self._woken.set()

    def load(self) -> None:
        """Take the frame that was kept, if there is one that can be used, until a new one is there."""
        try:
            with self._generations.open() as kept:
                table = pa.concat_tables(kept.parts())
                created_at = int(kept.notes.get("created_at", kept.as_of))
                about = About(self._named(kept.id), kept.as_of, created_at, len(table), kept.catalogue)
                self._live = LiveFrame(table, about)
                self._sequence = self._told = kept.notes.get("told")
                self._is_told = kept.id == self._generations.told()
        except OnefoldError as error:
            log.info("no kept frame is used", why=str(error))

    def look(self) -> bool:
        """Do what is due: all anew, or those who were touched, or the rules. Says whether anything was done."""
        self._hear()
        defined = self.definer.look()
        with self._mutex:
            count, first_at, last_at = len(self._touched.identities), self._touched.first_at, self._touched.last_at
        now = time.monotonic()
        quiet = now - last_at >= _QUIET_SECONDS
        due = count and (quiet or now - first_at >= _LONGEST_WAIT_SECONDS)
        if self._built is None or now >= self._anew_at or (quiet and self._is_outgrown(count)):
            self.build()
        elif self._built.defined.stored != defined.stored:
            self._change_rules(defined)
        elif due and (quiet or now >= self._rest_until):
            began = time.monotonic()
            if self._built.is_dateless:
                self.build()
            else:
                self._update()
            if not quiet:
                self._rest_until = time.monotonic() + _REST * (time.monotonic() - began)
        else:
            return False
        return True

    def _is_outgrown(self, touched: int) -> bool:
        """Whether those who were not touched are told by too old a time, or beside too few of the others."""
        built = self._built
        assert built is not None
        updated = built.updated + touched
        return (
            touched > TOO_MANY
            or built.as_of - built.everybody_as_of >= 1000 * self._anew_seconds
            or (updated > _MANY and updated > _MANY_OF_ALL * self.current.about.people)
        )

    def build(self) -> None:
        """A new frame of everybody, as of now."""
        self._hear()
        touched = self._take_touched()
        with self._or_anew(touched):
            self._build(self.definer.look(), touched)
        self._anew_at = time.monotonic() + self._anew_seconds

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _build(self, defined: Defined, touched: _Touched) -> None:
        now = self._writer.clock()
        read = _read(self._reader, defined, now)
        self._hear_why(touched)
        as_of = now if read.newest is None else min(read.newest, now)
        against = features.population(read.orders, read.lines, read.predictions, as_of)
        known = features.compute(*read.tables, as_of, against, defined.catalogue)
        static = {key: listed(self._reader, list) for key, list in defined.lists.items()}
        frame = evaluated(known, defined.catalogue, static, as_of)
        self._publish(_Built(defined, against, as_of, as_of, now, read.newest is None), frame, touched, now)
        log.info("a frame was built", people=len(frame), as_of=as_of, seconds=(self._writer.clock() - now) / 1000)

    def _change_rules(self, defined: Defined) -> None:
        """The same features by other rules; all anew where these ask for other features."""
        built, now = self._built, self._writer.clock()
        assert built is not None
        wanted = features.schema(defined.catalogue)
        if set(wanted.names) - self.current.columns:
            self.build()
            return
        with self.current.asked() as asked:
            known = asked.people(columns=wanted.names).cast(wanted)
        static = {key: listed(self._reader, list) for key, list in defined.lists.items()}
        frame = evaluated(known, defined.catalogue, static, built.as_of)
        touched = _Touched(heard=self._told)
        with self._or_anew(touched):
            self._publish(replace(built, defined=defined), frame, touched, now)

    def _publish(self, built: _Built, frame: pa.Table, touched: _Touched, now: Instant) -> None:
        before, was, was_told = self._live, self._built, self._is_told
        self._is_told = False
        notes = _notes(built, touched.heard if self._told is None else self._told)
        id = self._generations.publish(built.as_of, built.defined.catalogue.version, _parts(frame), notes)
        self._live = LiveFrame(frame, _about(self._named(id), built, len(frame)))
        self._id, self._built, self._updated = id, built, 0
        old = None if before is None else _all(before)
        rows = _differing(frame, old) if old is not None and was_told else frame
        touched.add(_touched_data(rows, old))
        causes = _Causes(touched, _ruled(was, built))
        gone = [] if old is None else _gone(old, frame, touched)
        if not was_told:  # whoever was to pass on the frame before did not come to its end
            known = {leaver.identity for leaver in gone}
            gone += [Leaver(id, Cause.DATA) for id in left_behind(self._reader) if id not in known]
        self._write(self._named(id), built.as_of, now, rows, gone, causes)
        names = [each.property for each in _features_of(frame.column_names, built.defined)]
        if was is None or set(names) != set(_features_names(old, built.defined)):
            give_up_features(self._writer, names)
        self._mark_told(id)
        with self.current.asked() as asked:
            write_count(self._writer, _with_nobody(asked.counts(), built.defined))

    def _named(self, id: FrameId) -> str:
        """A frame's name, unlike those that another service gives to its own."""
        return f"{self._generations.name}-{id}"

    def _mark_told(self, id: FrameId) -> None:
        self._generations.mark_told(id)
        self._is_told = True

    def _update(self) -> None:
        """Bring those up to date who were touched, at most :data:`AT_ONCE`."""
        built, base = self._built, self._id
        assert built is not None
        assert base is not None
        touched = self._take_touched(AT_ONCE)
        ids = sorted(touched.identities)
        with self._or_anew(touched):
            now = self._writer.clock()
            read = _read(self._reader, built.defined, now, ids)
            self._hear_why(touched)
            as_of = max(built.as_of, min(read.newest or 0, now))
            known = features.compute(*read.tables, as_of, built.against, built.defined.catalogue)
            rows = built.defined.compiled.evaluated(known, self._static(built.defined, ids), as_of)
            with self.current.asked() as asked:
                old = asked.people(ids)
            gone = _gone(old, rows, touched)
            notes = _notes(built, self._told)
            self._is_told = False
            id = self._generations.update(base, as_of, rows, [leaver.identity for leaver in gone], notes)
            self._id, self._built = id, replace(built, as_of=as_of, updated=built.updated + len(touched.identities))
            self.current.change(rows, [leaver.identity for leaver in gone], _about(self._named(id), self._built, 0))
            causes = _Causes(touched, frozenset())
            self._write(self._named(id), as_of, now, _differing(rows, old), gone, causes)
            self._mark_told(id)
            self._updated += len(rows)
        if self._updated > _MOST_UPDATED:
            self._id, self._updated = self._generations.compact(id), 0
            self._mark_told(self._id)

    @contextmanager
    def _or_anew(self, touched: _Touched) -> Iterator[None]:
        """What fails inside may be in the graph in part: everybody is written again then, for the same causes."""
        try:
            yield
        except BaseException:
            self._built = None
            with self._mutex:
                self._touched.add(touched.identities)
                self._touched.causes = {**touched.causes, **self._touched.causes}
            raise

    def _write(
        self, id: str, as_of: Instant, now: Instant, rows: pa.Table, gone: Sequence[Leaver], causes: _Causes
    ) -> None:
        assert self._built is not None
        known = _features_of(rows.column_names, self._built.defined)
        for start in range(0, len(rows), _ROWS_TO_GRAPH):
            part = rows.slice(start, _ROWS_TO_GRAPH)
            write_rows(self._writer, id, as_of, now, list(_framed(part, known)), causes.of)
        write_leavers(self._writer, now, gone)
        self._told = causes.touched.heard
        if len(rows) or gone:
            self._on_change()

    def _static(self, defined: Defined, ids: Sequence[str]) -> dict[str, frozenset[str]]:
        """Who of these is in which list."""
        if not defined.lists:
            return {}
        records = records_of(self._reader, ids)
        return {
            key: frozenset(id for id, names in records.items() if names & self._records(list))
            for key, list in defined.lists.items()
        }

    def _records(self, list: str) -> frozenset[RecordName]:
        assert self._built is not None
        kept = self._built.records
        if list not in kept:
            kept[list] = listed_records(self._reader, list)  # what a list has never changes
        return kept[list]

    def _hear(self) -> None:
        """Take in whom decisions have touched, whoever made them."""
        after = self._sequence
        if self._built is None:
            end = end_of_log(self._reader)
            if after is None or after > end:  # of no frame, or of another graph's: everybody is looked at anyway
                after = end
        assert after is not None
        more = True
        while more:
            stretch = read_on(self._reader, after)
            with self._mutex:
                for logged in stretch.changes:
                    self._take_in(logged.decision.kind, logged.decision.identities)
            self._sequence = after = stretch.sequence
            more = stretch.more

    def _take_in(self, kind: DecisionKind, identities: Sequence[str]) -> None:
        self._touched.add(identities)
        if kind in _CAUSES:
            self._touched.causes |= dict.fromkeys(identities, _CAUSES[kind])

    def _hear_why(self, touched: _Touched) -> None:
        """Take in what was decided while people were read: it may be why they are as they were found."""
        self._hear()
        with self._mutex:
            touched.causes = {**self._touched.causes, **touched.causes}

    def _take_touched(self, limit: int | None = None) -> _Touched:
        with self._mutex:
            touched = self._touched
            touched.heard = self._sequence
            if limit is None or len(touched.identities) <= limit:
                self._touched = _Touched()
                return touched
            taken = set(sorted(touched.identities)[:limit])
            touched.identities -= taken
            return replace(touched, identities=taken, heard=self._told)

    def _run(self) -> None:
        self.load()
        while not self._over.is_set():
            self._woken.wait(LOOK_SECONDS)
            self._woken.clear()
            if self._over.is_set():
                return
            try:
                self.look()
            except (OnefoldError, DriverError, Neo4jError) as err:
                log.warning("the frame is put off", why=f"{type(err).__name__}: {err}")
                self._over.wait(LOOK_SECONDS)
            except Exception:
                log.exception("the frame has failed")
                self._over.wait(10 * LOOK_SECONDS)


_CAUSES: Final = {
    DecisionKind.MERGED: Cause.MERGE,
    DecisionKind.SPLIT: Cause.SPLIT,
    DecisionKind.ERASED: Cause.ERASE,
}


@dataclass(frozen=True, slots=True)
class _Built:
    """By what the current frame was made."""

    defined: Defined
    against: Population
    as_of: Instant
    """As of when those are who were brought up to date last."""
    everybody_as_of: Instant
    """As of when everybody's features were computed."""
    created_at: Instant
    """When they were."""
    is_dateless: bool
    """Whether no order and no event was known, so that the instant is that of the building: an old one may come."""
    updated: int = 0
    """How many were brought up to date since, one who was twice counted twice."""
    records: dict[str, frozenset[RecordName]] = field(default_factory=dict)
    """Of each list, as far as they were asked for."""


@dataclass(frozen=True, slots=True)
class _Causes:
    """Why people come and go."""

    touched: _Touched
    ruled: Collection[str]
    """The segments whose definition, or what it reads, is another one now."""

    def of(self, identity: str, segment: str) -> Cause:
        """See :data:`onefold.graph.memberships.CauseOf`."""
        if segment in self.ruled:
            return Cause.RULE
        if identity in self.touched.causes:
            return self.touched.causes[identity]
        return Cause.DATA if identity in self.touched.identities else Cause.TIME


@dataclass(frozen=True, slots=True)
class _Read:
    """What is known of people."""

    people: pa.Table
    orders: pa.Table
    lines: pa.Table
    events: pa.Table
    predictions: pa.Table

    @property
    def tables(self) -> tuple[pa.Table, pa.Table, pa.Table, pa.Table, pa.Table]:
        """As :func:`onefold.segments.features.compute` takes them."""
        return self.people, self.orders, self.lines, self.events, self.predictions

    @property
    def newest(self) -> Instant | None:
        """A millisecond after the newest order or event; None without any."""
        found = [
            int(pc.max(table[name].cast(pa.int64())).as_py())
            for table, name in ((self.orders, "placed_at"), (self.events, "at"))
            if len(table)
        ]
        return max(found) + 1 if found else None


def _read(reader: Reader, defined: Defined, now: Instant, identities: Sequence[str] | None = None) -> _Read:
    until = now + 1
    return _Read(
        people.people(reader, identities),
        columns.wide_orders(reader, until, identities),
        columns.wide_lines(reader, until, identities),
        columns.wide_events(reader, until, identities, features.event_properties(defined.catalogue)),
        people.predictions(reader, identities),
    )


def _notes(built: _Built, told: int | None) -> dict[str, Any]:
    """What a frame is kept with, for who goes on from it."""
    return {"created_at": built.created_at, "population": built.against.to_data(), "told": told}


def _about(id: str, built: _Built, people: int) -> About:
    return About(id, built.as_of, built.created_at, people, built.defined.catalogue.version)


def _with_nobody(count: FrameCount, defined: Defined) -> FrameCount:
    """The same, with 0 for what nobody has: what is not there was not defined."""
    of = defined.catalogue
    names = [*(f"label {key}" for key in of.labels), *(f"segment {key}" for key in of.segments)]
    return replace(count, members={**dict.fromkeys(names, 0), **count.members})


def _parts(frame: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, max(len(frame), 1), _ROWS_A_PART):
        yield frame.slice(start, _ROWS_A_PART)


def _all(live: LiveFrame) -> pa.Table:
    with live.asked() as asked:
        return asked.people()


def _differing(new: pa.Table, old: pa.Table) -> pa.Table:
    """The rows that are other than before, or new."""
    if set(new.column_names) != set(old.column_names):
        return new
    names = ", ".join('"' + name.replace('"', '""') + '"' for name in new.column_names)
    found = query(
        f"SELECT {names} FROM new_rows EXCEPT SELECT {names} FROM old_rows", {"new_rows": new, "old_rows": old}
    )
    return found.sort_by(IDENTITY)


def _touched_data(rows: pa.Table, old: pa.Table | None) -> frozenset[str]:
    """Of whom something else is known than before: who they are, what they did and when, which no clock changes."""
    if old is None:
        return frozenset(rows[IDENTITY].to_pylist())
    known = [
        field.name
        for field in rows.schema
        if field.name in old.column_names
        and field.name not in (LABELS, SEGMENTS, *_OF_A_YEAR)
        and (field.name in _COUNTED or not (pa.types.is_floating(field.type) or pa.types.is_integer(field.type)))
    ]
    return frozenset(_differing(rows.select(known), old.select(known))[IDENTITY].to_pylist())


_OF_A_YEAR: Final = ("preferred_channel", "categories", "top_category", "top_brand")
"""Texts that time changes: they are of the last 365 days."""

_COUNTED: Final = ("orders", "purchases", "reviews", "loyalty_points")
"""Whole numbers that only data changes."""


def _ruled(was: _Built | None, now: _Built) -> frozenset[str]:
    """The segments that are defined otherwise than before, or read what is."""
    if was is None:
        return frozenset()
    old, new = was.defined.catalogue, now.defined.catalogue
    before, after = ({named: rule.text for named, rule in each.rules.items()} for each in (old, new))
    changed = {named for named in {*before, *after} if before.get(named) != after.get(named)}
    lists = {key for key in {*was.defined.lists, *now.defined.lists} if _list(was, key) != _list(now, key)}
    changed |= {Named("segment", key) for key in lists}
    touched = {*changed, *old.dependents(changed), *new.dependents(changed)}
    return frozenset(named.key for named in touched if named.kind == "segment")


def _list(built: _Built, key: str) -> str | None:
    return built.defined.lists.get(key)


def _gone(old: pa.Table, new: pa.Table, touched: _Touched) -> list[Leaver]:
    """Who was there and is no more."""
    text = f"SELECT {IDENTITY} FROM old_rows ANTI JOIN new_rows USING ({IDENTITY}) ORDER BY {IDENTITY}"
    found = query(text, {"old_rows": old.select([IDENTITY]), "new_rows": new.select([IDENTITY])})
    return [Leaver(id, touched.causes.get(id, Cause.DATA)) for id in found[IDENTITY].to_pylist()]


def _features_of(names: Iterable[str], defined: Defined) -> list[TypedFeature]:
    """The features among columns that frames write to identities: predictions are there already."""
    known: Mapping[str, TypedFeature] = defined.vocabulary.features
    found = [known.get(name) or TypedFeature(name, Type.INT) for name in names if name not in _OWN]
    return [each for each in found if each.property == f"f_{each.key}"]


_OWN: Final = (IDENTITY, LABELS, SEGMENTS)


def _features_names(frame: pa.Table | None, defined: Defined) -> list[str]:
    return [] if frame is None else [each.property for each in _features_of(frame.column_names, defined)]


def _framed(rows: pa.Table, known: Sequence[TypedFeature]) -> Iterator[FramedRow]:
    """The rows as they are written to identities."""
    instants = [each for each in known if each.type is Type.INSTANT]
    plain = [each for each in known if each.type is not Type.INSTANT]
    values = {each.key: rows[each.key].to_pylist() for each in plain}
    moments = {each.key: rows[each.key].cast(pa.int64()).to_pylist() for each in instants}
    lists: dict[str, list[Any]] = {name: rows[name].to_pylist() for name in (IDENTITY, LABELS, SEGMENTS)}
    for row in range(len(rows)):
        yield FramedRow(
            lists[IDENTITY][row],
            {each.property: values[each.key][row] for each in plain},
            {each.property: moments[each.key][row] for each in instants},
            lists[LABELS][row],
            lists[SEGMENTS][row],
        )
