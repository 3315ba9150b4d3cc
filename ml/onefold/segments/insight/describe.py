"""What a segment is like, beside everybody: all of the insight into it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from onefold.graph.errors import InvalidInput, Violation
from onefold.graph.model import Instant
from onefold.segments.insight import buying, decision, health, products, relations, shares, when, words
from onefold.segments.insight.intervals import FEW, confidence_for

EVENT_PROPERTIES: Final = ("device_type", "os", "rating", "text")
"""The free properties of events that insight reads."""

COLUMNS: Final = frozenset({"identity", "labels", *(each.column for each in shares.dimensions() if each.column)})
"""The columns of a frame that insight reads, as far as they are there."""


@dataclass(frozen=True, slots=True)
class Asked:
    """How to look at a segment."""

    time_zone: str = "UTC"
    """Where what has no offset of its own happened."""
    age_bands: Sequence[int] = shares.AGE_BANDS
    """The ages at which bands begin, rising."""
    high_value: str = health.HIGH_VALUE
    """The label of high-value customers."""
    bars: health.Bars = field(default_factory=health.Bars)
    most: int = 20
    """How many values of a dimension, products, pairs, paths and words to tell at most."""


@dataclass(frozen=True, slots=True)
class Insight:
    """What a segment is like. A share is between 0 and 1; an index (TGI) is 100 where the segment is as everybody."""

    as_of: Instant
    """Only what happened before it counts."""
    members: int
    people: int
    """Everybody in the frame, the segment included."""
    confidence: float
    """Of all intervals."""
    warnings: tuple[str, ...]
    distributions: tuple[shares.Distribution, ...]
    when: when.When
    decision: decision.Decision
    buying: buying.Buying
    products: products.Products
    words: words.Words
    checks: tuple[health.Check, ...]

    @property
    def share(self) -> float:
        """The segment's part of everybody."""
        return self.members / self.people


def describe(
    members: Collection[str] | pa.Array | pa.ChunkedArray,
    frame: pa.Table,
    orders: pa.Table,
    lines: pa.Table,
    events: pa.Table,
    as_of: Instant,
    asked: Asked = Asked(),
) -> Insight:
    """The insight into the segment of these identities.

    ``frame`` has a row for everybody and, as far as they are known, the columns ``age``, ``gender``, ``country``,
    ``region``, ``city``, ``loyalty_tier``, ``price_band``, ``categories``, ``preferred_channel``, ``first_source`` and
    ``labels``; ``orders``, ``lines`` and ``events`` are everybody's, in the columns of
    :mod:`onefold.segments.columns`, events with :data:`EVENT_PROPERTIES`.

    Raises :class:`InvalidInput` where a table lacks a column, an identity is not in the frame, nobody is in the
    segment, or what is asked makes no sense.
    """
    _require_sense(asked)
    with relations.opened(members, frame, orders, lines, events, as_of, asked.time_zone) as found:
        ((inside, people),) = found.rows("SELECT count(*) FILTER (inside), count(*) FROM people")
        confidence = confidence_for(inside)
        spread = shares.distributions(found, asked.age_bands, confidence)
        return Insight(
            as_of=as_of,
            members=inside,
            people=people,
            confidence=confidence,
            warnings=_warnings(inside),
            distributions=tuple(distribution.first(asked.most) for distribution in spread),
            when=when.when(found),
            decision=decision.decision(found, asked.most, confidence),
            buying=buying.buying(found, asked.most, confidence),
            products=products.products(found, asked.most),
            words=words.words(found, asked.most),
            checks=health.checks(found, spread, asked.bars, asked.high_value, confidence),
        )


def _warnings(members: int) -> tuple[str, ...]:
    if members >= FEW:
        return ()
    return (
        f"only {members:,} customers: below {FEW:,} figures vary much by chance, so intervals are those of"
        f" {confidence_for(members):.0%}",
    )


def _require_sense(asked: Asked) -> None:
    bands = list(asked.age_bands)
    if not bands or bands != sorted(set(bands)) or bands[0] < 1:
        raise InvalidInput([Violation("age_bands", "must be rising ages above 0")])
    if asked.most < 1:
        raise InvalidInput([Violation("most", "must be at least 1")])
