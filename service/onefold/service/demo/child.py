"""A service of one's own: ``onefold serve`` as a child process that can't outlive its parent."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import grpc

from onefold.graph import supervisor
from onefold.graph.errors import EngineError, Unavailable
from onefold.service.client import OPTIONS, require_service
from onefold.service.settings import PREFIX, variable

_START_SECONDS: Final = 120.0
_STOP_SECONDS: Final = 30.0


class ServiceProcess:
    """``onefold serve`` on a free port and a folder, with its own engine whatever the environment says.

    A context manager: entered, the process runs; :meth:`wait_ready` returns when it serves. The supervisor of the
    engine keeps this child too, so that it ends with this process however that ends.
    """

    def __init__(self, folder: Path) -> None:
        self._log = folder / "service.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.address = f"127.0.0.1:{_free_port()}"
        """Where it serves."""
        self.data_folder = folder

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a command finds it."""
        return {variable("listen"): self.address, variable("data_folder"): str(self.data_folder)}

    def __enter__(self) -> Self:
        serve = [sys.executable, "-m", "onefold.service.cli", "serve", "--metrics-port", "0", "--log-level", "warning"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", supervisor.__file__, str(_STOP_SECONDS), *serve],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=kept | self.environment,
                start_new_session=True,  # Ctrl-C is for us, who then stop it in order
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()  # tells the supervisor to stop it
        self._process.wait()

    def wait_ready(self, channel: grpc.Channel) -> None:
        """Returns when it serves. Raises EngineError, with the service's own words, if it ended instead."""
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                return require_service(channel, self.address, seconds=1.0)
            except Unavailable:
                if self._process.poll() is not None:
                    raise EngineError(f"the service did not start: {self._last_words()}") from None
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def open_channel(self) -> grpc.Channel:
        """A channel to it."""
        return grpc.insecure_channel(self.address, OPTIONS)

    def _last_words(self) -> str:
        lines = self._log.read_text("utf-8", "replace").strip().splitlines()
        said = [line for line in lines if line.startswith("error: ")] or lines[-1:]
        return "; ".join(line.removeprefix("error: ") for line in said) or "it said nothing"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
