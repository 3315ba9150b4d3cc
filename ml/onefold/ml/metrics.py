"""How good predicted probabilities were, once the outcomes are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from onefold.ml.features import FloatArray

BINS: Final = 10


@dataclass(frozen=True, slots=True)
class Metrics:
    """Of one model on one held-out window."""

    rows: int
    base_rate: float
    """Share for which the predicted outcome came true."""
    auc: float
    """Chance that one who churned was ranked above one who did not; 0.5 for a coin."""
    log_loss: float
    brier: float
    ece: float
    """Expected calibration error over ten bins of equal width: mean distance of promise and outcome."""


def measure(happened: npt.NDArray[np.bool_], probability: FloatArray) -> Metrics:
    """The metrics; both outcomes must have occurred."""
    return Metrics(
        rows=len(happened),
        base_rate=float(happened.mean()),
        auc=float(roc_auc_score(happened, probability)),
        log_loss=float(log_loss(happened, probability, labels=[False, True])),
        brier=float(brier_score_loss(happened, probability)),
        ece=calibration_error(happened, probability),
    )


def calibration_error(happened: npt.NDArray[np.bool_], probability: FloatArray) -> float:
    """Mean over all rows of |mean prediction − share that came true| of the row's bin."""
    bin_of = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    promised = np.bincount(bin_of, weights=probability, minlength=BINS)
    came_true = np.bincount(bin_of, weights=happened, minlength=BINS)
    return float(np.abs(promised - came_true).sum() / len(happened))
