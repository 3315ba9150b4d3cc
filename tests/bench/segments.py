"""What a service says of segments against what it can't do without: a preview against the bare query of DuckDB and the
same condition in Cypher, one person's membership against one bare read and one bare RPC, the members as a stream
against a bare stream of the same messages."""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, Final

import duckdb
import grpc
import neo4j
import pyarrow as pa
import uuid_utils
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToDict
from pydantic import SecretStr

from onefold.graph import policy, schema
from onefold.graph.endpoint import Endpoint
from onefold.graph.ingest import Writer
from onefold.graph.memberships import Cause, FramedRow, write_rows
from onefold.graph.reader import Reader
from onefold.graph.turns import turns_at
from onefold.segments import catalogue, features
from onefold.segments.frame import evaluated
from onefold.segments.generations import Generations
from onefold.segments.vocabulary import FEATURES, Type
from onefold.service import logs
from onefold.service.app import connect, now
from onefold.service.defined import Definer
from onefold.service.feed import SEGMENTS, Feed
from onefold.service.framing import Framing
from onefold.service.segment_servicer import SegmentServicer
from onefold.service.server import Server, Service
from onefold.service.settings import Settings
from onefold.v1 import identity_pb2, segment_service_pb2_grpc
from onefold.v1 import segment_service_pb2 as pb
from tests.bench.crowd import END, crowds
from tests.bench.ingest import Ratio
from tests.engines import driver_of, empty, open_engine

PEOPLE: Final = 1_000_000
AT_ONCE: Final = 50_000
PREVIEWS: Final = 60
IN_CYPHER: Final = 7
CHECKS: Final = 1_500
STREAMS: Final = 21

COMPOSITE: Final = (
    'orders_90d >= 1 && days_since(last_order_at) > 20 && (churn_probability > 0.5 || gender == "female")'
    ' && !in_segment("about_to_leave") && !has_label("new")'
)
ASKED: Final = 'purchases >= 1 && days_since(last_order_at) > 20 && !has_label("new")'
STREAMED: Final = "purchases >= 1"

READ: Final = "MATCH (i:Identity {id: $id}) RETURN i.f_purchases, i.f_last_order_at, i.labels, i.segments"

BARE: Final = "test.Bare"


def measure(engine: str, people: int = PEOPLE) -> list[Ratio]:
    """Ours and what it is held against in turn, so that noise meets all alike; medians."""
    with (
        open_engine(engine, measured=True) as endpoint,
        driver_of(endpoint) as driver,
        tempfile.TemporaryDirectory() as name,
    ):
        folder = Path(name)
        frame = _frame(people)
        _publish(folder, frame)
        _write(endpoint, driver, frame)
        with _Served(folder, endpoint) as address, grpc.insecure_channel(address) as channel:
            asker = _Asker(engine, channel, driver, endpoint.database, frame)
            return [*asker.previewed(), asker.checked(), asker.streamed()]


# -- the world ---------------------------------------------------------------------------------------------------------


def _frame(people: int) -> pa.Table:
    """Everybody, by the catalogue that comes with Onefold."""
    known, parts = None, []
    shipped = catalogue.load()
    for part in crowds(people, AT_ONCE):
        known = known or features.population(part.orders, part.lines, part.predictions, END)
        table = features.compute(
            part.people, part.orders, part.lines, part.events, part.predictions, END, known, shipped
        )
        parts.append(evaluated(table, shipped, {}, END))
    return pa.concat_tables(parts).combine_chunks()


def _publish(folder: Path, frame: pa.Table) -> None:
    parts = (frame.slice(start, AT_ONCE) for start in range(0, len(frame), AT_ONCE))
    Generations(folder / "frames").publish(END, catalogue.load().version, parts)


def _write(endpoint: Endpoint, driver: neo4j.Driver, frame: pa.Table) -> None:
    """The same on identities, as the service writes it."""
    empty(driver, endpoint.database)
    schema.ensure(driver, endpoint.database)
    writer = Writer(driver, endpoint.database, policy.load(), now, lambda: str(uuid_utils.uuid7()), turns_at(endpoint))
    with driver.session(database=endpoint.database) as session:
        for start in range(0, len(frame), 5_000):
            rows = list(_rows(frame.slice(start, 5_000)))
            session.run(
                "UNWIND $ids AS id CREATE (:Identity {id: id, anonymous: false, created_at: datetime()})",
                ids=[row.identity for row in rows],
            ).consume()
            write_rows(writer, "1.0", END, END, rows, lambda *_: Cause.DATA)


def _rows(frame: pa.Table) -> Iterator[FramedRow]:
    known = [FEATURES[name] for name in frame.column_names if name in FEATURES]
    instants = [each for each in known if each.type is Type.INSTANT]
    for each in instants:
        frame = frame.set_column(frame.column_names.index(each.key), each.key, frame[each.key].cast(pa.int64()))
    for row in frame.to_pylist():
        yield FramedRow(
            row["identity"],
            {each.property: row[each.key] for each in known if each not in instants},
            {each.property: row[each.key] for each in instants},
            row["labels"],
            row["segments"],
        )


# -- the server --------------------------------------------------------------------------------------------------------


class _Served:
    """The servicer of segments, and a bare service beside it, in a process of their own; over a frame that stays."""

    def __init__(self, folder: Path, endpoint: Endpoint) -> None:
        ours, theirs = multiprocessing.Pipe()
        self._ours = ours
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_serve, args=(folder, endpoint, theirs), daemon=True)

    def __enter__(self) -> str:
        self._process.start()
        return f"127.0.0.1:{self._ours.recv()}"

    def __exit__(self, *_: object) -> None:
        self._ours.send("over")
        self._process.join(60)


def _serve(folder: Path, endpoint: Endpoint, pipe: Connection) -> None:
    logs.configure("error")
    settings = Settings(
        listen="127.0.0.1:0",
        data_folder=folder,
        graph_uri=endpoint.uri,
        graph_user=endpoint.user,
        graph_password=SecretStr(endpoint.password),
        graph_database=endpoint.database,
        graph_turns=endpoint.turns or None,
    )
    with ExitStack() as resources:
        driver, database = connect(endpoint, resources)
        rules = policy.load()
        reader = Reader(driver, database, rules)
        writer = Writer(driver, database, rules, now, lambda: str(uuid_utils.uuid7()), turns_at(endpoint))
        definer = Definer(reader, writer)
        framing = Framing(reader, writer, definer, settings.frames_folder)
        framing.load()
        ours = SegmentServicer(reader, definer, framing, Feed(reader, SEGMENTS), now)
        services = [
            Service(segment_service_pb2_grpc.add_SegmentServiceServicer_to_server, ours, "onefold.v1.SegmentService"),
            Service(lambda bare, server: bare.add_to(server), _Bare(), BARE),
        ]
        server = resources.enter_context(Server(settings, services))
        server.set_ready(True)
        pipe.send(server.port)
        pipe.recv()


class _Bare:
    """A service that knows its answers: the messages that it was given."""

    def __init__(self) -> None:
        self.held: list[pb.StreamSegmentMembersResponse] = []

    def hold(self, messages: Iterator[pb.StreamSegmentMembersResponse], context: object) -> Empty:
        self.held = list(messages)
        return Empty()

    def stream(self, request: Empty, context: object) -> Iterator[pb.StreamSegmentMembersResponse]:
        yield from self.held

    def say(self, request: pb.CheckMembershipRequest, context: object) -> pb.CheckMembershipResponse:
        return pb.CheckMembershipResponse(identity=request.subject.identity)

    def add_to(self, server: grpc.Server) -> None:
        message = pb.StreamSegmentMembersResponse
        handlers = {
            "Hold": grpc.stream_unary_rpc_method_handler(self.hold, message.FromString, Empty.SerializeToString),
            "Stream": grpc.unary_stream_rpc_method_handler(self.stream, Empty.FromString, message.SerializeToString),
            "Say": grpc.unary_unary_rpc_method_handler(
                self.say, pb.CheckMembershipRequest.FromString, pb.CheckMembershipResponse.SerializeToString
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(BARE, handlers),))


# -- what is asked -----------------------------------------------------------------------------------------------------


@dataclass
class _Asker:
    engine: str
    channel: grpc.Channel
    driver: neo4j.Driver
    database: str
    frame: pa.Table

    def __post_init__(self) -> None:
        self._stub = segment_service_pb2_grpc.SegmentServiceStub(self.channel)

    def previewed(self) -> list[Ratio]:
        """A count by RPC, against the bare query over the same table in memory, and against Cypher."""
        rule = self._stub.ParseRule(pb.ParseRuleRequest(text=COMPOSITE))
        request = pb.PreviewSegmentRequest(group=pb.Group(rule=COMPOSITE))
        cypher = f"MATCH (i:Identity) WHERE {rule.cypher_where} RETURN count(i)"
        parameters = _parameters(rule.cypher_parameters)
        with duckdb.connect() as bare, self.driver.session(database=self.database) as session:
            bare.from_arrow(self.frame).create("frame")
            text = f"SELECT count(*) FROM frame WHERE {rule.duckdb_where}"
            known = _parameters(rule.duckdb_parameters)
            (counted,) = bare.execute(text, known).fetchall()[0]
            (in_cypher,) = session.run(cypher, parameters).single(strict=True)
            found = self._stub.PreviewSegment(request).member_count
            if not found == counted == in_cypher > 0:
                raise RuntimeError(f"{found} by the service, {counted} by DuckDB, {in_cypher} by Cypher")
            ours, query, graph = [], [], []
            for n in range(PREVIEWS):
                ours.append(_seconds(lambda: self._stub.PreviewSegment(request)))
                query.append(_seconds(lambda: bare.execute(text, known).fetchall()))
                if n % (PREVIEWS // IN_CYPHER) == 0:
                    graph.append(_seconds(lambda: session.run(cypher, parameters).single(strict=True)))
        preview, duck, slow = (1e3 * median(times[len(times) // 5 :]) for times in (ours, query, graph))
        many = f"{len(self.frame):,} people, {self.engine}"
        return [
            _at_most(f"PreviewSegment of {many} (ms)", preview, duck, 2, "the bare query of DuckDB"),
            Ratio(
                f"the same in Cypher, {many} (ms)", preview, slow, slow / preview, "≥ 20 × faster", slow >= 20 * preview
            ),
        ]

    def checked(self) -> Ratio:
        """One person at a time."""
        ids = self.frame["identity"].to_pylist()[:: max(1, len(self.frame) // 997)]
        say = self.channel.unary_unary(
            f"/{BARE}/Say",
            request_serializer=pb.CheckMembershipRequest.SerializeToString,
            response_deserializer=pb.CheckMembershipResponse.FromString,
        )
        times: dict[str, list[float]] = {"check": [], "read": [], "rpc": []}
        with self.driver.session(database=self.database) as session:
            for n in range(CHECKS):
                id = ids[n % len(ids)]
                request = pb.CheckMembershipRequest(
                    group=pb.Group(rule=ASKED), subject=identity_pb2.Subject(identity=id)
                )
                times["check"].append(_seconds(lambda r=request: self._stub.CheckMembership(r)))
                times["read"].append(_seconds(lambda id=id: session.run(READ, id=id).single(strict=True)))
                times["rpc"].append(_seconds(lambda r=request: say(r)))
        check, read, rpc = (1e3 * median(times[name][CHECKS // 5 :]) for name in ("check", "read", "rpc"))
        return _at_most(f"CheckMembership median, {self.engine} (ms)", check, read + rpc, 2, "(read + RPC)")

    def streamed(self) -> Ratio:
        """Members a second, of the same messages."""
        request = pb.StreamSegmentMembersRequest(group=pb.Group(rule=STREAMED))
        messages = list(self._stub.StreamSegmentMembers(request))
        people = sum(len(message.identities) for message in messages)
        message = pb.StreamSegmentMembersResponse
        hold = self.channel.stream_unary(
            f"/{BARE}/Hold", request_serializer=message.SerializeToString, response_deserializer=Empty.FromString
        )
        hold(iter(messages))
        bare = self.channel.unary_stream(
            f"/{BARE}/Stream", request_serializer=Empty.SerializeToString, response_deserializer=message.FromString
        )
        ours, theirs = [], []
        for _ in range(STREAMS):
            ours.append(_seconds(lambda: _received(self._stub.StreamSegmentMembers(request), people)))
            theirs.append(_seconds(lambda: _received(bare(Empty()), people)))
        rate, ceiling = (people / median(times[STREAMS // 5 :]) for times in (ours, theirs))
        ratio = rate / ceiling
        name = f"StreamSegmentMembers of {people:,}, {self.engine} (members/s)"
        return Ratio(name, rate, ceiling, ratio, "≥ 0.5 × a bare stream", ratio >= 0.5)


def _received(stream: Iterator[pb.StreamSegmentMembersResponse], people: int) -> None:
    received = sum(len(message.identities) for message in stream)
    if received != people:
        raise RuntimeError(f"{received} of {people} members are streamed")


def _parameters(message: Any) -> Mapping[str, Any]:
    """As the rule has them: a message knows no whole numbers."""

    def whole(value: Any) -> Any:
        if isinstance(value, Sequence) and not isinstance(value, str):
            return [whole(each) for each in value]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    return {name: whole(value) for name, value in MessageToDict(message).items()}


def _at_most(name: str, ours: float, reference: float, bar: float, of: str) -> Ratio:
    return Ratio(name, ours, reference, ours / reference, f"≤ {bar:g} × {of}", ours <= bar * reference)


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> None:
    """Measures by itself."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--engine", default="embedded")
    arguments = parser.parse_args()
    for ratio in measure(arguments.engine, arguments.people):
        print(f"{ratio.name}: {ratio.ours:,.2f} against {ratio.reference:,.2f}, {ratio.bar}: {ratio.holds}")


if __name__ == "__main__":
    main()
