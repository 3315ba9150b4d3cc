"""Everybody as columns, on a real engine: the same that a profile serves, one row a person."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from onefold.graph import policy
from onefold.graph.identity import find
from onefold.graph.ingest import Batch, Writer, ingest
from onefold.graph.model import Customer, Item, PropertyValue
from onefold.graph.people import PEOPLE, PREDICTIONS, people, predictions
from onefold.graph.predictions import Prediction, Run, write_predictions
from onefold.graph.profile import read_profile
from onefold.graph.reader import Reader
from onefold.graph.subject import Subject
from onefold.segments import columns as expected
from tests import items as make
from tests.conftest import Engine
from tests.worlds import RULES

NOW = make.NOW


@pytest.fixture
def writer(engine: Engine, endpoint: object) -> Writer:
    return make.writer(engine.endpoint, engine.driver)


@pytest.fixture
def reader(writer: Writer) -> Reader:
    return make.reader(writer)


def put(writer: Writer, *items: Item) -> None:
    ingest(writer, [Batch(items)])


def known(name: str, at: int, traits: dict[str, PropertyValue], properties: dict[str, PropertyValue]) -> Customer:
    source, _, source_id = name.partition(":")
    return Customer(source, source_id, at, make.customer(name, "email:1").assertions, traits, properties)


def test_the_table_is_what_segments_expect(writer: Writer, reader: Reader) -> None:
    assert PEOPLE == expected.PEOPLE
    assert people(reader).schema == PEOPLE
    assert people(reader).num_rows == 0
    assert PREDICTIONS == expected.PREDICTIONS
    assert predictions(reader).equals(PREDICTIONS.empty_table())


def test_a_person_is_a_row_of_what_their_profile_serves(writer: Writer, reader: Reader) -> None:
    put(
        writer,
        known(
            "web:1",
            NOW + 1,
            {"full_name": "Ann", "gender": "F", "birth_date": date(1980, 2, 29), "loyalty_points": 7},
            {"size": 12, "tags": ("x", "ü"), "vip": True},
        ),
        known("crm:1", NOW, {"gender": "female", "city": "Graz"}, {"size": 3, "since": date(2020, 1, 2), "name": "n"}),
        make.order("till:1", "email:1", "phone:1"),
    )
    (row,) = people(reader).to_pylist()
    assert row == {
        "identity": find(reader, Subject.record("customer:web:1")).identity.id,
        "created_at": datetime.fromtimestamp(NOW / 1000, UTC),
        "gender": "F", "birth_date": date(1980, 2, 29), "loyalty_points": 7, "city": "Graz",
        "language": None, "country": None, "region": None, "company": None, "job_title": None, "loyalty_tier": None,
        "member_since": None,
        "reachable_by": ["email", "phone"], "sources": ["crm", "till", "web"],
        "properties": [("name", "n"), ("since", "2020-01-02"), ("size", "12"), ("tags", '["x", "ü"]'), ("vip", "true")],
    }  # fmt: skip


def test_the_sources_that_the_policy_prefers_go_before_later_records(writer: Writer, reader: Reader) -> None:
    put(writer, known("web:1", NOW, {"city": "Graz"}, {}), known("crm:1", NOW + 1, {"city": "Linz"}, {}))
    preferring = policy.parse(RULES + "survivorship: {city: [web]}\n")
    assert people(reader).column("city").to_pylist() == ["Linz"]
    assert people(Reader(reader.driver, reader.database, preferring)).column("city").to_pylist() == ["Graz"]


def test_who_is_anonymous_or_has_merged_into_another_has_no_row(writer: Writer, reader: Reader) -> None:
    put(
        writer, make.event("web:e", on="device:9"), make.customer("web:1", "email:1"), make.customer("crm:1", "phone:1")
    )
    before = people(reader).column("identity").to_pylist()
    assert len(before) == 2
    put(writer, make.customer("app:1", "email:1", "phone:1"))
    (survivor,) = people(reader).column("identity").to_pylist()
    assert survivor == find(reader, Subject.record("customer:crm:1")).identity.id
    assert people(reader, before).column("identity").to_pylist() == [survivor]


def test_nobody_is_reached_by_what_is_shared_or_blocked(writer: Writer, reader: Reader) -> None:
    put(writer, *(make.customer(f"app:{i}", "device:3", "email:n/a", f"phone:{i}") for i in range(5)))
    assert people(reader).column("reachable_by").to_pylist() == [["phone"]] * 5


def test_every_row_is_what_the_profile_serves_and_some_are_read_as_all_are(writer: Writer, reader: Reader) -> None:
    put(writer, *make.stream(5, 80))
    rows = people(reader).to_pylist()
    assert rows
    for row in rows:
        profile = read_profile(reader, Subject.identity(row["identity"]))
        served = {t.name: t.chosen.value for t in profile.traits if t.name in PEOPLE.names}
        assert {name: row[name] for name in PEOPLE.names[2:-3] if row[name] is not None} == served
        assert row["sources"] == sorted({name.split(":")[1] for name in profile.records})
        reached = {i.key.split(":")[0] for i in profile.identifiers if not i.shared and i.first_seen is not None}
        assert row["reachable_by"] == sorted(reached)
    some = [row["identity"] for row in rows[::2]]
    again = people(reader, [*some, "0198a000-0000-7000-8000-000000000000"]).to_pylist()
    assert sorted(again, key=lambda row: row["identity"]) == sorted(rows[::2], key=lambda row: row["identity"])


def test_what_is_predicted_is_read_of_whom_it_is(writer: Writer, reader: Reader) -> None:
    put(writer, *(make.customer(f"web:{n}", f"email:{n}") for n in range(3)))
    ids = people(reader).column("identity").to_pylist()
    said = Prediction(ids[1], churn_probability=0.25, predicted_spend_micros=7, next_order_at=NOW + 5)
    write_predictions(writer, Run("run-1", "model", NOW, NOW, 1, 60, 365), [said])
    (row,) = predictions(reader).to_pylist()
    assert row == {
        "identity": ids[1], "churn_probability": 0.25, "expected_orders": None, "predicted_spend_micros": 7,
        "next_order_at": datetime.fromtimestamp((NOW + 5) / 1000, UTC), "identity_confidence": None,
        "weakest_merge_share": None,
    }  # fmt: skip
    assert predictions(reader, ids).to_pylist() == [row]
    assert predictions(reader, ids[:1]).num_rows == 0
