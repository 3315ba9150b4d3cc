"""The life of a serving process, as seen from outside: its signals, its output, its exit code."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from tests.rpc.echo import Client

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys, time
from contextlib import ExitStack
from onefold.service import logs, process
from onefold.service.server import Server, Service
from onefold.service.settings import Settings
from tests.rpc.echo import NAME, Echo

logs.configure("info", "console")

def start(resources):
    resources.callback(print, "engine closed", flush=True)
    resources.callback(print, "store closed", flush=True)
    print("started both", flush=True)
    time.sleep(float(sys.argv[1]))
    service = Service(lambda servicer, server: servicer.add_to(server), Echo(), NAME)
    return resources.enter_context(Server(Settings(listen="127.0.0.1:0"), [service]))

process.run(start, drain_seconds=15)
print("end of main", flush=True)
"""


@contextmanager
def process(start_seconds: float = 0) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(start_seconds)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def read_until(child: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    assert child.stdout is not None
    seen = []
    for line in child.stdout:
        seen.append(line)
        if match := re.search(pattern, line):
            return match
    raise AssertionError("".join(seen))


@contextmanager
def client_of(child: subprocess.Popen[str]) -> Iterator[Client]:
    port = read_until(child, r"ready .*port=(\d+)")[1]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Client(channel)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_drains_and_closes_in_reverse_order(number: signal.Signals) -> None:
    with process() as child, client_of(child) as client:
        client.say(StringValue(), timeout=5)
        child.send_signal(number)
        out, _ = child.communicate(timeout=10)
    assert child.returncode == 0
    said = [line for line in out.splitlines() if line in ("store closed", "engine closed", "end of main")]
    assert said == ["store closed", "engine closed", "end of main"]


def test_a_second_signal_does_not_wait_for_running_calls() -> None:
    with process() as child, client_of(child) as client:
        chat = client.chat(_slowly())
        next(chat)
        child.send_signal(signal.SIGTERM)
        read_until(child, "draining")
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        out, _ = child.communicate(timeout=12)
        assert time.monotonic() - began < 5
    assert child.returncode == 0
    assert "engine closed" in out


def _slowly() -> Iterator[StringValue]:
    yield StringValue(value="a")
    time.sleep(8)


def test_a_signal_during_the_start_closes_what_had_been_started() -> None:
    with process(start_seconds=30) as child:
        read_until(child, "started both")
        child.send_signal(signal.SIGTERM)
        out, _ = child.communicate(timeout=10)
    assert child.returncode == 128 + signal.SIGTERM
    assert out.splitlines()[-2:] == ["store closed", "engine closed"]
