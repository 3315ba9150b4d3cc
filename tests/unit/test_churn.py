import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from onefold.graph.errors import InvalidInput, NotReady
from onefold.ml import baselines, churn, features, panel
from onefold.ml.churn import Needs
from onefold.ml.metrics import calibration_error, measure
from tests.histories import DAY, END, HORIZON_DAYS, NO_EVENTS, order, orders_table, shop, trained

NOW = 20_000 * DAY


def population_since(first_order, customers=100):
    return features.Population(customers, customers, customers, first_order, "GBP", 30.0)


def test_snapshots_step_back_two_weeks_from_the_last_window_that_has_ended():
    cutoffs = panel.snapshots(population_since(NOW - 200 * DAY), NOW, 90)
    assert cutoffs[0] == NOW - 90 * DAY
    assert set(np.diff(cutoffs)) == {-14 * DAY}
    assert cutoffs[-1] >= NOW - 170 * DAY > cutoffs[-1] - 14 * DAY


def test_no_snapshot_is_found_in_too_short_a_history():
    assert panel.snapshots(population_since(NOW - 119 * DAY), NOW, 90) == ()
    assert panel.snapshots(population_since(NOW - 120 * DAY), NOW, 90) == (NOW - 90 * DAY,)


def test_a_large_base_gets_fewer_snapshots_over_the_same_time():
    cutoffs = panel.snapshots(population_since(NOW - 730 * DAY, customers=100_000), NOW, 90)
    assert 2 <= len(cutoffs) <= panel.MAX_ROWS // 100_000
    assert cutoffs[0] - cutoffs[-1] > 365 * DAY


def test_the_label_is_no_purchase_from_the_snapshot_to_the_day_before_its_end():
    at, horizon = NOW - 30 * DAY, 30
    rows = [order(name, at - DAY) for name in ("back-at-once", "back-last", "late", "gone", "void")]
    rows += [
        order("back-at-once", at),
        order("back-last", NOW - 1),
        order("late", NOW),
        order("void", at + DAY, status="cancelled"),
        order("new", at + DAY),
    ]
    orders = orders_table(rows)
    built = panel.build(orders, NO_EVENTS, [at], horizon, features.population(orders, at))
    names = features.compute(orders, NO_EVENTS, at, features.population(orders, at))["identity"].to_pylist()
    assert dict(zip(names, built.churned.tolist(), strict=True)) == {
        "back-at-once": False,
        "back-last": False,
        "gone": True,
        "late": True,
        "void": True,
    }


def test_each_customer_weighs_the_same_however_many_rows_they_have():
    orders = orders_table([order("old", NOW - 100 * DAY), order("new", NOW - 45 * DAY)])
    cutoffs = [NOW - day * DAY for day in (30, 60, 90)]
    built = panel.build(orders, NO_EVENTS, cutoffs, 30, features.population(orders, NOW))
    assert built.weight.sum() == pytest.approx(2.0)
    assert np.bincount(built.customer, weights=built.weight).tolist() == pytest.approx([1.0, 1.0])


def test_the_model_beats_the_base_rate_on_the_window_it_never_saw():
    card = trained().card
    assert card.held_out == END - HORIZON_DAYS * DAY
    base = card.baselines["base_rate"]
    assert card.metrics.auc > 0.6
    assert card.metrics.log_loss < base.log_loss
    assert card.metrics.rows == base.rows == card.baselines["rfm_logistic"].rows
    assert card.metrics.base_rate == base.base_rate


def test_the_same_rows_in_any_order_give_the_same_bytes():
    orders, events = shop()
    shuffled = orders.take(np.random.default_rng(1).permutation(orders.num_rows))
    again = churn.train(shuffled, events, cutoff=END, created_at=END, horizon_days=HORIZON_DAYS)
    assert again.text() == trained().text()
    assert again.card == trained().card


def before(orders, instant):
    return orders.filter(pc.less(orders["placed_at"].cast(pa.int64()), instant))


def test_nothing_from_the_cutoff_on_reaches_the_model():
    orders, events = shop()
    early = END - 60 * DAY
    whole = churn.train(orders, events, cutoff=early, created_at=0, horizon_days=HORIZON_DAYS)
    then = churn.train(before(orders, early), events, cutoff=early, created_at=0, horizon_days=HORIZON_DAYS)
    assert whole.text() == then.text()
    assert whole.card == then.card


def test_the_held_out_window_does_not_reach_the_rows_that_predict_it():
    orders, events = shop()
    held_out = END - HORIZON_DAYS * DAY
    train, test = churn.split(orders, events, held_out, HORIZON_DAYS)
    then, then_test = churn.split(before(orders, held_out), events, held_out, HORIZON_DAYS)
    assert np.array_equal(train.values, then.values, equal_nan=True)
    assert np.array_equal(train.churned, then.churned)
    assert np.array_equal(test.values, then_test.values, equal_nan=True)
    assert then_test.churned.all()
    assert test.churned.mean() < 0.9


def test_risk_never_falls_with_the_days_since_the_last_order():
    model = trained()
    orders, events = shop()
    table = features.compute(orders, events, END, model.card.population)
    row = features.matrix(table, model.keys)[:50]
    position = model.keys.index("days_since_order")
    risks = []
    for days in (1, 10, 30, 60, 120, 240):
        row[:, position] = days
        risks.append(model.booster.predict(row))
    assert (np.diff(risks, axis=0) >= -1e-12).all()


def test_too_little_data_is_refused_with_all_that_is_missing():
    orders = orders_table([order("ann", NOW - 40 * DAY), order("ann", NOW - 10 * DAY)])
    with pytest.raises(NotReady) as raised:
        churn.train(orders, NO_EVENTS, cutoff=NOW, created_at=NOW)
    assert raised.value.missing == (
        "too little to learn from; customers with an order: 1 of 100 needed; "
        "customers with a second order: 1 of 30 needed; days of history: 40 of 210 needed"
    )


def test_an_empty_shop_is_refused_and_not_a_crash():
    with pytest.raises(NotReady, match="customers with an order: 0 of 100 needed"):
        churn.train(orders_table([]), NO_EVENTS, cutoff=NOW, created_at=NOW)


def test_outcomes_of_one_kind_only_are_refused():
    faithful = [order(f"id-{n}", NOW - day * DAY) for n in range(120) for day in range(1, 110, 10)]
    with pytest.raises(NotReady, match="customers who left in the training windows: 0 of 25 needed"):
        churn.train(orders_table(faithful), NO_EVENTS, cutoff=NOW, created_at=NOW, horizon_days=30)


@pytest.mark.parametrize("horizon", [0, -1, 366])
def test_a_horizon_out_of_range_is_refused(horizon):
    with pytest.raises(InvalidInput, match="horizon_days"):
        churn.train(*shop(), cutoff=END, created_at=END, horizon_days=horizon)


def test_progress_never_goes_back_and_ends_at_one():
    told = []
    orders, events = shop(150, seed=3)
    churn.train(
        orders,
        events,
        cutoff=END,
        created_at=END,
        horizon_days=30,
        needs=Needs(customers=50, returning=10, each_outcome=5),
        progress=lambda stage, share: told.append((stage, share)),
    )
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert (shares[0], told[-1]) == (0.0, ("trained", 1.0))


class Stop(Exception):
    pass


@pytest.mark.parametrize("after", [0.0, 0.2, 0.45, 0.95], ids=["start", "rows", "first fit", "last fit"])
def test_what_progress_raises_ends_the_training(after):
    def progress(stage, share):
        if share > after:
            raise Stop

    with pytest.raises(Stop):
        churn.train(*shop(), cutoff=END, created_at=END, horizon_days=HORIZON_DAYS, progress=progress)


def test_metrics_of_a_perfect_and_of_a_constant_prediction():
    happened = np.array([True, False, True, False])
    perfect = measure(happened, np.array([1.0, 0.0, 1.0, 0.0]))
    assert (perfect.auc, perfect.brier, perfect.ece, perfect.base_rate) == (1.0, 0.0, 0.0, 0.5)
    constant = measure(happened, np.full(4, 0.5))
    assert (constant.auc, constant.brier, constant.ece) == (0.5, 0.25, 0.0)
    assert constant.log_loss == pytest.approx(np.log(2))


def test_calibration_error_is_the_mean_distance_of_promise_and_outcome_by_bin():
    probability = np.array([0.15, 0.15, 0.95, 1.0])
    happened = np.array([False, True, True, True])
    assert calibration_error(happened, probability) == pytest.approx((2 * 0.35 + 2 * 0.025) / 4)


def test_the_baselines_learn_from_the_training_rows():
    orders, events = shop()
    train, test = churn.split(orders, events, END - HORIZON_DAYS * DAY, HORIZON_DAYS)
    assert set(baselines.base_rate(train, test)) == {train.churned.mean()}
    rfm = baselines.rfm_logistic(train, test)
    assert len(rfm) == len(test.churned)
    assert np.corrcoef(rfm, test.column("days_since_order"))[0, 1] > 0.5
