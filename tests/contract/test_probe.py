"""What an engine says of itself, and what is said of one that does not answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onefold.graph import schema
from onefold.graph.endpoint import Endpoint
from onefold.graph.errors import NotReady, Unavailable
from onefold.graph.probe import probe
from tests.conftest import Engine


def test_an_engine_tells_its_name_and_the_schema_in_it(engine: Engine) -> None:
    schema.ensure(engine.driver, engine.endpoint.database)
    facts = probe(engine.endpoint)
    assert facts.schema_version == schema.VERSION
    assert facts.agent


def test_a_wrong_password_is_told_apart_from_an_engine_that_is_not_there(engine: Engine) -> None:
    with pytest.raises(NotReady, match="password is not right"):
        probe(replace(engine.endpoint, password="wrong-password"))


def test_an_address_where_nothing_listens_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        probe(Endpoint("bolt://127.0.0.1:1", "neo4j", "x", "neo4j"), seconds=2)
