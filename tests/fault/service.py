"""``onefold serve`` in a process of its own, to be killed."""

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

COMMAND = [sys.executable, "-m", "onefold.service.cli", "serve"]


class ServiceProcess:
    """A service on its embedded engine and one data folder, started by ``with`` and stopped after it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = ""
        """Where it serves, once it does."""

    def __enter__(self) -> Self:
        environment = os.environ | {
            "ONEFOLD_LISTEN": "127.0.0.1:0",
            "ONEFOLD_DATA_FOLDER": str(self.folder),
            "ONEFOLD_ENGINE_HEAP": "512m",
            "ONEFOLD_METRICS_PORT": "0",
            "ONEFOLD_LOG_LEVEL": "error",
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
        """The process id of its engine."""
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
