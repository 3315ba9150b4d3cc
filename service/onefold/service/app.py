"""The composition root: the one place that builds an engine, a driver, writers and servicers, and joins them."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import neo4j
import structlog
import uuid_utils
from google.longrunning import operations_pb2_grpc
from neo4j.exceptions import AuthError, ClientError, DriverError, Neo4jError, ServiceUnavailable
from prometheus_client import CollectorRegistry, Counter, Gauge

from onefold.graph import policy as policies
from onefold.graph import schema
from onefold.graph.audit import list_decisions
from onefold.graph.embedded import EmbeddedEngine
from onefold.graph.endpoint import Endpoint
from onefold.graph.errors import InvalidInput, Unavailable
from onefold.graph.ingest import Answer, Batch, Writer, ingest
from onefold.graph.lane import WriterLanes
from onefold.graph.memberships import SegmentStretch
from onefold.graph.reader import Reader
from onefold.graph.turns import turns_at
from onefold.graph.warm import warm
from onefold.graph.watch import Stretch
from onefold.ml.current import CurrentModel
from onefold.ml.registry import Registry
from onefold.service import operations as long_running
from onefold.service import wire
from onefold.service.alarm import ComponentAlarm
from onefold.service.audit_servicer import AuditServicer
from onefold.service.defined import Definer
from onefold.service.feed import IDENTITIES, SEGMENTS, Feed
from onefold.service.framing import Framing
from onefold.service.identity_servicer import IdentityServicer
from onefold.service.metrics import Exposition, process_registry
from onefold.service.operations import Operations, OperationsServicer
from onefold.service.prediction_servicer import PredictionServicer
from onefold.service.predictor import Predictor
from onefold.service.profile_servicer import ProfileServicer
from onefold.service.readiness import Readiness
from onefold.service.scoring import Rescorer
from onefold.service.segment_servicer import SegmentServicer
from onefold.service.server import Server, Service
from onefold.service.settings import Settings
from onefold.service.upkeep import Upkeep
from onefold.v1 import (
    audit_service_pb2_grpc,
    identity_service_pb2_grpc,
    prediction_service_pb2_grpc,
    profile_service_pb2_grpc,
    segment_service_pb2_grpc,
)

log = structlog.get_logger("onefold.app")


def start(settings: Settings, resources: ExitStack) -> Server:
    """Everything that serves, entered into ``resources`` in order of need; the server answers but is not ready yet.

    Raises EngineError, Unavailable or Conflict when the graph can't be used, InvalidPolicy, and NotReady when the
    address is taken.
    """
    policy = policies.load(settings.policy_file)
    graph = endpoint(settings, resources)
    with _told(graph):
        driver, database = connect(graph, resources)
        schema.ensure(driver, database)
    registry = process_registry()
    retries = Counter("onefold_write_retries", "Attempts of a write that were repeated.", ["why"], registry=registry)
    writer = Writer(
        driver,
        database,
        policy,
        now,
        new_id,
        turns_at(graph),
        on_retry=lambda why: retries.labels(why).inc(),
        on_large_component=ComponentAlarm(policy.max_component, registry),
    )
    models = Registry(settings.models_folder)
    operations = resources.enter_context(Operations(settings.operations_folder))
    reader = Reader(driver, database, policy)
    predictor = Predictor(reader, CurrentModel(models), now)
    _compare_policies(reader)
    feed, segment_feed = Feed(reader, IDENTITIES), Feed(reader, SEGMENTS)
    framing = _framing(reader, writer, segment_feed, settings)
    lanes = _writer_lanes(writer, feed, framing, settings, registry, resources)

    def drain() -> None:
        feed.close()
        segment_feed.close()

    server = Server(
        settings,
        _services(lanes, reader, feed, operations, models, predictor, framing, segment_feed),
        decoders=wire.decoders(),
        waits=long_running.WAITS,
        registry=registry,
        on_drain=drain,
    )
    if settings.metrics_port:
        resources.enter_context(
            Exposition(settings.metrics_host, settings.metrics_port, registry, lambda: server.ready)
        )
    tune_garbage_collection(resources)
    resources.enter_context(server)
    resources.enter_context(Readiness(reader, server))
    rescorer = Rescorer(writer, predictor, reader)
    resources.enter_context(Upkeep(writer, lanes, reader, now, settings.answer_days, rescorer))
    if settings.frame_minutes:
        resources.enter_context(framing)
    warm(writer)  # calls are answered meanwhile, but readiness waits
    return server


def _compare_policies(reader: Reader) -> None:
    """Say so if the newest decision went by other rules than ours: what is not touched stays as they decided it."""
    newest = list_decisions(reader, size=1).items
    if newest and newest[0].policy_version != reader.policy.version:
        log.warning(
            "the newest decision was made by another policy: run onefold rebuild --dry-run, then onefold rebuild",
            decided_by=newest[0].policy_version,
            policy=reader.policy.version,
        )


def _framing(reader: Reader, writer: Writer, feed: Feed[SegmentStretch], settings: Settings) -> Framing:
    definer = Definer(reader, writer)
    folder, seconds = settings.frames_folder, 60 * settings.frame_minutes
    framing = Framing(reader, writer, definer, folder, anew_seconds=seconds, on_change=feed.ring)
    definer.on_change = framing.wake
    return framing


def _writer_lanes(
    writer: Writer,
    feed: Feed[Stretch],
    framing: Framing,
    settings: Settings,
    registry: CollectorRegistry,
    resources: ExitStack,
) -> WriterLanes:
    def commit(batches: Sequence[Batch], seconds: float | None) -> list[Answer]:
        answers = ingest(writer, batches, seconds)
        feed.ring()
        if settings.frame_minutes:
            framing.touch(_touched(answers))
        return answers

    lanes = WriterLanes(
        commit,
        lanes=settings.writer_lanes,
        commit_items=settings.batch_items,
        queue_items=settings.queue_items,
        gather_seconds=settings.gather_milliseconds / 1000,
    )
    resources.callback(lanes.close)
    waiting = Gauge("onefold_write_queue_items", "Items that wait to be written.", registry=registry)
    waiting.set_function(lambda: lanes.waiting_items)
    return lanes


def _touched(answers: Iterable[Answer]) -> Iterator[str]:
    """The identities that items have changed anything of."""
    for answer in answers:
        for outcome in () if isinstance(answer, InvalidInput) else answer:
            if outcome.changed:
                yield from (outcome.identity, outcome.identity_before)


def _services(
    lanes: WriterLanes,
    reader: Reader,
    feed: Feed[Stretch],
    operations: Operations,
    models: Registry,
    predictor: Predictor,
    framing: Framing,
    segment_feed: Feed[SegmentStretch],
) -> list[Service]:
    return [
        Service(
            identity_service_pb2_grpc.add_IdentityServiceServicer_to_server,
            IdentityServicer(lanes, reader, feed),
            "onefold.v1.IdentityService",
        ),
        Service(
            profile_service_pb2_grpc.add_ProfileServiceServicer_to_server,
            ProfileServicer(reader, predictor),
            "onefold.v1.ProfileService",
        ),
        Service(
            prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server,
            PredictionServicer(reader, models, predictor, operations, now, framing.members),
            "onefold.v1.PredictionService",
        ),
        Service(
            segment_service_pb2_grpc.add_SegmentServiceServicer_to_server,
            SegmentServicer(reader, framing.definer, framing, segment_feed, now),
            "onefold.v1.SegmentService",
        ),
        Service(
            audit_service_pb2_grpc.add_AuditServiceServicer_to_server,
            AuditServicer(reader),
            "onefold.v1.AuditService",
        ),
        Service(
            operations_pb2_grpc.add_OperationsServicer_to_server,
            OperationsServicer(operations),
            long_running.SERVICE,
        ),
    ]


def endpoint(settings: Settings, resources: ExitStack) -> Endpoint:
    """The Neo4j of the settings, or else the embedded engine, started."""
    if settings.graph_uri is None:
        return resources.enter_context(EmbeddedEngine(settings.data_folder, heap=settings.engine_heap))
    password = settings.graph_password.get_secret_value() if settings.graph_password else ""
    turns = str(settings.graph_turns or "")
    return Endpoint(settings.graph_uri, settings.graph_user, password, settings.graph_database or "", turns)


def connect(endpoint: Endpoint, resources: ExitStack) -> tuple[neo4j.Driver, str]:
    """A driver for the endpoint and the name of the database to use; the home database where none is named."""
    driver = resources.enter_context(
        neo4j.GraphDatabase.driver(
            endpoint.uri,
            auth=(endpoint.user, endpoint.password) if endpoint.password else None,
            notifications_min_severity="OFF",
            telemetry_disabled=True,
        )
    )
    return driver, endpoint.database


@contextmanager
def _told(endpoint: Endpoint) -> Iterator[None]:
    """Turns what the driver raises inside into Unavailable, in words for who has set the endpoint up."""
    try:
        yield
    except (DriverError, Neo4jError, OSError, ValueError) as error:
        raise Unavailable(f"the graph at {endpoint.uri} {_why_not_used(error, endpoint)}") from error


def _why_not_used(error: Exception, endpoint: Endpoint) -> str:
    """What is wrong, and what to do about it."""
    match error:
        case AuthError() if endpoint.password:
            return f"refuses user {endpoint.user!r}: see ONEFOLD_GRAPH_USER and ONEFOLD_GRAPH_PASSWORD"
        case AuthError():
            return "asks for a password: set ONEFOLD_GRAPH_PASSWORD"
        case ServiceUnavailable() | OSError():
            return "does not answer: start it, or see that ONEFOLD_GRAPH_URI is its address"
        case ClientError() if "DatabaseNotFound" in (error.code or ""):
            return f"has no database {endpoint.database!r}: see ONEFOLD_GRAPH_DATABASE"
    return f"can't be used: {error}; see the settings ONEFOLD_GRAPH_…"


def now() -> int:
    """The wall clock, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def new_id() -> str:
    """A UUIDv7: ids sort by age."""
    return str(uuid_utils.uuid7())


def tune_garbage_collection(resources: ExitStack) -> None:
    """Collect cycles rarely: a batch makes tens of thousands of short-lived objects and no cycles worth the pauses
    (measured: deciding 500 records takes a third of the time)."""
    resources.callback(gc.unfreeze)  # native libraries report what was set aside as leaked
    resources.callback(gc.set_threshold, *gc.get_threshold())
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
