"""The weakest merge of an identity on a real engine: the evidence that is stored, and the orders that hang on it."""

from __future__ import annotations

import pytest

from onefold.graph.confidence import Confidence, read_confidence
from onefold.graph.errors import NotFound
from onefold.graph.ingest import Batch, Writer, ingest
from onefold.graph.model import Item, OperatorMatch
from onefold.graph.reader import Reader
from onefold.graph.subject import Subject
from tests import items as make
from tests.conftest import Engine

NOW = make.NOW


@pytest.fixture
def writer(engine: Engine, endpoint: object) -> Writer:
    return make.writer(engine.endpoint, engine.driver)


@pytest.fixture
def reader(writer: Writer) -> Reader:
    return make.reader(writer)


def put(writer: Writer, *items: Item) -> None:
    ingest(writer, [Batch(items)])


def test_what_hangs_on_the_weakest_merge_is_counted_in_orders(writer: Writer, reader: Reader) -> None:
    put(
        writer,
        make.customer("shop:1", "email:1", "device:1"),
        make.customer("shop:2", "device:1"),
        *(make.order(f"shop:o{n}", of="shop:1") for n in range(2)),
        make.order("shop:o9", of="shop:2"),
        make.order("till:1", "email:1"),
    )
    found = read_confidence(reader, Subject.identifier("email:1"))
    assert (found.probability, found.share) == (pytest.approx(0.9), pytest.approx(0.25))
    assert (found.records, found.exact) == (("customer:shop:2",), True)


def test_who_is_one_record_or_one_by_an_operators_word_hangs_on_nothing(writer: Writer, reader: Reader) -> None:
    put(
        writer,
        make.customer("shop:1", "email:1"),
        make.customer("shop:2", "email:2"),
        make.customer("shop:3", "email:3"),
        make.event("web:e", on="device:9"),
        OperatorMatch("customer:shop:1", "customer:shop:2", "ann", "", NOW),
    )
    for subject in (
        Subject.record("customer:shop:3"),
        Subject.record("customer:shop:1"),
        Subject.identifier("device:9"),
    ):
        assert read_confidence(reader, subject) == Confidence()


def test_identifiers_that_join_only_together_are_a_merge(writer: Writer, reader: Reader) -> None:
    weak = [f"device:{n}" for n in range(6)]
    put(writer, *(make.customer(f"shop:{n}", *weak, assurance="observed") for n in (1, 2)))
    found = read_confidence(reader, Subject.record("customer:shop:1"))
    assert found.probability == pytest.approx(1 - 0.75**6, abs=1e-6)
    assert (found.share, found.records) == (0.5, ("customer:shop:1",))


def test_who_leads_to_nobody_has_no_merges(reader: Reader) -> None:
    with pytest.raises(NotFound):
        read_confidence(reader, Subject.record("customer:shop:404"))
