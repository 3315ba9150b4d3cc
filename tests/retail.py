"""Online Retail for tests, from the copy that comes with the examples, and what is computed of it."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pyarrow as pa

from onefold.graph.model import Instant
from onefold.ml import features
from tests.bench_ml import sources
from tests.histories import NO_EVENTS

PATH = Path(__file__).parents[1] / "examples" / "online-retail" / "online_retail.csv.gz"


def midnight(year: int, month: int, day: int) -> Instant:
    """Of a day, UTC."""
    return int(datetime(year, month, day, tzinfo=UTC).timestamp() * 1000)


END = midnight(2011, 12, 10)
"""After the last order."""


@cache
def orders() -> pa.Table:
    """Every invoice as it was billed, returns or not."""
    return sources.online_retail(PATH, as_billed=True)


@cache
def frame(as_of: Instant = END) -> pa.Table:
    """What a frame knows of those who bought before."""
    return features.compute(orders(), NO_EVENTS, as_of, features.population(orders(), as_of))
