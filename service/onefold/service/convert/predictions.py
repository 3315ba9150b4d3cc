"""Models and scores."""

from __future__ import annotations

from dataclasses import asdict

from onefold.ml.panel import DAY
from onefold.ml.registry import Entry
from onefold.ml.score import Reason
from onefold.service.churn import Churn
from onefold.service.convert.values import timestamp_to_proto
from onefold.v1 import prediction_service_pb2

_MODELS = "models/"


def parse_model_name(name: str) -> str:
    """The model's id."""
    return name.removeprefix(_MODELS)


def model_to_proto(entry: Entry) -> prediction_service_pb2.Model:
    """A model and its figures; of one that can't be read, only its name."""
    message = prediction_service_pb2.Model(name=_MODELS + entry.id, version=entry.id, state=_state(entry))
    card = entry.card
    if card is not None:
        message.create_time.CopyFrom(timestamp_to_proto(card.created_at))
        message.horizon_days = card.horizon_days
        message.cutoff_time.CopyFrom(timestamp_to_proto(card.cutoff - card.horizon_days * DAY))
        message.features.extend(card.features)
        message.metrics.update(asdict(card.metrics))
        message.baseline_metrics.update(asdict(card.baselines["rfm_logistic"]))
        message.data_fingerprint = card.data_fingerprint
        message.row_count = card.population.customers
    return message


def _state(entry: Entry) -> prediction_service_pb2.ModelState.ValueType:
    if entry.refusal:
        return prediction_service_pb2.MODEL_STATE_INCOMPATIBLE
    if entry.is_current:
        return prediction_service_pb2.MODEL_STATE_ACTIVE
    return prediction_service_pb2.MODEL_STATE_SUPERSEDED


def churn_to_proto(churn: Churn, max_reasons: int) -> prediction_service_pb2.ChurnScore:
    """A score with its reasons, at most so many; together with what is left out they add up to it."""
    explanation = churn.reasons(max_reasons)
    return prediction_service_pb2.ChurnScore(
        identity=churn.identity,
        probability=churn.probability,
        log_odds=churn.log_odds,
        base_log_odds=churn.scores.base_log_odds,
        reasons=[_reason_to_proto(reason) for reason in explanation.reasons],
        other_contribution=explanation.other,
        model=_MODELS + churn.model_id,
        horizon_days=churn.horizon_days,
        as_of_time=timestamp_to_proto(churn.as_of),
    )


def _reason_to_proto(reason: Reason) -> prediction_service_pb2.Reason:
    return prediction_service_pb2.Reason(
        feature=reason.feature, words=reason.words, contribution=reason.contribution, value=reason.value
    )
