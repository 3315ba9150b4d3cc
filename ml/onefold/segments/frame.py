"""Labels and segments of everybody as of an instant: the rules of a catalogue over features, set-wise.

:mod:`onefold.segments.memberships` says the same of one person.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import reduce
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from onefold.graph.model import Instant
from onefold.segments import statement
from onefold.segments.check import Rule
from onefold.segments.query import query
from onefold.segments.reads import Named
from onefold.segments.tree import And, HasLabel, InSegment, Node, Not, Or, clauses
from onefold.segments.vocabulary import LABELS, SEGMENTS

KEYS: Final = pa.list_(pa.string())
"""What the columns ``labels`` and ``segments`` are: the keys that a person has, sorted."""

_AT_ONCE: Final = 8_192
"""The lists of so many people are made at once: what all rules say of them fits into the cache of a processor."""
_IN_PARALLEL: Final = 25_000
"""So many rows are looked at by one thread at a time."""

_Membership = HasLabel | InSegment
"""A clause about what other rules said of a person."""


class Rules(Protocol):
    """The rules of a catalogue."""

    @property
    def rules(self) -> Mapping[Named, Rule]:
        """Of labels and segments, those that are evaluated."""

    @property
    def order(self) -> Sequence[Named]:
        """Their names, each after all that its rule reads."""


def evaluated(features: pa.Table, catalogue: Rules, static: Mapping[str, Collection[str]], as_of: Instant) -> pa.Table:
    """The same people with the columns ``labels`` and ``segments``.

    ``features`` are as :func:`onefold.segments.features.compute` gives them; ``static`` are the identities of each
    static segment, by its key.
    """
    rules = [catalogue.rules[named] for named in catalogue.order]
    truths = _of_features(features, rules, as_of)
    nobody = pa.repeat(False, len(features))
    truths |= {clause: nobody for clause in _clauses(rules) if isinstance(clause, _Membership)}  # if there is none such
    truths |= {InSegment(key): _among(features, identities) for key, identities in static.items()}
    for named in catalogue.order:
        truths[_clause(named)] = pc.fill_null(_truth(catalogue.rules[named].tree, truths), False)
    existing = sorted({*catalogue.order, *(Named("segment", key) for key in static)})
    for kind, column in (("label", LABELS), ("segment", SEGMENTS)):
        of_kind = {named.key: truths[_clause(named)] for named in existing if named.kind == kind}
        features = features.append_column(pa.field(column, KEYS, nullable=False), _lists(of_kind, len(features)))
    return features


def members(frame: pa.Table, rule: Rule, as_of: Instant) -> list[str]:
    """The identities in a frame of whom a rule is true, sorted."""
    said = statement.duckdb(rule, as_of)
    text = f"SELECT identity FROM frame WHERE {said.text} ORDER BY identity"
    found: list[str] = query(text, {"frame": frame}, said.parameters)["identity"].to_pylist()
    return found


def _clauses(rules: Iterable[Rule]) -> list[Node]:
    """What the rules combine by and, or and not, each once."""
    return list(dict.fromkeys(clause for rule in rules for clause in clauses(rule.tree)))


def _of_features(features: pa.Table, rules: Sequence[Rule], as_of: Instant) -> dict[Node, pa.BooleanArray]:
    """The truth of each clause about features, row by row; null where it is left open.

    One statement asks for all, so that DuckDB takes over each column once, however many rules read it.
    """
    typed = {key: feature for rule in rules for key, feature in rule.features.items()}
    asked = [clause for clause in _clauses(rules) if not isinstance(clause, _Membership)]
    if not asked:
        return {}
    said = [statement.duckdb(Rule(clause, typed), as_of, f"c{number}_") for number, clause in enumerate(asked)]
    text = f"SELECT {', '.join(each.text for each in said)} FROM rows"
    parameters = {name: value for each in said for name, value in each.parameters.items()}
    rows = features.select(["identity", *typed])
    parts = [rows.slice(start, _IN_PARALLEL) for start in range(0, len(rows), _IN_PARALLEL)]
    found = query(text, {"rows": pa.concat_tables(parts) if parts else rows}, parameters)
    return {clause: column.combine_chunks() for clause, column in zip(asked, found.columns, strict=True)}


def _truth(node: Node, truths: Mapping[Node, pa.BooleanArray]) -> pa.BooleanArray:
    """The truth of a condition, row by row, of those of its clauses."""
    match node:
        case And(of):
            return reduce(pc.and_kleene, (_truth(part, truths) for part in of))
        case Or(of):
            return reduce(pc.or_kleene, (_truth(part, truths) for part in of))
        case Not(of):
            return pc.invert(_truth(of, truths))
        case _:
            return truths[node]


def _clause(named: Named) -> _Membership:
    """What a rule asks for that label or segment."""
    return HasLabel(named.key) if named.kind == "label" else InSegment(named.key)


def _among(features: pa.Table, identities: Collection[str]) -> pa.BooleanArray:
    wanted = pa.array(sorted(identities), pa.string())
    return pc.is_in(features["identity"], value_set=wanted).combine_chunks()


def _lists(held: Mapping[str, pa.BooleanArray], people: int) -> pa.Array | pa.ChunkedArray:
    """For each person the keys that they have, in the order of ``held``."""
    if not held:
        return pa.array([[]] * people, KEYS)
    keys, truths = pa.array(list(held), pa.string()), list(held.values())
    starts = range(0, people, _AT_ONCE)
    return pa.chunked_array(
        [_listed(keys, [truth[start : start + _AT_ONCE] for truth in truths]) for start in starts], KEYS
    )


def _listed(keys: pa.StringArray, truths: Sequence[pa.BooleanArray]) -> pa.ListArray:
    """The lists of some people, from a truth of each key."""
    matrix = np.column_stack([truth.to_numpy(zero_copy_only=False) for truth in truths])
    found = np.flatnonzero(matrix)  # row by row
    ends = np.searchsorted(found, np.arange(len(matrix) + 1) * len(keys))
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), keys.take(pa.array(found % len(keys))))
