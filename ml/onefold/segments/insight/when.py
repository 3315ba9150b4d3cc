"""On which weekdays, and at which hours, a segment visits and orders (I2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from onefold.segments.insight.relations import VISITS, Relations

Grid = tuple[tuple[int, ...], ...]
"""Seven rows, Monday first, of 24 hours."""


@dataclass(frozen=True, slots=True)
class When:
    """Counts by weekday and hour, in the local time of whoever did it."""

    visits: Grid
    """A visit is a person who looked around in the shop within an hour, however often."""
    orders: Grid


def when(relations: Relations) -> When:
    """When the segment visits and orders."""
    return When(_grid(relations, _VISITS, types=VISITS), _grid(relations, _ORDERS))


_VISITS: Final = """
    SELECT isodow(slot) - 1, hour(slot), count(*)
    FROM (
        SELECT DISTINCT identity, date_trunc('hour', local) AS slot
        FROM happened
        WHERE inside AND regexp_matches(type, $types)
    )
    GROUP BY ALL
"""

_ORDERS: Final = "SELECT isodow(local) - 1, hour(local), count(*) FROM purchases WHERE inside GROUP BY ALL"


def _grid(relations: Relations, text: str, **parameters: object) -> Grid:
    counts = {(day, hour): count for day, hour, count in relations.rows(text, **parameters)}
    return tuple(tuple(counts.get((day, hour), 0) for hour in range(24)) for day in range(7))
