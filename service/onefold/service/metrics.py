"""Metrics of calls, under the names that dashboards for gRPC servers know, and a small HTTP door to read
them.

The door answers ``/metrics`` (Prometheus), ``/livez`` (the process runs) and ``/readyz`` (it takes calls).
Alive and ready are two questions: a process that starts its engine or drains is alive, and must not be killed
for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from onefold.graph.errors import NotReady
from onefold.service.lanes import Lanes

_METHOD = ("grpc_type", "grpc_service", "grpc_method")
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


def process_registry() -> CollectorRegistry:
    """A registry that holds what Prometheus usually knows of a Python process."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class CallMetrics:
    """Counters of calls by method and code, and a gauge of what each lane holds."""

    def __init__(self, registry: CollectorRegistry, lanes: Lanes) -> None:
        self._started = Counter("grpc_server_started", "Calls begun.", _METHOD, registry=registry)
        self._handled = Counter(
            "grpc_server_handled", "Calls ended, by status code.", (*_METHOD, "grpc_code"), registry=registry
        )
        self._seconds = Histogram(
            "grpc_server_handling_seconds",
            "Seconds from a call's first step on a thread to its end.",
            _METHOD,
            registry=registry,
            buckets=_BUCKETS,
        )
        self._received = Counter("grpc_server_msg_received", "Messages read.", _METHOD, registry=registry)
        self._sent = Counter("grpc_server_msg_sent", "Messages sent.", _METHOD, registry=registry)
        held = Gauge("onefold_lane_held", "Calls that run or wait in a lane.", ("lane",), registry=registry)
        limit = Gauge("onefold_lane_limit", "Calls that a lane may hold.", ("lane",), registry=registry)
        for lane in lanes.all:
            held.labels(lane.name).set_function(lambda lane=lane: lane.held)  # type: ignore[misc]
            limit.labels(lane.name).set(lane.limit)

    def of(self, kind: str, service: str, method: str) -> MethodMetrics:
        """The metrics of one method, its labels bound: binding them anew for each call would cost more than
        counting.
        """
        labels = (kind, service, method)
        return MethodMetrics(
            self._started.labels(*labels),
            lambda code: self._handled.labels(*labels, code),
            self._seconds.labels(*labels),
            self._received.labels(*labels),
            self._sent.labels(*labels),
        )


class MethodMetrics:
    """The metrics of one method."""

    __slots__ = ("_by_code", "_handled", "_received", "_seconds", "_sent", "_started")

    def __init__(
        self,
        started: Counter,
        handled: Callable[[str], Counter],
        seconds: Histogram,
        received: Counter,
        sent: Counter,
    ) -> None:
        self._started, self._handled, self._seconds = started, handled, seconds
        self._received, self._sent = received, sent
        self._by_code: dict[str, Counter] = {}

    def begin(self) -> None:
        """Counts a call that begins."""
        self._started.inc()

    def end(self, code: str, seconds: float, received: int, sent: int) -> None:
        """Counts a call that ended, with its time and messages."""
        handled = self._by_code.get(code)
        if handled is None:
            handled = self._by_code[code] = self._handled(code)
        handled.inc()
        self._seconds.observe(seconds)
        self._received.inc(received)
        self._sent.inc(sent)


class Exposition:
    """An HTTP server of its own thread that answers ``/metrics``, ``/livez`` and ``/readyz``. A context
    manager.

    Raises :class:`NotReady` when it can't listen at ``host:port``.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry, ready: Callable[[], bool]) -> None:
        try:
            self._server = ThreadingHTTPServer((host, port), _handler(registry, ready))
        except OSError as error:
            words = f"{error.strerror or error}; choose another with ONEFOLD_METRICS_PORT, 0 for none"
            raise NotReady(f"metrics address {host}:{port}", words) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="onefold-metrics", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(registry: CollectorRegistry, ready: Callable[[], bool]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                self._answer(HTTPStatus.OK, encode(registry), content_type)
            elif self.path == "/livez":
                self._answer(HTTPStatus.OK, b"alive\n")
            elif self.path == "/readyz":
                up = ready()
                self._answer(
                    HTTPStatus.OK if up else HTTPStatus.SERVICE_UNAVAILABLE,
                    b"ready\n" if up else b"not ready\n",
                )
            else:
                self._answer(HTTPStatus.NOT_FOUND, b"/metrics, /livez or /readyz\n")

        def _answer(self, status: HTTPStatus, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: a scrape every few seconds is no news."""

    return Handler
