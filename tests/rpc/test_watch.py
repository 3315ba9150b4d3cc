"""``WatchIdentities`` over a real socket, on each engine."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo

from onefold.service import app
from onefold.service.client import watch
from onefold.service.server import Server
from onefold.v1 import identity_service_pb2 as pb
from tests.conftest import Engine
from tests.engines import empty
from tests.rpc.conftest import Client, settings
from tests.rpc.echo import details
from tests.rpc.items import NOW, code, customer, deletion, ingest, violations

CREATED, MERGED = pb.IDENTITY_CHANGE_KIND_CREATED, pb.IDENTITY_CHANGE_KIND_MERGED
SPLIT, ERASED = pb.IDENTITY_CHANGE_KIND_SPLIT, pb.IDENTITY_CHANGE_KIND_ERASED


@contextmanager
def watching(client: Client, after: int | None = None, *kinds: Any) -> Iterator[Iterator[pb.WatchIdentitiesResponse]]:
    request = pb.WatchIdentitiesRequest(after_sequence=after, kinds=kinds)
    stream = client.identity.WatchIdentities(request, timeout=60)
    try:
        yield stream
    finally:
        stream.cancel()


def changes(stream: Iterator[pb.WatchIdentitiesResponse]) -> Iterator[pb.IdentityChange]:
    return itertools.chain.from_iterable(response.changes for response in stream)


def test_the_life_of_identities_is_told_in_order(client: Client) -> None:
    with watching(client) as stream:
        assert not next(stream).changes
        told = changes(stream)
        (first,) = ingest(client, customer("crm:1", "email:ann@example.org"))
        (second,) = ingest(client, customer("app:2", "phone:+442079460018"))
        both = ["email:ann@example.org", "phone:+442079460018"]
        ingest(client, customer("app:2", *both, seen=NOW + 1))
        (parted,) = ingest(client, customer("app:2", "phone:+442079460018", seen=NOW + 2))
        ingest(client, deletion("app:2", made=NOW + 3))
        seen = [next(told) for _ in range(5)]
    assert [c.kind for c in seen] == [CREATED, CREATED, MERGED, SPLIT, ERASED]
    assert [c.identity for c in seen] == [
        first.identity, second.identity, first.identity, parted.identity, parted.identity,
    ]  # fmt: skip
    assert [list(c.other_identities) for c in seen] == [[], [], [second.identity], [first.identity], []]
    merged = seen[2]
    assert ("customer:app:2", second.identity, first.identity) in {
        (m.member, m.from_identity, m.to_identity) for m in merged.moves
    }
    assert merged.move_count == len(merged.moves)
    assert {m.to_identity for m in seen[4].moves} == {""}


def test_a_watcher_goes_on_where_it_was(client: Client) -> None:
    ids = [ingest(client, customer(f"crm:{n}"))[0].identity for n in range(6)]
    with watching(client, 0) as stream:
        first = next(changes(stream))
    with watching(client, first.sequence) as stream:
        rest = list(itertools.islice(changes(stream), 5))
    assert [c.identity for c in (first, *rest)] == ids
    assert [c.sequence for c in (first, *rest)] == list(range(first.sequence, first.sequence + 6))


def test_only_the_kinds_that_are_asked_for_are_told(client: Client) -> None:
    ingest(client, customer("crm:1", "email:ann@example.org"))
    ingest(client, customer("app:2", "phone:+442079460018"))
    ingest(client, customer("app:2", "email:ann@example.org", "phone:+442079460018", seen=NOW + 1))
    with watching(client, 0, MERGED, ERASED) as stream:
        assert next(changes(stream)).kind == MERGED


def test_a_bad_place_or_kind_is_refused_by_its_field(client: Client) -> None:
    for request, path in (
        (pb.WatchIdentitiesRequest(after_sequence=-1), "after_sequence"),
        (pb.WatchIdentitiesRequest(after_sequence=1 << 40), "after_sequence"),
        (pb.WatchIdentitiesRequest(kinds=[0]), "kinds[0]"),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            next(client.identity.WatchIdentities(request, timeout=30))
        status, _ = details(caught.value)
        assert code(status) is grpc.StatusCode.INVALID_ARGUMENT
        assert list(violations(status)) == [path]


@pytest.fixture
def alone(engine: Engine, tmp_path: Path) -> Iterator[tuple[Server, Client]]:
    """A service of its own, which takes two streams at once."""
    empty(engine.driver, engine.endpoint.database)
    with ExitStack() as resources:
        given = settings(engine.endpoint, tmp_path, max_streams=2)
        server = app.start(given, resources)
        channel = resources.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.port}"))
        yield server, Client(channel, engine, given)


def test_a_drain_ends_the_feed_at_once_and_more_watchers_than_fit_are_refused(alone: tuple[Server, Client]) -> None:
    server, client = alone
    with watching(client) as one, watching(client) as two:
        next(one)
        next(two)
        with pytest.raises(grpc.RpcError) as caught, watching(client) as three:
            next(three)
        status, found = details(caught.value)
        assert code(status) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert isinstance(found["RetryInfo"], RetryInfo)
        began = time.monotonic()
        assert server.drain(30).wait(20)
        assert time.monotonic() - began < 10
        for stream in (one, two):
            with pytest.raises(grpc.RpcError) as caught:
                for _ in stream:
                    pass
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_client_that_watches_survives_the_restart_of_the_service(engine: Engine, tmp_path: Path) -> None:
    empty(engine.driver, engine.endpoint.database)
    told: list[pb.IdentityChange] = []
    port = 0
    for life in range(2):
        with ExitStack() as resources:
            given = settings(engine.endpoint, tmp_path)
            if port:
                given = given.model_copy(update={"listen": f"127.0.0.1:{port}"})
            server = app.start(given, resources)
            port = server.port
            channel = resources.enter_context(grpc.insecure_channel(f"127.0.0.1:{port}"))
            client = Client(channel, engine, given)
            if life == 0:
                patient = grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.max_reconnect_backoff_ms", 500)])
                feed = watch(patient, 0)
            for n in range(3):
                ingest(client, customer(f"crm:{life}-{n}"))
            told += [next(feed) for _ in range(3)]
    patient.close()
    assert [c.sequence for c in told] == list(range(1, 7))
    assert len({c.identity for c in told}) == 6
