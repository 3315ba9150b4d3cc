"""Entries and exits between two frames, each with its cause."""

from __future__ import annotations

from random import Random
from typing import Any

import pyarrow as pa

from onefold.segments import features
from onefold.segments.changes import SCHEMA, TIMELESS, Cause, Upheaval, changes
from onefold.segments.frame import KEYS
from onefold.segments.reads import Named
from tests.crowd import ASKED, DAY, NOW, Crowd, crowd

FRAME = pa.schema(
    [pa.field("identity", pa.string()), pa.field("labels", KEYS), pa.field("segments", KEYS)],
)


def frame(**people: str) -> pa.Table:
    """``frame(ann="silent new / winback")``: labels, then segments."""
    rows = []
    for identity, said in people.items():
        labels, _, segments = said.partition("/")
        rows.append({"identity": identity, "labels": sorted(labels.split()), "segments": sorted(segments.split())})
    return pa.Table.from_pylist(rows, FRAME)


def told(table: pa.Table) -> list[tuple[Any, ...]]:
    assert table.schema.equals(SCHEMA)
    return [tuple(row.values()) for row in table.to_pylist()]


def test_who_came_and_who_left_is_told_and_nothing_else() -> None:
    before = frame(ann="new / winback", bob="silent", eve="")
    after = frame(bob="silent / staff", ann="new silent", eve="")
    assert told(changes(before, after, {}, [], ["ann"])) == [
        ("ann", "label", "silent", True, "DATA", ""),
        ("bob", "segment", "staff", True, "TIME", ""),
        ("ann", "segment", "winback", False, "DATA", ""),
    ]
    assert told(changes(after, after, {}, [], ["ann"])) == []


def test_a_changed_rule_is_the_cause_of_its_own_changes_only() -> None:
    before, after = frame(ann="new", bob=""), frame(ann="/ new", bob="new")
    found = changes(before, after, {}, [Named("segment", "new")], ["bob"])
    assert [(row[0], row[1], row[4]) for row in told(found)] == [
        ("ann", "label", "TIME"),
        ("bob", "label", "DATA"),
        ("ann", "segment", "RULE"),
    ]


def test_who_was_merged_away_leaves_with_their_successor_and_who_lives_on_came_by_the_merge() -> None:
    before, after = frame(ann="new", bob="silent"), frame(bob="new silent")
    merged = {"ann": Upheaval(Cause.MERGE, "bob"), "bob": Upheaval(Cause.MERGE)}
    assert told(changes(before, after, merged, [Named("label", "new")], [])) == [
        ("ann", "label", "new", False, "MERGE", "bob"),
        ("bob", "label", "new", True, "MERGE", ""),
    ]


def test_who_was_split_off_and_who_was_erased_are_told_so() -> None:
    before, after = frame(ann="new silent", eve="new"), frame(ann="new", bob="silent")
    upheavals = {"ann": Upheaval(Cause.SPLIT), "bob": Upheaval(Cause.SPLIT), "eve": Upheaval(Cause.ERASE)}
    assert told(changes(before, after, upheavals, [], None or [])) == [
        ("eve", "label", "new", False, "ERASE", ""),
        ("ann", "label", "silent", False, "SPLIT", ""),
        ("bob", "label", "silent", True, "SPLIT", ""),
    ]


def test_somebody_new_came_by_their_data() -> None:
    found = changes(frame(), frame(ann="new"), {}, [], ["ann"])
    assert told(found) == [("ann", "label", "new", True, "DATA", "")]


def test_changes_are_what_plain_python_says() -> None:
    random = Random(4)

    def some() -> dict[str, str]:
        keys = [f"k{n}" for n in range(12)]
        ids = random.sample([f"i{n:03d}" for n in range(300)], 200)
        return {
            id: " ".join(random.sample(keys, random.randrange(4))) + "/" + " ".join(random.sample(keys, 2))
            for id in ids
        }

    before, after = frame(**some()), frame(**some())

    def pairs(table: pa.Table) -> set[tuple[str, str, str]]:
        return {
            (kind, key, row["identity"])
            for row in table.to_pylist()
            for kind in ("label", "segment")
            for key in row[f"{kind}s"]
        }

    expected = {(*pair, True) for pair in pairs(after) - pairs(before)}
    expected |= {(*pair, False) for pair in pairs(before) - pairs(after)}
    found = told(changes(before, after, {}, [], []))
    assert [(kind, key, identity, entered) for identity, kind, key, entered, *_ in found] == sorted(expected)


def computed(made: Crowd, as_of: int) -> pa.Table:
    people, orders, lines, events, predictions = made.tables()
    known = features.population(orders, lines, predictions, as_of)
    return features.compute(people, orders, lines, events, predictions, as_of, known, ASKED)


def with_labels(table: pa.Table, keys: list[str]) -> pa.Table:
    lists = pa.array([keys] * len(table), KEYS)
    return table.append_column("labels", lists).append_column("segments", lists)


def test_time_touches_nobody_and_every_deed_does() -> None:
    made = crowd(3, 80)
    made = made.only({person["identity"] for person in made.people})
    before, later = with_labels(computed(made, NOW), []), with_labels(computed(made, NOW + 40 * DAY), ["a"])
    known = computed(made, NOW)
    deeds = [(o["identity"], r["at"]) for o in made.orders for r in o["refunds"]]
    deeds += [(o["identity"], o["placed_at"]) for o in made.orders] + [(e["identity"], e["at"]) for e in made.events]
    did = {identity for identity, at in deeds if NOW <= at < NOW + 40 * DAY}
    causes = {row["identity"]: row["cause"] for row in changes(before, later, {}, []).to_pylist()}
    assert {identity for identity, cause in causes.items() if cause == "DATA"} <= did < causes.keys()
    event = {**next(e for e in made.events if e["identity"] not in did), "at": NOW + DAY}
    more = Crowd(made.people, made.orders, made.lines, [*made.events, event], made.predictions)
    after = with_labels(computed(more, NOW + 40 * DAY), ["a"])
    causes = {row["identity"]: row["cause"] for row in changes(before, after, {}, []).to_pylist()}
    assert causes[event["identity"]] == "DATA"
    assert set(TIMELESS) <= set(known.schema.names)
