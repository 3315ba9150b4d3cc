import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from onefold.graph.errors import NotReady
from onefold.segments.check import check
from onefold.segments.defining import Defining, defining, sayers
from onefold.segments.encode import Term, encoded, terms
from onefold.segments.evaluate import compiled
from onefold.segments.lookalike import lookalikes
from onefold.segments.reads import Named
from onefold.segments.vocabulary import Type, TypedFeature, Vocabulary, by_key, shipped
from tests import retail
from tests.histories import DAY

PAGE = Path(__file__).parents[2] / "docs" / "groups.md"
RULES = shipped()


def people(count=2_000, seed=3):
    """Taste is hidden: it shows in what people look at and in how often they buy."""
    random = np.random.default_rng(seed)
    taste = random.normal(size=count)
    orders = random.poisson(np.exp(0.8 * taste))
    interests = [[text for text, of in (("yoga", 0.5), ("art", 0.2)) if random.random() < of] for _ in range(count)]
    frame = pa.table(
        {
            "identity": [f"id-{n:05d}" for n in range(count)],
            "orders": pa.array(orders),
            "orders_twice": pa.array(2 * orders + random.integers(0, 2, count)),
            "gap_mean": pa.array(np.where(orders >= 2, random.normal(30, 5, count), np.nan), from_pandas=True),
            "views_30d": pa.array(random.poisson(np.exp(1 + 0.5 * taste))),
            "noise": pa.array(random.normal(size=count)),
            "constant": pa.array([1.0] * count),
            "city": pa.array(random.choice(["leeds", "york", "hull"], count)),
            "vip": pa.array(random.random(count) < 0.1),
            "joined_at": pa.array(random.integers(0, 500, count) * DAY, pa.timestamp("ms", "UTC")),
            "interests": pa.array(interests, pa.list_(pa.string())),
            "labels": pa.array([[]] * count, pa.list_(pa.string())),
        }
    )
    group = {f"id-{n:05d}" for n in np.flatnonzero(orders >= 2)}
    return frame, group, taste


def test_a_frame_is_told_in_numbers():
    frame = pa.table(
        {
            "identity": ["a", "b", "c"],
            "orders": pa.array([1, None, 3]),
            "vip": pa.array([True, False, None]),
            "at": pa.array([0, DAY, None], pa.timestamp("ms", "UTC")),
            "city": pa.array(["york", "leeds", "york"]),
            "likes": pa.array([["x"], [], None], pa.list_(pa.string())),
            "same": pa.array([1, 1, 1]),
            "segments": pa.array([["s"], [], []], pa.list_(pa.string())),
        }
    )
    named = terms(frame)
    assert [str(term) for term in named] == ["orders", "vip", "at", "city york", "city leeds", "likes x"]
    nan = np.nan
    expected = [[1, 1, 2, 1, 0, 1], [nan, 0, 1, 0, 1, 0], [3, nan, nan, 1, 0, nan]]
    assert np.array_equal(encoded(frame, named, 2 * DAY), np.array(expected), equal_nan=True)
    assert np.array_equal(encoded(frame.slice(1, 2), named, 2 * DAY), np.array(expected)[1:], equal_nan=True)


def test_rare_texts_are_no_terms():
    frame = pa.table({"identity": ["x"] * 60, "city": [f"c{n // 2:02d}" for n in range(58)] + ["big", "big"]})
    named = terms(frame)
    assert len(named) == 20
    assert Term("city", "c18") in named
    assert Term("city", "c19") not in named


def test_what_a_rule_reads_is_found_through_labels_and_segments():
    rules = {
        Named("label", "silent"): check("overdue > 2", RULES),
        Named("segment", "rich"): check('spend > 500 && has_label("silent")', RULES),
    }
    rule = check('in_segment("rich") || !in_segment("staff") && count_events("view", 30d) > 3 && orders >= 2', RULES)
    found = defining(rule, rules)
    assert found.features == {"overdue", "spend", "orders", 'count_events("view", 30d)'}
    assert [clause.text for clause in found.clauses] == [
        'count_events("view", 30d) > 3',
        "orders >= 2",
        "overdue > 2",
        "spend > 500",
    ]


def test_features_that_say_as_much_are_found_even_where_only_their_absence_does():
    frame, _, _ = people()
    named = terms(frame)
    found = defining(check("orders >= 2", RULES), {})
    said = sayers(frame, named, encoded(frame, named, 0), found, 0)
    assert said == {"orders_twice": "moves with orders", "gap_mean": "tells whether orders >= 2"}


def test_a_clause_about_what_the_frame_lacks_or_that_all_fulfil_excludes_nothing():
    frame, _, _ = people()
    named = terms(frame)
    for rule in ("lines_mean > 3", "orders >= 0"):
        found = Defining(frozenset(), defining(check(rule, RULES), {}).clauses)
        assert sayers(frame, named, encoded(frame, named, 0), found, 0) == {}


def test_who_is_alike_without_being_in_is_ranked_first_and_the_rule_is_not_learned():
    frame, group, taste = people()
    known = lookalikes(group, frame, 0)
    found = lookalikes(group, frame, 0, defining(check("orders >= 2", RULES), {}), size=100)
    assert known.auc.value > 0.999
    assert "almost without error" in known.warnings[-1]
    assert found.excluded.keys() == {"orders", "orders_twice", "gap_mean"}
    assert found.excluded["orders"] == "defines the group"
    assert 0.6 < found.auc.low < found.auc.value < found.auc.high < 0.85
    assert found.telling[0].term == "views_30d"
    assert found.telling[0].of_group > found.telling[0].of_rest
    nearest = [int(identity[3:]) for identity in found.ranking["identity"].to_pylist()]
    rest = [n for n in range(2_000) if f"id-{n:05d}" not in group]
    assert not set(nearest) - set(rest)
    assert taste[nearest].mean() > taste[rest].mean() + 0.5
    likeness = found.ranking["likeness"].to_pylist()
    assert likeness == sorted(likeness, reverse=True)
    assert found.ranking.num_rows == 100


def test_the_order_of_the_rows_counts_for_nothing():
    frame, group, _ = people(800)
    shuffled = frame.take(np.random.default_rng(1).permutation(frame.num_rows))
    one, other = (lookalikes(group, table, 0) for table in (frame, shuffled))
    assert one.ranking.equals(other.ranking)
    assert (one.auc, one.telling) == (other.auc, other.telling)


def test_a_group_drawn_by_lot_looks_like_nobody():
    frame, _, _ = people()
    drawn = {f"id-{n:05d}" for n in np.random.default_rng(9).choice(2_000, 400, replace=False)}
    found = lookalikes(drawn, frame, 0)
    assert found.auc.low < 0.5 < found.auc.high
    assert any("is chance" in warning for warning in found.warnings)


def test_a_small_group_and_strangers_in_it_are_warned_of():
    frame, group, _ = people()
    small = {*sorted(group)[:60], "nobody-1", "nobody-2"}
    found = lookalikes(small, frame, 0)
    assert found.group == 60
    assert "the group has 60 people" in found.warnings[0]
    assert "2 of the group are not in the frame" in found.warnings[1]


def test_too_few_to_learn_from_are_refused():
    frame, group, _ = people(400)
    with pytest.raises(NotReady, match="29 people of the group are known; 30 are needed"):
        lookalikes(set(sorted(group)[:29]), frame, 0)
    with pytest.raises(NotReady, match="40 people are not in the group"):
        lookalikes({f"id-{n:05d}" for n in range(360)}, frame, 0)
    with pytest.raises(NotReady, match="no feature is left"):
        lookalikes(group, frame.select(["identity", "orders"]), 0, defining(check("orders >= 2", RULES), {}))


def test_the_areas_of_the_page_are_those_of_online_retail():
    frame = retail.frame()
    rows = re.findall(r"^\| `(.+?)` \| (\d+) \| ([\d.]+) \| ([\d.]+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert len(rows) == 2
    for text, people, with_them, without in rows:
        rule = check(text, RULES)
        holds = compiled(rule)
        group = {row["identity"] for row in frame.to_pylist() if holds(row, retail.END)}
        assert len(group) == int(people)
        assert f"{lookalikes(group, frame, retail.END).auc.value:.2f}" == with_them
        assert f"{lookalikes(group, frame, retail.END, defining(rule, {})).auc.value:.2f}" == without


def test_features_that_are_not_wanted_are_left_out():
    frame, group, _ = people(600)
    found = lookalikes(group, frame, 0, without={"orders", "gap_mean"})
    assert found.excluded == {"gap_mean": "was not wanted", "orders": "was not wanted"}
    assert not {"orders", "gap_mean"} & {told.term for told in found.telling}


def test_the_vocabulary_of_a_frame_may_have_texts_and_lists_that_define():
    frame, _, _ = people()
    vocabulary = Vocabulary(by_key([TypedFeature("city", Type.TEXT), TypedFeature("interests", Type.TEXTS)]))
    found = defining(check('city == "york" && "yoga" in interests', vocabulary), {})
    group = {
        row["identity"] for row in frame.to_pylist() if row["city"] == "york" and "yoga" in (row["interests"] or [])
    }
    assert lookalikes(group, frame, 0, found).excluded == {
        "city": "defines the group",
        "interests": "defines the group",
    }
