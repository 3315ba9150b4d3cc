import numpy as np
import pytest

from onefold.graph.errors import InvalidInput
from onefold.ml.drift import Level, drift, drifts, level, reference, references

RANDOM = np.random.default_rng(5)
NORMAL = RANDOM.normal(size=5_000)
NAN = float("nan")


def test_the_same_values_have_not_drifted():
    same = drift(reference(NORMAL), NORMAL)
    assert (same.index, same.level) == (0.0, Level.STABLE)


def test_bins_of_the_reference_hold_about_equal_shares_and_one_holds_the_unknown():
    found = reference(np.append(NORMAL, np.full(1_250, NAN)))
    assert found.shares[-1] == 0.2
    assert np.allclose(found.shares[1:-1], 0.08, atol=0.001)
    assert sum(found.shares) == pytest.approx(1.0)


def test_the_index_is_that_of_its_definition():
    before = reference(np.repeat([1.0, 2.0], [600, 400]))
    now = drift(before, np.repeat([1.0, 2.0], [300, 700]))
    assert before.edges == (np.nextafter(1.0, 0.0), 1.0, 2.0)
    assert now.shares == (0.0, 0.3, 0.7, 0.0, 0.0)
    exact = (0.3 - 0.6) * np.log(0.3 / 0.6) + (0.7 - 0.4) * np.log(0.7 / 0.4)
    assert now.index == pytest.approx(exact, rel=0.01)


def test_drift_grows_with_the_distance():
    before = reference(NORMAL)
    indices = [drift(before, NORMAL + step).index for step in (0.0, 0.2, 0.4, 1.0)]
    assert indices == sorted(indices)
    assert [level(index) for index in indices] == [Level.STABLE, Level.STABLE, Level.MOVED, Level.SHIFTED]


@pytest.mark.parametrize(
    ("index", "word"),
    [(0.0, "stable"), (0.0999, "stable"), (0.1, "moved"), (0.25, "moved"), (0.2501, "shifted")],
)
def test_levels_are_words(index, word):
    assert level(index) == word


def test_what_becomes_unknown_has_shifted():
    assert drift(reference(NORMAL), np.where(NORMAL > 0, NORMAL, NAN)).level is Level.SHIFTED


def test_a_constant_that_stays_is_stable_and_one_that_changes_has_shifted():
    before = reference(np.full(500, 3.0))
    assert drift(before, np.full(200, 3.0)).level is Level.STABLE
    for other in (2.0, 4.0, NAN):
        moved = drift(before, np.full(200, other))
        assert moved.level is Level.SHIFTED
        assert np.isfinite(moved.index)


def test_a_column_that_was_always_unknown_is_stable_until_it_is_known():
    before = reference(np.full(500, NAN))
    assert drift(before, np.full(100, NAN)).level is Level.STABLE
    assert drift(before, NORMAL[:100]).level is Level.SHIFTED


def test_without_rows_nothing_is_known():
    empty = np.empty(0)
    for found in (drift(reference(empty), NORMAL), drift(reference(NORMAL), empty)):
        assert (found.index, found.level) == (None, Level.UNKNOWN)
    assert sum(reference(empty).shares) == 0.0


def test_columns_come_the_farthest_moved_first():
    values = np.column_stack([NORMAL, NORMAL, np.abs(NORMAL)])
    before = references(("still", "gone", "half"), values)
    now = np.column_stack([NORMAL, NORMAL + 3, np.abs(NORMAL) * 1.5])
    assert list(drifts(before, ("still", "gone", "half"), now)) == ["gone", "half", "still"]


def test_a_column_without_reference_and_infinite_values_are_refused():
    with pytest.raises(InvalidInput, match="other: has no reference"):
        drifts({}, ("other",), NORMAL[:, None])
    with pytest.raises(InvalidInput, match="finite"):
        reference(np.array([1.0, np.inf]))
    with pytest.raises(InvalidInput, match="finite"):
        drift(reference(NORMAL), np.array([-np.inf]))
    with pytest.raises(InvalidInput, match="bins"):
        reference(NORMAL, bins=1)
