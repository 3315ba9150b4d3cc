"""Writers that race for the same few people: threads of this process, or processes of their own.

``python -m tests.racing`` is such a process: it is told where the engine is, then a seed a line, and answers each with
the numbers of the items that it was acknowledged.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict

from onefold.graph.endpoint import Endpoint
from onefold.graph.errors import Conflict
from onefold.graph.ingest import Batch, Writer, ingest
from onefold.graph.model import BanExpiry, Item, OwnItem
from tests import items as make
from tests.engines import driver_of

RACERS = 4


def world(seed: int) -> list[Item | OwnItem]:
    """What the racers say together. The ends of bans are nobody's: told by one before another one tells the ban, they
    would be told for nothing."""
    return [item for item in make.upheavals(seed, 80) if not isinstance(item, BanExpiry)]


def commit(writer: Writer, items: Sequence[Item | OwnItem]) -> list[bool | None]:
    """Whether each item was new, None if it was refused; tried until it stands, as a client would."""
    while True:
        try:
            (answer,) = ingest(writer, [Batch(items)])
        except Conflict:
            continue
        assert isinstance(answer, list)
        return [None if outcome.violations else outcome.changed for outcome in answer]


def run_share(writer: Writer, seed: int, racer: int) -> list[int]:
    """Says one racer's share of the world; the numbers of the items that it was acknowledged."""
    items = world(seed)
    number = {id(item): n for n, item in enumerate(items)}
    rng = random.Random(f"{seed}/{racer}")
    *_, said = make.tell(items[racer::RACERS], rng, lambda batch: commit(writer, batch))
    return [number[id(item)] for item in said]


def run_threads(writer: Writer, seed: int) -> set[int]:
    """All racers as threads that share one driver."""
    with ThreadPoolExecutor(RACERS) as pool:
        shares = pool.map(lambda racer: run_share(writer, seed, racer), range(RACERS))
        return {n for share in shares for n in share}


class Processes:
    """Racers that are processes; made by :func:`processes`."""

    def __init__(self, running: Sequence[subprocess.Popen[str]]) -> None:
        self._running = running

    def run(self, seed: int) -> set[int]:
        """All racers at once."""
        for process in self._running:
            assert process.stdin is not None
            process.stdin.write(f"{seed}\n")
            process.stdin.flush()
        return {n for process in self._running for n in json.loads(_line(process))}


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "a racer died: see what it wrote to standard error"
    return line


@contextmanager
def processes(endpoint: Endpoint) -> Iterator[Processes]:
    """Racers that are ready to go."""
    with ExitStack() as stack:
        running = []
        for racer in range(RACERS):
            command = [sys.executable, "-m", "tests.racing", json.dumps(asdict(endpoint)), str(racer)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.terminate)
            running.append(process)
        for process in running:
            assert _line(process) == "ready\n"
        yield Processes(running)


def main(endpoint: Endpoint, racer: int) -> None:
    """Be a racer until there are no more seeds."""
    with driver_of(endpoint) as driver:
        writer = make.writer(endpoint, driver)
        print("ready", flush=True)
        for line in sys.stdin:
            print(json.dumps(run_share(writer, int(line), racer)), flush=True)


if __name__ == "__main__":
    main(Endpoint(**json.loads(sys.argv[1])), int(sys.argv[2]))
