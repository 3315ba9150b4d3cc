"""Segments, labels, rules and what they come to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import NULL_VALUE, Struct, Value

from onefold.graph.errors import InvalidInput, Violation
from onefold.graph.memberships import SegmentChange, SegmentStretch
from onefold.graph.model import Instant
from onefold.graph.segments import StoredSegment
from onefold.segments import data, statement
from onefold.segments.catalogue import Segment
from onefold.segments.check import Rule
from onefold.segments.evaluate import Explanation
from onefold.segments.printing import iso
from onefold.segments.reads import reads
from onefold.segments.vocabulary import Type
from onefold.service.convert.values import timestamp_to_proto
from onefold.service.live_frame import About
from onefold.v1 import segment_service_pb2 as pb

_TRUTHS: Final = {True: pb.TRUTH_TRUE, False: pb.TRUTH_FALSE, None: pb.TRUTH_UNKNOWN}


def frame_to_proto(about: About) -> pb.Frame:
    """Which frame an answer is from."""
    return pb.Frame(
        id=about.id,
        as_of_time=timestamp_to_proto(about.as_of),
        create_time=timestamp_to_proto(about.created_at),
        person_count=about.people,
    )


def segment_to_proto(segment: StoredSegment | Segment) -> pb.Segment:
    """A segment, without its count."""
    message = pb.Segment(key=segment.key, description=segment.description, owner=segment.owner)
    if isinstance(segment, StoredSegment):
        message.source = pb.SEGMENT_SOURCE_STORED
        message.etag = segment.etag
        message.record_count = segment.records
        message.create_time.CopyFrom(timestamp_to_proto(segment.created_at))
        message.update_time.CopyFrom(timestamp_to_proto(segment.updated_at))
        if segment.rule is not None:
            message.rule = segment.rule
    else:
        message.source = pb.SEGMENT_SOURCE_CATALOGUE
        if segment.rule is not None:
            message.rule = segment.rule.text
    return message


def parse_tree(message: Struct) -> dict[str, Any]:
    """A rule's tree as plain data: JSON has one kind of number, trees have two. Raises InvalidInput for one that is
    infinite or none.
    """
    try:
        found = MessageToDict(message)
    except ValueError as error:
        raise InvalidInput([Violation("rule", "a number must be finite")]) from error
    return {name: _whole(value) for name, value in found.items()}


def rule_to_proto(rule: Rule, as_of: Instant) -> pb.ParseRuleResponse:
    """All that a rule comes to."""
    read = reads(rule.tree)
    cypher, duckdb = statement.cypher(rule, as_of), statement.duckdb(rule, as_of)
    message = pb.ParseRuleResponse(
        text=rule.text,
        features=list(rule.features),
        labels=[named.key for named in read.named if named.kind == "label"],
        segments=[named.key for named in read.named if named.kind == "segment"],
        cypher_where=cypher.text,
        duckdb_where=duckdb.text,
    )
    message.tree.update(data.to_data(rule.tree))
    message.cypher_parameters.update(cypher.parameters)
    message.duckdb_parameters.update(duckdb.parameters)
    try:
        pb.ParseRuleResponse.FromString(message.SerializeToString())
    except DecodeError:  # nested deeper than what reads messages will follow
        message.ClearField("tree")
    return message


def membership_to_proto(
    identity: str, explanation: Explanation, rule: Rule, about: About
) -> pb.CheckMembershipResponse:
    """Whether somebody is in, and what each clause came to."""
    return pb.CheckMembershipResponse(
        identity=identity,
        truth=_TRUTHS[explanation.truth],
        clauses=[
            pb.Clause(text=clause.text, truth=_TRUTHS[clause.truth], values=_values(clause.values, rule))
            for clause in explanation.clauses
        ],
        frame=frame_to_proto(about),
    )


def segment_stretch_to_proto(stretch: SegmentStretch) -> pb.WatchSegmentResponse:
    """A part of the feed."""
    return pb.WatchSegmentResponse(changes=map(_change_to_proto, stretch.changes), sequence=stretch.sequence)


def _change_to_proto(change: SegmentChange) -> pb.SegmentChange:
    return pb.SegmentChange(
        sequence=change.sequence,
        create_time=timestamp_to_proto(change.at),
        segment=change.segment,
        identity=change.identity,
        kind=pb.SegmentChangeKind.Value(f"SEGMENT_CHANGE_KIND_{change.kind.value}"),
        cause=pb.SegmentChangeCause.Value(f"SEGMENT_CHANGE_CAUSE_{change.cause.value}"),
        successor=change.successor,
    )


def _values(values: Mapping[str, Any], rule: Rule) -> dict[str, Value]:
    found = {}
    for name, value in values.items():
        message = Value()
        match value:
            case None:
                message.null_value = NULL_VALUE
            case bool():
                message.bool_value = value
            case int() | float() if rule.features[name].type is Type.INSTANT:
                message.string_value = iso(int(value))
            case int() | float():
                message.number_value = value
            case str():
                message.string_value = value
            case _:
                message.list_value.extend(list(value))
        found[name] = message
    return found


def _whole(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: _whole(each) for name, each in value.items()}
        case list():
            return [_whole(each) for each in value]
    return value
