import numpy as np
import pytest

from onefold.graph.errors import InvalidInput
from onefold.ml import ahead

TRAINED = (30, 60, 90)
RAW = {1: [-6.0, 1.0], 7: [-4.0, 0.5], 14: [-3.0, -2.0], 30: [-2.0, 0.0], 60: [-1.0, -0.5], 90: [0.0, 0.25]}
"""A value per knot of a customer whose values rise, and of one whose values do not."""


def value(asked, sign=1):
    return ahead.path(lambda knot: sign * np.array(RAW[knot]), TRAINED, asked, sign).value * sign


def test_at_a_knot_a_rising_value_is_the_models_own():
    for knot, raw in RAW.items():
        assert value(knot)[0] == raw[0]


def test_a_value_never_falls_with_the_days():
    for sign in (1, -1):
        along = np.array([value(days, sign) for days in range(1, 91)])
        assert (np.diff(along, axis=0) >= -1e-12).all()


def test_a_value_that_would_fall_stays_as_it_was():
    assert value(60)[1] == 0.0
    assert value(90)[1] == 0.25


def test_before_the_shortest_horizon_no_value_is_above_the_one_there():
    assert value(7)[1] == value(14)[1] == value(1)[1] == -2.0


def test_between_two_knots_a_value_is_interpolated_over_the_logarithm_of_the_days():
    middle = round(np.sqrt(30 * 60))
    share = np.log(middle / 30) / np.log(2)
    assert value(middle)[0] == pytest.approx(-2.0 + share)


def test_shares_sum_to_one_and_give_the_value():
    found = ahead.path(lambda knot: np.array(RAW[knot]), TRAINED, 75)
    assert found.shares.sum(axis=0) == pytest.approx([1.0, 1.0])
    raw = np.array([RAW[knot] for knot in found.knots])
    assert (found.shares * raw).sum(axis=0) == pytest.approx(found.value)


def test_only_the_knots_that_matter_are_asked():
    asked = []

    def at(knot):
        asked.append(knot)
        return np.zeros(1)

    for days, knots in ((30, [30]), (45, [30, 60]), (90, [30, 60, 90]), (10, [7, 14, 30]), (1, [1, 7, 14, 30])):
        asked.clear()
        ahead.path(at, TRAINED, days)
        assert asked == knots


@pytest.mark.parametrize("days", [0, -1, 91])
def test_days_out_of_range_are_refused(days):
    with pytest.raises(InvalidInput, match="must be from 1 to 90"):
        ahead.check(days, TRAINED)
