from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from onefold.ml import churn, predict
from onefold.ml.challenge import challenge
from tests.histories import DAY, END, HORIZON_DAYS, shop, small, trained

HELD_OUT = END - HORIZON_DAYS * DAY


@cache
def rows(population=None):
    """Everybody at the start of the held-out window, with what they did in it."""
    population = population or small().rehearsal.population
    return churn.held_out_rows(*shop(), population, HELD_OUT, HORIZON_DAYS)


def told(parts, population=None):
    values = rows(population).values
    return predict.probability(predict.churn(parts, values, small().card.horizons, HORIZON_DAYS).value)


def met(model, rates=None, held_out=HELD_OUT, horizon_days=HORIZON_DAYS):
    ours = told(small().rehearsal) if rates is None else rates
    champion = None if model is None else ("churn-0007", model)
    return challenge(champion, ours, rows(), held_out, horizon_days, rows)


def test_without_a_model_in_use_the_new_one_is_promoted():
    assert (met(None).promoted, met(None).champion, met(None).differences) == (True, "", {})


def test_one_that_tells_the_same_is_promoted():
    found = met(small())
    assert found.promoted
    assert {apart.value for apart in found.differences.values()} == {0.0}
    assert "not surely worse" in found.words


def test_one_that_is_surely_worse_is_not_and_the_words_say_by_how_much():
    found = met(small(), np.full(len(rows().churned), 0.5))
    assert not found.promoted
    apart = found.differences["log_loss"]
    assert 0.0 < apart.low < apart.value < apart.high
    assert f"log loss {apart.value:+.4f}" in found.words
    assert found.words.endswith("which is surely worse")
    assert found.differences["auc"].value < 0.0


def test_one_that_is_worse_by_what_may_be_chance_is_promoted():
    found = met(small(), np.clip(told(small().rehearsal) + 0.01, 0.0, 1.0))
    assert found.promoted
    assert found.differences["log_loss"].low <= 0.0 < found.differences["log_loss"].high


def test_one_that_is_surely_better_says_so():
    found = met(small(), np.where(rows().churned, 0.9, 0.1))
    assert found.promoted
    assert found.words.endswith("which is surely better")


def test_a_champion_that_knows_the_answers_is_asked_as_its_back_test_fitted_it():
    knowing = replace(small(), parts=None)  # whoever asks these, fails
    assert small().card.cutoff > HELD_OUT
    assert met(knowing).differences == met(small()).differences


def test_a_champion_of_before_the_held_out_window_is_asked_as_it_is():
    old = replace(small(), card=replace(small().card, cutoff=HELD_OUT), rehearsal=None)
    found = met(old)
    ours, theirs = told(small().rehearsal), told(small().parts, small().card.population)
    assert not np.array_equal(ours, theirs)
    loss = [-np.log(np.where(rows().churned, of, 1.0 - of)).mean() for of in (ours, theirs)]
    assert found.differences["log_loss"].value == pytest.approx(loss[0] - loss[1], abs=1e-9)


def test_a_champion_is_asked_about_features_against_its_own_population():
    # A small model looks at nothing that refers to the population.
    strange = replace(trained().rehearsal.population, mean_gap=200.0)
    found = met(replace(trained(), rehearsal=replace(trained().rehearsal, population=strange)))
    assert found.differences["log_loss"].value != met(trained()).differences["log_loss"].value


def test_a_champion_whose_back_test_knows_the_answers_too_is_not_compared():
    newer = replace(small(), card=replace(small().card, held_out=HELD_OUT + DAY))
    found = met(newer)
    assert (found.promoted, found.champion, found.differences) == (True, "churn-0007", {})
    assert "knows what the held-out customers did" in found.words


def test_a_champion_of_a_shorter_horizon_is_not_compared():
    found = met(replace(small(), card=replace(small().card, horizon_days=30)))
    assert (found.promoted, found.differences) == (True, {})
    assert "answers for 30 days at most" in found.words
