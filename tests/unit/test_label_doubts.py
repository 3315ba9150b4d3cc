"""What a label is doubted for."""

from __future__ import annotations

import pytest

from onefold.segments import catalogue
from onefold.service.live_frame import About
from onefold.service.segment_servicer import doubts
from onefold.v1 import segment_service_pb2 as pb

HOUR = 3_600_000
KNOWN = catalogue.parse("""
catalogue: 1
labels:
  - {key: buyer, layer: behaviour, description: Has bought, owner: crm, rule: orders > 0, refresh: 2h}
  - {key: gone, layer: behaviour, description: Has bought, owner: crm, rule: orders > 0, status: retired}
tiers:
  - {key: size, layer: value, description: Orders, owner: crm, unknown: none, otherwise: few,
     of: [{key: many, rule: orders > 9}]}
""")


def said(key: str, members: int, hours: float = 1, read_by: tuple[str, ...] = ("segment winback",)) -> list[str]:
    about = About("1", 0, 0, 10, "1")
    return list(doubts(KNOWN.labels[key], pb.Label(member_count=members, read_by=read_by), about, round(hours * HOUR)))


def test_a_label_that_some_have_and_something_reads_is_not_doubted() -> None:
    assert said("buyer", 3) == []


@pytest.mark.parametrize(("members", "words"), [(0, "nobody has it"), (10, "everybody has it")])
def test_a_label_that_tells_nobody_apart_is_doubted(members: int, words: str) -> None:
    assert said("buyer", members) == [words]


def test_a_label_that_nothing_reads_is_doubted_unless_it_is_a_rung_of_a_ladder() -> None:
    assert said("buyer", 3, read_by=()) == ["no label and no segment reads it"]
    assert said("size_many", 3, read_by=()) == []


def test_a_count_older_than_the_label_allows_is_doubted() -> None:
    assert said("buyer", 3, hours=2) == []
    assert said("buyer", 3, hours=3.5) == ["it was counted 3 hours ago, and 2 are allowed"]


def test_a_retired_label_and_one_that_was_not_counted_are_not_doubted() -> None:
    assert said("gone", 0, hours=99, read_by=()) == []
    assert list(doubts(KNOWN.labels["buyer"], pb.Label(), None, 0)) == []
