"""Clusters in words: a name from what sets one apart, and a sentence with its figures."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from onefold.ml.catalogue import BY_KEY

APART_FROM: Final = 0.35
"""Deviations that a cluster's mean must be off everybody's to be called after it."""

_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "days_since_order": ("long silent", "recent"),
    "days_since_first_order": ("long-standing", "new"),
    "days_since_event": ("long unseen", "lately seen"),
    "orders": ("frequent", "few orders"),
    "purchases": ("frequent", "few orders"),
    "orders_30d": ("busy month", "quiet month"),
    "orders_90d": ("busy quarter", "quiet quarter"),
    "spend": ("high spend", "low spend"),
    "order_value_mean": ("large orders", "small orders"),
    "order_value_ratio": ("large orders", "small orders"),
    "gap_expected": ("slow rhythm", "quick rhythm"),
    "gap_mean": ("slow rhythm", "quick rhythm"),
    "overdue": ("overdue", "on time"),
    "returned_share": ("many returns", "few returns"),
    "coupon_share": ("coupon users", "full price"),
    "products_mean": ("broad baskets", "narrow baskets"),
    "lines_mean": ("long baskets", "short baskets"),
    "views_30d": ("much looking", "little looking"),
    "carts_30d": ("much in the cart", "little in the cart"),
    "churn_probability": ("likely to leave", "likely to stay"),
    "expected_orders": ("many orders ahead", "few orders ahead"),
    "predicted_spend_micros": ("high value ahead", "low value ahead"),
    "age": ("older", "younger"),
}
"""Of a feature, what many and what few of it are called; of any other, high and low."""


@dataclass(frozen=True, slots=True)
class Apart:
    """What one feature is in a cluster and among all who are in any."""

    feature: str
    median: float
    median_of_all: float
    effect: float
    """The cluster's mean less everybody's, in deviations of the standardised feature."""

    @property
    def words(self) -> str:
        """What the feature makes of the cluster, such as ``frequent``."""
        plain = self.feature.replace("_", " ")
        high, low = _WORDS.get(self.feature, (f"high {plain}", f"low {plain}"))
        return high if self.effect > 0 else low


def name(aparts: Sequence[Apart], taken: Collection[str]) -> str:
    """A name whose :func:`key` is not taken: the two words that set the cluster apart most, more of them or a number if
    needed. ``aparts`` begin with the feature that sets the cluster apart most."""
    telling = [apart.words for apart in aparts if abs(apart.effect) >= APART_FROM] or ["in the middle"]
    names = [", ".join(telling[:count]) for count in range(min(2, len(telling)), len(telling) + 1)]
    numbered = (f"{names[0]} {number}" for number in itertools.count(2))
    return next(each for each in itertools.chain(names, numbered) if key(each) not in taken)


def key(name: str) -> str:
    """The name as the key of a label."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def sentence(people: int, share: float, aparts: Sequence[Apart]) -> str:
    """A cluster in a sentence, such as ``412 people (10 %): 12 orders (all: 2), …``."""
    figures = "; ".join(f"{_amount(a.feature, a.median)} (all: {_figure(a.median_of_all)})" for a in aparts)
    return f"{people:,} people ({share:.0%}); medians: {figures}"


def _amount(feature: str, value: float) -> str:
    meant = BY_KEY.get(feature)
    said = feature.replace("_", " ")
    unit = " days" if meant is not None and meant.unit == "days" and "days" not in said else ""
    return f"{said} {_figure(value)}{unit}"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.3g}"
