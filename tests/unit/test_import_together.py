"""Entries in the order of a bulk import: what hangs together one after the other, and nothing lost."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest

from onefold.service.importing.entries import Entry, Parsed, Reason, Reject
from onefold.service.importing.together import Together
from onefold.v1 import record_pb2 as pb
from tests.unit.test_import_run import Memory, Stopped, rows, run


def customer(line: int, name: str, *identifiers: str) -> Parsed:
    key = pb.CustomerKey(source="crm", source_id=name)
    found = [pb.Identifier(kind=text.partition(":")[0], value=text.partition(":")[2]) for text in identifiers]
    return Parsed(line, pb.Item(customer=pb.Customer(key=key, identifiers=found)))


def order(line: int, name: str, of: str = "", *identifiers: str) -> Parsed:
    item = pb.Order(key=pb.OrderKey(source="shop", order_id=name))
    if of:
        item.customer.source, item.customer.source_id = "crm", of
    for text in identifiers:
        item.identifiers.add(kind=text.partition(":")[0], value=text.partition(":")[2])
    return Parsed(line, pb.Item(order=item))


def people(count: int, seed: int = 0) -> list[Entry]:
    """Three records and an order each, held together in a chain, in any order; some rows that give none."""
    given: list[Entry] = []
    for n in range(count):
        given += [
            customer(0, f"{n}a", f"email:P{n}@example.org"),
            customer(0, f"{n}b", f"email: p{n}@Example.org", f"phone:{n}", "device:till"),
            customer(0, f"{n}c", f"phone:{n}", "device:till"),
            order(0, f"{n}d", of=f"{n}a"),
            Reject(0, Reason.NO_KEY, "has no id", [str(n)]),
        ]
    random.Random(seed).shuffle(given)
    return [
        Reject(line, e.reason, e.words, e.row) if isinstance(e, Reject) else Parsed(line, e.item)
        for line, e in enumerate(given, start=2)
    ]


def person(entry: Entry) -> str:
    assert isinstance(entry, Parsed)
    key = entry.item.customer.key.source_id or entry.item.order.key.order_id
    return key[:-1]


def test_what_hangs_together_comes_one_after_the_other_and_nothing_is_lost() -> None:
    given = people(60)
    found = list(Together(given))
    assert sorted(found, key=lambda entry: entry.line) == given
    assert [isinstance(entry, Reject) for entry in found] == [True] * 60 + [False] * 240, "rejects hang on nothing"
    assert len(list(groupby(found[60:], person))) == 60, "what more have than a person has holds nobody together"


def test_each_person_comes_in_the_place_and_the_order_of_their_items() -> None:
    items = [entry for entry in Together(people(20)) if isinstance(entry, Parsed)]
    firsts = [next(group).line for _, group in groupby(items, person)]
    assert firsts == sorted(firsts)
    assert all(lines == sorted(lines) for lines in ([e.line for e in group] for _, group in groupby(items, person)))


def test_an_event_a_link_and_an_operators_word_come_with_those_they_name() -> None:
    a, b = (pb.CustomerKey(source="crm", source_id=name) for name in "ab")
    mail = pb.Identifier(kind="email", value="a@example.org")
    given: list[Entry] = [
        customer(2, "a"),
        customer(3, "x"),
        customer(4, "b"),
        customer(5, "c", "email:a@example.org"),
        Parsed(6, pb.Item(event=pb.Event(source="web", event_id="1", customer=a))),
        Parsed(7, pb.Item(link=pb.IdentifierLink(source="web", customer=a, identifier=mail))),
        Parsed(8, pb.Item(match=pb.OperatorMatch(a=a, b=b))),
        Parsed(9, pb.Item(deletion=pb.Deletion(record=pb.RecordKey(customer=b)))),
    ]
    assert [entry.line for entry in Together(given)] == [2, 4, 5, 6, 7, 8, 9, 3]


def test_a_file_without_items_is_its_rejects() -> None:
    given = [Reject(line, Reason.NO_KEY, "has no id", []) for line in (2, 3)]
    assert list(Together(given)) == given
    assert list(Together([])) == []


@pytest.mark.parametrize("messages", range(3))
def test_a_stopped_bulk_import_goes_on_where_it_was_acknowledged(tmp_path: Path, messages: int) -> None:
    def entries() -> Iterator[Entry]:
        for n in random.Random(1).sample(range(2_000), 2_000):
            yield Reject(n, Reason.NO_KEY, "has no id", []) if n % 9 == 0 else customer(n, f"{n}", f"phone:{n // 4}")

    (whole := tmp_path / "whole").mkdir()
    (parts := tmp_path / "parts").mkdir()
    expected = run(whole, Memory(), Together(entries()))
    service = Memory(stops_after=messages)
    with pytest.raises(Stopped):
        run(parts, service, Together(entries()))
    service.left = None
    resumed = run(parts, service, Together(entries())).position
    assert resumed == replace(expected.position, stream_id=resumed.stream_id)
    assert len(service.received) == len(set(service.received)) == expected.position.items
    assert rows(parts) == rows(whole)
