"""What is known to go wrong with a model, in sentences, from its card alone and how far its customers have moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from scipy.stats import binom

from onefold.ml.drift import Drift, Level
from onefold.ml.metrics import Estimate
from onefold.ml.model import ModelCard
from onefold.ml.panel import DAY
from onefold.ml.terms import BASELINES, MEASURES, PARTS

YEAR_DAYS: Final = 365

_JUDGED: Final = {
    "churn": ("auc", "log_loss"),
    "spend": ("gini",),
    "typical": ("mean_error", "median_error"),
    "next_order": ("median_error",),
}
"""The measures by which a baseline counts as better. Not the calibration error: who tells everybody the same
share has little of it, and says nothing."""

_CHANCE: Final = 0.01
"""Bins that miss their interval are told where fewer than one reliable model in a hundred has so many."""

_WIDE: Final = 0.06
"""An interval of the AUC wider than this can't tell a good model from a fair one."""

_NAMED: Final = 3


def weaknesses(card: ModelCard, drifts: Mapping[str, Drift] | None = None) -> tuple[str, ...]:
    """A sentence each; empty where nothing is known. ``drifts`` are those of :func:`onefold.ml.monitor.drifts`."""
    found = (_history(card), _size(card), _few(card), _beaten(card), _calibration(card), _value(card), _interval(card))
    return tuple(words for some in (*found, _moved(drifts or {})) for words in some)


def short_history(card: ModelCard) -> str:
    """That a model has seen no whole year; empty where it has."""
    days = (card.period[1] - card.period[0]) // DAY
    return f"the model knows {days} days of orders: less than a year shows no season" if days < YEAR_DAYS else ""


def _history(card: ModelCard) -> Iterator[str]:
    if words := short_history(card):
        yield words


def _size(card: ModelCard) -> Iterator[str]:
    if card.kind == "small":
        yield f"it is a small model, without trees for churn: {card.choice}"


def _few(card: ModelCard) -> Iterator[str]:
    auc = card.measured["churn"].model["auc"]
    if auc.high - auc.low > _WIDE:
        yield (
            f"it was tested on {card.metrics.rows:,} customers, which is few: its AUC is known only to be from"
            f" {auc.low:.2f} to {auc.high:.2f}"
        )


def _beaten(card: ModelCard) -> Iterator[str]:
    for part, names in _JUDGED.items():
        for baseline, differences in card.measured[part].differences.items():
            for name in names:
                apart, better = differences[name], MEASURES[name].better
                if (apart.low > 0.0) if better == "lower" else (apart.high < 0.0):
                    yield (
                        f"{PARTS[part]}: {BASELINES[baseline]} has the better {MEASURES[name].words}, by"
                        f" {abs(apart.value):.3g} (95 %: {_size_of(apart)})"
                    )


def _size_of(apart: Estimate) -> str:
    low, high = sorted((abs(apart.low), abs(apart.high)))
    return f"{low:.3g} to {high:.3g}"


def _calibration(card: ModelCard) -> Iterator[str]:
    bins = card.reliability
    missed = sum(not part.low <= part.predicted <= part.high for part in bins)
    if binom.sf(missed - 1, len(bins), 0.05) < _CHANCE:
        promised = sum(part.predicted * part.rows for part in bins) / sum(part.rows for part in bins)
        yield (
            f"its probabilities are not what came true in {missed} of {len(bins)} bins: calibration error"
            f" {card.metrics.ece:.3f}; {promised:.0%} were to churn, {card.metrics.base_rate:.0%} did"
        )


def _value(card: ModelCard) -> Iterator[str]:
    total = card.measured["spend"].model["ratio_of_totals"]
    if not total.low <= 1.0 <= total.high:
        yield f"all customers together were to spend {total.value:.2f} times what they did ({_from_to(total)})"


def _interval(card: ModelCard) -> Iterator[str]:
    inside, promised = card.measured["next_order"].model["within_interval"], MEASURES["within_interval"].better
    if isinstance(promised, float) and inside.high < promised:
        yield (
            f"next order: {inside.value:.0%} fell within the interval that was to hold {promised:.0%}"
            f" (95 %: {inside.low:.0%} to {inside.high:.0%})"
        )


def _moved(drifts: Mapping[str, Drift]) -> Iterator[str]:
    shifted = [name for name, drift in drifts.items() if drift.level is Level.SHIFTED]
    if shifted:
        more = f" and {len(shifted) - _NAMED} more" if len(shifted) > _NAMED else ""
        yield f"customers have shifted since training in {', '.join(shifted[:_NAMED])}{more}: train again"


def _from_to(estimate: Estimate) -> str:
    return f"95 %: {estimate.low:.2f} to {estimate.high:.2f}"
