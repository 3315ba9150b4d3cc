"""A run of an import: what is sent, what is written down, and how it goes on after it was stopped."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from google.rpc.status_pb2 import Status

from onefold.graph.errors import InvalidInput, Violation
from onefold.service.importing.entries import Entry, Parsed, Reason, Reject
from onefold.service.importing.journal import Journal, Position, survey
from onefold.service.importing.rejects import RejectsFile
from onefold.service.importing.run import ImportRun, Tally
from onefold.service.status import status_of
from onefold.v1 import record_pb2
from onefold.v1.identity_service_pb2 import ItemResult


class Stopped(Exception):
    """The service, or the person, has had enough."""


class Memory:
    """A service that remembers customers, refuses those named ``bad``, and stops after some messages, of which it may
    keep the last one all the same."""

    def __init__(self, stops_after: int | None = None, keeps_one_more: bool = False) -> None:
        self.known: set[str] = set()
        self.received: list[str] = []
        self.left = stops_after
        self.keeps_one_more = keeps_one_more
        self.answers: dict[tuple[str, int], list[ItemResult]] = {}

    def send(
        self, messages: Iterable[Sequence[record_pb2.Item]], stream_id: str, acknowledged: int
    ) -> Iterator[Sequence[ItemResult]]:
        for sequence, message in enumerate(messages, acknowledged + 1):
            if self.left == 0 and not self.keeps_one_more:
                raise Stopped
            if (stream_id, sequence) not in self.answers:
                names = [item.customer.key.source_id for item in message]
                self.answers[stream_id, sequence] = [self._take(name) for name in names]
            if self.left == 0:
                raise Stopped
            self.left = None if self.left is None else self.left - 1
            yield self.answers[stream_id, sequence]

    def _take(self, name: str) -> ItemResult:
        self.received.append(name)
        if name.startswith("bad"):
            error = InvalidInput([Violation("items[3].customer.traits.country", "is no country")])
            return ItemResult(status=status_of(error))
        new = name not in self.known
        self.known.add(name)
        return ItemResult(changed=new, status=Status())


def customer(name: str, line: int) -> Parsed:
    key = record_pb2.CustomerKey(source="crm", source_id=name)
    return Parsed(line, record_pb2.Item(customer=record_pb2.Customer(key=key)))


def entries(count: int = 2300) -> Iterator[Entry]:
    """Mostly customers; every seventh row is a reject of the reader, every hundredth one of the service."""
    for line in range(2, count + 2):
        if line % 7 == 0:
            yield Reject(line, Reason.NO_KEY, "has no id", ["", f"x,{line}", "\udcff"])
        else:
            yield customer(f"bad{line}" if line % 100 == 0 else f"c{line}", line)


def run(folder: Path, service: Memory, given: Iterable[Entry] | None = None, subject: str = "s") -> Tally:
    journal = Journal(folder / "journal", subject)
    position = journal.load()
    with RejectsFile(folder / "rejects", position.rejects_bytes) as rejects:
        return ImportRun(service, rejects, journal, position).run(entries() if given is None else given)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "rejects").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


def test_every_entry_is_either_sent_once_or_rejected_with_its_reason(tmp_path: Path) -> None:
    service = Memory()
    tally = run(tmp_path, service)
    given = list(entries())
    assert service.received == [e.item.customer.key.source_id for e in given if isinstance(e, Parsed)]
    assert (tally.position.entries, tally.position.items) == (2300, len(service.received))
    assert tally.position.changed == len(service.known)
    rejected = rows(tmp_path)
    assert [int(row["line"]) for row in rejected] == [n for n in range(2, 2302) if n % 7 == 0 or n % 100 == 0]
    assert tally.position.rejected == len(rejected)
    by = {row["line"]: row for row in rejected}
    assert by["7"] == {
        "line": "7",
        "by": "reader",
        "reason": "NO_KEY",
        "words": "has no id",
        "content": ',"x,7",\udcff',
    }
    assert by["100"]["by"] == "service"
    assert by["100"]["reason"] == "INVALID_INPUT"
    assert by["100"]["words"] == "customer.traits.country: is no country"
    assert '"bad100"' in by["100"]["content"]


def test_the_same_file_twice_changes_nothing(tmp_path: Path) -> None:
    service = Memory()
    run(tmp_path, service)
    (tmp_path / "journal").unlink()
    assert run(tmp_path, service).position.changed == 0


@pytest.mark.parametrize("messages", range(4))
def test_a_stopped_import_goes_on_where_it_was_acknowledged_and_ends_like_one_that_ran_through(
    tmp_path: Path, messages: int
) -> None:
    (whole := tmp_path / "whole").mkdir()
    (parts := tmp_path / "parts").mkdir()
    expected = run(whole, Memory())
    service = Memory(stops_after=messages)
    with pytest.raises(Stopped):
        run(parts, service)
    before = len(service.received)
    service.left = None
    tally = run(parts, service)
    assert replace(tally.position, stream_id="") == replace(expected.position, stream_id="")
    assert len(service.received) == len(set(service.received)), "what was acknowledged was sent again"
    assert (before > 0) == (messages > 0)
    assert (parts / "rejects").read_bytes() == (whole / "rejects").read_bytes()


@pytest.mark.parametrize("messages", range(4))
def test_what_was_kept_and_not_acknowledged_is_told_to_the_next_run_as_what_it_was(
    tmp_path: Path, messages: int
) -> None:
    service = Memory(stops_after=messages, keeps_one_more=True)
    with pytest.raises(Stopped):
        run(tmp_path, service)
    service.left = None
    assert run(tmp_path, service).position.changed == len(service.known)
    assert len(service.received) == len(set(service.received))


def test_an_import_that_begins_anew_is_another_stream(tmp_path: Path) -> None:
    service = Memory()
    first, second = run(tmp_path, service, subject="one"), run(tmp_path, service, subject="other")
    assert first.position.stream_id != second.position.stream_id
    assert second.position.changed == 0


def test_without_its_journal_a_stopped_import_begins_anew_and_loses_nothing(tmp_path: Path) -> None:
    service = Memory(stops_after=2)
    with pytest.raises(Stopped):
        run(tmp_path, service)
    (tmp_path / "journal").unlink()
    service.left = None
    assert run(tmp_path, service).position.entries == 2300
    assert len(rows(tmp_path)) == len({row["line"] for row in rows(tmp_path)})


def test_a_journal_of_another_import_or_of_rubbish_is_a_beginning(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", "this")
    journal.save(Position(entries=7))
    assert journal.load() == Position(entries=7)
    assert Journal(tmp_path / "journal", "another").load() == Position()
    (tmp_path / "journal").write_text("{")
    assert journal.load() == Position()


def test_a_file_of_rejects_alone_is_written_without_a_message(tmp_path: Path) -> None:
    service = Memory(stops_after=0)
    given = [Reject(line, Reason.NO_KEY, "has no id", []) for line in range(2, 9000)]
    assert run(tmp_path, service, given).position.rejected == len(rows(tmp_path)) == 8998


def test_a_file_and_its_zipped_copy_are_one_import(tmp_path: Path) -> None:
    import gzip

    plain, zipped = tmp_path / "a.csv", tmp_path / "a.csv.gz"
    plain.write_bytes(b"a,b\n1,2\n")
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    assert survey(plain) == survey(zipped)
    assert survey(plain).lines == 2
    zipped.write_bytes(zipped.read_bytes()[:-9])
    with pytest.raises(InvalidInput, match="cut off"):
        survey(zipped)
