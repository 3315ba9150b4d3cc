from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logit

from onefold.ml import churn, features, recipe
from onefold.ml.inputs import ALL_KEYS, history, inputs
from onefold.ml.linear import fit_logistic
from onefold.ml.mbgnbd import fit
from onefold.ml.panel import KEYS
from tests.histories import END, HORIZON_DAYS, shop


@pytest.fixture(scope="module")
def rows():
    orders, events = shop()
    return churn.training_rows(orders, events, features.population(orders, END), END, HORIZON_DAYS)


@pytest.fixture(scope="module")
def process():
    orders, events = shop()
    table = features.compute(orders, events, END, features.population(orders, END))
    return fit(history(features.matrix(table, KEYS)))


def test_the_small_model_is_the_mean_log_odds_of_the_process_and_the_logistic_regression(rows, process):
    known = inputs(process, rows.values, rows.horizon)
    logistic = fit_logistic(known, rows.churned, rows.weight).predict(known)
    by_process = logit(known[:, ALL_KEYS.index("no_purchase")])
    blend = recipe.fit_churn(rows, process, "small")
    assert blend.predict(known) == pytest.approx((logistic + by_process) / 2, abs=1e-9)


def test_the_full_model_is_the_mean_of_two_that_predict_as_well_alone(rows, process):
    known = inputs(process, rows.values, rows.horizon)
    blend = recipe.fit_churn(rows, process, "full")
    assert len(blend.boosters) == 2
    rates = 1 / (1 + np.exp(-blend.predict(known)))
    # A logistic regression fitted with these weights meets the mean of its rows; so must what is built on it.
    assert np.average(rates, weights=rows.weight) == pytest.approx(
        np.average(rows.churned, weights=rows.weight), abs=0.02
    )


def test_one_customer_who_buys_for_all_is_capped_at_each_horizon(rows):
    spend = rows.spend.copy()
    spend[np.argmax(rows.horizon == 30)] = 1e9
    capped = recipe.capped(replace(rows, spend=spend))
    assert capped.max() < 1e9
    below = spend <= np.quantile(spend[rows.horizon == 30], recipe.SPEND_CAP)
    assert np.array_equal(capped[below & (rows.horizon == 30)], spend[below & (rows.horizon == 30)])


def test_all_rows_of_the_longest_horizon_together_are_to_spend_what_they_did(rows, process):
    parts = recipe.fit(rows, process, "small")
    longest = rows.where(rows.horizon == HORIZON_DAYS)
    predicted = np.exp(parts.spend.predict(inputs(process, longest.values, HORIZON_DAYS)))
    assert predicted.sum() == pytest.approx(longest.spend.sum())


def test_it_tells_of_every_tree_and_ends_with_the_last(rows, process):
    told = []
    recipe.fit(rows, process, "small", lambda done, of: told.append((done, of)))
    shares = [done / of for done, of in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
