"""A stream that is resumed: what was committed and never acknowledged gets the answer that was lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import grpc
import yaml

from onefold.graph import policy
from onefold.service import app
from onefold.v1 import identity_service_pb2 as pb
from onefold.v1 import record_pb2
from tests.rpc.conftest import Client, settings
from tests.rpc.items import customer, ingest, violations


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


# -- deployments -----------------------------------------------------------------------------------------------------


@contextmanager
def deployed(client: Client, folder: Path, name: str, region: str, drops: str = "") -> Iterator[Client]:
    """Another service on the same graph, whose policy reads phones by a region and may lack a kind."""
    content = policy.load().model_dump(mode="json", by_alias=True) | {"default_region": region}
    content["kinds"].pop(drops, None)
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(content), "utf-8")
    with ExitStack() as resources:
        server = app.start(settings(client.engine.endpoint, folder / name, policy_file=file), resources)
        server.set_ready(True)
        channel = resources.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.port}"))
        yield Client(channel, client.engine, client.settings)


def test_a_repeat_gets_its_first_answer_from_a_service_that_reads_items_otherwise(
    client: Client, tmp_path: Path
) -> None:
    items = [
        customer("crm:1", "phone:020 7946 0123", full_name="Ann"),
        customer("crm:2", "member:7"),
        customer("no source:3"),
        customer("crm:4", "email:ann@example.org"),
    ]
    request, stream = str(uuid4()), str(uuid4())
    with deployed(client, tmp_path, "old", "GB", drops="member") as old:
        first = ingest(old, *items, request_id=request)
        refused = ingest(old, items[1], request_id=str(stream))
        told = answers(old, stream, *enumerate(items))
    assert [r.HasField("status") for r in first] == [False, True, True, False]
    assert list(violations(first[1].status)) == ["items[1].customer.identifiers[0].kind"]
    assert list(violations(first[2].status)) == ["items[2].customer.key.source"]
    for region, drops in (("DE", ""), ("GB", "email")):
        with deployed(client, tmp_path, f"new {region}", region, drops) as new:
            assert ingest(new, *items, request_id=request) == first
            assert ingest(new, items[1], request_id=str(stream)) == refused
            assert answers(new, stream, *enumerate(items)) == told
    assert client.count("Customer") == 2
