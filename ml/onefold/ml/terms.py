"""What parts, measures and baselines of a model are called in words, and which way a measure is better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Term:
    """A measure."""

    words: str
    better: Literal["higher", "lower"] | float
    """Or the value that is best."""
    share: bool = False
    """Whether it is told as a percentage."""


PARTS: Final[Mapping[str, str]] = {
    "churn": "churn",
    "spend": "mean spend",
    "typical": "typical spend",
    "next_order": "next order",
}

MEASURES: Final[Mapping[str, Term]] = {
    "auc": Term("AUC", "higher"),
    "log_loss": Term("log loss", "lower"),
    "brier": Term("Brier score", "lower"),
    "ece": Term("calibration error", "lower"),
    "gini": Term("normalised Gini", "higher"),
    "ratio_of_totals": Term("predicted ÷ actual total", 1.0),
    "mean_error": Term("mean error", "lower"),
    "median_error": Term("median error", "lower"),
    "within_interval": Term("orders within the interval", 0.8, share=True),
}

BASELINES: Final[Mapping[str, str]] = {
    "base_rate": "base rate",
    "rfm_logistic": "RFM logistic",
    "mbg_nbd": "MBG/NBD",
    "past_pace": "pace so far",
    "rfm_tweedie": "RFM Tweedie",
    "nothing": "zero",
    "constant": "constant",
    "own_gap": "own mean gap",
}
