"""Everybody's features as of an instant: what models know, what is predicted, and what rules ask beside, set-wise.

One computation serves a whole population and one person; what differs is only which rows are handed in. What a person
is held against (quintiles, the population's means) comes in as :class:`Population`, measured once, so that a person
computed alone equals the same person computed among all, bit for bit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from onefold.graph.errors import InvalidInput, Violation
from onefold.graph.model import Instant
from onefold.ml import catalogue as ml_catalogue
from onefold.ml import columns as ml_columns
from onefold.ml import features as ml_features
from onefold.ml.columns import INSTANT
from onefold.ml.features import FloatArray
from onefold.segments import columns, deeds, ranks, rfm, traits
from onefold.segments.asked import Asked
from onefold.segments.coded import IntArray, persons
from onefold.segments.person_features import PERSON_FEATURES, Source, of_source
from onefold.segments.printing import text_of
from onefold.segments.query import query
from onefold.segments.ranks import Bands
from onefold.segments.tree import CountEvents
from onefold.segments.types import Type
from onefold.segments.vocabulary import FEATURES
from onefold.segments.windows import properties_read

COLUMN_TYPES: Final[Mapping[Type, pa.DataType]] = {
    Type.INT: pa.int64(),
    Type.FLOAT: pa.float64(),
    Type.DAYS: pa.float64(),
    Type.TEXT: pa.string(),
    Type.BOOL: pa.bool_(),
    Type.INSTANT: INSTANT,
    Type.TEXTS: pa.list_(pa.string()),
}
"""What a column of a frame is, by the type of its feature."""


@dataclass(frozen=True, slots=True)
class Population:
    """What one person is held against."""

    of_models: ml_features.Population
    of_purchases: rfm.Population
    prices: Bands
    """Quintiles of the mean price of a piece that a person bought."""
    spend: Bands
    """Quintiles of the predicted spend."""

    def to_data(self) -> dict[str, Any]:
        """As JSON has it (Python's, with infinities)."""
        return asdict(self)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Population:
        """What :meth:`to_data` gave."""
        bought: dict[str, Any] = {k: _bands(v) if isinstance(v, dict) else v for k, v in data["of_purchases"].items()}
        return cls(
            ml_features.Population(**data["of_models"]),
            rfm.Population(**bought),
            _bands(data["prices"]),
            _bands(data["spend"]),
        )


def _bands(data: Mapping[str, Any]) -> Bands:
    return Bands(tuple(data["tops"]))


def population(orders: pa.Table, lines: pa.Table, predictions: pa.Table, as_of: Instant) -> Population:
    """The population as of an instant, from everybody's rows.

    ``orders`` need the columns of :data:`onefold.ml.columns.ORDERS` only; ``lines`` are in those of
    :data:`onefold.segments.columns.LINES`, ``predictions`` in those of :data:`onefold.segments.columns.PREDICTIONS`.
    Raises :class:`InvalidInput` when a table has other columns.
    """
    narrow = ml_columns.check(orders, ml_columns.ORDERS)
    known = ml_features.population(narrow, as_of)
    lines = deeds.uncancelled(_before(ml_columns.check(lines, columns.LINES), "placed_at", as_of))
    lines, person = persons(lines, pc.unique(lines["identity"]))
    prices = _prices(lines.append_column("person", pa.array(person)), known.currency)["price_mean"]
    spend = ml_columns.check(predictions, columns.PREDICTIONS)["predicted_spend_micros"]
    return Population(
        known,
        rfm.population(narrow, as_of),
        ranks.bands(_floats(prices)),
        ranks.bands(_floats(spend)),
    )


def schema(asked: Asked) -> pa.Schema:
    """The columns of a frame's features: ``identity``, those that come with Onefold, then the catalogue's by name."""
    own = {text_of(window): COLUMN_TYPES[Type.INT] for window in asked.windows}
    own |= {key: COLUMN_TYPES[custom.type] for key, custom in asked.features.items()}
    return pa.schema(
        [
            pa.field("identity", pa.string(), nullable=False),
            *(pa.field(key, COLUMN_TYPES[feature.type]) for key, feature in FEATURES.items()),
            *(pa.field(name, own[name]) for name in sorted(own)),
        ]
    )


def event_properties(asked: Asked) -> list[str]:
    """The free properties of events that :func:`compute` reads, sorted."""
    return sorted({*deeds.PROPERTIES, *properties_read(asked.windows, asked.event_fields)})


def compute(
    people: pa.Table,
    orders: pa.Table,
    lines: pa.Table,
    events: pa.Table,
    predictions: pa.Table,
    as_of: Instant,
    against: Population,
    asked: Asked,
) -> pa.Table:
    """The features, by :func:`schema`, of everybody in ``people``, by identity.

    The tables are in the columns of :mod:`onefold.segments.columns`, ``events`` with the properties of
    :func:`event_properties`. Rows at or after ``as_of``, and those of whom is not among the people, change nothing.
    Who did nothing has a count of 0; all else is unknown of them. Raises :class:`InvalidInput` when a table has other
    columns, or somebody is there twice.
    """
    people = ml_columns.check(people, columns.PEOPLE).sort_by("identity")
    identities = _whole(people["identity"])
    if len(pc.unique(identities)) != len(identities):
        raise InvalidInput([Violation("people.identity", "must be there once each")])
    orders = _before(ml_columns.check(orders, columns.ORDERS), "placed_at", as_of)
    lines = _before(ml_columns.check(lines, columns.LINES), "placed_at", as_of)
    events = _before(ml_columns.check(events, columns.EVENTS), "at", as_of)
    narrow = orders.select(ml_columns.ORDERS.names)
    done = deeds.deeds(orders, lines, events, identities, asked)
    by_identity = [
        ml_features.compute(narrow, ml_columns.EVENTS.empty_table(), as_of, against.of_models).drop_columns(_OF_EVENTS),
        _purchases(narrow, as_of, against),
        rfm.figures(narrow, as_of, against.of_purchases),
        ml_columns.check(predictions, columns.PREDICTIONS),
    ]
    found: dict[str, pa.Array] = {}
    for table in by_identity:
        known, person = persons(table, identities)
        found |= _placed(known.drop_columns("identity"), person, len(identities))
    for table in (*deeds.features_of(done, as_of, asked), _prices(done.lines, against.of_models.currency)):
        found |= _placed(table.drop_columns("person"), np.asarray(table["person"].to_numpy()), len(identities))
    found |= _columns(traits.features_of(people, _day(as_of, asked.time_zone), asked))
    for key in _COUNTS | {text_of(window) for window in asked.windows}:
        found[key] = pc.fill_null(found[key], 0)
    found |= _of_features(found, against)
    found |= {k: found[text_of(c.source)] for k, c in asked.features.items() if isinstance(c.source, CountEvents)}
    wanted = schema(asked)
    return pa.table([identities, *(_stored(found[field.name], field) for field in list(wanted)[1:])], schema=wanted)


_OF_EVENTS: Final = [feature.key for feature in ml_catalogue.of_source(ml_catalogue.Source.EVENTS)]
"""Features of models that are computed here for those, too, who never bought."""

_COUNTS: Final = frozenset(
    [
        *(f.key for f in ml_catalogue.CATALOGUE if f.type is ml_catalogue.ValueType.WHOLE),
        *(f.key for f in PERSON_FEATURES if f.is_count),
    ]
)

_PURCHASES: Final = f"""
    WITH {ml_catalogue.PURCHASES}
    SELECT identity, {", ".join(f"{f.formula} AS {f.key}" for f in of_source(Source.PURCHASES))}
    FROM purchases
    GROUP BY identity
"""

_PRICES: Final = """
    SELECT person, sum(quantity * unit_price) / (sum(quantity) * 1e6) AS price_mean
    FROM lines
    WHERE currency = $currency AND quantity > 0 AND unit_price > 0
    GROUP BY person
"""


def _purchases(orders: pa.Table, as_of: Instant, against: Population) -> pa.Table:
    tables = {"orders": orders, "cutoffs": pa.table({"as_of": pa.array([as_of])})}
    return query(_PURCHASES, tables, {"currency": against.of_models.currency})


def _prices(lines: pa.Table, currency: str) -> pa.Table:
    """The mean price of a piece that each person bought."""
    return query(_PRICES, {"lines": lines}, {"currency": currency})


def _of_features(found: Mapping[str, pa.Array], against: Population) -> dict[str, pa.Array]:
    """The features that are made of others."""
    bands = {
        "price_band": against.prices.of(_floats(found["price_mean"])),
        "clv_score": against.spend.of(_floats(found["predicted_spend_micros"])),
    }
    known = {**found, **{key: pa.array(band, pa.float64(), from_pandas=True) for key, band in bands.items()}}
    features = of_source(Source.FEATURES)
    read = sorted(
        {name for feature in features for name in re.findall(r"[a-z_0-9]+", feature.formula) if name in known}
    )
    table = pa.table({"person": np.arange(len(known["price_mean"])), **{name: known[name] for name in read}})
    selected = ", ".join(f"({feature.formula}) AS {feature.key}" for feature in features)
    return _columns(query(f"SELECT {selected} FROM known ORDER BY person", {"known": table}))


# -- columns -----------------------------------------------------------------------------------------------------


def _before(rows: pa.Table, at: str, as_of: Instant) -> pa.Table:
    return rows.filter(pc.less(rows[at], pa.scalar(as_of, INSTANT)))


def _placed(rows: pa.Table, person: IntArray, people: int) -> dict[str, pa.Array]:
    """The columns of a table with a row for some persons, as columns with a row for everybody."""
    row = np.full(people, -1)
    row[person] = np.arange(len(person))
    take = pa.array(row, mask=row < 0)
    return {name: values.take(take) for name, values in _columns(rows).items()}


def _columns(rows: pa.Table) -> dict[str, pa.Array]:
    return {name: _whole(rows[name]) for name in rows.schema.names}


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks else pa.array([], column.type)


def _floats(values: pa.Array | pa.ChunkedArray) -> FloatArray:
    """Numbers, NaN where they are unknown."""
    return np.asarray(values.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def _stored(values: pa.Array, field: pa.Field) -> pa.Array:
    """A column of a frame. No number is NaN, infinite, or a negative zero: rules know none."""
    if field.type == INSTANT:
        return values.cast(pa.int64()).cast(field.type)
    if field.type == pa.float64():
        numbers = _floats(values) + 0.0
        return pa.array(numbers, field.type, mask=~np.isfinite(numbers))
    return values.cast(field.type)


def _day(as_of: Instant, time_zone: str) -> date:
    return datetime.fromtimestamp(as_of / 1000, ZoneInfo(time_zone)).date()
