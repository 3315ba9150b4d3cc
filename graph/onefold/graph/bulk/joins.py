"""Rules 5 to 9 on columns: owners, joins, and who is one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from onefold.graph.bulk.columns import EvidenceColumns, codes_of, texts
from onefold.graph.bulk.links import THREADS, Links
from onefold.graph.bulk.matches import Matches
from onefold.graph.bulk.runs import Runs
from onefold.graph.errors import InvalidInput, Violation
from onefold.graph.greedy import greedy, holders
from onefold.graph.model import IdentifierKey, Instant, RecordName
from onefold.graph.resolve import Match, Refusal, refusal, tie
from onefold.graph.rulebook import PPM, Quota, Rulebook

# -- 5: owners -------------------------------------------------------------------------------------------------------


def own(columns: EvidenceColumns, eligible: Links, owner: NDArray[np.int32]) -> None:
    """Set the owner of each identifier: the record of its first eligible link in canonical order."""
    at = Runs.of(eligible.identifier)
    owner[eligible.identifier[at.start]] = eligible.record[at.start]
    foremost = eligible.where(at.spread(at.count > 1))
    for column in ("doubt", "first_seen"):
        at = Runs.of(foremost.identifier)
        values = getattr(foremost, column)
        if len(values):
            foremost = foremost.where(values == at.spread(np.minimum.reduceat(values, at.start)))
    owner[foremost.identifier] = foremost.record
    at = Runs.of(foremost.identifier)
    tied = foremost.where(at.spread(at.count > 1))
    names, keys = texts(columns.records, tied.record), texts(columns.identifiers, tied.identifier)
    first: dict[int, tuple[bytes, int]] = {}
    for identifier, key, record, name in zip(tied.identifier.tolist(), keys, tied.record.tolist(), names, strict=True):
        place = tie(name, key), record
        first[identifier] = min(place, first.get(identifier, place))
    owner[list(first)] = [record for _, record in first.values()]


# -- 6 to 9: who is one ----------------------------------------------------------------------------------------------


def joined(
    columns: EvidenceColumns,
    links: Links,
    owner: NDArray[np.int32],
    identity: NDArray[np.int32],
    matches: Matches,
    code: Mapping[RecordName, int],
    bans: Sequence[tuple[RecordName, RecordName]],
    rules: Rulebook,
    as_of: Instant,
) -> tuple[NDArray[np.int32], list[Refusal]]:
    """Each record's identity, named by its lowest code, and the refusals in canonical order.

    ``identity`` are the components of what eligible links join, records with the owners of their identifiers; it is
    used up. ``code`` are the :func:`spoken_of`. Joins that no quota could forbid are made in any order; only what hangs
    together with enough others for a quota to bite is decided in canonical order.
    """
    words = [match for match in columns.matches if match.at <= as_of]
    said = np.array([(code[match.a], code[match.b]) for match in words], np.int32).reshape(-1, 2).T
    identity = _tied(identity, np.concatenate((matches.a, said[0])), np.concatenate((matches.b, said[1])))
    tight = _tight(columns, identity, owner, [pair for pair in bans if code.keys() >= set(pair)], code, rules)
    if not tight:
        return identity, []
    contested = np.zeros(len(identity), np.bool_)
    for components in tight.values():
        contested[components] = True
    contested = contested[identity]
    eligible = links.where(contested[links.record] & (links.doubt <= rules.most_doubt))
    joins = _joins(
        eligible.where(eligible.record != owner[eligible.identifier]),
        owner,
        matches.at(np.flatnonzero(contested[matches.a])),
        [match for match in words if contested[code[match.a]]],
        code,
    )
    records = np.flatnonzero(contested).astype(np.int32)
    claims = _claims(columns, eligible, identity, tight, code, records)
    root, refusals = _decided(columns, records, _in_canonical_order(columns, joins), claims, sorted(tight))
    identity[records] = root
    return identity, refusals


def spoken_of(columns: EvidenceColumns, bans: Iterable[tuple[RecordName, RecordName]]) -> dict[RecordName, int]:
    """The codes of the records of which operators spoke, as far as there are any."""
    matched = [end for match in columns.matches for end in (match.a, match.b)]
    code = codes_of([*matched, *(end for pair in bans for end in pair)], columns.records)
    unknown = [name for name in matched if name not in code]
    if unknown:
        raise InvalidInput([Violation("matches", f"{name!r} is none of the records") for name in unknown])
    return code


def _decided(
    columns: EvidenceColumns,
    records: NDArray[np.int32],
    joins: _Joins,
    claims: Sequence[tuple[int, int, int]],
    quotas: Sequence[Quota],
) -> tuple[NDArray[np.int32], list[Refusal]]:
    """The identity of each of the contested ``records``, and the joins that were refused."""
    a, b = np.searchsorted(records, joins.a).tolist(), np.searchsorted(records, joins.b).tolist()
    root, refused = greedy(
        len(records),
        zip(a, b, strict=True),
        claims,
        [quota.limit for quota in quotas],
        words=int((joins.doubt < 0).sum()),
        bans=sum(quota.is_ban for quota in quotas),
    )
    names = texts(columns.records, records)
    held_by = holders(claims, root, [(a[n], b[n], quota) for n, quota in refused], names)
    places = [n for n, _ in refused]
    keys = _keys(columns, joins.identifier[places])
    ppm = (PPM - np.maximum(joins.doubt[places], 0)).tolist()
    refusals = []
    for (n, quota), key, confidence, held in zip(refused, keys, ppm, held_by, strict=True):
        ends = names[a[n]], names[b[n]]
        one, other = ends if key else sorted(ends)
        refusals.append(refusal(quotas[quota], one, other, key, confidence, held))
    return records[_first_alike(np.array(root, np.int32))], refusals


@dataclass(frozen=True, slots=True)
class _Joins:
    """Joins that are asked for, with what canonical order needs."""

    a: NDArray[np.int32]
    b: NDArray[np.int32]
    identifier: NDArray[np.int32]
    """The one that ``b`` owns; -1 for a match."""
    doubt: NDArray[np.int32]
    """-1 for an operator's, which come before all others."""
    first_seen: NDArray[np.int64]

    def at(self, place: NDArray[np.int64]) -> _Joins:
        """Those at some places."""
        return _Joins(*(getattr(self, column)[place] for column in self.__slots__))


def _joins(
    asking: Links, owner: NDArray[np.int32], matches: Matches, words: Sequence[Match], code: Mapping[RecordName, int]
) -> _Joins:
    said = np.array([(code[m.a], code[m.b], -1, m.at) for m in words], np.int64).reshape(-1, 4).T
    return _Joins(
        np.concatenate((asking.record, matches.a, said[0]), dtype=np.int32),
        np.concatenate((owner[asking.identifier], matches.b, said[1]), dtype=np.int32),
        np.concatenate((asking.identifier, np.full(len(matches.a) + len(words), -1, np.int32))),
        np.concatenate((asking.doubt, matches.doubt, said[2]), dtype=np.int32),
        np.concatenate((asking.first_seen, matches.first_seen, said[3])),
    )


def _keys(columns: EvidenceColumns, identifier: NDArray[np.int32]) -> list[IdentifierKey | None]:
    """The identifiers' keys, None for a match's -1."""
    keys = iter(texts(columns.identifiers, identifier[identifier >= 0]))
    return [next(keys) if code >= 0 else None for code in identifier.tolist()]


def components(a: NDArray[np.int32], b: NDArray[np.int32], records: int) -> NDArray[np.int32]:
    """For each record the lowest code among all that the joins of ``a`` with ``b`` connect it with."""
    # First each record under a lower one that it is joined with, and right under that one's last: this leaves a tenth
    # of the joins, and these between few records.
    root = np.arange(records, dtype=np.int32)
    root[np.maximum(a, b)] = np.minimum(a, b)
    moving = np.flatnonzero(root[root] != root)
    while len(moving):
        under = root[moving]
        root[moving] = above = root[under]
        moving = moving[above != under]
    return _tied(root, a, b)


def _tied(root: NDArray[np.int32], a: NDArray[np.int32], b: NDArray[np.int32]) -> NDArray[np.int32]:
    """The lowest code for each record once ``a`` are joined with ``b`` too, given it as it is without, in an array that
    is used up."""
    a, b = root[a], root[b]
    apart = np.flatnonzero(a != b)
    a, b = a[apart], b[apart]
    is_left = np.zeros(len(root), np.bool_)
    is_left[a] = is_left[b] = True
    left = np.flatnonzero(is_left)
    place = np.empty(len(root), np.int32)
    place[left] = np.arange(len(left), dtype=np.int32)
    joins = coo_array((np.ones(len(apart), np.int8), (place[a], place[b])), shape=(len(left), len(left)))
    root[left] = left[_first_alike(connected_components(joins, directed=False)[1])]
    return root[root]


def _first_alike(label: NDArray[Any]) -> NDArray[np.int32]:
    """For each place the first that has the same label."""
    first: NDArray[np.int32] = np.empty(label.max(initial=-1) + 1, np.int32)
    first[label[::-1]] = np.arange(len(label), dtype=np.int32)[::-1]
    named: NDArray[np.int32] = first[label]
    return named


# -- 6, 8: where a quota could bite, and what counts towards it ------------------------------------------------------

_Tight = dict[Quota, NDArray[np.int32]]
"""Quotas, each with the components that exceed it as a whole."""


def _tight(
    columns: EvidenceColumns,
    component: NDArray[np.int32],
    owner: NDArray[np.int32],
    bans: Iterable[tuple[RecordName, RecordName]],
    code: Mapping[RecordName, int],
    rules: Rulebook,
) -> _Tight:
    """Where a quota could bite. All eligible links to an identifier are in its owner's component: one count does."""
    limited = [k for k, kind in enumerate(columns.kinds) if kind in rules.limited]

    def of_kind(k: int) -> tuple[Quota, NDArray[np.int32]]:
        quota, owners = rules.limited[columns.kinds[k]], owner[columns.kind == k]
        return quota, _more_than(quota.limit, component[owners[owners >= 0]])

    def of_source(source: str) -> tuple[Quota, NDArray[np.int32]]:
        quota = rules.deduplicated[source]
        return quota, _more_than(quota.limit, component[_of_source(source, columns.records)])

    with ThreadPoolExecutor(THREADS) as threads:
        over: _Tight = dict([*threads.map(of_kind, limited), *threads.map(of_source, rules.deduplicated)])
    for a, b in bans:
        if component[code[a]] == component[code[b]]:
            over[Quota.of_ban(a, b)] = component[[code[a]]]
    return {quota: components for quota, components in over.items() if len(components)}


def _more_than(limit: int, label: NDArray[np.int32]) -> NDArray[np.int32]:
    """The labels that occur more often."""
    return np.flatnonzero(np.bincount(label) > limit).astype(np.int32)


def _of_source(source: str, records: pa.Array) -> NDArray[np.int64]:
    """The places of the source's customer records."""
    return np.flatnonzero(pc.starts_with(records, f"customer:{source}:").to_numpy(zero_copy_only=False))


def _claims(
    columns: EvidenceColumns,
    eligible: Links,
    component: NDArray[np.int32],
    tight: _Tight,
    code: Mapping[RecordName, int],
    records: NDArray[np.int32],
) -> list[tuple[int, int, int]]:
    """Which of the contested ``records`` claims what of which quota, by their places; refused joins included."""
    claims: list[tuple[int, int, int]] = []
    names = columns.records.take(pa.array(records))
    for n, quota in enumerate(sorted(tight)):
        if quota.is_ban:
            ends = np.searchsorted(records, [code[end] for end in quota.what]).tolist()
            claims += [(end, n, end) for end in ends]
            continue
        if quota.is_source:
            record = what = records[_of_source(quota.what[0], names)]
        else:
            of_kind = columns.kind[eligible.identifier] == columns.kinds.index(quota.what[0])
            record, what = eligible.record[of_kind], eligible.identifier[of_kind]
        exceeded = np.zeros(len(component), np.bool_)
        exceeded[tight[quota]] = True
        here = exceeded[component[record]]
        place = np.searchsorted(records, record[here])
        claims += zip(place.tolist(), repeat(n), what[here].tolist(), strict=False)
    return claims


# -- 7: canonical order ----------------------------------------------------------------------------------------------


def _in_canonical_order(columns: EvidenceColumns, joins: _Joins) -> _Joins:
    """The joins in the order in which they are decided."""
    joins = joins.at(np.lexsort((joins.first_seen, joins.doubt)))
    same = (joins.doubt[1:] == joins.doubt[:-1]) & (joins.first_seen[1:] == joins.first_seen[:-1])
    equals = np.concatenate(([0], np.cumsum(~same)))
    at = Runs.of(equals)
    place = np.flatnonzero(at.spread(at.count > 1))
    tied = joins.at(place)
    ends = zip(
        _keys(columns, tied.identifier), texts(columns.records, tied.a), texts(columns.records, tied.b), strict=True
    )
    hashes = [tie(*((a, key) if key else sorted((a, b)))) for key, a, b in ends]
    order = np.arange(len(joins.a))
    order[place] = place[
        sorted(range(len(place)), key=list(zip(equals[place].tolist(), hashes, strict=True)).__getitem__)
    ]
    return joins.at(order)
