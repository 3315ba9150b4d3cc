"""Made evidence by the million, as columns: people of two to ten records, and everything that goes wrong with them.

Rows come as a scan of the graph gives them: record by record, the records of one person far apart, identifiers numbered
as they are met.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from onefold.graph import policy
from onefold.graph.bulk import EvidenceColumns
from onefold.graph.policy import Policy
from onefold.graph.resolve import Ban, Match

KINDS = ("email", "phone", "member", "device", "cookie", "address")
SOURCES = ("crm", "shop", "web", "store", "app")
ASSURANCES = ("verified", "declared", "observed")
DAY = 86_400_000
FIRST = 19_000 * DAY
AS_OF = FIRST + 1_000 * DAY

_SIZES = np.arange(2, 11)
_SHARES = np.array([0.45, 0.25, 0.12, 0.07, 0.04, 0.03, 0.02, 0.01, 0.01])
_RECORDS = float(_SIZES @ _SHARES)
_ROWS = 2.75
"""Records a person and rows a record, on average."""

Ints = NDArray[np.integer[Any]]


def rules() -> Policy:
    """The shipped rules, with a source that is deduplicated and one that is trusted less."""
    sources = "sources: {crm: {deduplicated: true}, web: {trust: 0.95}}"
    return policy.parse(policy.read().replace("\nsources: {}\n", f"\n{sources}\n"))


def population(rows: int, seed: int = 1) -> tuple[EvidenceColumns, list[Ban]]:
    """About ``rows`` rows, with the bans on their records.

    One row in a hundred leads to a hub: a device, a phone or an address of some hundred records. One person in two
    hundred has an identifier of somebody else's, so that a limit or a source must part them, and as many have two
    records in the source that is deduplicated; one in a thousand has a ban between its records, and as many are
    somebody else by an operator's word. A quarter of the records are guest orders. Some rows are repeated by another
    source, some are later than :data:`AS_OF`, and some values are blocked.
    """
    rng = np.random.default_rng(seed)
    people = max(8, int(rows / _RECORDS / _ROWS))
    size = rng.choice(_SIZES, people, p=_SHARES)
    person = np.repeat(np.arange(people), size)
    first = np.cumsum(size) - size
    is_first = np.zeros(len(person), np.bool_)
    is_first[first] = True
    # A person is mostly once in each source; the first record may be in the CRM, the others seldom are.
    nth = np.arange(len(person)) - first[person]
    source = 1 + (rng.integers(0, len(SOURCES), people)[person] + nth) % (len(SOURCES) - 1)
    source[(is_first & (rng.random(len(person)) < 0.5)) | (rng.random(len(person)) < 0.003)] = 0
    is_order = ~is_first & (source > 0) & (rng.random(len(person)) < 0.35)

    record, kind, number = _said(rng, person, people)
    strayed = np.flatnonzero((kind < 3) & (rng.random(len(record)) < 1 / 200 / _RECORDS))
    number[strayed] = number[rng.permutation(strayed)]
    by = source[record].copy()
    hub = np.flatnonzero(rng.random(len(record)) < 0.01)
    kind[hub] = rng.choice([1, 3, 5], len(hub))
    number[hub] = 13 * people + (rng.pareto(1.0, len(hub)) * len(hub) / 2_000).astype(np.int64) % (1 + len(hub) // 200)
    again = rng.random(len(record)) < 0.08
    record, kind, number = (np.concatenate((column, column[again])) for column in (record, kind, number))
    by = np.concatenate((by, rng.integers(0, len(SOURCES), int(again.sum()))))
    assurance = np.where(
        kind < 3, rng.choice(3, len(record), p=[0.5, 0.45, 0.05]), rng.choice(3, len(record), p=[0.8, 0.05, 0.15])
    )
    first_seen = FIRST + rng.integers(0, int((AS_OF - FIRST) * 1.005), len(record))

    place = rng.permutation(len(person))  # records in the order of their keys, which says nothing of their persons
    order = np.argsort(place[record], kind="stable")
    record = place[record][order]
    thing, code = _numbered((kind * (14 * people + len(hub)) + number)[order])
    of = np.empty(len(place), np.int64)
    of[place] = np.arange(len(place))
    names = _names(source[of], is_order[of])
    kind_of = thing // (14 * people + len(hub))
    blocked = (kind_of == 0) & (rng.random(len(thing)) < 0.001)
    return EvidenceColumns(
        records=names,
        identifiers=_keys(kind_of, blocked),
        kinds=KINDS,
        kind=kind_of.astype(np.int8),
        blocked=blocked,
        sources=SOURCES,
        assurances=ASSURANCES,
        record=record.astype(np.int32),
        identifier=code.astype(np.int32),
        source=by[order].astype(np.int8),
        assurance=assurance[order].astype(np.int8),
        first_seen=first_seen[order],
        matches=_matches(rng, names, place[first], people),
    ), _bans(rng, names, place, first, people)


def _said(rng: np.random.Generator, person: Ints, people: int) -> tuple[Ints, Ints, Ints]:
    """Which record says which identifier, by its kind and a number within the kind."""
    everyone = np.arange(len(person))
    chosen = [
        (0, 0.95, person + people * (rng.random(len(person)) < 0.1)),  # email: the usual, or a second one
        (1, 0.40, person),
        (2, 0.60, person),
        (3, 0.20, person + people * rng.integers(0, 6, len(person))),
        (4, 0.30, person + people * rng.integers(0, 12, len(person))),
        (5, 0.05, person),
    ]
    record, kind, number = [], [], []
    for k, share, numbers in chosen:
        here = everyone[rng.random(len(person)) < share]
        record.append(here)
        kind.append(np.full(len(here), k))
        number.append(numbers[here])
    return np.concatenate(record), np.concatenate(kind), np.concatenate(number)


def _numbered(values: Ints) -> tuple[Ints, Ints]:
    """The distinct values as they are met, and the place of each value among them."""
    unique, met, inverse = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(met)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return unique[order], place[inverse]


def _texts(*parts: Any) -> pa.Array:
    joined = pc.binary_join_element_wise(*parts, "")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def _numbers(count: int) -> pa.Array:
    return pc.cast(pa.array(np.arange(count)), pa.string())


def _names(source: Ints, is_order: NDArray[np.bool_]) -> pa.Array:
    labels = pa.array(["customer:", "order:"]).take(pa.array(is_order.astype(np.int8)))
    return _texts(labels, pa.array([f"{s}:" for s in SOURCES]).take(pa.array(source)), _numbers(len(source)))


def _keys(kind: Ints, blocked: NDArray[np.bool_]) -> pa.Array:
    before = [f"{kind}:" for kind in KINDS]
    after = ["@example.org", *[""] * (len(KINDS) - 1)]
    number = _numbers(len(kind))
    number = pc.if_else(pa.array(blocked), _texts("info@", number), number)
    return _texts(pa.array(before).take(pa.array(kind)), number, pa.array(after).take(pa.array(kind)))


def _matches(rng: np.random.Generator, names: pa.Array, first: Ints, people: int) -> list[Match]:
    ends = [names.take(pa.array(rng.choice(first, people // 1_000))).to_pylist() for _ in range(2)]
    return [Match(a, b, FIRST + n) for n, (a, b) in enumerate(zip(*ends, strict=True))]


def _bans(rng: np.random.Generator, names: pa.Array, place: Ints, first: Ints, people: int) -> list[Ban]:
    chosen = rng.choice(first, people // 1_000)
    ends = [names.take(pa.array(place[record])).to_pylist() for record in (chosen, chosen + 1)]
    return [Ban(a, b, FIRST) for a, b in zip(*ends, strict=True)]
