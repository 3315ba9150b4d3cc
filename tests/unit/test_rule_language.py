"""The rule language: what is a rule, how it is written, and where it says that it is none."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onefold.graph.errors import InvalidInput
from onefold.segments.data import from_data, to_data
from onefold.segments.folding import folded
from onefold.segments.parse import MAX_BYTES, MAX_CLAUSES, MAX_LISTED, MAX_NESTING, MAX_OPERATIONS, parse
from onefold.segments.printing import text_of
from onefold.segments.problems import InvalidRule
from onefold.segments.tree import And, Comparison, CountEvents, Name, Not, Number, Or, Text, Timestamp, Truth
from tests import rules


def refused(text: str) -> str:
    with pytest.raises(InvalidRule) as raised:
        parse(text)
    (violation,) = raised.value.violations
    return f"{violation.field}: {violation.rule}"


def test_and_binds_tighter_than_or_and_both_flatten() -> None:
    a, b, c, d = map(Name, "abcd")
    assert parse("a || b && c || d") == Or((a, And((b, c)), d))
    assert parse("a && (b && (c && d))") == And((a, b, c, d))
    assert parse("(a || b) && !c") == And((Or((a, b)), Not(c)))


def test_a_minus_sign_before_a_number_belongs_to_it() -> None:
    assert parse("x > -2.5") == Comparison(">", Name("x"), Number(-2.5))


def test_whole_numbers_are_whole_however_they_are_written() -> None:
    assert [parse(f"x == {text}") for text in ("30", "30.0", "3e1")] == [Comparison("==", Name("x"), Number(30))] * 3


def test_texts_are_folded_as_they_are_read() -> None:
    assert parse('city == "STRASSE"') == parse("city == 'straße'") == Comparison("==", Name("city"), Text("strasse"))
    assert parse(r'city == "a\"b\\"') == Comparison("==", Name("city"), Text('a"b\\'))


def test_texts_that_look_alike_are_one() -> None:
    assert folded("CAFE\u0301") == folded("caf\u00e9")
    assert folded("\u1fb3\u0300") == folded("\u1fb2")  # one accent, written in another order


@given(st.text())
def test_folding_twice_is_folding_once(text: str) -> None:
    assert folded(folded(text)) == folded(text)


def test_events_are_counted_with_a_condition_and_a_window() -> None:
    yoga = Comparison("==", Name("category"), Text("yoga"))
    assert parse('count_events("view")') == CountEvents("view")
    assert parse('count_events("view", 12h)') == CountEvents("view", None, 12)
    assert parse('count_events("View", category == "Yoga", 30d)') == CountEvents("view", yoga, 720)


def test_a_timestamp_is_a_day_or_an_instant_of_any_offset() -> None:
    day = Timestamp(1_769_817_600_000)
    same = ("2026-01-31", "2026-01-31T00:00:00Z", "2026-01-31T01:00:00+01:00")
    assert [parse(f't < timestamp("{text}")') for text in same] == [Comparison("<", Name("t"), day)] * 3
    assert "an instant" in refused('t < timestamp("2026-01-31T18:00:00")')
    assert "years 1901" in refused('t < timestamp("1900-12-31")')


def test_comments_and_lines_are_spaces() -> None:
    assert parse("a // the first\n  && // and\n\tb") == And((Name("a"), Name("b")))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1, column 1: the rule is empty"),
        ("  // nothing", "line 1, column 13: the rule is empty"),
        ("orders = 3", "line 1, column 8: write == to compare"),
        ("orders > 1\n  and vip", "line 2, column 3: expected && or || or the end, not and: write &&"),
        ("gap == null", "line 1, column 8: expected a feature, a number, a text or (, not null: write known(x) or !kn"),
        ("a < b < c", "line 1, column 7: < can't be followed by <: combine two by &&"),
        ('city == "leeds', "line 1, column 9: this text has no end"),
        ("city == “leeds”", "line 1, column 9: write straight quotes"),
        (r'city == "a\n"', r"line 1, column 11: in a text, \ stands before"),
        ('city == "a\u0007"', "line 1, column 9: a text may have no control characters"),
        ("city in []", "line 1, column 10: a list must have something in it"),
        ("(a", "line 1, column 3: a parenthesis is not closed here"),
        ("a ||", "line 1, column 5: expected a feature, a number, a text or (, not the end"),
        ("x == -y", "line 1, column 6: - stands before numbers only"),
        ("gap > 30days", "line 1, column 7: 30days is no duration: write days or hours"),
        ("gap > 1.5d", "line 1, column 7: 1.5d is neither a number nor a duration"),
        ("gap > 3651d", "line 1, column 7: a duration may be 1h to 3650d"),
        ("gap > 0h", "line 1, column 7: a duration may be 1h to 3650d"),
        ("x > 9007199254740992", "line 1, column 5: a number may be 9,007,199,254,740,991 at most"),
        ("x > 1e999", "line 1, column 5: a number may be"),
        ("x > 1e-999", "line 1, column 5: this number is too small to be told from 0"),
        ('city.endsWith("x")', "line 1, column 6: after the point expected startsWith or contains, not endsWith"),
        ('city.startswith("x")', "not startswith; did you mean startsWith?"),
        ("days_sinc(x) > 3", "line 1, column 1: there is no function days_sinc; did you mean days_since?"),
        ("days_since(a, b) > 3", "line 1, column 1: days_since takes one instant"),
        ("has_label(silent)", 'line 1, column 1: has_label takes one text, as in has_label("silent")'),
        ('count_events(30d, "view") > 1', "line 1, column 1: count_events takes a type of event"),
        ("a ; DROP", "line 1, column 3: ; means nothing here"),
        ("a \u200b&& b", "line 1, column 3: U+200B means nothing here"),
    ],
)
def test_an_error_says_where_and_what_instead(text: str, said: str) -> None:
    assert said in refused(text)


def test_the_place_is_marked_under_its_line() -> None:
    with pytest.raises(InvalidRule) as raised:
        parse("vip &&\n\torders = 3")
    assert raised.value.shown() == "line 2, column 9: write == to compare\n  \torders = 3\n  \t       ^"


def test_a_rule_beyond_its_bounds_is_refused() -> None:
    assert parse(" && ".join("a" * MAX_CLAUSES))
    assert f"a rule may have {MAX_CLAUSES} clauses" in refused(" && ".join("a" * (MAX_CLAUSES + 1)))
    within = 'count_events("view", ' + " || ".join("a" * MAX_CLAUSES) + ") > 1"
    assert parse(within)
    assert "clauses" in refused(f"vip && {within}")
    assert parse("(" * MAX_NESTING + "a" + ")" * MAX_NESTING)
    for deep in ("(", "!", "known(", "[", 'a.contains("x").contains(', "1 + ("):
        assert f"nested {MAX_NESTING} deep" in refused(deep * (MAX_NESTING + 1))
    assert parse("1" + " + 1" * MAX_OPERATIONS)
    assert f"{MAX_OPERATIONS} operations" in refused("1" + " + 1" * (MAX_OPERATIONS + 1))
    assert "too many texts are looked for" in refused("a" + '.contains("x")' * 2_000)
    assert parse(f"a in [{', '.join('1' * MAX_LISTED)}]")
    assert f"{MAX_LISTED:,} entries" in refused(f"a in [{', '.join('1' * (MAX_LISTED + 1))}]")


def test_a_rule_of_megabytes_is_refused_before_it_is_read() -> None:
    for text in ("a || " * 2_000_000, "(" * 10_000_000, '"' * 10_000_000, "東" * (MAX_BYTES // 2)):
        assert "a rule may have 65,536 bytes" in refused(text)
    assert "lone surrogate" in refused("city == '\ud800'")


def test_the_canonical_text_says_the_same() -> None:
    for rule in rules.rules(11, 300):
        assert parse(rule.text) == rule.tree
        assert text_of(parse(f" ( {rule.text} ) ")) == rule.text


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("((a))&&!(b)", "a && !b"),
        ("a||(b||c)", "a || b || c"),
        ("!(a && b) == c", "!(a && b) == c"),
        ("x-(y-z)*2 < (1+2)+-3", "x - (y - z) * 2 < 1 + 2 + -3"),
        ("2/(a/b) > 1e-7", "2 / (a / b) > 1e-07"),
        ("(a - -1).contains('x')", '(a - -1).contains("x")'),
        ("count_events('view',(48h))>=5", 'count_events("view", 2d) >= 5'),
        ("city in ['B', 'it\\'s']", 'city in ["b", "it\'s"]'),
        ('t < timestamp("2026-01-31T18:00:00.5+02:00")', 't < timestamp("2026-01-31T16:00:00.500Z")'),
    ],
)
def test_there_is_one_way_to_write_a_rule(text: str, canonical: str) -> None:
    assert text_of(parse(text)) == canonical
    assert text_of(parse(canonical)) == canonical


def test_a_tree_goes_through_json_and_comes_back() -> None:
    for rule in rules.rules(12, 200):
        assert from_data(json.loads(json.dumps(to_data(rule.tree)))) == rule.tree
    assert to_data(parse("!vip && gap > 12h")) == {
        "is": "And",
        "of": [
            {"is": "Not", "of": {"is": "Name", "key": "vip"}},
            {
                "is": "Comparison",
                "operator": ">",
                "left": {"is": "Name", "key": "gap"},
                "right": {"is": "Duration", "hours": 12},
            },
        ],
    }


def test_data_are_brought_to_the_canonical_form() -> None:
    nested = {
        "is": "And",
        "of": [{"is": "Name", "key": "a"}, {"is": "And", "of": [to_data(Name("b")), {"is": "Truth", "value": True}]}],
    }
    assert from_data(nested) == And((Name("a"), Name("b"), Truth(True)))
    assert from_data({"is": "Text", "value": "LEEDS"}) == Text("leeds")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "rule: must be an object whose `is` is one of And, Or"),
        ({"is": ["And"]}, "rule: must be an object"),
        ({"is": "Not", "of": {"is": "Nay"}}, "rule.of: must be an object"),
        ({"is": "And", "of": []}, "rule.of: must be a list with something in it"),
        ({"is": "And", "of": [{"is": "Name", "key": 3}]}, r"rule.of\[0\].key: must be str"),
        ({"is": "Name", "key": "a || true"}, "rule.key: must be letters, digits and underscores"),
        ({"is": "Name", "key": "a", "at": [0, 1]}, "rule.at: Name has key"),
        ({"is": "Number", "value": float("nan")}, "rule.value: must be a number"),
        ({"is": "Number", "value": 10**9999}, "rule.value: must be a number"),
        ({"is": "Number", "value": True}, "rule.value: must be int or float"),
        ({"is": "Duration", "hours": -1}, "rule.hours: must be 1 to"),
        ({"is": "Timestamp", "instant": 10**18}, "rule.instant: must be of the years"),
        ({"is": "Comparison", "operator": "=", "left": None, "right": None}, "rule.operator: must be one of =="),
        ({"is": "Text", "value": "a\n"}, "line 1, column 1: this text has no end"),
    ],
)
def test_data_that_are_no_tree_are_refused_with_their_path(data: object, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        from_data(data)


def test_data_nested_without_end_are_refused() -> None:
    data: object = {"is": "Name", "key": "a"}
    for _ in range(100_000):
        data = {"is": "Not", "of": data}
    with pytest.raises(InvalidInput, match="is nested too deep"):
        from_data(data)


def test_any_text_is_a_rule_or_a_clear_error(proving: bool) -> None:
    random = Random(13)
    valid = [rule.text for rule in rules.rules(14, 200)]
    parsed = 0
    for _ in range(100_000 if proving else 3_000):
        text = rules.fuzz(random, valid)
        try:
            tree = parse(text)
        except InvalidRule as error:
            said = error.shown()
        else:
            said = text_of(tree)
            assert parse(said) == tree
            parsed += 1
        assert said
    assert parsed > 100
