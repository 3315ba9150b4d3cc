"""The model in use, as servers hold it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from onefold.graph.errors import NotReady
from onefold.ml.current import CurrentModel
from onefold.ml.registry import Registry
from tests.histories import trained


def test_it_is_loaded_once_until_another_is_promoted(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    current = CurrentModel(registry)
    with pytest.raises(NotReady, match="none has been trained"):
        current.get()
    registry.promote(registry.save(trained()))
    model_id, model = current.get()
    assert model_id == "churn-0001"
    assert current.get()[1] is model
    registry.promote(registry.save(trained()))
    assert current.get()[0] == "churn-0002"


def test_one_whose_features_mean_something_else_now_is_refused(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    card = trained().card
    changed = replace(card, features=dict.fromkeys(card.features, "another formula"))
    model_id = registry.save(replace(trained(), card=changed))
    (tmp_path / "CURRENT").write_text(f"{model_id}\n")  # as an older version of the service left it
    with pytest.raises(NotReady, match="train again"):
        CurrentModel(registry).get()
