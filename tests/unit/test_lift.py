import numpy as np
import pytest

from onefold.graph.errors import InvalidInput
from onefold.ml.lift import lift, reliability, wilson

RANDOM = np.random.default_rng(3)


def test_a_perfect_ranking_gains_everything_first():
    happened = np.arange(100) < 20
    tenths = lift(happened, -np.arange(100.0))
    assert [part.lift for part in tenths[:3]] == pytest.approx([5.0, 5.0, 0.0])
    assert [part.gain for part in tenths[:3]] == pytest.approx([0.5, 1.0, 1.0])
    assert sum(part.happened for part in tenths) == 20
    assert tenths[0].lowest_score == -9.0


def test_parts_are_of_equal_size_and_end_with_all():
    happened = RANDOM.random(1_003) < 0.3
    tenths = lift(happened, RANDOM.random(1_003))
    assert sum(part.rows for part in tenths) == 1_003
    assert {part.rows for part in tenths} <= {100, 101}
    assert (tenths[-1].gain, tenths[-1].population) == (pytest.approx(1.0), 1.0)


def test_equal_scores_gain_nothing_in_whatever_order_they_come():
    happened = np.arange(100) < 20
    for order in (happened, happened[::-1]):
        assert [part.lift for part in lift(order, np.full(100, 0.5))] == pytest.approx([1.0] * 10)


def test_few_rows_make_few_parts_and_no_outcome_makes_none():
    assert len(lift(np.array([True, False, True]), np.array([0.9, 0.1, 0.5]))) == 3
    assert lift(np.zeros(5, bool), np.arange(5.0)) == ()
    assert lift(np.zeros(0, bool), np.empty(0)) == ()


def test_reliable_probabilities_are_within_their_intervals():
    probability = RANDOM.random(20_000)
    bins = reliability(RANDOM.random(20_000) < probability, probability)
    assert len(bins) == 10
    assert {part.rows for part in bins} <= {1_999, 2_000, 2_001}
    assert sum(part.low <= part.predicted <= part.high for part in bins) >= 8
    assert [part.predicted for part in bins] == sorted(part.predicted for part in bins)


def test_rows_of_one_probability_are_one_bin():
    (only,) = reliability(np.array([True, False, False, False]), np.full(4, 0.5))
    assert (only.rows, only.predicted, only.observed) == (4, 0.5, 0.25)
    assert reliability(np.zeros(0, bool), np.empty(0)) == ()


def test_the_wilson_interval_is_that_of_the_textbook():
    # Newcombe, Statistics in Medicine 17, 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: lift(np.zeros(3, bool), np.zeros(2)), "score"),
        (lambda: lift(np.zeros(1, bool), np.array([np.nan])), "score"),
        (lambda: lift(np.zeros(1, bool), np.zeros(1), parts=0), "parts"),
        (lambda: reliability(np.zeros(1, bool), np.array([1.5])), "probability"),
        (lambda: reliability(np.zeros(1, bool), np.zeros(1), bins=0), "bins"),
        (lambda: wilson(3, 2), "happened"),
    ],
)
def test_bad_input_is_refused_with_its_field(call, field):
    with pytest.raises(InvalidInput) as raised:
        call()
    assert raised.value.violations[0].field == field
