"""What was found out about a group of people.

The messages of ``insight.proto`` have the fields of the classes of :mod:`onefold.segments.insight` by the same names,
so one walk over fields translates all of them, either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from types import UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

from google.protobuf.message import Message

from onefold.segments.effect import Effect
from onefold.segments.insight.describe import Insight
from onefold.service.convert.segments import frame_to_proto
from onefold.service.convert.values import parse_timestamp, timestamp_to_proto
from onefold.service.live_frame import About
from onefold.v1 import insight_pb2
from onefold.v1 import segment_service_pb2 as pb

_HOURS: Final = 24
"""In a row of a grid."""
_OF_FRAME: Final = "as_of"
"""The field of an insight that the frame says."""


def insight_to_proto(insight: Insight, about: About) -> pb.DescribeSegmentResponse:
    """All that was found, and in which frame."""
    message = insight_pb2.Insight()
    _write(insight, message)
    return pb.DescribeSegmentResponse(insight=message, frame=frame_to_proto(about))


def parse_insight(message: pb.DescribeSegmentResponse) -> Insight:
    """All that was found."""
    said = {name: value for name, value in _read(Insight, message.insight).items() if name != _OF_FRAME}
    return Insight(as_of=parse_timestamp(message.frame.as_of_time), **said)


def effect_to_proto(effect: Effect, about: About) -> pb.MeasureSegmentResponse:
    """What was measured, and by the definitions of which frame."""
    return pb.MeasureSegmentResponse(
        start_time=timestamp_to_proto(effect.as_of),
        days=effect.days,
        group_count=effect.group,
        measured_count=effect.measured,
        outside_count=effect.outside,
        comparable_count=effect.comparable,
        outcomes=[
            pb.MeasureSegmentResponse.Outcome(
                kind=outcome.kind.value,
                people=outcome.people,
                of_group=outcome.of_group,
                of_comparable=outcome.of_comparable,
                difference=outcome.difference.value,
                low=outcome.difference.low,
                high=outcome.difference.high,
                unadjusted=outcome.unadjusted,
                words=outcome.words,
            )
            for outcome in effect.outcomes
        ],
        balance=[
            pb.MeasureSegmentResponse.Balance(
                term=each.term, before=each.before, after=each.after, defines=each.defines
            )
            for each in effect.balance
        ],
        warnings=effect.warnings,
        frame=frame_to_proto(about),
    )


def _write(value: Any, message: Message) -> None:
    """Fills a message from the attributes of the same names; what is None stays absent."""
    for field in message.DESCRIPTOR.fields:
        found = getattr(value, field.name)
        if found is None:
            continue
        if field.is_repeated and field.message_type:
            for each in found:
                _write(each, getattr(message, field.name).add())
        elif field.is_repeated:
            getattr(message, field.name).extend(_flat(found))
        elif field.message_type:
            getattr(message, field.name).SetInParent()
            _write(found, getattr(message, field.name))
        else:
            setattr(message, field.name, found)


def _flat(values: Sequence[Any]) -> Sequence[Any]:
    """The rows of a grid one after another; a list as it is."""
    return [each for row in values for each in row] if values and isinstance(values[0], tuple) else values


def _read(type_: Any, message: Message) -> dict[str, Any]:
    """The arguments of a class from the fields of the same names."""
    hints = get_type_hints(type_)
    there = message.DESCRIPTOR.fields_by_name
    return {
        field.name: _value(hints[field.name], there[field.name], message)
        for field in fields(type_)
        if field.name in there
    }


def _value(hint: Any, field: Any, message: Message) -> Any:
    """Of a field, by its descriptor, what a type hint says it is."""
    found = getattr(message, field.name)
    if isinstance(hint, UnionType):  # of something and None
        if not (found if field.is_repeated else message.HasField(field.name)):
            return None
        (hint,) = (each for each in get_args(hint) if each is not type(None))
    if not field.is_repeated:
        return hint(**_read(hint, found)) if field.message_type else found
    of = get_args(hint)[0]
    if field.message_type:
        return tuple(of(**_read(of, each)) for each in found)
    if get_origin(of) is tuple:
        return tuple(tuple(found[start : start + _HOURS]) for start in range(0, len(found), _HOURS))
    return tuple(found)
