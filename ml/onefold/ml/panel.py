"""Training rows: customers as they stood at past snapshots, with what they did in the horizon after each.

A snapshot may be used for a model that is to know nothing from ``until`` on exactly when its whole outcome
window ends by then. Splits follow time, never chance: a row of the same customer must not sit on both sides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from onefold.graph.model import Instant
from onefold.ml import features
from onefold.ml.catalogue import CATALOGUE
from onefold.ml.features import FloatArray, Population

DAY: Final = 86_400_000
"""Milliseconds of a day."""

WARM_UP_DAYS: Final = 30
"""Before the data are this old, every customer looks new."""

STEP_DAYS: Final = 14
MAX_ROWS: Final = 400_000


@dataclass(frozen=True, slots=True)
class Panel:
    """Rows of (snapshot, customer)."""

    keys: tuple[str, ...]
    """The features, as the columns of ``values``."""
    values: FloatArray
    churned: npt.NDArray[np.bool_]
    """No purchase within the horizon after the snapshot."""
    customer: npt.NDArray[np.int32]
    """A number per identity."""
    weight: FloatArray
    """One divided by the customer's rows: who has been here longest must not count most."""
    snapshots: tuple[Instant, ...]

    def column(self, key: str) -> FloatArray:
        """One feature, a value per row."""
        return self.values[:, self.keys.index(key)]


def snapshots(known: Population, until: Instant, horizon_days: int) -> tuple[Instant, ...]:
    """Cutoffs every two weeks back from the last whose window of ``horizon_days`` ends by ``until``, newest
    first; wider apart where that would give more than :data:`MAX_ROWS` rows; empty when history is too short.
    """
    if known.first_order is None:
        return ()
    last, first = until - horizon_days * DAY, known.first_order + WARM_UP_DAYS * DAY
    fitting = range(last, first - 1, -STEP_DAYS * DAY)
    every = max(1, math.ceil(len(fitting) * known.customers / MAX_ROWS))
    return tuple(fitting[::every])


def build(
    orders: pa.Table,
    events: pa.Table,
    cutoffs: Sequence[Instant],
    horizon_days: int,
    against: Population,
    did: Callable[[int, int], None] = lambda done, of: None,
) -> Panel:
    """The rows of all customers at each cutoff; ``did`` is told after each how many of how many are built."""
    tables, outcomes = [], []
    for position, cutoff in enumerate(cutoffs):
        table = features.compute(orders, events, cutoff, against)
        came_back = features.buyers(orders, cutoff, cutoff + horizon_days * DAY)
        tables.append(table)
        outcomes.append(pc.invert(pc.is_in(table["identity"], value_set=came_back)).to_numpy())
        did(position + 1, len(cutoffs))
    stacked = pa.concat_tables(tables)
    keys = tuple(feature.key for feature in CATALOGUE)
    customer = stacked["identity"].combine_chunks().dictionary_encode().indices.to_numpy()
    return Panel(
        keys=keys,
        values=features.matrix(stacked, keys),
        churned=np.concatenate(outcomes),
        customer=customer,
        weight=1.0 / np.bincount(customer)[customer],
        snapshots=tuple(cutoffs),
    )
