"""``IdentityService``: records in, identities out."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from functools import partial
from typing import Final

import grpc

from onefold.graph.errors import DeadlineExceeded, InvalidInput, OnefoldError, Violation
from onefold.graph.fetch import fetch_component, fetch_component_as_of
from onefold.graph.identity import find
from onefold.graph.ingest import Batch as Items
from onefold.graph.ingest import Outcome
from onefold.graph.lane import Unprepared, WriterLanes
from onefold.graph.model import Item, OperatorBan, OperatorMatch
from onefold.graph.network import network
from onefold.graph.past import find_as_of
from onefold.graph.reader import Reader
from onefold.graph.watch import Stretch
from onefold.service import convert
from onefold.service.feed import Feed
from onefold.service.interceptors import deadline
from onefold.service.status import status_of
from onefold.service.wire import Batch
from onefold.v1 import identity_service_pb2, identity_service_pb2_grpc

ITEMS_IN_FLIGHT: Final = 2_000
"""Items of one stream that may wait for their commit, in as few or as many messages as they come; a client that sends
faster is held back by the transport."""

FEW_ITEMS: Final = 8
"""The items of a call that has no more are checked and parsed by the writer, who does so for many such calls in a row;
those of larger ones beside what the writer does."""


class IdentityServicer(identity_service_pb2_grpc.IdentityServiceServicer):
    """Takes items to the writer lanes, asks the graph who is who, and passes the feed of changes on."""

    def __init__(
        self,
        lanes: WriterLanes,
        reader: Reader,
        feed: Feed[Stretch],
        items_in_flight: int = ITEMS_IN_FLIGHT,
    ) -> None:
        self._items_in_flight = items_in_flight
        self._lanes = lanes
        self._reader = reader
        self._policy = reader.policy
        self._feed = feed

    def IngestRecords(  # noqa: N802
        self,
        request: Batch[identity_service_pb2.IngestRecordsRequest],  # type: ignore[override]
        context: grpc.ServicerContext,
    ) -> identity_service_pb2.IngestRecordsResponse:
        """A result per item, once all good ones are durable."""
        seconds = deadline(context)
        parse = partial(self._parse, request, request.message.request_id)
        items = len(request.message.items)
        written = self._lanes.submit(parse() if items > FEW_ITEMS else Unprepared(items, parse), seconds)
        try:
            outcomes = written.result(seconds)
        except FutureTimeoutError:
            raise DeadlineExceeded("the deadline ran out before the items were committed") from None
        return identity_service_pb2.IngestRecordsResponse(results=_results(outcomes))

    def StreamRecords(  # noqa: N802
        self,
        request_iterator: Iterator[Batch[identity_service_pb2.StreamRecordsRequest]],  # type: ignore[override]
        context: grpc.ServicerContext,
    ) -> Iterator[identity_service_pb2.StreamRecordsResponse]:
        """An acknowledgement per message, in order, once its items are durable.

        Messages are read and parsed on a thread of their own, so that one is prepared while another is committed.
        """
        flow = _Flow(self._items_in_flight)
        context.add_callback(flow.stop)  # a caller that goes away, or whose time is up, ends the call in mid-wait
        threading.Thread(
            target=self._read, args=(request_iterator, flow, context), name="onefold-stream", daemon=True
        ).start()
        try:
            while (pending := flow.get()) is not None:
                with contextlib.suppress(CancelledError):  # stopped; why comes last
                    yield pending.acknowledgement()
                flow.acknowledged(pending)
        finally:
            flow.stop()

    def _read(
        self,
        requests: Iterator[Batch[identity_service_pb2.StreamRecordsRequest]],
        flow: _Flow,
        context: grpc.ServicerContext,
    ) -> None:
        try:
            for request in requests:
                flow.check()
                flow.put(self._begin(request, flow, context))
            flow.end()
        except BaseException as error:
            flow.end(error)

    def _begin(
        self,
        request: Batch[identity_service_pb2.StreamRecordsRequest],
        flow: _Flow,
        context: grpc.ServicerContext,
    ) -> _Pending:
        if request.error is not None:
            return _Pending(request.message.sequence, refused=request.error)
        message = request.message
        parsed = self._parse(request, f"{message.stream_id}/{message.sequence}" if message.stream_id else "")
        if any(isinstance(i, OperatorMatch | OperatorBan) for i in parsed.items):
            # An operator's word names records that must be known; they may be in any message before.
            wait(flow.writes())
            flow.check()
        return _Pending(message.sequence, len(parsed.items), self._lanes.submit(parsed, deadline(context)))

    def ResolveIdentity(  # noqa: N802
        self, request: identity_service_pb2.ResolveIdentityRequest, context: grpc.ServicerContext
    ) -> identity_service_pb2.ResolveIdentityResponse:
        """Who it is or was, and what became of an id."""
        subject, as_of = convert.parse_subject(request.subject, self._policy), convert.parse_as_of(request)
        reader = self._reader.within(deadline(context))
        if as_of is None:
            return convert.found_to_proto(find(reader, subject))
        return convert.found_to_proto(find_as_of(reader, subject, as_of))

    def GetIdentityGraph(  # noqa: N802
        self, request: identity_service_pb2.GetIdentityGraphRequest, context: grpc.ServicerContext
    ) -> identity_service_pb2.GetIdentityGraphResponse:
        """The records and identifiers around one identity, and what the policy makes of each link."""
        subject, as_of = convert.parse_subject(request.subject, self._policy), convert.parse_as_of(request)
        reader = self._reader.within(deadline(context))
        if as_of is None:
            component = fetch_component(reader, subject)
        else:
            component = fetch_component_as_of(reader, subject, as_of)
        (identity,) = component.identities
        return convert.graph_to_proto(identity, network(component, self._policy).around(identity))

    def WatchIdentities(  # noqa: N802
        self, request: identity_service_pb2.WatchIdentitiesRequest, context: grpc.ServicerContext
    ) -> Iterator[identity_service_pb2.WatchIdentitiesResponse]:
        """The changes of identities, as they are committed."""
        after = request.after_sequence if request.HasField("after_sequence") else None
        for stretch in self._feed.watch(after, convert.parse_change_kinds(request.kinds), context.is_active):
            yield convert.stretch_to_proto(stretch)

    def _parse(
        self,
        request: Batch[identity_service_pb2.IngestRecordsRequest] | Batch[identity_service_pb2.StreamRecordsRequest],
        request_id: str,
    ) -> Items:
        """The request's items, and why each of the others is refused."""
        items: list[Item] = []
        refused: dict[int, Sequence[Violation]] = {}
        messages = request.message.items
        for index, message in enumerate(messages):
            if index in request.refused:
                place = f"items[{index}]"
                refused[index] = [
                    Violation(v.field.removeprefix(place).removeprefix("."), v.rule) for v in request.refused[index]
                ]
                continue
            try:
                items.append(convert.parse_item(message, self._policy))
            except InvalidInput as error:
                refused[index] = error.violations
        return Items(items, request_id, convert.fingerprint(messages) if request_id else "", refused)


def _results(outcomes: Iterable[Outcome]) -> list[identity_service_pb2.ItemResult]:
    return [convert.outcome_to_proto(index, outcome) for index, outcome in enumerate(outcomes)]


class _Flow:
    """What the two threads of a stream have in common: the one that reads messages, and the one that acknowledges."""

    def __init__(self, items: int) -> None:
        """``items`` is how many may wait for their commit; one message may always wait, however many it has."""
        self._limit = items
        self._inbox: deque[_Pending] = deque()
        self._unacknowledged: deque[_Pending] = deque()
        self._held = 0
        self._ended = False
        self._error: BaseException | None = None
        self._stopped = False
        self._changed = threading.Condition()

    def put(self, pending: _Pending) -> None:
        """One more message; waits until there is room for it."""
        with self._changed:
            self._inbox.append(pending)
            self._unacknowledged.append(pending)
            self._held += pending.weight
            self._changed.notify_all()
            while self._held >= self._limit and not self._stopped:
                self._changed.wait()
            if self._stopped:
                pending.cancel()

    def end(self, error: BaseException | None = None) -> None:
        """There are no more messages, or none that could be read."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def get(self) -> _Pending | None:
        """The next message in order; None after the last. Raises what ended the reading."""
        with self._changed:
            while not self._inbox and not self._ended:
                self._changed.wait()
            if self._inbox:
                return self._inbox.popleft()
            if self._error is not None:
                raise self._error
            return None

    def acknowledged(self, pending: _Pending) -> None:
        """The caller has the answer to the oldest message: its place is free."""
        with self._changed:
            self._unacknowledged.popleft()
            self._held -= pending.weight
            self._changed.notify_all()

    def writes(self) -> list[Future[list[Outcome]]]:
        """The writes of all messages that are not acknowledged."""
        with self._changed:
            return [pending.written for pending in self._unacknowledged if pending.written is not None]

    def stop(self) -> None:
        """Nothing more is read, and writes that have not begun never will."""
        with self._changed:
            self._stopped = True
            for pending in self._unacknowledged:
                pending.cancel()
            self._changed.notify_all()

    def check(self) -> None:
        """Raises gRPC's own word for "the caller is gone" once that is so."""
        if self._stopped:
            raise grpc.RpcError("the stream has ended")


@dataclass(slots=True)
class _Pending:
    """A message of a stream that waits for its commit."""

    sequence: int
    items: int = 0
    """How many of its items are to be written."""
    written: Future[list[Outcome]] | None = None
    refused: OnefoldError | None = None

    @property
    def weight(self) -> int:
        """How much of the stream's room it takes."""
        return self.items + 1

    def cancel(self) -> None:
        """Do not write it, unless that has begun."""
        if self.written is not None:
            self.written.cancel()

    def acknowledgement(self) -> identity_service_pb2.StreamRecordsResponse:
        """What the client reads once the message is durable; raises what kept it from becoming so."""
        if self.refused is not None:
            return identity_service_pb2.StreamRecordsResponse(sequence=self.sequence, status=status_of(self.refused))
        assert self.written is not None
        try:
            outcomes = self.written.result()
        except InvalidInput:
            self.refused = InvalidInput([Violation("sequence", "stood for other items of this stream before")])
            return self.acknowledgement()
        return identity_service_pb2.StreamRecordsResponse(sequence=self.sequence, results=_results(outcomes))
