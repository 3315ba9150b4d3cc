"""``AuditService`` over a real socket, on each engine."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest
from google.rpc.error_details_pb2 import ResourceInfo

from onefold.v1 import audit_service_pb2 as pb
from onefold.v1 import identity_pb2
from tests.rpc.conftest import Client
from tests.rpc.echo import details
from tests.rpc.items import NOW, ban, by_customer, by_identifier, code, customer, deletion, ingest, match, violations


def failure(call: Callable[[], object]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def explain(client: Client, a: identity_pb2.Subject, b: identity_pb2.Subject) -> pb.ExplainLinkResponse:
    return client.audit.ExplainLink(pb.ExplainLinkRequest(a=a, b=b), timeout=30)


def decisions(client: Client, identity: str = "", size: int = 0) -> list[pb.Decision]:
    """All decisions, read page by page."""
    found: list[pb.Decision] = []
    request = pb.ListDecisionsRequest(identity=identity, page_size=size)
    while True:
        page = client.audit.ListDecisions(request, timeout=30)
        found += page.decisions
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def test_a_merge_is_in_the_log_with_who_moved_and_why(client: Client) -> None:
    (first,) = ingest(client, customer("crm:1", "email:ann@example.org"))
    (second,) = ingest(client, customer("app:2", "phone:+442079460018"))
    ingest(client, customer("crm:1", "email:ann@example.org", "phone:+442079460018", seen=NOW + 60))
    log = decisions(client)
    assert [d.sequence for d in log] == [3, 2, 1]
    assert [pb.DecisionKind.Name(d.kind).removeprefix("DECISION_KIND_") for d in log] == [
        "MERGED",
        "CREATED",
        "CREATED",
    ]
    merge = log[0]
    assert list(merge.identities) == [first.identity, second.identity]
    assert [(m.member, m.from_identity, m.to_identity) for m in merge.moves] == [
        ("customer:app:2", second.identity, first.identity),
        ("phone:+442079460018", second.identity, first.identity),
    ]
    assert list(merge.causes) == ["customer:crm:1 -> phone:+442079460018 (crm)"]
    assert merge.actor == "policy"
    assert client.audit.GetDecision(pb.GetDecisionRequest(id=merge.id), timeout=30) == merge


def test_what_is_left_of_an_erased_identity_has_no_identity(client: Client) -> None:
    (gone,) = ingest(client, customer("crm:1", "email:ann@example.org"))
    ingest(client, deletion("crm:1", made=NOW + 60))
    erased = decisions(client)[0]
    assert (erased.kind, list(erased.identities)) == (pb.DECISION_KIND_ERASED, [gone.identity])
    assert [(m.member, m.from_identity, m.to_identity) for m in erased.moves] == [
        ("customer:crm:1", gone.identity, ""),
        ("email:ann@example.org", gone.identity, ""),
    ]


def test_an_operators_word_is_in_the_log_under_their_name(client: Client) -> None:
    ingest(client, customer("crm:1"), customer("app:2"))
    ingest(client, match("crm:1", "app:2"))
    word = next(d for d in decisions(client) if d.kind == pb.DECISION_KIND_OPERATOR_MATCH)
    assert (word.actor, word.reason) == ("ann", "a call")


@pytest.mark.parametrize("size", [1, 2, 500])
def test_every_decision_comes_once_over_all_pages(client: Client, size: int) -> None:
    results = [ingest(client, customer(f"crm:{n}", f"email:p{n}@example.org"))[0] for n in range(5)]
    assert [d.sequence for d in decisions(client, size=size)] == [5, 4, 3, 2, 1]
    assert [d.sequence for d in decisions(client, results[2].identity, size)] == [3]


def test_an_unknown_decision_is_not_found_with_resource_info(client: Client) -> None:
    id = "01890000-0000-7000-8000-000000000000"
    status, found = details(failure(lambda: client.audit.GetDecision(pb.GetDecisionRequest(id=id), timeout=30)))
    assert code(status) is grpc.StatusCode.NOT_FOUND
    resource: ResourceInfo = found["ResourceInfo"]
    assert (resource.resource_type, resource.resource_name) == ("decision", id)


def test_why_two_are_one_is_told_by_a_path(client: Client) -> None:
    ingest(
        client,
        customer("crm:1", "email:ann@example.org"),
        customer("app:2", "email:ann@example.org", "phone:+442079460018"),
        customer("web:3", "phone:+442079460018"),
    )
    told = explain(client, by_customer("crm:1"), by_customer("web:3"))
    assert told.same_identity
    assert told.connected
    assert [step.end for step in told.path] == [
        "email:ann@example.org",
        "customer:app:2",
        "phone:+442079460018",
        "customer:web:3",
    ]
    assert told.path_confidence == pytest.approx(0.98 * 0.98 * 0.97 * 0.97)
    assert "email:ann@example.org" in told.summary
    assert "phone:+442079460018" in told.summary


def test_why_two_are_not_one_names_the_ban(client: Client) -> None:
    ingest(client, customer("crm:1", "email:ann@example.org"), customer("app:2", "email:ann@example.org"))
    ingest(client, ban("crm:1", "app:2"))
    told = explain(client, by_customer("crm:1"), by_customer("app:2"))
    assert not told.same_identity
    assert told.connected
    assert [r.reason for r in told.refusals] == [identity_pb2.REFUSAL_REASON_BAN]
    assert told.identity != told.other_identity
    assert "ann said that" in told.summary


def test_a_bad_or_unknown_side_is_named(client: Client) -> None:
    ingest(client, customer("crm:1"))
    status, _ = details(failure(lambda: explain(client, by_customer("crm:1"), by_identifier("email:no"))))
    assert list(violations(status)) == ["b.identifier.value"]
    status, _ = details(failure(lambda: explain(client, by_customer("crm:1"), by_customer("crm:404"))))
    assert code(status) is grpc.StatusCode.NOT_FOUND
