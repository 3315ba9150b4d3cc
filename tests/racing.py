"""Writers that race for the same few people: threads of this process, callers of its writer lanes, or processes of
their own.

``python -m tests.racing`` is such a process: it is told where the engine is, then a seed a line, and answers each with
the numbers of the items that it was acknowledged.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict

from onefold.graph.endpoint import Endpoint
from onefold.graph.errors import Conflict
from onefold.graph.ingest import Answer, Batch, Outcome, Writer, ingest
from onefold.graph.lane import WriterLanes
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
        return _news(answer)


def _news(outcomes: Sequence[Outcome]) -> list[bool | None]:
    return [None if outcome.violations else outcome.changed for outcome in outcomes]


Commit = Callable[[Sequence[Item | OwnItem]], list[bool | None]]
"""Whether each item was new, None if it was refused, once it stands."""


def run_share(commit: Commit, seed: int, racer: int) -> list[int]:
    """Says one racer's share of the world; the numbers of the items that it was acknowledged."""
    items = world(seed)
    number = {id(item): n for n, item in enumerate(items)}
    rng = random.Random(f"{seed}/{racer}")
    *_, said = make.tell(items[racer::RACERS], rng, commit)
    return [number[id(item)] for item in said]


def run_threads(commit: Commit, seed: int) -> set[int]:
    """All racers as threads that commit by one way."""
    with ThreadPoolExecutor(RACERS) as pool:
        shares = pool.map(lambda racer: run_share(commit, seed, racer), range(RACERS))
        return {n for share in shares for n in share}


class Lanes:
    """Writer lanes on one writer, for callers who give request ids and at times ask twice at once; end by ``with``."""

    def __init__(self, writer: Writer, lanes: int) -> None:
        self._writer = writer
        self._lanes = WriterLanes(self._ingest, lanes=lanes)
        self._lock = threading.Lock()
        self._random = random.Random(0)
        self._busy = 0
        self.busiest = 0
        """How many lanes have been at work at once."""
        self.answered: list[tuple[Batch, list[Outcome]]] = []
        """Every batch with its answer."""

    def __enter__(self) -> Lanes:
        return self

    def __exit__(self, *_: object) -> None:
        self._lanes.close()

    def commit(self, items: Sequence[Item | OwnItem]) -> list[bool | None]:
        """Whether each item was new, None if it was refused; tried under one request id until it stands."""
        with self._lock:
            batch = Batch(items, f"request-{self._random.getrandbits(64)}")
            times = self._random.choice((1, 1, 2, 3))
        answer, *more = self.ask(batch, times)
        assert more == [answer] * (times - 1), "one request is answered alike"
        with self._lock:
            self.answered.append((batch, answer))
        return _news(answer)

    def ask(self, batch: Batch, times: int = 1) -> list[list[Outcome]]:
        """The batch's answers, asked for several times at once."""
        waiting, answers = times, []
        while waiting:
            asked = [self._lanes.submit(batch) for _ in range(waiting)]
            for one in asked:
                try:
                    answers.append(one.result(60))
                except Conflict:
                    continue
                waiting -= 1
        return answers

    def _ingest(self, batches: Sequence[Batch], seconds: float | None) -> list[Answer]:
        with self._lock:
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)
        try:
            return ingest(self._writer, batches, seconds)
        finally:
            with self._lock:
                self._busy -= 1


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
            print(json.dumps(run_share(lambda items: commit(writer, items), int(line), racer)), flush=True)


if __name__ == "__main__":
    main(Endpoint(**json.loads(sys.argv[1])), int(sys.argv[2]))
