"""Writers that race on each engine: what is stored equals bulk resolution of all that was acknowledged, whoever won."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from onefold.graph import store
from onefold.graph.ingest import Writer
from onefold.graph.model import BanExpiry, Deletion, Item, OperatorBan, OperatorMatch, Withdrawal
from tests import items as make
from tests.conftest import Engine
from tests.engines import empty
from tests.racing import Lanes, commit, processes, run_threads, world
from tests.stored import faults


@pytest.fixture
def writer(engine: Engine, endpoint: object) -> Writer:
    return make.writer(engine.endpoint, engine.driver)


# -- two writers, one held in the midst of its work until the other is through or waits for it -------------------------

NOW = make.NOW


def hub(*more: Item) -> list[Item]:
    """A device just above its limit."""
    return [*(make.customer(f"web:{n}", "device:1") for n in range(5)), *more]


def leaves(n: int) -> Item:
    return Withdrawal("web", f"customer:web:{n}", "device:1", NOW + 1)


SKEWS: dict[str, tuple[list[Item], list[Item], list[Item]]] = {
    "each ends a link of a hub": (hub(make.customer("web:5", "device:1")), [leaves(0)], [leaves(1)]),
    "one adds to the hub that the other parts with": (hub(), [make.customer("web:9", "device:1")], [leaves(0)]),
    "one who is there already adds to the hub that the other parts with": (
        hub(make.customer("shop:9", "email:1")),
        [make.customer("shop:9", "email:1", "device:1", at=NOW + 1)],
        [leaves(0)],
    ),
    "one says again what ties it to the hub that the other parts with": (
        hub(),
        [make.customer("web:1", "device:1", at=NOW + 1, full_name="New")],
        [leaves(0)],
    ),
    "something happens on the hub that the other parts with": (
        hub(),
        [make.event("web:e1", on="device:1")],
        [leaves(0)],
    ),
    "one deletes a record of the hub that the other adds to": (
        hub(),
        [Deletion("customer:web:3", NOW + 1)],
        [make.order("till:1", "device:1", "email:1")],
    ),
    "two guest orders at a hub turn out to be one person's": (
        [make.order(f"till:{n}", "phone:1", f"email:{n}") for n in range(3)],
        [make.order("till:0", "phone:1", "email:0", "member:1", at=NOW + 1)],
        [make.order("till:1", "phone:1", "email:1", "member:1", at=NOW + 1)],
    ),
    "two begin with an identifier that nobody has any more": (
        [make.customer("web:1", "email:1"), make.customer("web:1", at=NOW + 1)],
        [make.customer("web:2", "email:1")],
        [make.customer("shop:3", "email:1")],
    ),
    "two make an identifier": ([], [make.customer("web:2", "email:1")], [make.customer("shop:3", "email:1")]),
    "two move one order": (
        [make.order("shop:1", "email:1", of="web:1"), make.customer("web:2"), make.customer("web:3")],
        [make.order("shop:1", of="web:2", at=NOW + 1)],
        [make.order("shop:1", of="web:3", at=NOW + 2)],
    ),
    "two move one order that says nothing": (
        [make.order("shop:1", of="web:1"), make.customer("web:2"), make.customer("web:3")],
        [make.order("shop:1", of="web:2", at=NOW + 1)],
        [make.order("shop:1", of="web:3", at=NOW + 2)],
    ),
    "one moves an order that the other deletes": (
        [make.order("shop:1", of="web:1"), make.customer("web:2")],
        [make.order("shop:1", of="web:2", at=NOW + 1)],
        [Deletion("order:shop:1", NOW + 2)],
    ),
    "each takes back one of two orders that say the same": (
        [
            *(make.order(f"shop:{n}", "email:1", of="web:1") for n in (1, 2)),
            make.customer("web:2", "email:1"),
            make.customer("web:3"),
        ],
        [make.order("shop:1", "email:1", of="web:3", at=NOW + 1)],
        [Deletion("order:shop:2", NOW + 1)],
    ),
    "one takes an order back while the other says the same again": (
        [make.order("shop:1", "email:1", of="web:1"), make.customer("web:2", "email:1")],
        [Deletion("order:shop:1", NOW + 1)],
        [make.order("shop:2", "email:1", of="web:1", at=NOW - 1)],
    ),
    "one claims the guest order that the other corrects": (
        [make.order("shop:1", "email:1"), make.customer("web:2", "email:2")],
        [make.order("shop:1", of="web:2", at=NOW + 1)],
        [make.order("shop:1", "email:2", at=NOW + 2)],
    ),
    "one brings back the record that the other speaks of": (
        [make.customer("web:1", "email:1"), Deletion("customer:web:1", NOW + 1)],
        [make.customer("web:1", "email:1", at=NOW + 2)],
        [make.customer("web:1", "email:2", at=NOW + 3)],
    ),
    "an operator speaks of a record that the other moves": (
        [
            *(make.customer(f"web:{n}", "email:1") for n in (3, 4)),
            make.customer("web:1", "phone:1"),
            make.customer("web:9"),
        ],
        [OperatorBan("customer:web:1", "customer:web:9", "ann", "not the same", NOW + 1)],
        [make.customer("web:1", "email:1", "phone:1", at=NOW + 1)],
    ),
    "one merges what the other splits": (
        [make.customer("web:1", "email:1"), make.customer("shop:2", "email:1", "phone:1"), make.customer("web:3")],
        [make.customer("web:3", "phone:1", at=NOW + 1)],
        [make.customer("shop:2", "phone:1", at=NOW + 1)],
    ),
}
"""What is there, and what two writers say at once."""


@pytest.mark.parametrize("where", ["before it writes", "before it commits"])
@pytest.mark.parametrize("turn", [0, 1])
@pytest.mark.parametrize("skew", SKEWS)
def test_two_at_once_leave_what_one_after_the_other_leaves(
    writer: Writer, monkeypatch: pytest.MonkeyPatch, skew: str, turn: int, where: str
) -> None:
    writer = replace(writer, turn=lambda until: nullcontext())
    there, *two = SKEWS[skew]
    held, other = two[turn], two[1 - turn]
    for item in there:
        commit(writer, [item])
    began, through = threading.Event(), threading.Event()
    holding: Iterator[bool] = iter([True])
    write = store.write

    def hold() -> None:
        began.set()
        through.wait(0.2)

    def write_held(*arguments: Any) -> None:
        me = threading.current_thread().name.startswith("held") and next(holding, False)
        if me and where == "before it writes":
            hold()
        write(*arguments)
        if me and where == "before it commits":
            hold()

    monkeypatch.setattr(store, "write", write_held)
    with ThreadPoolExecutor(1, "held") as pool:
        first = pool.submit(commit, writer, held)
        assert began.wait(30)
        second = commit(writer, other)
        through.set()
        assert None not in (*first.result(), *second), "nothing is refused"
    assert faults(make.reader(writer), [*there, *held, *other]) == []


# -- four writers at random --------------------------------------------------------------------------------------------


def test_racing_threads_lose_nothing_and_agree_with_bulk(writer: Writer, engine: Engine, proving: bool) -> None:
    for seed in range(30 if proving else 2):
        assert_agreed(writer, engine, seed, lambda seed: run_threads(lambda items: commit(writer, items), seed))


def test_callers_of_three_lanes_lose_nothing_and_agree_with_bulk(writer: Writer, engine: Engine, proving: bool) -> None:
    busiest = 0
    for seed in range(2_000, 2_030 if proving else 2_002):
        with Lanes(writer, 3) as lanes:
            assert_agreed(writer, engine, seed, lambda seed, lanes=lanes: run_threads(lanes.commit, seed))
            busiest = max(busiest, lanes.busiest)
            assert [lanes.ask(batch) for batch, _ in lanes.answered] == [[first] for _, first in lanes.answered]
        ((requests,),) = make.reader(writer).rows("MATCH (q:Request) RETURN count(q)")
        assert requests == len(lanes.answered)
    assert busiest > 1, "the proof needs lanes that are at work at once"


def test_racing_processes_lose_nothing_and_agree_with_bulk(writer: Writer, engine: Engine, proving: bool) -> None:
    with processes(engine.endpoint) as racers:
        for seed in range(1_000, 1_030 if proving else 1_002):
            assert_agreed(writer, engine, seed, racers.run)


def assert_agreed(writer: Writer, engine: Engine, seed: int, run: Callable[[int], set[int]]) -> None:
    """Whatever the racers were acknowledged is there, and all of it is as bulk resolution has it."""
    empty(engine.driver, engine.endpoint.database)
    items = world(seed)
    said = [items[n] for n in sorted(run(seed))]
    refused = [item for item in items if item not in said]
    assert all(isinstance(item, OperatorMatch | OperatorBan) for item in refused), "only words on strangers are refused"
    ends = [BanExpiry(i.a, i.b, i.at) for i in said if isinstance(i, OperatorBan) and i.expires_at is not None]
    commit(writer, ends)
    assert faults(make.reader(writer), [*said, *ends]) == [], seed
