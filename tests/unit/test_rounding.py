"""Only whole parts per million are compared: what floats make of an order of summing decides nothing."""

import pytest

from onefold.graph import policy
from onefold.graph.resolve import Edges, Link, resolve
from tests.property.test_resolve_bulk import by_columns

POLICY = policy.parse(
    """
version: 1
link_threshold: 0.8
accumulated_threshold: 0.9
kinds:
  email:
    label: Email
    confidence: {verified: 0.81, declared: 0.53, observed: 0.51}
    shared_above: 9
"""
)


def said_by(record: str, at: int, *assurances: str) -> list[Link]:
    """Three sources' word, each of another assurance: 0.956243, or by the last bit more."""
    return [Link(record, "email:1", source, assurance, at) for source, assurance in zip("abc", assurances, strict=True)]


@pytest.mark.parametrize("front", [resolve, by_columns])
def test_of_two_links_as_sure_the_earlier_comes_first_however_floats_sum_them(front) -> None:
    later = said_by("customer:a:1", 9, "verified", "observed", "declared")
    earlier = said_by("customer:a:2", 5, "declared", "verified", "observed")
    partition, _ = front(Edges(later + earlier), POLICY, [], None)
    assert partition.confidence == {("customer:a:1", "email:1"): 956_243, ("customer:a:2", "email:1"): 956_243}
    assert partition.owner == {"email:1": "customer:a:2"}
