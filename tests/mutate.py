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
PACKAGES: Final = {name: ROOT / name / "onefold" / name for name in ("graph", "ml")}

RESOLVE: Final = ("tests/property/test_resolve.py",)
REPLAYS: Final = ("tests/property/test_replays.py",)
RACES: Final = ("tests/contract/test_races.py",)
LEAKS: Final = ("tests/property/test_features_leak.py", "tests/unit/test_panel.py")


@dataclass(frozen=True, slots=True)
class Mutation:
    """One rule, broken."""

    what: str
    file: str
    """Its package and what it is within that: ``graph/resolve.py``."""
    text: str
    becomes: str
    tests: tuple[str, ...]


MUTATIONS: Final = (
    # -- rules of resolution
    Mutation(
        "sources are not combined: the surest one counts",
        "graph/resolve.py",
        "sure = noisy_or(best[source] for source in sorted(best))",
        "sure = max(best.values())",
        RESOLVE,
    ),
    Mutation(
        "confidences are compared as floats",
        "graph/resolve.py",
        "PPM - round(min(sure, CAP) * factor * PPM)",
        "PPM - min(sure, CAP) * factor * PPM",
        ("tests/unit/test_rounding.py",),
    ),
    Mutation(
        "an identifier is shared one person too early",
        "graph/resolve.py",
        "if d > kind.shared_above or identifier in shared:",
        "if d >= kind.shared_above or identifier in shared:",
        RESOLVE,
    ),
    Mutation(
        "guest orders are counted one by one, not by their strongest other identifier",
        "graph/resolve.py",
        "guests.update((source, other) for source in best)",
        "guests.update((source, record) for source in best)",
        RESOLVE,
    ),
    Mutation(
        "only attached identifiers are claimed, not refused ones",
        "graph/resolve.py",
        "yield from ((number[record], place[quota_of_kind], v) for _, _, record in links)",
        "yield number[min(links)[2]], place[quota_of_kind], v",
        RESOLVE,
    ),
    Mutation(
        "ties go by key, not by hash",
        "graph/resolve.py",
        "return (not self.operator, self.doubt, self.first_seen, tie(*ends))",
        "return (not self.operator, self.doubt, self.first_seen, ends)",
        RESOLVE,
    ),
    Mutation(
        "the earlier link is not preferred",
        "graph/resolve.py",
        "return (not self.operator, self.doubt, self.first_seen, tie(*ends))",
        "return (not self.operator, self.doubt, -self.first_seen, tie(*ends))",
        RESOLVE,
    ),
    Mutation(
        "limits bind operators too",
        "graph/greedy.py",
        "bans if number < words else len(quotas)",
        "len(quotas)",
        RESOLVE,
    ),
    Mutation(
        "a limit that one side exceeds already forbids everything",
        "graph/greedy.py",
        "if union > quotas[quota] and union > one and union > two:",
        "if union > quotas[quota]:",
        RESOLVE,
    ),
    Mutation(
        "blocked values count",
        "graph/rulebook.py",
        "return None if self._policy.is_blocked(identifier) else self.kinds[kind_of(identifier)]",
        "return self.kinds[kind_of(identifier)]",
        RESOLVE,
    ),
    # -- what items add to the evidence, and what is decided again
    Mutation(
        "a withdrawal takes back what is seen later, too",
        "graph/evidence.py",
        "return said_at > link.withdrawn_at and",
        "return link.withdrawn_at == NEVER and",
        REPLAYS,
    ),
    Mutation(
        "an order that changes hands leaves behind what it said",
        "graph/evidence.py",
        "self._let_go(gave if order.placed_at < placed_at else gave - order.given, placed_at)",
        "pass",
        REPLAYS,
    ),
    Mutation(
        "a deleted order leaves behind what it said",
        "graph/evidence.py",
        "self._let_go(gave - order.given, order.placed_at)",
        "pass",
        REPLAYS,
    ),
    Mutation(
        "what one order takes back no other order says",
        "graph/evidence.py",
        "last = dict(left or {})",
        "last: dict[Given, Instant] = {}",
        REPLAYS,
    ),
    Mutation(
        "an order that was placed earlier after all is not heard",
        "graph/evidence.py",
        "gave if order.placed_at < placed_at else gave - order.given",
        "gave - order.given",
        REPLAYS,
    ),
    Mutation(
        "nobody looks whether an identifier is shared no longer",
        "graph/evidence.py",
        "return suspects - self.recounted",
        "return set()",
        REPLAYS,
    ),
    Mutation(
        "the youngest identity keeps its id in a merge",
        "graph/decide.py",
        "identity = min(candidates, key=lambda i: (i not in before.persons, i))",
        "identity = max(candidates, key=lambda i: (i in before.persons, i))",
        REPLAYS,
    ),
    # -- the online path
    Mutation(
        "what was found before the lock is not verified under it",
        "graph/store.py",
        "    if name not in fetched:\n        raise StaleRead(name)\n",
        "    return\n",
        RACES,
    ),
    Mutation(
        "only the ends are decided again, not their whole components",
        "graph/store.py",
        '    take_members(evidence, record["customers"], record["orders"], record["devices"])\n    nobodys',
        '    take_members(evidence, record["customers"], record["orders"], record["devices"])\n'
        "    evidence.records = {n: r for n, r in evidence.records.items() if n in touched.records}\n    nobodys",
        ("tests/contract/test_replays.py",),
    ),
    Mutation(
        "every transaction locks with the same value",
        "graph/ingest.py",
        "lock = uuid.uuid4().hex",
        'lock = "taken"',
        RACES,
    ),
    Mutation(
        "who counts a hub's holders does not hold the log's head",
        "graph/ingest.py",
        "        store.lock_log(tx, lock)\n",
        "",
        RACES,
    ),
    Mutation(
        "who adds to a hub does not look whether it still is one",
        "graph/store.py",
        "        _still_shared(tx, believed)\n",
        "",
        RACES,
    ),
    Mutation(
        "what was found of a hub before the lock is believed",
        "graph/store.py",
        "if known is not None and (known.component, known.shared) != (None, bool(shared)):",
        "if False:",
        RACES,
    ),
    Mutation(
        "whom an order is taken from is not locked",
        "graph/store.py",
        'whose = {order.placed_by or f"order:{key}" for key, order in orders.items()}',
        'whose = {f"order:{key}" for key, order in orders.items() if order.placed_by is None}',
        RACES,
    ),
    Mutation(
        "identifiers that nobody has are not locked",
        "graph/cypher.py",
        "UNWIND $keys AS k MATCH (v:{label} {{key: k}}) SET v.lock = $lock WITH v\n",
        "UNWIND $keys AS k MATCH (v:{label} {{key: k}})\n",
        RACES,
    ),
    Mutation(
        "answers are not kept",
        "graph/ingest.py",
        "    answers.write(tx, now)\n",
        "",
        ("tests/contract/test_repeats.py",),
    ),
    # -- what a model may know
    Mutation(
        "what people did is looked at a day late",
        "ml/panel.py",
        "start, end = bought.since(customer, cutoff), bought.since(customer, cutoff + length * DAY)",
        "start, end = bought.since(customer, cutoff + DAY), bought.since(customer, cutoff + (length + 1) * DAY)",
        LEAKS,
    ),
    Mutation(
        "what people did is looked at a day early",
        "ml/panel.py",
        "start, end = bought.since(customer, cutoff), bought.since(customer, cutoff + length * DAY)",
        "start, end = bought.since(customer, cutoff - DAY), bought.since(customer, cutoff + (length - 1) * DAY)",
        LEAKS,
    ),
    Mutation(
        "a feature sees the events of the day after the cutoff",
        "ml/catalogue.py",
        'FROM events JOIN cutoffs ON epoch_ms("at") < as_of',
        'FROM events JOIN cutoffs ON epoch_ms("at") < as_of + 86400000',
        LEAKS,
    ),
    Mutation(
        "a feature sees the orders of the day after the cutoff",
        "ml/catalogue.py",
        "FROM orders JOIN cutoffs ON epoch_ms(placed_at) < as_of",
        "FROM orders JOIN cutoffs ON epoch_ms(placed_at) < as_of + 86400000",
        LEAKS,
    ),
    Mutation(
        "refunds are known before they are given",
        "ml/catalogue.py",
        '[r.amount FOR r IN refunds IF epoch_ms(r."at") < as_of] AS amounts,',
        "[r.amount FOR r IN refunds] AS amounts,",
        LEAKS,
    ),
    Mutation(
        "a merge of later is in the panel of an earlier cutoff",
        "ml/panel.py",
        "partition_at(cutoff))",
        "partition_at(cutoffs[0]))",
        LEAKS,
    ),
    Mutation(
        "links that were not seen by then are in the partition of an earlier cutoff",
        "graph/partitions.py",
        "resolve_columns(evidence, policy, stored.bans, as_of=at)",
        "resolve_columns(evidence, policy, stored.bans)",
        ("tests/contract/test_partitions.py",),
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
    package, _, file = mutation.file.partition("/")
    content = (PACKAGES[package] / file).read_text()
    if content.count(mutation.text) != 1:
        raise ValueError(
            f"{mutation.what}: {mutation.file} has this {content.count(mutation.text)} times: {mutation.text}"
        )
    return content.replace(mutation.text, mutation.becomes)


def run(mutation: Mutation | None, tests: Iterable[str], environment: dict[str, str]) -> str:
    """The name of the first of the tests that fails; empty if none does."""
    with tempfile.TemporaryDirectory(prefix="onefold-mutant-") as folder:
        mutant = Path(folder) / "onefold"
        for name, package in PACKAGES.items():
            shutil.copytree(package, mutant / name, ignore=shutil.ignore_patterns("__pycache__"))
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
