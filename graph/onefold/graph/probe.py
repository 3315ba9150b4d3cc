"""What a graph engine says of itself: is it there, what is it, which schema does it hold."""

from __future__ import annotations

from dataclasses import dataclass

import neo4j
from neo4j.exceptions import AuthError, DriverError, Neo4jError

from onefold.graph.endpoint import Endpoint
from onefold.graph.errors import NotReady, Unavailable


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """An engine that answered."""

    agent: str
    """Its name and version, as ``Neo4j/5.26.12``."""
    schema_version: int
    """Of the graph in it; 0 while there is none."""


def probe(endpoint: Endpoint, seconds: float = 5.0) -> EngineFacts:
    """What the engine at this endpoint is.

    Raises :class:`NotReady` when it refuses the account, and :class:`Unavailable` when it does not answer
    within about so many seconds or can't be asked.
    """
    auth = (endpoint.user, endpoint.password) if endpoint.password else None
    try:
        with neo4j.GraphDatabase.driver(
            endpoint.uri, auth=auth, connection_timeout=seconds, max_transaction_retry_time=seconds
        ) as driver:
            agent = str(driver.get_server_info().agent)
            with driver.session(database=endpoint.database or None) as session:
                row = session.run("MATCH (s:Schema {key: 'onefold'}) RETURN s.version AS version").single()
            return EngineFacts(agent, int(row["version"]) if row else 0)
    except AuthError as error:
        raise NotReady(f"user {endpoint.user!r} at {endpoint.uri}", "user or password is not right") from error
    except (DriverError, Neo4jError, OSError, ValueError) as error:
        raise Unavailable(f"{endpoint.uri} does not answer: {error}") from error
