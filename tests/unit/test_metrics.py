import numpy as np
import pytest

from onefold.ml import metrics
from onefold.ml.metrics import measure


def at(bound, weight):
    return bound(np.asarray(weight, dtype=np.float64))


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
    expected = (2 * 0.35 + 2 * 0.025) / 4
    assert at(metrics.calibration_error(happened, probability), np.ones(4)) == pytest.approx(expected)


def test_a_weight_counts_as_so_many_copies_of_the_row():
    random = np.random.default_rng(1)
    happened, probability = random.random(50) < 0.4, random.random(50).round(1)
    amount, predicted = random.gamma(1.0, 5.0, 50), random.gamma(1.0, 5.0, 50).round(0)
    weight = random.integers(0, 4, 50)
    copies = np.repeat(np.arange(50), weight)
    one = np.ones(len(copies))
    for name, bound in metrics.churn_measures(happened, probability).items():
        copied = metrics.churn_measures(happened[copies], probability[copies])[name]
        assert at(bound, weight) == pytest.approx(at(copied, one)), name
    for measured in (metrics.normalised_gini, metrics.ratio_of_totals, metrics.median_error):
        copied = at(measured(amount[copies], predicted[copies]), one)
        assert at(measured(amount, predicted), weight) == pytest.approx(copied), measured


def test_the_area_under_the_curve_is_the_share_of_pairs_in_order():
    random = np.random.default_rng(2)
    happened, score = random.random(80) < 0.3, random.random(80).round(1)
    pairs = score[happened][:, None] - score[~happened]
    expected = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    assert at(metrics.auc(happened, score), np.ones(80)) == pytest.approx(expected)


def test_gini_is_one_for_the_right_order_whatever_the_level_and_minus_one_for_its_reverse():
    amount = np.array([0.0, 0.0, 1.0, 5.0, 100.0])
    one = np.ones(5)
    assert at(metrics.normalised_gini(amount, np.log1p(amount)), one) == pytest.approx(1.0)
    assert at(metrics.normalised_gini(amount, -amount), one) == pytest.approx(-1.0)
    assert at(metrics.normalised_gini(amount, np.zeros(5)), one) == pytest.approx(0.0)


def test_the_interval_of_a_mean_is_that_of_the_books():
    random = np.random.default_rng(3)
    values = random.normal(2.0, 1.0, 900)
    found = metrics.resampled({"mean": metrics.mean_of(values)}, 900, resamples=1_000)["mean"].estimate
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 30, rel=0.15)


def test_paired_differences_are_surer_than_the_figures_themselves():
    random = np.random.default_rng(4)
    values = random.normal(0.0, 1.0, 500)
    ours, other = (
        metrics.resampled({"mean": metrics.mean_of(shifted)}, 500)["mean"] for shifted in (values + 0.1, values)
    )
    apart = ours.less(other)
    assert (apart.value, apart.low, apart.high) == pytest.approx((0.1, 0.1, 0.1))
    assert apart.excludes_zero
    assert ours.estimate.high - ours.estimate.low > 0.1
    assert not ours.less(ours).excludes_zero
