"""Models and scores."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Final

from onefold.ml.drift import Drift, Level
from onefold.ml.gates import Gate
from onefold.ml.lift import ReliabilityBin, Tenth
from onefold.ml.metrics import Estimate
from onefold.ml.model import Challenge, ModelCard
from onefold.ml.next_order import LEAST_ORDERS
from onefold.ml.panel import DAY
from onefold.ml.registry import Entry
from onefold.ml.score import Reason
from onefold.ml.weaknesses import weaknesses
from onefold.service.cautions import Caution, Doubt
from onefold.service.convert.values import parse_timestamp, timestamp_to_proto
from onefold.service.drifting import Moved
from onefold.service.predictor import Block, Churn, Outlook
from onefold.v1 import prediction_service_pb2 as pb

_MODELS = "models/"


def parse_model_name(name: str) -> str:
    """The model's id."""
    return name.removeprefix(_MODELS)


def model_to_proto(entry: Entry, moved: Moved | None = None) -> pb.Model:
    """A model and its figures, and how far its customers have moved where that was looked at; of one that can't be
    read, only its name."""
    message = pb.Model(name=_MODELS + entry.id, version=entry.id, state=_state(entry))
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
        _add_card(message, card)
        message.weaknesses.extend(weaknesses(card, None if moved is None else moved.drifts))
    if moved is not None:
        message.drift.CopyFrom(_moved_to_proto(moved))
    return message


def _add_card(message: pb.Model, card: ModelCard) -> None:
    message.kind = _KINDS[card.kind]
    message.choice = card.choice
    message.gates.extend(map(_gate_to_proto, card.gates))
    message.measures.extend(_measures(card))
    message.importance.update(card.importance)
    message.customer_count = card.population.customers
    message.first_order_time.CopyFrom(timestamp_to_proto(card.period[0]))
    message.held_out_time.CopyFrom(timestamp_to_proto(card.held_out))
    message.reliability.extend(map(_bin_to_proto, card.reliability))
    message.lift.extend(map(_tenth_to_proto, card.lift))
    message.challenge.CopyFrom(_challenge_to_proto(card.challenge))


_KINDS: Final = {"full": pb.MODEL_KIND_FULL, "small": pb.MODEL_KIND_SMALL}


def _gate_to_proto(gate: Gate) -> pb.Gate:
    return pb.Gate(what=gate.what, there=gate.there, needed=gate.needed, kind=_KINDS[gate.kind])


def _bin_to_proto(part: ReliabilityBin) -> pb.ReliabilityBin:
    observed = pb.Estimate(value=part.observed, low=part.low, high=part.high)
    return pb.ReliabilityBin(rows=part.rows, predicted=part.predicted, observed=observed)


def _tenth_to_proto(part: Tenth) -> pb.LiftPart:
    return pb.LiftPart(
        rows=part.rows,
        rate=part.rate,
        lift=part.lift,
        gain=part.gain,
        population=part.population,
        lowest_score=part.lowest_score,
    )


def _challenge_to_proto(challenge: Challenge) -> pb.Challenge:
    return pb.Challenge(
        champion=_MODELS + challenge.champion if challenge.champion else "",
        differences={name: _estimate_to_proto(apart) for name, apart in challenge.differences.items()},
        promoted=challenge.promoted,
        words=challenge.words,
    )


_LEVELS: Final = {
    Level.STABLE: pb.DRIFT_LEVEL_STABLE,
    Level.MOVED: pb.DRIFT_LEVEL_MOVED,
    Level.SHIFTED: pb.DRIFT_LEVEL_SHIFTED,
    Level.UNKNOWN: pb.DRIFT_LEVEL_UNKNOWN,
}


def _moved_to_proto(moved: Moved) -> pb.DriftReport:
    drifts = [pb.Drift(name=name, index=of.index, level=_LEVELS[of.level]) for name, of in moved.drifts.items()]
    message = pb.DriftReport(customer_count=moved.customers, drifts=drifts)
    if moved.as_of is not None:
        message.as_of_time.CopyFrom(timestamp_to_proto(moved.as_of))
    return message


def parse_moved(report: pb.DriftReport) -> Moved:
    """How far everybody has moved, without how the figures are spread now."""
    levels = {sent: level for level, sent in _LEVELS.items()}
    return Moved(
        as_of=parse_timestamp(report.as_of_time) if report.HasField("as_of_time") else None,
        customers=report.customer_count,
        drifts={
            drift.name: Drift(
                index=drift.index if drift.HasField("index") else None,
                level=levels[drift.level],
                shares=(),
                rows=report.customer_count,
            )
            for drift in report.drifts
        },
    )


def _measures(card: ModelCard) -> Iterator[pb.Measure]:
    for part, measured in card.measured.items():
        for name, estimate in measured.model.items():
            yield pb.Measure(
                part=part,
                name=name,
                model=_estimate_to_proto(estimate),
                baselines=_of_each(measured.baselines, name),
                differences=_of_each(measured.differences, name),
            )


def _of_each(baselines: Mapping[str, Mapping[str, Estimate]], name: str) -> dict[str, pb.Estimate]:
    return {of: _estimate_to_proto(found[name]) for of, found in baselines.items() if name in found}


def _estimate_to_proto(estimate: Estimate) -> pb.Estimate:
    return pb.Estimate(value=estimate.value, low=estimate.low, high=estimate.high)


def _state(entry: Entry) -> pb.ModelState.ValueType:
    if entry.refusal:
        return pb.MODEL_STATE_INCOMPATIBLE
    if entry.is_current:
        return pb.MODEL_STATE_ACTIVE
    return pb.MODEL_STATE_SUPERSEDED


def churn_to_proto(churn: Churn, max_reasons: int) -> pb.ChurnScore:
    """A score with its reasons, at most so many; together with what is left out they add up to it."""
    explanation = churn.reasons(max_reasons)
    message = pb.ChurnScore(
        identity=churn.identity,
        probability=churn.probability,
        log_odds=churn.log_odds,
        base_log_odds=churn.scores.base_log_odds,
        reasons=[_reason_to_proto(reason) for reason in explanation.reasons],
        other_contribution=explanation.other,
        model=_MODELS + churn.model_id,
        horizon_days=churn.scores.horizon_days,
        as_of_time=timestamp_to_proto(churn.as_of),
        warnings=map(_caution_to_proto, churn.cautions),
    )
    if churn.confidence is not None:
        sure = churn.confidence
        message.identity_confidence.CopyFrom(
            pb.IdentityConfidence(probability=sure.probability, share=sure.share, exact=sure.exact)
        )
    return message


_CAUTIONS: Final = {
    Doubt.SHORT_HISTORY: pb.CAUTION_SHORT_HISTORY,
    Doubt.BEYOND_RANGE: pb.CAUTION_BEYOND_RANGE,
    Doubt.UNSURE_IDENTITY: pb.CAUTION_UNSURE_IDENTITY,
    Doubt.OLD_MODEL: pb.CAUTION_OLD_MODEL,
}


def _caution_to_proto(caution: Caution) -> pb.Warning:
    return pb.Warning(caution=_CAUTIONS[caution.doubt], words=caution.words)


def block_to_proto(block: Block) -> pb.StreamScoresResponse:
    """Some people's scores, as columns."""
    return pb.StreamScoresResponse(
        identities=block.scores.identities,
        probabilities=block.scores.probability.tolist(),
        expected_orders=block.expected_orders.tolist(),
        predicted_spends=block.expected_spend.tolist(),
        currency=block.scores.currency,
        model=_MODELS + block.model_id,
        horizon_days=block.scores.horizon_days,
        as_of_time=timestamp_to_proto(block.as_of),
    )


def outlook_to_proto(outlook: Outlook, max_reasons: int) -> pb.Predictions:
    """All that is predicted of a person."""
    values, due = outlook.values, outlook.next_order
    message = pb.Predictions(
        churn=churn_to_proto(outlook.churn, max_reasons),
        curve=[pb.CurvePoint(horizon_days=days, churn_probability=p) for days, p in outlook.curve],
        value=pb.LifetimeValue(
            currency=values.currency,
            historic=values.historic[0],
            predicted=values.predicted[0],
            typical=values.typical[0],
            total=values.total[0],
        ),
        expected_orders=values.expected_orders[0],
        mean_gap_days=outlook.mean_gap_days,
    )
    if outlook.next_products is None:
        message.abstentions.add(what="next_products", words="the model was trained on orders without lines")
    message.next_products.extend(
        pb.NextProduct(product=p.product, name=p.name, score=p.score, words=p.words)
        for p in outlook.next_products or ()
    )
    if math.isnan(due.median[0]):
        message.abstentions.add(
            what="next_order", words=f"has fewer than {LEAST_ORDERS} order days, so no rhythm is known"
        )
    else:
        for field in ("earliest", "median", "latest"):
            at = outlook.churn.as_of + round(float(getattr(due, field)[0]) * DAY)
            getattr(message.next_order, f"{field}_time").CopyFrom(timestamp_to_proto(at))
    return message


def _reason_to_proto(reason: Reason) -> pb.Reason:
    return pb.Reason(feature=reason.feature, words=reason.words, contribution=reason.contribution, value=reason.value)
