"""The stories of ``tests/scenarios``, decided by the pure function."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from onefold.graph import policy
from onefold.graph.evidence import Evidence
from onefold.graph.model import Item, OperatorBan, OperatorMatch
from onefold.graph.resolve import Partition, Refusal, resolve
from onefold.service import convert
from tests.scenarios.scenario import FILES, load, messages

POLICY = policy.load()


def decide(items: Iterable[Item]) -> tuple[Partition, list[Refusal]]:
    evidence = Evidence()
    for item in items:
        evidence.add(item)
    return resolve(evidence.edges(), POLICY, evidence.bans.values())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_story_ends_as_told_whatever_came_first(path: Path) -> None:
    scenario = load(path)
    told = [convert.parse_item(message, POLICY) for message in messages(scenario)]
    shuffled = random.Random(7).sample(told, len(told))
    shuffled.sort(key=lambda item: isinstance(item, OperatorMatch | OperatorBan))  # they name what must be known
    for items in (told, shuffled):
        partition, refusals = decide(items)
        assert partition.groups() == scenario.groups
        assert partition.shared == set(scenario.shared)
        assert {
            (frozenset((partition.root[r.record], partition.root[r.owner])), r.reason.value, r.kind) for r in refusals
        } == {(frozenset(partition.root[who] for who in a.who), a.reason, a.kind) for a in scenario.apart}
