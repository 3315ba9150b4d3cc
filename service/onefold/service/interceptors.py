"""What surrounds every call, once: its request id, metrics, log line, errors and deadline; and the door of
its lane.

The order, from the outside in: a full lane refuses; a request id is taken or made; metrics count; the
deadline is looked at; the request is decoded; the servicer runs; an error becomes a status; the call is
counted and logged. These are steps of one object and not a chain of interceptors, because a chain costs a
wrapper and a closure a call each. Servicers know nothing of them: they return messages and raise
:mod:`onefold.graph.errors`.

gRPC decodes requests on the one thread that serves all connections, and turns a failure there into
``INTERNAL`` without a word. So requests reach the wrapped handler as bytes and are decoded in its lane, where
a failure is an error like any other; responses are encoded there too.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, runtime_checkable

import grpc
import structlog
import uuid_utils
from google.protobuf.message import DecodeError

from onefold.graph.errors import DeadlineExceeded, InvalidInput, Overloaded, Violation
from onefold.service.lanes import Lane, Lanes
from onefold.service.metrics import CallMetrics, MethodMetrics
from onefold.service.status import DETAILS_KEY, MessageTooLarge, status_of

REQUEST_ID: Final = "x-request-id"
"""The metadata key of a call's id: taken from the caller if it is a plain word, else made; given back at the
end.
"""

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]

Decoder = Callable[[bytes], Any]
"""Bytes to a request. May raise :class:`InvalidInput`."""


@runtime_checkable
class CarryingDecoder(Protocol):
    """A decoder for a stream that goes on after a bad message: it raises nothing, its requests carry the error."""

    def __call__(self, data: bytes) -> Any:
        """The request, or what stands in for it."""
        ...

    def refused(self, error: InvalidInput) -> Any:
        """What stands in for a request that is refused before it is decoded."""
        ...


_PLAIN_WORD: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_NO_DEADLINE: Final = 365 * 86_400.0
_QUIET_SERVICES: Final = ("grpc.health.", "grpc.reflection.")
_SERVER_FAULTS: Final = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED"})
_BUGS: Final = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS"})

log = structlog.get_logger("onefold.rpc")


def deadline(context: grpc.ServicerContext) -> float | None:
    """Seconds that the caller still waits; ``None`` if it set no deadline.

    Raises :class:`DeadlineExceeded` when nothing is left.
    """
    left: float | None = context.time_remaining()
    if left is None or left > _NO_DEADLINE:
        return None
    if left <= 0:
        raise DeadlineExceeded("the deadline ran out before the work began")
    return left


def new_request_id() -> str:
    """A fresh id, ordered by time."""
    return str(uuid_utils.uuid7())


class CallInterceptor(grpc.ServerInterceptor):
    """Wraps each method once, at its first call, and then sends each call to its lane, or away if that is
    full.

    Other interceptors go before this one: what it wraps is the method's own handler.
    ``decoders`` replaces the decoder of a method (``/package.Service/Method``).
    Requests above ``max_message_bytes`` are refused in words, and end their call unless their method's decoder is a
    :class:`CarryingDecoder`; the transport's own limit should be higher.
    ``waits`` names methods that are unary and yet may hold their thread for long.
    """

    def __init__(
        self,
        lanes: Lanes,
        metrics: CallMetrics,
        *,
        decoders: Mapping[str, Decoder] | None = None,
        max_message_bytes: int = 4 * 1024 * 1024,
        waits: frozenset[str] = frozenset(),
        request_id: Callable[[], str] = new_request_id,
    ) -> None:
        self._lanes = lanes
        self._metrics = metrics
        self._decoders = decoders or {}
        self._max_bytes = max_message_bytes
        self._waits = waits
        self._request_id = request_id
        self._guarded: dict[str, tuple[Lane, Handler, Handler]] = {}

    def intercept_service(self, continuation: Any, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of this call. Runs on gRPC's serving thread, so it only looks things up."""
        name = handler_call_details.method
        guarded = self._guarded.get(name)
        if guarded is None:
            handler = continuation(handler_call_details)
            if handler is None or _is_non_blocking(handler):
                return handler
            guarded = self._guarded[name] = self._guard(name, handler)
        lane, handler, refusal = guarded
        return refusal if lane.full else handler

    def _guard(self, name: str, handler: Handler) -> tuple[Lane, Handler, Handler]:
        decode = self._decoders.get(name) or _plain_decoder(handler.request_deserializer)
        method = _Method(name, handler, decode, self._max_bytes, self._metrics, self._request_id)
        lane = self._lane(name, handler)
        return lane, _in_lane(lane, *_wrapped(method)), _refusal(method, lane, self._lanes.control)

    def _lane(self, name: str, handler: Handler) -> Lane:
        if name.startswith("/grpc.health."):
            return self._lanes.control
        if handler.request_streaming or handler.response_streaming or name in self._waits:
            return self._lanes.streams
        return self._lanes.unary


class _Method:
    """What all calls of one method have in common."""

    __slots__ = (
        "behavior",
        "decode",
        "encode",
        "max_bytes",
        "metrics",
        "name",
        "quiet",
        "refuse",
        "request_id",
        "streams",
    )

    def __init__(
        self,
        name: str,
        handler: Handler,
        decode: Decoder,
        max_bytes: int,
        metrics: CallMetrics,
        request_id: Callable[[], str],
    ) -> None:
        service, _, method = name.removeprefix("/").partition("/")
        self.name = name.removeprefix("/")
        self.streams = (handler.request_streaming, handler.response_streaming)
        self.behavior: Any = (
            handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        )
        self.decode = decode
        self.refuse: Callable[[InvalidInput], Any] = decode.refused if isinstance(decode, CarryingDecoder) else _raise
        self.max_bytes = max_bytes
        self.encode: Callable[[Any], bytes] = handler.response_serializer or bytes
        self.metrics: MethodMetrics = metrics.of(_KINDS[self.streams], service, method)
        self.quiet = service.startswith(_QUIET_SERVICES)
        self.request_id = request_id


_KINDS: Final = {
    (False, False): "unary",
    (False, True): "server_stream",
    (True, False): "client_stream",
    (True, True): "bidi_stream",
}
_FACTORIES: Final = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


class _Call:
    """One call from its first step on a thread to its end."""

    __slots__ = ("_began", "_bytes", "_context", "_method", "_over", "_received", "_request_id", "_sent")

    def __init__(self, method: _Method, context: Any) -> None:
        self._began = time.perf_counter()
        self._method = method
        self._context = context
        self._received = self._sent = self._bytes = 0
        self._over = False
        self._request_id = _given_request_id(context) or method.request_id()
        structlog.contextvars.bind_contextvars(request_id=self._request_id)
        method.metrics.begin()

    def request(self, data: bytes) -> Any:
        """The request, decoded, if there is still time to answer it."""
        deadline(self._context)
        self._received += 1
        self._bytes += len(data)
        if len(data) > self._method.max_bytes:
            return self._method.refuse(MessageTooLarge(len(data), self._method.max_bytes))
        return self._method.decode(data)

    def requests(self, stream: Iterator[bytes]) -> Iterator[Any]:
        """Each request of the stream, decoded when it is asked for."""
        for data in stream:
            yield self.request(data)

    def response(self, message: Any) -> bytes:
        """The response, encoded."""
        self._sent += 1
        return self._method.encode(message)

    def succeed(self) -> None:
        """The servicer is done. It may have set a code of its own, as health checks do."""
        self._context.set_trailing_metadata((*(self._context.trailing_metadata() or ()), self._id_pair))
        code = self._context.code()
        self._end(self._gone() or ("OK" if code is None else code.name))

    def fail(self, error: Exception) -> NoReturn:
        """Ends the call with the error's status."""
        if isinstance(error, grpc.RpcError) and not self._context.is_active():
            self.abandon()
            raise error  # gRPC's own word for "the caller is gone"
        if type(error) is Exception and not error.args and self._context.code() is not None:
            self._end(self._context.code().name)
            raise error  # what context.abort raises; servicers of other packages call it
        status = status_of(error, self._request_id)
        code = _CODES[status.code]
        self._context.set_trailing_metadata((self._id_pair, (DETAILS_KEY, status.SerializeToString())))
        self._end(code.name if code.name in _BUGS else self._gone() or code.name, error)
        self._context.abort(code, status.message)
        raise AssertionError("abort raises")

    def abandon(self) -> None:
        """The caller went away, or its deadline passed, before the end; after the end, nothing."""
        if not self._over:
            self._end(self._gone() or "CANCELLED")

    def _gone(self) -> str | None:
        """What a caller that no longer waits took the call to end with; None while it waits."""
        if self._context.time_remaining() == 0:
            return "DEADLINE_EXCEEDED"
        return None if self._context.is_active() else "CANCELLED"

    @property
    def _id_pair(self) -> tuple[str, str]:
        return (REQUEST_ID, self._request_id)

    def _end(self, code: str, error: Exception | None = None) -> None:
        self._over = True
        seconds = time.perf_counter() - self._began
        self._method.metrics.end(code, seconds, self._received, self._sent)
        _log_line(self._method, code, seconds, self, error)

    def described(self) -> dict[str, Any]:
        """What the log line says of the call's size and origin; nothing of its content."""
        return {
            "peer": self._context.peer().partition(":")[0],
            "received": self._received,
            "received_bytes": self._bytes,
            "sent": self._sent,
        }


def _log_line(method: _Method, code: str, seconds: float, call: _Call, error: Exception | None) -> None:
    told: dict[str, Any] = {}
    if code in _BUGS:
        level, told = logging.ERROR, {"exc_info": error}
    elif code in _SERVER_FAULTS:
        level, told = logging.WARNING, {"error": _named(error), "cause": _kind_of(error and error.__cause__)}
    else:
        level = logging.DEBUG if method.quiet else logging.INFO
    if log.is_enabled_for(level):  # asking gRPC for the peer costs as much as a short call's metrics
        log.log(level, "rpc", method=method.name, code=code, ms=round(seconds * 1000, 3), **call.described(), **told)


def _named(error: BaseException | None) -> str | None:
    return None if error is None else f"{type(error).__name__}: {error}"


def _kind_of(cause: BaseException | None) -> str | None:
    """The class of what the driver raised, and the engine's code for it: its message may quote personal data."""
    if cause is None:
        return None
    code = getattr(cause, "code", None)
    return f"{type(cause).__name__}: {code}" if isinstance(code, str) else type(cause).__name__


def _wrapped(method: _Method) -> tuple[tuple[bool, bool], Callable[[Any, grpc.ServicerContext], Any]]:
    streamed_requests, streamed_responses = method.streams
    behavior = method.behavior

    def unary(received: Any, context: grpc.ServicerContext) -> bytes:
        call = _Call(method, context)
        try:
            given = call.requests(received) if streamed_requests else call.request(received)
            response = call.response(behavior(given, context))
        except Exception as error:
            call.fail(error)
        call.succeed()
        return response

    def stream(received: Any, context: grpc.ServicerContext) -> Iterator[bytes]:
        call = _Call(method, context)
        try:
            given = call.requests(received) if streamed_requests else call.request(received)
            for message in behavior(given, context):
                yield call.response(message)
        except Exception as error:
            call.fail(error)
        else:
            call.succeed()
        finally:
            call.abandon()  # gRPC drops the iterator of a caller that is gone; else this does nothing

    return method.streams, stream if streamed_responses else unary


def _in_lane(lane: Lane, streams: tuple[bool, bool], behavior: Callable[..., Any]) -> Handler:
    behavior.experimental_thread_pool = lane  # type: ignore[attr-defined]  # where gRPC looks for a handler's own pool
    return _FACTORIES[streams](behavior)


def _refusal(method: _Method, lane: Lane, control: Lane) -> Handler:
    """Answers at once that the lane is full.

    It is a handler of streams whatever the method is: that kind runs without waiting for the caller's
    message.
    """

    def refuse(_requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        _Call(method, context).fail(Overloaded(f"the queue of {lane.name} calls", _patience()))
        yield b""  # never reached; makes this a stream of responses

    return _in_lane(control, (True, True), refuse)


def _patience() -> float:
    """Seconds after which to try again, spread so that those refused together do not return together."""
    return 0.1 + time.perf_counter_ns() % 200 / 1000


def _raise(error: InvalidInput) -> NoReturn:
    raise error


def _plain_decoder(parse: Decoder | None) -> Decoder:
    if parse is None:
        return bytes

    def decode(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError as error:
            raise InvalidInput([Violation("request", f"is no message of this method: {error}")]) from error

    return decode


def _given_request_id(context: grpc.ServicerContext) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID and isinstance(value, str) and _PLAIN_WORD.fullmatch(value):
            return value
    return None


def _is_non_blocking(handler: Handler) -> bool:
    """Whether the handler answers by callbacks and holds no thread, as ``Health.Watch``: then it needs no
    lane.
    """
    return bool(getattr(handler.unary_stream, "experimental_non_blocking", False))


_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
