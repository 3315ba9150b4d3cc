"""Intervals of a segment's figures: they hold the true figure as often as they promise."""

import numpy as np
import pytest

from onefold.segments.insight.intervals import confidence_for, ratio, share, tgi

ROUNDS = 4_000


@pytest.mark.parametrize(
    ("segment", "rest", "p", "q"),
    [
        (400, 1_600, 0.1, 0.1),
        (1_500, 500, 0.3, 0.1),
        (300, 5_000, 0.02, 0.05),
        (900, 100, 0.7, 0.6),
        (200, 200, 0.9, 0.2),
    ],
)
@pytest.mark.parametrize("confidence", [0.95, 0.99])
def test_the_index_lies_in_its_interval_as_often_as_promised(segment, rest, p, q, confidence):
    rng = np.random.default_rng(5)
    whole = segment + rest
    true = 100 * p / ((segment * p + rest * q) / whole)
    held = told = 0
    for a, b in zip(rng.binomial(segment, p, ROUNDS), rng.binomial(rest, q, ROUNDS), strict=True):
        found = tgi(int(a), segment, int(a + b), whole, confidence)
        if found is not None:
            told += 1
            held += found.low <= true <= found.high
    assert told > 0.9 * ROUNDS
    assert held / told == pytest.approx(confidence, abs=0.01)


def test_taking_the_segment_for_independent_of_the_whole_would_be_too_wide():
    """What is usually done: the shares in segment and whole as if they were of different people."""
    found = tgi(300, 1_000, 500, 2_000, 0.95)
    usual = 1.96 * np.sqrt((1 - 0.3) / 300 + (1 - 0.25) / 500)
    assert np.log(found.high / found.low) / 2 < 0.65 * usual


def test_an_index_needs_five_to_be_expected():
    assert tgi(4, 100, 49, 1_000, 0.95) is None
    assert tgi(4, 100, 50, 1_000, 0.95).value == 80.0
    assert tgi(0, 0, 10, 1_000, 0.95) is None


def test_none_of_a_segment_is_an_index_of_zero_that_may_be_above_it():
    found = tgi(0, 100, 100, 1_000, 0.95)
    assert (found.value, found.low) == (0.0, 0.0)
    assert 0 < found.high < 100


def test_the_segment_that_is_everybody_is_as_everybody_for_sure():
    found = tgi(70, 1_000, 70, 1_000, 0.99)
    assert (found.low, found.value, found.high) == (100.0, 100.0, 100.0)


@pytest.mark.parametrize("p", [0.02, 0.3, 0.9])
def test_a_share_lies_in_its_interval_as_often_as_promised(p):
    found = [share(int(k), 250, 0.95) for k in np.random.default_rng(6).binomial(250, p, ROUNDS)]
    assert np.mean([f.low <= p <= f.high for f in found]) == pytest.approx(0.95, abs=0.02)
    assert share(0, 10, 0.95).low == 0.0
    assert share(10, 10, 0.95).high == 1.0
    assert share(0, 0, 0.95) is None


def test_a_mean_over_orders_lies_in_its_interval_though_one_customers_orders_are_alike():
    rng, held = np.random.default_rng(7), 0
    for _ in range(ROUNDS):
        orders = 1.0 + rng.poisson(2.0, 400)
        spent = orders * rng.lognormal(3.0, 0.5, 400)  # who spends much does so each time
        found = ratio(spent, orders, 0.95)
        held += found.low <= np.exp(3.125) <= found.high
    assert held / ROUNDS == pytest.approx(0.95, abs=0.015)


def test_of_one_customer_nothing_is_sure_and_of_no_orders_nothing_is_known():
    one = ratio(np.array([60.0]), np.array([2.0]), 0.95)
    assert (one.value, one.low, one.high) == (30.0, 0.0, np.inf)
    assert ratio(np.array([0.0]), np.array([0.0]), 0.95) is None
    assert ratio(np.array([]), np.array([]), 0.95) is None


def test_a_small_segment_has_wider_intervals():
    assert (confidence_for(999), confidence_for(1_000)) == (0.99, 0.95)
