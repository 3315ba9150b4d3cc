"""Evidence and partitions as columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from onefold.graph.model import RecordName, kind_of
from onefold.graph.policy import Policy
from onefold.graph.resolve import Edges, Match

Codes = NDArray[np.integer[Any]]
"""Places in a table, from 0."""
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class EvidenceColumns:
    """What :class:`onefold.graph.resolve.Edges` says, as columns.

    Any integer types do; the narrower, the less memory.
    """

    records: pa.Array
    """Names of records, by code; no two alike. All of them are placed, and all that ``matches`` name are among them."""
    identifiers: pa.Array
    """Keys of identifiers, by code; no two alike."""
    kinds: Sequence[str]
    kind: Codes
    """Each identifier's kind, in ``kinds``."""
    blocked: Bools
    """Whether each identifier is blocked by the policy that is to decide."""
    sources: Sequence[str]
    assurances: Sequence[str]

    record: Codes
    """From here on an element a row of evidence; equal rows may repeat, in any order."""
    identifier: Codes
    source: Codes
    assurance: Codes
    first_seen: NDArray[np.int64]

    matches: Sequence[Match] = ()
    shared: Bools | None = None
    """Identifiers known to be shared by more records than are given here."""


@dataclass(frozen=True, slots=True)
class ColumnPartition:
    """What :class:`onefold.graph.resolve.Partition` says, by the codes of the evidence it was made from."""

    root: NDArray[np.int32]
    """Each record's identity, named by the lowest code among its records."""
    owner: NDArray[np.int32]
    """For each identifier the record it belongs with, or -1."""
    shared: Bools
    """For each identifier whether it is above its kind's limit: inert."""
    record: NDArray[np.int32]
    """With ``identifier`` and ``confidence`` (parts per million) an element a pair whose identifier isn't shared;
    sorted by identifier, then record."""
    identifier: NDArray[np.int32]
    confidence: NDArray[np.int32]
    matched: NDArray[np.int32]
    """Pairs of records that several identifiers together ask to join, as rows of two codes; the lower comes first."""
    matched_confidence: NDArray[np.int32]
    """Of each of them, in parts per million."""


def columns_of(edges: Edges, policy: Policy) -> EvidenceColumns:
    """The same evidence as columns."""
    records = _Codes(edges.records)
    identifiers = _Codes(edges.shared)
    sources, assurances = _Codes(), _Codes()
    rows = [
        (records[record], identifiers[identifier], sources[source], assurances[assurance], first_seen)
        for record, identifier, source, assurance, first_seen in edges.links
    ]
    for match in edges.matches:
        records[match.a], records[match.b]
    record, identifier, source, assurance, first_seen = np.array(rows, np.int64).reshape(-1, 5).T
    kinds = _Codes()
    kind = np.array([kinds[kind_of(key)] for key in identifiers], np.int16)
    return EvidenceColumns(
        records=pa.array(records, pa.string()),
        identifiers=pa.array(identifiers, pa.string()),
        kinds=list(kinds),
        kind=kind,
        blocked=np.array([policy.is_blocked(key) for key in identifiers], np.bool_),
        sources=list(sources),
        assurances=list(assurances),
        record=record.astype(np.int32),
        identifier=identifier.astype(np.int32),
        source=source.astype(np.int16),
        assurance=assurance.astype(np.int8),
        first_seen=np.ascontiguousarray(first_seen),
        matches=edges.matches,
        shared=np.arange(len(identifiers)) < len(set(edges.shared)) if edges.shared else None,
    )


class _Codes(dict[str, int]):
    """Texts numbered as they come."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        for text in texts:
            self[text]

    def __missing__(self, text: str) -> int:
        self[text] = code = len(self)
        return code


def codes_of(names: Sequence[RecordName], records: pa.Array) -> dict[RecordName, int]:
    """The codes of those names that are among the records."""
    if not names:
        return {}
    unique = list(dict.fromkeys(names))
    # Looked up this way round, what is hashed is the few names and not the many records.
    place = pc.index_in(records, pa.array(unique, records.type))
    held = np.flatnonzero(place.is_valid().to_numpy(zero_copy_only=False))
    return {unique[n]: int(code) for n, code in zip(place.drop_null().to_pylist(), held, strict=True)}


def texts(table: pa.Array, codes: Codes) -> list[str]:
    """What codes mean."""
    found: list[str] = table.take(pa.array(codes)).to_pylist()
    return found


def alphabetical(table: pa.Array, codes: Codes) -> tuple[Codes, NDArray[np.int64]]:
    """The distinct codes in the order of their texts, and the place of each code in it."""
    unique, place = np.unique(codes, return_inverse=True)
    order = pc.sort_indices(table.take(pa.array(unique))).to_numpy()
    rank = np.empty(len(unique), np.int64)
    rank[order] = np.arange(len(unique))
    return unique[order], rank[place]
