"""A service that can't use its graph: told in one line, before anything listens."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from pathlib import Path

import pytest

from onefold.graph.endpoint import Endpoint
from onefold.graph.errors import Unavailable
from onefold.service import app
from tests.conftest import Engine
from tests.rpc.conftest import settings


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
