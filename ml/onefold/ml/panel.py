"""Training rows: customers as they stood at past snapshots, with what they did in each horizon after it.

A row may be used for a model that is to know nothing from ``until`` on exactly when its whole outcome window ends by
then. Splits follow time, never chance: a row of the same customer must not sit on both sides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from onefold.graph.model import Instant
from onefold.ml import columns, features
from onefold.ml.catalogue import CATALOGUE
from onefold.ml.features import FloatArray, Population

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

DAY: Final = 86_400_000
"""Milliseconds of a day."""

WARM_UP_DAYS: Final = 30
"""Before the data are this old, every customer looks new."""

STEP_DAYS: Final = 14
MAX_ROWS: Final = 400_000
SHORTER_HORIZONS: Final = (30, 60, 90, 180)
KEYS: Final = tuple(feature.key for feature in CATALOGUE)

PartitionAt = Callable[[Instant], pa.Table]
"""Who was who as it could be known at a cutoff: columns ``record`` and ``person``."""

_SEED: Final = 20111209
_TOGETHER: Final = 6
"""Cutoffs whose features are computed by one query."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Rows of (customer at a snapshot, horizon)."""

    standing: FloatArray
    """The features, by the catalogue: a row per customer and snapshot, a column per :data:`KEYS`."""
    of: IntArray
    """Per row, its row of ``standing``."""
    horizon: FloatArray
    """Days."""
    churned: BoolArray
    """No purchase within the horizon after the snapshot."""
    spend: FloatArray
    """Charged less refunded within it, main currency."""
    days: FloatArray
    """Whole days from the snapshot to the first purchase within it; NaN where there is none."""
    customer: IntArray
    """A number per identity."""
    weight: FloatArray
    """One divided by the customer's rows at this horizon: who has been here longest must not count most."""
    snapshots: tuple[Instant, ...]

    @property
    def values(self) -> FloatArray:
        """The features, a row per row of the panel."""
        return np.asarray(self.standing[self.of])

    def column(self, key: str) -> FloatArray:
        """One feature, a value per row."""
        return np.asarray(self.standing[self.of, KEYS.index(key)])

    def where(self, chosen: BoolArray) -> Panel:
        """The rows that are chosen, weighed as they were."""
        picked: dict[str, Any] = {
            name: getattr(self, name)[chosen]
            for name in ("of", "horizon", "churned", "spend", "days", "customer", "weight")
        }
        return replace(self, **picked)


def horizons(longest: int) -> tuple[int, ...]:
    """The horizons that a model for ``longest`` days learns from, in days, rising to it."""
    return (*(days for days in SHORTER_HORIZONS if days < longest), longest)


def snapshots(known: Population, until: Instant, horizon_days: int) -> tuple[Instant, ...]:
    """Cutoffs, newest first, every two weeks on the grid of the last whose window of ``horizon_days`` ends by
    ``until``, also later ones that leave room for the shortest horizon; empty when history is too short for one
    window of ``horizon_days``.
    """
    if known.first_order is None:
        return ()
    anchor, first = until - horizon_days * DAY, known.first_order + WARM_UP_DAYS * DAY
    if anchor < first:
        return ()
    step = STEP_DAYS * DAY
    later = (horizon_days - horizons(horizon_days)[0]) // STEP_DAYS
    return tuple(range(anchor + later * step, first - 1, -step))


def build(
    orders: pa.Table,
    events: pa.Table,
    cutoffs: Sequence[Instant],
    lengths: Sequence[int],
    until: Instant,
    against: Population,
    did: Callable[[int, int], None] = lambda done, of: None,
    max_rows: int = MAX_ROWS,
    partition_at: PartitionAt | None = None,
) -> Panel:
    """The rows of the customers at each cutoff for each of ``lengths`` (horizons in days) that ends by ``until``.

    With ``partition_at`` the customers of a cutoff are who was known as one person then, and no merge of later shows in
    their features; what they did after it is what those did whom they are known as by now. Without it, they are those
    of now.

    A base that would give more than ``max_rows`` rows is thinned at every cutoff by the same share, at random with a
    fixed seed. ``did`` is told now and then how many cutoffs of how many are built.
    """
    bought = _Purchases.of(features.purchases(orders, until, against.currency))
    fitting = [[days for days in lengths if cutoff + days * DAY <= until] for cutoff in cutoffs]
    there = [bought.before(cutoff) for cutoff in cutoffs]
    full = sum(len(who) * len(days) for who, days in zip(there, fitting, strict=True))
    random = np.random.default_rng(_SEED)
    tables: list[pa.Table] = []
    parts: list[dict[str, Any]] = []
    rows = 0
    for position in range(0, len(cutoffs), _TOGETHER):
        some = slice(position, position + _TOGETHER)
        if partition_at is not None:
            share = min(1.0, max_rows / max(1, full))
            for cutoff, days in zip(cutoffs[some], fitting[some], strict=True):
                then, who = _then(orders, events, cutoff, bought, against, partition_at(cutoff))
                picked = np.sort(random.permutation(len(who))[: math.ceil(len(who) * share)])
                tables.append(then.take(pa.array(picked)))
                parts += [_rows(bought, who[picked], cutoff, length, rows) for length in days]
                rows += len(picked)
            did(min(position + _TOGETHER, len(cutoffs)), len(cutoffs))
            continue
        chosen = [_thinned(who, random, max_rows / full) if full > max_rows else who for who in there[some]]
        tables += _features(orders, events, cutoffs[some], chosen, bought, against, whole=full <= max_rows)
        for cutoff, who, days in zip(cutoffs[some], chosen, fitting[some], strict=True):
            parts += [_rows(bought, who, cutoff, length, rows) for length in days]
            rows += len(who)
        did(min(position + _TOGETHER, len(cutoffs)), len(cutoffs))
    stacked = features.matrix(pa.concat_tables(tables), KEYS)
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    weight = np.empty(len(joined["of"]))
    for length in lengths:
        at = joined["horizon"] == length
        weight[at] = 1.0 / np.bincount(joined["customer"][at])[joined["customer"][at]]
    return Panel(standing=stacked, **joined, weight=weight, snapshots=tuple(cutoffs))


@dataclass(frozen=True, slots=True)
class _Purchases:
    """All purchases, by customer and time."""

    identities: pa.Array
    """Of the customers' numbers."""
    place: IntArray
    """Per purchase, the customer's number and the instant in one number that rises."""
    placed: IntArray
    spent: FloatArray
    """Sum of the values of the purchases before this one; one entry more than there are purchases."""
    first: IntArray
    """Per customer, the instant of the first purchase."""
    origin: Instant
    span: int
    """More than the milliseconds between any two instants that are asked about."""

    @classmethod
    def of(cls, purchases: pa.Table) -> _Purchases:
        identity = purchases["identity"].combine_chunks().dictionary_encode()
        number = identity.indices.to_numpy().astype(np.int64)
        placed = purchases["placed"].to_numpy().astype(np.int64)
        origin = int(placed.min(initial=0))
        span = 4 * (int(placed.max(initial=0)) - origin + 2_000 * DAY)
        starts = np.flatnonzero(np.diff(number, prepend=-1))
        spent = np.concatenate([[0.0], np.cumsum(purchases["value"].to_numpy())])
        return cls(identity.dictionary, number * span + (placed - origin), placed, spent, placed[starts], origin, span)

    def before(self, cutoff: Instant) -> IntArray:
        """The numbers of the customers with a purchase before the cutoff."""
        return np.flatnonzero(self.first < cutoff)

    def since(self, customer: IntArray, instant: Instant) -> IntArray:
        """Per customer, the place of the first purchase at or after an instant, be it another customer's."""
        return np.searchsorted(self.place, customer * self.span + (instant - self.origin))


def _rows(bought: _Purchases, customer: IntArray, cutoff: Instant, length: int, offset: int) -> dict[str, Any]:
    """What these customers did within ``length`` days; their standings begin at row ``offset``."""
    start, end = bought.since(customer, cutoff), bought.since(customer, cutoff + length * DAY)
    came_back = end > start
    days = np.full(len(customer), np.nan)
    days[came_back] = (bought.placed[start[came_back]] - cutoff) // DAY
    return {
        "of": np.arange(offset, offset + len(customer)),
        "horizon": np.full(len(customer), float(length)),
        "churned": ~came_back,
        "spend": np.maximum(bought.spent[end] - bought.spent[start], 0.0),
        "days": days,
        "customer": customer,
    }


def _then(
    orders: pa.Table, events: pa.Table, cutoff: Instant, bought: _Purchases, against: Population, partition: pa.Table
) -> tuple[pa.Table, IntArray]:
    """The features of the persons of a cutoff, and the number of whom each is known as by now: of several, after a
    split, of who has most of the orders."""
    mine = columns.attributed(orders, partition)
    table = features.compute(mine, columns.attributed(events, partition), cutoff, against)
    mine = mine.filter(pc.less(mine["placed_at"], pa.scalar(cutoff, columns.INSTANT)))
    now = orders["identity"].take(pc.index_in(mine["record"], value_set=orders["record"].combine_chunks()))
    both = pa.table({"then": mine["identity"], "now": now}).group_by(["then", "now"]).aggregate([([], "count_all")])
    both = both.sort_by([("then", "ascending"), ("count_all", "descending"), ("now", "ascending")])
    first = both["now"].take(pc.index_in(table["identity"], value_set=both["then"].combine_chunks()))
    number = pc.index_in(first, value_set=bought.identities)
    # Who is known by an order alone that was refunded later on its day is no customer in hindsight.
    known = pc.is_valid(number)
    return table.filter(known), number.filter(known).to_numpy().astype(np.int64)


def _thinned(who: IntArray, random: np.random.Generator, share: float) -> IntArray:
    return np.sort(random.permutation(who)[: int(len(who) * share)])


def _features(
    orders: pa.Table,
    events: pa.Table,
    cutoffs: Sequence[Instant],
    chosen: Sequence[IntArray],
    bought: _Purchases,
    against: Population,
    *,
    whole: bool,
) -> list[pa.Table]:
    """The features of the chosen customers at each cutoff, by number. With ``whole`` those of everybody are computed,
    for all cutoffs at once; else of the chosen ones alone."""
    sets = [bought.identities.take(pa.array(who)) for who in chosen]
    if whole:
        tables = features.compute_at(orders, events, cutoffs, against)
    else:
        tables = [
            features.compute(_of(orders, who), _of(events, who), cutoff, against)
            for cutoff, who in zip(cutoffs, sets, strict=True)
        ]
    # Who is known by an order alone that was refunded later on its day is no customer in hindsight.
    return [_of(table, who) for table, who in zip(tables, sets, strict=True)]


def _of(table: pa.Table, identities: pa.Array) -> pa.Table:
    return table.filter(pc.is_in(table["identity"], value_set=identities))
