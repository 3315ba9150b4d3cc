"""``make mutate``: breaks one rule at a time, in a copy of the code, and names the test that notices.

A mutation replaces a text that must be there once, so that none is broken in vain when the code moves on. It is caught
when one of its tests fails; one that survives is a rule that no test holds.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.engines import NoNeo4j, driver_of, empty, neo4j_server

ROOT: Final = Path(__file__).parent.parent
GRAPH: Final = ROOT / "graph" / "onefold" / "graph"

RESOLVE: Final = ("tests/property/test_resolve.py",)
REPLAYS: Final = ("tests/property/test_replays.py",)
RACES: Final = ("tests/contract/test_races.py",)


@dataclass(frozen=True, slots=True)
class Mutation:
    """One rule, broken."""

    what: str
    file: str
    """Within ``graph/onefold/graph``."""
    text: str
    becomes: str
    tests: tuple[str, ...]


MUTATIONS: Final = (
    # -- rules of resolution
    Mutation(
        "sources are not combined: the surest one counts",
        "resolve.py",
        "sure = noisy_or(best[source] for source in sorted(best))",
        "sure = max(best.values())",
        RESOLVE,
    ),
    Mutation(
        "confidences are compared as floats",
        "resolve.py",
        "PPM - round(min(sure, CAP) * factor * PPM)",
        "PPM - min(sure, CAP) * factor * PPM",
        ("tests/unit/test_rounding.py",),
    ),
    Mutation(
        "an identifier is shared one person too early",
        "resolve.py",
        "if d > kind.shared_above or identifier in shared:",
        "if d >= kind.shared_above or identifier in shared:",
        RESOLVE,
    ),
    Mutation(
        "guest orders are counted one by one, not by their strongest other identifier",
        "resolve.py",
        "guests.update((source, other) for source in best)",
        "guests.update((source, record) for source in best)",
        RESOLVE,
    ),
    Mutation(
        "only attached identifiers are claimed, not refused ones",
        "resolve.py",
        "yield from ((number[record], place[quota_of_kind], v) for _, _, record in links)",
        "yield number[min(links)[2]], place[quota_of_kind], v",
        RESOLVE,
    ),
    Mutation(
        "ties go by key, not by hash",
        "resolve.py",
        "return (not self.operator, self.doubt, self.first_seen, tie(*ends))",
        "return (not self.operator, self.doubt, self.first_seen, ends)",
        RESOLVE,
    ),
    Mutation(
        "the earlier link is not preferred",
        "resolve.py",
        "return (not self.operator, self.doubt, self.first_seen, tie(*ends))",
        "return (not self.operator, self.doubt, -self.first_seen, tie(*ends))",
        RESOLVE,
    ),
    Mutation(
        "limits bind operators too",
        "greedy.py",
        "bans if number < words else len(quotas)",
        "len(quotas)",
        RESOLVE,
    ),
    Mutation(
        "a limit that one side exceeds already forbids everything",
        "greedy.py",
        "if union > quotas[quota] and union > one and union > two:",
        "if union > quotas[quota]:",
        RESOLVE,
    ),
    Mutation(
        "blocked values count",
        "rulebook.py",
        "return None if self._policy.is_blocked(identifier) else self.kinds[kind_of(identifier)]",
        "return self.kinds[kind_of(identifier)]",
        RESOLVE,
    ),
    # -- what items add to the evidence, and what is decided again
    Mutation(
        "a withdrawal takes back what is seen later, too",
        "evidence.py",
        "return said_at > link.withdrawn_at and",
        "return link.withdrawn_at == NEVER and",
        REPLAYS,
    ),
    Mutation(
        "an order that changes hands leaves behind what it said",
        "evidence.py",
        "self._let_go(gave if order.placed_at < placed_at else gave - order.given, placed_at)",
        "pass",
        REPLAYS,
    ),
    Mutation(
        "a deleted order leaves behind what it said",
        "evidence.py",
        "self._let_go(gave - order.given, order.placed_at)",
        "pass",
        REPLAYS,
    ),
    Mutation(
        "what one order takes back no other order says",
        "evidence.py",
        "last = dict(left or {})",
        "last: dict[Given, Instant] = {}",
        REPLAYS,
    ),
    Mutation(
        "an order that was placed earlier after all is not heard",
        "evidence.py",
        "gave if order.placed_at < placed_at else gave - order.given",
        "gave - order.given",
        REPLAYS,
    ),
    Mutation(
        "nobody looks whether an identifier is shared no longer",
        "evidence.py",
        "return suspects - self.recounted",
        "return set()",
        REPLAYS,
    ),
    Mutation(
        "the youngest identity keeps its id in a merge",
        "decide.py",
        "identity = min(candidates, key=lambda i: (i not in before.persons, i))",
        "identity = max(candidates, key=lambda i: (i in before.persons, i))",
        REPLAYS,
    ),
    # -- the online path
    Mutation(
        "what was found before the lock is not verified under it",
        "store.py",
        "    if name not in fetched:\n        raise StaleRead(name)\n",
        "    return\n",
        RACES,
    ),
    Mutation(
        "only the ends are decided again, not their whole components",
        "store.py",
        '    take_members(evidence, record["customers"], record["orders"], record["devices"])\n    nobodys',
        '    take_members(evidence, record["customers"], record["orders"], record["devices"])\n'
        "    evidence.records = {n: r for n, r in evidence.records.items() if n in touched.records}\n    nobodys",
        ("tests/contract/test_replays.py",),
    ),
    Mutation(
        "every transaction locks with the same value",
        "ingest.py",
        "lock = uuid.uuid4().hex",
        'lock = "taken"',
        RACES,
    ),
    Mutation(
        "who counts a hub's holders does not hold the log's head",
        "ingest.py",
        "        store.lock_log(tx, lock)\n",
        "",
        RACES,
    ),
    Mutation(
        "who adds to a hub does not look whether it still is one",
        "store.py",
        "        _still_shared(tx, believed)\n",
        "",
        RACES,
    ),
    Mutation(
        "what was found of a hub before the lock is believed",
        "store.py",
        "if known is not None and (known.component, known.shared) != (None, bool(shared)):",
        "if False:",
        RACES,
    ),
    Mutation(
        "whom an order is taken from is not locked",
        "store.py",
        'whose = {order.placed_by or f"order:{key}" for key, order in orders.items()}',
        'whose = {f"order:{key}" for key, order in orders.items() if order.placed_by is None}',
        RACES,
    ),
    Mutation(
        "identifiers that nobody has are not locked",
        "cypher.py",
        "UNWIND $keys AS k MATCH (v:{label} {{key: k}}) SET v.lock = $lock WITH v\n",
        "UNWIND $keys AS k MATCH (v:{label} {{key: k}})\n",
        RACES,
    ),
    Mutation(
        "answers are not kept",
        "ingest.py",
        "    answers.write(tx, now)\n",
        "",
        ("tests/contract/test_repeats.py",),
    ),
)


def main() -> int:
    """Break everything, one at a time; 1 if anything survives."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutate", description=__doc__)
    parser.add_argument("--only", default="", help="only mutations with this in their name")
    only = parser.parse_args().only
    chosen = [mutation for mutation in MUTATIONS if only in mutation.what]
    for mutation in MUTATIONS:
        mutated(mutation)  # all texts are there, before the first hour is over
    table = Table("broken rule", "noticed by", "seconds")
    survived = 0
    with neo4j() as environment:
        if failed := run(None, {test for mutation in chosen for test in mutation.tests}, environment):
            raise RuntimeError(f"nothing is broken, and yet {failed} fails")
        for mutation in chosen:
            began = time.monotonic()
            noticed = run(mutation, mutation.tests, environment)
            survived += not noticed
            table.add_row(mutation.what, noticed or "nothing: it SURVIVED", f"{time.monotonic() - began:.0f}")
            print(f"{mutation.what}: {noticed or 'SURVIVED'}", flush=True)
    Console(width=200).print(table)
    return 1 if survived else 0


def mutated(mutation: Mutation) -> str:
    """The file's new content. Raises ValueError if the text is not there, or not once."""
    content = (GRAPH / mutation.file).read_text()
    if content.count(mutation.text) != 1:
        raise ValueError(
            f"{mutation.what}: {mutation.file} has this {content.count(mutation.text)} times: {mutation.text}"
        )
    return content.replace(mutation.text, mutation.becomes)


def run(mutation: Mutation | None, tests: Iterable[str], environment: dict[str, str]) -> str:
    """The name of the first of the tests that fails; empty if none does."""
    with tempfile.TemporaryDirectory(prefix="onefold-mutant-") as folder:
        mutant = Path(folder) / "onefold" / "graph"
        shutil.copytree(GRAPH, mutant, ignore=shutil.ignore_patterns("__pycache__"))
        if mutation:
            (mutant / mutation.file).write_text(mutated(mutation))
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *sorted(tests)],
            cwd=ROOT,
            env=environment | {"PYTHONPATH": folder},
            capture_output=True,
            text=True,
            check=False,
        )
    failed = re.search(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", ran.stdout, re.MULTILINE)
    if ran.returncode and failed is None:
        raise RuntimeError(f"the tests did not run: {ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return failed[1] if failed else ""


@contextmanager
def neo4j() -> Iterator[dict[str, str]]:
    """The environment for tests that share one Neo4j, so that not each has to start it; without one it is as it is."""
    environment = dict(os.environ)
    try:
        with neo4j_server() as endpoint, driver_of(endpoint) as driver:
            empty(driver, endpoint.database)
            yield environment | {
                "ONEFOLD_TEST_NEO4J_URI": endpoint.uri,
                "ONEFOLD_TEST_NEO4J_USER": endpoint.user,
                "ONEFOLD_TEST_NEO4J_PASSWORD": endpoint.password,
                "ONEFOLD_TEST_NEO4J_DATABASE": endpoint.database,
            }
    except NoNeo4j:
        yield environment


if __name__ == "__main__":
    raise SystemExit(main())
