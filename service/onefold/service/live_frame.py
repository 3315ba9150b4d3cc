"""A frame as it is asked: in memory, by any number of threads, while one changes it.

It is a table of DuckDB. Whoever asks does so in a transaction, so that all they are told is of one moment; what is
changed meanwhile is for the next.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import duckdb
import pyarrow as pa

from onefold.graph.errors import DeadlineExceeded, InvalidInput, NotReady, Violation
from onefold.graph.memberships import FrameCount
from onefold.graph.model import Instant
from onefold.segments import statement
from onefold.segments.check import Rule
from onefold.segments.problems import did_you_mean
from onefold.segments.query import in_ms
from onefold.segments.vocabulary import LABELS, SEGMENTS, Row, Type

IDENTITY: Final = "identity"
REACHABLE: Final = "reachable_by"
"""The feature that says by which kinds of identifiers a person can be reached."""

_CHANGED: Final = "_changed"
"""Says which rows came later. DuckDB gives the others in the order in which they were put in, by id, so that only these
have to be sorted."""

_ROWS: Final = 10_000
"""Rows that are taken from DuckDB together."""


@dataclass(frozen=True, slots=True)
class About:
    """Which frame it is."""

    id: str
    """Another one after each change."""
    as_of: Instant
    """When rules were evaluated."""
    created_at: Instant
    """When everybody's features were computed."""
    people: int
    catalogue: str
    """The version of the catalogue that it was evaluated by, stored segments among it."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Who is in two segments."""

    segment: str
    both: int
    other: int
    """In the other segment."""


class LiveFrame:
    """A frame. Raises InvalidInput where the table has no column ``identity``, ``labels`` and ``segments``."""

    def __init__(self, frame: pa.Table, about: About) -> None:
        """``frame`` has a row a person, by identity, and a column a feature; ``about.people`` is counted anew."""
        if missing := {IDENTITY, LABELS, SEGMENTS} - set(frame.column_names):
            raise InvalidInput([Violation("frame", f"has no column {', '.join(sorted(missing))}")])
        self._root = duckdb.connect()
        self._root.execute("SET enable_progress_bar = false")
        self._root.from_arrow(frame).create("frame")
        self._root.execute(f"ALTER TABLE frame ADD COLUMN {_CHANGED} BOOLEAN DEFAULT FALSE")
        self._root.execute(
            "CREATE TABLE about (id VARCHAR, as_of BIGINT, created_at BIGINT, people BIGINT, catalogue VARCHAR)"
        )
        self.columns: Final = frozenset(frame.column_names)
        self.about = replace(about, people=len(frame))
        """Which frame it is by now; who asks more than that is told with the answer."""
        self._write_about(self._root, self.about)

    def change(self, rows: pa.Table, gone: Collection[str], about: About) -> None:
        """Put these rows in the place of those of the same people, and take out who is gone."""
        with self._root.cursor() as connection:
            connection.begin()
            leaving = pa.table({IDENTITY: pa.array([*rows[IDENTITY].to_pylist(), *gone], pa.string())})
            connection.register("leaving", leaving)
            connection.register("coming", rows)
            connection.execute(f"DELETE FROM frame WHERE {IDENTITY} IN (SELECT {IDENTITY} FROM leaving)")
            connection.execute(f"INSERT INTO frame BY NAME SELECT *, TRUE AS {_CHANGED} FROM coming")
            connection.execute("DELETE FROM about")
            ((people,),) = connection.execute("SELECT count(*) FROM frame").fetchall()
            about = replace(about, people=people)
            self._write_about(connection, about)
            connection.commit()
            self.about = about

    def check(self, rule: Rule) -> None:
        """Raises NotReady for a feature that the frame has not."""
        check_columns(rule, self.columns)

    @contextmanager
    def asked(self, seconds: float | None = None) -> Iterator[Asking]:
        """The frame as it is at this moment, for as long as the ``with`` lasts; what is asked after ``seconds`` raises
        DeadlineExceeded."""
        with self._root.cursor() as connection:
            timer = threading.Timer(seconds, connection.interrupt) if seconds is not None else None
            if timer is not None:
                timer.daemon = True
                timer.start()
            try:
                connection.begin()
                yield Asking(connection, self.columns, None if seconds is None else time.monotonic() + seconds)
            except duckdb.InterruptException as error:
                raise _too_late() from error
            finally:
                if timer is not None:
                    timer.cancel()
                with suppress(duckdb.Error):  # it only read
                    connection.rollback()

    @staticmethod
    def _write_about(connection: duckdb.DuckDBPyConnection, about: About) -> None:
        said = [about.id, about.as_of, about.created_at, about.people, about.catalogue]
        connection.execute("INSERT INTO about VALUES (?, ?, ?, ?, ?)", said)


class Asking:
    """Questions to one moment of a frame."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, columns: Set[str], until: float | None = None) -> None:
        self._connection = connection
        self._columns = columns
        self._until = until
        (about,) = self._all("SELECT id, as_of, created_at, people, catalogue FROM about", {})
        self.about: Final = About(*about)

    def count(self, rule: Rule) -> tuple[int, int]:
        """How many a rule is true of, and how many it is left open of."""
        said, possible = self._where(rule), statement.duckdb_not_false(rule, self.about.as_of, "q")
        text = f"""
            SELECT count(*) FILTER (truth), count(*) FILTER (truth IS NULL)
            FROM (SELECT {said.text} AS truth FROM frame WHERE {possible.text})
        """
        ((members, unknown),) = self._all(text, {**said.parameters, **possible.parameters})
        return int(members), int(unknown)

    def members(self, rules: Mapping[str, Rule]) -> dict[str, int]:
        """How many each rule is true of, all in one look; without those that read what the frame has not."""
        answerable = {name: rule for name, rule in rules.items() if self._columns >= set(rule.features)}
        if not answerable:
            return {}
        said = [statement.duckdb(rule, self.about.as_of, f"r{n}_") for n, rule in enumerate(answerable.values())]
        text = f"SELECT {', '.join(f'count(*) FILTER ({each.text})' for each in said)} FROM frame"
        parameters = {name: value for each in said for name, value in each.parameters.items()}
        ((*counts,),) = self._all(text, parameters)
        return dict(zip(answerable, counts, strict=True))

    def some(self, rule: Rule, limit: int) -> list[str]:
        """The ids of some whom a rule is true of, the first by id."""
        return self.page(rule, "", limit)

    def page(self, rule: Rule, after: str, limit: int) -> list[str]:
        """The first ids after this one of whom a rule is true of, sorted."""
        said = self._where(rule)
        text = f"""
            SELECT {IDENTITY} FROM frame WHERE {said.text} AND {IDENTITY} > $after ORDER BY {IDENTITY} LIMIT $limit
        """
        parameters = {**said.parameters, "after": after, "limit": limit}
        return [row[0] for row in self._all(text, parameters)]

    def overlaps(self, rule: Rule) -> list[Overlap]:
        """Who is in it and in each other segment, those with the most first."""
        said = self._where(rule)
        text = f"""
            SELECT segment, count(*) FILTER (truth), count(*)
            FROM (SELECT unnest({SEGMENTS}) AS segment, {said.text} AS truth FROM frame)
            GROUP BY segment HAVING count(*) FILTER (truth) > 0 ORDER BY 2 DESC, 1
        """
        return [Overlap(*row) for row in self._all(text, said.parameters)]

    def counts(self) -> FrameCount:
        """How many have each label, and are in each segment."""
        members: dict[str, int] = {}
        for kind, column in (("label", LABELS), ("segment", SEGMENTS)):
            text = f"SELECT k, count(*) FROM (SELECT unnest({column}) AS k FROM frame) GROUP BY k"
            members |= {f"{kind} {key}": count for key, count in self._all(text, {})}
        return FrameCount(self.about.id, self.about.as_of, self.about.people, members)

    def rows(
        self, rule: Rule, columns: Sequence[str] = (), after: str = "", contactable_on: str = ""
    ) -> pa.RecordBatchReader:
        """Ids and these columns of whom a rule is true of, by id, in batches; only who can be reached by such an
        identifier, if one is named. Raises InvalidInput (field ``features``) for a column that there is not."""
        odd = [name for name in columns if name not in self._columns]
        if odd:
            raise InvalidInput([Violation("features", f"has no {odd[0]}{did_you_mean(odd[0], self._columns)}")])
        said = self._where(rule)
        selected = ", ".join(_quoted(name) for name in dict.fromkeys((IDENTITY, *columns)))
        text = f"""
            SELECT {selected} FROM frame WHERE {said.text} AND {IDENTITY} > $after{self._reachable(contactable_on)}
        """
        parameters: dict[str, Any] = {**said.parameters, "after": after}
        if contactable_on:
            parameters["reach"] = contactable_on
        self._check_time()
        changed = self._connection.sql(f"{text} AND {_CHANGED} ORDER BY {IDENTITY}", params=parameters)
        found = changed.to_arrow_table()
        others = self._connection.sql(f"{text} AND NOT {_CHANGED}", params=parameters).to_arrow_reader(_ROWS)
        return pa.RecordBatchReader.from_batches(others.schema, _merged(others, found))

    def people(self, identities: Sequence[str] | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows of the frame, all or of some, by id; all columns or some."""
        selected = f"* EXCLUDE {_CHANGED}" if columns is None else ", ".join(_quoted(name) for name in columns)
        where = "" if identities is None else f"WHERE {IDENTITY} IN (SELECT unnest($identities))"
        parameters: Mapping[str, Any] = {} if identities is None else {"identities": list(identities)}
        text = f"SELECT {selected} FROM frame {where} ORDER BY {IDENTITY}"
        self._check_time()
        return in_ms(self._connection.sql(text, params=dict(parameters)).to_arrow_table())

    def _all(self, text: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """All rows: one that is left makes the connection refuse what follows."""
        self._check_time()
        return self._connection.execute(text, dict(parameters)).fetchall()

    def _check_time(self) -> None:
        """An interruption ends what runs, and is lost between two questions."""
        if self._until is not None and time.monotonic() >= self._until:
            raise _too_late()

    def row(self, identity: str, rule: Rule) -> Row | None:
        """What is known of one person, as far as a rule reads it; None of who is not in the frame."""
        check_columns(rule, self._columns)
        table = self.people([identity], [*rule.features, LABELS, SEGMENTS])
        if not len(table):
            return None
        instants = [name for name, feature in rule.features.items() if feature.type is Type.INSTANT]
        for name in instants:
            table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.int64()))
        row: Row = table.to_pylist()[0]
        return row

    def _where(self, rule: Rule) -> statement.Statement:
        check_columns(rule, self._columns)
        return statement.duckdb(rule, self.about.as_of)

    def _reachable(self, kind: str) -> str:
        if not kind:
            return ""
        if REACHABLE not in self._columns:
            raise NotReady(REACHABLE, "is not in the frame")
        return f" AND list_contains({REACHABLE}, $reach)"


def _merged(batches: Iterable[pa.RecordBatch], changed: pa.Table) -> Iterator[pa.RecordBatch]:
    """All rows by id, of batches and of a table that are each by id."""
    ids, start = changed[IDENTITY].to_pylist(), 0
    for batch in batches:
        if len(batch):
            end = bisect(ids, batch[IDENTITY][-1].as_py(), start)
            if end == start:
                yield batch
            else:
                both = pa.concat_tables([pa.Table.from_batches([batch]), changed.slice(start, end - start)])
                yield from both.sort_by(IDENTITY).to_batches(_ROWS)
            start = end
    yield from changed.slice(start).to_batches(_ROWS)


def check_columns(rule: Rule, columns: Collection[str]) -> None:
    """Raises NotReady for a feature that the frame has not: it was defined since."""
    if missing := sorted(set(rule.features) - set(columns)):
        raise NotReady(missing[0], "is not in the frame yet: save what asks for it, and the next frame has it")


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("the deadline ran out before the frame was looked through")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
