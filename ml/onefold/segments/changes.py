"""Who came into a label or a segment between two frames, who left it, and why."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import pyarrow as pa

from onefold.segments.person_features import PERSON_FEATURES, Source
from onefold.segments.query import query
from onefold.segments.reads import Named
from onefold.segments.vocabulary import LABELS, SEGMENTS


class Cause(StrEnum):
    """Why somebody came or left; of several the one that comes first here."""

    MERGE = "MERGE"
    """People turned out to be one: whoever was merged away leaves, with who lives on."""
    SPLIT = "SPLIT"
    """One turned out to be several."""
    ERASE = "ERASE"
    """Nothing is left of them."""
    RULE = "RULE"
    """The rule, or one that it reads, or a list, was made, changed or dropped."""
    DATA = "DATA"
    """Something new became known of them."""
    TIME = "TIME"
    """Nothing but time went by."""


@dataclass(frozen=True, slots=True)
class Upheaval:
    """What the log of decisions says became of an identity between the frames."""

    cause: Cause
    """MERGE, SPLIT or ERASE; the last that affected it."""
    successor: str = ""
    """Of a retired identity, the one that it merged into."""


SCHEMA: Final = pa.schema(
    [
        pa.field("identity", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("entered", pa.bool_(), nullable=False),
        pa.field("cause", pa.string(), nullable=False),
        pa.field("successor", pa.string(), nullable=False),
    ]
)
"""One row per entry or exit, sorted by kind, key and identity: ``kind`` is ``label`` or ``segment``; ``successor`` is
empty but for who leaves because they were merged into another."""

TIMELESS: Final = (
    "orders",
    "spend",
    "returned_orders",
    "purchases",
    *(f.key for f in PERSON_FEATURES if f.source is Source.PEOPLE and f.key != "age"),
    *(f.key for f in PERSON_FEATURES if f.source in (Source.PURCHASES, Source.EVENTS)),
)
"""Features that time alone changes of nobody."""


def changes(
    before: pa.Table,
    after: pa.Table,
    upheavals: Mapping[str, Upheaval],
    changed_rules: Collection[Named],
    touched: Collection[str] | None = None,
) -> pa.Table:
    """The entries and exits from one frame to the next, in the columns of :data:`SCHEMA`.

    Both need ``identity``, ``labels`` and ``segments``, of everybody or of the same some. ``changed_rules`` are those
    that were made, changed or dropped, and all that read them. ``touched`` are those of whom something new is known;
    without it they are found by :data:`TIMELESS`, which both tables need then.
    """
    named = sorted(set(changed_rules))
    tables = {
        "before": before.select(["identity", LABELS, SEGMENTS]),
        "after": after.select(["identity", LABELS, SEGMENTS]),
        "touched": _touched(before, after) if touched is None else _texts(identity=sorted(set(touched))),
        "upheavals": _upheavals(upheavals),
        "rules": _texts(kind=[each.kind for each in named], key=[each.key for each in named]),
    }
    return query(_CHANGES, tables).cast(SCHEMA)


def _touched(before: pa.Table, after: pa.Table) -> pa.Table:
    """Those of whom a feature changed that time does not change, or who are in one of the frames only."""
    differ = " OR ".join(f"b.{key} IS DISTINCT FROM a.{key}" for key in TIMELESS)
    text = f"SELECT identity FROM before AS b FULL JOIN after AS a USING (identity) WHERE {differ}"
    columns = ["identity", *TIMELESS]
    return query(text, {"before": before.select(columns), "after": after.select(columns)})


def _upheavals(upheavals: Mapping[str, Upheaval]) -> pa.Table:
    ids = sorted(upheavals)
    each = [upheavals[id] for id in ids]
    return _texts(identity=ids, upheaval=[u.cause.value for u in each], successor=[u.successor for u in each])


def _texts(**columns: Sequence[str]) -> pa.Table:
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


# Whose keys are the same has no changes, and is most people: their lists are not unfolded.
_CHANGES: Final = f"""
    WITH differing AS (
        SELECT identity, b.{LABELS} AS labels_before, a.{LABELS} AS labels_after,
            b.{SEGMENTS} AS segments_before, a.{SEGMENTS} AS segments_after
        FROM before AS b FULL JOIN after AS a USING (identity)
        WHERE b.{LABELS} IS DISTINCT FROM a.{LABELS} OR b.{SEGMENTS} IS DISTINCT FROM a.{SEGMENTS}
    ),
    lists AS (
        SELECT identity, 'label' AS kind, coalesce(labels_before, []) AS b, coalesce(labels_after, []) AS a
        FROM differing
        UNION ALL
        SELECT identity, 'segment', coalesce(segments_before, []), coalesce(segments_after, []) FROM differing
    ),
    found AS (
        SELECT identity, kind, unnest([k FOR k IN a IF NOT list_contains(b, k)]) AS key, TRUE AS entered FROM lists
        UNION ALL
        SELECT identity, kind, unnest([k FOR k IN b IF NOT list_contains(a, k)]), FALSE FROM lists
    )
    SELECT identity, kind, key, entered,
        CASE
            WHEN upheaval IS NOT NULL THEN upheaval
            WHEN rules.key IS NOT NULL THEN 'RULE'
            WHEN touched.identity IS NOT NULL THEN 'DATA'
            ELSE 'TIME'
        END AS cause,
        CASE WHEN entered THEN '' ELSE coalesce(successor, '') END AS successor
    FROM found
    LEFT JOIN upheavals USING (identity)
    LEFT JOIN rules USING (kind, key)
    LEFT JOIN touched USING (identity)
    ORDER BY kind, key, identity
"""
