"""Rules held against a vocabulary: names, types and units; and what rules read."""

from __future__ import annotations

import itertools
from random import Random

import pytest

from onefold.graph.errors import InvalidInput
from onefold.segments import statement
from onefold.segments.check import check
from onefold.segments.evaluate import compiled
from onefold.segments.parse import parse
from onefold.segments.printing import text_of
from onefold.segments.problems import InvalidRule
from onefold.segments.reads import Named, evaluation_order, reads
from onefold.segments.vocabulary import Type, TypedFeature, Vocabulary, shipped
from tests.rules import NOW, VOCABULARY, fuzz
from tests.rules import rules as random_rules


def refused(text: str) -> list[str]:
    with pytest.raises(InvalidRule) as raised:
        check(text, VOCABULARY)
    return [f"{v.field.removeprefix('line 1, ')}: {v.rule}" for v in raised.value.violations]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("order >= 1", "column 1: there is no feature order; did you mean orders?"),
        ("zzz >= 1", "column 1: there is no feature zzz"),
        ("days_since > 3", "column 1: days_since is a function: write days_since(…)"),
        ('has_label("silnt")', "column 1: there is no label silnt; did you mean silent?"),
        ('in_segment("stuff")', "column 1: there is no segment stuff; did you mean staff?"),
        ("orders", "column 1: orders is a number, and a condition is wanted: write orders >= 1"),
        ("vip && city", 'column 8: city is a text, and a condition is wanted: write city == "…"'),
        ("orders + 1", "column 1: this is a number, and a condition is wanted: compare it"),
        ("!orders", "column 2: orders is a number, and a condition is wanted: write orders >= 1"),
        ("vip == true", "column 8: this is true or false by itself"),
        ("vip != vip", "column 1: a feature that is true or false is a condition by itself"),
        ("city > orders", "column 1: a text can't be compared with a number"),
        ("last_order_at > 30", "column 1: an instant can't be compared with a number; did you mean days_since(…)?"),
        ('city < "m"', "column 1: texts have no order: compare them by == or !="),
        ('interests == "yoga"', "column 1: a list is asked with in"),
        ("gap > spend", "column 1: days and amount can't be compared"),
        ("spend / gap > share", "column 1: amount / days and a plain number can't be compared"),
        ("gap > 30 * 1d * 1d", "column 1: days and days^2 can't be compared"),
        ("gap + spend > 3", "column 1: days and amount can't be added up"),
        ('orders + "1" > 3', "column 10: + takes numbers, and this is a text"),
        ("spend / (orders / share) > 3", "column 10: a divisor may have no division in it"),
        ("1 < 2", "column 1: this is always the same: compare a feature"),
        ("days_since(last_order_at) == 3", "column 1: time goes on by milliseconds"),
        ("days_since(last_order_at) > 40000", "column 1: days_since may be compared with 36,500 days at most"),
        (
            "days_since(gap) > 3",
            "column 12: days_since takes a feature that is an instant, and this is a number of days",
        ),
        ("days_since(last_order_at) > spend", "column 1: days and amount can't be compared"),
        ("orders in [1, 'a']", "column 15: the list may have numbers only"),
        ("vip in [1]", "column 1: before in … stands a feature that is a number or a text"),
        ("orders + 1 in [1]", "column 1: before in … stands a feature that is a number or a text"),
        ('"a" in city', "column 1: in takes a list"),
        ("city in interests", "column 1: in takes a list"),
        ("[1] == orders", "column 1: a list stands after in only"),
        ('orders.contains("x")', "column 1: contains is asked of a feature that is a text, and this is a number"),
        ('city.contains("")', "column 15: contains takes a text that is not empty"),
        ("city.contains(home)", "column 15: contains takes a text that is not empty"),
        ("known(orders + 1)", "column 7: known takes one feature"),
        ('count_events("view", colour == "red") > 1', "column 22: there is no field of events colour"),
        ('count_events("view", days_since(channel) > 1) > 1', "column 22: of events, the last argument"),
        ('count_events("view", has_label("new")) > 1', "column 22: an event has no labels"),
        ('count_events("view", count_events("view") > 1) > 1', "column 22: an event has no events"),
        ('count_events("view")', "column 1: this is a number, and a condition is wanted: compare it"),
        ('count_events("view", city == "york") > 1', "column 22: there is no field of events city"),
    ],
)
def test_what_makes_no_sense_is_refused_at_its_place(text: str, said: str) -> None:
    assert any(each.startswith(said) for each in refused(text)), refused(text)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    assert [each.split(":")[0] for each in refused('order > 1 && !(gap < spend) || city == 3 && has_label("x")')] == [
        "column 1",
        "column 16",
        "column 32",
        "column 45",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "spend / orders > 50 && spend / orders < 2 * order_value",
        "days_since(last_order_at) > 2 * gap + 3 && gap > 30d && gap > 30",
        "orders / gap * 1d > 0.1 * points",
        "orders >= points && 3 < orders && 1 + 1 < orders",
        'city == home || city != "york" || city in ["york"]',
        'last_order_at < next_order_at && last_order_at >= timestamp("2026-01-01")',
        'count_events("view", channel == "app" && known(category), 30d) > orders',
        "true",
    ],
)
def test_what_makes_sense_is_taken(text: str) -> None:
    assert check(text, VOCABULARY).text == text_of(parse(text))


def test_a_rule_names_all_that_it_reads() -> None:
    text = 'orders > 1 && count_events("View", channel == "app", 24h) > orders && days_since(last_order_at) < 3'
    features = check(text, VOCABULARY).features
    assert list(features) == ["orders", "last_order_at", 'count_events("view", channel == "app", 1d)']
    assert [f.type for f in features.values()] == [Type.INT, Type.INSTANT, Type.INT]


def test_the_features_that_come_with_onefold_can_be_asked_for() -> None:
    rule = check('orders_90d >= 2 && churn_probability > 0.5 && overdue > 1.5 && has_label("x")', shipped(labels=["x"]))
    assert {key: (f.type, f.property) for key, f in rule.features.items()} == {
        "orders_90d": (Type.INT, "f_orders_90d"),
        "churn_probability": (Type.FLOAT, "churn_probability"),
        "overdue": (Type.FLOAT, "f_overdue"),
    }


def test_a_feature_that_no_rule_could_name_is_refused() -> None:
    for key in ("labels", "in", "days_since", "a b", "É", "Orders"):
        with pytest.raises(InvalidInput, match="no word of the rule language"):
            Vocabulary({key: TypedFeature(key, Type.INT)})


def test_labels_and_segments_are_evaluated_after_what_they_read() -> None:
    rules = {
        Named("segment", "winback"): parse('has_label("silent") && !in_segment("staff") && !in_segment("big")'),
        Named("segment", "big"): parse('has_label("whale") || in_segment("list")'),
        Named("label", "whale"): parse("spend > 1000"),
        Named("label", "silent"): parse("days_since(last_order_at) > 90"),
    }
    assert [str(name) for name in evaluation_order(rules)] == [
        "label silent",
        "label whale",
        "segment big",
        "segment winback",
    ]


def test_a_circle_is_refused_with_the_way_around() -> None:
    rules = {
        Named("label", "a"): parse('in_segment("b")'),
        Named("segment", "b"): parse('vip || has_label("c")'),
        Named("label", "c"): parse('has_label("a")'),
        Named("label", "d"): parse('has_label("a")'),
    }
    with pytest.raises(InvalidInput) as raised:
        evaluation_order(rules)
    said = raised.value.violations[0].rule
    around = said.removeprefix("its rule comes back to itself: ").split(" reads ")
    assert around[0] == around[-1]
    assert len(around) == 4
    read = {str(name): set(map(str, reads(tree).named)) for name, tree in rules.items()}
    assert all(b in read[a] for a, b in itertools.pairwise(around))


def test_a_rule_that_reads_itself_is_a_circle() -> None:
    with pytest.raises(InvalidInput, match="label a reads label a"):
        evaluation_order({Named("label", "a"): parse('!has_label("a")')})


def test_any_text_is_a_rule_with_twins_or_a_clear_error(proving: bool) -> None:
    random = Random(15)
    valid = [rule.text for rule in random_rules(16, 200)]
    accepted = 0
    for _ in range(100_000 if proving else 3_000):
        text = fuzz(random, valid)
        try:
            rule = check(text, VOCABULARY)
        except InvalidRule as error:
            said = error.shown()
        else:
            said = statement.duckdb(rule, NOW).text and statement.cypher(rule, NOW).text
            assert compiled(rule)({}, NOW) in (True, False, None)
            accepted += 1
        assert said
    assert accepted > 100
