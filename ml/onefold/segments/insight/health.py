"""Whether a segment is what a shop would want it to be: a few checks with their bars (I7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from onefold.segments.insight.intervals import Estimate, ratio, share
from onefold.segments.insight.relations import Relations
from onefold.segments.insight.shares import Distribution


@dataclass(frozen=True, slots=True)
class Bars:
    """From which share on a check is met."""

    core_age: float = 0.6
    """Of the most frequent age band."""
    some_age: float = 0.4
    """Of the most frequent age band; below it the audience is blurred."""
    regions: float = 0.7
    """Of the five most frequent regions together."""
    high_value: float = 0.4
    """Of the revenue: what high-value customers bring."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check."""

    key: str
    words: str
    """What was found, for a person to read."""
    bar: float
    found: Estimate | None
    """None where it is not known."""

    @property
    def met(self) -> bool | None:
        """Whether the share reaches the bar; None where it is not known."""
        return None if self.found is None else self.found.value >= self.bar

    @property
    def sure(self) -> bool:
        """Whether the whole interval lies on one side of the bar."""
        return self.found is not None and (self.found.low >= self.bar or self.found.high < self.bar)


HIGH_VALUE: Final = "rfm_high_value"
"""The label of high-value customers."""
REGIONS: Final = 5


def checks(
    relations: Relations, spread: Sequence[Distribution], bars: Bars, high_value: str, confidence: float
) -> tuple[Check, ...]:
    """All checks of a segment. ``spread`` are its distributions; ``high_value`` is the label of high-value customers.

    The frequent bands and regions are chosen by what is found, so that in a small segment they look a little more
    frequent than they are.
    """
    by_key = {distribution.key: distribution for distribution in spread}
    return (
        *_ages(by_key, bars, confidence),
        _regions(by_key, bars, confidence),
        _high_value(relations, bars, high_value, confidence),
    )


def _ages(spread: Mapping[str, Distribution], bars: Bars, confidence: float) -> tuple[Check, Check]:
    first = _most(spread, "age", 1, confidence)
    band = max(spread["age"].shares, key=lambda s: s.count).value if first else ""
    core = f"{first.value:.0%} are of the core age band {band}" if first else "no age is known"
    if first is None:
        blurred = "no age is known"
    elif first.value < bars.some_age:
        blurred = f"the audience is blurred: no age band has more than {first.value:.0%}"
    else:
        blurred = f"the audience is clear: one age band has {first.value:.0%}"
    return Check("core_age", core, bars.core_age, first), Check("clear_age", blurred, bars.some_age, first)


def _regions(spread: Mapping[str, Distribution], bars: Bars, confidence: float) -> Check:
    found = _most(spread, "region", REGIONS, confidence)
    words = f"{found.value:.0%} live in the {REGIONS} most frequent regions" if found else "no region is known"
    return Check("regions", words, bars.regions, found)


def _most(spread: Mapping[str, Distribution], key: str, values: int, confidence: float) -> Estimate | None:
    """The share of the most frequent values together."""
    if key not in spread:
        return None
    counts = sorted((s.count for s in spread[key].shares), reverse=True)
    return share(sum(counts[:values]), spread[key].known, confidence)


def _high_value(relations: Relations, bars: Bars, label: str, confidence: float) -> Check:
    unknown = Check("high_value", f"the label {label} is not known", bars.high_value, None)
    if "labels" not in relations.columns:
        return unknown
    spent = relations.table(_SPENT, label=label)
    value = spent["value"].to_numpy()
    found = ratio(value * spent["high"].to_numpy(), value, confidence)
    if found is None:
        return Check("high_value", "nothing was bought", bars.high_value, None)
    return Check("high_value", f"high-value customers bring {found.value:.0%} of the revenue", bars.high_value, found)


_SPENT: Final = """
    SELECT sum(value) / 1e6 AS value, bool_or(list_contains(labels, $label))::DOUBLE AS high
    FROM purchases JOIN (SELECT identity, labels FROM people) USING (identity)
    WHERE purchases.inside AND value IS NOT NULL
    GROUP BY identity ORDER BY identity
"""
