"""Data quality on a real engine: what sources said is read as they said it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from onefold.graph import quality
from onefold.graph.errors import InvalidInput
from onefold.graph.ingest import Batch, Writer, ingest
from onefold.graph.model import Assertion, Assurance, Deletion, IdentifierLink, Item, OperatorMatch
from onefold.graph.reader import Reader
from onefold.segments import quality as expected
from onefold.service import settings
from onefold.service.cli import quality as command
from onefold.service.importing.rejects import RejectsFile
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


def test_the_tables_are_what_the_assessment_expects(writer: Writer, reader: Reader) -> None:
    put(writer, *make.stream(3, 60))
    for read, schema, wanted in (
        (quality.records, quality.RECORDS, expected.RECORDS),
        (quality.links, quality.LINKS, expected.LINKS),
        (lambda reader: quality.said(reader, NOW), quality.SAID, expected.SAID),
    ):
        table = read(reader)
        assert schema == wanted
        assert table.schema == schema
        assert table.num_rows > 0


def test_an_empty_graph_gives_empty_tables(writer: Writer, reader: Reader) -> None:
    assert quality.records(reader).num_rows == 0
    assert quality.links(reader).num_rows == 0
    assert quality.said(reader, NOW).num_rows == 0


def test_a_record_is_a_row_with_what_it_knows(writer: Writer, reader: Reader) -> None:
    ann = replace(make.customer("crm:1", "email:a"), traits={"city": "Leeds", "birth_date": date(1990, 5, 2)})
    put(writer, ann, make.customer("web:1", "email:a", city="leeds"))
    put(writer, IdentifierLink("web", "customer:shop:9", Assertion("email:z", Assurance.VERIFIED), NOW))
    rows = {row["source"]: row for row in quality.records(reader).to_pylist()}
    assert rows.keys() == {"crm", "web"}  # nobody described shop:9
    assert rows["crm"]["identity"] == rows["web"]["identity"]
    assert rows["crm"]["observed_at"].timestamp() * 1000 == NOW
    known = {name: value for name, value in rows["crm"].items() if value is not None}
    assert known.keys() == {"identity", "source", "observed_at", "city", "birth_date"}
    assert (known["city"], known["birth_date"]) == ("Leeds", "1990-05-02")


def test_a_link_is_a_row_with_who_gave_it_first_when(writer: Writer, reader: Reader) -> None:
    put(writer, make.customer("crm:1", "email:a", at=NOW), make.order("till:1", "email:a", "phone:1", at=NOW + 5))
    put(writer, make.customer("crm:1", "email:a", at=NOW + 9))
    rows = quality.links(reader).to_pylist()
    assert sorted((r["source"], r["kind"], r["identifier"], r["first_seen"].timestamp() * 1000) for r in rows) == [
        ("crm", "email", "email:a", NOW),
        ("till", "email", "email:a", NOW + 5),
        ("till", "phone", "phone:1", NOW + 5),
    ]


def test_what_a_source_has_said_is_counted_without_what_it_deleted(writer: Writer, reader: Reader) -> None:
    put(
        writer,
        make.customer("crm:1", "email:a", at=NOW),
        make.customer("crm:2", "email:b", at=NOW - 10),
        make.customer("crm:3", "email:c", at=NOW + 7),
        make.order("crm:1", of="crm:1", at=NOW - 10),
        make.event("web:1", of="crm:1", at=NOW + 3),
        make.event("web:2", of="crm:1", at=NOW + 4),
    )
    put(writer, Deletion("customer:crm:3", NOW + 8))
    rows = quality.said(reader, NOW).to_pylist()
    assert [(r["source"], r["what"], r["items"], r["recent"], r["newest"].timestamp() * 1000) for r in rows] == [
        ("crm", "customer", 2, 1, NOW),
        ("crm", "order", 1, 0, NOW - 10),
        ("web", "event", 2, 2, NOW + 4),
    ]


def test_the_assessment_of_a_graph_is_that_of_its_items(writer: Writer, reader: Reader) -> None:
    put(
        writer,
        make.customer("crm:1", "email:a", city="Leeds"),
        make.customer("crm:2", city="York"),
        OperatorMatch("customer:crm:1", "customer:crm:2", "ann", "they said so", NOW),
        make.customer("web:1", "email:a"),
        make.customer("web:2", "email:b", city="Hull"),
    )
    found = expected.assess(
        quality.records(reader), quality.links(reader), quality.said(reader, NOW), [], NOW + make.DAY
    )
    assert found.everybody.of == 2
    assert found.everybody.known["city"] == 1.0
    assert {known.source: known.known["city"] for known in found.sources} == {"crm": 1.0, "web": 0.5}
    assert {d.source: d.share for d in found.duplicates} == {"crm": 0.5, "web": 0.0}
    assert [(c.trait, c.people, c.conflicting) for c in found.conflicts] == [("city", 1, 1)]
    assert Counter(fresh.age_days for fresh in found.freshness) == {1.0: 2}


def test_the_command_tells_the_graph_and_the_rejects(
    writer: Writer, engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(writer, make.customer("crm:1", "email:a", city="Leeds"), make.event("web:1", of="crm:1"))
    with RejectsFile(tmp_path / "r.csv") as file:
        file.add(3, "reader", "BAD_VALUE", "no date", "x")
    at = engine.endpoint
    known = settings.load(
        graph_uri=at.uri, graph_user=at.user, graph_password=at.password or None, graph_database=at.database or None
    )
    command.quality(known, [tmp_path / "r.csv"], True)
    told = json.loads(capsys.readouterr().out)
    assert [(source["source"], source["known"]["city"]) for source in told["sources"]] == [("crm", 1.0)]
    assert told["rejects"] == [{"by": "reader", "reason": "BAD_VALUE", "count": 1}]
    command.quality(known, [], False, tmp_path / "onefold.prom")
    gauges = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families((tmp_path / "onefold.prom").read_text())
        for sample in family.samples
    }
    assert gauges["onefold_quality_completeness_ratio", ("source", "crm"), ("trait", "city")] == 1.0
    assert gauges["onefold_quality_recent_items", ("source", "web"), ("what", "event")] == 0
    with pytest.raises(InvalidInput, match=r"--textfile: .*/nowhere/onefold.prom can't be written: No such file"):
        command.quality(known, [], False, tmp_path / "nowhere/onefold.prom")
    assert "People whom records describe: 1, " in capsys.readouterr().out
