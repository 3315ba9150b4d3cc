"""Writers of the embedded engine take turns, in any thread or process, and wait no longer for them than asked."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from onefold.graph.embedded import running
from onefold.graph.errors import DeadlineExceeded
from onefold.graph.ingest import Batch, ingest
from onefold.graph.turns import Turns
from tests import items as make
from tests.conftest import Engine

HOLDER = """
import sys, time
from pathlib import Path
from onefold.graph.turns import Turns
with Turns(Path(sys.argv[1])).take(None):
    print("mine", flush=True)
    time.sleep(60)
"""

BUSY = """
import sys, time
from pathlib import Path
from onefold.graph.turns import Turns
turns = Turns(Path(sys.argv[1]))
print("on", flush=True)
while True:
    with turns.take(None):
        time.sleep(0.005)
"""


only_embedded = pytest.mark.parametrize("engine", ["embedded"], indirect=True)
"""Other engines keep writers apart themselves."""


def process(code: str, path: Path) -> subprocess.Popen[str]:
    """Another process, once it has spoken."""
    started = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline()
    return started


def soon(seconds: float) -> float:
    return time.monotonic() + seconds


def test_threads_of_several_takers_are_never_in_at_once(tmp_path: Path) -> None:
    inside, most = 0, 0
    counting = threading.Lock()

    def work(taker: Turns) -> None:
        nonlocal inside, most
        for _ in range(20):
            with taker.take(None):
                with counting:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0.0005)
                with counting:
                    inside -= 1

    takers = [Turns(tmp_path / "turns"), Turns(tmp_path / "turns")] * 2
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, takers))
    assert (inside, most) == (0, 1)


def test_a_turn_is_waited_for_no_longer_than_asked_and_ends_with_the_process_that_has_it(tmp_path: Path) -> None:
    turns = Turns(tmp_path / "turns")
    with process(HOLDER, tmp_path / "turns") as holder:
        before = time.monotonic()
        with pytest.raises(DeadlineExceeded), turns.take(soon(0.2)):
            pass
        assert 0.2 <= time.monotonic() - before < 5
        os.kill(holder.pid, signal.SIGKILL)
    with turns.take(soon(5)), pytest.raises(DeadlineExceeded), turns.take(soon(0.01)):
        pass


def test_one_that_is_always_busy_lets_others_in(tmp_path: Path) -> None:
    turns = Turns(tmp_path / "turns")
    with process(BUSY, tmp_path / "turns") as busy:
        for _ in range(10):
            with turns.take(soon(5)):
                pass
        busy.kill()


def test_only_the_embedded_engine_asks_for_turns(engine: Engine) -> None:
    assert bool(engine.endpoint.turns) == (engine.name == "embedded")


@only_embedded
def test_a_tool_beside_the_service_takes_turns_with_it(engine: Engine, endpoint: object) -> None:
    folder = Path(engine.endpoint.turns).parent.parent
    beside = replace(engine.endpoint, turns=running(folder).turns)
    service, tool = (make.writer(there, engine.driver) for there in (engine.endpoint, beside))
    with tool.turn(None), pytest.raises(DeadlineExceeded):
        ingest(service, [Batch([make.customer("web:1", "email:1")])], 0.3)
    assert ingest(service, [Batch([make.customer("web:1", "email:1")])], 30)


@only_embedded
def test_writers_that_take_turns_never_have_to_try_again(engine: Engine, endpoint: object) -> None:
    again: list[str] = []
    writer = replace(make.writer(engine.endpoint, engine.driver), on_retry=again.append)

    def write(racer: int) -> None:
        for n in range(10):
            ingest(writer, [Batch([make.customer(f"web:{racer}-{n}", "email:1", f"phone:{n}")])])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert again == []
