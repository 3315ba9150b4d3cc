"""A real service in a process of its own: started, killed, started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Self

import grpc

from onefold.graph.endpoint import Endpoint


class Service:
    """``onefold serve`` on a data folder; with an endpoint, on that engine instead of one of its own."""

    def __init__(self, folder: Path, endpoint: Endpoint | None = None, **settings: str) -> None:
        self.address = "127.0.0.1:0"
        self._folder = folder
        self._settings = _settings_of(endpoint) | settings
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> grpc.Channel:
        """A channel to the service once it is ready; the caller closes it."""
        if self.address.endswith(":0"):
            self.address = f"127.0.0.1:{free_port()}"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ONEFOLD_")} | {
            "ONEFOLD_LISTEN": self.address,
            "ONEFOLD_DATA_FOLDER": str(self._folder),
            "ONEFOLD_METRICS_PORT": "0",
            "ONEFOLD_LOG_LEVEL": "warning",
            **{f"ONEFOLD_{name.upper()}": value for name, value in self._settings.items()},
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "service.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "onefold.service.cli", "serve"], env=environment, stdout=log, stderr=log
            )
        channel = grpc.insecure_channel(self.address, options=[("grpc.max_reconnect_backoff_ms", 200)])
        try:
            grpc.channel_ready_future(channel).result(timeout=90)
        except grpc.FutureTimeoutError:
            channel.close()
            self.kill()
            raise RuntimeError(f"the service did not start: {self.log()}") from None
        return channel

    def kill(self) -> None:
        """End it without warning."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        self._end(signal.SIGTERM)

    def log(self) -> str:
        """The last of what it wrote."""
        return (self._folder / "service.log").read_text(errors="replace")[-3_000:]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=90)
            self._process = None


def _settings_of(endpoint: Endpoint | None) -> dict[str, str]:
    if endpoint is None:
        return {}
    return {
        "graph_uri": endpoint.uri,
        "graph_user": endpoint.user,
        "graph_password": endpoint.password,
        "graph_database": endpoint.database,
    }


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
