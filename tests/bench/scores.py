"""``ScoreChurn`` against what it can't do without, one bare call of the model and one bare RPC; ``StreamScores``
against the model's trees alone."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import median

import neo4j
import numpy as np
import pyarrow as pa
from grpc_health.v1 import health_pb2, health_pb2_grpc

from onefold.graph import policy
from onefold.graph.endpoint import Endpoint
from onefold.graph.reader import Reader
from onefold.ml import churn, columns
from onefold.ml.current import CurrentModel
from onefold.ml.features import matrix
from onefold.ml.inputs import inputs
from onefold.ml.model import PredictionModel
from onefold.ml.registry import Registry
from onefold.ml.score import reasons, score
from onefold.service.app import now
from onefold.service.predictor import Predictor
from onefold.v1 import identity_pb2, identity_service_pb2_grpc, prediction_service_pb2, prediction_service_pb2_grpc
from tests.bench import customers, people
from tests.bench.ingest import LANES, Ratio
from tests.engines import driver_of, empty, open_engine
from tests.service import ServiceProcess

CUSTOMERS = 3_000
ORDERS = 12_000
HORIZON_DAYS = 90
ASKED = 200
"""So many people are asked about, again and again: their features are ready from the second time on."""

ROUNDS = 1_500
STREAMS = 15
BAR = 1.5
STREAM_BAR = 0.5

READ = "MATCH (c:Customer {key: $key}) RETURN c.created_at"


def measure(engine: str) -> list[Ratio]:
    """Medians over calls made in turn, so that noise meets all alike."""
    with open_engine(engine, measured=True) as endpoint, driver_of(endpoint) as driver:
        empty(driver, endpoint.database)
        with tempfile.TemporaryDirectory() as folder:
            registry = Registry(Path(folder) / "models")
            registry.promote(registry.save(_model()))
            with ServiceProcess(Path(folder), endpoint, writer_lanes=LANES[engine]) as service:
                return _measured(engine, service, endpoint, driver, registry)


def _measured(
    engine: str, service: ServiceProcess, endpoint: Endpoint, driver: neo4j.Driver, registry: Registry
) -> list[Ratio]:
    with service.channel() as channel:
        made = customers.purchases(CUSTOMERS, ORDERS)
        stream = identity_service_pb2_grpc.IdentityServiceStub(channel).StreamRecords(customers.messages(made, 250))
        people.counted(stream)
        reader = Reader(driver, endpoint.database, policy.load())
        blocks = list(Predictor(reader, CurrentModel(registry), now).everybody())
        everybody = pa.concat_tables(block.features for block, _ in blocks)
        if len(everybody) != CUSTOMERS:
            raise RuntimeError(f"{len(everybody)} of {CUSTOMERS} customers are scored")
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        health = health_pb2_grpc.HealthStub(channel)
        with driver.session(database=endpoint.database) as session:

            def read(key: str) -> object:
                return session.run(READ, key=key).single(strict=True)

            return [*_one_by_one(engine, stub, health, everybody, read), _streamed(engine, stub, everybody)]


def _one_by_one(
    engine: str,
    stub: prediction_service_pb2_grpc.PredictionServiceStub,
    health: health_pb2_grpc.HealthStub,
    everybody: pa.Table,
    read: Callable[[str], object],
) -> list[Ratio]:
    model, row_of = _model(), {id: row for row, id in enumerate(everybody["identity"].to_pylist())}
    keys = [customers.key(n * 7 % CUSTOMERS) for n in range(ASKED)]
    asked = [
        prediction_service_pb2.ScoreChurnRequest(subject=identity_pb2.Subject(customer=key), horizon_days=HORIZON_DAYS)
        for key in keys
    ]
    alone = [everybody.slice(row_of[stub.ScoreChurn(request).identity], 1) for request in asked]
    calls: dict[str, list[float]] = {"score": [], "model": [], "rpc": [], "read": []}
    for n in range(ROUNDS):
        request, table, key = asked[n % ASKED], alone[n % ASKED], keys[n % ASKED]
        name = f"{key.source}:{key.source_id}"
        calls["score"].append(_seconds(lambda r=request: stub.ScoreChurn(r)))
        calls["model"].append(_seconds(lambda t=table: reasons(score(model, t, HORIZON_DAYS), 0)))
        calls["rpc"].append(_seconds(lambda: health.Check(health_pb2.HealthCheckRequest())))
        calls["read"].append(_seconds(lambda k=name: read(k)))
    ms = {name: median(seconds[ROUNDS // 5 :]) * 1e3 for name, seconds in calls.items()}
    return [
        _ratio(
            f"ScoreChurn median, features ready, {engine} (ms)", ms["score"], ms["model"] + ms["rpc"], "model + RPC"
        ),
        _ratio(
            "the same beside the one read that it checks by", ms["score"], sum(ms.values()) - ms["score"], "all three"
        ),
    ]


def _ratio(name: str, ours: float, reference: float, of: str) -> Ratio:
    return Ratio(name, ours, reference, ours / reference, f"≤ {BAR:g} × ({of})", ours <= BAR * reference)


def _streamed(engine: str, stub: prediction_service_pb2_grpc.PredictionServiceStub, everybody: pa.Table) -> Ratio:
    """People a second, features ready on both sides."""
    ours, raw = [], []
    trees = _trees(_model(), everybody)
    for _ in range(STREAMS):
        ours.append(_seconds(lambda: _received(stub)))
        raw.append(_seconds(trees))
    rate, ceiling = (CUSTOMERS / median(seconds[STREAMS // 5 :]) for seconds in (ours, raw))
    name = f"StreamScores, features ready, {engine} (people/s)"
    ratio = rate / ceiling
    return Ratio(name, rate, ceiling, ratio, f"≥ {STREAM_BAR:g} × LightGBM alone", ratio >= STREAM_BAR)


def _received(stub: prediction_service_pb2_grpc.PredictionServiceStub) -> None:
    request = prediction_service_pb2.StreamScoresRequest(horizon_days=HORIZON_DAYS)
    received = sum(len(message.identities) for message in stub.StreamScores(request))
    if received != CUSTOMERS:
        raise RuntimeError(f"{received} of {CUSTOMERS} customers are streamed")


def _trees(model: PredictionModel, everybody: pa.Table) -> Callable[[], None]:
    """LightGBM's part of what is streamed: the boosters of churn and of spend at each of the model's horizons, over
    matrices that are ready."""
    values = matrix(everybody, model.keys)
    ready = [np.ascontiguousarray(inputs(model.parts.process, values, days)) for days in model.card.horizons]
    boosters = (*model.parts.churn.boosters, *model.parts.spend.boosters)

    def predict() -> None:
        for known in ready:
            for booster in boosters:
                booster.predict(known, raw_score=True)

    return predict


@cache
def _model() -> PredictionModel:
    """A full model of the same purchases, the same for each engine."""
    orders = customers.orders_table(customers.purchases(CUSTOMERS, ORDERS))
    model = churn.train(
        orders,
        columns.EVENTS.empty_table(),
        cutoff=customers.END,
        created_at=customers.END,
        horizon_days=HORIZON_DAYS,
    )
    if model.card.kind != "full":
        raise RuntimeError(f"the model has no trees: {model.card.choice}")
    return model


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
