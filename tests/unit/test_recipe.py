from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logit
from sklearn.linear_model import LogisticRegression

from onefold.ml import churn, features, recipe
from onefold.ml.inputs import ALL_KEYS, history, inputs
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


def test_the_small_model_is_the_mean_log_odds_of_the_process_and_a_logistic_regression_on_four_terms(rows, process):
    known = inputs(process, rows.values, rows.horizon)
    terms = np.column_stack(
        [
            *(np.log1p(rows.column(key)) for key in ("days_since_order", "orders", "spend")),
            np.log(rows.horizon / 60.0),
        ]
    )
    means = np.average(terms, weights=rows.weight, axis=0)
    scales = np.sqrt(np.average((terms - means) ** 2, weights=rows.weight, axis=0))
    alone = LogisticRegression(C=1.0 / recipe.FEW_STRENGTH, solver="newton-cholesky", tol=1e-8)
    alone.fit((terms - means) / scales, rows.churned, sample_weight=rows.weight)
    by_process = logit(known[:, ALL_KEYS.index("no_purchase")])
    blend = recipe.fit_churn(rows, process, "small")
    expected = (alone.decision_function((terms - means) / scales) + by_process) / 2
    assert blend.predict(known) == pytest.approx(expected, abs=1e-6)


def test_a_small_model_is_moved_by_few_inputs(rows, process):
    _, added = recipe.fit_churn(rows, process, "small").contributions(inputs(process, rows.values, rows.horizon))
    moving = {key for key, of_key in zip(ALL_KEYS, added.T, strict=True) if of_key.any()}
    assert moving == {"days_since_order", "orders", "spend", "no_purchase", "horizon"}


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
