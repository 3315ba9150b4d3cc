"""A trained churn model and its card: what it is, what it was trained on, how good it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import lightgbm as lgb

from onefold.graph.model import Instant
from onefold.ml.catalogue import BY_KEY
from onefold.ml.features import Population
from onefold.ml.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """Everything about a model but its trees; stored as ``model.json``."""

    format: Literal[1] = 1
    created_at: Instant
    horizon_days: int
    """It predicts: no purchase within so many days."""
    cutoff: Instant
    """It knows nothing that happened from here on."""
    features: Mapping[str, str]
    """Its inputs in order: key and fingerprint of each in the catalogue it was trained with."""
    catalogue: str
    """Fingerprint of that whole catalogue."""
    population: Population
    """What its relative features refer to."""
    rows: int
    """Rows of training, one per customer and snapshot."""
    snapshots: int
    held_out: Instant
    """The metrics are those of the same recipe trained on windows that ended by this instant, predicting the
    ``horizon_days`` after it. The model itself was then fitted on all windows that ended by ``cutoff``."""
    metrics: Metrics
    baselines: Mapping[str, Metrics]
    """``base_rate`` and ``rfm_logistic``, trained and measured on the same rows."""
    data_fingerprint: str
    versions: Mapping[str, str]
    """Of the libraries that trained it."""

    def differing_features(self) -> list[str]:
        """The model's features that the catalogue no longer has, or now defines otherwise."""
        return [
            key
            for key, fingerprint in self.features.items()
            if key not in BY_KEY or BY_KEY[key].fingerprint != fingerprint
        ]


@dataclass(frozen=True, slots=True)
class ChurnModel:
    """A model ready to score."""

    card: ModelCard
    booster: lgb.Booster

    @property
    def keys(self) -> tuple[str, ...]:
        """Its inputs, in order."""
        return tuple(self.card.features)

    def text(self) -> str:
        """Its trees in LightGBM's own text format; the same data give the same text."""
        return self.booster.model_to_string(num_iteration=-1)


def booster_from(text: str) -> lgb.Booster:
    """The trees of :meth:`ChurnModel.text`. Raises :class:`lightgbm.basic.LightGBMError` on anything else."""
    return lgb.Booster(model_str=text)
