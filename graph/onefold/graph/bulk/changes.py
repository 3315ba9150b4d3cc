"""What putting differences right would change, counted beforehand."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from onefold.graph.bulk.differences import Differences
from onefold.graph.bulk.expected import Nodes


@dataclass(frozen=True, slots=True)
class Changes:
    """How much would change, by the rules on ids of :func:`onefold.graph.decide.decide`."""

    merged: int = 0
    """Identities that would go on as another one."""
    split: int = 0
    """Identities whose members would no longer all be one."""
    moved: int = 0
    """Records that would come to another identity than theirs."""
    shared: int = 0
    """Identifiers that would become shared."""
    unshared: int = 0
    """Identifiers that would be shared no longer."""

    def __add__(self, other: Changes) -> Changes:
        """Both together, where they are of regions that have nothing in common."""
        return Changes(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def changes_of(found: Differences) -> Changes:
    """What would change if everything were decided again."""
    before, after, is_record = _members(found)
    main_before, main_after, parts = _main_parts(before, after, len(found.identity))
    survivor = _survivors(found, main_before, main_after)
    turned_off = found.stored.shared[found.turned]
    return Changes(
        merged=len(main_before) - len(np.unique(main_after)),
        split=int((parts > 1).sum()),
        moved=int((is_record & (survivor[after] != before)).sum()),
        shared=int((~turned_off).sum()),
        unshared=int(turned_off.sum()),
    )


def _members(found: Differences) -> tuple[Nodes, Nodes, NDArray[np.bool_]]:
    """The identity that each member is of, the one it should be of, and whether it is a record.

    Who is of none yet, or no longer, does not count; nor do identifiers that follow a record.
    """
    records = len(found.stored.evidence.records)
    is_record = np.arange(len(found.identity)) < records
    counts = (found.identity >= 0) & (found.expected.identity >= 0)
    counts &= is_record | ~_persons(found)[found.identity]
    return found.identity[counts], found.expected.identity[counts], is_record[counts]


def _persons(found: Differences) -> NDArray[np.bool_]:
    """For each stored identity whether it has a record."""
    persons = np.zeros(len(found.stored.ids) + 1, np.bool_)  # one more: for what is of none
    persons[found.stored.records.identity] = True
    persons[-1] = False
    return persons


def _main_parts(before: Nodes, after: Nodes, nodes: int) -> tuple[Nodes, Nodes, NDArray[np.int64]]:
    """Each stored identity, what most of its members should be of, and of how many its members should be."""
    pair, members = np.unique(before.astype(np.int64) * nodes + after, return_counts=True)
    by_size = pair[np.lexsort((-members, pair // nodes))]
    identity, first, parts = np.unique(by_size // nodes, return_index=True, return_counts=True)
    return identity, by_size[first] % nodes, parts


def _survivors(found: Differences, before: Nodes, after: Nodes) -> Nodes:
    """For each identity that should be, the stored one that goes on as it: a person's, then the oldest; -1 for none."""
    ids = found.stored.ids
    age = np.empty(len(ids), np.int64)
    age[pc.sort_indices(ids).to_numpy()] = np.arange(len(ids))
    order = np.lexsort((age[before], ~_persons(found)[before], after))
    should_be, first = np.unique(after[order], return_index=True)
    survivor = np.full(len(found.identity), -1, np.int64)
    survivor[should_be] = before[order][first]
    return survivor
