"""Does what is stored equal what the evidence and the log say? Resolves the whole graph anew and names what differs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from onefold.graph.audit import Verification, verify_log
from onefold.graph.bulk.differences import Differences, Region
from onefold.graph.bulk.stored import Stored
from onefold.graph.looks import looks
from onefold.graph.model import split_name
from onefold.graph.reader import Reader
from onefold.graph.resolve import Ban
from onefold.graph.scan import Progress, read_around, scan
from onefold.graph.told import Strangers, Told, misled, misled_still, stored_retired

LIMIT: Final = 20
"""Differences that are named, unless more are asked for."""

_AT_ONCE: Final = 1_000
_RECORDS_AT_ONCE: Final = 10_000
_FEW_REGIONS: Final = 50
"""More than these are not seen in part twice alike."""

_DUE: Final = "MATCH (x:Expiry) WHERE x.due_at IS NOT NULL RETURN x.a, x.b, x.due_at.epochMillis"

_EXPIRING: Final = """
UNWIND $pairs AS p MATCH (a:Customer {key: p[0]})-[w:NEVER_SAME]->(b:Customer {key: p[1]})
WHERE w.expires_at IS NOT NULL AND NOT coalesce(w.lapsed, false)
RETURN a.key, b.key, w.expires_at.epochMillis
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, and what differs."""

    records: int
    identifiers: int
    identities: int
    differences: tuple[str, ...]
    """The first of them, each in words."""
    more: int = 0
    """How many there are besides, at most: those beyond the first were not all looked at again."""

    @classmethod
    def of(cls, stored: Stored, words: Sequence[str], more: int) -> Finding:
        """What was found in ``stored``: these differences, and so many more."""
        return cls(*_sizes(stored), tuple(words), more)


@dataclass(frozen=True, slots=True)
class Examination(Finding):
    """What was looked at, the log among it."""

    log: Verification = field(kw_only=True)


def verify(reader: Reader, limit: int = LIMIT) -> list[str]:
    """The first differences between what is stored and what all stored evidence and the log say, in words; none if
    they are equal.

    As :func:`examine`.
    """
    found = examine(reader, limit)
    return [*found.differences, *filter(None, [found.log.fault])]


def examine(
    reader: Reader,
    limit: int = LIMIT,
    progress: Progress = lambda done, total: None,
    hearing: Progress = lambda done, total: None,
) -> Examination:
    """Whether all records, identifiers and components stand where the policy says, by all stored evidence; everybody
    is of the identity that the log tells; retired identities lead on; bans that expire will; and the log is sound.

    The graph may be written to meanwhile: what differs is read again before it is reported, until ``limit`` of it
    stand. ``progress`` is told of nodes read, ``hearing`` of decisions. Takes up to 300 bytes of memory a link, and
    what the names of all who ever moved take. Raises Unavailable when the engine goes away.
    """
    marked = stored_retired(reader)  # before the log, which then knows of all of them
    stored = scan(reader, progress)
    told = Told()
    log = verify_log(reader, told, hearing)
    named = _Named(limit)
    found = Differences(stored, reader.policy)
    named.take(len(found), (partial(_again, reader, part) for part in _parts(found.regions())))
    del found
    strangers = Strangers(stored, told)
    named.take(len(strangers), (partial(strangers.again, reader, part) for part in slices(len(strangers))))
    retired: list[str] = pc.unique(pa.concat_arrays([marked, told.retired()])).to_pylist()
    lost = list(misled(reader, retired))
    named.take(len(lost), (partial(misled_still, reader, lost[part]) for part in slices(len(lost))))
    endless = _endless(reader, stored.expiring)
    named.take(len(endless), (partial(_endless_still, reader, endless[part]) for part in slices(len(endless))))
    return Examination(*_sizes(stored), tuple(named.words), named.more, log=log)


def settled(reader: Reader, found: Differences) -> Iterator[Differences]:
    """The differences that stay when what was seen in part is read again, part by part, a few times if need be."""
    return (_settled(reader, part) for part in _parts(found.regions()))


class _Named:
    """The differences that stand, as they are found: the first in words."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.words: list[str] = []
        self.more = 0

    def take(self, seen: int, looks: Iterable[Callable[[], tuple[Sequence[str], int]]]) -> None:
        """So many were seen; each look tells what stands of a part of them, in words, and how many that is."""
        before, stood = len(self.words), 0
        for look in looks:
            if len(self.words) >= self._limit:
                stood = max(stood, seen)  # enough is wrong: the rest may be seen in part
                break
            words, count = look()
            self.words += words[: self._limit - len(self.words)]
            stood += count
        self.more += stood - (len(self.words) - before)


def _sizes(stored: Stored) -> tuple[int, int, int]:
    """How many records, identifiers and identities."""
    identities = np.union1d(stored.records.identity, stored.identifiers.identity)
    return len(stored.evidence.records), len(stored.evidence.identifiers), int((identities >= 0).sum())


def _again(reader: Reader, regions: Sequence[Region]) -> tuple[Sequence[str], int]:
    found = _settled(reader, regions)
    return found.words(len(found)), len(found)


def _settled(reader: Reader, regions: Sequence[Region]) -> Differences:
    before: list[str] = []
    for _ in looks():
        stored = read_around(
            reader,
            [name for region in regions for name in region.records],
            [key for region in regions for key in region.identifiers],
            [key for region in regions for key in region.recount],
        )
        found = Differences(stored, reader.policy)
        regions = list(found.regions())
        words = found.words(len(found)) if len(regions) > _FEW_REGIONS else []
        if not regions or (words and words == before):
            break
        before = words
    return found


def _parts(regions: Iterable[Region]) -> Iterator[list[Region]]:
    """Regions that are read again at once."""
    part: list[Region] = []
    records = 0
    for region in regions:
        if part and (len(part) == _AT_ONCE or records + len(region.records) > _RECORDS_AT_ONCE):
            yield part
            part, records = [], 0
        part.append(region)
        records += len(region.records)
    if part:
        yield part


def slices(length: int) -> Iterator[slice]:
    """Parts of so many that are looked at again at once."""
    return (slice(start, start + _AT_ONCE) for start in range(0, length, _AT_ONCE))


def _endless(reader: Reader, bans: Iterable[Ban]) -> list[Ban]:
    """Those of the bans that expire of which it is noted nowhere when they are due to."""
    bans = list(bans)
    due = {tuple(row) for row in reader.stream(_DUE, batch=_RECORDS_AT_ONCE)} if bans else set()
    return [ban for ban in bans if (*_keys(ban), ban.expires_at) not in due]


def _endless_still(reader: Reader, bans: Sequence[Ban]) -> tuple[Sequence[str], int]:
    for _ in looks():
        rows = reader.rows(_EXPIRING, pairs=[list(_keys(ban)) for ban in bans])
        expires_at: dict[tuple[str, ...], int] = {(a, b): at for a, b, at in rows}
        now = (ban._replace(expires_at=expires_at.get(_keys(ban))) for ban in bans)
        bans = _endless(reader, (ban for ban in now if ban.expires_at is not None))
        if not bans:
            break
    return [f"the ban of {ban.a} and {ban.b} expires and is not noted as due" for ban in bans], len(bans)


def _keys(ban: Ban) -> tuple[str, ...]:
    return tuple(sorted((split_name(ban.a)[1], split_name(ban.b)[1])))
