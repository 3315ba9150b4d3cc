"""What frames say of people, on each engine: on their identities, and in the feed of who came and who left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from onefold.graph.audit import head_of
from onefold.graph.errors import NotFound
from onefold.graph.ingest import Batch, Outcome, Writer, ingest
from onefold.graph.memberships import (
    Cause,
    ChangeKind,
    FrameCount,
    FramedRow,
    Leaver,
    end_of_feed,
    give_up_features,
    left_behind,
    read_counts,
    read_on,
    read_stored,
    write_count,
    write_leavers,
    write_rows,
)
from onefold.graph.model import Item, OperatorMatch
from onefold.graph.predictions import Prediction, Run, clear_predictions, read_scores, write_predictions
from onefold.graph.reader import Reader
from onefold.graph.subject import Subject
from tests import items as make
from tests.conftest import Engine
from tests.items import DAY, NOW

WINDOW = 'f_count_events("view", category == "fitness", 30d)'


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


def two(writer: Writer) -> tuple[str, str]:
    ann, bob = put(writer, make.customer("web:1", "email:1"), make.customer("web:2", "email:2"))
    return ann.identity, bob.identity


def row(
    identity: str,
    segments: Sequence[str] = (),
    features: Mapping[str, Any] | None = None,
    labels: Sequence[str] = (),
    last: int | None = None,
) -> FramedRow:
    return FramedRow(identity, features or {}, {"f_last_order_at": last}, labels, segments)


def because(cause: Cause) -> Any:
    return lambda identity, segment: cause


def feed(reader: Reader, after: int = 0, *segments: str) -> list[tuple[int, str, str, str, str]]:
    return [
        (c.sequence, c.segment, c.identity, c.kind.value, c.cause.value)
        for c in read_on(reader, after, segments).changes
    ]


def properties(reader: Reader, id: str) -> dict[str, Any]:
    return dict(read_stored(reader, Subject.identity(id)).properties)


def test_what_is_written_is_read_and_seen_by_queries(writer: Writer, reader: Reader) -> None:
    ann, bob = two(writer)
    said = {"f_city": "leeds", "f_orders": 3, "f_spend": 1.5, "f_vip": True, WINDOW: 7, "f_none": None}
    rows = [row(ann, ["a", "b"], {**said, "f_interests": ["x", "y"]}, ["l"], NOW - DAY), row(bob)]
    assert write_rows(writer, "frame-1", NOW, NOW, rows, because(Cause.DATA)) == {ann, bob}
    found = read_stored(reader, Subject.record("customer:web:1"))
    assert (found.identity, found.frame) == (ann, "frame-1")
    known = {**said, "f_interests": ["x", "y"], "f_last_order_at": NOW - DAY, "segments": ["a", "b"], "labels": ["l"]}
    del known["f_none"]
    assert {k: v for k, v in found.properties.items() if k in known or k == "f_none"} == known
    asked = f"""
    MATCH (i:Identity) WHERE i.`{WINDOW}` >= 5 AND i.f_last_order_at.epochMillis < $now AND 'a' IN i.segments
    RETURN i.id
    """
    assert [r[0] for r in reader.rows(asked, now=NOW)] == [ann]
    with pytest.raises(NotFound):
        read_stored(reader, Subject.identity("nobody"))


def test_who_comes_and_who_leaves_is_told_once(writer: Writer, reader: Reader) -> None:
    ann, bob = two(writer)
    for _ in range(2):
        write_rows(writer, "frame-1", NOW, NOW, [row(ann, ["a", "b"]), row(bob, ["b"])], because(Cause.DATA))
    write_rows(writer, "frame-2", NOW, NOW + 1, [row(ann, ["b", "c"]), row(bob, ["b"])], because(Cause.TIME))
    first, second = sorted((ann, bob))
    entered = [(s, id) for id in (first, second) for s in (["a", "b"] if id == ann else ["b"])]
    assert [(c[1], c[2]) for c in feed(reader)[:3]] == entered
    assert feed(reader, 3) == [(4, "a", ann, "LEFT", "TIME"), (5, "c", ann, "ENTERED", "TIME")]
    assert feed(reader, 0, "c") == [(5, "c", ann, "ENTERED", "TIME")]
    assert end_of_feed(reader) == 5
    assert read_on(reader, 5).sequence == 5


def test_what_a_frame_says_no_more_is_taken_away_and_an_older_one_changes_nothing(
    writer: Writer, reader: Reader
) -> None:
    ann, _ = two(writer)
    write_rows(writer, "frame-1", NOW, NOW, [row(ann, ["a"], {"f_x": 1, "f_y": 2}, last=NOW)], because(Cause.DATA))
    write_rows(writer, "frame-2", NOW, NOW + 1, [row(ann, ["a"], {"f_y": 3})], because(Cause.DATA))
    assert {k for k in properties(reader, ann) if k.startswith("f_")} == {"f_y"}
    assert write_rows(writer, "frame-1", NOW, NOW, [row(ann, [], {"f_x": 1})], because(Cause.DATA)) == frozenset()
    assert properties(reader, ann)["frame"] == "frame-2"
    give_up_features(writer, ["f_y"])
    assert reader.rows("MATCH (o:FeatureOwner {key: 'frames'}) RETURN o.names")[0][0] == ["f_y"]


def test_scores_and_frames_leave_each_other_theirs(writer: Writer, reader: Reader) -> None:
    ann, _ = two(writer)

    def run(number: int) -> Run:
        return Run(f"run-{number}", "churn-0001", NOW + number, NOW, head_of(reader)[0])

    write_predictions(writer, run(1), [Prediction(ann, 0.25, features={"orders": 1, "gap": 2.5})])
    write_rows(writer, "frame-1", NOW, NOW, [row(ann, ["a"], {"f_orders": 9, "f_city": "leeds"})], because(Cause.DATA))
    assert read_scores(reader, [ann])[ann].prediction.churn_probability == 0.25
    write_predictions(writer, run(2), [Prediction(ann, 0.75, features={"orders": 1, "pace": 0.5})])
    found = properties(reader, ann)
    assert {k: found.get(k) for k in ("f_orders", "f_gap", "f_pace", "f_city", "churn_probability", "segments")} == {
        "f_orders": 9,
        "f_gap": None,
        "f_pace": 0.5,
        "f_city": "leeds",
        "churn_probability": 0.75,
        "segments": ["a"],
    }
    clear_predictions(writer, run(3), [ann])
    left = properties(reader, ann)
    assert {k for k in left if k.startswith("f_")} == {"f_orders", "f_city"}
    assert "churn_probability" not in left
    assert left["frame"] == "frame-1"


def test_who_is_retired_leaves_with_a_successor_and_only_once(writer: Writer, reader: Reader) -> None:
    ann, bob = two(writer)
    write_rows(writer, "frame-1", NOW, NOW, [row(ann, ["a"]), row(bob, ["a", "b"])], because(Cause.DATA))
    put(writer, OperatorMatch("customer:web:1", "customer:web:2", "ann", "", NOW))
    merged, kept = (bob, ann) if "segments" in properties(reader, ann) else (ann, bob)
    assert read_stored(reader, Subject.identity(merged)).identity == kept
    assert write_rows(writer, "frame-1", NOW, NOW, [row(merged, ["a"])], because(Cause.DATA)) == frozenset()
    before = end_of_feed(reader)
    assert left_behind(reader) == [merged]
    for _ in range(2):
        write_leavers(writer, NOW + 1, [Leaver(merged, Cause.DATA)])
    assert left_behind(reader) == []
    changes = read_on(reader, before).changes
    assert [(c.segment, c.identity, c.kind, c.cause, c.successor) for c in changes] == [
        ("a", merged, ChangeKind.LEFT, Cause.MERGE, kept),
        ("b", merged, ChangeKind.LEFT, Cause.MERGE, kept),
    ]


def test_who_is_in_no_frame_any_more_keeps_nothing_of_it_and_may_come_back(writer: Writer, reader: Reader) -> None:
    ann, _ = two(writer)
    write_rows(writer, "frame-1", NOW, NOW, [row(ann, ["a"], {"f_x": 1}, last=NOW)], because(Cause.DATA))
    write_leavers(writer, NOW + 1, [Leaver(ann, Cause.DATA)])
    assert properties(reader, ann).keys().isdisjoint({"f_x", "f_last_order_at", "segments", "labels", "frame"})
    write_rows(writer, "frame-2", NOW, NOW + 2, [row(ann, ["a"])], because(Cause.DATA))
    assert [c[3] for c in feed(reader)] == ["ENTERED", "LEFT", "ENTERED"]


def test_more_than_one_transaction_holds_are_all_written(
    writer: Writer, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onefold.graph.memberships._AT_ONCE", 3)
    ids = [o.identity for o in put(writer, *(make.customer(f"web:{n}", f"email:{n}") for n in range(8)))]
    assert write_rows(writer, "frame-1", NOW, NOW, [row(id, ["a"]) for id in ids], because(Cause.RULE)) == set(ids)
    assert end_of_feed(reader) == 8
    sequence, seen = 0, []
    while True:
        stretch = read_on(reader, sequence)
        seen += [c.sequence for c in stretch.changes]
        sequence = stretch.sequence
        if not stretch.more:
            break
    assert seen == list(range(1, 9))


def test_counts_are_kept_and_told_from_the_last_that_was_written(writer: Writer, reader: Reader) -> None:
    as_of = (NOW, NOW - 9, NOW - 9, NOW - 5)  # an empty graph is as of now
    counts = [FrameCount(str(9 + n), at, 10, {"label l": n, "segment s": 2 * n}) for n, at in enumerate(as_of)]
    for n, count in enumerate(counts):
        write_count(replace(writer, clock=lambda n=n: NOW + n), count)
    assert read_counts(reader, 3) == [counts[3], counts[2], counts[1]]
