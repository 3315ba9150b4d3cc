"""How a segment comes to a decision: from the first visit to the first order, and what comes before any order (I3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from onefold.segments.insight.intervals import Figure, share
from onefold.segments.insight.relations import VISITS, Relations

WAITS: Final = ((0, 0), (1, 3), (4, 7), (8, 14), (15, 30), (31, 90), (91, None))
"""Days from the first visit to the first order, from and to; None is without end."""
STEPS: Final = 5
"""How much of a path is told: its last steps."""
PATH_DAYS: Final = 30
"""How far before an order its path may begin."""


@dataclass(frozen=True, slots=True)
class Wait:
    """How many waited so long."""

    days: str
    count: int
    share: float
    """Of those who have bought."""


@dataclass(frozen=True, slots=True)
class Path:
    """What came before an order."""

    steps: tuple[str, ...]
    """Types of events, the last one nearest to the order; repetitions count once."""
    orders: int
    share: float
    """Of the segment's orders before which anything was seen."""


@dataclass(frozen=True, slots=True)
class Decision:
    """From the first visit to the first order. Whoever ordered before any visit was seen has no part in it."""

    same_day: Figure
    """The share of visitors who bought on the (local) day of their first visit."""
    bought: int
    not_yet: int
    """Visitors with and without an order."""
    quartiles: tuple[float, float, float] | None
    """Days from the first visit to the first order: a quarter, half and three quarters of who bought waited at most so
    long. None where nobody did. Whoever has not bought yet is not among them, so that recent visitors make it look
    shorter than it is."""
    waits: tuple[Wait, ...]
    paths: tuple[Path, ...]
    """The most frequent."""
    orders_without_path: int
    """Orders before which nothing was seen."""


def decision(relations: Relations, most: int, confidence: float) -> Decision:
    """How the segment decides; ``most`` paths at most."""
    ((seen, at_once, bought, first, half, third, all_seen, all_at_once),) = relations.rows(_WAITED, types=VISITS)
    counts: dict[int, int] = dict(relations.rows(_WAITS, types=VISITS))
    paths, without = _paths(relations, most)
    return Decision(
        Figure(share(at_once, seen, confidence), all_at_once / all_seen if all_seen else None, seen),
        bought,
        seen - bought,
        (first, half, third) if bought else None,
        tuple(
            Wait(_days(start, end), n, n / bought)
            for start, end in WAITS
            if bought
            for n in [sum(n for days, n in counts.items() if start <= days and (end is None or days <= end))]
        ),
        paths,
        without,
    )


_FIRSTS: Final = """
    WITH visited AS (
        SELECT identity, inside, min((placed, local)) AS first
        FROM happened WHERE regexp_matches(type, $types) GROUP BY identity, inside
    ),
    ordered AS (SELECT identity, min((placed, local)) AS first FROM purchases GROUP BY identity),
    waited AS (
        SELECT inside, date_diff('day', visited.first[2]::DATE, ordered.first[2]::DATE) AS days
        FROM visited LEFT JOIN ordered USING (identity)
        WHERE ordered.first IS NULL OR ordered.first[1] >= visited.first[1]
    )
"""

_WAITED: Final = f"""
    {_FIRSTS}
    SELECT
        count(*) FILTER (inside), count(*) FILTER (inside AND days <= 0), count(days) FILTER (inside),
        quantile_cont(days, 0.25) FILTER (inside), quantile_cont(days, 0.5) FILTER (inside),
        quantile_cont(days, 0.75) FILTER (inside),
        count(*), count(*) FILTER (days <= 0)
    FROM waited
"""

_WAITS: Final = f"""
    {_FIRSTS}
    SELECT greatest(days, 0), count(*) FROM waited WHERE inside AND days IS NOT NULL GROUP BY ALL
"""

# Each event belongs to the next order of its person, so that it is looked at once.
_PATHS: Final = """
    WITH next AS (
        SELECT identity, placed AS until, min("order") AS "order" FROM purchases WHERE inside GROUP BY ALL
    ),
    before AS (
        SELECT "order", type, placed
        FROM (SELECT * FROM happened WHERE inside) AS done
        ASOF JOIN next ON done.identity = next.identity AND done.placed <= next.until
        WHERE placed >= until - $days::BIGINT * 86400000
    ),
    steps AS (
        SELECT *, type IS DISTINCT FROM lag(type) OVER (PARTITION BY "order" ORDER BY placed, type) AS is_new
        FROM before
    ),
    paths AS (
        SELECT (list(type ORDER BY placed, type) FILTER (is_new))[-$steps:] AS path FROM steps GROUP BY "order"
    )
    SELECT path, count(*) AS orders FROM paths GROUP BY path ORDER BY orders DESC, path
"""


def _days(start: int, end: int | None) -> str:
    if end is None:
        return f"over {start - 1}"
    return "the same day" if not end else f"{start}–{end}"


def _paths(relations: Relations, most: int) -> tuple[tuple[Path, ...], int]:
    rows = relations.rows(_PATHS, days=PATH_DAYS, steps=STEPS)
    seen = sum(orders for _, orders in rows)
    ((orders,),) = relations.rows("SELECT count(*) FROM purchases WHERE inside")
    return tuple(Path(tuple(steps), n, n / seen) for steps, n in rows[:most]), orders - seen
