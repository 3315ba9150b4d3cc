"""The relations that formulas speak about (:class:`onefold.segments.person_features.Source`), as DuckDB queries.

They read the tables of :class:`onefold.segments.deeds.Deeds`; ``$as_of`` is the instant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from onefold.segments.person_features import Source

_DAY: Final = 86_400_000
_YEAR: Final = f"$as_of - {365 * _DAY}"
_PAUSE: Final = 30 * 60_000

# In one pass: an event begins a session unless another came shortly before, and ends it unless another comes shortly.
_SESSIONS: Final = f"""
    WITH recent AS (SELECT person, "at", session FROM events WHERE "at" >= $as_of - {30 * _DAY}),
    told AS (
        SELECT person, count(*) = 1 AS single FROM recent WHERE session >= 0 GROUP BY person, session
    ),
    apart AS (
        SELECT
            person,
            coalesce("at" - lag("at") OVER side > {_PAUSE}, true) AS begins,
            coalesce(lead("at") OVER side - "at" > {_PAUSE}, true) AS ends
        FROM recent WHERE session < 0
        WINDOW side AS (PARTITION BY person ORDER BY "at")
    )
    SELECT person, single FROM told
    UNION ALL
    SELECT person, ends FROM apart WHERE begins
"""

RELATIONS: Final[Mapping[Source, str]] = {
    Source.EVENTS: 'SELECT *, ($as_of - "at") / 86400000.0 AS age FROM events',
    Source.ACTIONS: 'SELECT person, "at", source FROM events UNION ALL SELECT person, "at", source FROM orders',
    Source.SESSIONS: _SESSIONS,
    Source.HOURS: """
        SELECT person, hour, sum(actions)::BIGINT AS actions
        FROM (
            SELECT person, hour, count(*) AS actions FROM events GROUP BY person, hour
            UNION ALL
            SELECT person, hour, count(*) FROM orders GROUP BY person, hour
        )
        GROUP BY person, hour
    """,
    Source.CHANNELS: f"""
        SELECT person, channel, sum(actions)::BIGINT AS actions
        FROM (
            SELECT person, channel, count(*) AS actions FROM events WHERE channel >= 0 AND "at" >= {_YEAR}
            GROUP BY person, channel
            UNION ALL
            SELECT person, channel, count(*) FROM orders WHERE channel >= 0 AND "at" >= {_YEAR} GROUP BY person, channel
        )
        GROUP BY person, channel
    """,
    Source.CATEGORIES: f"""
        SELECT person, category, sum(bought)::BIGINT AS bought, sum(viewed)::BIGINT AS viewed
        FROM (
            SELECT person, category, 0 AS bought, count(*) AS viewed FROM events
            WHERE viewed AND category >= 0 AND "at" >= {_YEAR} GROUP BY person, category
            UNION ALL
            SELECT person, category, count(*), 0 FROM lines WHERE category >= 0 AND "at" >= {_YEAR}
            GROUP BY person, category
        )
        GROUP BY person, category
    """,
    Source.BRANDS: f"""
        SELECT person, brand, count(*) AS viewed FROM events
        WHERE (viewed OR carted) AND brand >= 0 AND "at" >= {_YEAR} GROUP BY person, brand
    """,
}
"""Those of what people did. Events know their ``age``, too, as in :data:`onefold.ml.catalogue.RELATIONS`."""
