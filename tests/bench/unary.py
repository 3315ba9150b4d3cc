"""Many callers of one record each, against raw transactions of one record each by one session."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import grpc

from onefold.v1 import identity_service_pb2, identity_service_pb2_grpc
from tests.bench import people
from tests.bench.ingest import LANES, Ratio
from tests.engines import driver_of, empty, open_engine
from tests.service import ServiceProcess

CALLERS = 32
SLICE = 1_000
SLICES = 20
WARM = 10
"""Slices in which both sides only get warm: a slice is a thousand transactions of the raw side, and some thirty of the
service, whose statements the engine compiles the later for it."""

BARS = {"embedded": 2.0, "neo4j": 1.0}


def measure(engine: str) -> list[Ratio]:
    """Rates over slices in turn; the median of their ratios."""
    with open_engine(engine, measured=True) as endpoint, driver_of(endpoint) as driver:
        empty(driver, endpoint.database)
        with (
            tempfile.TemporaryDirectory() as folder,
            ServiceProcess(Path(folder), endpoint, writer_lanes=LANES[engine], gather_milliseconds="10") as service,
            asyncio.Runner() as callers,
        ):
            ours, raw = [], []
            for n in range(SLICES):
                written = people.messages(people.people("u", n * SLICE, SLICE), 1)
                requests = [identity_service_pb2.IngestRecordsRequest(items=m.items) for m in written]
                bare = people.people("v", n * SLICE, SLICE)
                began = time.perf_counter()
                callers.run(_call_all(service.address, requests))
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


async def _call_all(address: str, requests: Sequence[identity_service_pb2.IngestRecordsRequest]) -> None:
    """Each caller sends its next request when it has the answer to its last. One thread plays them all: what callers
    cost is theirs, who are elsewhere, and here they share the machine with what is measured."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = identity_service_pb2_grpc.IdentityServiceStub(channel)
        left = iter(requests)

        async def caller() -> None:
            for request in left:
                answer = await stub.IngestRecords(request, timeout=60)
                if not answer.results[0].identity:
                    raise RuntimeError("a record has no identity")

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
