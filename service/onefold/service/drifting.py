"""How far the people in the graph have moved from those that a model was trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from onefold.graph.model import Instant
from onefold.graph.reader import Reader
from onefold.ml import monitor
from onefold.ml.drift import Drift
from onefold.ml.model import PredictionModel
from onefold.service.predictor import features_of, known_until


@dataclass(frozen=True, slots=True)
class Moved:
    """Everybody who has bought anything, as of an instant, beside the model's customers at its cutoff."""

    as_of: Instant | None
    """None where no order is known."""
    customers: int
    drifts: Mapping[str, Drift]
    """By feature, and of the scores; the farthest moved first. Empty where nobody has bought anything."""


def moved(reader: Reader, model: PredictionModel, clock: Callable[[], Instant]) -> Moved:
    """How far everybody has moved, as of the newest order. It reads all orders and events."""
    as_of = known_until(reader, clock)
    if as_of is None:
        return Moved(None, 0, {})
    everybody = features_of(reader, model, as_of)
    return Moved(as_of, len(everybody), monitor.drifts(model, everybody) if len(everybody) else {})
