"""The embedded engine's life: it starts, keeps what was committed, and never outlives its service."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from neo4j.exceptions import ClientError, IncompleteCommit

from onefold.graph import embedded
from onefold.graph.embedded import EmbeddedEngine
from onefold.graph.endpoint import Endpoint
from onefold.graph.errors import EngineError, Unavailable
from tests.engines import driver_of

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

SERVICE = """
import sys, time
from onefold.graph.embedded import EmbeddedEngine
print(EmbeddedEngine(sys.argv[1]).start().uri, flush=True)
time.sleep(600)
"""


@dataclass(frozen=True, slots=True)
class Running:
    folder: Path
    engine: EmbeddedEngine
    endpoint: Endpoint


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("running")
    engine = EmbeddedEngine(folder)
    with engine as endpoint:
        yield Running(folder, engine, endpoint)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that runs an engine on ``tmp_path``, ready."""
    with subprocess.Popen([sys.executable, "-c", SERVICE, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("bolt://127.0.0.1:")
        try:
            yield process
        finally:
            process.kill()


def add(endpoint: Endpoint, key: str) -> None:
    with driver_of(endpoint) as driver:
        driver.execute_query("CREATE (:Kept {key: $key})", key=key, database_=endpoint.database)


def kept(endpoint: Endpoint) -> list[str]:
    with driver_of(endpoint) as driver:
        query = "MATCH (k:Kept) RETURN k.key AS key ORDER BY key"
        return [row["key"] for row in driver.execute_query(query, database_=endpoint.database).records]


def process_ids(folder: Path) -> dict[str, int]:
    owner = json.loads((folder / "engine" / "owner.json").read_text())
    return {role: process["pid"] for role, process in owner.items() if role != "port"}


def engine_of(folder: Path) -> int | None:
    try:
        return process_ids(folder).get("engine")
    except FileNotFoundError:
        return None


def runs(pid: int) -> bool:
    return bool(embedded._start_time(pid))


def open_files(pid: int) -> Iterator[str]:
    """What the process has open; it goes on opening and closing files while it is asked."""
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            yield os.readlink(f"/proc/{pid}/fd/{descriptor}")


def eventually(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_starting_what_runs_gives_the_same_endpoint(running: Running) -> None:
    assert running.engine.start() == running.endpoint


@linux_only
def test_it_listens_on_loopback_only(running: Running) -> None:
    pid = process_ids(running.folder)["engine"]
    own = {link[len("socket:[") : -1] for link in open_files(pid) if link.startswith("socket:[")}
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]
    addresses = {row[1].rpartition(":")[0] for row in rows if row[3] == "0A" and row[9] in own}
    assert addresses
    assert addresses <= {"0100007F", "0000000000000000FFFF00000100007F"}


def test_its_secrets_are_for_the_owner_only(running: Running) -> None:
    folder = running.folder / "engine"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "root.password").stat().st_mode & 0o777 == 0o600
    assert running.endpoint.password == (folder / "root.password").read_text()
    assert running.endpoint.password not in repr(running.endpoint)


@linux_only
def test_no_command_line_tells_the_password(running: Running) -> None:
    for pid in process_ids(running.folder).values():
        assert running.endpoint.password.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_tool_beside_the_service_finds_its_engine(running: Running, tmp_path: Path) -> None:
    assert embedded.running(running.folder) == running.endpoint
    with pytest.raises(Unavailable, match=f"no Onefold service runs on {tmp_path}"):
        embedded.running(tmp_path)


def test_a_second_service_on_the_folder_is_told_who_has_it(running: Running) -> None:
    with pytest.raises(EngineError, match=rf"in use by the Onefold service with process id {os.getpid()}"):
        EmbeddedEngine(running.folder).start()
    assert kept(running.endpoint) == []
    assert process_ids(running.folder)["service"] == os.getpid()


def test_any_name_of_a_folder_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1m")
    folder = tmp_path / "données % 顧客 $HOME"
    with EmbeddedEngine(folder) as endpoint:
        add(endpoint, "a")
    assert (folder / "engine" / "databases" / "onefold" / "schema.json").is_file()
    assert (folder / "engine" / "log" / "engine.log.0").is_file()


def test_a_restart_keeps_the_data_and_the_password(tmp_path: Path) -> None:
    with EmbeddedEngine(tmp_path) as first:
        add(first, "a")
    engine = EmbeddedEngine(tmp_path)
    with engine as second:
        assert kept(second) == ["a"]
        assert second.password == first.password
    assert not engine.is_alive()


def test_a_lost_password_is_replaced_and_the_data_stay(tmp_path: Path) -> None:
    with EmbeddedEngine(tmp_path) as first:
        add(first, "a")
    (tmp_path / "engine" / "root.password").unlink()
    with EmbeddedEngine(tmp_path) as second:
        assert kept(second) == ["a"]
        assert second.password != first.password


def test_after_kill_9_of_the_engine_it_starts_again_with_all_that_was_committed(tmp_path: Path) -> None:
    with EmbeddedEngine(tmp_path) as endpoint, driver_of(endpoint) as driver:
        for key in ("a", "b", "c"):
            add(endpoint, key)
        killed = process_ids(tmp_path)["engine"]
        os.kill(killed, signal.SIGKILL)
        query = "MATCH (k:Kept) RETURN collect(k.key) AS keys"
        rows = driver.execute_query(query, database_=endpoint.database).records  # an open driver finds it again
        assert sorted(rows[0]["keys"]) == ["a", "b", "c"]
        assert process_ids(tmp_path)["engine"] != killed


def test_an_engine_that_is_not_to_be_restarted_stays_down_until_it_is_started(tmp_path: Path) -> None:
    engine = EmbeddedEngine(tmp_path, restarts=False)
    with engine as endpoint:
        os.kill(process_ids(tmp_path)["engine"], signal.SIGKILL)
        assert eventually(lambda: not engine.is_alive())
        assert engine.start() == endpoint, "on the same port, so that open drivers find it"


def test_a_stop_during_a_restart_is_heeded(tmp_path: Path) -> None:
    engine = EmbeddedEngine(tmp_path)
    with engine:
        killed = process_ids(tmp_path)["engine"]
        os.kill(killed, signal.SIGKILL)
        assert eventually(lambda: engine_of(tmp_path) not in (None, killed))
    assert not engine.is_alive()
    with EmbeddedEngine(tmp_path) as endpoint:
        assert kept(endpoint) == []


def test_kill_9_of_the_service_ends_the_engine_and_frees_the_folder(
    tmp_path: Path, service: subprocess.Popen[str]
) -> None:
    pids = process_ids(tmp_path)
    service.kill()
    assert eventually(lambda: not any(runs(pid) for pid in pids.values()))
    with EmbeddedEngine(tmp_path) as endpoint:
        add(endpoint, "a")
        assert kept(endpoint) == ["a"]


@linux_only
def test_kill_9_of_the_supervisor_ends_the_engine(tmp_path: Path) -> None:
    engine = EmbeddedEngine(tmp_path, restarts=False)
    with engine:
        pids = process_ids(tmp_path)
        os.kill(pids["supervisor"], signal.SIGKILL)
        assert eventually(lambda: not runs(pids["engine"]))
        assert eventually(lambda: not engine.is_alive())


def test_an_engine_left_behind_is_ended_and_its_data_taken_over(tmp_path: Path, service: subprocess.Popen[str]) -> None:
    pids = process_ids(tmp_path)
    os.kill(pids["supervisor"], signal.SIGSTOP)  # it can't do its duty
    service.kill()
    service.wait()
    assert runs(pids["engine"])
    with EmbeddedEngine(tmp_path, stop_seconds=4) as endpoint:
        assert not runs(pids["engine"])
        assert kept(endpoint) == []
        assert process_ids(tmp_path)["service"] == os.getpid()


def test_a_commit_in_flight_when_the_engine_dies_is_reported_as_unknown(tmp_path: Path) -> None:
    engine = EmbeddedEngine(tmp_path, restarts=False)
    with engine as endpoint, driver_of(endpoint) as driver:
        pid = process_ids(tmp_path)["engine"]
        with driver.session(database=endpoint.database) as session:
            transaction = session.begin_transaction()
            transaction.run("CREATE (:Kept {key: 'a'})").consume()
            os.kill(pid, signal.SIGSTOP)
            threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()
            with pytest.raises(IncompleteCommit):
                transaction.commit()


def test_a_statement_ends_at_its_limit(tmp_path: Path) -> None:
    with EmbeddedEngine(tmp_path, statement_seconds=0.5) as endpoint, driver_of(endpoint) as driver:
        with pytest.raises(ClientError) as caught:
            driver.execute_query(
                "UNWIND range(1, 10000) AS a UNWIND range(1, 10000) AS b RETURN max(a * b)",
                database_=endpoint.database,
            )
        assert caught.value.code == "Neo.ClientError.Transaction.TransactionTimedOut"


def test_a_port_taken_meanwhile_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        taken = squatter.getsockname()[1]
        choices = iter([taken])
        choose = embedded._free_port
        monkeypatch.setattr(embedded, "_free_port", lambda: next(choices, None) or choose())
        with EmbeddedEngine(tmp_path) as endpoint:
            assert endpoint.uri != f"bolt://127.0.0.1:{taken}"
            assert kept(endpoint) == []


def test_without_the_wheel_it_says_what_to_do_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_PACKAGE", "a_wheel_that_nobody_built")
    version = ".".join(str(part) for part in sys.version_info[:3])
    with pytest.raises(EngineError, match=rf"Python {version}.*set ONEFOLD_GRAPH_URI to a Neo4j 5\.26\+"):
        EmbeddedEngine(tmp_path).start()


def test_a_folder_that_cant_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EngineError, match=r"can't write to the data folder .*/file/engine"):
        EmbeddedEngine(tmp_path / "file").start()


def test_a_full_disk_is_told_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_NEEDED_BYTES", 1 << 62)
    with pytest.raises(EngineError, match=r"MB free and the engine needs"):
        EmbeddedEngine(tmp_path).start()


def test_a_heap_that_is_no_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="a size like 512m or 4g, not 'lots'"):
        EmbeddedEngine(tmp_path, heap="lots")


def test_an_engine_that_cant_start_is_quoted(tmp_path: Path) -> None:
    engine = EmbeddedEngine(tmp_path, heap="1m")  # less than Java can run with
    with pytest.raises(EngineError, match=r"ended while it started[\s\S]*heap"):
        engine.start()
    assert not engine.is_alive()
