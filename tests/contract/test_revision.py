"""Revisions on a real engine: as long as an identity's is the same, so is all that predictions are made of."""

from __future__ import annotations

from typing import Any

import pytest

from onefold.graph import columns
from onefold.graph.confidence import read_confidence
from onefold.graph.errors import InvalidInput
from onefold.graph.ingest import Batch, Outcome, Writer, ingest
from onefold.graph.model import Deletion, Item
from onefold.graph.reader import Reader
from onefold.graph.revision import Revision, read_revisions
from onefold.graph.subject import Subject
from tests import items as make
from tests.conftest import Engine

NOW = make.NOW
CURRENT = "MATCH (i:Identity)<-[:MEMBER_OF]-() RETURN DISTINCT i.id"


@pytest.fixture
def writer(engine: Engine, endpoint: object) -> Writer:
    return make.writer(engine.endpoint, engine.driver)


@pytest.fixture
def reader(writer: Writer) -> Reader:
    return make.reader(writer)


def put(writer: Writer, *items: Item) -> list[Outcome]:
    return ingest(writer, [Batch(items)])[0]


def revision(reader: Reader, key: str) -> Revision:
    (found,) = read_revisions(reader, [Subject.record(f"customer:{key}")]).values()
    return found


def contents(reader: Reader, identity: str) -> list[Any]:
    """All that is read of an identity to predict."""
    rows = [
        sorted(map(repr, read(reader, NOW + 100, [identity]).to_pylist())) for read in (columns.orders, columns.events)
    ]
    return [*rows, read_confidence(reader, Subject.identity(identity))]


@pytest.mark.parametrize("seed", range(3))
def test_whatever_comes_an_identity_of_a_known_revision_is_as_it_was(writer: Writer, reader: Reader, seed: int) -> None:
    seen: dict[Revision, list[Any]] = {}
    met_again = 0
    for item in make.upheavals(seed):
        ingest(writer, [Batch([item])])
        subjects = [Subject.identity(row[0]) for row in reader.rows(CURRENT)]
        for at in read_revisions(reader, subjects).values():
            now = contents(reader, at.identity)
            met_again += at in seen
            assert seen.setdefault(at, now) == now
    assert met_again, "some are left alone by some commits"
    assert len({at.identity for at in seen}) < len(seen), "and some are not"


@pytest.mark.parametrize(
    "item",
    [
        make.order("shop:2", of="web:1"),
        make.order("shop:1", of="web:1", at=NOW + 1, total=1),
        make.event("web:9", of="web:1"),
        make.event("web:9", on="device:1"),
        make.order("till:1", "email:1"),
        make.customer("crm:3", "email:1"),
        make.customer("web:1", at=NOW + 1),
        Deletion("order:shop:1", NOW + 1),
        Deletion("customer:app:1", NOW + 1),
    ],
    ids=["an order", "a corrected order", "an event", "a device's event", "a guest order", "a merge", "a withdrawal",
         "a deleted order", "a deleted record"],
)  # fmt: skip
def test_whatever_is_written_of_a_person_gives_them_another_revision_and_nobody_else(
    writer: Writer, reader: Reader, item: Item
) -> None:
    put(writer, make.customer("web:1", "email:1", "device:1"), make.customer("app:1", "email:1"))
    put(writer, make.order("shop:1", of="web:1"), make.customer("web:2", "email:2"))
    before, other = revision(reader, "web:1"), revision(reader, "web:2")
    put(writer, item)
    assert revision(reader, "web:1") != before
    assert revision(reader, "web:2") == other


def test_all_that_leads_to_a_person_gives_one_revision(writer: Writer, reader: Reader) -> None:
    (ann, _, _) = put(writer, make.customer("web:1", "email:1"), make.order("shop:1", of="web:1"),
                      make.order("till:1", "email:1"))  # fmt: skip
    names = [Subject.record(name) for name in ("customer:web:1", "order:shop:1", "order:till:1")]
    nobody = Subject.record("customer:web:404")
    found = read_revisions(reader, [*names, Subject.identity(ann.identity), Subject.identifier("email:1"), nobody])
    assert len(found) == 5
    assert nobody not in found
    assert {at.identity for at in found.values()} == {ann.identity}
    assert len(set(found.values())) == 1
    with pytest.raises(InvalidInput):
        read_revisions(reader, [Subject.identifier("shoe:9")])
