"""A service to try the server with: it echoes, counts and fails as it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import Int64Value, StringValue
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from prometheus_client import CollectorRegistry

from onefold.service.interceptors import deadline
from onefold.service.server import Server, Service
from onefold.service.settings import Settings

NAME = "test.Echo"


class Echo:
    """Each method does what its name says."""

    def __init__(self) -> None:
        self.error: Exception = RuntimeError("not told")
        self.gate = threading.Event()
        self.inside = threading.Semaphore(0)

    def say(self, request: StringValue, context: Any) -> StringValue:
        return request

    def fail(self, request: StringValue, context: Any) -> StringValue:
        raise self.error

    def hold(self, request: StringValue, context: Any) -> StringValue:
        self.inside.release()
        self.gate.wait(20)
        return request

    def time_left(self, request: StringValue, context: Any) -> Int64Value:
        left = deadline(context)
        return Int64Value(value=-1 if left is None else round(left))

    def abort(self, request: StringValue, context: Any) -> StringValue:
        context.abort(grpc.StatusCode.ALREADY_EXISTS, "said by the servicer")

    def count(self, request: Int64Value, context: Any) -> Iterator[Int64Value]:
        for number in range(request.value):
            yield Int64Value(value=number)
        if request.value == 3:
            raise self.error

    def sum(self, requests: Iterator[Int64Value], context: Any) -> Int64Value:
        return Int64Value(value=sum(r.value for r in requests))

    def chat(self, requests: Iterator[StringValue], context: Any) -> Iterator[StringValue]:
        for request in requests:
            self.inside.release()
            yield request

    def add_to(self, server: grpc.Server) -> None:
        def unary(behavior: Callable[..., Any], request: type[Message], response: type[Message]) -> Any:
            return grpc.unary_unary_rpc_method_handler(behavior, request.FromString, response.SerializeToString)

        handlers = {
            "Say": unary(self.say, StringValue, StringValue),
            "Fail": unary(self.fail, StringValue, StringValue),
            "Hold": unary(self.hold, StringValue, StringValue),
            "Abort": unary(self.abort, StringValue, StringValue),
            "TimeLeft": unary(self.time_left, StringValue, Int64Value),
            "Count": grpc.unary_stream_rpc_method_handler(
                self.count, Int64Value.FromString, Int64Value.SerializeToString
            ),
            "Sum": grpc.stream_unary_rpc_method_handler(self.sum, Int64Value.FromString, Int64Value.SerializeToString),
            "Chat": grpc.stream_stream_rpc_method_handler(
                self.chat, StringValue.FromString, StringValue.SerializeToString
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))


class Client:
    """Plain stubs for the service over one channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        string = {
            "request_serializer": StringValue.SerializeToString,
            "response_deserializer": StringValue.FromString,
        }
        number = {
            "request_serializer": Int64Value.SerializeToString,
            "response_deserializer": Int64Value.FromString,
        }
        self.say = channel.unary_unary(f"/{NAME}/Say", **string)
        self.fail = channel.unary_unary(f"/{NAME}/Fail", **string)
        self.hold = channel.unary_unary(f"/{NAME}/Hold", **string)
        self.abort = channel.unary_unary(f"/{NAME}/Abort", **string)
        self.raw = channel.unary_unary(f"/{NAME}/Say", response_deserializer=StringValue.FromString)
        self.time_left = channel.unary_unary(
            f"/{NAME}/TimeLeft",
            request_serializer=StringValue.SerializeToString,
            response_deserializer=Int64Value.FromString,
        )
        self.count = channel.unary_stream(f"/{NAME}/Count", **number)
        self.sum = channel.stream_unary(f"/{NAME}/Sum", **number)
        self.chat = channel.stream_stream(f"/{NAME}/Chat", **string)


@contextmanager
def serving(echo: Echo, registry: CollectorRegistry | None = None, **settings: Any) -> Iterator[tuple[Server, Client]]:
    """A server of the echo service on a free port, ready, and a client of it."""
    service = Service(lambda servicer, server: servicer.add_to(server), echo, NAME)
    given = Settings(listen="127.0.0.1:0", **settings)
    with Server(given, [service], registry=registry) as server:
        server.set_ready(True)
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield server, Client(channel)


def details(error: grpc.RpcError) -> tuple[Status, dict[str, Any]]:
    """The status with details that an error carries, and its details by the name of their type."""
    status = rpc_status.from_call(error)
    assert status is not None, error
    found = {}
    for packed in status.details:
        kind = getattr(error_details_pb2, packed.type_url.rpartition(".")[2])
        detail = kind()
        packed.Unpack(detail)
        found[kind.DESCRIPTOR.name] = detail
    return status, found
