"""The gRPC server: servicers behind the interceptor, health, reflection, TLS, and an orderly end.

with Server(settings, services) as server:     # bound and answering, health says NOT_SERVING
    ...                                        # warm up
    server.set_ready(True)                     # health says SERVING
    server.drain(settings.drain_seconds)       # NOT_SERVING first, then no new calls, then wait for the rest
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry

from onefold.graph.errors import NotReady
from onefold.service.interceptors import CallInterceptor, Decoder
from onefold.service.lanes import Lanes
from onefold.service.metrics import CallMetrics
from onefold.service.settings import Settings

TRANSPORT_SLACK: Final = 4
"""How many times the largest request the transport lets in, so that it is refused in words and not by the
transport.
"""

log = structlog.get_logger("onefold.server")


class Service(NamedTuple):
    """A servicer, how it is added (the generated ``add_…_to_server``), and its service's full name."""

    add: Callable[[Any, grpc.Server], None]
    servicer: object
    name: str


class Server:
    """A gRPC server over the given services. A context manager; entered, it listens.

    ``decoders`` and ``waits`` are as in :class:`CallInterceptor`. Metrics go to ``registry``. ``on_drain`` is called
    when the end begins: it ends streams that have no end of their own.
    """

    def __init__(
        self,
        settings: Settings,
        services: Sequence[Service],
        *,
        decoders: Mapping[str, Decoder] | None = None,
        waits: frozenset[str] = frozenset(),
        registry: CollectorRegistry | None = None,
        on_drain: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._on_drain = on_drain
        self._lanes = Lanes.from_settings(settings)
        metrics = CallMetrics(registry or CollectorRegistry(), self._lanes)
        interceptor = CallInterceptor(
            self._lanes, metrics, decoders=decoders, max_message_bytes=settings.max_message_bytes, waits=waits
        )
        self._grpc = grpc.server(
            self._lanes.unary,
            interceptors=[interceptor],
            options=_options(settings),
            maximum_concurrent_rpcs=self._lanes.places,
        )
        self._names = [service.name for service in services]
        self._health = health.HealthServicer(experimental_thread_pool=self._lanes.control)
        self._ready = self._draining = False
        self.set_ready(False)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        for service in services:
            service.add(service.servicer, self._grpc)
        if settings.reflects:
            reflection.enable_server_reflection(
                [*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME], self._grpc
            )
        self.port = 0
        """Where it listens, once entered."""

    def __enter__(self) -> Self:
        """Listens. Raises :class:`NotReady` that names the address and what is wrong with it."""
        try:
            self.port = _bind(self._grpc, self._settings)
            self._grpc.start()
        except BaseException:
            self.__exit__()
            raise
        log.info("listening", port=self.port, tls=self._settings.tls_certificate_file is not None)
        return self

    def __exit__(self, *_: object) -> None:
        self._health.enter_graceful_shutdown()
        self._ready = False
        self._on_drain()
        self._grpc.stop(None).wait()
        self._lanes.close()

    @property
    def ready(self) -> bool:
        """Whether health says SERVING."""
        return self._ready

    def set_ready(self, ready: bool) -> None:
        """What health says of the server and of each service. After a drain it stays NOT_SERVING."""
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in (health.OVERALL_HEALTH, *self._names):
            self._health.set(name, status)
        self._ready = ready and not self._draining

    def drain(self, seconds: float) -> threading.Event:
        """Begins the end: not ready, no new calls, running ones cancelled after ``seconds``; the event is set
        when all are over. Called again, it can only shorten the time.
        """
        self._health.enter_graceful_shutdown()
        self._draining, self._ready = True, False
        self._on_drain()
        return self._grpc.stop(seconds)


def _options(settings: Settings) -> list[tuple[str, int]]:
    most = settings.max_message_bytes * TRANSPORT_SLACK
    return [
        (
            "grpc.so_reuseport",
            0,
        ),  # else a second server binds the same port and takes half of the calls, silently
        ("grpc.max_receive_message_length", most),
        ("grpc.max_send_message_length", most),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.max_connection_age_ms", round(settings.max_connection_age_seconds * 1000)),
        ("grpc.max_connection_age_grace_ms", 600_000),
    ]


def _bind(server: grpc.Server, settings: Settings) -> int:
    try:
        credentials = _credentials(settings)
        if credentials is None:
            return server.add_insecure_port(settings.listen)
        return server.add_secure_port(settings.listen, credentials)
    except RuntimeError as error:
        raise NotReady(f"address {settings.listen}", _why_not_bound(settings.listen)) from error


def _credentials(settings: Settings) -> grpc.ServerCredentials | None:
    if settings.tls_certificate_file is None or settings.tls_key_file is None:
        return None
    authority = settings.tls_client_authority_file
    return grpc.ssl_server_credentials(
        [(settings.tls_key_file.read_bytes(), settings.tls_certificate_file.read_bytes())],
        root_certificates=authority.read_bytes() if authority else None,
        require_client_auth=authority is not None,
    )


def _why_not_bound(address: str) -> str:
    """gRPC only says that it failed; a plain socket at the same address says why."""
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except socket.gaierror:
        return "its host is not known; set ONEFOLD_LISTEN to an address of this machine"
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return f"port {port} is in use by another process; stop it, or set ONEFOLD_LISTEN to another port"
        return f"{os.strerror(error.errno or 0)}; set ONEFOLD_LISTEN to another address"
    return "can't be listened at with these TLS files; see that certificate and key are PEM and belong together"
