"""Scoring: probabilities, and the reasons for each in words that add up to it.

A score's log-odds are the model's base plus one contribution per feature (TreeSHAP), exactly up to floating
point. Features that speak of the same thing share their contributions among themselves quite arbitrarily,
so reasons are told by topic: the topic's sum, in the words of the feature that says most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Final

import numpy as np
import pyarrow as pa

from onefold.ml.catalogue import BY_KEY, Feature
from onefold.ml.features import FloatArray, matrix
from onefold.ml.model import ChurnModel


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Of some identities, by one model; arrays hold a row per identity, in the order that was given."""

    identities: tuple[str, ...]
    probability: FloatArray
    """Of no purchase within the horizon."""
    log_odds: FloatArray
    base_log_odds: float
    """The model's mean: what it says before it knows anything."""
    keys: tuple[str, ...]
    """The features, as the columns of ``values`` and ``contributions``."""
    values: FloatArray
    contributions: FloatArray | None
    """Log-odds that each feature adds; a row sums to ``log_odds - base_log_odds``. None if not asked for."""
    currency: str
    """Of the values that are amounts."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that moved a score."""

    topic: str
    contribution: float
    """Log-odds it adds: above zero it raises the risk."""
    feature: str
    """The feature that says most of it."""
    value: str
    """That feature's value in words."""
    words: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Reasons, strongest first. Their contributions, ``other`` and the base sum to the log-odds."""

    reasons: tuple[Reason, ...]
    other: float
    """What the topics left out add together."""


def score(model: ChurnModel, features: pa.Table, *, contributions: bool = True) -> Scores:
    """The scores of all rows of a table from :func:`onefold.ml.features.compute`.

    Without ``contributions`` a large table takes about a tenth of the time; the scores are the same.

    A feature that is unknown (null or NaN) is unknown to the model too, which has learned what that means.
    Raises :class:`onefold.graph.errors.InvalidInput` when a feature of the model is missing or infinite.
    """
    values = matrix(features, model.keys)
    explained = _run(model, values if contributions else values[:1], pred_contrib=True)
    log_odds = _run(model, values, raw_score=True)
    return Scores(
        identities=tuple(features["identity"].to_pylist()),
        probability=1.0 / (1.0 + np.exp(-log_odds)),
        log_odds=log_odds,
        base_log_odds=float(explained[0, -1]) if len(explained) else 0.0,
        keys=model.keys,
        values=values,
        contributions=explained[:, :-1] if contributions else None,
        currency=model.card.population.currency,
    )


def reasons(scores: Scores, row: int, top: int | None = 3) -> Explanation:
    """Why one row has its score: the ``top`` strongest topics, or all of them when ``top`` is None.

    Raises :class:`ValueError` for scores without contributions.
    """
    if scores.contributions is None:
        raise ValueError("these scores were computed without contributions")
    said = dict(zip(scores.keys, scores.values[row].tolist(), strict=True))
    by_topic: dict[str, list[tuple[float, Feature]]] = {}
    for key, contribution in zip(scores.keys, scores.contributions[row].tolist(), strict=True):
        feature = BY_KEY[key]
        by_topic.setdefault(feature.topic, []).append((contribution, feature))
    found = [_reason(topic, parts, said, scores.currency) for topic, parts in by_topic.items()]
    found.sort(key=lambda reason: -abs(reason.contribution))
    told, untold = found[:top], found[len(found[:top]) :]
    return Explanation(tuple(told), sum(reason.contribution for reason in untold))


_ONE_THREAD_ROWS: Final = 256
"""Up to here, starting threads costs more than they save (one row: five times as much)."""


def _run(model: ChurnModel, values: FloatArray, **what: bool) -> FloatArray:
    if not len(values):
        return np.empty((0, values.shape[1] + 1) if "pred_contrib" in what else 0)
    threads = 1 if len(values) <= _ONE_THREAD_ROWS else 0
    return np.asarray(model.booster.predict(values, num_threads=threads, **what), dtype=np.float64)


def _reason(topic: str, parts: list[tuple[float, Feature]], said: Mapping[str, float], currency: str) -> Reason:
    total = sum(contribution for contribution, _ in parts)
    leading = max(parts, key=lambda part: part[0] if total >= 0 else -part[0])[1]
    return Reason(
        topic=topic,
        contribution=total,
        feature=leading.key,
        value=in_words(said[leading.key], leading.unit, currency),
        words=_words(leading, said, currency),
    )


def _words(feature: Feature, said: Mapping[str, float], currency: str) -> str:
    for template in (feature.words, feature.otherwise):
        named = [name for _, name, _, _ in Formatter().parse(template) if name]
        values = {name: said.get(name, np.nan) for name in named}
        if not any(np.isnan(value) for value in values.values()):
            return template.format_map(
                {name: in_words(value, BY_KEY[name].unit, currency) for name, value in values.items()}
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
