"""A frame in memory: what it answers, and that whoever asks sees one moment of it."""

from __future__ import annotations

import time
from itertools import repeat

import pyarrow as pa
import pytest

from onefold.graph.errors import DeadlineExceeded, InvalidInput, NotReady
from onefold.ml.columns import INSTANT
from onefold.segments.check import Rule, check
from onefold.segments.evaluate import compiled
from onefold.segments.vocabulary import Type, TypedFeature, Vocabulary, by_key
from onefold.service.live_frame import About, LiveFrame, Overlap

KNOWN = Vocabulary(
    by_key(
        [TypedFeature("orders", Type.INT), TypedFeature("city", Type.TEXT), TypedFeature("reachable_by", Type.TEXTS)]
    )
)
ABOUT = About("frame-1", 1_000, 900, 0, "1-abc")


def frame(*rows: tuple[str, int | None, str | None, list[str]]) -> pa.Table:
    ids, orders, cities, segments = zip(*rows, strict=True) if rows else ((), (), (), ())
    return pa.table(
        {
            "identity": pa.array(ids, pa.string()),
            "orders": pa.array(orders, pa.int64()),
            "city": pa.array(cities, pa.string()),
            "reachable_by": pa.array([["email"] if city else [] for city in cities], pa.list_(pa.string())),
            "labels": pa.array([[] for _ in ids], pa.list_(pa.string())),
            "segments": pa.array(segments, pa.list_(pa.string())),
        }
    )


ROWS = [("a", 1, "york", ["x", "y"]), ("b", 5, None, ["y"]), ("c", None, "leeds", ["y"]), ("d", 9, "york", ["x"])]


@pytest.fixture
def live() -> LiveFrame:
    return LiveFrame(frame(*ROWS), ABOUT)


def rule(text: str) -> Rule:
    return check(text, KNOWN)


def test_members_and_who_is_left_open_are_counted(live: LiveFrame) -> None:
    with live.asked() as frame:
        assert frame.about == About("frame-1", 1_000, 900, 4, "1-abc")
        assert frame.count(rule("orders >= 5")) == (2, 1)
        assert frame.count(rule('orders >= 5 && city == "york"')) == (1, 1)
        assert frame.count(rule('!(orders >= 5 && city == "york")')) == (2, 1)
        assert frame.count(rule('orders >= 5 || city == "leeds"')) == (3, 0)
        assert frame.count(rule('in_segment("x")')) == (2, 0)
        holds = compiled(rule("orders >= 5"))
        truths = [holds(row, 1_000) for row in frame.people().to_pylist()]
        assert (truths.count(True), truths.count(None)) == (2, 1)


def test_many_rules_are_counted_in_one_look_without_what_is_not_in_the_frame(live: LiveFrame) -> None:
    with live.asked() as frame:
        asked = {"many": "orders >= 5", "york": 'city == "york"', "x": 'in_segment("x")'}
        rules = {name: rule(text) for name, text in asked.items()}
        later = Rule(rule("orders > 1").tree, {"later": TypedFeature("later", Type.INT)})
        assert frame.members({**rules, "later": later}) == {"many": 2, "york": 2, "x": 2}
        assert frame.members({}) == {}


def test_members_come_by_id_page_by_page(live: LiveFrame) -> None:
    with live.asked() as frame:
        everybody = rule("known(orders) || !known(orders)")
        assert frame.page(everybody, "", 3) == ["a", "b", "c"]
        assert frame.page(everybody, "c", 3) == ["d"]
        found = frame.rows(everybody, ["city"], after="b").read_all().to_pylist()
        assert found == [{"identity": "c", "city": "leeds"}, {"identity": "d", "city": "york"}]
        reached = frame.rows(everybody, contactable_on="email").read_all()
        assert reached["identity"].to_pylist() == ["a", "c", "d"]


@pytest.mark.parametrize("at_once", [1, 2, 3, 10_000])
def test_rows_come_by_id_whatever_came_later(live: LiveFrame, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr("onefold.service.live_frame._ROWS", at_once)
    everybody = rule("known(orders) || !known(orders)")
    live.change(frame(("z", 1, "york", []), ("c", 2, None, []), ("aa", 3, None, ["x"])), ["b"], ABOUT)
    live.change(frame(("bb", 4, "leeds", []), ("aa", 4, "york", [])), [], ABOUT)
    with live.asked() as asked:
        assert asked.rows(everybody).read_all()["identity"].to_pylist() == ["a", "aa", "bb", "c", "d", "z"]
        later = asked.rows(everybody, ["orders", "segments"], after="aa").read_all().to_pylist()
        assert [(row["identity"], row["orders"]) for row in later] == [("bb", 4), ("c", 2), ("d", 9), ("z", 1)]
        assert later[2] == {"identity": "d", "orders": 9, "segments": ["x"]}
        assert asked.people().column_names == frame().column_names


def test_overlaps_name_both_and_the_other(live: LiveFrame) -> None:
    with live.asked() as frame:
        assert frame.overlaps(rule("orders >= 5")) == [Overlap("x", 1, 2), Overlap("y", 1, 3)]
        assert frame.counts().members == {"segment x": 2, "segment y": 3}


def test_who_asks_sees_one_moment_while_it_changes(live: LiveFrame) -> None:
    later = About("frame-2", 2_000, 900, 0, "1-abc")
    with live.asked() as before:
        live.change(frame(("a", 7, None, []), ("e", 7, None, ["x"])), ["b"], later)
        assert before.page(rule("orders >= 5"), "", 9) == ["b", "d"]
        assert before.about.id == "frame-1"
        with live.asked() as after:
            assert after.about == About("frame-2", 2_000, 900, 4, "1-abc")
            assert after.page(rule("orders >= 5"), "", 9) == ["a", "d", "e"]
        assert before.count(rule("orders >= 5")) == (2, 1)


def test_one_person_is_read_as_rules_read_them(live: LiveFrame) -> None:
    with live.asked() as frame:
        assert frame.row("b", rule("orders >= 5")) == {"orders": 5, "labels": [], "segments": ["y"]}
        assert frame.row("z", rule("orders >= 5")) is None


def test_instants_are_milliseconds(live: LiveFrame) -> None:
    known = Vocabulary(by_key([TypedFeature("last_order_at", Type.INSTANT)]))
    asks = check("days_since(last_order_at) > 1", known)
    placed = pa.array([5, None, 0, 0], pa.int64()).cast(INSTANT)
    with LiveFrame(frame(*ROWS).append_column("last_order_at", placed), ABOUT).asked() as asked:
        assert asked.people(["a"])["last_order_at"].type == INSTANT
        rows = [asked.row(id, asks) for id in ("a", "b")]
        assert [row and row["last_order_at"] for row in rows] == [5, None]


def test_what_the_frame_has_not_is_named(live: LiveFrame) -> None:
    with live.asked() as frame:
        with pytest.raises(NotReady, match="count_events"):
            frame.count(rule('count_events("view", 30d) > 1'))
        with pytest.raises(InvalidInput, match="did you mean orders"):
            frame.rows(rule("orders > 1"), ["ordrs"])
    with pytest.raises(InvalidInput, match="labels, segments"):
        LiveFrame(pa.table({"identity": ["a"]}), ABOUT)


def test_an_empty_frame_is_asked_like_any_other() -> None:
    with LiveFrame(frame(), ABOUT).asked() as empty:
        assert empty.count(rule("orders >= 5")) == (0, 0)
        assert empty.rows(rule("orders >= 5")).read_all().num_rows == 0


def test_a_deadline_ends_what_takes_too_long() -> None:
    many = frame(*((f"{n:06}", n, None, ["x"]) for n in range(50_000)))
    live = LiveFrame(many, ABOUT)
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded), live.asked(0.2) as asked:
        list(map(asked.overlaps, repeat(rule("orders >= 5"))))
    assert time.monotonic() - began < 5
