"""One record onto a device that a hundred thousand customers use, against one onto a device of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

from onefold.graph import policy
from onefold.graph.ingest import Batch, Writer, ingest
from onefold.graph.model import Customer
from tests import items as make
from tests.bench.ingest import Ratio
from tests.engines import driver_of, empty, open_engine

CUSTOMERS = 100_000
ROUNDS = 300
BAR = 2.0


def measure(engine: str, customers: int = CUSTOMERS) -> list[Ratio]:
    """Medians over commits made in turn, so that noise meets both alike."""
    with open_engine(engine, measured=True) as endpoint, driver_of(endpoint) as driver:
        empty(driver, endpoint.database)
        writer = make.writer(endpoint, driver, policy.load())
        for first in range(0, customers, 500):
            _seconds(writer, [make.customer(f"web:{n}", "device:hub") for n in range(first, first + 500)])
            print(f"\r{engine}: {first + 500:,} customers on one device   ", end="", flush=True)
        print()
        onto, beside = [], []
        for n in range(ROUNDS):
            onto.append(_seconds(writer, [make.customer(f"shop:a{n}", f"email:a{n}@example.org", "device:hub")]))
            beside.append(_seconds(writer, [make.customer(f"shop:b{n}", f"email:b{n}@example.org", f"device:{n}")]))
    ours, reference = (median(seconds[ROUNDS // 5 :]) * 1e3 for seconds in (onto, beside))
    ratio = ours / reference
    name = f"one record onto a device of {customers:,} customers, {engine} (ms)"
    return [Ratio(name, ours, reference, ratio, f"≤ {BAR:g} × one onto none", ratio <= BAR)]


def _seconds(writer: Writer, customers: Sequence[Customer]) -> float:
    began = time.perf_counter()
    ingest(writer, [Batch(customers)])
    return time.perf_counter() - began
