"""kill -9 of the engine under writes: everything acknowledged is there after the restart."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import neo4j
from neo4j.exceptions import DriverError, Neo4jError

from onefold.graph.embedded import EmbeddedEngine
from onefold.graph.endpoint import Endpoint
from tests.engines import driver_of

WRITE = "CREATE (:Written {key: $key})-[:NEXT]->(:Written {key: $key + 1})"


def write_until_it_fails(driver: neo4j.Driver, database: str, start: int, acknowledged: list[int]) -> None:
    """Pairs of linked nodes, one commit each; what was answered is noted."""
    with driver.session(database=database) as session:
        for key in range(start, start + 2_000_000, 2):
            try:
                session.run(WRITE, key=key).consume()
            except (Neo4jError, DriverError):
                return
            acknowledged.append(key)


def found(endpoint: Endpoint) -> tuple[set[int], int]:
    """The first keys of the pairs found, and how many nodes there are in all."""
    with driver_of(endpoint) as driver:

        def ask(query: str) -> list[int]:
            rows = driver.execute_query(query, database_=endpoint.database).records
            return [row[0] for row in rows]

        pairs = ask("MATCH (a:Written)-[:NEXT]->(b:Written) WHERE b.key = a.key + 1 RETURN a.key")
        return set(pairs), ask("MATCH (n:Written) RETURN count(n)")[0]


def test_all_that_was_acknowledged_is_found_whole(tmp_path: Path, proving: bool) -> None:
    engine = EmbeddedEngine(tmp_path, heap="512m", restarts=False)
    for seed in range(10 if proving else 4):  # one graph, killed again and again
        acknowledged: list[int] = []
        with engine as endpoint:
            before, _ = found(endpoint)
            with driver_of(endpoint) as driver:
                start = (seed + 1) * 10_000_000
                arguments = (driver, endpoint.database, start, acknowledged)
                writer = threading.Thread(target=write_until_it_fails, args=arguments)
                writer.start()
                time.sleep(random.Random(seed).uniform(0.2, 1.0))
                owner = json.loads((tmp_path / "engine" / "owner.json").read_text())
                os.kill(owner["engine"]["pid"], signal.SIGKILL)
                writer.join()
            pairs, nodes = found(engine.start())
        assert acknowledged, "the drill needs writes to lose"
        written = pairs - before
        assert written >= set(acknowledged)
        in_flight = {acknowledged[-1] + 2}  # committed perhaps, but its answer never came
        assert written <= set(acknowledged) | in_flight
        assert before <= pairs
        assert nodes == 2 * len(pairs), "no half of a pair"
