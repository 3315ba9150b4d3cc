"""``onefold import``: a file through the service's stream, with a bar, and a file of what was not taken."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
from rich.markup import escape
from rich.progress import Progress

from onefold.graph.errors import InvalidInput, OnefoldError
from onefold.service.cli import terminal
from onefold.service.cli.subjects import parse_subject
from onefold.service.client import StreamingImporter, error_of
from onefold.service.importing import csv_mapping, csv_reader, online_retail, together
from onefold.service.importing.entries import Entry
from onefold.service.importing.journal import Journal, Position, survey
from onefold.service.importing.rejects import RejectsFile
from onefold.service.importing.run import ImportRun, Tally
from onefold.v1 import identity_service_pb2, identity_service_pb2_grpc

REJECTS_SUFFIX: Final = ".rejects.csv"
JOURNAL_SUFFIX: Final = ".resume.json"
_LINES_A_LOOK: Final = 1_000


@dataclass(frozen=True, slots=True)
class Source:
    """A file, and how it is read."""

    path: Path
    read: Callable[[], Iterator[Entry]]
    reading: str
    """The reader and all that its entries depend on besides the file: another reading is another import."""


def online_retail_source(path: Path) -> Source:
    """The UCI Online Retail file."""
    return Source(path, lambda: online_retail.read(path), "online-retail")


def csv_source(path: Path, mapping_path: Path) -> Source:
    """Any CSV file. Raises InvalidInput for a mapping that breaks a rule."""
    mapping = csv_mapping.load(mapping_path)
    digest = hashlib.sha256(mapping.model_dump_json().encode()).hexdigest()
    return Source(path, lambda: csv_reader.read(path, mapping), f"csv {digest}")


def run(
    channel: grpc.Channel, source: Source, rejects: Path | None, restart: bool, as_json: bool, bulk: bool = False
) -> int:
    """Imports a file, and says what became of it. In ``bulk``, what hangs together is sent together."""
    began = time.monotonic()
    rejects = rejects or source.path.with_name(source.path.name + REJECTS_SUFFIX)
    known = survey(source.path)
    reading = f"{source.reading}, {together.ORDER}" if bulk else source.reading
    journal = Journal(rejects.with_name(rejects.name + JOURNAL_SUFFIX), f"{known.fingerprint} {reading}")
    start = Position() if restart else _resumable(journal.load(), rejects, channel)
    if start.entries:
        terminal.note(
            f"Going on after {start.items:,} items that an earlier run had acknowledged (--restart begins anew)."
        )
    with RejectsFile(rejects, start.rejects_bytes) as rejects_file, terminal.progress(source.path.name) as bars:
        entries = together.Together(source.read(), on_read=lambda line: _show_reading(bars, line, known.lines))
        importing = ImportRun(
            StreamingImporter(channel, on_pause=_tell_pause),
            rejects_file,
            journal,
            start,
            on_progress=lambda tally: _show(
                bars,
                tally,
                (tally.position.entries, entries.count) if bulk else (min(tally.line, known.lines), known.lines),
                time.monotonic() - began,
                start.items,
            ),
        )
        try:
            tally = importing.run(entries if bulk else source.read())
        except KeyboardInterrupt:
            bars.stop()
            _tell_stop(importing.tally, "Stopped")
            return terminal.EXIT_INTERRUPTED
        except OnefoldError as error:
            bars.stop()
            if not isinstance(error, InvalidInput):  # the same command again would end there again
                _tell_stop(importing.tally, "Ended")
            raise
    journal.forget()
    _report(tally, start, rejects, time.monotonic() - began, as_json)
    return 0


def _resumable(position: Position, rejects: Path, channel: grpc.Channel) -> Position:
    """The position, if its rejects are still there and the service knows what it is said to have acknowledged."""
    if not position.entries:
        return position
    if position.rejects_bytes and (not rejects.exists() or rejects.stat().st_size < position.rejects_bytes):
        return Position()
    if position.witness:
        stub = identity_service_pb2_grpc.IdentityServiceStub(channel)
        request = identity_service_pb2.ResolveIdentityRequest(subject=parse_subject(position.witness))
        try:
            stub.ResolveIdentity(request, timeout=10)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return Position()
            raise error_of(error) from error
    return position


def _show_reading(bars: Progress, line: int, lines: int) -> None:
    if line % _LINES_A_LOOK == 0:
        for task in bars.task_ids:
            bars.update(task, total=lines, completed=min(line, lines), said="finding what hangs together")


def _show(bars: Progress, tally: Tally, reached: tuple[int, int], seconds: float, before: int) -> None:
    position = tally.position
    done, total = reached
    rate = (position.items - before) / max(seconds, 0.001)
    rejected = f", {position.rejected:,} rejected" if position.rejected else ""
    for task in bars.task_ids:
        bars.update(
            task,
            total=total if position.items else None,
            completed=done,
            said=f"{position.items:,} items, {rate:,.0f}/s{rejected}" if position.items else f"reading{rejected}",
        )


def _tell_pause(error: OnefoldError, seconds: float) -> None:
    terminal.note(f"{error}; trying again in {seconds:.1f} s")


def _tell_stop(tally: Tally, how: str) -> None:
    terminal.note(
        f"{how} after {tally.position.items:,} items that are safely there. The same command again goes on from there."
    )


def _report(tally: Tally, start: Position, rejects: Path, seconds: float, as_json: bool) -> None:
    position = tally.position
    items = position.items - start.items
    if as_json:
        facts = {
            "items": position.items,
            "changed": position.changed,
            "rejected": position.rejected,
            "reasons": dict(tally.reasons),
            "rejects_file": str(rejects) if position.rejected else None,
            "resumed_after_items": start.items,
            "seconds": round(seconds, 3),
        }
        print(json.dumps(facts))
        return
    console = terminal.out()
    console.print(
        f"[bold]{position.items:,} items[/], [bold]{position.changed:,} changed[/], "
        f"in {seconds:,.1f} s ({items / max(seconds, 0.001):,.0f}/s)"
    )
    if position.rejected:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in tally.reasons.most_common())
        console.print(f"{position.rejected:,} rejected: {escape(reasons)}", soft_wrap=True)
        console.print(f"  with their reasons in {escape(str(rejects))}", soft_wrap=True)
