"""A real service in a process of its own, on an engine that the bench has too."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import grpc

from onefold.graph.endpoint import Endpoint

MODES = {"embedded": "1", "neo4j": "2"}
"""Writer lanes an engine: what README recommends."""


@contextlib.contextmanager
def serving(endpoint: Endpoint, engine: str) -> Iterator[grpc.Channel]:
    """A channel to ``onefold serve`` on the engine."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        environment = os.environ | {
            "ONEFOLD_LISTEN": f"127.0.0.1:{port}",
            "ONEFOLD_DATA_FOLDER": folder,
            "ONEFOLD_GRAPH_URI": endpoint.uri,
            "ONEFOLD_GRAPH_USER": endpoint.user,
            "ONEFOLD_GRAPH_PASSWORD": endpoint.password,
            "ONEFOLD_GRAPH_DATABASE": endpoint.database,
            "ONEFOLD_METRICS_PORT": "0",
            "ONEFOLD_WRITER_LANES": MODES[engine],
            "ONEFOLD_LOG_LEVEL": "warning",
        }
        process = subprocess.Popen([sys.executable, "-m", "onefold.service.cli", "serve"], env=environment)
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                grpc.channel_ready_future(channel).result(timeout=60)
                yield channel
        finally:
            process.terminate()
            process.wait(timeout=60)


def free_port() -> int:
    """A port that nobody listens on just now."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
