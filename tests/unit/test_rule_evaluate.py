"""Rules in process: three truths, reasons, and time to the millisecond; and DuckDB, which must say the same."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any, Final

import duckdb
import pytest

from onefold.segments import statement
from onefold.segments.check import check
from onefold.segments.clock import MIRRORED
from onefold.segments.evaluate import Clause, compiled, explain
from onefold.segments.tree import ComparisonOperator
from tests import rules
from tests.rules import DAY, NOW, VOCABULARY

OPERATORS: Final[tuple[ComparisonOperator, ...]] = ("<", "<=", ">", ">=")


def truth(text: str, now: int = NOW, **row: Any) -> bool | None:
    """What a rule comes to, on which process and DuckDB must agree."""
    rule = check(text, VOCABULARY)
    found = compiled(rule)(row, now)
    assert by_duckdb(statement.duckdb(rule, now), [{"id": "a", **row}]) == [found]
    return found


def by_duckdb(said: statement.Statement, rows: list[dict[str, Any]]) -> list[bool | None]:
    with database().cursor() as connection:
        connection.register("frame", rules.frame(rows))
        return [row[0] for row in connection.execute(f"SELECT {said.text} FROM frame", said.parameters).fetchall()]


@cache
def database() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def test_what_is_unknown_leaves_open_only_what_hangs_on_it() -> None:
    assert truth("orders > 1") is None
    assert truth("!(orders > 1)") is None
    assert truth("orders > 1 && vip", vip=False) is False
    assert truth("orders > 1 || vip", vip=True) is True
    assert truth("orders > 1 && vip", vip=True) is None
    assert truth("known(orders) && orders > 1") is False
    assert truth("!known(orders) || orders > 1") is True
    assert truth('city != "york"') is None
    assert truth('"yoga" in interests') is None
    assert truth('"yoga" in interests', interests=[]) is False
    assert truth('"" in interests', interests=["yoga"]) is False


def test_whose_labels_and_segments_are_unknown_has_none() -> None:
    assert truth('has_label("new")') is False
    assert truth('!in_segment("staff")') is True
    assert truth('has_label("new") && !in_segment("staff")', labels=["new"], segments=["winback"]) is True


@pytest.mark.parametrize(("limit", "ms"), [("90", 90 * DAY), ("0.1", DAY // 10), ("12h", DAY // 2), ("-2", -2 * DAY)])
def test_days_since_is_exact_at_its_boundary(limit: str, ms: int) -> None:
    for offset in (-1, 0, 1):
        found = [
            truth(text, last_order_at=NOW - ms - offset)
            for op in OPERATORS
            for text in (
                f"days_since(last_order_at) {op} {limit}",
                f"{limit} {MIRRORED[op]} days_since(last_order_at)",
            )
        ]
        assert found == [t for t in (offset < 0, offset <= 0, offset > 0, offset >= 0) for _ in range(2)]


def test_a_limit_between_two_milliseconds_decides_as_it_is() -> None:
    third = 0.123456789  # 10,666,666.5696 ms
    for age, under in ((10_666_666, True), (10_666_667, False)):
        assert truth(f"days_since(last_order_at) < {third}", last_order_at=NOW - age) is under
        assert truth(f"days_since(last_order_at) >= {third}", last_order_at=NOW - age) is not under


def test_a_rule_ages_without_any_event() -> None:
    rule = check("days_since(last_order_at) > 90", VOCABULARY)
    row = {"last_order_at": NOW}
    assert [compiled(rule)(row, NOW + days * DAY + 1) for days in (89, 90)] == [False, True]
    texts = {statement.duckdb(rule, NOW + days * DAY).text for days in (0, 1)}
    assert len(texts) == 1  # only the parameter tells the time


def test_reckoning_leaves_open_what_has_no_finite_value() -> None:
    assert truth("spend / orders > 1", spend=5.0, orders=0) is None
    assert truth("spend / orders > 1", spend=0.0, orders=0) is None
    assert truth("0 - spend / orders < 1", spend=5.0, orders=0) is None
    assert truth("orders / points == 0.5", orders=1, points=2) is True
    huge = " * ".join(["points"] * 25)
    assert truth(f"{huge} > 1", points=2**53 - 1) is None
    assert truth(f"{huge} - {huge} < 1", points=2**53 - 1) is None
    assert truth("share + 0.2 == 0.1 + share", share=0.1) is False


def test_a_reason_has_each_clause_with_the_values_that_it_read() -> None:
    rule = check(
        'orders >= 2 && !(spend / orders > 50 || has_label("new")) && days_since(last_order_at) < 3', VOCABULARY
    )
    found = explain(rule, {"orders": 3, "spend": 90.0, "labels": ["new"]}, NOW)
    assert found.truth is False
    assert found.clauses == (
        Clause("orders >= 2", True, {"orders": 3}),
        Clause("spend / orders > 50", False, {"spend": 90.0, "orders": 3}),
        Clause('has_label("new")', True, {}),
        Clause("days_since(last_order_at) < 3", None, {"last_order_at": None}),
    )


def test_counts_of_events_are_read_by_their_canonical_text() -> None:
    rule = check("count_events('view', 720h) >= 5", VOCABULARY)
    assert compiled(rule)({'count_events("view", 30d)': 5}, NOW) is True
    assert statement.duckdb(rule, NOW).text == '"count_events(""view"", 30d)" >= $p0'
    assert statement.cypher(rule, NOW).text == 'i.`f_count_events("view", 30d)` >= $p0'


def test_nothing_that_an_author_writes_gets_into_the_text_of_a_query() -> None:
    evil = """'; DROP TABLE frame; -- ` " $p9 }"""
    for text in (f"city == {evil_text(evil)}", f"city.contains({evil_text(evil)})", f"city in [{evil_text(evil)}]"):
        assert truth(text, city=evil.lower()) is True
        for twin in (statement.duckdb, statement.cypher):
            assert "drop" not in twin(check(text, VOCABULARY), NOW).text.lower()


def evil_text(text: str) -> str:
    escaped = text.replace('"', '\\"')
    return f'"{escaped}"'


def test_process_and_duckdb_say_the_same_of_everybody() -> None:
    rows = rules.people(21, 10_000)
    many = rules.rules(22, 500)
    truths: Counter[bool | None] = Counter()
    with database().cursor() as connection:
        connection.register("everybody", rules.frame(rows))
        for rule in many:
            said = statement.duckdb(rule, NOW)
            found = connection.sql(f"SELECT {said.text} AS truth FROM everybody", params=said.parameters)
            holds = compiled(rule)
            expected = [holds(row, NOW) for row in rows]
            assert found.to_arrow_table()["truth"].to_pylist() == expected, rule.text
            truths.update(expected)
    assert min(truths[True], truths[False], truths[None]) > 500_000
