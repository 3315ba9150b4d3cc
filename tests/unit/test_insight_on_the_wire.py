"""An insight as a message and back."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from onefold.segments.insight.describe import Asked, Insight, describe
from onefold.segments.insight.intervals import Estimate, Figure
from onefold.service.convert import insight_to_proto, parse_insight
from onefold.service.live_frame import About
from onefold.v1 import segment_service_pb2 as pb
from tests.clientele import END, crowd

MADE = crowd(seed=11, people=800)
ABOUT = About("3.1", END, END, 800, "")


def of_many() -> Insight:
    return describe(MADE.members, *MADE.tables(), END, Asked(most=8))


def of_one() -> Insight:
    """Who did nothing: most figures are not known; and an interval that has no end."""
    frame, *did = MADE.tables()
    found = describe(["i00000"], frame, *(table.slice(0, 0) for table in did), END)
    endless = Figure(Estimate(1.0, 0.0, inf), None, 1)
    return replace(found, buying=replace(found.buying, order_value=endless))


@pytest.mark.parametrize("made", [of_many, of_one])
def test_an_insight_comes_back_as_it_was(made):
    found = made()
    sent = insight_to_proto(found, ABOUT).SerializeToString()
    assert parse_insight(pb.DescribeSegmentResponse.FromString(sent)) == found


def test_what_is_not_known_is_absent_and_what_is_computed_is_there():
    message = insight_to_proto(of_one(), ABOUT)
    assert message.frame.id == "3.1"
    assert not message.insight.buying.order_value.HasField("whole")
    assert len(message.insight.when.visits) == len(message.insight.when.orders) == 168
    for check, told in zip(of_one().checks, message.insight.checks, strict=True):
        assert (told.met if told.HasField("met") else None, told.sure) == (check.met, check.sure)
