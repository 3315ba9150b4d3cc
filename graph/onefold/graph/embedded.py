"""The embedded engine: ArcadeDB as a child process of the service, speaking Bolt on loopback.

The ``arcadedb-embedded`` wheel brings the engine and a Java runtime of its own; this module finds both in the
installed package and runs them, with everything the engine keeps under ``<data folder>/engine``:

    databases/         the graph
    root.password      the engine's password, one file per account, readable by the owner only
    lock               held (flock) by the service, the supervisor and the engine: free means nobody runs
    turns, turns.door  held by whoever writes: see :mod:`onefold.graph.turns`
    owner.json         who holds the lock: process ids with their start times, and the engine's port
    log/               engine.log (rotated, 3 x 10 MB), console.log (what the Java runtime says, last start)
    logging.properties, config/   written by this module and by the engine

The engine ends with its service, however that ends: see :mod:`onefold.graph.supervisor`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final

import neo4j
from neo4j.exceptions import DriverError, Neo4jError

from onefold.graph import supervisor
from onefold.graph.endpoint import Endpoint
from onefold.graph.errors import EngineError, Unavailable

_log = logging.getLogger(__name__)

_PACKAGE: Final = "arcadedb_embedded"
_DATABASE: Final = "onefold"
_USER: Final = "root"
_INSTEAD: Final = "set ONEFOLD_GRAPH_URI to a Neo4j 5.26+ instead"
_NEEDED_BYTES: Final = 256 * 1024 * 1024
_PORT_ATTEMPTS: Final = 5
_PING_SECONDS: Final = 5.0

# Doors the service does not use: each would be one more thing that listens, or answers on the HTTP port.
_UNUSED_JARS: Final = ("mcp", "console", "graphql", "postgresw", "redisw", "python-bridge")

_LOGGING: Final = """\
handlers = java.util.logging.FileHandler
.level = INFO
io.undertow.level = WARNING
org.xnio.level = WARNING
org.jboss.level = WARNING
# A statement's error goes to its caller. Here it would only put keys, which are personal data, into a file.
com.arcadedb.bolt.BoltNetworkExecutor.level = OFF
java.util.logging.FileHandler.pattern = log/engine.log
java.util.logging.FileHandler.limit = 10000000
java.util.logging.FileHandler.count = 3
java.util.logging.FileHandler.append = true
java.util.logging.FileHandler.formatter = com.arcadedb.log.LogFormatter
"""


class EmbeddedEngine:
    """One engine on one data folder: started, watched and stopped by this object.

    Use it as a context manager, or call :meth:`start` and :meth:`stop`. Between the two an engine that dies is
    started again, where it was, so that open drivers find it: a matter of seconds in which they get errors that
    say to try again. Methods may be called from any thread.
    """

    def __init__(
        self,
        data_folder: Path | str,
        *,
        heap: str = "1g",
        restarts: bool = True,
        statement_seconds: float = 300.0,
        start_seconds: float = 60.0,
        stop_seconds: float = 20.0,
    ) -> None:
        """``heap`` is the engine's memory (``512m``, ``4g``); a quarter of it caches pages of the graph.

        ``restarts=False`` leaves an engine that died to the caller: :meth:`is_alive` tells, :meth:`start` starts it.
        ``statement_seconds`` ends any statement that takes longer: the engine knows no time limit of a client, and
        does not notice when one is gone. ``start_seconds`` bounds the wait for the first answer (recovery after a
        crash takes its time); ``stop_seconds`` is what the engine gets to end in order before it is killed.
        """
        if not re.fullmatch(r"[1-9][0-9]*[mMgG]", heap):
            raise EngineError(f"the engine's heap is a size like 512m or 4g, not {heap!r}")
        self._folder = Path(data_folder).expanduser().absolute() / "engine"
        self._heap = heap
        self._restarts = restarts
        self._statement_seconds = statement_seconds
        self._start_seconds = start_seconds
        self._stop_seconds = stop_seconds
        self._mutex = threading.RLock()
        self._stopping = threading.Event()
        self._lock: IO[str] | None = None
        self._supervisor: subprocess.Popen[str] | None = None
        self._port = 0

    @property
    def log_folder(self) -> Path:
        """Where the engine's logs are."""
        return self._folder / "log"

    def start(self) -> Endpoint:
        """Where the engine answers, once it does; starts it if it is not running.

        An engine that an earlier, crashed service left behind is stopped first.

        Raises:
            EngineError: no build for this platform; the folder is in use by another service, not writable or
                on a full disk; or the engine did not come up. The message says what to do.
        """
        with self._mutex:
            self._stopping.clear()
            # A process that was just killed still looks alive for a moment; only an answer tells.
            if not (self.is_alive() and self._answers()):
                self._start(stay=False)
            return self._endpoint()

    def stop(self) -> None:
        """End the engine in order, or by force after ``stop_seconds``. Nothing happens if none runs."""
        self._stopping.set()
        with self._mutex:
            self._release()

    def is_alive(self) -> bool:
        """Whether the engine's process runs. (It may still be busy; a statement tells.)"""
        with self._mutex:
            return self._supervisor is not None and self._supervisor.poll() is None

    def __enter__(self) -> Endpoint:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self, *, stay: bool) -> None:
        java, class_path = _installation()
        try:
            self._make_folder()
            self._take_lock()
            self._prepare_folder()
            process = self._launch(java, class_path, stay=stay)
        except BaseException as error:
            self._release()
            if isinstance(error, OSError):
                raise EngineError(
                    f"can't write to the data folder {self._folder}: {error.strerror or error}."
                    " Give this user the right to write there, or set ONEFOLD_DATA_FOLDER"
                ) from error
            raise
        if self._restarts:
            threading.Thread(target=self._watch, args=(process,), name="onefold-engine", daemon=True).start()

    def _watch(self, process: subprocess.Popen[str]) -> None:
        """Start the engine again when the process ends without having been stopped, until that succeeds."""
        process.wait()
        pause = 0.0
        while not self._stopping.wait(pause):
            with self._mutex:
                if self.is_alive():
                    return
                _log.warning("the embedded engine ended unexpectedly; it is started again")
                try:
                    self._start(stay=True)
                except EngineError as error:
                    _log.error("the embedded engine could not be started again: %s", error)
                else:
                    return
            pause = min(max(1.0, 2 * pause), 60.0)

    def _release(self) -> None:
        self._end_process()
        if self._lock is not None:
            self._owner_file.unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    # The folder

    @property
    def _owner_file(self) -> Path:
        return self._folder / "owner.json"

    def _make_folder(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.log_folder.mkdir(exist_ok=True)
        free = shutil.disk_usage(self._folder).free
        if free < _NEEDED_BYTES:
            raise EngineError(
                f"the disk of {self._folder} has {free >> 20} MB free and the engine needs"
                f" {_NEEDED_BYTES >> 20} MB: make room or set ONEFOLD_DATA_FOLDER to another disk"
            )

    def _prepare_folder(self) -> None:
        (self._folder / "logging.properties").write_text(_LOGGING)
        self._password()  # the engine reads its file

    def _password(self) -> str:
        """The engine's password; made on first use, in a file that only the owner can read."""
        path = self._folder / f"{_USER}.password"
        try:
            return path.read_text()
        except FileNotFoundError:
            # The engine keeps only a hash, which no longer has a password: it makes the account anew.
            (self._folder / "config" / "server-users.jsonl").unlink(missing_ok=True)
            password = secrets.token_urlsafe(32)
            _write_privately(path, password)
            return password

    # One owner at a time

    def _take_lock(self) -> None:
        """Hold the folder's lock, after the end of whatever a dead service left running under it."""
        import fcntl  # not on Windows, where _installation has already refused

        if self._lock is None:
            self._lock = (self._folder / "lock").open("a")
        deadline = time.monotonic() + self._stop_seconds
        owner: _Owner | None = None
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                owner = self._read_owner() or owner
            if owner is not None and owner.service.is_running():
                self._lock.close()
                self._lock = None  # the owner's file stays: it is not ours
                raise EngineError(
                    f"{self._folder} is in use by the Onefold service with process id {owner.service.pid}:"
                    " stop that one, or set ONEFOLD_DATA_FOLDER to another folder"
                )
            if owner is not None and time.monotonic() > deadline - self._stop_seconds / 2:
                owner.kill_orphans()  # their supervisor had its chance
            if time.monotonic() > deadline:
                self._lock.close()
                self._lock = None
                raise EngineError(
                    f"{self._folder} is locked by a process that does not end: `fuser {self._folder}/lock` names it"
                )
            time.sleep(0.05)
        self._write_owner(_Owner(service=_Process.current()))

    def _read_owner(self) -> _Owner | None:
        try:
            return _Owner.parse(self._owner_file.read_text())
        except FileNotFoundError:
            return None

    def _write_owner(self, owner: _Owner) -> None:
        _write_privately(self._owner_file, owner.render())

    # The process

    def _launch(self, java: Path, class_path: str, *, stay: bool) -> subprocess.Popen[str]:
        for _ in range(_PORT_ATTEMPTS):
            if not (self._port and _is_free(self._port)):
                if stay:
                    raise EngineError(f"port {self._port}, where open drivers look for it, is taken by another process")
                self._port = _free_port()
            process = self._spawn(self._command(java, class_path))
            if self._answers():
                return process
            self._end_process()
            # Between the choice of the port and the engine's bind, another process may have taken it.
            if _is_free(self._port):
                break
        raise EngineError(f"the engine ended while it started: {self._last_words()}")

    def _command(self, java: Path, class_path: str) -> list[str]:
        settings = {
            "arcadedb.server.rootPath": self._folder,
            "arcadedb.server.logsDirectory": self.log_folder,
            "arcadedb.server.rootPasswordPath": self._folder / f"{_USER}.password",
            "arcadedb.server.defaultDatabases": f"{_DATABASE}[{_USER}]",
            "arcadedb.server.mode": "development",  # production hides why a statement failed
            "arcadedb.server.plugins": "Bolt:com.arcadedb.bolt.BoltProtocolPlugin",
            "arcadedb.bolt.host": "127.0.0.1",
            "arcadedb.bolt.port": self._port,
            # It can't do without HTTP: on loopback, behind the password, on a port that the system picks.
            "arcadedb.server.httpIncomingHost": "127.0.0.1",
            "arcadedb.server.httpIncomingPort": 0,
            "arcadedb.server.httpWorkerThreads": 2,
            "arcadedb.command.timeout": round(self._statement_seconds * 1000),
            "arcadedb.txWalFlush": 2,  # a commit is on the disk when it is answered
            # Stretching protects guessable passwords; this one has 256 random bits.
            "arcadedb.server.saltIterations": 1000,
            "arcadedb.polyglotEngineEnabled": "false",
            "arcadedb.serverMetrics": "false",
            "arcadedb.support.autoRegister": "false",
            "arcadedb.opencypher.loadCsv.allowFileUrls": "false",
            "arcadedb.opencypher.loadCsv.allowRemoteUrls": "false",
            "java.util.logging.config.file": self._folder / "logging.properties",
            "user.timezone": "UTC",
        }
        return [
            str(java),
            f"-Xmx{self._heap}",
            "-XX:+ExitOnOutOfMemoryError",
            f"-XX:ErrorFile={self.log_folder}/crash.log",
            *(f"-D{name}={value}" for name, value in settings.items()),
            "--add-opens=java.base/java.nio=ALL-UNNAMED",
            "--enable-native-access=ALL-UNNAMED",
            "-cp",
            class_path,
            "com.arcadedb.server.ArcadeDBServer",
        ]

    def _spawn(self, command: list[str]) -> subprocess.Popen[str]:
        assert self._lock is not None
        lock = self._lock.fileno()
        self._end_process()
        with (self.log_folder / "console.log").open("w") as console:
            self._supervisor = process = subprocess.Popen(
                [sys.executable, "-I", "-S", supervisor.__file__, str(self._stop_seconds), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=console,
                text=True,
                cwd=self._folder,
                env=_environment(),
                pass_fds=[lock],
                start_new_session=True,  # Ctrl-C is for the service, which then stops the engine in order
            )
        assert process.stdout is not None
        with process.stdout as out:
            line = out.readline()
        if line:
            engine = _Process.of(int(line))
            self._write_owner(_Owner(_Process.current(), _Process.of(process.pid), engine, self._port))
        return process

    def _answers(self) -> bool:
        """Wait for the engine's first answer; False if it failed instead."""
        deadline = time.monotonic() + self._start_seconds
        endpoint = self._endpoint()
        while self.is_alive() and not self._has_failed() and not self._stopping.is_set():
            if not _is_free(self._port):
                with contextlib.suppress(DriverError, Neo4jError):
                    _ping(endpoint)
                    return True
            if time.monotonic() > deadline:
                raise EngineError(
                    f"the engine did not answer within {self._start_seconds:g} s; its log: {self.log_folder}"
                )
            time.sleep(0.05)
        return False

    def _has_failed(self) -> bool:
        """Whether Java's main method has ended in an error: the engine's other threads keep the process."""
        return 'Exception in thread "main"' in (self.log_folder / "console.log").read_text(errors="replace")

    def _end_process(self) -> None:
        process, self._supervisor = self._supervisor, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(self._stop_seconds + 5)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _endpoint(self) -> Endpoint:
        return _endpoint(self._folder, self._port, self._password())

    def _last_words(self) -> str:
        """What Java said, for an error message, without its stack frames."""
        lines = (self.log_folder / "console.log").read_text(errors="replace").splitlines()
        said = [line for line in lines if not line.startswith("\t")][:6]
        return "\n".join([*said, f"(more in {self.log_folder})"])


def holds_graph(data_folder: Path | str) -> bool:
    """Whether there is a graph in this data folder, if an empty one: an engine has run on it."""
    return (Path(data_folder).expanduser().absolute() / "engine" / "databases" / _DATABASE).is_dir()


def running(data_folder: Path | str) -> Endpoint:
    """Where the engine of the service that runs on this data folder answers. For tools beside the service.

    Raises:
        Unavailable: no service runs on it (or its engine is still to be started).
        EngineError: it belongs to another user.
    """
    folder = Path(data_folder).expanduser().absolute() / "engine"
    try:
        owner = _Owner.parse((folder / "owner.json").read_text())
        if owner.port and owner.engine and owner.engine.is_running():
            password = (folder / f"{_USER}.password").read_text()
            return _endpoint(folder, owner.port, password)
    except FileNotFoundError:
        pass
    except PermissionError as error:
        raise EngineError(f"{error.filename} can be read by the user of the service only: be that one") from error
    raise Unavailable(
        f"no Onefold service runs on {folder.parent}: start it (onefold serve), or set ONEFOLD_DATA_FOLDER"
    )


def _endpoint(folder: Path, port: int, password: str) -> Endpoint:
    return Endpoint(f"bolt://127.0.0.1:{port}", _USER, password, _DATABASE, str(folder / "turns"))


@dataclass(frozen=True, slots=True)
class _Process:
    """A process that can't be mistaken for a later one with the same id."""

    pid: int
    started: str

    @staticmethod
    def of(pid: int) -> _Process:
        return _Process(pid, _start_time(pid))

    @staticmethod
    def current() -> _Process:
        return _Process.of(os.getpid())

    def is_running(self) -> bool:
        return bool(self.started) and _start_time(self.pid) == self.started

    def kill(self) -> None:
        if self.is_running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class _Owner:
    """The processes that hold a folder's lock."""

    service: _Process
    supervisor: _Process | None = None
    engine: _Process | None = None
    port: int = 0
    """Where the engine listens, or will; 0 before there is one."""

    @staticmethod
    def parse(text: str) -> _Owner:
        kept = json.loads(text)
        port = kept.pop("port", 0)
        return _Owner(**{role: _Process(**process) for role, process in kept.items()}, port=port)

    def render(self) -> str:
        roles = {"service": self.service, "supervisor": self.supervisor, "engine": self.engine}
        processes = {r: {"pid": p.pid, "started": p.started} for r, p in roles.items() if p}
        return json.dumps(processes | {"port": self.port})

    def kill_orphans(self) -> None:
        for process in (self.supervisor, self.engine):
            if process is not None:
                process.kill()


def _start_time(pid: int) -> str:
    """When the process started, in the system's own words; empty if there is none (or only its corpse)."""
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] in "ZX" else fields[19]
    return subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()


def _installation() -> tuple[Path, str]:
    """The wheel's Java runtime and the class path of what the service uses of the engine."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations or sys.platform == "win32":
        raise EngineError(
            f"the embedded engine (arcadedb-embedded) has no build installed for {platform.system()}"
            f" {platform.machine()} with Python {platform.python_version()}: {_INSTEAD}"
        )
    package = Path(spec.submodule_search_locations[0])
    java = package / "jre" / "bin" / "java"
    jars = [
        str(jar)
        for jar in sorted((package / "jars").glob("*.jar"))
        if not jar.name.startswith(tuple(f"arcadedb-{name}" for name in _UNUSED_JARS))
    ]
    if not java.is_file() or not jars:
        raise EngineError(
            f"the embedded engine in {package} is not complete: reinstall arcadedb-embedded, or {_INSTEAD}"
        )
    return java, os.pathsep.join(jars)


def _environment() -> dict[str, str]:
    """The service's environment without its own settings (secrets among them) and without options for any Java.

    The locale is what Java reads file names with: in the ``C`` locale it could not open ``/srv/données``.
    """
    foreign = ("ONEFOLD_", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "LC_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {"LC_ALL": "C.UTF-8"}


def _ping(endpoint: Endpoint) -> None:
    """One statement, without the driver's patience: the caller asks again."""
    with (
        neo4j.GraphDatabase.driver(
            endpoint.uri,
            auth=(endpoint.user, endpoint.password),
            connection_acquisition_timeout=_PING_SECONDS,
            telemetry_disabled=True,
        ) as driver,
        driver.session(database=endpoint.database) as session,
    ):
        session.run("RETURN 1").consume()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    """Whether nothing listens there. Closed connections that still linger don't count, as for the engine.

    Binding, not connecting: a connection to a free port may be handed that very port and meet itself.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _write_privately(path: Path, text: str) -> None:
    """Write a file that only the owner can read, so that a reader sees all of it or none."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
