import numpy as np
import pytest

from onefold.ml.reference import distribution


def test_a_tenth_is_between_two_deciles():
    found = distribution(np.arange(1_000.0))
    assert found.edges == tuple(np.arange(99.0, 999.0, 100.0).tolist()[:9])
    assert found.shares == pytest.approx([0.1] * 10)
    assert found.unknown == 0.0


def test_equal_values_share_a_bin():
    found = distribution(np.array([0.0] * 95 + [1.0] * 3 + [np.nan] * 2))
    assert found.edges == (0.0,)
    assert found.shares == pytest.approx((0.95, 0.03))
    assert found.unknown == pytest.approx(0.02)


def test_a_feature_that_nobody_has_is_all_unknown():
    found = distribution(np.full(5, np.nan))
    assert (found.edges, found.shares, found.unknown) == ((), (0.0,), 1.0)


def test_later_values_are_counted_at_the_edges_of_the_first():
    first = distribution(np.arange(1_000.0))
    later = distribution(np.arange(900.0, 1_900.0), first.edges)
    assert later.edges == first.edges
    assert later.shares[-1] == pytest.approx(1.0)
