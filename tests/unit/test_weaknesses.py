from dataclasses import replace

import pytest

from onefold.ml.drift import Drift, Level
from onefold.ml.lift import ReliabilityBin
from onefold.ml.metrics import Estimate
from onefold.ml.weaknesses import weaknesses
from tests.histories import DAY, START, small


def with_measure(part, name, estimate, baseline=None):
    """The small model's card with one figure, or one difference to a baseline, that is another."""
    card = small().card
    of = card.measured[part]
    if baseline is None:
        changed = replace(of, model={**of.model, name: estimate})
    else:
        changed = replace(of, differences={**of.differences, baseline: {**of.differences[baseline], name: estimate}})
    return replace(card, measured={**card.measured, part: changed})


def said(card, drifts=None):
    return " / ".join(weaknesses(card, drifts))


def test_less_than_a_year_is_told_and_a_year_is_not():
    assert "the model knows 300 days of orders" in said(small().card)
    assert "days of orders" not in said(replace(small().card, period=(START, START + 365 * DAY)))


def test_a_small_model_says_why_it_is_one():
    assert "small model, without trees for churn: customers with an order: 400 of 1001 needed" in said(small().card)
    assert "small model" not in said(replace(small().card, kind="full"))


def test_few_held_out_customers_are_told_by_how_little_the_figure_is_known():
    assert "400 customers, which is few" in said(with_measure("churn", "auc", Estimate(0.8, 0.76, 0.84)))
    assert "which is few" not in said(with_measure("churn", "auc", Estimate(0.8, 0.79, 0.81)))


@pytest.mark.parametrize(
    ("part", "name", "baseline", "better", "chance", "words"),
    [
        (
            "churn",
            "log_loss",
            "rfm_logistic",
            (0.02, 0.01, 0.03),
            (0.02, -0.01, 0.05),
            "RFM logistic has the better log",
        ),
        ("churn", "auc", "mbg_nbd", (-0.02, -0.03, -0.01), (-0.02, -0.05, 0.01), "MBG/NBD has the better AUC, by 0.02"),
        (
            "spend",
            "gini",
            "past_pace",
            (-0.2, -0.3, -0.1),
            (0.2, 0.1, 0.3),
            "pace so far has the better normalised Gini",
        ),
        ("next_order", "median_error", "constant", (2, 1, 3), (-2, -3, -1), "constant has the better median error"),
    ],
)
def test_a_baseline_that_is_surely_better_is_named_and_one_by_chance_is_not(
    part, name, baseline, better, chance, words
):
    assert words in said(with_measure(part, name, Estimate(*better), baseline))
    assert words not in said(with_measure(part, name, Estimate(*chance), baseline))


def bins(missed):
    """Ten bins of which so many promise more than came true."""
    return tuple(ReliabilityBin(100, 0.9 if n < missed else 0.5, 0.5, 0.4, 0.6) for n in range(10))


@pytest.mark.parametrize(("missed", "told"), [(0, False), (1, False), (2, False), (3, False), (4, True), (9, True)])
def test_bins_that_miss_are_told_where_chance_does_not_explain_them(missed, told):
    assert ("calibration error" in said(replace(small().card, reliability=bins(missed)))) == told


def test_intervals_that_hold_too_little_and_a_total_that_is_off_are_told():
    narrow = with_measure("next_order", "within_interval", Estimate(0.7, 0.66, 0.74))
    assert "70% fell within the interval that was to hold 80%" in said(narrow)
    assert "was to hold" not in said(with_measure("next_order", "within_interval", Estimate(0.7, 0.6, 0.85)))
    half = with_measure("spend", "ratio_of_totals", Estimate(0.5, 0.4, 0.6))
    assert "were to spend 0.50 times what they did" in said(half)
    assert "were to spend" not in said(with_measure("spend", "ratio_of_totals", Estimate(0.9, 0.7, 1.1)))


def test_what_has_shifted_is_told_and_what_has_only_moved_is_not():
    drifts = {name: Drift(0.5, Level.SHIFTED, (), 9) for name in "abcde"} | {"f": Drift(0.2, Level.MOVED, (), 9)}
    assert "shifted since training in a, b, c and 2 more" in said(small().card, drifts)
    assert "shifted" not in said(small().card, {"f": drifts["f"]})
    assert "shifted" not in said(small().card)
