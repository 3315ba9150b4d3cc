"""Many callers of one record each, against raw transactions of one record each by one session."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from onefold.v1 import identity_service_pb2, identity_service_pb2_grpc
from tests.bench import people
from tests.bench.ingest import LANES, Ratio
from tests.engines import driver_of, empty, open_engine
from tests.service import ServiceProcess

CALLERS = 32
SLICE = 1_000
SLICES = 7
WARM = 3
"""Slices in which both sides only get warm."""

BARS = {"embedded": 2.0, "neo4j": 1.0}


def measure(engine: str) -> list[Ratio]:
    """Rates over slices in turn; the median of their ratios."""
    with open_engine(engine, measured=True) as endpoint, driver_of(endpoint) as driver:
        empty(driver, endpoint.database)
        with (
            tempfile.TemporaryDirectory() as folder,
            ServiceProcess(Path(folder), endpoint, writer_lanes=LANES[engine]) as service,
            service.channel() as channel,
            ThreadPoolExecutor(CALLERS) as callers,
        ):
            stub = identity_service_pb2_grpc.IdentityServiceStub(channel)

            def call(request: identity_service_pb2.IngestRecordsRequest) -> str:
                return str(stub.IngestRecords(request, timeout=60).results[0].identity)

            ours, raw = [], []
            for n in range(SLICES):
                written = people.messages(people.people("u", n * SLICE, SLICE), 1)
                requests = [identity_service_pb2.IngestRecordsRequest(items=m.items) for m in written]
                bare = people.people("v", n * SLICE, SLICE)
                began = time.perf_counter()
                if not all(callers.map(call, requests)):
                    raise RuntimeError("a record has no identity")
                between = time.perf_counter()
                people.write_raw(driver, endpoint.database, bare, 1)
                ended = time.perf_counter()
                ours.append(SLICE / (between - began))
                raw.append(SLICE / (ended - between))
    ratio = median(o / r for o, r in zip(ours[WARM:], raw[WARM:], strict=True))
    bar = BARS[engine]
    return [
        Ratio(
            f"{CALLERS} callers of one record, {engine} (records/s)",
            median(ours[WARM:]),
            median(raw[WARM:]),
            ratio,
            f"≥ {bar:g} × raw",
            ratio >= bar,
        )
    ]
