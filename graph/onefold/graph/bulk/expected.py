"""Where everything should stand, by the evidence that is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from onefold.graph.bulk.columns import Bools, ColumnPartition, codes_of
from onefold.graph.bulk.resolve import resolve_columns
from onefold.graph.bulk.stored import Stored
from onefold.graph.policy import Policy
from onefold.graph.resolve import Refusal

Nodes = NDArray[np.integer[Any]]
"""Codes of records and, beyond them, of identifiers."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a policy makes of the stored evidence. Elements of columns are nodes: records, then identifiers."""

    identity: Nodes
    """A number for each identity; -1 for what is nobody's."""
    component: Nodes
    """A number for each component; -1 for what is in none."""
    shared: Bools
    """For each identifier whether it is shared."""
    inert: Bools
    """For each identifier whether it ties nobody to anything: it is shared, or blocked."""
    refusals: list[Refusal]


def expected(stored: Stored, policy: Policy) -> Expected:
    """Where everything should stand under a policy, as :func:`onefold.graph.decide.decide` would place it."""
    evidence = stored.evidence
    partition, refusals = resolve_columns(evidence, policy, stored.bans)
    inert = partition.shared | evidence.blocked
    identity = _identities(stored, partition, inert)
    linked = np.zeros(len(inert), np.bool_)
    linked[evidence.identifier] = True
    records = len(evidence.records)
    component = ties(stored, inert, records + len(inert))
    component[records:][inert | (~linked & (identity[records:] < 0))] = -1
    return Expected(identity, component, partition.shared, inert, refusals)


def ties(stored: Stored, inert: Bools, nodes: int, *more: tuple[Nodes, Nodes]) -> Nodes:
    """A number for each of so many nodes, equal for those that hang together: by links to identifiers that are not
    inert, by matches, and by ``more`` pairs of nodes."""
    evidence = stored.evidence
    binding = ~inert[evidence.identifier]
    code = codes_of([end for match in evidence.matches for end in (match.a, match.b)], evidence.records)
    one = [evidence.record[binding], np.array([code[m.a] for m in evidence.matches], np.int64)]
    other = [
        evidence.identifier[binding] + len(evidence.records),
        np.array([code[m.b] for m in evidence.matches], np.int64),
    ]
    for a, b in more:
        one.append(a)
        other.append(b)
    ends = np.concatenate(one), np.concatenate(other)
    tied = coo_array((np.ones(len(ends[0]), np.int8), ends), shape=(nodes, nodes))
    label: Nodes = connected_components(tied, directed=False)[1]
    return label


def _identities(stored: Stored, partition: ColumnPartition, inert: Bools) -> Nodes:
    """Records by their root; identifiers with their owner; one without, on which events hang, by itself."""
    records = len(partition.root)
    owned = partition.owner >= 0
    of_identifier = np.full(len(partition.owner), -1, np.int32)
    of_identifier[owned] = partition.root[partition.owner[owned]]
    anonymous = np.flatnonzero(stored.has_events & ~owned & ~inert)
    of_identifier[anonymous] = records + anonymous
    return np.concatenate((partition.root, of_identifier))
