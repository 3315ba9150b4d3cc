"""The whole service, on each engine, over a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from google.longrunning import operations_pb2_grpc
from pydantic import SecretStr

from onefold.graph.endpoint import Endpoint
from onefold.service import app
from onefold.service.settings import Settings
from onefold.v1 import (
    audit_service_pb2_grpc,
    identity_service_pb2_grpc,
    prediction_service_pb2_grpc,
    profile_service_pb2_grpc,
    segment_service_pb2_grpc,
)
from tests.conftest import Engine
from tests.engines import empty


class Client:
    """A stub of each service, on one channel."""

    def __init__(self, channel: grpc.Channel, engine: Engine, settings: Settings) -> None:
        self.channel = channel
        self.engine = engine
        self.settings = settings
        self.identity = identity_service_pb2_grpc.IdentityServiceStub(channel)
        self.profile = profile_service_pb2_grpc.ProfileServiceStub(channel)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self.segment = segment_service_pb2_grpc.SegmentServiceStub(channel)
        self.audit = audit_service_pb2_grpc.AuditServiceStub(channel)
        self.operations = operations_pb2_grpc.OperationsStub(channel)

    def count(self, label: str) -> int:
        """How many nodes with this label there are in the graph."""
        with self.engine.driver.session(database=self.engine.endpoint.database) as session:
            row = session.run(f"MATCH (n:{label}) RETURN count(n)").single(strict=True)
        number: int = row[0]
        return number


def settings(endpoint: Endpoint, folder: Path, **given: object) -> Settings:
    """Settings of a service on this engine, on a free port."""
    return Settings(
        listen="127.0.0.1:0",
        data_folder=folder,
        graph_uri=endpoint.uri,
        graph_user=endpoint.user,
        graph_password=SecretStr(endpoint.password),
        graph_database=endpoint.database,
        graph_turns=endpoint.turns or None,
        **{"metrics_port": 0, "frame_minutes": 0, **given},
    )


@pytest.fixture(scope="module")
def served(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One service for all tests of a module, an engine at a time; it keeps what earlier tests left."""
    with ExitStack() as resources:
        given = settings(engine.endpoint, tmp_path_factory.mktemp("data"))
        server = app.start(given, resources)
        server.set_ready(True)
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        channel = resources.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.port}", options))
        yield Client(channel, engine, given)


@pytest.fixture
def client(served: Client) -> Client:
    """The service over an empty graph."""
    empty(served.engine.driver, served.engine.endpoint.database)
    return served
