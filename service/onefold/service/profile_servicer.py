"""``ProfileService``: all that is known about a person, served at once."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Final

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from onefold.graph.errors import InvalidInput, NotFound, NotReady, Violation
from onefold.graph.model import Instant
from onefold.graph.profile import Part, read_profile
from onefold.graph.reader import Reader
from onefold.graph.subject import Subject
from onefold.graph.timeline import list_events, list_orders
from onefold.service import convert
from onefold.service.interceptors import deadline
from onefold.service.predictor import Churn, Predictor
from onefold.service.status import status_of
from onefold.service.wire import Batch
from onefold.v1 import profile_service_pb2, profile_service_pb2_grpc

REASONS: Final = 3
"""How many reasons a profile gives for its score."""

_FIELDS: Final = frozenset(profile_service_pb2.Profile.DESCRIPTOR.fields_by_name)
_PARTS: Final = frozenset(part.value for part in Part)


class ProfileServicer(profile_service_pb2_grpc.ProfileServiceServicer):
    """Reads profiles and timelines, and adds the score."""

    def __init__(self, reader: Reader, predictor: Predictor) -> None:
        self._reader = reader
        self._predictor = predictor

    def GetProfile(  # noqa: N802
        self, request: profile_service_pb2.GetProfileRequest, context: grpc.ServicerContext
    ) -> profile_service_pb2.Profile:
        """The parts of the profile that were asked for."""
        fields, as_of = _fields(request.read_mask), convert.parse_as_of(request)
        profile = self._read(convert.parse_subject(request.subject, self._reader.policy), fields, as_of, context)
        if as_of is None:
            self._add_churn([profile], fields, context)
        return _only(profile, fields)

    def BatchGetProfiles(  # noqa: N802
        self,
        request: Batch[profile_service_pb2.BatchGetProfilesRequest],  # type: ignore[override]
        context: grpc.ServicerContext,
    ) -> profile_service_pb2.BatchGetProfilesResponse:
        """A profile, or why there is none, per subject."""
        fields, as_of = _fields(request.message.read_mask), convert.parse_as_of(request.message)
        places = range(len(request.message.subjects))
        results = [self._result(request, index, fields, as_of, context) for index in places]
        profiles = [result.profile for result in results if result.HasField("profile")]
        if as_of is None:
            self._add_churn(profiles, fields, context)
        for profile in profiles:
            _only(profile, fields)
        return profile_service_pb2.BatchGetProfilesResponse(results=results)

    def ListOrders(  # noqa: N802
        self, request: profile_service_pb2.ListOrdersRequest, context: grpc.ServicerContext
    ) -> profile_service_pb2.ListOrdersResponse:
        """One page of a person's orders, newest first."""
        page = list_orders(
            self._reader.within(deadline(context)),
            convert.parse_subject(request.subject, self._reader.policy),
            size=request.page_size,
            token=request.page_token,
        )
        return profile_service_pb2.ListOrdersResponse(
            orders=map(convert.order_to_proto, page.items), next_page_token=page.next_token
        )

    def ListEvents(  # noqa: N802
        self, request: profile_service_pb2.ListEventsRequest, context: grpc.ServicerContext
    ) -> profile_service_pb2.ListEventsResponse:
        """One page of a person's events, newest first."""
        page = list_events(
            self._reader.within(deadline(context)),
            convert.parse_subject(request.subject, self._reader.policy),
            convert.parse_event_filter(request),
            size=request.page_size,
            token=request.page_token,
        )
        return profile_service_pb2.ListEventsResponse(
            events=map(convert.event_to_proto, page.items), next_page_token=page.next_token
        )

    def _read(
        self, subject: Subject, fields: frozenset[str], as_of: Instant | None, context: grpc.ServicerContext
    ) -> profile_service_pb2.Profile:
        parts = [Part(name) for name in fields & _PARTS]
        profile = read_profile(self._reader.within(deadline(context)), subject, parts, as_of=as_of)
        return convert.profile_to_proto(profile)

    def _result(
        self,
        request: Batch[profile_service_pb2.BatchGetProfilesRequest],
        index: int,
        fields: frozenset[str],
        as_of: Instant | None,
        context: grpc.ServicerContext,
    ) -> profile_service_pb2.ProfileResult:
        try:
            request.check(index)
            message = request.message.subjects[index]
            subject = convert.parse_subject(message, self._reader.policy, f"subjects[{index}]")
            return profile_service_pb2.ProfileResult(index=index, profile=self._read(subject, fields, as_of, context))
        except (InvalidInput, NotFound) as error:
            return profile_service_pb2.ProfileResult(index=index, status=status_of(error))

    def _add_churn(
        self,
        profiles: Sequence[profile_service_pb2.Profile],
        fields: frozenset[str],
        context: grpc.ServicerContext,
    ) -> None:
        """Sets the score of those that have one: a profile is no less good for want of a model."""
        if "churn" not in fields:
            return
        with contextlib.suppress(NotReady):
            people = [(profile, Subject.identity(profile.identity)) for profile in profiles]
            scores = self._predictor.churn([subject for _, subject in people], seconds=deadline(context))
            for profile, subject in people:
                score = scores.get(subject)
                if isinstance(score, Churn) and score.identity == profile.identity:
                    profile.churn.CopyFrom(convert.churn_to_proto(score, REASONS))


def _fields(mask: FieldMask) -> frozenset[str]:
    """The fields of a profile that a mask names; all if it names none, or ``*``."""
    nested = [
        Violation(f"read_mask.paths[{index}]", "must be a field of Profile, and none inside it")
        for index, path in enumerate(mask.paths)
        if "." in path
    ]
    if nested:
        raise InvalidInput(nested)
    return _FIELDS if not mask.paths or "*" in mask.paths else frozenset(mask.paths)


def _only(profile: profile_service_pb2.Profile, fields: frozenset[str]) -> profile_service_pb2.Profile:
    """The profile with nothing but these fields."""
    for name in _FIELDS - fields:
        profile.ClearField(name)  # type: ignore[arg-type]  # the stub lists literals
    return profile
