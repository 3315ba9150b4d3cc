"""Labels and segments of everybody as of an instant: the rules of a catalogue over features, set-wise.

:mod:`onefold.segments.memberships` says the same of one person.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from onefold.graph.model import Instant
from onefold.segments import statement
from onefold.segments.check import Rule
from onefold.segments.generations import Snapshot
from onefold.segments.query import query
from onefold.segments.reads import Named, reads
from onefold.segments.tree import And, HasLabel, InSegment, Name, Node, Not, Or, Truth
from onefold.segments.types import Type
from onefold.segments.vocabulary import LABELS, SEGMENTS, TypedFeature

KEYS: Final = pa.list_(pa.string())
"""What the columns ``labels`` and ``segments`` are: the keys that a person has, sorted."""

_AT_ONCE: Final = 100_000
_IN_PARALLEL: Final = 25_000
"""So many rows are looked at by one thread at a time."""
_RULES_A_STATEMENT: Final = 24
"""More of them together take less time by themselves, and more to be planned."""

_BoolArray = npt.NDArray[np.bool_]


class Rules(Protocol):
    """The rules of a catalogue."""

    @property
    def rules(self) -> Mapping[Named, Rule]:
        """Of labels and segments, those that are evaluated."""

    @property
    def order(self) -> Sequence[Named]:
        """Their names, each after all that its rule reads."""


@dataclass(frozen=True, slots=True)
class Count:
    """What a rule comes to in numbers."""

    members: int
    """Of whom it is true."""
    unknown: int
    """Of whom it is left open."""
    people: int
    """All there are."""


def evaluated(features: pa.Table, catalogue: Rules, static: Mapping[str, Collection[str]], as_of: Instant) -> pa.Table:
    """The same people with the columns ``labels`` and ``segments``.

    ``features`` are as :func:`onefold.segments.features.compute` gives them; ``static`` are the identities of each
    static segment, by its key.
    """
    held = {Named("segment", key): _among(features, identities) for key, identities in static.items()}
    parts = [features.slice(start, _IN_PARALLEL) for start in range(0, len(features), _IN_PARALLEL)]
    rows = pa.concat_tables(parts) if parts else features
    for together in _statements(catalogue):
        held |= _truths(rows, {named: catalogue.rules[named] for named in together}, held, as_of)
    for kind, column in (("label", LABELS), ("segment", SEGMENTS)):
        of_kind = {named.key: held[named] for named in sorted(held) if named.kind == kind}
        features = features.append_column(pa.field(column, KEYS, nullable=False), _lists(of_kind, len(features)))
    return features


def count(frame: pa.Table | Snapshot, rule: Rule, as_of: Instant) -> Count:
    """Of how many people of a frame, in memory or in a folder, a rule is true, and of how many it is left open."""
    said = statement.duckdb(rule, as_of)
    text = f"""
        SELECT count(*) FILTER (truth) AS members, count(*) - count(truth) AS unknown, count(*) AS people
        FROM (SELECT {said.text} AS truth FROM frame)
    """
    (row,) = _asked(frame, text, said.parameters).to_pylist()
    return Count(**row)


def members(
    frame: pa.Table | Snapshot, rule: Rule, as_of: Instant, limit: int | None = None, after: str = ""
) -> list[str]:
    """The first ``limit`` identities after ``after`` of whom a rule is true, sorted; all of them without a limit."""
    said = statement.duckdb(rule, as_of)
    text = f"SELECT identity FROM frame WHERE identity > $after AND ({said.text}) ORDER BY identity"
    bounds: dict[str, object] = {"after": after}
    if limit is not None:
        text += " LIMIT $limit"
        bounds["limit"] = limit
    found: list[str] = _asked(frame, text, {**said.parameters, **bounds})["identity"].to_pylist()
    return found


def _asked(frame: pa.Table | Snapshot, text: str, parameters: Mapping[str, object]) -> pa.Table:
    if isinstance(frame, Snapshot):
        return frame.query(text, parameters)
    return query(text, {"frame": frame}, parameters)


def _statements(catalogue: Rules) -> Iterator[list[Named]]:
    """The names in their order, those together that are asked for in one statement: none reads another of them."""
    together: list[Named] = []
    for named in catalogue.order:
        if len(together) == _RULES_A_STATEMENT or set(together) & set(reads(catalogue.rules[named].tree).named):
            yield together
            together = []
        together.append(named)
    if together:
        yield together


def _truths(
    rows: pa.Table, rules: Mapping[Named, Rule], held: Mapping[Named, _BoolArray], as_of: Instant
) -> dict[Named, _BoolArray]:
    """Of whom each of some rules is true, row by row. What is held so far is read as columns, not as lists."""
    typed = {str(named): TypedFeature(str(named), Type.BOOL) for named in held}
    read = {"identity": rows["identity"]}
    selected, parameters = [], dict[str, object]()
    for number, rule in enumerate(rules.values()):
        said = statement.duckdb(Rule(_closed(rule.tree, held), {**rule.features, **typed}), as_of, f"r{number}_")
        selected.append(f"coalesce({said.text}, FALSE)")
        parameters |= said.parameters
        read |= {key: rows[key] for key in rule.features}
        read |= {str(named): pa.array(held[named]) for named in reads(rule.tree).named if named in held}
    found = query(f"SELECT {', '.join(selected)} FROM rows", {"rows": pa.table(read)}, parameters)
    return {named: np.asarray(column.to_numpy(), np.bool_) for named, column in zip(rules, found.columns, strict=True)}


def _closed(node: Node, held: Collection[Named]) -> Node:
    """The tree with a column that is true or false for each label and segment; nobody has one that there is not."""
    match node:
        case HasLabel(key):
            named = Named("label", key)
        case InSegment(key):
            named = Named("segment", key)
        case And(of):
            return And(tuple(_closed(part, held) for part in of))
        case Or(of):
            return Or(tuple(_closed(part, held) for part in of))
        case Not(of):
            return Not(_closed(of, held))
        case _:
            return node
    return Name(str(named)) if named in held else Truth(False)


def _among(features: pa.Table, identities: Collection[str]) -> _BoolArray:
    wanted = pa.array(sorted(identities), pa.string())
    return np.asarray(pc.is_in(features["identity"], value_set=wanted).to_numpy(), np.bool_)


def _lists(held: Mapping[str, _BoolArray], people: int) -> pa.ChunkedArray:
    """For each person the keys that they have, in the order of ``held``."""
    chunks = (range(start, min(start + _AT_ONCE, people)) for start in range(0, people, _AT_ONCE))
    return pa.chunked_array([_listed(held, chunk) for chunk in chunks], KEYS)


def _listed(held: Mapping[str, _BoolArray], rows: range) -> pa.ListArray:
    matrix = np.empty((len(rows), len(held)), np.bool_)
    for place, truth in enumerate(held.values()):
        matrix[:, place] = truth[rows.start : rows.stop]
    _, keys = np.nonzero(matrix)  # row by row
    ends = np.concatenate(([0], np.cumsum(matrix.sum(axis=1))))
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(list(held), pa.string()).take(pa.array(keys)))
