"""Errors as statuses: one table from the classes of :mod:`onefold.graph.errors` to what a caller receives.

Every status carries an ``ErrorInfo`` whose reason is a name of ``onefold.v1.ErrorReason`` (without its
prefix) and whose domain is ``onefold.v1``, and the details that fit its kind. What the engine or a bug said
is logged, never sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import (
    BadRequest,
    ErrorInfo,
    PreconditionFailure,
    QuotaFailure,
    RequestInfo,
    ResourceInfo,
    RetryInfo,
)
from google.rpc.status_pb2 import Status

from onefold.graph.errors import (
    Conflict,
    DeadlineExceeded,
    EngineError,
    InvalidInput,
    NotFound,
    NotReady,
    OnefoldError,
    Overloaded,
    Unavailable,
    Violation,
)

DOMAIN: Final = "onefold.v1"
DETAILS_KEY: Final = "grpc-status-details-bin"
"""The trailing metadata in which gRPC carries a status with details."""

MAX_STATUS_BYTES: Final = 4096
"""A status travels in headers, which clients bound to 8 KB: a longer one would reach them as another error.
"""

_MAX_TEXT_BYTES: Final = 300


class MessageTooLarge(InvalidInput):
    """A request has more bytes than the service takes."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            [Violation("request", f"has {size:,} bytes, and at most {limit:,} are taken: send fewer items")]
        )


class Row(NamedTuple):
    """How one class of errors is told to a caller."""

    code: grpc.StatusCode
    reason: str
    details: Callable[[Any], Iterator[Message]]
    words: str | None = None
    """What the caller reads in place of the error's own text, where that is the operator's business."""


def _retry(seconds: float) -> RetryInfo:
    delay = Duration()
    delay.FromNanoseconds(round(seconds * 1e9))
    return RetryInfo(retry_delay=delay)


def _no_details(_error: OnefoldError) -> Iterator[Message]:
    return iter(())


def _bad_request(error: InvalidInput) -> Iterator[Message]:
    shown: list[Message] = []
    room = MAX_STATUS_BYTES // 2
    for violation in error.violations:
        told = BadRequest.FieldViolation(field=_cut(violation.field), description=_cut(violation.rule))
        room -= told.ByteSize()
        if shown and room < 0:
            shown.append(
                BadRequest.FieldViolation(field="…", description=f"and {len(error.violations) - len(shown)} more")
            )
            break
        shown.append(told)
    yield BadRequest(field_violations=shown)


def _resource(error: NotFound) -> Iterator[Message]:
    yield ResourceInfo(
        resource_type=_cut(error.resource_type), resource_name=_cut(error.key), description=_cut(error.why)
    )


def _precondition(error: NotReady) -> Iterator[Message]:
    violation = PreconditionFailure.Violation(
        type="NOT_READY", subject=_cut(error.subject), description=_cut(error.missing)
    )
    yield PreconditionFailure(violations=[violation])


def _quota(error: Overloaded) -> Iterator[Message]:
    yield QuotaFailure(violations=[QuotaFailure.Violation(subject=_cut(error.what), description="is full")])
    yield _retry(error.retry_after_s)


TABLE: Final[Mapping[type[OnefoldError], Row]] = {
    InvalidInput: Row(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT", _bad_request),
    MessageTooLarge: Row(grpc.StatusCode.INVALID_ARGUMENT, "MESSAGE_TOO_LARGE", _bad_request),
    NotFound: Row(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", _resource),
    Conflict: Row(grpc.StatusCode.ABORTED, "CONFLICT", lambda _: iter([_retry(0.05)])),
    Unavailable: Row(
        grpc.StatusCode.UNAVAILABLE,
        "UNAVAILABLE",
        lambda _: iter([_retry(1)]),
        words="the graph engine can't be reached just now; try again",
    ),
    DeadlineExceeded: Row(grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", _no_details),
    Overloaded: Row(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", _quota),
    NotReady: Row(grpc.StatusCode.FAILED_PRECONDITION, "NOT_READY", _precondition),
    EngineError: Row(
        grpc.StatusCode.UNAVAILABLE,
        "UNAVAILABLE",
        lambda _: iter([_retry(5)]),
        words="the graph engine does not run; its operator is told why in the log",
    ),
}
"""A class without a row has its parent's."""


def row_of(error: BaseException) -> Row | None:
    """The error's row, or ``None`` for an error that nobody foresaw: a bug."""
    for parent in type(error).__mro__:
        if parent in TABLE:
            return TABLE[parent]
    return None


def status_of(error: BaseException, request_id: str = "") -> Status:
    """What a caller is told: of a foreseen error all that helps it, of any other only the id to ask about.

    Fits in headers; the same for a whole call and for one item of a batch.
    """
    row = row_of(error)
    if row is None:
        words = f"internal error; ask about request {request_id}" if request_id else "internal error"
        status = Status(code=_number(grpc.StatusCode.INTERNAL), message=words)
        _add(status, ErrorInfo(reason="INTERNAL", domain=DOMAIN))
        if request_id:
            _add(status, RequestInfo(request_id=request_id))
        return status
    status = Status(code=_number(row.code), message=_cut(row.words or str(error)))
    _add(status, ErrorInfo(reason=row.reason, domain=DOMAIN))
    for detail in row.details(error):
        _add(status, detail)
    return status


def _add(status: Status, detail: Message) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)


def _number(code: grpc.StatusCode) -> int:
    return int(code.value[0])


def _cut(text: str) -> str:
    """The text, or as much of it as has room. Bytes count, not letters: headers carry other than ASCII
    threefold.
    """
    data = text.encode("utf-8", "replace")
    if len(data) <= _MAX_TEXT_BYTES:
        return data.decode()
    return data[: _MAX_TEXT_BYTES - 3].decode("utf-8", "ignore") + "…"
