"""Who is meant, who it is, and what became of items."""

from __future__ import annotations

from onefold.graph.decide import Refused
from onefold.graph.errors import InvalidInput, Violation
from onefold.graph.identity import Found, Identity
from onefold.graph.ingest import Outcome
from onefold.graph.model import Instant
from onefold.graph.network import Edge, Network, Node
from onefold.graph.policy import Policy
from onefold.graph.resolve import PPM, RefusalReason
from onefold.graph.subject import Subject
from onefold.service.convert.items import (
    parse_customer_key,
    parse_identifier,
    parse_order_key,
    record_to_proto,
)
from onefold.service.convert.values import maybe_timestamp_to_proto, parse_timestamp, timestamp_to_proto
from onefold.service.status import status_of
from onefold.v1 import identity_pb2, identity_service_pb2, profile_service_pb2


def parse_subject(message: identity_pb2.Subject, policy: Policy, path: str = "subject") -> Subject:
    """Who is meant, an identifier normalised. Raises InvalidInput with paths under ``path``."""
    match message.WhichOneof("subject"):
        case "identity":
            return Subject.identity(message.identity.lower())
        case "customer":
            return Subject.record(parse_customer_key(message.customer))
        case "order":
            return Subject.record(parse_order_key(message.order))
        case _:
            return Subject.identifier(parse_identifier(message.identifier, "", policy, f"{path}.identifier"))


def parse_as_of(
    message: identity_service_pb2.ResolveIdentityRequest
    | identity_service_pb2.GetIdentityGraphRequest
    | profile_service_pb2.GetProfileRequest
    | profile_service_pb2.BatchGetProfilesRequest,
) -> Instant | None:
    """The instant that is asked for; None for now."""
    return parse_timestamp(message.as_of) if message.HasField("as_of") else None


def found_to_proto(found: Found) -> identity_service_pb2.ResolveIdentityResponse:
    """An identity, and how the subject led to it."""
    return identity_service_pb2.ResolveIdentityResponse(
        identity=identity_to_proto(found.identity),
        state=identity_service_pb2.ResolutionState.Value(f"RESOLUTION_STATE_{found.state.value}"),
        requested_identity=found.requested,
        became=found.became,
        became_more=found.became_more,
    )


def identity_to_proto(identity: Identity) -> identity_service_pb2.Identity:
    """One resolved person, in short."""
    return identity_service_pb2.Identity(
        id=identity.id,
        create_time=timestamp_to_proto(identity.created_at),
        record_count=identity.record_count,
        anonymous=identity.anonymous,
        records=[record_to_proto(name) for name in identity.records],
    )


def graph_to_proto(identity: str, network: Network) -> identity_service_pb2.GetIdentityGraphResponse:
    """The part of the graph that is about one identity."""
    return identity_service_pb2.GetIdentityGraphResponse(
        identity=identity,
        nodes=[_node_to_proto(node) for node in network.nodes.values()],
        edges=[_edge_to_proto(edge) for edge in network.edges],
    )


def _node_to_proto(node: Node) -> identity_service_pb2.GraphNode:
    return identity_service_pb2.GraphNode(
        name=node.name,
        label=node.label,
        shared=node.shared,
        identity=node.identity,
        display_name=node.display_name,
    )


def _edge_to_proto(edge: Edge) -> identity_service_pb2.GraphEdge:
    return identity_service_pb2.GraphEdge(
        start=edge.start,
        end=edge.end,
        type=edge.type,
        sources=edge.sources,
        confidence=edge.confidence / PPM,
        eligible=edge.eligible,
        first_seen_time=maybe_timestamp_to_proto(edge.first_seen),
        last_seen_time=maybe_timestamp_to_proto(edge.last_seen),
        observations=edge.observations,
        refusal_reason=refusal_reason_to_proto(edge.refusal),
    )


def outcome_to_proto(index: int, outcome: Outcome) -> identity_service_pb2.ItemResult:
    """What became of an item; its violations' paths begin at the request."""
    if outcome.violations:
        place = f"items[{index}]"
        broken = [Violation(f"{place}.{v.field}" if v.field else place, v.rule) for v in outcome.violations]
        return identity_service_pb2.ItemResult(index=index, status=status_of(InvalidInput(broken)))
    return identity_service_pb2.ItemResult(
        index=index,
        changed=outcome.changed,
        identity_before=outcome.identity_before,
        identity=outcome.identity,
        refusals=[refusal_to_proto(refused) for refused in outcome.refused],
    )


def refusal_to_proto(refused: Refused) -> identity_pb2.Refusal:
    """A join that the policy refused."""
    refusal = refused.refusal
    message = identity_pb2.Refusal(
        reason=refusal_reason_to_proto(refusal.reason),
        kind=refusal.kind,
        limit=refusal.limit,
        record=refusal.record,
        confidence=refusal.confidence / PPM,
        identity=refused.identity,
        other_identity=refused.other_identity,
    )
    if refusal.identifier is not None:
        message.identifier = refusal.identifier
    else:
        message.other_record = refusal.owner
    return message


def refusal_reason_to_proto(reason: RefusalReason | None) -> identity_pb2.RefusalReason.ValueType:
    """Why a join was refused; unspecified for one that was not."""
    if reason is None:
        return identity_pb2.REFUSAL_REASON_UNSPECIFIED
    return identity_pb2.RefusalReason.Value(f"REFUSAL_REASON_{reason.value}")
