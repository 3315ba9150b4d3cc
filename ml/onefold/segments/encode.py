"""A frame as numbers, for models that take no other: each number is named after the feature that it comes from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from onefold.graph.model import Instant
from onefold.ml.features import FloatArray
from onefold.segments.vocabulary import LABELS, SEGMENTS

MOST_VALUES: Final = 20
"""Of a text or a list of texts: the most common values, each a yes or no; the others are no value of their own."""

_NOT_FEATURES: Final = ("identity", LABELS, SEGMENTS, "created_at")
"""When an identity was created says when its first record came here, not what the person is like."""
_MS_PER_DAY: Final = 86_400_000.0


@dataclass(frozen=True, slots=True)
class Term:
    """One number about a person."""

    feature: str
    value: str | None = None
    """Of a text or a list: the number says whether it is, or has, this."""

    def __str__(self) -> str:
        return self.feature if self.value is None else f"{self.feature} {self.value}"


def terms(frame: pa.Table, without: Collection[str] = ()) -> tuple[Term, ...]:
    """The numbers that a frame can be told in, in the order of its columns, without some features and those that say
    the same of everybody."""
    features = [name for name in frame.schema.names if name not in _NOT_FEATURES and name not in without]
    return tuple(term for name in features for term in _terms(name, frame[name]))


def encoded(frame: pa.Table, terms: Sequence[Term], as_of: Instant) -> FloatArray:
    """The numbers, a row per person and a column per term; NaN is unknown.

    A truth is 0 or 1, an instant the days from it to ``as_of``.
    """
    columns = [_numbers(frame[term.feature], term, as_of) for term in terms]
    return np.column_stack(columns) if columns else np.empty((frame.num_rows, 0))


def _terms(name: str, column: pa.ChunkedArray) -> list[Term]:
    kind = column.type
    if pa.types.is_list(kind):
        return [Term(name, value) for value in _common(pc.list_flatten(column))]
    values = pc.unique(column)
    if len(values) < 2:
        return []
    if pa.types.is_string(kind):
        return [Term(name, value) for value in _common(column)]
    return [Term(name)]


def _common(texts: pa.ChunkedArray) -> list[str]:
    """The most common texts; of equally common ones the first by name."""
    counted = pc.value_counts(texts.drop_null().combine_chunks()).to_pylist()
    ranked = sorted(counted, key=lambda entry: (-entry["counts"], entry["values"]))
    return [entry["values"] for entry in ranked[:MOST_VALUES]]


def _numbers(column: pa.ChunkedArray, term: Term, as_of: Instant) -> FloatArray:
    kind = column.type
    if pa.types.is_list(kind):
        return _has(column, str(term.value))
    if term.value is not None:
        return _floats(pc.equal(column, term.value).cast(pa.int8()))
    if pa.types.is_boolean(kind):
        return _floats(column.cast(pa.int8()))
    if pa.types.is_timestamp(kind):
        return (as_of - _floats(column.cast(pa.int64()))) / _MS_PER_DAY
    return _floats(column)


def _has(lists: pa.ChunkedArray, value: str) -> FloatArray:
    array = lists.combine_chunks()
    found = np.where(array.is_null().to_numpy(zero_copy_only=False), np.nan, 0.0)
    there = pc.equal(pc.list_flatten(array), value).to_numpy(zero_copy_only=False)
    found[pc.list_parent_indices(array).to_numpy()[there.astype(bool)]] = 1.0
    return found


def _floats(column: pa.ChunkedArray) -> FloatArray:
    return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
