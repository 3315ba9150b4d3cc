"""The current frame on each engine: built, kept up to date, and told to identities and to the feed."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from pathlib import Path

import pytest

from onefold.graph.ingest import Batch, Outcome, Writer, ingest
from onefold.graph.memberships import read_counts, read_on, read_stored
from onefold.graph.model import Deletion, Item, OperatorBan, OperatorMatch
from onefold.graph.reader import Reader
from onefold.graph.subject import Subject
from onefold.service.defined import Definer
from onefold.service.framing import Framing
from tests import items as make
from tests.conftest import Engine
from tests.items import DAY, NOW

BUYERS = "purchases >= 2"
SILENT = "days_since(last_order_at) > 30"


class World:
    """A graph, its definitions, and a frame that is looked after by hand."""

    def __init__(self, writer: Writer, folder: Path) -> None:
        self.clock = [NOW]
        self.writer = writer = replace(writer, clock=lambda: self.clock[0])
        self.reader: Reader = make.reader(writer)
        self.definer = Definer(self.reader, writer)
        self.folder = folder
        self.framing = self.again()

    def again(self, anew_seconds: float = inf) -> Framing:
        self.framing = Framing(self.reader, self.writer, self.definer, self.folder, anew_seconds=anew_seconds)
        return self.framing

    def put(self, *items: Item) -> list[Outcome]:
        (outcomes,) = ingest(self.writer, [Batch(items)])
        assert isinstance(outcomes, list)
        self.framing.touch(id for o in outcomes for id in (o.identity, o.identity_before))
        return outcomes

    def look(self) -> None:
        while self.framing.look():
            pass

    def segments(self, id: str) -> list[str]:
        return list(read_stored(self.reader, Subject.identity(id)).properties.get("segments") or [])

    def feed(self, after: int = 0) -> list[tuple[str, str, str, str]]:
        found = []
        while True:
            stretch = read_on(self.reader, after)
            ours = (c for c in stretch.changes if c.segment in OURS)
            found += [(c.segment, c.identity, c.kind.value, c.cause.value) for c in ours]
            after = stretch.sequence
            if not stretch.more:
                return found

    def members(self, key: str) -> list[str]:
        rule = self.definer.current.check(f'in_segment("{key}")')
        with self.framing.current.asked() as asked:
            return asked.page(rule, "", 100)


OURS = {"buyers", "silent", "staff"}


@pytest.fixture
def world(engine: Engine, endpoint: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("onefold.service.framing._QUIET_SECONDS", 0.0)
    return World(make.writer(engine.endpoint, engine.driver), tmp_path / "frames")


def three(world: World) -> tuple[str, str, str]:
    ann, bob, cid = world.put(*(make.customer(f"web:{n}", f"email:{n}") for n in (1, 2, 3)))
    world.put(
        make.order("shop:1", of="web:1", placed=NOW - 50 * DAY),
        make.order("shop:2", of="web:1", placed=NOW - 40 * DAY),
        make.order("shop:3", of="web:2", placed=NOW - DAY),
    )
    world.definer.create("buyers", "", "", BUYERS, ())
    world.definer.create("silent", "", "", SILENT, ())
    return ann.identity, bob.identity, cid.identity


def test_a_frame_is_asked_written_and_told(world: World) -> None:
    ann, bob, cid = three(world)
    world.look()
    with world.framing.current.asked() as asked:
        assert (asked.about.people, asked.about.as_of) == (3, NOW - DAY + 1)
        assert asked.count(world.definer.current.check(SILENT)) == (1, 1)
    assert (world.members("buyers"), world.members("silent")) == ([ann], [ann])
    assert [world.segments(id)[:1] for id in (ann, bob, cid)] == [["buyers"], [], []]
    assert world.feed() == [("buyers", ann, "ENTERED", "DATA"), ("silent", ann, "ENTERED", "DATA")]
    assert read_counts(world.reader, 1)[0].members["segment buyers"] == 1
    stored = read_stored(world.reader, Subject.identity(ann)).properties
    assert (stored["f_purchases"], stored["f_last_order_at"]) == (2, NOW - 40 * DAY)


def test_who_is_touched_is_brought_up_to_date_alone(world: World) -> None:
    ann, bob, _ = three(world)
    world.look()
    before = world.framing.current
    world.put(make.order("shop:4", of="web:2", placed=NOW - 1))
    world.look()
    assert world.framing.current is before
    assert world.members("buyers") == sorted([ann, bob])
    assert world.feed()[2:] == [("buyers", bob, "ENTERED", "DATA")]
    with before.asked() as asked:
        assert asked.about.as_of == NOW
        assert asked.about.id.endswith(".1")
    assert read_stored(world.reader, Subject.identity(bob)).properties["f_last_order_at"] == NOW - 1


def test_everybody_is_computed_anew_once_the_data_are_an_hour_on(world: World) -> None:
    _, bob, _ = three(world)
    world.again(anew_seconds=3_600)

    def looked_back() -> float:
        world.look()
        with world.framing.current.asked() as asked:
            (row,) = asked.people([bob], ["days_since_order"]).to_pylist()
        return float(row["days_since_order"])

    before = looked_back()
    world.put(make.order("shop:4", of="web:1", placed=NOW - DAY + 3_599_000))
    assert looked_back() == before
    world.put(make.order("shop:5", of="web:1", placed=NOW - 1))
    assert looked_back() == pytest.approx(before + 1, abs=0.001)


def test_everybody_is_computed_anew_beside_a_population_that_has_grown(world: World) -> None:
    ann, _, _ = three(world)
    world.look()

    def compared() -> float:
        with world.framing.current.asked() as asked:
            (row,) = asked.people([ann], ["order_value_ratio"]).to_pylist()
        return float(row["order_value_ratio"])

    alone = compared()
    *most, last = (make.order(f"shop:{n}", f"email:{n}", placed=NOW - 60 * DAY, total=10**9) for n in range(10, 31))
    world.put(*most)
    world.look()
    assert compared() == alone
    world.put(last)
    world.look()
    assert compared() < alone / 10


def test_merge_split_and_erasure_are_told_with_their_causes(world: World) -> None:
    ann, _, cid = three(world)
    world.look()
    told = len(world.feed())
    world.put(OperatorMatch("customer:web:1", "customer:web:3", "ann", "", NOW))
    world.look()
    kept, gone = (ann, cid) if world.segments(ann) else (cid, ann)
    merged = world.feed()[told:]
    assert merged == (
        []
        if kept == ann
        else [(s, cid, "ENTERED", "MERGE") for s in ("buyers", "silent")]
        + [(s, ann, "LEFT", "MERGE") for s in ("buyers", "silent")]
    )
    world.put(OperatorBan("customer:web:1", "customer:web:3", "ann", "", NOW + 1))
    world.look()
    now = world.members("buyers")
    assert len(now) == 1
    assert gone not in now
    told = len(world.feed())
    world.put(Deletion("customer:web:1", NOW + 2), Deletion("order:shop:1", NOW + 2), Deletion("order:shop:2", NOW + 2))
    world.look()
    assert world.members("buyers") == []
    left = world.feed()[told:]
    assert {(s, id, kind) for s, id, kind, _ in left} == {("buyers", now[0], "LEFT"), ("silent", now[0], "LEFT")}
    assert {cause for *_, cause in left} <= {"ERASE", "DATA"}


def test_a_changed_rule_and_a_list_are_taken_in_without_a_new_frame(world: World) -> None:
    ann, bob, cid = three(world)
    world.look()
    world.definer.update("buyers", {"rule": "purchases >= 1"}, (), "")
    world.definer.create("staff", "", "", None, ["customer:web:3", "customer:web:9"])
    world.look()
    assert world.members("buyers") == sorted([ann, bob])
    assert world.members("staff") == [cid]
    assert world.feed()[2:] == sorted(
        [("buyers", bob, "ENTERED", "RULE"), ("staff", cid, "ENTERED", "RULE")], key=lambda c: c[1]
    )
    (dan,) = world.put(make.customer("web:9", "email:9"))
    world.look()
    assert world.members("staff") == sorted([cid, dan.identity])
    world.definer.delete("buyers", "")
    world.look()
    assert "buyers" not in world.segments(ann)


def test_a_window_that_no_frame_has_is_in_the_next(world: World) -> None:
    three(world)
    world.put(make.event("web:e1", of="web:2", at=NOW - DAY, type="view"))
    world.look()
    world.definer.create("staff", "", "", 'count_events("view", 30d) >= 1', ())
    world.look()
    assert len(world.members("staff")) == 1


def test_what_was_kept_is_asked_until_a_new_frame_is_there_and_nothing_is_told_twice(world: World) -> None:
    ann, *_ = three(world)
    world.look()
    told = world.feed()
    again = world.again()
    again.load()
    assert world.members("buyers") == [ann]
    world.look()
    assert world.members("buyers") == [ann]
    assert world.feed() == told


def test_whoever_starts_again_writes_what_differs_and_everybody_after_what_was_cut_short(world: World) -> None:
    ann, bob, cid = three(world)
    world.look()
    world.put(make.order("shop:4", of="web:2", placed=NOW - DAY))

    def started(is_told: bool) -> set[str]:
        if not is_told:
            (world.folder / "TOLD").unlink()
        before = {id: frame_on(world, id) for id in (bob, cid)}
        world.again().load()
        world.look()
        return {id for id, frame in before.items() if frame_on(world, id) != frame}

    assert started(is_told=True) == {bob}
    assert started(is_told=False) == {bob, cid}
    assert world.members("buyers") == sorted([ann, bob])


def frame_on(world: World, id: str) -> str:
    return read_stored(world.reader, Subject.identity(id)).frame


def test_after_many_updates_everybody_is_published_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onefold.service.framing._MOST_UPDATED", 1)
    ann, bob, _ = three(world)
    world.look()
    folders = {path.name for path in world.folder.iterdir()}
    for number in range(2):
        world.put(make.order(f"shop:{number + 4}", of="web:2", placed=NOW - DAY))
        world.look()
    assert {path.name for path in world.folder.iterdir() if path.name.startswith("generation")} > {
        name for name in folders if name.startswith("generation")
    }
    assert world.members("buyers") == sorted([ann, bob])
    world.again().load()
    assert world.members("buyers") == sorted([ann, bob])


@pytest.mark.parametrize("step", ["write_rows", "write_leavers"])
def test_who_ended_is_told_to_have_left_however_far_the_last_frame_came(
    world: World, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    ann, bob, _ = three(world)
    world.look()
    told = len(world.feed())
    world.put(OperatorMatch("customer:web:1", "customer:web:2", "ann", "", NOW))
    world.put(make.order("shop:4", of="web:2", placed=NOW - 1))
    kept, gone = sorted([ann, bob])

    def fail(*_: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(f"onefold.service.framing.{step}", fail)
        with pytest.raises(ConnectionError):
            world.look()
    again = world.again()  # as after a crash: what was published is all that is known
    again.load()
    world.look()
    changes = world.feed()[told:]
    if gone == ann:
        assert ("buyers", ann, "LEFT", "MERGE") in changes
        assert [s.successor for s in read_on(world.reader, told).changes if s.identity == ann] == [kept, kept]
    members: set[tuple[str, str]] = set()
    for segment, id, kind, cause in world.feed():
        assert cause in ("DATA", "MERGE")
        (members.add if kind == "ENTERED" else members.remove)((segment, id))
    assert members == {("buyers", kept)} == {(s, kept) for s in world.segments(kept) if s in OURS}


def test_time_alone_brings_people_in(world: World) -> None:
    ann, bob, _ = three(world)
    world.look()
    told = len(world.feed())
    world.put(make.event("web:e", of="web:3", at=NOW + 40 * DAY))
    world.clock[0] = NOW + 41 * DAY
    world.framing.build()
    assert world.feed()[told:] == [("silent", bob, "ENTERED", "TIME")]
    assert world.members("silent") == sorted([ann, bob])


def test_what_time_takes_from_the_last_year_is_no_data(world: World) -> None:
    _, bob, _ = three(world)
    world.put(replace(make.event("web:v", of="web:2", at=NOW - 300 * DAY), channel="app"))
    world.look()
    told = len(world.feed())
    world.put(make.event("web:e", of="web:3", at=NOW + 80 * DAY))
    world.clock[0] = NOW + 81 * DAY
    world.framing.build()
    assert world.feed()[told:] == [("silent", bob, "ENTERED", "TIME")]


def test_old_orders_that_come_after_people_are_written_though_the_frame_is_of_an_earlier_instant(world: World) -> None:
    world.put(make.customer("web:1", "email:1"))
    world.definer.create("buyers", "", "", BUYERS, ())
    world.look()  # as of now: nobody has done anything
    world.clock[0] += 1
    (first, _) = world.put(*(make.order(f"shop:{n}", of="web:1", placed=NOW - 90 * DAY) for n in (1, 2)))
    world.look()
    assert world.framing.current.about.as_of == NOW - 90 * DAY + 1, "not that of when nothing was known"
    assert world.feed() == [("buyers", first.identity, "ENTERED", "DATA")]
    assert world.segments(first.identity)[:1] == ["buyers"]


def test_what_fails_on_the_way_to_the_graph_is_done_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, *_ = three(world)

    def fail(*_: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr("onefold.service.framing.write_rows", fail)
        with pytest.raises(ConnectionError):
            world.look()
    assert world.segments(ann) == []
    world.look()
    assert world.feed() == [("buyers", ann, "ENTERED", "DATA"), ("silent", ann, "ENTERED", "DATA")]
