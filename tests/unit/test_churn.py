import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from onefold.graph.errors import InvalidInput, NotReady
from onefold.ml import baselines, churn, features, recipe, trees
from onefold.ml.gates import Needs
from onefold.ml.inputs import ALL_KEYS, inputs
from onefold.ml.panel import KEYS
from tests.histories import DAY, END, HORIZON_DAYS, NO_EVENTS, order, orders_table, shop, small, trained

NOW = 20_000 * DAY


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
    assert again.files() == small().files()
    assert again.card == small().card


def before(orders, instant):
    return orders.filter(pc.less(orders["placed_at"].cast(pa.int64()), instant))


def test_nothing_from_the_cutoff_on_reaches_the_model():
    orders, events = shop()
    early = END - 60 * DAY
    whole = churn.train(orders, events, cutoff=early, created_at=0, horizon_days=HORIZON_DAYS)
    then = churn.train(before(orders, early), events, cutoff=early, created_at=0, horizon_days=HORIZON_DAYS)
    assert whole.files() == then.files()
    assert whole.card == then.card


def test_the_held_out_window_does_not_reach_the_rows_that_predict_it():
    orders, events = shop()
    held_out = END - HORIZON_DAYS * DAY
    train, test = churn.split(orders, events, held_out, HORIZON_DAYS)
    then, then_test = churn.split(before(orders, held_out), events, held_out, HORIZON_DAYS)
    assert np.array_equal(train.values, then.values, equal_nan=True)
    assert np.array_equal(train.churned, then.churned)
    assert np.array_equal(train.spend, then.spend)
    assert np.array_equal(test.values, then_test.values, equal_nan=True)
    assert then_test.churned.all()
    assert test.churned.mean() < 0.9


@pytest.mark.parametrize(("key", "days"), [("days_since_order", 1), ("horizon", -1)])
def test_in_the_trees_risk_never_falls_with_silence_nor_rises_with_the_horizon(key, days):
    model = trained()
    orders, events = shop()
    table = features.compute(orders, events, END, model.card.population)
    rows = inputs(model.parts.process, features.matrix(table, KEYS)[:50], 30)
    risks = []
    for value in (1, 10, 30, 45, 60, 120, 240):
        rows[:, ALL_KEYS.index(key)] = value
        risks.append([trees.predict(booster, rows) for booster in model.parts.churn.boosters])
    moves = days * np.diff(risks, axis=0)
    assert (moves >= -1e-12).all()
    assert (moves > 0).any()


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


def test_training_keeps_linear_algebra_to_one_thread_and_then_lets_it_go():
    def threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    def progress(stage, share):
        during.extend(threads())
        if share > 0.0:
            raise Stop

    before, during = threads(), []
    with pytest.raises(Stop):
        churn.train(*shop(), cutoff=END, created_at=END, horizon_days=HORIZON_DAYS, progress=progress)
    assert set(during) == {1}
    assert threads() == before


def test_the_baselines_learn_from_the_training_rows():
    orders, events = shop()
    train, test = churn.split(orders, events, END - HORIZON_DAYS * DAY, HORIZON_DAYS)
    train = train.where(train.horizon == HORIZON_DAYS)
    assert set(baselines.base_rate(train, test)) == {train.churned.mean()}
    rfm = baselines.rfm_logistic(train, test)
    assert len(rfm) == len(test.churned)
    assert np.corrcoef(rfm, test.column("days_since_order"))[0, 1] > 0.5


def test_a_small_shop_gets_the_small_model_and_one_large_enough_the_full():
    assert (small().card.kind, trained().card.kind) == ("small", "full")
    assert "customers with an order: 400 of 1001 needed" in small().card.choice
    assert not small().parts.churn.boosters
    shut = {gate.words for gate in small().card.gates if not gate.is_open}
    assert "customers with an order: 400 of 1001 needed" in shut


def test_every_part_is_measured_beside_its_baselines():
    measured = trained().card.measured
    assert set(measured) == {"churn", "spend", "typical", "next_order"}
    for part in measured.values():
        assert part.baselines.keys() == part.differences.keys()
        for estimate in part.model.values():
            assert estimate.low <= estimate.value <= estimate.high
    rfm = measured["churn"].differences["rfm_logistic"]["auc"]
    card = trained().card
    assert rfm.value == pytest.approx(card.metrics.auc - card.baselines["rfm_logistic"].auc)


def test_the_card_tells_what_matters_and_how_features_were_distributed():
    card = trained().card
    assert set(card.importance) <= set(ALL_KEYS)
    assert 0.0 not in card.importance.values()
    assert list(card.importance.values()) == sorted(card.importance.values(), reverse=True)
    assert set(card.reference) == set(KEYS)
    for reference in card.reference.values():
        assert sum(reference.shares) == pytest.approx(1.0)
    assert card.period[1] == END
    assert card.horizons == (30, 60)


def test_the_card_tells_reliability_and_lift_of_everybody_held_out():
    card = small().card
    assert sum(part.rows for part in card.reliability) == sum(part.rows for part in card.lift) == card.metrics.rows
    churned = sum(part.observed * part.rows for part in card.reliability)
    assert churned == pytest.approx(card.metrics.base_rate * card.metrics.rows)
    assert card.lift[0].rate > card.metrics.base_rate > card.lift[-1].rate


def test_the_rehearsal_knows_nothing_of_the_held_out_window():
    orders, events = shop()
    held_out = END - HORIZON_DAYS * DAY
    then = before(orders, held_out)
    rows = churn.training_rows(then, events, features.population(then, held_out), held_out, HORIZON_DAYS)
    kept = small().rehearsal
    assert kept.population == features.population(then, held_out)
    with threadpool_limits(1, user_api="blas"):  # as training does: the last digits depend on it
        assert kept.churn.linear == recipe.fit_churn(rows, kept.process, "small").linear
