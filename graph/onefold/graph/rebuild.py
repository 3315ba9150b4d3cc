"""Deciding the whole graph again from its evidence, as after a change of policy.

All evidence is resolved in bulk and compared with what is stored; only what differs is decided again, by the online
path, under its locks and into its log. So the services may go on writing meanwhile, and a rebuild that was stopped
leaves nothing half done: the next one does what is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from onefold.graph.audit import verify_log
from onefold.graph.bulk.changes import Changes, changes_of
from onefold.graph.bulk.differences import Differences, Region
from onefold.graph.bulk.stored import Stored
from onefold.graph.errors import Conflict
from onefold.graph.ingest import Batch, Writer, ingest
from onefold.graph.model import Recheck, is_record, kind_of
from onefold.graph.policy import Policy
from onefold.graph.reader import Reader
from onefold.graph.scan import Progress, scan
from onefold.graph.told import Strangers, Told, in_words
from onefold.graph.verify import LIMIT, Finding, settled, slices

_RECORDS_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did, and what it left."""

    decided: int
    """Records that were decided again, with all that hangs together with them."""
    finding: Finding
    """What a last look found."""


def foresee(reader: Reader, progress: Progress = lambda done, total: None) -> tuple[Changes, Finding]:
    """What a rebuild under the reader's policy would change, and the differences behind that. Raises Unavailable."""
    stored = scan(reader, progress)
    changes, words, count = Changes(), list[str](), 0
    for found in settled(reader, Differences(stored, reader.policy)):
        changes += changes_of(found)
        words += found.words(LIMIT - len(words))
        count += len(found)
    return changes, Finding.of(stored, words, count - len(words))


def rebuild(
    writer: Writer,
    reading: Progress = lambda done, total: None,
    deciding: Progress = lambda done, total: None,
    limit: int = LIMIT,
) -> Rebuilt:
    """Bring all identities to what the writer's policy says, by all stored evidence, until nothing differs or what
    differs does not become less: what others write meanwhile may differ anew, and what was damaged may stay.

    ``reading`` is told how much has been read, ``deciding`` how many records have been decided again. Takes memory as
    :func:`onefold.graph.verify.examine` does. Raises Unavailable when the engine goes away.
    """
    reader = Reader(writer.driver, writer.database, writer.policy)
    decided, before = 0, None
    while True:
        finding, regions, strangers = _look(reader, reading, limit)
        found = len(finding.differences) + finding.more
        if not found or (before is not None and found >= before):
            break
        before = found
        _bring_back(writer, strangers)
        decided += _decide_again(writer, regions, deciding)
    return Rebuilt(decided, finding)


_Strangers = dict[str, tuple[set[str], str]]
"""Members that stand elsewhere than the log told: where they are found, and where they belong."""


def _look(reader: Reader, reading: Progress, limit: int) -> tuple[Finding, list[Region], _Strangers]:
    """What differs, the regions that are to be decided again for it, and who is to be brought back where they were."""
    stored = scan(reader, reading)
    words, count, regions = list[str](), 0, list[Region]()
    for found in settled(reader, Differences(stored, reader.policy)):
        words += found.words(limit - len(words))
        count += len(found)
        regions += found.regions()
    strangers = _strangers(reader, stored)
    words += in_words(strangers)[: limit - len(words)]
    count += len(strangers)
    return Finding.of(stored, words, count - len(words)), regions, strangers


def _strangers(reader: Reader, stored: Stored) -> _Strangers:
    told = Told()
    if verify_log(reader, told).fault:
        return {}  # a log that is not sound can't tell where anybody belongs
    seen = Strangers(stored, told)
    found: _Strangers = {}
    for part in slices(len(seen)):
        found |= seen.still(reader, part)
    return found


def _bring_back(writer: Writer, strangers: _Strangers) -> None:
    """Have everybody decided again who stands elsewhere than the log told, as of the identity that it told: ids then
    stay what they were, and the log, which was right, has nothing to add."""
    names = sorted(strangers)
    for start in range(0, len(names), _RECORDS_AT_ONCE):
        told = {
            name: (next(iter(at), ""), belongs)
            for name in names[start : start + _RECORDS_AT_ONCE]
            if len(at := strangers[name][0]) <= 1 and (belongs := strangers[name][1])
        }
        records = frozenset(name for name in told if is_record(name))
        there = (v for v in told.keys() - records if told[v][0] and kind_of(v) in writer.policy.kinds)
        _commit(writer, [Recheck(records, frozenset(there), told)])


def _decide_again(writer: Writer, regions: Sequence[Region], progress: Progress) -> int:
    done, concerned = 0, sum(len(region.records) for region in regions)
    progress(done, concerned)
    for batch in _batches(regions):
        _commit(writer, [_recheck(region, writer.policy) for region in batch])
        done += sum(len(region.records) for region in batch)
        progress(done, concerned)
    return done


def _batches(regions: Iterable[Region]) -> Iterator[list[Region]]:
    """Regions to be decided in one transaction; a large one goes alone."""
    batch: list[Region] = []
    records = 0
    for region in regions:
        if batch and records + len(region.records) > _RECORDS_AT_ONCE:
            yield batch
            batch, records = [], 0
        batch.append(region)
        records += len(region.records)
    if batch:
        yield batch


def _recheck(region: Region, policy: Policy) -> Recheck:
    # What the policy does not know can't be named; it follows the records that have it.
    known = (key for key in region.identifiers if kind_of(key) in policy.kinds)
    return Recheck(frozenset(region.records), frozenset(known))


def _commit(writer: Writer, rechecks: Sequence[Recheck]) -> None:
    try:
        ingest(writer, [Batch(rechecks)])
    except Conflict:
        # One that others keep writing to must not stop the rest; what stays undone is found by the next pass.
        if len(rechecks) > 1:
            for recheck in rechecks:
                _commit(writer, [recheck])
