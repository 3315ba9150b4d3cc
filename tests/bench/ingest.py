"""Ingest through the gRPC stream against the raw ceiling, side by side, while the graph grows."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from onefold.v1 import identity_service_pb2_grpc
from tests.bench import people
from tests.engines import driver_of, empty, open_engine
from tests.service import ServiceProcess

BATCH = 100

BARS = {"embedded": 0.5, "neo4j": 0.4}

LANES = {"embedded": "1", "neo4j": "3"}
"""Writer lanes an engine, as the README recommends."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A figure with what it is held against, from one run."""

    name: str
    ours: float
    reference: float
    ratio: float
    bar: str
    holds: bool


def measure(engine: str, records: int, slice_: int = 5_000) -> list[Ratio]:
    """Write ``records`` through the service, and as many raw, in turns of ``slice_``."""
    with open_engine(engine, measured=True) as endpoint, driver_of(endpoint) as driver:
        empty(driver, endpoint.database)
        with (
            tempfile.TemporaryDirectory() as folder,
            ServiceProcess(Path(folder), endpoint, writer_lanes=LANES[engine]) as service,
            service.channel() as channel,
        ):
            stub = identity_service_pb2_grpc.IdentityServiceStub(channel)
            ours, raw = [], []
            for first in range(0, records, slice_):
                written = people.messages(people.people("o", first, slice_), BATCH)
                bare = people.people("r", first, slice_)
                began = time.perf_counter()
                accepted = people.counted(stub.StreamRecords(iter(written)))
                between = time.perf_counter()
                people.write_raw(driver, endpoint.database, bare, BATCH)
                ended = time.perf_counter()
                if accepted != slice_:
                    raise RuntimeError(f"{slice_ - accepted} items were refused")
                ours.append((between - began) / slice_)
                raw.append((ended - between) / slice_)
                print(
                    f"\r{engine}: {first + slice_:,} records, {ours[-1] * 1e6:,.0f} µs a record "
                    f"(raw {raw[-1] * 1e6:,.0f})   ",
                    end="",
                    flush=True,
                )
            print()
    return _ratios(engine, ours, raw, records, slice_)


def _ratios(engine: str, ours: list[float], raw: list[float], records: int, slice_: int) -> list[Ratio]:
    warm = max(1, 5_000 // slice_)
    ratios = [r / o for o, r in zip(ours[warm:], raw[warm:], strict=True)]
    found = [
        Ratio(
            f"ingest by stream, {engine} (records/s)",
            1 / median(ours[warm:]),
            1 / median(raw[warm:]),
            median(ratios),
            f"≥ {BARS[engine]:g} × raw",
            median(ratios) >= BARS[engine],
        )
    ]
    near = [o / r for o, r in zip(ours, raw, strict=True)]
    early, late = near[10_000 // slice_ : 40_000 // slice_], near[-(40_000 // slice_) :]
    if len(early) and records >= 80_000:
        growth = median(late) / median(early)
        found.append(
            Ratio(
                f"cost a record at {records:,} ÷ at 10,000–40,000, {engine} (each in raw's)",
                median(late),
                median(early),
                growth,
                "≤ 1.20",
                growth <= 1.20,
            )
        )
    return found
