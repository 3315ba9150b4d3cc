"""A service that can't use its graph: told in one line, before anything listens. One that should not yet: warned of."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from onefold.graph import policy
from onefold.graph.endpoint import Endpoint
from onefold.graph.errors import Unavailable
from onefold.graph.ingest import Batch, ingest
from onefold.graph.rebuild import rebuild
from onefold.service import app
from tests import items as make
from tests.conftest import Engine
from tests.rpc.conftest import settings
from tests.worlds import RULES, rules


def refusal(endpoint: Endpoint, folder: Path) -> str:
    """What a service says that is started on this endpoint."""
    with ExitStack() as resources, pytest.raises(Unavailable) as caught:
        app.start(settings(endpoint, folder), resources)
    return str(caught.value)


@pytest.mark.parametrize("uri", ["bolt://127.0.0.1:1", "neo4j://127.0.0.1:1"])
def test_a_graph_that_does_not_answer_is_named(uri: str, tmp_path: Path) -> None:
    told = refusal(Endpoint(uri, "neo4j", "secret", ""), tmp_path)
    assert told == (f"the graph at {uri} does not answer: start it, or see that ONEFOLD_GRAPH_URI is its address")


def test_a_wrong_password_is_told_by_its_setting(engine: Engine, tmp_path: Path) -> None:
    told = refusal(dataclasses.replace(engine.endpoint, password="not this one"), tmp_path)
    assert told.startswith(f"the graph at {engine.endpoint.uri} refuses user {engine.endpoint.user!r}")
    assert "ONEFOLD_GRAPH_PASSWORD" in told
    assert "not this one" not in told


def test_a_database_that_is_not_there_is_told_by_its_setting(engine: Engine, tmp_path: Path) -> None:
    told = refusal(dataclasses.replace(engine.endpoint, database="nowhere"), tmp_path)
    assert told.startswith(f"the graph at {engine.endpoint.uri} ")
    assert "nowhere" in told
    assert "ONEFOLD_GRAPH_" in told


def test_a_policy_that_the_graph_was_not_decided_by_is_warned_of_until_it_is_rebuilt(
    engine: Engine, endpoint: Endpoint, tmp_path: Path
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(RULES.replace("link_threshold: 0.8", "link_threshold: 0.99"))
    ours = policy.load(file)

    def warnings() -> list[tuple[str, str]]:
        with ExitStack() as resources, capture_logs() as lines:
            app.start(settings(endpoint, tmp_path, policy_file=file), resources)
        told = [line for line in lines if "another policy" in line["event"]]
        assert all("onefold rebuild" in line["event"] and line["log_level"] == "warning" for line in told)
        return [(line["decided_by"], line["policy"]) for line in told]

    assert warnings() == [], "nothing was decided by anybody"
    two = [make.customer("web:1", "email:1"), make.customer("shop:2", "email:1")]
    ingest(make.writer(endpoint, engine.driver), [Batch(two)])
    assert warnings() == [(rules().version, ours.version)]
    assert rebuild(make.writer(endpoint, engine.driver, ours)).decided == 2
    assert warnings() == []
