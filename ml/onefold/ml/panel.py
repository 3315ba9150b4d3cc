"""Training rows: customers as they stood at past snapshots, with what they did in the horizon after each.

A snapshot may be used for a model that is to know nothing from ``until`` on exactly when its whole outcome
window ends by then. Splits follow time, never chance: a row of the same customer must not sit on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    weight: FloatArray
    """One divided by the customer's rows: who has been here longest must not count most."""
    snapshots: tuple[Instant, ...]

    def column(self, key: str) -> FloatArray:
        """One feature, a value per row."""
        return self.values[:, self.keys.index(key)]


def snapshots(first: Instant, until: Instant, horizon_days: int, customers: int) -> tuple[Instant, ...]:
    """Cutoffs every two weeks back from the last whose window of ``horizon_days`` ends by ``until``, newest
    first; wider apart where that would give more than :data:`MAX_ROWS` rows; empty when history is too short.
    """
    last = until - horizon_days * DAY
    fitting = len(range(last, first + WARM_UP_DAYS * DAY - 1, -STEP_DAYS * DAY))
    step = STEP_DAYS * max(1, -(-fitting * customers // MAX_ROWS))
    return tuple(range(last, first + WARM_UP_DAYS * DAY - 1, -step * DAY))


def at(
    snapshot: Instant, orders: pa.Table, events: pa.Table, horizon_days: int, against: Population
) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
    """The features of all customers at one snapshot, and which of them then churned."""
    table = features.compute(orders, events, snapshot, against)
    came_back = features.buyers(orders, snapshot, snapshot + horizon_days * DAY)
    churned = pc.invert(pc.is_in(table["identity"], value_set=came_back))
    return table, churned.to_numpy()


def stack(
    parts: Sequence[tuple[pa.Table, npt.NDArray[np.bool_]]], cutoffs: Sequence[Instant]
) -> Panel:
    """One panel out of the snapshots' rows."""
    keys = tuple(feature.key for feature in CATALOGUE)
    table = pa.concat_tables([table for table, _ in parts])
    codes = table["identity"].combine_chunks().dictionary_encode().indices.to_numpy()
    return Panel(
        keys=keys,
        values=features.matrix(table, keys),
        churned=np.concatenate([churned for _, churned in parts]),
        weight=1.0 / np.bincount(codes)[codes],
        snapshots=tuple(cutoffs),
    )
