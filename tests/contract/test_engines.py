"""Both engines answer the official driver, and where they differ is written down here."""

from __future__ import annotations

from tests.conftest import Engine
from onefold.graph.endpoint import Endpoint


def test_an_engine_answers_in_an_empty_database(engine: Engine, endpoint: Endpoint) -> None:
    rows = engine.driver.execute_query("MATCH (n) RETURN count(n) AS n", database_=endpoint.database).records
    assert rows[0]["n"] == 0
    engine.driver.execute_query(
        "CREATE (:Customer {key: 'a'})-[:HAS_EMAIL]->(:Email {key: 'b'})", database_=endpoint.database
    )


def test_what_one_test_wrote_the_next_does_not_see(engine: Engine, endpoint: Endpoint) -> None:
    rows = engine.driver.execute_query("MATCH (n) RETURN count(n) AS n", database_=endpoint.database).records
    assert rows[0]["n"] == 0
