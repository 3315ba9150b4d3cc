"""Who was who as it could be known at instants of the past, for all of the graph at once.

What was known is told by the evidence's own instants, not by the log's: a link counts from when it was first seen, an
operator's word from when it was said. See ``docs/adr/0016-the-past-of-a-panel-is-told-by-its-evidence.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from onefold.graph.bulk import resolve_columns
from onefold.graph.bulk.stored import Stored
from onefold.graph.model import Instant
from onefold.graph.policy import Policy
from onefold.graph.reader import Reader
from onefold.graph.scan import Progress, scan

PARTITION: Final = pa.schema(
    [pa.field("record", pa.string(), nullable=False), pa.field("person", pa.string(), nullable=False)]
)
"""One row per customer, guest order and device on which events hang, unless it is nobody's. ``record`` is a record's
name or a device's key, as in :data:`onefold.graph.columns.ORDERS` and ``EVENTS``; ``person`` names who it is of by the
alphabetically first of their records: equal for equal evidence, and the same from cutoff to cutoff until an earlier
record joins. A device of nobody else's is a person by itself."""


def partitions(
    reader: Reader, cutoffs: Iterable[Instant], progress: Progress = lambda done, total: None
) -> Iterator[tuple[Instant, pa.Table]]:
    """Each cutoff with the partition as it could be known then, in the columns of :data:`PARTITION`.

    The graph is read once, when the first is asked for; each then takes the time of one resolution of everything.
    ``progress`` is told of nodes read. Raises Unavailable when the engine goes away.
    """
    stored = scan(reader, progress)
    for cutoff in cutoffs:
        yield cutoff, partition_at(stored, reader.policy, cutoff)


def partition_at(stored: Stored, policy: Policy, at: Instant) -> pa.Table:
    """The partition by what of the stored evidence could be known at an instant, in the columns of :data:`PARTITION`;
    what is of that very instant is known."""
    evidence = stored.evidence
    found, _ = resolve_columns(evidence, policy, stored.bans, as_of=at)
    with_events = np.flatnonzero(stored.has_events & ~found.shared & ~evidence.blocked)
    owner = found.owner[with_events]
    names = pa.concat_arrays([evidence.records, evidence.identifiers.take(pa.array(with_events))])
    alone = len(evidence.records) + np.arange(len(with_events))
    owned = np.where(owner >= 0, found.root[owner], alone) if len(found.root) else alone
    person = names.take(pa.array(_firsts(names, np.concatenate((found.root, owned)), len(evidence.records))))
    return pa.Table.from_arrays([names, person], schema=PARTITION)


def _firsts(names: pa.Array, root: NDArray[np.integer], records: int) -> NDArray[np.int64]:
    """For each name the alphabetically first name with its root, records before devices."""
    rank = np.empty(len(names), np.int64)
    rank[pc.sort_indices(names).to_numpy()] = np.arange(len(names))
    rank[records:] += len(names)
    in_order = np.lexsort((rank, root))
    first, member = np.unique(root[in_order], return_index=True, return_inverse=True)[1:]
    firsts = np.empty(len(names), np.int64)
    firsts[in_order] = in_order[first][member]
    return firsts
