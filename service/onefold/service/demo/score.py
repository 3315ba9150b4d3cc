"""How well a partition knows who is who, where the truth is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

from onefold.graph.model import RecordName


@dataclass(frozen=True, slots=True)
class Score:
    """Pairwise measures: of all pairs of records, which are rightly, wrongly, or not joined."""

    right: int
    """Pairs of one person in one identity."""
    joined: int
    """Pairs in one identity."""
    true: int
    """Pairs of one person."""

    @property
    def precision(self) -> float:
        """How many of the pairs that were joined are one person; 1 when none was joined."""
        return self.right / self.joined if self.joined else 1.0

    @property
    def recall(self) -> float:
        """How many of the pairs that are one person were joined; 1 when there are none."""
        return self.right / self.true if self.true else 1.0

    @property
    def f1(self) -> float:
        """The harmonic mean of the two."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def score(truth: Mapping[RecordName, Hashable], partition: Mapping[RecordName, Hashable]) -> Score:
    """Compare a partition (record to identity) with the truth (record to person).

    Only records whose person is known count; one that the partition lacks stands alone in it.
    """
    found = {record: partition.get(record, (record,)) for record in truth}
    return Score(
        right=_pairs((truth[record], found[record]) for record in truth),
        joined=_pairs(found.values()),
        true=_pairs(truth.values()),
    )


def _pairs(groups: Iterable[Hashable]) -> int:
    return sum(size * (size - 1) // 2 for size in Counter(groups).values())
