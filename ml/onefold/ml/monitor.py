"""How far the customers of now have moved from those that a model was trained on."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from onefold.ml import drift
from onefold.ml.drift import Drift
from onefold.ml.features import matrix
from onefold.ml.model import PredictionModel
from onefold.ml.score import score

SCORE: Final = "churn probability"
"""What the drift of the scores goes by; no feature has a space in its key."""


def drifts(model: PredictionModel, features: pa.Table) -> dict[str, Drift]:
    """How far each feature of a model, and the probability of churn that it tells, have moved since its cutoff: the
    farthest first, from a table of everybody by :func:`onefold.ml.features.compute`.

    Of an empty table nothing is known. Raises :class:`onefold.graph.errors.InvalidInput` as
    :func:`onefold.ml.score.score` does.
    """
    scored = score(model, features, contributions=False)
    before = {**model.card.reference, SCORE: model.card.score_reference}
    values = np.column_stack([matrix(features, model.keys), scored.probability])
    return drift.drifts(before, (*model.keys, SCORE), values)
