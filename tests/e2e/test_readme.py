"""The README's commands and code, verbatim, against a real service on an empty folder."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from onefold.graph.endpoint import Endpoint
from tests.service import ServiceProcess

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
CLIENT = re.search(r"```python\n(.+?)```", README, re.DOTALL)
SAID = "one person\n{'city': 'Leeds', 'full_name': 'Ann Lee'}\n"


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def run_client(address: str) -> str:
    assert CLIENT is not None
    code = CLIENT[1].replace("127.0.0.1:50051", address)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def test_the_client_is_fifteen_lines_or_so() -> None:
    assert CLIENT is not None
    statements = [line for line in CLIENT[1].splitlines() if line and not line.startswith(("import", "from", " "))]
    assert len(statements) <= 15


def test_the_client_says_what_the_readme_says_and_cypher_agrees(tmp_path: Path) -> None:
    with ServiceProcess(tmp_path) as service:
        assert run_client(service.address) == SAID
        query = re.search(r'^onefold cypher "(.+?)"$', README, re.MULTILINE)
        assert query is not None
        command = [sys.executable, "-m", "onefold.service.cli", "cypher", query[1], "--json"]
        environment = os.environ | {"ONEFOLD_DATA_FOLDER": str(tmp_path), "ONEFOLD_LISTEN": service.address}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environment)
        assert "crm:17" in done.stdout
        assert "shop:9" in done.stdout


def test_the_client_gets_the_same_answers_on_any_engine_by_environment_alone(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    with ServiceProcess(tmp_path, endpoint) as service:
        assert run_client(service.address) == SAID


@pytest.mark.skipif(not port_is_free(50051), reason="the default port is in use on this machine")
def test_serve_without_any_setting_listens_where_the_readme_says(tmp_path: Path) -> None:
    environment = {n: v for n, v in os.environ.items() if not n.startswith("ONEFOLD_")} | {"HOME": str(tmp_path)}
    environment.pop("XDG_DATA_HOME", None)
    with subprocess.Popen(
        [sys.executable, "-m", "onefold.service.cli", "serve"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            with grpc.insecure_channel("127.0.0.1:50051") as channel:
                grpc.channel_ready_future(channel).result(timeout=60)
            assert run_client("127.0.0.1:50051") == SAID
            assert (tmp_path / ".local/share/onefold/engine").is_dir()
        finally:
            process.terminate()
            process.wait(timeout=60)
