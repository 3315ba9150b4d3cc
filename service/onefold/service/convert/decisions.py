"""Decisions and explanations: what an operator reads."""

from __future__ import annotations

from onefold.graph.audit import Logged
from onefold.graph.decide import Move
from onefold.graph.explain import Explanation, Step
from onefold.graph.resolve import PPM
from onefold.service.convert.identities import refusal_reason_to_proto, refusal_to_proto
from onefold.service.convert.values import timestamp_to_proto
from onefold.v1 import audit_service_pb2


def decision_to_proto(logged: Logged) -> audit_service_pb2.Decision:
    """One change of who is who."""
    decision = logged.decision
    return audit_service_pb2.Decision(
        id=decision.id,
        sequence=logged.sequence,
        create_time=timestamp_to_proto(logged.at),
        kind=audit_service_pb2.DecisionKind.Value(f"DECISION_KIND_{decision.kind.value}"),
        actor=decision.actor,
        reason=decision.reason,
        policy_version=logged.policy_version,
        identities=decision.identities,
        moves=[_move_to_proto(move) for move in decision.moves],
        causes=decision.causes,
    )


def _move_to_proto(move: Move) -> audit_service_pb2.Move:
    return audit_service_pb2.Move(member=move.member, from_identity=move.origin, to_identity=move.identity)


def explanation_to_proto(explanation: Explanation) -> audit_service_pb2.ExplainLinkResponse:
    """What joins two subjects, or keeps them apart."""
    identity, other = explanation.identities
    return audit_service_pb2.ExplainLinkResponse(
        same_identity=explanation.same_identity,
        connected=explanation.connected,
        path=[_step_to_proto(step) for step in explanation.path],
        path_confidence=explanation.path_confidence,
        refusals=[refusal_to_proto(refused) for refused in explanation.refusals],
        summary=explanation.summary,
        identity=identity,
        other_identity=other,
    )


def _step_to_proto(step: Step) -> audit_service_pb2.PathStep:
    return audit_service_pb2.PathStep(
        start=step.start,
        end=step.end,
        type=step.edge.type,
        sources=step.edge.sources,
        confidence=step.edge.confidence / PPM,
        refusal_reason=refusal_reason_to_proto(step.edge.refusal),
    )
