"""Decisions and explanations: what an operator reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from onefold.graph.audit import Logged
from onefold.graph.decide import DecisionKind, Move
from onefold.graph.explain import Explanation, Step
from onefold.graph.resolve import PPM
from onefold.graph.watch import MOVES_SHOWN, Stretch
from onefold.service.convert.identities import refusal_reason_to_proto, refusal_to_proto
from onefold.service.convert.values import timestamp_to_proto
from onefold.v1 import audit_service_pb2, identity_service_pb2


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


def parse_change_kinds(kinds: Iterable[identity_service_pb2.IdentityChangeKind.ValueType]) -> frozenset[DecisionKind]:
    """The kinds of decisions that change identities in these ways."""
    names = map(identity_service_pb2.IdentityChangeKind.Name, kinds)
    return frozenset(DecisionKind(name.removeprefix(_CHANGE_KIND)) for name in names)


def stretch_to_proto(stretch: Stretch) -> identity_service_pb2.WatchIdentitiesResponse:
    """A part of the feed of changes."""
    changes = map(_change_to_proto, stretch.changes)
    return identity_service_pb2.WatchIdentitiesResponse(changes=changes, sequence=stretch.sequence)


def _change_to_proto(logged: Logged) -> identity_service_pb2.IdentityChange:
    decision = logged.decision
    identity, *others = decision.identities
    return identity_service_pb2.IdentityChange(
        sequence=logged.sequence,
        decision=decision.id,
        create_time=timestamp_to_proto(logged.at),
        kind=identity_service_pb2.IdentityChangeKind.Value(f"{_CHANGE_KIND}{decision.kind.value}"),
        identity=identity,
        other_identities=others,
        moves=[_move_to_proto(move) for move in decision.moves[:MOVES_SHOWN]],
        move_count=len(decision.moves),
    )


_CHANGE_KIND: Final = "IDENTITY_CHANGE_KIND_"


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
