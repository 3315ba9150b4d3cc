import numpy as np
import pyarrow as pa
import pytest

from onefold.ml import features, panel
from onefold.ml.panel import KEYS
from tests.histories import DAY, END, NO_EVENTS, order, orders_table, shop

NOW = 20_000 * DAY


def population_since(first_order, customers=100):
    return features.Population(customers, customers, customers, first_order, "GBP", 30.0)


def of(rows, at, lengths, until=NOW):
    orders = orders_table(rows)
    return panel.build(orders, NO_EVENTS, [at], lengths, until, features.population(orders, until))


def test_a_model_learns_from_the_shorter_horizons_too():
    assert panel.horizons(90) == (30, 60, 90)
    assert panel.horizons(180) == (30, 60, 90, 180)
    assert panel.horizons(365) == (30, 60, 90, 180, 365)
    assert panel.horizons(20) == (20,)


def test_snapshots_are_two_weeks_apart_and_one_leaves_just_room_for_the_longest_horizon():
    cutoffs = panel.snapshots(population_since(NOW - 200 * DAY), NOW, 90)
    assert NOW - 90 * DAY in cutoffs
    assert set(np.diff(cutoffs)) == {-14 * DAY}
    assert cutoffs[0] <= NOW - 30 * DAY < cutoffs[0] + 14 * DAY
    assert cutoffs[-1] >= NOW - 170 * DAY > cutoffs[-1] - 14 * DAY


def test_no_snapshot_is_found_in_too_short_a_history():
    assert panel.snapshots(population_since(NOW - 119 * DAY), NOW, 90) == ()
    assert panel.snapshots(population_since(NOW - 120 * DAY), NOW, 90)[-1] == NOW - 90 * DAY


def test_the_label_is_no_purchase_from_the_snapshot_to_the_day_before_its_end():
    at = NOW - 30 * DAY
    rows = [order(name, at - DAY) for name in ("back-at-once", "back-last", "gone", "late", "void")]
    rows += [
        order("back-at-once", at),
        order("back-last", NOW - 1),
        order("late", NOW),
        order("void", at + DAY, status="cancelled"),
        order("new", at + DAY),
    ]
    built = of(rows, at, [30], until=NOW + DAY)
    assert built.churned.tolist() == [False, False, True, True, True]


def test_spend_and_days_are_those_of_the_window():
    at = NOW - 30 * DAY
    refund = {"at": at + 9 * DAY, "amount": 3_000_000}
    rows = [
        order("ann", at - DAY, 90_000_000),
        order("ann", at + 5 * DAY + 60_000, 20_000_000, refunds=[refund]),
        order("ann", at + 8 * DAY, 5_000_000),
        order("bob", at - DAY),
        order("bob", at + 20 * DAY, 7_000_000),
    ]
    built = of(rows, at, [10, 30])
    told = {
        (int(customer), horizon): (spend, days)
        for customer, horizon, spend, days in zip(built.customer, built.horizon, built.spend, built.days, strict=True)
    }
    assert told[0, 10] == told[0, 30] == (22.0, 5.0)
    assert told[1, 10][0] == 0.0
    assert np.isnan(told[1, 10][1])
    assert told[1, 30] == (7.0, 20.0)


def test_a_horizon_that_has_not_ended_gives_no_row():
    built = of([order("ann", NOW - 100 * DAY)], NOW - 40 * DAY, [30, 60])
    assert built.horizon.tolist() == [30.0]


def test_each_customer_weighs_the_same_at_each_horizon_however_many_rows_they_have():
    orders = orders_table([order("old", NOW - 150 * DAY), order("new", NOW - 65 * DAY)])
    cutoffs = [NOW - day * DAY for day in (30, 60, 90, 120)]
    built = panel.build(orders, NO_EVENTS, cutoffs, [30, 60], NOW, features.population(orders, NOW))
    for horizon in (30, 60):
        at = built.horizon == horizon
        assert np.bincount(built.customer[at], weights=built.weight[at]).tolist() == pytest.approx([1.0, 1.0])


def test_who_is_a_customer_only_by_an_order_refunded_later_that_day_has_no_row():
    noon = NOW - 30 * DAY + DAY // 2
    refund = {"at": noon + 60_000, "amount": 10_000_000}
    rows = [order("ann", noon - 60_000, refunds=[refund]), order("ann", noon + DAY), order("bob", noon - DAY)]
    built = of(rows, noon, [20])
    assert built.customer.tolist() == [1]


def test_a_base_too_large_is_thinned_at_every_snapshot_and_the_same_way_each_time():
    orders, events = shop()
    known = features.population(orders, END)
    cutoffs = panel.snapshots(known, END, 60)
    whole, thin, again = (
        panel.build(orders, events, cutoffs, [30, 60], END, known, max_rows=rows) for rows in (10**6, 1_500, 1_500)
    )
    assert 1_200 < len(thin.churned) <= 1_500 < len(whole.churned)
    assert np.array_equal(thin.standing, again.standing, equal_nan=True)
    rows = {tuple(row) for row in np.nan_to_num(whole.standing).tolist()}
    assert all(tuple(row) in rows for row in np.nan_to_num(thin.standing).tolist())


def test_features_of_many_cutoffs_at_once_are_those_of_each_to_the_last_bit():
    orders, events = shop(150, seed=3)
    known = features.population(orders, END)
    cutoffs = [END - days * DAY - 12_345 for days in (0, 14, 100, 290)]
    together = features.compute_at(orders, events, cutoffs, known)
    for cutoff, table in zip(cutoffs, together, strict=True):
        alone = features.compute(orders, events, cutoff, known)
        assert table.combine_chunks() == alone.combine_chunks()
    assert len({table.num_rows for table in together}) > 2


def test_a_panel_chooses_rows_and_keeps_their_features():
    orders, events = shop(150, seed=3)
    known = features.population(orders, END)
    built = panel.build(orders, events, panel.snapshots(known, END, 60), [30, 60], END, known)
    chosen = built.where(built.horizon == 60)
    assert set(chosen.horizon) == {60.0}
    assert np.array_equal(chosen.values, built.values[built.horizon == 60], equal_nan=True)
    assert np.array_equal(chosen.column("orders"), chosen.values[:, KEYS.index("orders")])


def partition(**persons):
    return pa.table({"record": [f"customer:{name}" for name in persons], "person": list(persons.values())})


def test_people_are_as_they_were_known_at_each_snapshot_and_no_later_merge_shows():
    before, after = NOW - 60 * DAY, NOW - 30 * DAY
    rows = [order("a", before - 9 * DAY), order("b", before - 2 * DAY), order("b", before + 5 * DAY)]
    rows.append(order("c", before - 50 * DAY))
    orders = orders_table([row | {"identity": {"a": "ab", "b": "ab"}.get(row["identity"], "c")} for row in rows])
    known_at = {before: partition(a="a", b="b", c="c"), after: partition(a="a", b="a", c="c")}
    known = features.population(orders, NOW)
    built = panel.build(orders, NO_EVENTS, [before, after], [30], NOW, known, partition_at=known_at.__getitem__)
    found = list(zip(built.column("orders").tolist(), built.churned.tolist(), built.customer.tolist(), strict=True))
    ab, c = found[0][2], found[2][2]
    assert found == [(1, False, ab), (1, False, ab), (1, True, c), (3, True, ab), (1, True, c)]
    assert built.weight[built.customer == ab].tolist() == [1 / 3] * 3


def test_a_person_who_was_split_since_did_what_the_larger_part_did():
    at = NOW - 30 * DAY
    rows = [order("a", at - 9 * DAY), order("a", at - 8 * DAY), order("b", at - 2 * DAY), order("b", at + DAY)]
    orders = orders_table(rows)
    known = features.population(orders, NOW)
    built = panel.build(orders, NO_EVENTS, [at], [30], NOW, known, partition_at=lambda _: partition(a="a", b="a"))
    assert (built.column("orders").tolist(), built.churned.tolist()) == ([3], [True])


def test_where_nobody_merged_the_panel_is_the_same_to_the_last_bit():
    orders, events = shop(150, seed=3)
    known = features.population(orders, END)
    names = sorted(set(orders["record"].to_pylist()) | set(events["record"].to_pylist()))
    now = pa.table({"record": names, "person": [name.partition(":")[2] for name in names]})
    cutoffs = panel.snapshots(known, END, 60)
    plain = panel.build(orders, events, cutoffs, [30, 60], END, known)
    told = panel.build(orders, events, cutoffs, [30, 60], END, known, partition_at=lambda _: now)
    assert np.array_equal(plain.standing, told.standing, equal_nan=True)
    for name in ("of", "horizon", "churned", "spend", "customer", "weight"):
        assert np.array_equal(getattr(plain, name), getattr(told, name))
