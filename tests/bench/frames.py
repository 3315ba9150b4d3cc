"""A frame of everybody against the bare DuckDB group-bys that it takes; all rules over it; one person."""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from onefold.segments import features
from onefold.segments.check import Rule, check
from onefold.segments.features import Population
from onefold.segments.frame import evaluated
from onefold.segments.generations import Generations
from onefold.segments.memberships import CompiledRules
from onefold.segments.printing import text_of
from onefold.segments.reads import Named, evaluation_order, reads
from onefold.segments.tree import CountEvents
from onefold.segments.types import Type
from onefold.segments.vocabulary import FEATURES, TypedFeature, Vocabulary, by_key
from tests.bench.crowd import END, Crowd, crowds
from tests.bench.ingest import Ratio

PEOPLE: Final = 1_000_000
AT_ONCE: Final = 100_000
RULES: Final = 200
ROUNDS: Final = 15

GROUP_BYS: Final = (
    "SELECT identity, epoch_ms(placed_at) // 86400000 AS day, count(*), sum(total), max(placed_at) FROM orders"
    " GROUP BY identity, day",
    "SELECT identity, count(*), sum(total), min(placed_at), max(placed_at) FROM orders GROUP BY identity",
    "SELECT identity, sum(quantity * unit_price) / sum(quantity) FROM lines GROUP BY identity",
    "SELECT identity, category, count(*) FROM lines GROUP BY identity, category",
    "SELECT identity, properties['category'] AS category, count(*) FROM events GROUP BY identity, category",
    "SELECT identity, properties['brand'] AS brand, count(*) FROM events GROUP BY identity, brand",
    'SELECT identity, epoch_ms("at") // 3600000 % 24 AS hour, count(*) FROM events GROUP BY identity, hour',
    "SELECT identity, channel, count(*) FROM events GROUP BY identity, channel",
    'SELECT identity, min("at"), arg_min(source, "at"), arg_max(source, "at") FROM events GROUP BY identity',
    'SELECT identity, count(*) FILTER (pause > 1800000) FROM (SELECT identity, epoch_ms("at") - epoch_ms(lag("at")'
    ' OVER (PARTITION BY identity ORDER BY "at")) AS pause FROM events) GROUP BY identity',
)
"""The groups that the features of people speak of, as anybody would ask for one of them by itself."""


@dataclass(frozen=True)
class _Field:
    type: Type
    property: str


@dataclass(frozen=True)
class _Catalogue:
    """Rules about everything, a part of them on labels and on counts of events."""

    rules: Mapping[Named, Rule]
    event_fields: Mapping[str, _Field]
    features: Mapping[str, Any] = field(default_factory=dict)
    time_zone: str = "Europe/London"

    @property
    def order(self) -> Sequence[Named]:
        return evaluation_order({named: rule.tree for named, rule in self.rules.items()})

    @property
    def windows(self) -> tuple[CountEvents, ...]:
        asked = {window for rule in self.rules.values() for window in reads(rule.tree).windows}
        return tuple(sorted(asked, key=text_of))


def measure(people: int = PEOPLE) -> list[Ratio]:
    """A frame is computed and stored a part at a time, as a service does it; the bare queries run over each part in
    turn with it."""
    catalogue = _catalogue()
    known = _population(people)
    spent = _Spent()
    with tempfile.TemporaryDirectory() as folder:
        generations = Generations(Path(folder))
        began = time.perf_counter()
        generations.publish(END, "bench", _parts(people, known, catalogue, spent))
        total = time.perf_counter() - began
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        ratios = [
            _ratio(f"features of {people:,} people (s)", spent.features, spent.bare, 3, "the bare group-bys"),
            _at_most(f"{RULES} rules over {people:,} people (s)", spent.rules, 10.0),
            _at_most(f"memory at its most (GB; the frame has {size / 1e6:,.0f} MB on disk)", memory, 1.5),
            _one_person(generations, catalogue),
        ]
    alone = total - spent.made - spent.bare
    print(f"a frame of {people:,} people took {alone:.0f} s to be computed, evaluated and stored")
    return ratios


@dataclass(slots=True)
class _Spent:
    """Seconds."""

    made: float = 0.0
    features: float = 0.0
    rules: float = 0.0
    bare: float = 0.0


def _parts(people: int, known: Population, catalogue: _Catalogue, spent: _Spent) -> Iterator[pa.Table]:
    began = time.perf_counter()
    for part in crowds(people, AT_ONCE):
        spent.made += time.perf_counter() - began
        table, seconds = _timed(lambda part=part: _features(part, known, catalogue))
        spent.features += seconds
        frame, seconds = _timed(lambda table=table: evaluated(table, catalogue, {}, END))
        spent.rules += seconds
        spent.bare += _timed(lambda part=part: _bare(part))[1]
        del part, table  # no service keeps a part while it reads the next
        yield frame
        del frame
        began = time.perf_counter()


def _features(part: Crowd, known: Population, catalogue: _Catalogue) -> pa.Table:
    return features.compute(part.people, part.orders, part.lines, part.events, part.predictions, END, known, catalogue)


def _bare(part: Crowd) -> None:
    with duckdb.connect() as connection:
        for name in ("orders", "lines", "events"):
            connection.register(name, getattr(part, name))
        for text in GROUP_BYS:
            connection.sql(text).to_arrow_table()
        windows = ", ".join(f"count(*) FILTER (type = 'product_view' AND {each})" for each in _bare_windows())
        connection.sql(f"SELECT identity, {windows} FROM events GROUP BY identity").to_arrow_table()


def _bare_windows() -> Iterator[str]:
    for days in (7, 30, 90):
        start = f'epoch_ms("at") >= {END - days * 86_400_000}'
        yield start
        for number in range(8):
            yield f"{start} AND properties['category'] = 'category {number}'"


def _population(people: int) -> Population:
    """Of a part: that of everybody is measured over the orders alone, and no matter here."""
    part = next(crowds(people, min(AT_ONCE, people)))
    return features.population(part.orders, part.lines, part.predictions, END)


def _catalogue() -> _Catalogue:
    fields = {"channel": _Field(Type.TEXT, ""), "category": _Field(Type.TEXT, "category")}
    typed = by_key([TypedFeature(key, each.type) for key, each in fields.items()])
    vocabulary = Vocabulary(FEATURES, typed)
    return _Catalogue({named: check(text, vocabulary) for named, text in _texts()}, fields)


def _texts() -> Iterator[tuple[Named, str]]:
    """So many rules, of all sorts that templates are of."""
    for number in range(RULES):
        days, nth = (7, 30, 90)[number % 3], number // 8
        text = (
            f"orders_{(30, 90)[number % 2]}d >= {1 + nth % 3} && days_since(last_order_at) > {days}",
            f'count_events("product_view", category == "category {nth % 8}", {days}d) >= 2',
            f"order_value_mean > {10 + nth} && (churn_probability > 0.5 || overdue > 1.5)",
            f'country == "gb" && age >= {18 + nth} && gender == "female"',
            f'"category {nth % 20}" in categories && price_band >= {1 + nth % 5}',
            f'count_events("product_view", {days}d) > {nth % 5} && carts_90d == 0',
            f'preferred_channel in ["app", "store"] && !(top_category == "category {nth % 20}")',
            f'has_label("l{max(0, number - 8):03d}") && !has_label("l{max(0, number - 9):03d}")',
        )[number % 8]
        yield Named("label", f"l{number:03d}"), text


def _one_person(generations: Generations, catalogue: _Catalogue) -> Ratio:
    with generations.open() as frame:
        table = next(frame.parts(1_000)).drop_columns(["labels", "segments"])
    rows = [{**row, **_in_ms(row)} for row in table.to_pylist()]
    compiled = CompiledRules(catalogue)
    spent = [_timed(lambda row=row: compiled.all(row, END))[1] * 1e6 for row in rows]
    return _at_most(f"{RULES} rules on one changed identity (µs, median)", statistics.median(spent), 300.0)


def _in_ms(row: Mapping[str, Any]) -> dict[str, int]:
    return {key: round(value.timestamp() * 1000) for key, value in row.items() if hasattr(value, "timestamp")}


def _ratio(name: str, ours: float, reference: float, bar: float, of: str) -> Ratio:
    return Ratio(name, ours, reference, ours / reference, f"≤ {bar:g} × {of}", ours <= bar * reference)


def _at_most(name: str, ours: float, bar: float) -> Ratio:
    return Ratio(name, ours, bar, ours / bar, f"≤ {bar:g}", ours <= bar)


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    found = call()
    return found, time.perf_counter() - began


def main() -> None:
    """Measures by itself, for fewer people if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=PEOPLE)
    for ratio in measure(parser.parse_args().people):
        print(f"{ratio.name}: {ratio.ours:,.2f} against {ratio.reference:,.2f}, {ratio.bar}: {ratio.holds}")


if __name__ == "__main__":
    main()
