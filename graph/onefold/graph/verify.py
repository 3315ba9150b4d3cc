"""Does what is stored equal what the evidence says? Resolves the whole graph anew and names what differs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np

from onefold.graph.bulk.differences import Differences
from onefold.graph.bulk.stored import Stored
from onefold.graph.reader import Reader
from onefold.graph.scan import Progress, read_around, scan

LIMIT: Final = 20
"""Differences that are named, unless more are asked for."""

_LOOKS: Final = 6
_FIRST_PAUSE_S: Final = 0.02
_MOST_REGIONS: Final = 1_000
"""Where more than this differs, it is not for having been seen while it was written."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, and what differs."""

    records: int
    identifiers: int
    identities: int
    differences: tuple[str, ...]
    """The first of them, each in words."""
    more: int = 0
    """How many there are besides."""

    @classmethod
    def of(cls, stored: Stored, found: Differences, limit: int = LIMIT) -> Finding:
        """What was found in ``stored``: of the differences, those that stayed."""
        identities = np.union1d(stored.records.identity, stored.identifiers.identity)
        return cls(
            records=len(stored.evidence.records),
            identifiers=len(stored.evidence.identifiers),
            identities=int((identities >= 0).sum()),
            differences=tuple(found.words(limit)),
            more=max(0, len(found) - limit),
        )


def verify(reader: Reader, limit: int = LIMIT) -> list[str]:
    """The first differences between what is stored and what all stored evidence says, in words; none if they are equal.

    As :func:`examine`.
    """
    return list(examine(reader, limit).differences)


def examine(reader: Reader, limit: int = LIMIT, progress: Progress = lambda done, total: None) -> Finding:
    """Whether all records, identifiers and components stand where the policy says, by all stored evidence.

    The graph may be written to meanwhile: what differs is read again before it is reported. Takes up to 300 bytes of
    memory a link. Raises Unavailable when the engine goes away.
    """
    stored = scan(reader, progress)
    return Finding.of(stored, settled(reader, Differences(stored, reader.policy)), limit)


def settled(reader: Reader, found: Differences) -> Differences:
    """The differences that stay when what was seen in part is read again, a few times if need be."""
    for look in range(_LOOKS):
        regions = list(islice(found.regions(), _MOST_REGIONS + 1))
        if not regions or len(regions) > _MOST_REGIONS:
            break
        time.sleep(_FIRST_PAUSE_S * 2**look if look else 0.0)
        stored = read_around(
            reader,
            [name for region in regions for name in region.records],
            [key for region in regions for key in region.identifiers],
            [key for region in regions for key in region.recount],
        )
        found = Differences(stored, reader.policy)
    return found
