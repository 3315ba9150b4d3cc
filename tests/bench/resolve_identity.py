"""``ResolveIdentity`` against what it can't do without: one bare Cypher read and one bare RPC."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from grpc_health.v1 import health_pb2, health_pb2_grpc

from onefold.v1 import identity_pb2, identity_service_pb2, identity_service_pb2_grpc, record_pb2
from tests.bench import people
from tests.bench.ingest import LANES, Ratio
from tests.engines import driver_of, empty, open_engine
from tests.service import ServiceProcess

PEOPLE = 3_000
ROUNDS = 2_000

READ = "MATCH (c:Customer {key: $key}) RETURN c.full_name"


def measure(engine: str) -> list[Ratio]:
    """Medians over calls made in turn, so that noise meets all alike; by a record, and by an id."""
    with open_engine(engine, measured=True) as endpoint, driver_of(endpoint) as driver:
        empty(driver, endpoint.database)
        with (
            tempfile.TemporaryDirectory() as folder,
            ServiceProcess(Path(folder), endpoint, writer_lanes=LANES[engine]) as service,
            service.channel() as channel,
        ):
            stub = identity_service_pb2_grpc.IdentityServiceStub(channel)
            people.counted(stub.StreamRecords(iter(people.messages(people.people("p", 0, PEOPLE), 500))))
            health = health_pb2_grpc.HealthStub(channel)
            calls: dict[str, list[float]] = {"record": [], "id": [], "read": [], "rpc": []}
            with driver.session(database=endpoint.database) as session:
                for n in range(ROUNDS):
                    i = n * 7 % PEOPLE
                    source, id = people.SOURCES[i % 3], f"p-{i}"
                    customer = record_pb2.CustomerKey(source=source, source_id=id)
                    by_record = _asked(identity_pb2.Subject(customer=customer))
                    by_id = _asked(identity_pb2.Subject(identity=stub.ResolveIdentity(by_record).identity.id))
                    key = f"{source}:{id}"
                    calls["record"].append(_seconds(lambda r=by_record: stub.ResolveIdentity(r)))
                    calls["id"].append(_seconds(lambda r=by_id: stub.ResolveIdentity(r)))
                    calls["read"].append(_seconds(lambda k=key: session.run(READ, key=k).single(strict=True)))
                    calls["rpc"].append(_seconds(lambda: health.Check(health_pb2.HealthCheckRequest())))
    ms = {name: median(seconds[ROUNDS // 5 :]) * 1e3 for name, seconds in calls.items()}
    return [_ratio(by, engine, ms[by], ms["read"] + ms["rpc"]) for by in ("record", "id")]


def _ratio(by: str, engine: str, ours: float, reference: float) -> Ratio:
    ratio = ours / reference
    name = f"ResolveIdentity by {by} median, {engine} (ms)"
    return Ratio(name, ours, reference, ratio, "≤ 2 × (read + RPC)", ratio <= 2)


def _asked(subject: identity_pb2.Subject) -> identity_service_pb2.ResolveIdentityRequest:
    return identity_service_pb2.ResolveIdentityRequest(subject=subject)


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
