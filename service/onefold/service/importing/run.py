"""An import: a reader's entries through the service's stream, its rejects to a file, resumable after each message.

Entries are taken in the reader's order, and so are acknowledgements: a position is all that is to be kept.
"""

from __future__ import annotations

import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final, Protocol

from google.protobuf.json_format import MessageToJson
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo

from onefold.service.client import MAX_ITEMS, MESSAGE_BYTES
from onefold.service.importing.entries import Entry, Parsed, Reject
from onefold.service.importing.journal import Journal, Position
from onefold.service.importing.rejects import RejectsFile, csv_line
from onefold.v1 import identity_service_pb2, record_pb2

_ENTRIES_AT_ONCE: Final = 4 * MAX_ITEMS

Results = Sequence[identity_service_pb2.ItemResult]


class Importer(Protocol):
    """Sends messages and gives back their results in order, as :class:`onefold.service.client.StreamingImporter`."""

    def send(
        self, messages: Iterable[Sequence[record_pb2.Item]], stream_id: str, acknowledged: int
    ) -> Iterator[Results]:
        """For each message the results of its items."""
        ...


@dataclass(slots=True)
class Tally:
    """What has become of the file so far, in this run and in those it continues."""

    position: Position
    line: int = 0
    """The line that was reached."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Rejects of this run, by reason."""


@dataclass(slots=True)
class _Chunk:
    """Entries that are done together: the items of one message, and the rejects among them."""

    entries: list[Entry] = field(default_factory=list)
    items: list[Parsed] = field(default_factory=list)
    bytes: int = 0

    def is_full_for(self, entry: Entry) -> bool:
        if isinstance(entry, Reject):
            return len(self.entries) >= _ENTRIES_AT_ONCE
        return len(self.items) >= MAX_ITEMS or (bool(self.items) and self.bytes + entry.item.ByteSize() > MESSAGE_BYTES)

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        if isinstance(entry, Parsed):
            self.items.append(entry)
            self.bytes += entry.item.ByteSize()


class ImportRun:
    """One run over a file's entries, from a position on.

    Messages depend on the entries after a position alone: a run that goes on after another one sends the same messages
    under the same numbers, and what was committed without an acknowledgement gets its first answer.
    """

    def __init__(
        self,
        importer: Importer,
        rejects: RejectsFile,
        journal: Journal,
        position: Position,
        on_progress: Callable[[Tally], None] = lambda tally: None,
    ) -> None:
        self._importer = importer
        self._rejects = rejects
        self._journal = journal
        self._on_progress = on_progress
        self._pending: deque[_Chunk] = deque()
        self.tally = Tally(replace(position, stream_id=position.stream_id or str(uuid.uuid4())))

    def run(self, entries: Iterable[Entry]) -> Tally:
        """Sends all entries after the position. However it ends, what was acknowledged is in the journal."""
        start = self.tally.position
        following = islice(entries, start.entries, None)
        for results in self._importer.send(self._messages(following), start.stream_id, start.messages):
            self._finish(self._pending.popleft(), results)
            self._finish_rejects()
        self._finish_rejects()
        return self.tally

    def _messages(self, entries: Iterator[Entry]) -> Iterator[list[record_pb2.Item]]:
        for chunk in _chunks(entries):
            self._pending.append(chunk)
            if chunk.items:
                if not self.tally.position.messages:
                    self._journal.save(self.tally.position)  # before anything is sent that may go unacknowledged
                yield [parsed.item for parsed in chunk.items]
            else:
                self._finish_rejects()

    def _finish_rejects(self) -> None:
        """Write the rejects that wait for no message before them."""
        while self._pending and not self._pending[0].items:
            self._finish(self._pending.popleft(), ())

    def _finish(self, chunk: _Chunk, results: Results) -> None:
        tally, outcomes = self.tally, iter(results)
        rejected, changed, witness = 0, 0, tally.position.witness
        for entry in chunk.entries:
            tally.line = max(tally.line, entry.line)
            if isinstance(entry, Reject):
                self._reject(
                    entry.line,
                    "reader",
                    entry.reason,
                    entry.words,
                    csv_line(list(entry.row)).decode("utf-8", "surrogateescape").rstrip("\n"),
                )
                rejected += 1
                continue
            outcome = next(outcomes)
            changed += outcome.changed
            if outcome.HasField("status") and outcome.status.code:
                self._reject(entry.line, "service", *_reason(outcome), MessageToJson(entry.item, indent=None))
                rejected += 1
            else:
                witness = record_of(entry.item) or witness
        before = tally.position
        tally.position = replace(
            before,
            entries=before.entries + len(chunk.entries),
            items=before.items + len(chunk.items),
            messages=before.messages + bool(chunk.items),
            changed=before.changed + changed,
            rejected=before.rejected + rejected,
            rejects_bytes=self._rejects.sync(),
            witness=witness,
        )
        self._journal.save(tally.position)
        self._on_progress(tally)

    def _reject(self, line: int, by: str, reason: str, words: str, content: str) -> None:
        self.tally.reasons[reason] += 1
        self._rejects.add(line, by, reason, words, content)


def record_of(item: record_pb2.Item) -> str:
    """The name of the record that an item is, "" where it is none."""
    match item.WhichOneof("item"):
        case "customer":
            return f"customer:{item.customer.key.source}:{item.customer.key.source_id}"
        case "order" if not item.order.HasField("customer"):
            return f"order:{item.order.key.source}:{item.order.key.order_id}"
    return ""


def _chunks(entries: Iterator[Entry]) -> Iterator[_Chunk]:
    chunk = _Chunk()
    for entry in entries:
        if chunk.is_full_for(entry):
            yield chunk
            chunk = _Chunk()
        chunk.add(entry)
    if chunk.entries:
        yield chunk


def _reason(outcome: identity_service_pb2.ItemResult) -> tuple[str, str]:
    """Why the service refused an item: in a word, and in words that name each field."""
    status = outcome.status
    reason, fields = "REFUSED", []
    for detail in status.details:
        info, bad = ErrorInfo(), BadRequest()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad):
            fields = [f"{_within_item(v.field)}: {v.description}" for v in bad.field_violations]
    return reason, "; ".join(fields) or status.message


def _within_item(path: str) -> str:
    """The path without its place in a message that the reader of the file never saw."""
    return path.partition("].")[2] if path.startswith("items[") and "]." in path else path
