"""How a segment is spread over the values of a dimension, beside everybody: count, share and index (I1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from onefold.segments.insight.intervals import Estimate, share, tgi
from onefold.segments.insight.relations import Relations

AGE_BANDS: Final = (18, 25, 35, 45, 55, 65)
"""The ages at which a band begins, the one below the first aside."""


@dataclass(frozen=True, slots=True)
class Share:
    """One value of a dimension."""

    value: str
    count: int
    """Of the segment."""
    share: Estimate | None
    """Of those of the segment for whom the dimension is known; None where it is known of none."""
    everywhere: int
    """Of everybody."""
    whole: float
    """The share in everybody for whom it is known."""
    tgi: Estimate | None
    """See :func:`onefold.segments.insight.intervals.tgi`; None where too few are to be expected."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """One dimension."""

    key: str
    title: str
    shares: tuple[Share, ...]
    """In their natural order, or by count, the most first."""
    known: int
    """For how many of the segment it is known."""
    unknown: int
    several: bool
    """Whether one person may have several values, so that the shares come to more than 1."""
    ordered: bool
    """Whether the shares are in an order that is natural to the values."""
    left_out: int = 0
    """How many values are not among the shares."""

    def first(self, most: int) -> Distribution:
        """The same with only the first ``most`` shares, if they are by count."""
        if self.ordered:
            return self
        return replace(self, shares=self.shares[:most], left_out=max(0, len(self.shares) - most))


@dataclass(frozen=True, slots=True)
class Dimension:
    """Something to spread people over."""

    key: str
    title: str
    had: str
    """A query for ``identity``, ``inside``, and their ``values``: a list of texts, null where it is unknown."""
    column: str = ""
    """Of the frame, if it is from there."""
    several: bool = False
    ordered: bool = False
    """Whether the values have an order of their own: that of their texts."""


def dimensions(age_bands: Sequence[int] = AGE_BANDS) -> tuple[Dimension, ...]:
    """All of them, in the order in which they are told."""
    return (
        Dimension("age", "Age", _one(_bands(age_bands)), "age", ordered=True),
        _plain("gender", "Gender"),
        _plain("country", "Country"),
        _plain("region", "Region"),
        _plain("city", "City"),
        _plain("loyalty_tier", "Member level"),
        _of_events("device_type", "Device"),
        _of_events("os", "Operating system"),
        _plain("price_band", "Price band", ordered=True),
        Dimension("categories", "Category", _several("categories"), "categories", several=True),
        _plain("preferred_channel", "Preferred channel"),
        _plain("first_source", "First source"),
    )


def distributions(relations: Relations, age_bands: Sequence[int], confidence: float) -> tuple[Distribution, ...]:
    """Every dimension that the frame or events know of anybody, with all of its values."""
    asked = [d for d in dimensions(age_bands) if not d.column or d.column in relations.columns]
    told = (_distribution(relations, dimension, confidence) for dimension in asked)
    return tuple(distribution for distribution in told if distribution.shares)


def _plain(key: str, title: str, ordered: bool = False) -> Dimension:
    return Dimension(key, title, _one(f"{key}::VARCHAR"), key, ordered=ordered)


def _one(value: str) -> str:
    return f"SELECT identity, inside, CASE WHEN {value} IS NOT NULL THEN [{value}] END AS values FROM people"


def _several(column: str) -> str:
    return f"SELECT identity, inside, list_distinct({column}) AS values FROM people"


def _of_events(name: str, title: str) -> Dimension:
    """What a property of events says of a person's devices."""
    had = f"""
        SELECT identity, inside, list(DISTINCT value) AS values
        FROM (SELECT identity, inside, map_extract_value(properties, '{name}') AS value FROM happened)
        WHERE value <> ''
        GROUP BY identity, inside
    """
    return Dimension(name, title, had, several=True)


def _bands(starts: Sequence[int]) -> str:
    """The band of an age, as text that sorts as ages do."""
    cases = [f"WHEN age < {starts[0]} THEN '0–{starts[0] - 1}'"]
    cases += [f"WHEN age < {end} THEN '{start}–{end - 1}'" for start, end in pairwise(starts)]
    return f"CASE WHEN age IS NULL THEN NULL {' '.join(cases)} ELSE '{starts[-1]}+' END"


_COUNTED: Final = """
    WITH had AS MATERIALIZED ({had}),
    known AS (
        SELECT count(*) FILTER (inside) AS segment, count(*) AS whole FROM had WHERE values IS NOT NULL
    ),
    counted AS (
        SELECT value, count(*) FILTER (inside) AS here, count(*) AS everywhere
        FROM (SELECT inside, unnest(values) AS value FROM had)
        GROUP BY value
    ),
    members AS (SELECT count(*) FILTER (inside) AS members FROM people)
    SELECT value, here, everywhere, segment, whole, members FROM known, members LEFT JOIN counted ON true
    ORDER BY {order}
"""


def _distribution(relations: Relations, dimension: Dimension, confidence: float) -> Distribution:
    order = "value" if dimension.ordered else "here DESC, everywhere DESC, value"
    rows = relations.rows(_COUNTED.format(had=dimension.had, order=order))
    *_, segment, whole, members = rows[0]
    shares = [
        Share(
            value,
            here,
            share(here, segment, confidence),
            everywhere,
            everywhere / whole,
            tgi(here, segment, everywhere, whole, confidence),
        )
        for value, here, everywhere, *_ in rows
        if value is not None
    ]
    return Distribution(
        dimension.key,
        dimension.title,
        tuple(shares),
        known=segment,
        unknown=members - segment,
        several=dimension.several,
        ordered=dimension.ordered,
    )
