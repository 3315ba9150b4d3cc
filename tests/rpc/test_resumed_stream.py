"""A stream that is resumed: what was committed and never acknowledged gets the answer that was lost."""

from __future__ import annotations

from uuid import uuid4

from onefold.v1 import identity_service_pb2 as pb
from onefold.v1 import record_pb2
from tests.rpc.conftest import Client
from tests.rpc.items import customer, violations


def answers(client: Client, stream: str, *messages: tuple[int, record_pb2.Item]) -> list[pb.StreamRecordsResponse]:
    sent = [pb.StreamRecordsRequest(stream_id=stream, sequence=n, items=[item]) for n, item in messages]
    return list(client.identity.StreamRecords(iter(sent), timeout=60))


def test_a_message_that_is_sent_again_gets_its_first_answer_on_whatever_stream(client: Client) -> None:
    stream = str(uuid4())
    first = answers(client, stream, (1, customer("crm:1", "email:a@example.org")))
    client.identity.IngestRecords(pb.IngestRecordsRequest(items=[customer("web:1", "email:a@example.org")]))
    again = answers(
        client, stream, (1, customer("crm:1", "email:a@example.org")), (2, customer("crm:1", "email:a@example.org"))
    )
    assert [a.sequence for a in again] == [1, 2]
    assert again[0] == first[0]
    assert [a.results[0].changed for a in (first[0], again[1])] == [True, False]


def test_a_number_that_stood_for_other_items_is_refused_and_the_stream_goes_on(client: Client) -> None:
    stream = str(uuid4())
    answers(client, stream, (1, customer("crm:1", "email:a@example.org")))
    other, next_ = answers(client, stream, (1, customer("crm:2")), (2, customer("crm:3")))
    assert list(violations(other.status)) == ["sequence"]
    assert next_.results[0].identity


def test_two_streams_have_numbers_of_their_own(client: Client) -> None:
    (one,) = answers(client, str(uuid4()), (1, customer("crm:1")))
    (two,) = answers(client, str(uuid4()), (1, customer("crm:2")))
    assert one.results[0].identity != two.results[0].identity
