"""Resolution on columns: every rule of :mod:`onefold.graph.resolve`, by its number."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from onefold.graph.bulk.columns import ColumnPartition, EvidenceColumns
from onefold.graph.bulk.joins import components, joined, own, spoken_of
from onefold.graph.bulk.links import Collected, Links, Weighing
from onefold.graph.bulk.matches import accumulated, in_common
from onefold.graph.greedy import no_garbage_collection
from onefold.graph.model import Instant
from onefold.graph.policy import Policy
from onefold.graph.resolve import Ban, Refusal, holding, last_instant
from onefold.graph.rulebook import PPM, rulebook

_Places = NDArray[np.int64]


def resolve_columns(
    columns: EvidenceColumns, policy: Policy, bans: Iterable[Ban] = (), as_of: Instant | None = None
) -> tuple[ColumnPartition, list[Refusal]]:
    """What :func:`onefold.graph.resolve.resolve` says of the same evidence.

    Takes time nearly in proportion to the rows, on several cores, and up to 150 bytes a row, the columns included.
    Raises InvalidInput (field ``matches``) when a match names a record that is not in the columns.
    """
    bans = list(bans)
    if as_of is None:
        sights = [int(columns.first_seen.max())] if len(columns.first_seen) else []
        as_of = last_instant(sights, columns.matches, bans)
    rules = rulebook(policy)
    weighing = Weighing(columns, policy, as_of)
    owner = np.full(len(columns.identifiers), -1, np.int32)
    found = Collected(len(columns.record), np.int32, np.int32, np.int32, np.int64)
    asked = Collected(len(columns.record), np.int32, np.int32)
    shareable, hinting = (Collected(len(columns.record), np.int32) for _ in range(2))

    def see(block: Links) -> tuple[Links, _Places, _Places, NDArray[np.int32], NDArray[np.int32]]:
        eligible = block.where(block.doubt <= rules.most_doubt)
        own(columns, eligible, owner)  # 5
        owners = owner[eligible.identifier]
        others = np.flatnonzero(eligible.record != owners)
        return block, *in_common(block, rules), eligible.record[others], owners[others]

    for block, common, hints, ours, theirs in weighing.links(see):  # 1 to 3
        shareable.add(found.count + common)
        hinting.add(found.count + hints)
        asked.add(ours, theirs)
        found.add(block.record, block.identifier, block.doubt, block.first_seen)
    links = Links(*found.columns())
    with ThreadPoolExecutor(1) as beside, no_garbage_collection():
        a, b = asked.columns()
        by_links = beside.submit(components, a, b, len(columns.records))
        (several,), (weak,) = shareable.columns(), hinting.columns()
        matches = accumulated(columns, links, several, weak, rules)  # 4
        apart = holding(bans, as_of)
        code = spoken_of(columns, apart)
        # 6 to 9
        root, refusals = joined(columns, links, owner, by_links.result(), matches, code, apart, rules, as_of)
    partition = ColumnPartition(
        root,
        owner,
        weighing.shared,
        links.record,
        links.identifier,
        PPM - links.doubt,
        np.stack((matches.a, matches.b), axis=1),
        PPM - matches.doubt,
    )
    return partition, refusals
