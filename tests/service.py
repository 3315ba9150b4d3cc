"""``onefold serve`` in a process of its own, to be used, killed and started again."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from onefold.graph.endpoint import Endpoint

COMMAND = [sys.executable, "-m", "onefold.service.cli", "serve"]


class ServiceProcess:
    """A service on one data folder, started by ``with`` and stopped after it; on its own engine, or on a given one.

    It takes a free port, and says nothing but errors (on standard error).
    """

    def __init__(self, folder: Path, endpoint: Endpoint | None = None, **settings: str) -> None:
        self.folder = folder
        self.address = ""
        """Where it serves, once it does."""
        self._settings = _settings_of(endpoint) | settings

    def __enter__(self) -> Self:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ONEFOLD_")} | {
            "ONEFOLD_LISTEN": "127.0.0.1:0",
            "ONEFOLD_DATA_FOLDER": str(self.folder),
            "ONEFOLD_ENGINE_HEAP": "512m",
            "ONEFOLD_METRICS_PORT": "0",
            "ONEFOLD_LOG_LEVEL": "error",
            **{f"ONEFOLD_{name.upper()}": value for name, value in self._settings.items()},
        }
        self._process = subprocess.Popen(COMMAND, env=environment, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if serving := re.search(r"gRPC +(127\.0\.0\.1:\d+)", line):
                self.address = serving[1]
                return self
        self._end()
        raise RuntimeError("the service did not start: see what it wrote to standard error")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def channel(self) -> grpc.Channel:
        """A channel to it; the caller closes it."""
        return grpc.insecure_channel(self.address, [("grpc.max_reconnect_backoff_ms", 500)])

    def engine_pid(self) -> int:
        """The process id of its own engine."""
        owner = json.loads((self.folder / "engine" / "owner.json").read_text())
        pid: int = owner["engine"]["pid"]
        return pid

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait()

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=60)
        assert self._process.stdout is not None
        self._process.stdout.close()


def _settings_of(endpoint: Endpoint | None) -> dict[str, str]:
    if endpoint is None:
        return {}
    return {
        "graph_uri": endpoint.uri,
        "graph_user": endpoint.user,
        "graph_password": endpoint.password,
        "graph_database": endpoint.database,
    }
