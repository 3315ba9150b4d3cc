"""A new model beside the one in use: it takes its place unless it is surely worse at churn.

Both are asked on the held-out customers of the new one, and only as they were when they knew none of the answers: the
new one as its back-test fitted it, the one in use as it is if it was trained by then, else as its own back-test fitted
it. Why is told in ``docs/adr/0018-a-challenger-is-promoted-unless-surely-worse.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from onefold.graph.model import Instant
from onefold.ml import metrics, predict
from onefold.ml.backtest import compared
from onefold.ml.features import FloatArray, Population
from onefold.ml.metrics import Estimate
from onefold.ml.model import Challenge, PredictionModel, Rehearsal
from onefold.ml.panel import Panel

Champion = tuple[str, PredictionModel]
"""The model in use and its id."""

UNOPPOSED: Final = Challenge("", {}, True, "no usable model was in use to compare it with")


def challenge(
    champion: Champion | None,
    rates: FloatArray,
    test: Panel,
    held_out: Instant,
    horizon_days: int,
    against: Callable[[Population], Panel],
) -> Challenge:
    """How the new model's probabilities of churn, ``rates``, compare with the champion's on the rows of ``test``.

    ``against`` gives the same rows with their features against another population, that of the champion. Where the two
    can't be compared fairly, the new one is promoted: it was not surely worse than the share that churned before.
    """
    if champion is None:
        return UNOPPOSED
    champion_id, model = champion
    if model.card.horizon_days < horizon_days:
        return _apart(champion_id, f"answers for {model.card.horizon_days} days at most")
    unaware = _unaware(model, held_out)
    if unaware is None:
        return _apart(champion_id, "knows what the held-out customers did")
    values = against(unaware.population).values
    theirs = predict.probability(predict.churn(unaware, values, model.card.horizons, horizon_days).value)
    measured = compared(rates, {champion_id: theirs}, lambda told: metrics.churn_measures(test.churned, told))
    differences = measured.differences[champion_id]
    return Challenge(champion_id, differences, *_judged(champion_id, differences, len(rates)))


def _unaware(model: PredictionModel, held_out: Instant) -> Rehearsal | None:
    """What of a model knows nothing that happened from an instant on."""
    card = model.card
    if card.cutoff <= held_out:
        return Rehearsal(card.population, model.parts.process, model.parts.churn)
    return model.rehearsal if card.held_out <= held_out else None


def _apart(champion_id: str, why: str) -> Challenge:
    return Challenge(champion_id, {}, True, f"{champion_id} {why}, so the two can't be compared")


def _judged(champion_id: str, differences: Mapping[str, Estimate], customers: int) -> tuple[bool, str]:
    log_loss = differences["log_loss"]
    surely = "surely worse" if log_loss.low > 0.0 else "surely better" if log_loss.high < 0.0 else "not surely worse"
    return log_loss.low <= 0.0, (
        f"against {champion_id}, on the same {customers:,} held-out customers, {_told('log loss', log_loss)} and"
        f" {_told('AUC', differences['auc'])}, which is {surely}"
    )


def _told(name: str, apart: Estimate) -> str:
    return f"{name} {apart.value:+.4f} (95 %: {apart.low:+.4f} to {apart.high:+.4f})"
