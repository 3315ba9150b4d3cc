"""What all tests share: the engines, and a count of what ran on each."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import neo4j
import pytest

from onefold.graph.endpoint import Endpoint
from tests.engines import ENGINES, NoNeo4j, driver_of, empty, open_engine


@dataclass(frozen=True, slots=True)
class Engine:
    """A running engine: its name in :data:`tests.engines.ENGINES`, where it answers, and a driver on it."""

    name: str
    endpoint: Endpoint
    driver: neo4j.Driver


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--prove``: the long form of the proofs that `make test` runs in short."""
    parser.addoption("--prove", action="store_true", help="run the proofs in their long form, and nothing else")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """When proving, only what has a long form."""
    if config.getoption("--prove"):
        proofs = [item for item in items if "proving" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=[item for item in items if item not in proofs])
        items[:] = proofs


@pytest.fixture(scope="session")
def proving(request: pytest.FixtureRequest) -> bool:
    """Whether proofs are to be long."""
    return bool(request.config.getoption("--prove"))


@pytest.fixture(scope="session", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Each engine in turn, one process for the whole session. Its database holds what the last test left."""
    try:
        # Long proofs run the same statements often enough to have them compiled and planned well.
        measured = bool(request.config.getoption("--prove"))
        with open_engine(request.param, measured=measured) as endpoint, driver_of(endpoint) as driver:
            yield Engine(request.param, endpoint, driver)
    except NoNeo4j as reason:
        if os.environ.get("CI"):
            pytest.fail(f"CI runs every test on Neo4j: {reason}", pytrace=False)
        pytest.skip(f"no Neo4j: {reason}")


@pytest.fixture
def endpoint(engine: Engine) -> Endpoint:
    """Where an engine answers, its database empty (the schema stays). The test runs once per engine."""
    empty(engine.driver, engine.endpoint.database)
    return engine.endpoint


@pytest.fixture
def undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody writes meanwhile: what looks wrong once does so again, however short the pauses."""
    monkeypatch.setattr("onefold.graph.looks.FIRST_PAUSE_S", 0.001)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note on the report which engine the test ran on (as a property, which survives pytest-xdist)."""
    report = yield
    callspec = getattr(item, "callspec", None)
    if callspec is not None and "engine" in callspec.params:
        report.user_properties.append(("engine", callspec.params["engine"]))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests ran on each engine, so that a green run can't hide a missing one."""
    counts = {name: Counter[str]() for name in ENGINES}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, ()):
            name = dict(getattr(report, "user_properties", ())).get("engine")  # a failed collection has none
            if name is not None:
                counts[name][outcome] += 1
    if any(counts.values()):
        terminalreporter.section("engines")
        for name, outcomes in counts.items():
            said = ", ".join(f"{n} {outcome}" for outcome, n in outcomes.items()) or "no tests"
            terminalreporter.line(f"{name}: {said}")
