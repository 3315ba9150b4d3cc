"""The demo's segment: who is in, why one of them is, and what they are like."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

import grpc
from google.protobuf.json_format import MessageToDict

from onefold.graph.errors import DeadlineExceeded
from onefold.segments.insight.describe import Insight
from onefold.segments.insight.shares import Share
from onefold.service import convert
from onefold.service.client import error_of
from onefold.v1 import identity_pb2, segment_service_pb2_grpc
from onefold.v1 import segment_service_pb2 as pb

SEGMENT: Final = pb.Segment(
    key="slipping_away",
    description="Has stopped buying, spent more than most, and hardly looks in any more",
    owner="crm",
    rule='(has_label("at_risk") || has_label("lost")) && monetary_score >= 4 && count_events("page_view", 90d) < 3',
)
"""It counts events as nothing else does, so that everybody is looked at anew for it: the first frame that can be asked
for it has all that was written before."""

_PATIENCE_SECONDS: Final = 300.0
_INDICES: Final = 3


def tell(say: Callable[[str], None], channel: grpc.Channel) -> None:
    """Makes the segment and tells of it. Raises what the service answers, and DeadlineExceeded."""
    stub = segment_service_pb2_grpc.SegmentServiceStub(channel)
    group = pb.Group(segment=SEGMENT.key)
    try:
        made = stub.CreateSegment(pb.CreateSegmentRequest(segment=SEGMENT), timeout=30)
        say(f"{made.key}: {made.rule}")
        preview = _preview(stub, pb.PreviewSegmentRequest(group=group, example_count=1))
        say(_counted(preview))
        if not preview.examples:
            return
        subject = identity_pb2.Subject(identity=preview.examples[0])
        for line in _reason(_membership(stub, pb.CheckMembershipRequest(group=group, subject=subject))):
            say(line)
        answer = stub.DescribeSegment(pb.DescribeSegmentRequest(group=group), timeout=120)
    except grpc.RpcError as error:
        raise error_of(error) from error
    for line in in_words(convert.parse_insight(answer)):
        say(line)


def in_words(insight: Insight) -> Iterator[str]:
    """The most telling of an insight, a line each."""
    yield from insight.warnings
    yield from (check.words for check in insight.checks if check.met is not None)
    buying = insight.buying
    if buying.repurchase_rate.segment and buying.repurchase_rate.whole is not None:
        again, everybody = buying.repurchase_rate.segment, buying.repurchase_rate.whole
        yield (
            f"{again.value:.0%} of buyers bought on a second day ({again.low:.0%} to {again.high:.0%}), "
            f"of everybody {everybody:.0%}"
        )
    if buying.order_value.segment and buying.order_value.whole is not None:
        yield (
            f"an order comes to {buying.order_value.segment.value:,.2f} {buying.currency}, "
            f"everybody's to {buying.order_value.whole:,.2f}"
        )
    told = [(found.title, share) for found in insight.distributions for share in found.shares if _is_apart(share)]
    for title, share in sorted(told, key=lambda each: -_distance(each[1]))[:_INDICES]:
        assert share.share is not None
        assert share.tgi is not None
        yield (
            f"{title} {share.value}: {share.share.value:.0%}, everybody {share.whole:.0%}, index {share.tgi.value:.0f} "
            f"({share.tgi.low:.0f} to {share.tgi.high:.0f})"
        )


def _is_apart(share: Share) -> bool:
    return share.tgi is not None and (share.tgi.low > 100 or share.tgi.high < 100)


def _distance(share: Share) -> float:
    """How surely the index is another than 100: from there to the near end of its interval."""
    assert share.tgi is not None
    return max(share.tgi.low - 100, 100 - share.tgi.high)


def _preview(
    stub: segment_service_pb2_grpc.SegmentServiceStub, request: pb.PreviewSegmentRequest
) -> pb.PreviewSegmentResponse:
    """Who is in, as soon as a frame can say it."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < end:
        try:
            found: pb.PreviewSegmentResponse = stub.PreviewSegment(request, timeout=30)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                raise
            time.sleep(0.2)
        else:
            return found
    raise DeadlineExceeded("the segment was not counted in time")


def _membership(
    stub: segment_service_pb2_grpc.SegmentServiceStub, request: pb.CheckMembershipRequest
) -> pb.CheckMembershipResponse:
    """Why somebody is in, as soon as their identity says so: a frame is asked before it is written to identities."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < end:
        found: pb.CheckMembershipResponse = stub.CheckMembership(request, timeout=30)
        if found.truth == pb.TRUTH_TRUE:
            return found
        time.sleep(0.2)
    raise DeadlineExceeded("the segment was not written in time")


def _counted(preview: pb.PreviewSegmentResponse) -> str:
    return (
        f"{preview.member_count:,} of {preview.frame.person_count:,} people are in ({preview.share:.1%}), "
        f"{preview.unknown_count:,} are left open for what is not known; counted in {preview.elapsed_ms:.0f} ms"
    )


def _reason(found: pb.CheckMembershipResponse) -> Iterator[str]:
    yield f"Why {found.identity} is in:"
    for clause in found.clauses:
        values = MessageToDict(clause).get("values", {})
        said = ", ".join(f"{name} is {'unknown' if value is None else value}" for name, value in sorted(values.items()))
        truth = {pb.TRUTH_TRUE: "true", pb.TRUTH_FALSE: "false"}.get(clause.truth, "open")
        yield f"  {truth:<6}{clause.text}{f'   ({said})' if said else ''}"
