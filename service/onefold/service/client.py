"""The service from a client's side: a channel, its errors as ours, and a stream that survives what networks do.

:class:`StreamingImporter` is how everything here that ingests much does it: the command line, the demo, the benches.
"""

from __future__ import annotations

import random
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, PreconditionFailure, ResourceInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc

from onefold.graph.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    NotReady,
    OnefoldError,
    Overloaded,
    Unavailable,
    Violation,
)
from onefold.service.settings import Settings
from onefold.service.status import DETAILS_KEY
from onefold.v1 import (
    identity_service_pb2,
    identity_service_pb2_grpc,
    record_pb2,
    segment_service_pb2,
    segment_service_pb2_grpc,
)

SERVICE: Final = "onefold.v1.IdentityService"
MAX_ITEMS: Final = 500
"""Items in one message, as the contract says."""
MESSAGE_BYTES: Final = 512 * 1024
"""About how large a message gets: well below what the service takes by default."""

OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 3_000),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)

_PASSING: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,  # by the service, which was told to stop: we don't cancel what we wait for
    }
)
_SHORTEST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0


def address_of(settings: Settings) -> str:
    """Where a client on this machine finds the service of these settings, as ``host:port``."""
    host, _, port = settings.listen.rpartition(":")
    return f"{ {'0.0.0.0': '127.0.0.1', '[::]': '[::1]'}.get(host, host) }:{port}"


def open_channel(address: str, settings: Settings) -> grpc.Channel:
    """A channel to the service, with TLS if the settings have a certificate: what it signs is trusted.

    Under mutual TLS the service's own pair is shown as the client's, since its authority signs both as a rule.
    """
    certificate, key = settings.tls_certificate_file, settings.tls_key_file
    if certificate is None or key is None:
        return grpc.insecure_channel(address, OPTIONS)
    chain = certificate.read_bytes()
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(chain, key.read_bytes(), chain), OPTIONS)


def require_service(channel: grpc.Channel, address: str, seconds: float = 5.0) -> None:
    """Returns if a Onefold is ready at the other end. Raises Unavailable, in words for who sits in front of it."""
    request = health_pb2.HealthCheckRequest(service=SERVICE)
    try:
        answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=seconds)
    except grpc.RpcError as error:
        raise Unavailable(
            f"no Onefold answers at {address}: start one with `onefold serve`, or name it with --address HOST:PORT"
        ) from error
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise Unavailable(f"the Onefold at {address} is not ready: it is starting or stopping; try again")


def error_of(error: grpc.RpcError) -> OnefoldError:
    """What a call failed with, as the service meant it: the other direction of :mod:`onefold.service.status`."""
    words = error.details() or error.code().name
    details = list(_details(error))
    match error.code():
        case grpc.StatusCode.INVALID_ARGUMENT:
            broken = [Violation(v.field, v.description) for d in _of(details, BadRequest) for v in d.field_violations]
            return InvalidInput(broken or [Violation("request", words)])
        case grpc.StatusCode.NOT_FOUND:
            named = (NotFound(d.resource_type, d.resource_name, d.description) for d in _of(details, ResourceInfo))
            return next(named, None) or OnefoldError(words)
        case grpc.StatusCode.FAILED_PRECONDITION:
            missing = [
                NotReady(v.subject, v.description) for d in _of(details, PreconditionFailure) for v in d.violations
            ]
            return missing[0] if missing else NotReady("request", words)
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
            return Unavailable(words)
        case grpc.StatusCode.ABORTED:
            return Conflict(words)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(words)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Overloaded("the service", _retry_seconds(details) or 0.2)
        case grpc.StatusCode.UNIMPLEMENTED:
            return NotReady("service", "it does not know this call: it is of another version")
    return OnefoldError(words)


def messages_of(items: Iterable[record_pb2.Item]) -> Iterator[list[record_pb2.Item]]:
    """Items gathered into messages that the service takes, in their order."""
    message: list[record_pb2.Item] = []
    room = MESSAGE_BYTES
    for item in items:
        size = item.ByteSize()
        if message and (len(message) == MAX_ITEMS or size > room):
            yield message
            message, room = [], MESSAGE_BYTES
        message.append(item)
        room -= size
    if message:
        yield message


class StreamingImporter:
    """Sends messages of items and gives back their results, each once it is durable, over as many streams as it takes.

    At most ``window`` messages are sent and not acknowledged. When a stream breaks, or the service is overloaded or
    restarts, what was not acknowledged is sent again on a new one, after a pause that grows, and gets its first answer;
    ``patience`` is how many seconds may pass without any acknowledgement. ``on_pause`` is told what happened, and how
    many seconds the pause takes.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        *,
        window: int = 8,
        patience: float = 60.0,
        on_pause: Callable[[OnefoldError, float], None] = lambda error, seconds: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._stub = identity_service_pb2_grpc.IdentityServiceStub(channel)
        self._window = window
        self._patience = patience
        self._on_pause = on_pause
        self._sleep = sleep

    def send(
        self, messages: Iterable[Sequence[record_pb2.Item]], stream_id: str = "", acknowledged: int = 0
    ) -> Iterator[Sequence[identity_service_pb2.ItemResult]]:
        """For each message the results of its items, in order; a message that is refused as a whole, in each item.

        ``stream_id`` (a UUID) and how many of its messages were ``acknowledged`` resume what another process began:
        ``messages`` are the ones that follow. If they turn out to be others than it had sent, they go under a new id.

        ``messages`` is read on the caller's thread, as far ahead as the window allows. Raises what ended the last
        stream, as :func:`error_of` tells it, if that does not pass, or not within the patience.
        """
        resumed, stream_id = bool(stream_id), stream_id or str(uuid.uuid4())
        source = enumerate(messages, acknowledged + 1)
        waiting: deque[identity_service_pb2.StreamRecordsRequest] = deque()
        retries = _Retries(self._patience, self._on_pause, self._sleep)
        stream = _Stream(self._stub)
        try:
            while True:
                while len(waiting) < self._window and (following := next(source, None)) is not None:
                    sequence, items = following
                    waiting.append(
                        identity_service_pb2.StreamRecordsRequest(sequence=sequence, items=items, stream_id=stream_id)
                    )
                    stream.put(waiting[-1])
                if not waiting:
                    stream.end()
                    return
                try:
                    response = stream.next()
                except grpc.RpcError as error:
                    retries.after(error)
                    stream = _Stream(self._stub)
                    for request in waiting:
                        stream.put(request)
                    continue
                retries.reset()
                if resumed and _stood_for_others(response):
                    resumed, stream_id = False, str(uuid.uuid4())
                    stream.close()
                    stream = _Stream(self._stub)
                    for request in waiting:
                        request.stream_id = stream_id
                        stream.put(request)
                    continue
                yield _results(waiting.popleft(), response)
        finally:
            stream.close()


def watch(
    channel: grpc.Channel,
    after: int | None = None,
    kinds: Iterable[identity_service_pb2.IdentityChangeKind.ValueType] = (),
    *,
    patience: float = 60.0,
    on_pause: Callable[[OnefoldError, float], None] = lambda error, seconds: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[identity_service_pb2.IdentityChange]:
    """Every change of identities after a place in the log (None: from now on), for ever and each once.

    When the stream breaks it is resumed where it was, as :class:`StreamingImporter` does it. Whoever notes the sequence
    of the last change it has dealt with can go on after it in another process. Raises what ended the last stream, as
    :func:`error_of` tells it, if that does not pass, or not within the patience.
    """
    stub = identity_service_pb2_grpc.IdentityServiceStub(channel)
    retries = _Retries(patience, on_pause, sleep)
    kinds = tuple(kinds)
    while True:
        stream = stub.WatchIdentities(identity_service_pb2.WatchIdentitiesRequest(after_sequence=after, kinds=kinds))
        try:
            for response in stream:
                retries.reset()
                yield from response.changes
                after = response.sequence
        except grpc.RpcError as error:
            retries.after(error)
        finally:
            stream.cancel()


def watch_segments(
    channel: grpc.Channel,
    segments: Iterable[str] = (),
    after: int | None = None,
    *,
    patience: float = 60.0,
    on_pause: Callable[[OnefoldError, float], None] = lambda error, seconds: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[segment_service_pb2.SegmentChange]:
    """Who comes into segments (none named: any) and who leaves them after a place in the feed (None: from now on), for
    ever and each once. Resumed and raising as :func:`watch`."""
    stub = segment_service_pb2_grpc.SegmentServiceStub(channel)
    retries = _Retries(patience, on_pause, sleep)
    segments = tuple(segments)
    while True:
        request = segment_service_pb2.WatchSegmentRequest(segments=segments, after_sequence=after)
        stream = stub.WatchSegment(request)
        try:
            for response in stream:
                retries.reset()
                yield from response.changes
                after = response.sequence
        except grpc.RpcError as error:
            retries.after(error)
        finally:
            stream.cancel()


class _Stream:
    """One call of ``StreamRecords``."""

    def __init__(self, stub: Any) -> None:
        self._outbox: SimpleQueue[identity_service_pb2.StreamRecordsRequest | None] = SimpleQueue()
        self._call = stub.StreamRecords(iter(self._outbox.get, None))

    def put(self, request: identity_service_pb2.StreamRecordsRequest) -> None:
        self._outbox.put(request)

    def next(self) -> identity_service_pb2.StreamRecordsResponse:
        """The next acknowledgement. Raises grpc.RpcError, also when the service ended the stream too early."""
        try:
            response: identity_service_pb2.StreamRecordsResponse = next(self._call)
        except StopIteration:
            raise _EndedEarly from None
        except BaseException:
            self._outbox.put(None)  # ends the thread that reads it
            raise
        return response

    def end(self) -> None:
        """Says that no more will come, and waits for the service to end the call too."""
        self._outbox.put(None)
        with suppress(grpc.RpcError):  # all is acknowledged: how it ends is of no matter
            for _ in self._call:
                pass

    def close(self) -> None:
        self._outbox.put(None)
        self._call.cancel()


class _EndedEarly(grpc.RpcError):
    """The service closed the stream while messages waited."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return "the service ended the stream"


class _Retries:
    """When to try again, and when no more."""

    def __init__(
        self, patience: float, on_pause: Callable[[OnefoldError, float], None], sleep: Callable[[float], None]
    ) -> None:
        self._patience = patience
        self._on_pause = on_pause
        self._sleep = sleep
        self.reset()

    def reset(self) -> None:
        self._failures = 0
        self._patient_until = 0.0

    def after(self, error: grpc.RpcError) -> None:
        """Returns when it is time to try again. Raises the error if it won't pass, or has not for too long."""
        meant = error_of(error)
        now = time.monotonic()
        if self._failures == 0:
            self._patient_until = now + self._patience
        if error.code() not in _PASSING or now >= self._patient_until:
            raise meant from error
        pause = min(_SHORTEST_PAUSE * 2**self._failures, _LONGEST_PAUSE) * random.uniform(0.5, 1.0)
        pause = max(pause, _retry_seconds(list(_details(error))))
        self._failures += 1
        self._on_pause(meant, pause)
        self._sleep(pause)


def _stood_for_others(response: identity_service_pb2.StreamRecordsResponse) -> bool:
    """Whether the message's number was that of other items of its stream."""
    broken = (v for d in _of(response.status.details, BadRequest) for v in d.field_violations)
    return any(v.field == "sequence" for v in broken)


def _results(
    request: identity_service_pb2.StreamRecordsRequest, response: identity_service_pb2.StreamRecordsResponse
) -> Sequence[identity_service_pb2.ItemResult]:
    unread = response.sequence == 0 and response.HasField("status")  # answers come in order: it is this one's
    if response.sequence != request.sequence and not unread:
        raise OnefoldError(f"message {request.sequence} was answered as {response.sequence}: not a Onefold of ours")
    if response.HasField("status"):
        status = response.status
        return [identity_service_pb2.ItemResult(index=i, status=status) for i in range(len(request.items))]
    return response.results


def _details(error: grpc.RpcError) -> Iterator[Any]:
    """The messages in a status, of the types that we know."""
    metadata = getattr(error, "trailing_metadata", lambda: None)() or ()
    for key, value in metadata:
        if key == DETAILS_KEY:
            with suppress(DecodeError):
                yield from Status.FromString(value).details


def _of(details: Iterable[Any], kind: Any) -> Iterator[Any]:
    for detail in details:
        message = kind()
        if detail.Unpack(message):
            yield message


def _retry_seconds(details: Iterable[Any]) -> float:
    """How long the service asks us to wait; 0 if it does not say."""
    return max((float(d.retry_delay.ToTimedelta().total_seconds()) for d in _of(details, RetryInfo)), default=0.0)
