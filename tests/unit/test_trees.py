import numpy as np
import pytest

from onefold.ml import trees
from onefold.ml.inputs import ALL_KEYS


@pytest.fixture(scope="module")
def rows():
    random = np.random.default_rng(1)
    inputs = random.normal(size=(600, len(ALL_KEYS)))
    label = (random.random(600) < 1 / (1 + np.exp(-inputs[:, 0] - 2))).astype(float)
    return inputs, label


def test_a_booster_does_not_start_where_one_before_it_on_the_same_rows_did(rows):
    inputs, label = rows
    data = trees.dataset(inputs, np.ones(600))
    fresh = trees.text(trees.fit(data, label, objective="binary"))
    started = trees.text(trees.fit(data, label, start=3.0 * inputs[:, 0], objective="binary"))
    again = trees.text(trees.fit(data, label, objective="binary"))
    assert fresh == again != started


def test_what_starts_from_the_truth_has_little_to_add(rows):
    inputs, label = rows
    start = inputs[:, 0] + 2
    data = trees.dataset(inputs, np.ones(600))
    alone = trees.predict(trees.fit(data, label, objective="binary"), inputs)
    added = trees.predict(trees.fit(data, label, start=start, objective="binary"), inputs)
    assert np.abs(added).mean() < 0.5 * np.abs(alone).mean()


def test_contributions_and_the_constant_sum_to_the_raw_value(rows):
    inputs, label = rows
    booster = trees.fit(trees.dataset(inputs, np.ones(600)), label, objective="binary")
    summed = trees.contributions(booster, inputs).sum(axis=1)
    assert summed == pytest.approx(trees.predict(booster, inputs), abs=1e-9)


def test_written_trees_read_back_as_they_were(rows):
    inputs, label = rows
    booster = trees.fit(trees.dataset(inputs, np.ones(600)), label, objective="binary")
    again = trees.read(trees.text(booster))
    assert trees.text(again) == trees.text(booster)
    assert np.array_equal(trees.predict(again, inputs), trees.predict(booster, inputs))
