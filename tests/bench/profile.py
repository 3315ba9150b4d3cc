"""``GetProfile`` against what it can't do without: one bare Cypher read and one bare RPC."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from grpc_health.v1 import health_pb2, health_pb2_grpc

from onefold.v1 import (
    identity_pb2,
    identity_service_pb2_grpc,
    profile_service_pb2,
    profile_service_pb2_grpc,
    record_pb2,
)
from tests.bench import people
from tests.bench.ingest import LANES, Ratio
from tests.engines import driver_of, empty, open_engine
from tests.service import ServiceProcess

PEOPLE = 3_000
ROUNDS = 1_500

READ = "MATCH (c:Customer {key: $key}) RETURN c.full_name"


def measure(engine: str) -> list[Ratio]:
    """Medians over calls made in turn, so that noise meets all three alike."""
    with open_engine(engine, measured=True) as endpoint, driver_of(endpoint) as driver:
        empty(driver, endpoint.database)
        with (
            tempfile.TemporaryDirectory() as folder,
            ServiceProcess(Path(folder), endpoint, writer_lanes=LANES[engine]) as service,
            service.channel() as channel,
        ):
            ingested = people.messages(people.people("p", 0, PEOPLE), 500)
            people.counted(identity_service_pb2_grpc.IdentityServiceStub(channel).StreamRecords(iter(ingested)))
            profiles = profile_service_pb2_grpc.ProfileServiceStub(channel)
            health = health_pb2_grpc.HealthStub(channel)
            calls: dict[str, list[float]] = {"profile": [], "read": [], "rpc": []}
            with driver.session(database=endpoint.database) as session:
                for n in range(ROUNDS):
                    i = n * 7 % PEOPLE
                    source, id = people.SOURCES[i % 3], f"p-{i}"
                    subject = identity_pb2.Subject(customer=record_pb2.CustomerKey(source=source, source_id=id))
                    request = profile_service_pb2.GetProfileRequest(subject=subject)
                    key = f"{source}:{id}"
                    calls["profile"].append(_seconds(lambda r=request: profiles.GetProfile(r)))
                    calls["read"].append(_seconds(lambda k=key: session.run(READ, key=k).single(strict=True)))
                    calls["rpc"].append(_seconds(lambda: health.Check(health_pb2.HealthCheckRequest())))
    ours, read, rpc = (median(calls[name][ROUNDS // 5 :]) * 1e3 for name in ("profile", "read", "rpc"))
    ratio = ours / (read + rpc)
    return [Ratio(f"GetProfile median, {engine} (ms)", ours, read + rpc, ratio, "≤ 3 × (read + RPC)", ratio <= 3)]


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
