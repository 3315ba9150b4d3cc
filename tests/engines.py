"""The graph engines that tests run on, each as a context manager that gives its endpoint.

``python -m tests.engines neo4j`` (or ``embedded``) starts one, prints the environment that points the service
at it, and keeps it until Ctrl-C.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import neo4j
from neo4j.exceptions import DriverError, Neo4jError, TransientError

from onefold.graph.embedded import EmbeddedEngine
from onefold.graph.endpoint import Endpoint

ENGINES: Final = ("embedded", "neo4j")
"""The names of the engines that every store test runs on."""

NEO4J_IMAGE: Final = "neo4j:5.26-community"

_HERE: Final = Path(__file__).parent
_CACHE: Final = _HERE.parent / ".cache" / "neo4j"
_EMPTY: Final = [
    f"MATCH (n{labels}) CALL (n) {{ DETACH DELETE n }} IN TRANSACTIONS OF 1000 ROWS"
    for labels in (":Customer|Order|Event|Decision", "")
]
"""First what has few relationships: Neo4j takes minutes to delete a hundred thousand of one node in one transaction."""


class NoNeo4j(Exception):
    """No Neo4j can be had here; says what was tried."""


@contextlib.contextmanager
def embedded() -> Iterator[Endpoint]:
    """An embedded engine on a throw-away folder."""
    with (
        tempfile.TemporaryDirectory(prefix="onefold-embedded-") as folder,
        EmbeddedEngine(folder) as endpoint,
    ):
        yield endpoint


@contextlib.contextmanager
def neo4j_server(*, measured: bool = False) -> Iterator[Endpoint]:
    """The Neo4j named by ``ONEFOLD_TEST_NEO4J_URI``; else one in a container; else one from Maven Central, see there.

    Raises:
        NoNeo4j: none of the three is to be had.
    """
    reasons = []
    for source in (_neo4j_of_environment, _neo4j_in_container, lambda: _neo4j_from_maven(measured)):
        with contextlib.ExitStack() as stack:
            try:
                endpoint = stack.enter_context(source())
            except NoNeo4j as reason:
                reasons.append(str(reason))
                continue
            yield endpoint
            return
    raise NoNeo4j("; ".join(reasons))


def open_engine(name: str, *, measured: bool = False) -> contextlib.AbstractContextManager[Endpoint]:
    """The engine of that name, one of :data:`ENGINES`; as it serves if it is to be ``measured``."""
    return embedded() if name == "embedded" else neo4j_server(measured=measured)


def driver_of(endpoint: Endpoint) -> neo4j.Driver:
    """An official driver on the endpoint; the caller closes it."""
    return neo4j.GraphDatabase.driver(endpoint.uri, auth=(endpoint.user, endpoint.password))


def empty(driver: neo4j.Driver, database: str) -> None:
    """Delete every node and relationship; the schema stays.

    By a subquery in batches: ArcadeDB deletes 15,000 nodes in 0.2 s so, and in 22 s by one DETACH DELETE. What a test
    before has left at work, such as the end of a stream, may be in the way at first.
    """
    with driver.session(database=database) as session:
        for patience in range(50, -1, -1):
            try:
                for text in _EMPTY:  # in transactions of its own, which the driver does not try again
                    session.run(text).consume()
                return
            except TransientError:
                if not patience:
                    raise
                time.sleep(0.1)


def drop_schema(driver: neo4j.Driver, database: str) -> None:
    """Drop every constraint and index, as if no store had ever been opened here."""
    with driver.session(database=database) as session:
        constraints = [row["name"] for row in session.run("SHOW CONSTRAINTS YIELD name")]
        for name in constraints:
            session.run(f"DROP CONSTRAINT `{name}` IF EXISTS").consume()
        indexes = [row["name"] for row in session.run("SHOW INDEXES YIELD name, type") if row["type"] != "LOOKUP"]
        for name in indexes:
            session.run(f"DROP INDEX `{name}` IF EXISTS").consume()


@contextlib.contextmanager
def _neo4j_of_environment() -> Iterator[Endpoint]:
    uri = os.environ.get("ONEFOLD_TEST_NEO4J_URI")
    if not uri:
        raise NoNeo4j("ONEFOLD_TEST_NEO4J_URI is not set")
    endpoint = Endpoint(
        uri,
        os.environ.get("ONEFOLD_TEST_NEO4J_USER", "neo4j"),
        os.environ.get("ONEFOLD_TEST_NEO4J_PASSWORD", ""),
        os.environ.get("ONEFOLD_TEST_NEO4J_DATABASE", "neo4j"),
    )
    with driver_of(endpoint) as driver:
        rows = driver.execute_query("MATCH (n) RETURN count(n) AS n", database_=endpoint.database).records
        if rows[0]["n"]:
            raise RuntimeError(f"the tests empty their database, and {uri} holds {rows[0]['n']} nodes: give another")
        try:
            yield endpoint
        finally:
            empty(driver, endpoint.database)


@contextlib.contextmanager
def _neo4j_in_container() -> Iterator[Endpoint]:
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        raise NoNeo4j("Docker does not answer")
    password = secrets.token_urlsafe(16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what that library and its own dependencies deprecate is not ours
        try:
            from testcontainers.core.container import DockerContainer
        except ImportError as error:
            raise NoNeo4j(f"testcontainers is not installed ({error})") from error
        container = DockerContainer(NEO4J_IMAGE).with_env("NEO4J_AUTH", f"neo4j/{password}").with_exposed_ports(7687)
        container.start()
    try:
        address = f"{container.get_container_host_ip()}:{container.get_exposed_port(7687)}"
        # bolt, not neo4j: its routing table would name the port inside the container
        endpoint = Endpoint(f"bolt://{address}", "neo4j", password, "neo4j")
        _wait_until(lambda: _answers(endpoint), 120)
        yield endpoint
    finally:
        container.stop()
        container.get_docker_client().client.close()


@contextlib.contextmanager
def _neo4j_from_maven(measured: bool) -> Iterator[Endpoint]:
    with (
        tempfile.TemporaryDirectory(prefix="onefold-neo4j-") as home,
        contextlib.closing(Neo4jProcess(Path(home), measured=measured)) as process,
    ):
        yield process.endpoint


_QUICK: Final = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dkeep.plans=true")
"""Tests run many statements a few times each: compiling them well, and planning them anew whenever a test has emptied
the database, would take more than half of the processor's time."""


class Neo4jProcess:
    """A Neo4j from Maven Central as a child process, which may be killed and started again where it was.

    Unless its speed is to be ``measured`` it is made for tests: quick to get going, and half as fast in the end.
    Raises NoNeo4j if it can't be had here. The caller closes it; its data are the caller's.
    """

    def __init__(self, home: Path, *, measured: bool = False) -> None:
        java = shutil.which("java")
        if java is None:
            raise NoNeo4j("there is no Java to run Neo4j from Maven Central")
        exports = ("java.nio", "java.io", "sun.nio.ch", "java.util.concurrent")
        self._command = [
            java,
            "-Xmx1g",
            *(() if measured else _QUICK),
            "-cp",
            f"{_jars()}/*",
            *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in exports),
            str(_HERE / "neo4j" / "Launcher.java"),
            str(home),
        ]
        home.mkdir(parents=True, exist_ok=True)
        self._console = home / "console.log"
        self._process, port = self._start()
        self._command.append(str(port))
        self.endpoint = _first_log_in(port)
        """Where it answers, whenever it runs."""

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._end()

    def start(self) -> None:
        """Start it again; returns when it answers."""
        self._process, _ = self._start()

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._end()

    def _start(self) -> tuple[subprocess.Popen[str], int]:
        with self._console.open("a") as console:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=console,
                text=True,
                start_new_session=True,
            )
        assert process.stdout is not None
        ready = next((line for line in process.stdout if line.startswith("ready ")), None)
        if ready is None:
            raise NoNeo4j(f"Neo4j from Maven Central did not start: {self._console.read_text()[-2000:]}")
        return process, int(ready.split()[1])

    def _end(self) -> None:
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


def _jars() -> Path:
    """The folder with Neo4j's jars, fetched once per version of the pom and kept across runs."""
    pom = _HERE / "neo4j" / "pom.xml"
    version = pom.read_text().split("<artifactId>neo4j</artifactId>")[1].split("<version>")[1].split("<")[0]
    folder = _CACHE / version
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            return folder
        maven = shutil.which("mvn")
        if maven is None:
            raise NoNeo4j("there is no Maven to fetch Neo4j with")
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        fetched = subprocess.run(
            [maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={part}"],
            capture_output=True,
            text=True,
            check=False,
        )
        if fetched.returncode:
            raise NoNeo4j(f"Maven could not fetch Neo4j: {(fetched.stdout + fetched.stderr)[-2000:]}")
        part.rename(folder)
    return folder


def _first_log_in(port: int) -> Endpoint:
    """Replace the password that a new Neo4j starts with; nothing else may be done before."""
    uri = f"neo4j://127.0.0.1:{port}"
    password = secrets.token_urlsafe(16)
    with neo4j.GraphDatabase.driver(uri, auth=("neo4j", "neo4j")) as driver:
        driver.execute_query(
            "ALTER CURRENT USER SET PASSWORD FROM 'neo4j' TO $password", password=password, database_="system"
        )
    return Endpoint(uri, "neo4j", password, "neo4j")


def _answers(endpoint: Endpoint) -> bool:
    with driver_of(endpoint) as driver:
        try:
            driver.execute_query("RETURN 1", database_=endpoint.database)
        except (DriverError, Neo4jError):
            return False
        return True


def _wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing within {seconds:g} s")
        time.sleep(0.2)


def main(name: str) -> None:
    """Start the engine, print how to point the service at it, and keep it until Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), open_engine(name, measured=True) as endpoint:
        print(f"export ONEFOLD_GRAPH_URI={endpoint.uri}")
        print(f"export ONEFOLD_GRAPH_USER={endpoint.user}")
        print(f"export ONEFOLD_GRAPH_PASSWORD={endpoint.password}")
        print(f"export ONEFOLD_GRAPH_DATABASE={endpoint.database}")
        print("# running; Ctrl-C ends it and deletes its data", flush=True)
        signal.pause()


if __name__ == "__main__":
    if sys.argv[1:] not in [[name] for name in ENGINES]:
        sys.exit(f"usage: python -m tests.engines {{{','.join(ENGINES)}}}")
    try:
        main(sys.argv[1])
    except NoNeo4j as reason:
        sys.exit(f"no Neo4j: {reason}")
