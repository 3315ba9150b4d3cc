import dataclasses
import math

import numpy as np
import pyarrow as pa
import pytest

from onefold.graph.errors import InvalidInput
from onefold.ml import features
from onefold.ml.catalogue import CATALOGUE
from onefold.ml.inputs import described, inputs
from onefold.ml.score import curve, in_words, reasons, score
from tests.histories import END, HORIZON_DAYS, shop, small, trained


@pytest.fixture(scope="module")
def table():
    orders, events = shop()
    return features.compute(orders, events, END, trained().card.population)


@pytest.fixture(scope="module")
def scores(table):
    return score(trained(), table)


def with_value(table, key, value):
    column = pa.array([value] * table.num_rows, pa.float64())
    return table.set_column(table.schema.names.index(key), key, column)


@pytest.mark.parametrize("model", [trained, small])
@pytest.mark.parametrize("days", [1, 5, 14, 29, 30, 45, 60])
def test_contributions_and_base_sum_to_the_log_odds(table, model, days):
    scores = score(model(), table, days)
    assert np.abs(scores.contributions.sum(axis=1) + scores.base_log_odds - scores.log_odds).max() <= 1e-9


def test_the_log_odds_are_those_of_the_parts(table, scores):
    parts = trained().parts
    known = inputs(parts.process, features.matrix(table, trained().keys), HORIZON_DAYS)
    shorter = inputs(parts.process, features.matrix(table, trained().keys), 30)
    assert np.allclose(scores.log_odds, np.minimum(parts.churn.predict(known), parts.churn.predict(shorter)))


@pytest.mark.parametrize("model", [trained, small])
def test_more_days_never_make_a_purchase_less_likely(table, model):
    days = [1, 2, 7, 10, 14, 20, 29, 30, 31, 45, 59, 60]
    rates = curve(model(), table, days)
    assert (np.diff(rates, axis=1) >= -1e-12).all()
    assert (rates[:, -1] > rates[:, 0]).all()


def test_the_curve_and_the_score_are_one(table):
    rates = curve(trained(), table, [10, 45, 60])
    for column, days in enumerate((10, 45, 60)):
        alone = score(trained(), table, days, contributions=False)
        assert rates[:, column] == pytest.approx(1.0 - alone.probability, abs=1e-12)


@pytest.mark.parametrize("days", [0, -3, 61])
def test_a_horizon_that_the_model_has_not_learned_is_refused(table, days):
    with pytest.raises(InvalidInput, match="must be from 1 to 60"):
        score(trained(), table, days)
    with pytest.raises(InvalidInput, match="must be from 1 to 60"):
        curve(trained(), table, [30, days])


def test_the_probability_is_the_sigmoid_of_the_log_odds(scores):
    expected = [1 / (1 + math.exp(-log_odds)) for log_odds in scores.log_odds]
    assert scores.probability == pytest.approx(expected, abs=1e-15)
    assert 0 < scores.probability.min() < scores.probability.max() < 1


def test_one_row_alone_scores_as_it_does_among_all(table, scores):
    for row in (0, 17, table.num_rows - 1):
        alone = score(trained(), table.slice(row, 1))
        assert alone.identities == (scores.identities[row],)
        assert alone.log_odds[0] == scores.log_odds[row]
        assert np.array_equal(alone.contributions[0], scores.contributions[row])


def test_scores_without_contributions_are_the_same_and_give_no_reasons(table, scores):
    plain = score(trained(), table, contributions=False)
    assert np.array_equal(plain.log_odds, scores.log_odds)
    assert plain.base_log_odds == scores.base_log_odds
    with pytest.raises(ValueError, match="without contributions"):
        reasons(plain, 0)


def test_no_rows_give_no_scores(table):
    none = score(trained(), table.slice(0, 0))
    assert none.identities == ()
    assert len(none.probability) == len(none.contributions) == 0


def test_the_order_of_the_columns_does_not_matter(table, scores):
    turned = table.select(table.schema.names[::-1])
    assert np.array_equal(score(trained(), turned).log_odds, scores.log_odds)


def test_unknown_values_are_scored_as_unknown(table):
    null, nan = with_value(table, "gap_mean", None), with_value(table, "gap_mean", math.nan)
    assert np.array_equal(score(trained(), null).log_odds, score(trained(), nan).log_odds)


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinite_values_are_refused_by_name(table, value):
    with pytest.raises(InvalidInput, match="overdue: must be finite or unknown"):
        score(trained(), with_value(table, "overdue", value))


def test_a_missing_feature_is_refused_by_name(table):
    with pytest.raises(InvalidInput, match="spend: is not among the features"):
        score(trained(), table.drop_columns(["spend"]))


def test_reasons_told_and_untold_add_up_to_the_score(scores):
    for row in range(0, len(scores.identities), 37):
        told = reasons(scores, row)
        assert len(told.reasons) == 3
        total = scores.base_log_odds + told.other + sum(reason.contribution for reason in told.reasons)
        assert total == pytest.approx(scores.log_odds[row], abs=1e-9)
        strengths = [abs(reason.contribution) for reason in told.reasons]
        assert strengths == sorted(strengths, reverse=True)
        assert len({reason.topic for reason in told.reasons}) == 3


def test_all_reasons_leave_over_only_how_far_ahead_was_asked(scores):
    everything = reasons(scores, 0, top=None)
    assert everything.other == scores.contributions[0, scores.keys.index("horizon")]
    assert {reason.topic for reason in everything.reasons} == {feature.topic for feature in CATALOGUE}


def said_of(scores, key, **values):
    """The words of one feature for a customer with these values, everything else unknown."""
    contributions = np.array([[float(k == key) for k in scores.keys]])
    row = np.array([[values.get(k, math.nan) for k in scores.keys]])
    made_up = dataclasses.replace(scores, values=row, contributions=contributions, currency="GBP")
    (reason,) = reasons(made_up, 0, top=1).reasons
    return reason.words


def test_reasons_speak_a_marketers_words(scores):
    assert (
        said_of(scores, "days_since_order", days_since_order=94, gap_mean=31.2)
        == "last order 94 days ago, usually every 31 days"
    )
    assert said_of(scores, "days_since_order", days_since_order=1) == "the only order was 1 day ago"
    assert said_of(scores, "orders_30d", orders_30d=0, orders=1) == "no orders in the last 30 days, 1 order in all"
    assert said_of(scores, "spend", spend=1234.5) == "spent 1,234.50 GBP in all"
    assert said_of(scores, "spend") == "has not bought in the main currency"
    assert said_of(scores, "gap_mean") == "one order so far, so no rhythm is known"


def test_every_feature_has_words_for_known_and_for_unknown_values(scores):
    known = dict.fromkeys(scores.keys, 2.0)
    for key in scores.keys[:-1]:
        assert "{" not in said_of(scores, key, **known)
        assert "unknown" not in said_of(scores, key, **known)
        assert said_of(scores, key)


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0.4, "days", "less than a day"),
        (1.0, "days", "1 day"),
        (31.4, "days", "31 days"),
        (0, "views", "no views"),
        (1, "cart additions", "1 cart addition"),
        (2.25, "lines", "2.2 lines"),
        (3.0, "orders", "3 orders"),
        (0.123, "share", "12%"),
        (2.04, "ratio", "2.0 times"),
        (-5.5, "amount", "-5.50 GBP"),
        (23.7, "hour", "00:00"),
        (math.nan, "days", "unknown"),
    ],
)
def test_values_in_words(value, unit, words):
    assert in_words(value, unit, "GBP") == words


def test_the_leading_feature_of_a_reason_pulls_its_way(scores):
    for row in range(0, len(scores.identities), 53):
        by_key = dict(zip(scores.keys, scores.contributions[row], strict=True))
        for reason in reasons(scores, row, top=None).reasons:
            same_topic = [by_key[key] for key in by_key if described(key).topic == reason.topic]
            pull = max(same_topic) if reason.contribution >= 0 else min(same_topic)
            assert by_key[reason.feature] == pull
