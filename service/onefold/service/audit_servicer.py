"""``AuditService``: every decision on who is who, and why."""

from __future__ import annotations

import grpc

from onefold.graph.audit import get_decision, list_decisions
from onefold.graph.explain import explain
from onefold.graph.fetch import fetch_component
from onefold.graph.reader import Reader
from onefold.service import convert
from onefold.service.interceptors import deadline
from onefold.v1 import audit_service_pb2, audit_service_pb2_grpc


class AuditServicer(audit_service_pb2_grpc.AuditServiceServicer):
    """Reads the log of decisions, and explains from the evidence."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def ListDecisions(  # noqa: N802
        self, request: audit_service_pb2.ListDecisionsRequest, context: grpc.ServicerContext
    ) -> audit_service_pb2.ListDecisionsResponse:
        """One page of the log, newest first."""
        page = list_decisions(
            self._reader.within(deadline(context)),
            request.identity.lower(),
            size=request.page_size,
            token=request.page_token,
        )
        return audit_service_pb2.ListDecisionsResponse(
            decisions=[convert.decision_to_proto(logged) for logged in page.items], next_page_token=page.next_token
        )

    def GetDecision(  # noqa: N802
        self, request: audit_service_pb2.GetDecisionRequest, context: grpc.ServicerContext
    ) -> audit_service_pb2.Decision:
        """One decision."""
        return convert.decision_to_proto(get_decision(self._reader.within(deadline(context)), request.id.lower()))

    def ExplainLink(  # noqa: N802
        self, request: audit_service_pb2.ExplainLinkRequest, context: grpc.ServicerContext
    ) -> audit_service_pb2.ExplainLinkResponse:
        """What joins two subjects, or keeps them apart, by the evidence of now."""
        policy = self._reader.policy
        a = convert.parse_subject(request.a, policy, "a")
        b = convert.parse_subject(request.b, policy, "b")
        component = fetch_component(self._reader.within(deadline(context)), a, b)
        return convert.explanation_to_proto(explain(component, policy))
