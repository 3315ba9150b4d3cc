"""``onefold serve`` in a process of its own, to be used, killed and started again."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from onefold.graph.endpoint import Endpoint
from onefold.graph.model import BanExpiry, OperatorBan
from onefold.graph.reader import Reader
from onefold.graph.upkeep import due_bans
from onefold.service import convert
from onefold.v1 import record_pb2
from tests.stored import faults

ONEFOLD = [sys.executable, "-m", "onefold.service.cli"]


class ServiceProcess:
    """A service on one data folder, started by ``with`` and stopped after it; on its own engine, or on a given one.

    It takes a free port, and says nothing but errors (on standard error). It keeps no frames unless told to: it would
    make one in each pause of a test or bench, which are no pauses of a service at work.
    """

    def __init__(self, folder: Path, endpoint: Endpoint | None = None, **settings: str) -> None:
        self.folder = folder
        self.address = ""
        """Where it serves, once it does."""
        self._settings = _settings_of(endpoint) | settings

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [*ONEFOLD, "serve"], env=self._environment(), stdout=subprocess.PIPE, text=True
        )
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

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``onefold`` with these arguments and the service's settings, in a process of its own."""
        return subprocess.run(
            [*ONEFOLD, *arguments], env=self._environment(), capture_output=True, text=True, timeout=120, check=False
        )

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait()

    def _environment(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith("ONEFOLD_")} | {
            "ONEFOLD_LISTEN": "127.0.0.1:0",
            "ONEFOLD_DATA_FOLDER": str(self.folder),
            "ONEFOLD_ENGINE_HEAP": "512m",
            "ONEFOLD_METRICS_PORT": "0",
            "ONEFOLD_FRAME_MINUTES": "0",
            "ONEFOLD_LOG_LEVEL": "error",
            **{f"ONEFOLD_{name.upper()}": value for name, value in self._settings.items()},
        }

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
        **({"graph_turns": endpoint.turns} if endpoint.turns else {}),
    }


def assert_kept(reader: Reader, said: Sequence[record_pb2.Item]) -> None:
    """All that services acknowledged is there, with all that follows from it."""
    items = [convert.parse_item(item, reader.policy) for item in said]
    bans = [item for item in items if isinstance(item, OperatorBan) and item.expires_at is not None]
    now = int(time.time() * 1000)
    until = time.monotonic() + 30
    while due_bans(reader, now):  # the services end them
        assert time.monotonic() < until, "bans that are over must end"
        time.sleep(0.2)
    assert faults(reader, [*items, *(BanExpiry(ban.a, ban.b, ban.at) for ban in bans)]) == []


def assert_verified(service: ServiceProcess, reader: Reader) -> None:
    """``onefold verify`` has looked at all there is and says that nothing differs."""
    ((members,),) = reader.rows("MATCH (r)-[:MEMBER_OF]->(:Identity) RETURN count(r)")
    ((decisions,),) = reader.rows("MATCH (d:Decision) RETURN count(d)")
    done = service.run("verify")
    assert done.returncode == 0, done.stdout + done.stderr
    said = [" ".join(line.split()) for line in done.stdout.splitlines()]
    held = re.fullmatch(r"([\d,]+) records held against all evidence, by policy (\S+)", said[0])
    assert held, said
    assert int(held[1].replace(",", "")) >= members > 0, said  # whoever was deleted is looked at, too
    assert held[2] == reader.policy.version, said
    assert said[3:] == [f"{decisions:,} decisions sealed as they were written", "Nothing differs."], said
