"""The server around the calls: addresses, health, reflection, TLS, draining, the HTTP door."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from onefold.graph.errors import NotReady
from onefold.service.metrics import Exposition, process_registry
from onefold.service.server import Server
from onefold.service.settings import Settings
from tests.rpc.echo import NAME, Client, Echo, serving

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def health(client: Client, service: str = "") -> int:
    stub = health_pb2_grpc.HealthStub(client.channel)
    return int(stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status)


def test_health_follows_readiness_for_the_server_and_each_service() -> None:
    with serving(Echo()) as (server, client):
        assert (health(client), health(client, NAME)) == (SERVING, SERVING)
        server.set_ready(False)
        assert (health(client), health(client, NAME)) == (NOT_SERVING, NOT_SERVING)
        with pytest.raises(grpc.RpcError) as caught:
            health(client, "test.Unknown")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_server_that_was_never_made_ready_is_not_serving() -> None:
    with (
        Server(Settings(listen="127.0.0.1:0"), []) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        assert health(Client(channel)) == NOT_SERVING


def test_health_is_answered_and_watched_while_every_worker_is_busy() -> None:
    echo = Echo()
    with serving(echo, workers=1, max_concurrent_rpcs=1) as (server, client):
        held = client.hold.future(StringValue())
        assert echo.inside.acquire(timeout=5)
        watch = health_pb2_grpc.HealthStub(client.channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == SERVING
        assert health(client) == SERVING
        server.set_ready(False)
        assert next(watch).status == NOT_SERVING
        watch.cancel()
        echo.gate.set()
        held.result()


def test_a_drain_says_not_serving_first_and_lets_running_calls_end() -> None:
    echo = Echo()
    with serving(echo) as (server, client):
        held = client.hold.future(StringValue(value="worth waiting for"))
        assert echo.inside.acquire(timeout=5)
        watch = health_pb2_grpc.HealthStub(client.channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == SERVING
        over = server.drain(10)
        assert next(watch).status == NOT_SERVING
        watch.cancel()
        assert not server.ready
        with (
            grpc.insecure_channel(f"127.0.0.1:{server.port}") as late,
            pytest.raises(grpc.RpcError) as caught,
        ):
            Client(late).say(StringValue(), timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not over.is_set()
        echo.gate.set()
        assert held.result().value == "worth waiting for"
        assert over.wait(5)


def test_a_drain_ends_calls_that_take_longer_than_its_time() -> None:
    echo = Echo()
    with serving(echo) as (server, client):
        held = client.hold.future(StringValue())
        assert echo.inside.acquire(timeout=5)
        began = time.monotonic()
        server.drain(0.2).wait(5)
        assert time.monotonic() - began < 3
        assert held.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        echo.gate.set()


def test_a_port_in_use_is_named() -> None:
    with serving(Echo()) as (server, _):
        with pytest.raises(NotReady) as caught, Server(Settings(listen=f"127.0.0.1:{server.port}"), []):
            pass
        assert f"port {server.port} is in use" in str(caught.value)
        assert "ONEFOLD_LISTEN" in str(caught.value)


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(NotReady, match=r"192\.0\.2\.1:0"), Server(Settings(listen="192.0.2.1:0"), []):
        pass


def reflected(client: Client) -> set[str]:
    stub = reflection_pb2_grpc.ServerReflectionStub(client.channel)
    [answer] = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=5)
    return {service.name for service in answer.list_services_response.service}


def test_reflection_lists_the_services() -> None:
    with serving(Echo()) as (_, client):
        assert reflected(client) == {
            NAME,
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }


def test_reflection_can_be_switched_off() -> None:
    with serving(Echo(), reflection=False) as (_, client), pytest.raises(grpc.RpcError) as caught:
        reflected(client)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_with_mutual_tls_only_a_client_with_a_certificate_is_served(tmp_path: Path) -> None:
    certificate, key = _self_signed(tmp_path)
    echo = Echo()
    settings = {
        "tls_certificate_file": certificate,
        "tls_key_file": key,
        "tls_client_authority_file": certificate,
    }
    with serving(echo, **settings) as (server, _):
        address, chain = f"localhost:{server.port}", certificate.read_bytes()
        known = grpc.ssl_channel_credentials(chain, key.read_bytes(), chain)
        with grpc.secure_channel(address, known) as channel:
            assert Client(channel).say(StringValue(value="a"), timeout=5).value == "a"
            with pytest.raises(grpc.RpcError):
                reflected(Client(channel))
        with grpc.secure_channel(address, grpc.ssl_channel_credentials(chain)) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                Client(channel).say(StringValue(), timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def _self_signed(folder: Path) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not here")
    certificate, key = folder / "tls.pem", folder / "tls.key"
    how = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    also = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *how.split(), *also], check=True, capture_output=True)
    return certificate, key


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_alive_and_ready_are_answered_apart_and_metrics_are_served() -> None:
    registry = process_registry()
    with (
        serving(Echo(), registry=registry) as (server, client),
        Exposition("127.0.0.1", 0, registry, lambda: server.ready) as door,
    ):
        client.say(StringValue())
        assert get(door.port, "/readyz") == (200, "ready\n")
        status, text = get(door.port, "/metrics")
        assert status == 200
        assert 'grpc_server_started_total{grpc_method="Say",grpc_service="test.Echo",grpc_type="unary"} 1.0' in text
        assert 'onefold_lane_limit{lane="unary"}' in text
        assert "process_resident_memory_bytes" in text
        server.set_ready(False)
        assert get(door.port, "/readyz") == (503, "not ready\n")
        assert get(door.port, "/livez") == (200, "alive\n")
        assert get(door.port, "/other")[0] == 404


def test_a_metrics_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(NotReady, match=f"{port}.*ONEFOLD_METRICS_PORT"):
            Exposition("127.0.0.1", port, process_registry(), lambda: True)
