"""Scoring: probabilities at any horizon, and the reasons for each in words that add up to it.

A score's log-odds are the model's base plus one contribution per input (linear terms and TreeSHAP), exactly up to
floating point. Inputs that speak of the same thing share their contributions among themselves quite arbitrarily,
so reasons are told by topic: the topic's sum, in the words of the input that says most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Final

import numpy as np
import pyarrow as pa

from onefold.ml import predict
from onefold.ml.ahead import Path
from onefold.ml.catalogue import Feature
from onefold.ml.features import FloatArray, matrix
from onefold.ml.inputs import ALL_KEYS, Figure, described, inputs
from onefold.ml.model import PredictionModel


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Of some identities, by one model; arrays hold a row per identity, in the order that was given."""

    identities: tuple[str, ...]
    horizon_days: int
    probability: FloatArray
    """Of no purchase within the horizon."""
    log_odds: FloatArray
    base_log_odds: float
    """What the model says of this horizon before it knows anything of the customer."""
    keys: tuple[str, ...]
    """The inputs, as the columns of ``values`` and ``contributions``."""
    values: FloatArray
    contributions: FloatArray | None
    """Log-odds that each input adds; a row sums to ``log_odds - base_log_odds``. None if not asked for."""
    currency: str
    """Of the values that are amounts."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that moved a score."""

    topic: str
    contribution: float
    """Log-odds it adds: above zero it raises the risk."""
    feature: str
    """The input that says most of it."""
    value: str
    """That input's value in words."""
    words: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Reasons, strongest first. Their contributions, ``other`` and the base sum to the log-odds."""

    reasons: tuple[Reason, ...]
    other: float
    """What the topics left out add together. How far ahead was asked is no reason and always among them."""


def score(
    model: PredictionModel, features: pa.Table, horizon_days: int | None = None, *, contributions: bool = True
) -> Scores:
    """The scores of all rows of a table from :func:`onefold.ml.features.compute`, at any horizon from one day to the
    longest that the model learned, which is also the default.

    Without ``contributions`` a large table takes about a tenth of the time; the scores are the same.

    A feature that is unknown (null or NaN) is unknown to the model too, which has learned what that means.
    Raises :class:`onefold.graph.errors.InvalidInput` when a feature of the model is missing or infinite, or for a
    horizon out of range.
    """
    asked = model.card.horizon_days if horizon_days is None else horizon_days
    values = matrix(features, model.keys)
    found = predict.churn(model.parts, values, model.card.horizons, asked)
    known = inputs(model.parts.process, values, asked)
    constant, added = _contributions(model, values, found) if contributions else (_constant(model, known), None)
    base = constant + _of_horizon(model, known)
    if added is not None:
        added[:, _HORIZON] += constant - base
    return Scores(
        identities=tuple(features["identity"].to_pylist()),
        horizon_days=asked,
        probability=predict.probability(found.value),
        log_odds=found.value,
        base_log_odds=base,
        keys=ALL_KEYS,
        values=known,
        contributions=added,
        currency=model.card.population.currency,
    )


def curve(model: PredictionModel, features: pa.Table, horizons: Sequence[int]) -> FloatArray:
    """The probability of a purchase within each of ``horizons`` days: a row per row of the table, a column per
    horizon. More days never make it less. Raises as :func:`score` does."""
    values = matrix(features, model.keys)
    found = [predict.churn(model.parts, values, model.card.horizons, days).value for days in horizons]
    return np.column_stack([predict.probability(-log_odds) for log_odds in found])


def reasons(scores: Scores, row: int, top: int | None = 3) -> Explanation:
    """Why one row has its score: the ``top`` strongest topics, or all of them when ``top`` is None.

    Raises :class:`ValueError` for scores without contributions.
    """
    if scores.contributions is None:
        raise ValueError("these scores were computed without contributions")
    said = dict(zip(scores.keys, scores.values[row].tolist(), strict=True))
    by_topic: dict[str, list[tuple[float, Feature | Figure]]] = {}
    for key, contribution in zip(scores.keys, scores.contributions[row].tolist(), strict=True):
        by_topic.setdefault(described(key).topic, []).append((contribution, described(key)))
    ahead = sum(contribution for contribution, _ in by_topic.pop("horizon", []))
    found = [_reason(topic, parts, said, scores.currency) for topic, parts in by_topic.items()]
    found.sort(key=lambda reason: -abs(reason.contribution))
    told, untold = found[:top], found[len(found[:top]) :]
    return Explanation(tuple(told), ahead + sum(reason.contribution for reason in untold))


_HORIZON: Final = ALL_KEYS.index("horizon")


def _constant(model: PredictionModel, known: FloatArray) -> float:
    return model.parts.churn.contributions(known[:1])[0]


def _of_horizon(model: PredictionModel, known: FloatArray) -> float:
    """What the days asked add for everybody."""
    return float(model.parts.churn.linear.contributions(known[:1])[:, _HORIZON].sum())


def _contributions(model: PredictionModel, values: FloatArray, found: Path) -> tuple[float, FloatArray]:
    """The model's constant, and what each input adds to it."""
    constant, added = 0.0, np.zeros((len(values), len(ALL_KEYS)))
    for knot, share in zip(found.knots, found.shares, strict=True):
        counted = share > 0.0
        if counted.any():
            constant, parts = model.parts.churn.contributions(inputs(model.parts.process, values[counted], knot))
            added[counted] += share[counted, None] * parts
    return constant, added


def _reason(
    topic: str, parts: list[tuple[float, Feature | Figure]], said: Mapping[str, float], currency: str
) -> Reason:
    total = sum(contribution for contribution, _ in parts)
    leading = max(parts, key=lambda part: part[0] if total >= 0 else -part[0])[1]
    return Reason(
        topic=topic,
        contribution=total,
        feature=leading.key,
        value=in_words(said[leading.key], leading.unit, currency),
        words=_words(leading, said, currency),
    )


def _words(feature: Feature | Figure, said: Mapping[str, float], currency: str) -> str:
    for template in (feature.words, feature.otherwise):
        named = [name for _, name, _, _ in Formatter().parse(template) if name]
        values = {name: said.get(name, np.nan) for name in named}
        if not any(np.isnan(value) for value in values.values()):
            return template.format_map(
                {name: in_words(value, described(name).unit, currency) for name, value in values.items()}
            )
    return f"{feature.meaning}: not known yet"


def in_words(value: float, unit: str, currency: str = "") -> str:
    """A feature's value as a person would say it: ``94 days``, ``no orders``, ``12%``, ``1,234.50 GBP``."""
    if np.isnan(value):
        return "unknown"
    match unit:
        case "share":
            return f"{value:.0%}"
        case "ratio":
            return f"{value:.1f} times"
        case "number":
            return f"{value:.2g}"
        case "amount":
            return f"{value:,.2f} {currency}".rstrip()
        case "hour":
            return f"{round(value) % 24:02d}:00"
        case "days" if value < 1:
            return "less than a day"
        case "days":
            return _counted(f"{value:.0f}", unit)
        case _ if value == 0:
            return f"no {unit}"
        case _:
            return _counted(f"{value:.0f}" if value >= 10 else f"{value:.1f}".removesuffix(".0"), unit)


def _counted(number: str, plural: str) -> str:
    return f"{number} {plural.removesuffix('s') if number == '1' else plural}"
