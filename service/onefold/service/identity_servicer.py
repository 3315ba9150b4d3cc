"""``IdentityService``: records in, identities out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from queue import Queue
from typing import Any, Final

import grpc

from onefold.graph.errors import DeadlineExceeded, InvalidInput, OnefoldError, Violation
from onefold.graph.fetch import fetch_component
from onefold.graph.identity import find
from onefold.graph.ingest import Batch as Items
from onefold.graph.ingest import Outcome
from onefold.graph.lane import WriterLanes
from onefold.graph.model import Instant, Item, OperatorBan, OperatorMatch
from onefold.graph.network import network
from onefold.graph.reader import Reader
from onefold.service import convert
from onefold.service.interceptors import deadline
from onefold.service.status import status_of
from onefold.service.wire import Batch
from onefold.v1 import identity_service_pb2, identity_service_pb2_grpc, record_pb2

IN_FLIGHT: Final = 4
"""Messages of one stream that may wait for their commit; a client that sends faster is held back by the transport."""


@dataclass(slots=True)
class _Parsed:
    """A message's items: those to be written, and what is already known of the others."""

    items: list[Item]
    results: list[identity_service_pb2.ItemResult | None]
    """One a place; None where the item is to be written."""

    def answer(self, outcomes: Sequence[Outcome]) -> list[identity_service_pb2.ItemResult]:
        """All results, in the order of the message's items."""
        rest = iter(outcomes)
        return [
            result if result is not None else convert.outcome_to_proto(index, next(rest))
            for index, result in enumerate(self.results)
        ]


class IdentityServicer(identity_service_pb2_grpc.IdentityServiceServicer):
    """Takes items to the writer lanes, and asks the graph who is who."""

    def __init__(self, lanes: WriterLanes, reader: Reader, clock: Callable[[], Instant]) -> None:
        self._lanes = lanes
        self._reader = reader
        self._policy = reader.policy
        self._clock = clock

    def IngestRecords(  # noqa: N802
        self,
        request: Batch[identity_service_pb2.IngestRecordsRequest],  # type: ignore[override]
        context: grpc.ServicerContext,
    ) -> identity_service_pb2.IngestRecordsResponse:
        """A result per item, once all good ones are durable."""
        seconds = deadline(context)
        parsed = self._parse(request, request.message.items)
        outcomes: list[Outcome] = []
        if parsed.items:
            written = self._lanes.submit(Items(parsed.items, request.message.request_id), seconds)
            try:
                outcomes = written.result(seconds)
            except FutureTimeoutError:
                raise DeadlineExceeded("the deadline ran out before the items were committed") from None
        return identity_service_pb2.IngestRecordsResponse(results=parsed.answer(outcomes))

    def StreamRecords(  # noqa: N802
        self,
        request_iterator: Iterator[Batch[identity_service_pb2.StreamRecordsRequest]],  # type: ignore[override]
        context: grpc.ServicerContext,
    ) -> Iterator[identity_service_pb2.StreamRecordsResponse]:
        """An acknowledgement per message, in order, once its items are durable.

        Messages are read and parsed on a thread of their own, so that one is prepared while another is committed.
        """
        inbox: Queue[_Pending | BaseException | None] = Queue(IN_FLIGHT)
        stopped = threading.Event()
        reader = threading.Thread(
            target=self._read, args=(request_iterator, inbox, stopped, context), name="onefold-stream", daemon=True
        )
        reader.start()
        try:
            while (pending := inbox.get()) is not None:
                if isinstance(pending, BaseException):
                    raise pending
                yield pending.acknowledgement()
        finally:
            stopped.set()
            _drop_all(inbox)

    def _read(
        self,
        requests: Iterator[Batch[identity_service_pb2.StreamRecordsRequest]],
        inbox: Queue[_Pending | BaseException | None],
        stopped: threading.Event,
        context: grpc.ServicerContext,
    ) -> None:
        last: Future[list[Outcome]] | None = None
        try:
            for request in requests:
                if stopped.is_set():
                    return
                pending = self._begin(request, context, last)
                last = pending.written or last
                inbox.put(pending)
            inbox.put(None)
        except BaseException as error:
            inbox.put(error)

    def _begin(
        self,
        request: Batch[identity_service_pb2.StreamRecordsRequest],
        context: grpc.ServicerContext,
        last: Future[list[Outcome]] | None,
    ) -> _Pending:
        if request.error is not None:
            return _Pending(request.message.sequence, refused=request.error)
        parsed = self._parse(request, request.message.items)
        if not parsed.items:
            return _Pending(request.message.sequence, parsed)
        if last is not None and any(isinstance(i, OperatorMatch | OperatorBan) for i in parsed.items):
            # An operator's word names records that must be known; they may be in the message before.
            last.exception()
        return _Pending(request.message.sequence, parsed, self._lanes.submit(Items(parsed.items), deadline(context)))

    def ResolveIdentity(  # noqa: N802
        self, request: identity_service_pb2.ResolveIdentityRequest, context: grpc.ServicerContext
    ) -> identity_service_pb2.ResolveIdentityResponse:
        """Who it is, as of now."""
        subject = convert.parse_subject(request.subject, self._policy)
        return convert.found_to_proto(find(self._reader, subject, seconds=deadline(context)))

    def GetIdentityGraph(  # noqa: N802
        self, request: identity_service_pb2.GetIdentityGraphRequest, context: grpc.ServicerContext
    ) -> identity_service_pb2.GetIdentityGraphResponse:
        """The records and identifiers around one identity, and what the policy makes of each link."""
        subject = convert.parse_subject(request.subject, self._policy)
        component = fetch_component(self._reader, subject, seconds=deadline(context))
        (identity,) = component.identities
        whole = network(component, self._policy, self._clock())
        return convert.graph_to_proto(identity, whole.around(identity))

    def _parse(self, batch: Batch[Any], messages: Sequence[record_pb2.Item]) -> _Parsed:
        parsed = _Parsed([], [])
        for index, message in enumerate(messages):
            broken = batch.refused.get(index)
            try:
                if broken is not None:
                    raise InvalidInput(list(broken))
                parsed.items.append(convert.parse_item(message, self._policy))
                parsed.results.append(None)
            except InvalidInput as error:
                if broken is None:
                    error = InvalidInput([Violation(f"items[{index}].{v.field}", v.rule) for v in error.violations])
                parsed.results.append(convert.refused_to_proto(index, error))
        return parsed


def _drop_all(inbox: Queue[_Pending | BaseException | None]) -> None:
    """Makes room for whatever the reading thread still puts, so that it ends; writes that have not begun never will."""
    while not inbox.empty():
        pending = inbox.get()
        if isinstance(pending, _Pending) and pending.written is not None:
            pending.written.cancel()


@dataclass(slots=True)
class _Pending:
    """A message of a stream that waits for its commit."""

    sequence: int
    parsed: _Parsed | None = None
    written: Future[list[Outcome]] | None = None
    refused: OnefoldError | None = None

    def acknowledgement(self) -> identity_service_pb2.StreamRecordsResponse:
        """What the client reads once the message is durable; raises what kept it from becoming so."""
        if self.refused is not None:
            return identity_service_pb2.StreamRecordsResponse(sequence=self.sequence, status=status_of(self.refused))
        assert self.parsed is not None
        outcomes = self.written.result() if self.written is not None else []
        return identity_service_pb2.StreamRecordsResponse(sequence=self.sequence, results=self.parsed.answer(outcomes))
