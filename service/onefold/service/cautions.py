"""Why a prediction should be taken with care: where the model is weak, or the person may be two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from onefold.graph.confidence import Confidence
from onefold.graph.model import Instant
from onefold.ml.catalogue import BY_KEY
from onefold.ml.model import ModelCard
from onefold.ml.panel import DAY
from onefold.ml.score import Scores, in_words
from onefold.ml.weaknesses import short_history

UNSURE_BELOW: Final = 0.95
"""A weakest merge that is less likely than this is told."""
TENURE: Final = "days_since_first_order"


class Doubt(StrEnum):
    """What is doubtful."""

    SHORT_HISTORY = "short_history"
    """The model has seen less than twelve months, and so no season."""
    BEYOND_RANGE = "beyond_range"
    """The person has been a customer for longer than anybody the model learned from."""
    UNSURE_IDENTITY = "unsure_identity"
    """The records may be two people's."""
    OLD_MODEL = "old_model"
    """A whole horizon has passed since what the model learned from."""


@dataclass(frozen=True, slots=True)
class Caution:
    """One reason to take care."""

    doubt: Doubt
    words: str


def cautions(
    card: ModelCard, scored: Scores, row: int, as_of: Instant, confidence: Confidence | None
) -> tuple[Caution, ...]:
    """All that apply to one person's prediction as of an instant."""
    return (*_of_model(card, as_of), *_of_range(card, scored, row), *_of_identity(confidence))


def _of_model(card: ModelCard, as_of: Instant) -> Iterator[Caution]:
    if short := short_history(card):
        yield Caution(Doubt.SHORT_HISTORY, short)
    age = (as_of - card.cutoff) // DAY
    if age > card.horizon_days:
        yield Caution(Doubt.OLD_MODEL, f"the model has learned nothing of the last {age} days: train again")


def _of_range(card: ModelCard, scored: Scores, row: int) -> Iterator[Caution]:
    tenure = float(scored.values[row, scored.keys.index(TENURE)])
    known = (card.cutoff - card.period[0]) / DAY
    if not np.isnan(tenure) and tenure > known + 1:
        said = in_words(tenure, BY_KEY[TENURE].unit)
        yield Caution(Doubt.BEYOND_RANGE, f"a customer for {said}, longer than anybody the model learned from")


def _of_identity(confidence: Confidence | None) -> Iterator[Caution]:
    if confidence is not None and confidence.share > 0 and confidence.probability < UNSURE_BELOW:
        yield Caution(
            Doubt.UNSURE_IDENTITY,
            f"{confidence.share:.0%} of the orders hang on a merge that is {confidence.probability:.0%} sure",
        )
