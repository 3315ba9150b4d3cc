"""How good the data are: what is known, how fresh it is, what contradicts itself, what was refused, what has changed.

A pure function over the tables that :mod:`onefold.graph.quality` reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import sqrt
from statistics import mean, variance
from typing import Any, Final

import duckdb
import pyarrow as pa

from onefold.graph.model import TRAITS, Instant, to_datetime

_INSTANT: Final = pa.timestamp("ms", "UTC")

RECORDS: Final = pa.schema(
    [
        pa.field("identity", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("observed_at", _INSTANT, nullable=False),
        *(pa.field(trait, pa.string()) for trait in TRAITS),
    ]
)
"""One row per customer record that its source has described, with its traits as texts; null where it does not know."""

LINKS: Final = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("identifier", pa.string(), nullable=False),
        pa.field("first_seen", _INSTANT, nullable=False),
    ]
)
"""One row per link of a record to an identifier."""

SAID: Final = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("what", pa.string(), nullable=False),
        pa.field("items", pa.int64(), nullable=False),
        pa.field("recent", pa.int64(), nullable=False),
        pa.field("newest", _INSTANT, nullable=False),
    ]
)
"""One row per source and what it sends; ``recent`` counts those of the last :data:`RECENT_DAYS` days."""

RECENT_DAYS: Final = 7
WEEKS: Final = 13
"""How many whole weeks, Monday to Sunday UTC, are looked at for drift: the last one against those before it."""
BEFORE_AT_LEAST: Final = 4
"""So many weeks must there be to compare a week with."""
FAR: Final = 3.0
"""From so many standard deviations on a week is out of the ordinary."""


@dataclass(frozen=True, slots=True)
class Reject:
    """Rows or items that were not taken, by who refused them (``reader`` or ``service``) and why."""

    by: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Completeness:
    """What the records of a source know; of everybody, what any of their records knows."""

    source: str
    """Empty for everybody."""
    of: int
    """Records of the source, or people."""
    known: Mapping[str, float]
    """The share for which it is known, by trait."""

    @property
    def mean(self) -> float:
        """Over all traits."""
        return mean(self.known.values())


@dataclass(frozen=True, slots=True)
class Duplicates:
    """How often a source has one person more than once."""

    source: str
    records: int
    people: int

    @property
    def share(self) -> float:
        """Of the source's records: those that are one too many."""
        return (self.records - self.people) / self.records


@dataclass(frozen=True, slots=True)
class Freshness:
    """How much a source has sent, and how long ago the newest is from."""

    source: str
    what: str
    """``customer``, ``order`` or ``event``."""
    items: int
    recent: int
    """In the last :data:`RECENT_DAYS` days."""
    newest: Instant
    age_days: float


@dataclass(frozen=True, slots=True)
class Conflict:
    """How often records of one person contradict one another, upper and lower case and outer spaces aside."""

    trait: str
    people: int
    """Of whom at least two records know it."""
    conflicting: int

    @property
    def share(self) -> float:
        """Of these people."""
        return self.conflicting / self.people


@dataclass(frozen=True, slots=True)
class Week:
    """What a source gave of a kind for the first time in a week."""

    monday: date
    links: int
    identifiers: int
    """Distinct ones."""


@dataclass(frozen=True, slots=True)
class Drift:
    """Whether a source gives as many distinct identifiers of a kind as it used to.

    A source that begins to send one value for everybody gives fewer of them; one that begins to invent values gives
    more.
    """

    source: str
    kind: str
    weeks: tuple[Week, ...]
    """The oldest first; the last is the one that is judged."""
    usual: float | None
    """Identifiers a week before; None where there are too few weeks to tell."""
    deviation: float | None
    """How many standard deviations the last week lies from the usual."""

    @property
    def is_far(self) -> bool:
        """Whether the last week is out of the ordinary."""
        return self.deviation is not None and abs(self.deviation) >= FAR


@dataclass(frozen=True, slots=True)
class Quality:
    """How good the data are. All by name of source, trait or kind."""

    as_of: Instant
    everybody: Completeness
    sources: tuple[Completeness, ...]
    duplicates: tuple[Duplicates, ...]
    freshness: tuple[Freshness, ...]
    conflicts: tuple[Conflict, ...]
    """Of traits that two records of somebody know; those with the largest share of conflicts first."""
    drifts: tuple[Drift, ...]
    """The farthest first."""
    rejects: tuple[Reject, ...]
    """The most frequent first."""


def assess(records: pa.Table, links: pa.Table, said: pa.Table, rejects: Iterable[Reject], as_of: Instant) -> Quality:
    """How good the data in these tables are, in the columns of :data:`RECORDS`, :data:`LINKS` and :data:`SAID`."""
    with duckdb.connect() as connection:
        connection.register("records", records)
        connection.register("links", links)
        connection.execute("SET TimeZone = 'UTC'")
        everybody, sources = _completeness(connection)
        return Quality(
            as_of,
            everybody,
            sources,
            tuple(Duplicates(*row) for row in connection.execute(_DUPLICATES).fetchall()),
            _freshness(said, as_of),
            _conflicts(connection),
            _drifts(connection, as_of),
            tuple(sorted(rejects, key=lambda reject: (-reject.count, reject.by, reject.reason))),
        )


_KNOWN: Final = ", ".join(f"coalesce(avg(({trait})::INTEGER), 0)" for trait in TRAITS)

_BY_SOURCE: Final = f"""
    SELECT source, count(*), {_KNOWN}
    FROM (SELECT source, {", ".join(f"{trait} IS NOT NULL AS {trait}" for trait in TRAITS)} FROM records)
    GROUP BY source ORDER BY source
"""

_OF_EVERYBODY: Final = f"""
    SELECT '', count(*), {_KNOWN}
    FROM (SELECT {", ".join(f"count({trait}) > 0 AS {trait}" for trait in TRAITS)} FROM records GROUP BY identity)
"""

_DUPLICATES: Final = """
    SELECT source, count(*), count(DISTINCT identity) FROM records GROUP BY source ORDER BY source
"""

_CONFLICTS: Final = """
    SELECT $trait, count(*), count(*) FILTER (kept > 1)
    FROM (
        SELECT count(DISTINCT lower(trim({trait}))) AS kept
        FROM records WHERE {trait} IS NOT NULL GROUP BY identity HAVING count(*) > 1
    )
"""

_WEEKS: Final = """
    SELECT source, kind, date_trunc('week', first_seen)::DATE AS monday, count(*), count(DISTINCT identifier)
    FROM links GROUP BY ALL HAVING monday < $monday ORDER BY source, kind, monday
"""


def _completeness(connection: duckdb.DuckDBPyConnection) -> tuple[Completeness, tuple[Completeness, ...]]:
    def of(row: Sequence[Any]) -> Completeness:
        source, count, *known = row
        return Completeness(source, count, dict(zip(TRAITS, known, strict=True)))

    ((*everybody,),) = connection.execute(_OF_EVERYBODY).fetchall()
    return of(everybody), tuple(map(of, connection.execute(_BY_SOURCE).fetchall()))


def _freshness(said: pa.Table, as_of: Instant) -> tuple[Freshness, ...]:
    instants = said["newest"].cast(pa.int64()).to_pylist()
    rows = said.select(["source", "what", "items", "recent"]).to_pylist()
    found = [
        Freshness(**row, newest=newest, age_days=(as_of - newest) / 86_400_000)
        for row, newest in zip(rows, instants, strict=True)
    ]
    return tuple(sorted(found, key=lambda one: (one.source, one.what)))


def _conflicts(connection: duckdb.DuckDBPyConnection) -> tuple[Conflict, ...]:
    rows = [connection.execute(_CONFLICTS.format(trait=trait), {"trait": trait}).fetchone() for trait in TRAITS]
    found = [Conflict(*row) for row in rows if row and row[1]]
    return tuple(sorted(found, key=lambda conflict: (-conflict.share, conflict.trait)))


def _drifts(connection: duckdb.DuckDBPyConnection, as_of: Instant) -> tuple[Drift, ...]:
    today = to_datetime(as_of).date()
    this_monday = today - timedelta(days=today.weekday())
    weeks: dict[tuple[str, str], dict[date, Week]] = {}
    for source, kind, monday, count, identifiers in connection.execute(_WEEKS, {"monday": this_monday}).fetchall():
        weeks.setdefault((source, kind), {})[monday] = Week(monday, count, identifiers)
    found = [_drift(source, kind, there, this_monday) for (source, kind), there in weeks.items()]
    return tuple(sorted(found, key=lambda drift: (-abs(drift.deviation or 0.0), drift.source, drift.kind)))


def _drift(source: str, kind: str, there: Mapping[date, Week], this_monday: date) -> Drift:
    """The last whole week against those before, from the first in which anything came. A week without anything is a
    week with 0."""
    mondays = [this_monday - timedelta(weeks=back) for back in range(WEEKS, 0, -1)]
    weeks = tuple(there.get(m, Week(m, 0, 0)) for m in mondays if m >= min(there))
    *before, last = [week.identifiers for week in weeks] or [0]
    if len(before) < BEFORE_AT_LEAST:
        return Drift(source, kind, weeks, None, None)
    usual = mean(before)
    # Counts vary at least as those of chance events do, and the usual is itself only known from so many weeks.
    spread = sqrt(max(variance(before), usual, 1.0) * (1 + 1 / len(before)))
    return Drift(source, kind, weeks, usual, (last - usual) / spread)


@dataclass(frozen=True, slots=True)
class Sample:
    """A value of a metric."""

    name: str
    labels: Mapping[str, str]
    value: float

    @property
    def help(self) -> str:
        """What the metric tells."""
        return _HELP[self.name]


_HELP: Final = {
    "onefold_quality_completeness_ratio": "Share of a source's records that know a trait; of people without a source.",
    "onefold_quality_duplicates_ratio": "Share of a source's records that are of a person whom it has already.",
    "onefold_quality_newest_timestamp_seconds": "When the newest of what a source sends was observed or happened.",
    "onefold_quality_recent_items": f"What a source has sent in the last {RECENT_DAYS} days.",
    "onefold_quality_conflicts_ratio": "Share of the people with two values of a trait of whom these differ.",
    "onefold_quality_identifier_drift_deviations": "New identifiers of the last whole week, from what is usual.",
    "onefold_quality_rejects": "Rows that were not taken.",
}


def samples(quality: Quality) -> Iterator[Sample]:
    """The same as metrics: gauges whose names begin with ``onefold_quality_``."""
    for known in (quality.everybody, *quality.sources):
        for trait, share in known.known.items():
            yield Sample("onefold_quality_completeness_ratio", {"source": known.source, "trait": trait}, share)
    for duplicates in quality.duplicates:
        yield Sample("onefold_quality_duplicates_ratio", {"source": duplicates.source}, duplicates.share)
    for fresh in quality.freshness:
        labels = {"source": fresh.source, "what": fresh.what}
        yield Sample("onefold_quality_newest_timestamp_seconds", labels, fresh.newest / 1000)
        yield Sample("onefold_quality_recent_items", labels, fresh.recent)
    for conflict in quality.conflicts:
        yield Sample("onefold_quality_conflicts_ratio", {"trait": conflict.trait}, conflict.share)
    for drift in quality.drifts:
        if drift.deviation is not None:
            labels = {"source": drift.source, "kind": drift.kind}
            yield Sample("onefold_quality_identifier_drift_deviations", labels, drift.deviation)
    for reject in quality.rejects:
        yield Sample("onefold_quality_rejects", {"by": reject.by, "reason": reject.reason}, reject.count)
