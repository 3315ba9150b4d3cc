"""kill -9 of the engine under a serving process: health says so, and all is well again by itself."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from onefold.service import app
from onefold.service.settings import Settings
from onefold.v1 import identity_service_pb2 as pb
from onefold.v1 import identity_service_pb2_grpc
from tests.rpc.items import by_customer, customer

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "not in time"
        time.sleep(0.05)


def test_a_service_is_not_ready_while_its_engine_is_gone_and_recovers(tmp_path: Path) -> None:
    settings = Settings(listen="127.0.0.1:0", data_folder=tmp_path, engine_heap="512m", metrics_port=0)
    with ExitStack() as resources:
        server = app.start(settings, resources)
        server.set_ready(True)
        channel = resources.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.port}"))
        identity = identity_service_pb2_grpc.IdentityServiceStub(channel)
        health = health_pb2_grpc.HealthStub(channel)

        def status() -> int:
            return int(health.Check(health_pb2.HealthCheckRequest(), timeout=5).status)

        first = identity.IngestRecords(pb.IngestRecordsRequest(items=[customer("crm:1")]), timeout=30)
        owner = json.loads((tmp_path / "engine" / "owner.json").read_text())
        os.kill(owner["engine"]["pid"], signal.SIGKILL)

        wait_until(lambda: status() == NOT_SERVING, 15)
        # A write that comes meanwhile rides it out.
        second = identity.IngestRecords(pb.IngestRecordsRequest(items=[customer("crm:2")]), timeout=90)
        wait_until(lambda: status() == SERVING, 60)
        for name, answer in (("crm:1", first), ("crm:2", second)):
            request = pb.ResolveIdentityRequest(subject=by_customer(name))
            assert identity.ResolveIdentity(request, timeout=30).identity.id == answer.results[0].identity
