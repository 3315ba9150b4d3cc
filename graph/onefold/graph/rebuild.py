"""Deciding the whole graph again from its evidence, as after a change of policy.

All evidence is resolved in bulk and compared with what is stored; only what differs is decided again, by the online
path, under its locks and into its log. So the services may go on writing meanwhile, and a rebuild that was stopped
leaves nothing half done: the next one does what is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from onefold.graph.bulk.changes import Changes, changes_of
from onefold.graph.bulk.differences import Differences, Region
from onefold.graph.errors import Conflict
from onefold.graph.ingest import Batch, Writer, ingest
from onefold.graph.model import Recheck, kind_of
from onefold.graph.policy import Policy
from onefold.graph.reader import Reader
from onefold.graph.scan import Progress, scan
from onefold.graph.verify import LIMIT, Finding, settled

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
    found = settled(reader, Differences(stored, reader.policy))
    return changes_of(found), Finding.of(stored, found)


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
        stored = scan(reader, reading)
        found = settled(reader, Differences(stored, writer.policy))
        if not len(found) or (before is not None and len(found) >= before):
            break
        before = len(found)
        decided += _decide_again(writer, found, deciding)
    return Rebuilt(decided, Finding.of(stored, found, limit))


def _decide_again(writer: Writer, found: Differences, progress: Progress) -> int:
    done = 0
    progress(done, found.concerned)
    for regions in _batches(found.regions()):
        _commit(writer, [_recheck(region, writer.policy) for region in regions])
        done += sum(len(region.records) for region in regions)
        progress(done, found.concerned)
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
