"""What defines a group: the features that its rule reads, through labels and segments, and those that say as much.

A model that is to find others like a group must not be shown why they are in it: it would learn the rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from onefold.graph.model import Instant
from onefold.ml.features import FloatArray
from onefold.ml.metrics import auc
from onefold.ml.panel import BoolArray, IntArray
from onefold.segments.check import Rule
from onefold.segments.encode import Term
from onefold.segments.printing import text_of
from onefold.segments.query import query
from onefold.segments.ranks import mid_ranks
from onefold.segments.reads import Named, reads
from onefold.segments.statement import duckdb
from onefold.segments.tree import HasLabel, InSegment, Truth, clauses

# Strict on purpose. On Online Retail, of `orders_90d >= 3 && spend > 1000`: with 0.95 and 0.98 trees put the rule
# together again from what is left (area 0.997, and 1.000 with everything); with these it is 0.90.
SAME_FROM: Final = 0.7
"""From this rank correlation on, two features say much the same."""

TELLS_FROM: Final = 0.85
"""From this area under the ROC curve on, a feature alone says whether a clause holds."""

FEWEST: Final = 20
"""People that such a comparison needs on either side."""

_BINS: Final = 32


@dataclass(frozen=True, slots=True)
class Defining:
    """What a rule comes to in the end."""

    features: frozenset[str]
    """Keys; counts of events under their canonical text."""
    clauses: tuple[Rule, ...]
    """The comparisons that it combines, each as a rule of its own."""


def defining(rule: Rule, rules: Mapping[Named, Rule]) -> Defining:
    """What a rule reads, through the rules of the labels and segments that it names; one that is not among ``rules``,
    such as a static list, reads nothing."""
    features: set[str] = set()
    found: dict[str, Rule] = {}
    todo, seen = [rule], set[Named]()
    while todo:
        each = todo.pop()
        features |= each.features.keys()
        for clause in clauses(each.tree):
            if not isinstance(clause, HasLabel | InSegment | Truth):
                found.setdefault(text_of(clause), Rule(clause, each.features))
        named = [name for name in reads(each.tree).named if name in rules and name not in seen]
        seen.update(named)
        todo += [rules[name] for name in named]
    return Defining(frozenset(features), tuple(found[text] for text in sorted(found)))


def sayers(
    frame: pa.Table, terms: Sequence[Term], values: FloatArray, found: Defining, as_of: Instant
) -> dict[str, str]:
    """The features that say as much as those that define, and why, by key.

    ``values`` are the frame's, a column per term. A feature says as much if it moves with a defining one (Spearman's
    rank correlation of those of whom both are known), or if it tells alone whether one of the clauses holds; for that,
    being unknown tells, too: the mean gap between orders is known of whom ordered twice.
    """
    others = [(number, term) for number, term in enumerate(terms) if term.feature not in found.features]
    ranked = {number: mid_ranks(values[:, number]) for number, term in enumerate(terms) if term.value is None}
    defined = [(number, terms[number].feature) for number in ranked if terms[number].feature in found.features]
    truths = [(clause.text, _truth(frame, clause, as_of)) for clause in found.clauses if _is_there(frame, clause)]
    said: dict[str, str] = {}
    for number, term in others:
        for other, key in defined if number in ranked else ():
            if term.feature not in said and _moves_with(ranked[number], ranked[other]):
                said[term.feature] = f"moves with {key}"
        codes = _codes(values[:, number])
        for text, truth in truths:
            if term.feature not in said and _tells(codes, truth):
                said[term.feature] = f"tells whether {text}"
    return said


def _is_there(frame: pa.Table, clause: Rule) -> bool:
    keys = {*reads(clause.tree).features, *map(text_of, reads(clause.tree).windows)}
    return keys <= set(frame.schema.names)


def _truth(frame: pa.Table, clause: Rule, as_of: Instant) -> BoolArray:
    """Of whom the clause is true."""
    stated = duckdb(clause, as_of)
    text = f"SELECT row_number() OVER () AS place, coalesce({stated.text}, FALSE) AS holds FROM frame ORDER BY place"
    found = query(text, {"frame": frame}, stated.parameters)["holds"]
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.bool_)


def _moves_with(one: FloatArray, other: FloatArray) -> bool:
    both = ~np.isnan(one) & ~np.isnan(other)
    if both.sum() < FEWEST:
        return False
    a, b = mid_ranks(one[both]), mid_ranks(other[both])
    spread = a.std() * b.std()
    return bool(spread > 0 and abs(((a - a.mean()) * (b - b.mean())).mean()) >= SAME_FROM * spread)


def _codes(values: FloatArray) -> IntArray:
    """The bin of each value, one of them for those that are unknown."""
    known = values[~np.isnan(values)]
    edges = (
        np.unique(np.quantile(known, np.linspace(0.0, 1.0, _BINS + 1)[1:-1], method="inverted_cdf"))
        if len(known)
        else known
    )
    return np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, side="left"))


def _tells(codes: IntArray, truth: BoolArray) -> bool:
    if min(truth.sum(), (~truth).sum()) < FEWEST:
        return False
    rate = np.bincount(codes, weights=truth) / np.maximum(np.bincount(codes), 1)
    return auc(truth, rate[codes])(np.ones(len(truth))) >= TELLS_FROM
