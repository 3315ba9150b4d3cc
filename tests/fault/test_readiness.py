"""An engine that is killed, or hangs, under a serving process: health says so, and all is well again by itself."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from onefold.service import app, logs
from onefold.service.settings import Settings
from onefold.v1 import identity_service_pb2 as pb
from onefold.v1 import identity_service_pb2_grpc, prediction_service_pb2, prediction_service_pb2_grpc
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


def test_an_engine_that_hangs_holds_no_call_beyond_its_deadline(tmp_path: Path) -> None:
    settings = Settings(listen="127.0.0.1:0", data_folder=tmp_path, engine_heap="512m", metrics_port=0, workers=4)
    with ExitStack() as resources:
        server = app.start(settings, resources)
        server.set_ready(True)
        channel = resources.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.port}"))
        identity = identity_service_pb2_grpc.IdentityServiceStub(channel)
        prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        health = health_pb2_grpc.HealthStub(channel)

        def status() -> int:
            return int(health.Check(health_pb2.HealthCheckRequest(), timeout=5).status)

        first = identity.IngestRecords(pb.IngestRecordsRequest(items=[customer("crm:1")]), timeout=30)
        request = pb.ResolveIdentityRequest(subject=by_customer("crm:1"))
        identity.ResolveIdentity(request, timeout=30)
        engine = json.loads((tmp_path / "engine" / "owner.json").read_text())["engine"]["pid"]
        lines = io.StringIO()
        logs.configure("info", "json", lines)
        resources.callback(logs.configure)
        os.kill(engine, signal.SIGSTOP)
        try:
            calls = [identity.ResolveIdentity.future(request, timeout=1) for _ in range(40)]
            assert {call.code() for call in calls} == {grpc.StatusCode.DEADLINE_EXCEEDED}
            # Every worker had such a call; this one needs a worker and no engine.
            prediction.ListModels(prediction_service_pb2.ListModelsRequest(), timeout=5)
            wait_until(lambda: status() == NOT_SERVING, 10)
        finally:
            os.kill(engine, signal.SIGCONT)
        wait_until(lambda: status() == SERVING, 30)
        assert identity.ResolveIdentity(request, timeout=30).identity.id == first.results[0].identity
        ended = [json.loads(line) for line in lines.getvalue().splitlines() if "ResolveIdentity" in line]
    assert {line["code"] for line in ended[:-1]} == {"DEADLINE_EXCEEDED"}
    assert max(line["ms"] for line in ended[:-1]) < 5_000
