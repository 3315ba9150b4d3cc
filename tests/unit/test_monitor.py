import pytest

from onefold.ml import features, monitor
from onefold.ml.drift import Level
from onefold.ml.model import PredictionModel
from tests.histories import DAY, END, shop, small, trained


def everybody(model: PredictionModel, as_of):
    return features.compute(*shop(), as_of, model.card.population)


@pytest.mark.parametrize("model", [small, trained])
def test_at_its_own_cutoff_no_feature_of_a_model_has_moved(model):
    found = monitor.drifts(model(), everybody(model(), END))
    assert set(found) == {*model().keys, monitor.SCORE}
    moved = {name for name, drift in found.items() if drift.index}
    # `trained` is a full model under the card of the small one: only what it tells is another.
    assert moved == (set() if model is small else {monitor.SCORE})


def test_a_base_that_went_on_without_ordering_has_shifted_and_its_scores_with_it():
    found = monitor.drifts(small(), everybody(small(), END + 90 * DAY))
    assert found["days_since_order"].level is Level.SHIFTED
    assert found[monitor.SCORE].level is Level.SHIFTED
    indices = [drift.index for drift in found.values()]
    assert indices == sorted(indices, reverse=True)


def test_of_nobody_nothing_is_known():
    found = monitor.drifts(small(), everybody(small(), END).slice(0, 0))
    assert {drift.level for drift in found.values()} == {Level.UNKNOWN}
