import numpy as np
import pytest

from onefold.graph.errors import InvalidInput
from onefold.ml import features
from onefold.ml.next_order import next_order
from onefold.ml.value import value
from tests.histories import DAY, END, HORIZON_DAYS, shop, small, trained

MODELS = pytest.mark.parametrize("model", [trained, small])


@pytest.fixture(scope="module")
def table():
    orders, events = shop()
    return features.compute(orders, events, END, trained().card.population)


@MODELS
def test_value_is_what_was_spent_and_what_is_expected(table, model):
    found = value(model(), table)
    assert found.historic == pytest.approx(table["spend"].to_numpy())
    assert found.total == pytest.approx(found.historic + found.predicted)
    assert (found.predicted > 0).all()
    assert (found.typical >= 0).all()
    assert found.horizon_days == HORIZON_DAYS
    assert found.currency == "GBP"


@MODELS
def test_more_days_never_bring_less(table, model):
    told = [value(model(), table, days) for days in (1, 7, 20, 30, 45, 60)]
    for name in ("predicted", "typical", "expected_orders"):
        along = np.array([getattr(one, name) for one in told])
        assert (np.diff(along, axis=0) >= -1e-9).all(), name
        assert along[-1].sum() > along[0].sum(), name


@MODELS
def test_all_together_are_to_spend_about_what_they_did_in_the_window_before(model):
    orders, events = shop()
    then = END - HORIZON_DAYS * DAY
    table = features.compute(orders, events, then, model().card.population)
    spent = sum(
        purchase["value"]
        for purchase in features.purchases(orders, END, "GBP").to_pylist()
        if purchase["placed"] >= then and purchase["identity"] in set(table["identity"].to_pylist())
    )
    assert value(model(), table).predicted.sum() == pytest.approx(spent, rel=0.25)


def test_who_spends_more_is_worth_more(table):
    found = value(trained(), table)
    rank = np.argsort(np.argsort(found.predicted))
    active = (table["days_since_order"].to_numpy() < 15) & (table["orders"].to_numpy() > 5)
    assert rank[active].mean() > 1.3 * rank.mean()


def test_days_beyond_the_longest_horizon_are_refused(table):
    with pytest.raises(InvalidInput, match="must be from 1 to 60"):
        value(trained(), table, 61)


@MODELS
def test_the_next_order_is_within_the_horizon_and_its_interval_around_the_median(table, model):
    found = next_order(model(), table)
    known = ~np.isnan(found.median)
    assert (found.earliest[known] >= 0).all()
    assert (found.earliest <= found.median)[known].all()
    assert (found.median <= found.latest)[known].all()
    assert (found.latest[known] < HORIZON_DAYS).all()


def test_nothing_is_said_of_the_next_order_of_one_who_ordered_once(table):
    found = next_order(trained(), table)
    once = table["orders"].to_numpy() == 1
    assert once.any()
    assert np.array_equal(np.isnan(found.median), once)
    assert np.array_equal(np.isnan(found.latest), once)
