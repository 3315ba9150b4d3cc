from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from onefold.graph.errors import InvalidInput, NotReady
from onefold.segments import comparable, effect
from onefold.segments.effect import Kind
from onefold.segments.encode import Term
from tests import retail
from tests.histories import DAY, END, order, orders_table

PAGE = Path(__file__).parents[2] / "docs" / "groups.md"
DAYS = 30


@cache
def world(seed, people=1_500, lift=0.0, base=-1.8):
    """Who is keen is more likely to be in the group, and to buy in any case. Gives the frame, the group, the orders of
    the window, and by how much the group bought more often because of what it got."""
    random = np.random.default_rng(seed)
    keen, age, app = random.normal(size=people), random.exponential(1.0, people), random.random(people) < 0.3
    member = random.random(people) < _share(base + 0.8 * keen + 0.5 * (age - 1) + 0.5 * app)
    alone = _share(-1 + 0.7 * keen + 0.4 * (age - 1) - 0.3 * app)
    buys = random.random(people) < np.minimum(alone + lift * member, 1.0)
    again = random.random(people) < 0.3
    value = random.gamma(2.0, 20 * np.exp(0.3 * keen))
    ids = [f"id-{n:05d}" for n in range(people)]
    orders = []
    for n in np.flatnonzero(buys).tolist():
        orders += [
            order(ids[n], END + day * DAY, 10_000 + int(value[n] * 1e6)) for day in ((1, 9) if again[n] else (1,))
        ]
    orders.append(order("somebody", END + DAYS * DAY - 1))
    frame = pa.table({"identity": ids, "keen": keen, "age": age, "app": pa.array(app)})
    group = {ids[n] for n in np.flatnonzero(member)}
    return frame, group, orders_table(orders), float((np.minimum(alone + lift, 1.0) - alone)[member].mean())


def _share(logit):
    return 1 / (1 + np.exp(-logit))


def of(found, kind):
    return next(outcome for outcome in found.outcomes if outcome.kind is kind)


def measured(seed=1, **more):
    frame, group, orders, _ = world(seed, **more)
    return effect.measure(group, frame, orders, END, DAYS)


def test_what_the_group_would_have_done_anyway_is_taken_off():
    apart = [of(measured(seed, lift=0.1), Kind.CONVERSION) for seed in range(12)]
    true = np.mean([world(seed, lift=0.1)[3] for seed in range(12)])
    assert np.mean([each.difference.value for each in apart]) == pytest.approx(true, abs=0.02)
    assert np.mean([each.unadjusted for each in apart]) > true + 0.08


def test_intervals_hold_the_true_effect_as_often_as_they_say(proving):
    worlds = 200 if proving else 50
    held, nothing = defaultdict(int), defaultdict(int)
    for seed in range(worlds):
        with_effect, without = measured(seed, lift=0.1), measured(seed)
        found = of(with_effect, Kind.CONVERSION).difference
        held[Kind.CONVERSION] += found.low <= world(seed, lift=0.1)[3] <= found.high
        for outcome in without.outcomes:
            nothing[outcome.kind] += outcome.difference.low <= 0 <= outcome.difference.high
    counts = [*held.values(), *nothing.values()]
    assert len(counts) == 5
    assert min(counts) >= (0.92 if proving else 0.87) * worlds


def test_figures_become_alike_and_what_remains_is_said():
    found = measured()
    assert {each.term: each.is_alike for each in found.balance} == {"keen": True, "age": True, "app": True}
    assert max(abs(each.before) for each in found.balance) > 0.5
    assert found.warnings == ()
    assert 30 < found.comparable < found.outside


def test_the_estimate_is_that_of_the_textbook():
    frame, group, orders, _ = world(4)
    found = of(effect.measure(group, frame, orders, END, DAYS), Kind.CONVERSION)
    bought = set(orders["identity"].to_pylist())
    columns, _, _ = comparable.design(
        np.column_stack([frame[key].cast(pa.float64()).to_numpy() for key in ("keen", "age", "app")]),
        [Term("keen"), Term("age"), Term("app")],
    )
    ids = frame["identity"].to_pylist()
    member = np.array([identity in group for identity in ids])
    stratum = comparable.strata(member, columns)
    cells = defaultdict(list)
    for identity, inside, where in zip(ids, member.tolist(), stratum.tolist(), strict=True):
        cells[where, inside].append(float(identity in bought))
    placed = sorted({where for where, _ in cells if where >= 0})
    people = sum(len(cells[where, True]) for where in placed)
    shares = [len(cells[where, True]) / people for where in placed]
    apart = [np.mean(cells[where, True]) - np.mean(cells[where, False]) for where in placed]
    variance = [sum(np.var(cells[w, side], ddof=1) / len(cells[w, side]) for side in (True, False)) for w in placed]
    value, error = np.dot(shares, apart), np.sqrt(np.dot(np.square(shares), variance))
    assert found.difference.value == pytest.approx(value)
    assert found.difference.low == pytest.approx(value - 1.96 * error, abs=1e-4)


def test_each_outcome_is_what_it_says():
    ids = [f"id-{n:03d}" for n in range(200)]
    frame = pa.table({"identity": ids, "same": pa.array([1] * 200)})
    refunds = [{"at": END + 6 * DAY, "amount": 5_000_000}]
    rows = [order(identity, END, 30_000_000) for identity in ids[:50]]
    rows += [order(identity, END + 5 * DAY, 10_000_000, refunds=refunds) for identity in ids[:20]]
    rows += [order(identity, END + 1, 10_000_000) for identity in ids[100:110]]
    rows += [order(identity, END - 1) for identity in ids[110:150]]
    rows += [order(identity, END + DAYS * DAY) for identity in ids[150:]]
    rows += [order(identity, END + 1, status="cancelled") for identity in ids[150:]]
    found = effect.measure(set(ids[:100]), frame, orders_table(rows), END, DAYS, lost=set(ids[40:160]))
    told = {each.kind: (each.of_group, each.of_comparable, each.people) for each in found.outcomes}
    assert told[Kind.CONVERSION] == pytest.approx((0.5, 0.1, 100))
    assert told[Kind.REPURCHASE] == pytest.approx((0.2, 0.0, 100))
    assert told[Kind.ORDER_VALUE] == pytest.approx(((50 * 30 + 20 * 10) / 70, 10.0, 50))
    assert told[Kind.SPEND] == pytest.approx(((50 * 30 + 20 * 5) / 100, 1.0, 100))
    assert told[Kind.RETURN] == pytest.approx((10 / 60, 10 / 60, 60))


def test_a_feature_that_defines_the_group_is_named_and_not_matched():
    frame, _, orders, _ = world(2)
    keen = {row["identity"] for row in frame.to_pylist() if row["keen"] > 0.5}
    found = effect.measure(keen, frame, orders, END, DAYS, defining={"keen"})
    assert "the group is defined by keen" in found.warnings[0]
    matched = effect.measure(keen, frame, orders, END, DAYS)
    assert matched.measured < 0.2 * matched.group
    assert "are like nobody outside" in matched.warnings[0]


def test_a_group_that_one_feature_tells_from_all_others_has_nobody_comparable():
    frame, group, orders, _ = world(2)
    badge = pa.array([identity in group for identity in frame["identity"].to_pylist()])
    with pytest.raises(NotReady, match="nobody outside is comparable"):
        effect.measure(group, frame.select(["identity"]).append_column("badge", badge), orders, END, DAYS)


def test_a_hold_out_is_the_only_side_that_is_looked_at():
    frame, group, orders, _ = world(3)
    ids = frame["identity"].to_pylist()
    held_out = set(ids[:400]) - group
    found = effect.measure(group, frame, orders, END, DAYS, outside=held_out | {"stranger"})
    assert found.outside == len(held_out)
    assert found.group == len(group)


def test_the_order_of_rows_counts_for_nothing():
    frame, group, orders, _ = world(5)
    random = np.random.default_rng(1)
    shuffled = [table.take(random.permutation(table.num_rows)) for table in (frame, orders)]
    assert effect.measure(group, *shuffled, END, DAYS) == effect.measure(group, frame, orders, END, DAYS)


def test_unknown_is_matched_with_unknown():
    frame, group, orders, _ = world(6)
    keen = [None if row["app"] else row["keen"] for row in frame.to_pylist()]
    found = effect.measure(group, frame.set_column(1, "keen", pa.array(keen)), orders, END, DAYS)
    told = {each.term: each for each in found.balance}
    assert told["keen is known"].is_alike
    assert told["keen is known"].before == pytest.approx(-told["app"].before)


def test_a_window_that_is_not_over_is_warned_of():
    frame, group, orders, _ = world(1)
    found = effect.measure(group, frame, orders, END, 90)
    assert "orders are known of the first 29 of the 90 days only" in found.warnings
    nobody = effect.measure(group, frame, orders_table([]), END, 90)
    assert "fewer than 10 of the group bought, so the intervals are rough" in nobody.warnings
    assert [each.kind for each in nobody.outcomes] == [Kind.CONVERSION, Kind.REPURCHASE, Kind.SPEND]


def test_too_few_people_and_no_window_are_refused():
    frame, group, orders, _ = world(1)
    with pytest.raises(NotReady, match="20 people are in the group; 30 are needed"):
        effect.measure(set(sorted(group)[:20]), frame, orders, END, DAYS)
    with pytest.raises(NotReady, match="0 people are outside"):
        effect.measure(group, frame, orders, END, DAYS, outside=set())
    with pytest.raises(InvalidInput, match="days: must be at least 1"):
        effect.measure(group, frame, orders, END, 0)


def test_the_effect_of_the_weekend_on_online_retail_is_that_of_the_page():
    cutoff = retail.midnight(2011, 9, 10)
    frame = retail.frame(cutoff)
    group = {row["identity"] for row in frame.to_pylist() if row["weekend_share"] > 0}
    found = effect.measure(group, frame, retail.orders(), cutoff, 60, defining={"weekend_share"})
    page = PAGE.read_text("utf-8")
    for kind, words in ((Kind.CONVERSION, "bought"), (Kind.REPURCHASE, "bought on two days or more")):
        told = of(found, kind)
        inside, all_others, others = (
            f"{100 * share:.1f} %" for share in (told.of_group, told.of_group - told.unadjusted, told.of_comparable)
        )
        low, high = (f"{100 * bound:+.1f}" for bound in (told.difference.low, told.difference.high))
        assert f"| {words} | {inside} | {all_others} | {others} | {low} to {high} points |" in page
    assert "weekend_share" in found.warnings[-1]
    assert of(found, Kind.CONVERSION).words == (
        "conversion: 56.5 % against 57.3 % of comparable people, -0.8 points (95 %: -4.9 to +3.3), which may be chance"
    )
