"""Definitions of segments and their lists, on each engine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from onefold.graph.errors import Conflict
from onefold.graph.ingest import Batch, Outcome, Writer, ingest
from onefold.graph.model import Item, OperatorBan
from onefold.graph.reader import Reader
from onefold.graph.segments import (
    Definitions,
    Edit,
    StoredCatalogue,
    StoredSegment,
    anchors,
    change_definitions,
    listed,
    listed_records,
    read_definitions,
    records_of,
    write_list,
)
from tests import items as make
from tests.conftest import Engine
from tests.items import NOW

PAGES = "MATCH (p:SegmentPage) RETURN count(p)"


@pytest.fixture
def writer(engine: Engine, endpoint: object) -> Writer:
    return make.writer(engine.endpoint, engine.driver)


@pytest.fixture
def reader(writer: Writer) -> Reader:
    return make.reader(writer)


def put(writer: Writer, *items: Item) -> list[Outcome]:
    (outcomes,) = ingest(writer, [Batch(items)])
    assert isinstance(outcomes, list)
    return outcomes


def segment(key: str, rule: str | None = "orders > 1", list: str | None = None, etag: str = "1") -> StoredSegment:
    return StoredSegment(key, f"about {key}", "crm", rule, list, 0, etag, NOW, NOW + 1)


def test_what_is_defined_is_read_until_it_is_dropped(writer: Writer, reader: Reader) -> None:
    assert read_definitions(reader) == Definitions()
    list, _ = write_list(writer, ["customer:web:1"])
    catalogue = StoredCatalogue("catalogue: 1", "abc", NOW, {"staff": list})
    made = change_definitions(writer, lambda _: Edit(put=[segment("b"), segment("a")], catalogue=catalogue))
    assert read_definitions(reader) == made == Definitions(catalogue, {"a": segment("a"), "b": segment("b")})
    changed = change_definitions(
        writer, lambda before: Edit(put=[segment("b", before.segments["b"].rule, etag="2")], drop=["a"])
    )
    assert read_definitions(reader) == changed
    assert changed.segments == {"b": segment("b", etag="2")}
    assert changed.etag != made.etag
    assert listed_records(reader, changed.lists["staff"]) == {"customer:web:1"}


def test_what_is_refused_changes_nothing(writer: Writer, reader: Reader) -> None:
    def refuse(_: Definitions) -> Edit:
        raise Conflict("not this one")

    change_definitions(writer, lambda _: Edit(put=[segment("a")]))
    with pytest.raises(Conflict):
        change_definitions(writer, refuse)
    assert read_definitions(reader).segments.keys() == {"a"}


def test_of_two_who_change_at_once_each_sees_what_the_other_did(writer: Writer, reader: Reader) -> None:
    def add(name: str) -> None:
        change_definitions(writer, lambda before: Edit(put=[segment(name, f"orders > {len(before.segments)}")]))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, [f"s{n}" for n in range(8)]))
    assert sorted(s.rule or "" for s in read_definitions(reader).segments.values()) == [
        f"orders > {n}" for n in range(8)
    ]


def test_a_list_has_whoever_has_its_records(writer: Writer, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onefold.graph.segments.PAGE", 2)
    ann, bea, cid = put(
        writer, make.customer("web:1", "email:1"), make.customer("web:2", "email:1"), make.customer("web:3", "email:3")
    )
    (guest,) = put(writer, make.order("till:1", "email:9"))
    put(writer, make.order("shop:7", of="web:3"))
    assert ann.identity == bea.identity
    names = ["customer:web:1", "customer:web:2", "order:till:1", "order:shop:7", "customer:web:9"]
    id, count = write_list(writer, [*names, names[0]])
    assert count == 5
    assert listed_records(reader, id) == set(names)
    assert listed(reader, id) == {ann.identity, cid.identity, guest.identity}
    put(writer, OperatorBan("customer:web:1", "customer:web:2", "ann", "", NOW))
    put(writer, make.customer("web:9", "email:99"))
    assert len(listed(reader, id)) == 5  # both parts, and who came later


def test_an_anchor_stands_for_each_identity(writer: Writer, reader: Reader) -> None:
    ann, bea = put(writer, make.customer("web:2", "email:1"), make.customer("web:1", "email:1"))
    (guest,) = put(writer, make.order("till:1", "email:9"))
    put(writer, make.order("shop:7", of="web:2"))
    assert anchors(reader, [ann.identity, guest.identity, "nobody"]) == ["customer:web:1", "order:till:1"]
    assert records_of(reader, [bea.identity]) == {
        ann.identity: frozenset({"customer:web:1", "customer:web:2", "order:shop:7"})
    }


def test_the_pages_of_a_list_go_with_it(writer: Writer, reader: Reader) -> None:
    first, _ = write_list(writer, ["customer:web:1"])
    change_definitions(writer, lambda _: Edit(put=[segment("a", None, first)]))
    second, _ = write_list(writer, ["customer:web:2"])
    write_list(writer, ["customer:web:3"])  # for a segment that is still to come
    change_definitions(writer, lambda _: Edit(put=[segment("a", None, second)]))
    assert reader.rows(PAGES)[0][0] == 2
    assert listed_records(reader, second) == {"customer:web:2"}
    change_definitions(writer, lambda _: Edit(drop=["a"]))
    assert reader.rows(PAGES)[0][0] == 1
