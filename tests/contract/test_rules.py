"""Rules as Cypher: of the identities in an engine, a query finds those whom the process finds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import neo4j
import pytest

from onefold.graph.ingest import Batch, ingest
from onefold.graph.predictions import Prediction, Run, write_predictions
from onefold.segments import statement
from onefold.segments.check import check
from onefold.segments.evaluate import compiled
from onefold.segments.vocabulary import LABELS, SEGMENTS, Type, shipped
from tests import items as make
from tests import rules
from tests.conftest import Engine
from tests.engines import empty
from tests.rules import NOW

WRITE = """
UNWIND $rows AS r CREATE (i:Identity) SET i = r[0]
SET i.f_last_order_at = CASE WHEN r[1] IS NULL THEN null ELSE datetime({epochMillis: r[1]}) END,
  i.next_order_at = CASE WHEN r[2] IS NULL THEN null ELSE datetime({epochMillis: r[2]}) END
"""


def properties(row: dict[str, Any]) -> dict[str, Any]:
    """What is on the identity, but for instants."""
    named = {f.property: row[f.key] for f in rules.FEATURES if f.key in row and f.type is not Type.INSTANT}
    return {**named, **{key: row[key] for key in ("id", LABELS, SEGMENTS) if key in row}}


@pytest.fixture(scope="module")
def rows(proving: bool) -> list[dict[str, Any]]:
    return rules.people(31, 10_000 if proving else 500)


@pytest.fixture(scope="module")
def session(engine: Engine, rows: list[dict[str, Any]]) -> Iterator[neo4j.Session]:
    empty(engine.driver, engine.endpoint.database)
    written = [[properties(row), row.get("last_order_at"), row.get("next_order_at")] for row in rows]
    with engine.driver.session(database=engine.endpoint.database) as session:
        for start in range(0, len(written), 1_000):
            session.run(WRITE, rows=written[start : start + 1_000]).consume()
        yield session


def ids(session: neo4j.Session, condition: str, said: statement.Statement) -> set[str]:
    found = session.run(f"MATCH (i:Identity) WHERE {condition} RETURN i.id", dict(said.parameters))
    return {row[0] for row in found}


def test_a_query_finds_whom_the_process_finds(
    session: neo4j.Session, rows: list[dict[str, Any]], proving: bool
) -> None:
    found = {True: 0, None: 0}
    for rule in rules.rules(32, 500 if proving else 50):
        said = statement.cypher(rule, NOW)
        holds = compiled(rule)
        truths = {row["id"]: holds(row, NOW) for row in rows}
        for truth, condition in ((True, said.text), (None, f"({said.text}) IS NULL")):
            expected = {id for id, each in truths.items() if each is truth}
            assert ids(session, condition, said) == expected, rule.text
            found[truth] += len(expected)
    assert min(found.values()) > 5 * len(rows)


def test_a_negative_zero_is_zero(session: neo4j.Session, rows: list[dict[str, Any]]) -> None:
    said = statement.cypher(check("0 * points >= 0 && 0 / points <= 0", rules.VOCABULARY), NOW)
    known = {row["id"] for row in rows if row.get("points")}
    assert any(row.get("points", 0) < 0 for row in rows)
    assert ids(session, said.text, said) == known


def test_the_longest_rules_run(session: neo4j.Session, rows: list[dict[str, Any]]) -> None:
    deep = "(" * 20 + "vip" + "".join(f" {'&&' if n % 2 else '||'} orders > {n})" for n in range(20))
    sums = "orders" + " + points" * 50 + " > 3"
    quotients = "orders" + " / points" * 20 + " > 0.001"
    alternating = " || ".join(f"orders == {n} && !(points != {n})" for n in range(75))
    either = " || ".join(f"orders == {n}" for n in range(150))
    all_of = " && ".join(["orders > -9"] * 150)
    cities = f"city in [{', '.join(repr(str(n)) for n in range(999))}, 'york']"
    for text in (deep, sums, quotients, alternating, either, all_of, cities):
        rule = check(text, rules.VOCABULARY)
        said, holds = statement.cypher(rule, NOW), compiled(rule)
        assert ids(session, said.text, said) == {row["id"] for row in rows if holds(row, NOW)}


def test_what_a_run_has_written_is_found(engine: Engine, endpoint: object) -> None:  # last: it empties the database
    writer = make.writer(engine.endpoint, engine.driver)
    ((ann, bob),) = ingest(writer, [Batch([make.customer("web:1", "email:1"), make.customer("web:2", "email:2")])])
    run = Run("run-1", "model", NOW, NOW, 1, 60, 365)
    known = Prediction(
        ann.identity, churn_probability=0.75, expected_orders=2.0, next_order_at=NOW + 3 * make.DAY,
        predicted_spend_micros=5_000_000, identity_confidence=0.9, weakest_merge_share=0.1,
        features={"orders_90d": 3.0, "gap_mean": 7.5},
    )  # fmt: skip
    write_predictions(writer, run, [known, Prediction(bob.identity, features={"orders_90d": 3.0})])
    rule = check(
        "orders_90d in [3] && gap_mean > 7d && churn_probability > 0.5 && expected_orders >= 2 && next_order_at > "
        'timestamp("2020-01-01") && days_since(next_order_at) < -2 && predicted_spend_micros == 5000000 && '
        "identity_confidence > 0.5 && weakest_merge_share < 0.5",
        shipped(),
    )
    said = statement.cypher(rule, NOW)
    with engine.driver.session(database=engine.endpoint.database) as session:
        assert ids(session, said.text, said) == {ann.identity}
