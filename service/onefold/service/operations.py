"""Long-running operations: work that outlives a call, kept in files so that its outcome outlives the process.

:class:`Operations` runs one piece of work at a time on a thread of its own; :class:`OperationsServicer` is
the ``google.longrunning.Operations`` service in front of it. An operation that was waiting or running when
the process ended is reported as failed with ``ABORTED`` by the next process.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, Self

import grpc
import structlog
import uuid_utils
from google.longrunning import operations_pb2_grpc
from google.longrunning.operations_pb2 import ListOperationsResponse, Operation
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status

from onefold.graph.errors import Conflict, InvalidInput, NotFound, NotReady, Overloaded, Violation
from onefold.service.interceptors import deadline
from onefold.service.status import row_of, status_of

SERVICE: Final = "google.longrunning.Operations"
WAITS: Final = frozenset({f"/{SERVICE}/WaitOperation"})
"""The methods of this service that hold their thread: they belong in the lane of streams."""

MAX_UNFINISHED: Final = 16
MAX_KEPT: Final = 1_000
MAX_PAGE: Final = 500
_LONGEST_WAIT: Final = 60.0
_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

log = structlog.get_logger("onefold.operations")


class Cancelled(Exception):
    """The work stopped because it was asked to."""


Progress = Callable[[Message], None]
"""Replaces the operation's metadata; raises :class:`Cancelled` once the operation has been cancelled."""

Work = Callable[[Progress, Callable[[], bool]], Message]
"""Does the work and returns its response. The second argument tells whether it has been cancelled."""


@dataclass(slots=True)
class _Entry:
    kind: str
    request_id: str
    operation: Any
    cancelled: threading.Event = field(default_factory=threading.Event)


class Operations:
    """Runs work one piece at a time and answers what became of it. A context manager; it may be used by all
    threads.

    Operations are kept in ``folder``, a small file each, the newest :data:`MAX_KEPT` of them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._changed = threading.Condition()
        self._entries = _load(folder)
        self._closing = False
        self._queue: SimpleQueue[tuple[_Entry, Work] | None] = SimpleQueue()
        for entry in self._entries.values():
            if not entry.operation.done:
                self._end(entry, error=_interrupted())
        self._thread = threading.Thread(target=self._work, name="onefold-operations", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Cancels what runs and waits a moment for it; what does not end by then dies with the process."""
        with self._changed:
            self._closing = True
            for entry in self._entries.values():
                entry.cancelled.set()
            self._changed.notify_all()
        self._queue.put(None)
        self._thread.join(timeout=5)

    def start(
        self, kind: str, metadata: Message, work: Work, *, request_id: str = "", alone: bool = False
    ) -> Operation:
        """The operation that will do ``work``, not done yet. With a ``request_id`` that this kind of work has
        seen, the operation that it started then.

        Raises :class:`Overloaded` while :data:`MAX_UNFINISHED` are not done, and :class:`Conflict` while one of
        this kind is not, if it is to be ``alone``.
        """
        with self._changed:
            if request_id and (seen := self._seen(kind, request_id)):
                return _copy(seen.operation)
            if alone and (other := self._unfinished(kind)):
                raise Conflict(f"{other.operation.name} does the same and is not done; wait for it or cancel it")
            if sum(not e.operation.done for e in self._entries.values()) >= MAX_UNFINISHED:
                raise Overloaded("the queue of operations", retry_after_s=30)
            entry = _Entry(kind, request_id, Operation(name=f"operations/{uuid_utils.uuid7()}"))
            entry.operation.metadata.Pack(metadata)
            self._keep(entry)
            self._entries[entry.operation.name] = entry
            self._forget_oldest()
            self._queue.put((entry, work))
            return _copy(entry.operation)

    def get(self, name: str) -> Operation:
        """The operation as it is now. Raises :class:`NotFound`."""
        with self._changed:
            return _copy(self._entry(name).operation)

    def newest(self, limit: int, before: str | None = None) -> list[Operation]:
        """At most ``limit`` operations, the newest first; with ``before``, those older than the one of that
        name.
        """
        with self._changed:
            names = sorted((n for n in self._entries if before is None or n < before), reverse=True)
            return [_copy(self._entries[name].operation) for name in names[:limit]]

    def wait(self, name: str, seconds: float) -> Operation:
        """The operation when it is done, or as it is after ``seconds``. Raises :class:`NotFound`."""
        until = time.monotonic() + seconds
        with self._changed:
            while not (entry := self._entry(name)).operation.done and not self._closing:
                left = until - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            return _copy(entry.operation)

    def cancel(self, name: str) -> None:
        """Asks the operation to stop; one that has not begun never will. Raises :class:`NotFound`."""
        with self._changed:
            self._entry(name).cancelled.set()

    def delete(self, name: str) -> None:
        """Forgets an operation that is done. Raises :class:`NotFound`, and :class:`NotReady` while it is not
        done.
        """
        with self._changed:
            if not self._entry(name).operation.done:
                raise NotReady(name, "is not done; cancel it first")
            self._forget(name)

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            entry, work = task
            with structlog.contextvars.bound_contextvars(operation=entry.operation.name, kind=entry.kind):
                self._run(entry, work)

    def _run(self, entry: _Entry, work: Work) -> None:
        def progress(metadata: Message) -> None:
            if entry.cancelled.is_set():
                raise Cancelled
            with self._changed:
                entry.operation.metadata.Pack(metadata)

        began = time.monotonic()
        response, error = None, None
        try:
            if entry.cancelled.is_set():
                raise Cancelled
            response = work(progress, entry.cancelled.is_set)
        except Cancelled:
            error = _interrupted() if self._closing else _cancelled()
        except Exception as failure:
            error = status_of(failure, entry.operation.name)
            if row_of(failure) is None:
                log.exception("operation failed by a bug")
        with self._changed:
            self._end(entry, response, error)
        log.info("operation", code=error.code if error else 0, seconds=round(time.monotonic() - began, 3))

    def _end(self, entry: _Entry, response: Message | None = None, error: Any = None) -> None:
        """Marks the operation as done, on disk first: what a caller has been told must be true after a
        restart.
        """
        ended = _copy(entry.operation)
        ended.done = True
        if error is not None:
            ended.error.CopyFrom(error)
        elif response is not None:
            ended.response.Pack(response)
        entry.operation = ended
        try:
            self._keep(entry)
        except OSError:
            log.exception("operation could not be kept", operation=ended.name)
        self._changed.notify_all()

    def _entry(self, name: str) -> _Entry:
        try:
            return self._entries[name]
        except KeyError:
            raise NotFound("operation", name) from None

    def _seen(self, kind: str, request_id: str) -> _Entry | None:
        return next((e for e in self._entries.values() if (e.kind, e.request_id) == (kind, request_id)), None)

    def _unfinished(self, kind: str) -> _Entry | None:
        return next((e for e in self._entries.values() if e.kind == kind and not e.operation.done), None)

    def _forget_oldest(self) -> None:
        for name in sorted(self._entries)[: max(0, len(self._entries) - MAX_KEPT)]:
            if self._entries[name].operation.done:
                self._forget(name)

    def _forget(self, name: str) -> None:
        _file(self._folder, name).unlink(missing_ok=True)
        del self._entries[name]

    def _keep(self, entry: _Entry) -> None:
        kept = {
            "kind": entry.kind,
            "request_id": entry.request_id,
            "operation": base64.b64encode(entry.operation.SerializeToString()).decode(),
        }
        target = _file(self._folder, entry.operation.name)
        part = target.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            json.dump(kept, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)


class OperationsServicer(operations_pb2_grpc.OperationsServicer):  # type: ignore[misc]
    """``google.longrunning.Operations``: get, list, wait, cancel and delete."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    def GetOperation(self, request: Any, context: grpc.ServicerContext) -> Operation:  # noqa: N802
        """The operation's latest state."""
        return self._operations.get(request.name)

    def ListOperations(self, request: Any, context: grpc.ServicerContext) -> ListOperationsResponse:  # noqa: N802
        """The operations, newest first, by pages."""
        size = _page_size(request)
        page = self._operations.newest(size + 1, before=_before(request.page_token))
        more = len(page) > size
        return ListOperationsResponse(
            operations=page[:size], next_page_token=_page_token(page[size - 1].name) if more else ""
        )

    def WaitOperation(self, request: Any, context: grpc.ServicerContext) -> Operation:  # noqa: N802
        """The operation when it is done, or its state when the timeout, a minute or most of the deadline is
        over.
        """
        seconds = request.timeout.ToTimedelta().total_seconds() if request.HasField("timeout") else _LONGEST_WAIT
        left = deadline(context)
        if left is not None:
            seconds = min(seconds, left * 0.9)  # the rest is for the answer's way back
        return self._operations.wait(request.name, min(seconds, _LONGEST_WAIT))

    def CancelOperation(self, request: Any, context: grpc.ServicerContext) -> Empty:  # noqa: N802
        """Nothing; whether it was cancelled in time is seen in the operation."""
        self._operations.cancel(request.name)
        return Empty()

    def DeleteOperation(self, request: Any, context: grpc.ServicerContext) -> Empty:  # noqa: N802
        """Nothing; the operation is forgotten."""
        self._operations.delete(request.name)
        return Empty()


def _page_size(request: Any) -> int:
    violations = []
    if request.name not in ("", "operations"):
        violations.append(Violation("name", "should be empty or operations"))
    if request.filter:
        violations.append(Violation("filter", "should be empty: operations can't be filtered"))
    if request.page_size < 0:
        violations.append(Violation("page_size", "should not be negative"))
    if violations:
        raise InvalidInput(violations)
    return min(request.page_size or 50, MAX_PAGE)


def _page_token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _before(token: str) -> str | None:
    if not token:
        return None
    try:
        name = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        name = ""
    if not _ID.fullmatch(name.removeprefix("operations/")):
        raise InvalidInput([Violation("page_token", "should be the next_page_token of an earlier answer")])
    return name


def _load(folder: Path) -> dict[str, _Entry]:
    entries = {}
    for path in sorted(folder.glob("*.json")):
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            operation = Operation.FromString(base64.b64decode(kept["operation"]))
            entries[operation.name] = _Entry(kept["kind"], kept["request_id"], operation)
        except (OSError, ValueError, KeyError, TypeError, DecodeError) as error:
            log.warning("operation file can't be read and is passed over", file=path.name, error=type(error).__name__)
    return entries


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name.removeprefix('operations/')}.json"


def _copy(operation: Any) -> Operation:
    copy = Operation()
    copy.CopyFrom(operation)
    return copy


def _interrupted() -> Status:
    return status_of(Conflict("the service stopped before this was done; start it again"))


def _cancelled() -> Status:
    return Status(code=grpc.StatusCode.CANCELLED.value[0], message="cancelled by a caller")
