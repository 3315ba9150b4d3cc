"""Up to when the graph knows what people bought."""

from __future__ import annotations

from typing import Final

from onefold.graph.model import Instant
from onefold.graph.reader import Reader

_NEWEST_ORDER: Final = """
MATCH (o:Order) WHERE o.placed_at IS NOT NULL
RETURN o.placed_at.epochMillis ORDER BY o.placed_at DESC LIMIT 1
"""


def newest_order(reader: Reader) -> Instant | None:
    """When the newest order was placed; None where there is no order."""
    rows = reader.rows(_NEWEST_ORDER)
    return rows[0][0] if rows else None
