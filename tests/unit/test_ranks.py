import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from onefold.graph.errors import InvalidInput
from onefold.segments.ranks import Bands, bands, mid_ranks

VALUES = st.lists(st.integers(-5, 5).map(float) | st.floats(-1e9, 1e9) | st.just(np.nan), max_size=60).map(
    lambda values: np.array(values, dtype=float)
)


def test_distinct_values_make_quintiles_of_equal_size():
    values = np.random.default_rng(1).permutation(1_000).astype(float)
    found = bands(values).of(values)
    assert np.bincount(found.astype(int)).tolist() == [0, 200, 200, 200, 200, 200]
    assert found[values.argmax()] == 5


def test_equal_values_share_a_band_and_may_leave_bands_empty():
    values = np.array([1.0] * 6 + [2.0] * 3 + [9.0])
    assert bands(values).of(values).tolist() == [2.0] * 6 + [4.0] * 3 + [5.0]
    same = np.full(7, 3.0)
    assert bands(same).of(same).tolist() == [3.0] * 7


def test_who_comes_later_is_banded_as_the_population_was():
    found = bands(np.arange(100.0))
    assert found.of(np.array([-1.0, 19.0, 19.5, 1e9, np.nan])).tolist()[:4] == [1, 1, 2, 5]
    assert np.isnan(found.of(np.array([np.nan])))


def test_nothing_known_is_the_same_band_for_all_who_come():
    assert bands(np.array([np.nan, np.nan])) == Bands((-np.inf,) * 4)


@given(VALUES)
def test_mid_ranks_are_those_of_scipy_and_unknown_stays_unknown(values):
    found, known = mid_ranks(values), ~np.isnan(values)
    assert np.isnan(found[~known]).all()
    if known.any():
        assert found[known] == pytest.approx((rankdata(values[known]) - 0.5) / known.sum())


@given(VALUES, st.randoms())
def test_a_band_is_that_of_the_mid_rank_in_whatever_order_the_rows_come(values, random):
    shuffled = values.copy()
    random.shuffle(shuffled)
    found = bands(shuffled).of(values)
    expected = np.floor(mid_ranks(values) * 5 + 1e-9) + 1
    assert np.array_equal(found, expected, equal_nan=True)


@pytest.mark.parametrize("borders", [(0.5, 0.2), (0.0, 0.5), (0.5, 1.0), (0.5, 0.5)])
def test_borders_that_do_not_rise_between_0_and_1_are_refused(borders):
    with pytest.raises(InvalidInput, match="borders"):
        bands(np.arange(5.0), borders)


def test_infinite_values_are_refused():
    with pytest.raises(InvalidInput, match="finite"):
        mid_ranks(np.array([1.0, np.inf]))
