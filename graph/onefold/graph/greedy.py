"""Rules 6, 8 and 9 of :mod:`onefold.graph.resolve`: joins in canonical order, each made unless a claim forbids it.

Everything is a small integer here, so that both fronts can share it: records are numbered from 0, and so are the
*quotas*. A quota says how much of something one identity may claim: so many identifiers of a kind, one record of a
deduplicated source, one end of a ban. All three are one inequality: two identities stay apart if together they
would claim more than the quota allows, and more than either claims alone.
"""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple


class Claim(NamedTuple):
    """That a record counts towards a quota. Records that claim the same ``what`` count once."""

    record: int
    quota: int
    what: int


class Refused(NamedTuple):
    """A join that was not made, and whose ends are still apart when all joins are decided."""

    join: int
    """Its place among the joins."""
    quota: int
    """The first quota that forbade it."""


def greedy(
    records: int,
    joins: Iterable[tuple[int, int]],
    claims: Iterable[tuple[int, int, int]],
    quotas: Sequence[int],
    *,
    words: int,
    bans: int,
) -> tuple[list[int], list[Refused]]:
    """Each record's identity, named by one of its records, and the refused joins in their order.

    ``joins`` come in canonical order, ``claims`` (each a :class:`Claim`) in any. The first ``words`` joins are an
    operator's, which only the first ``bans`` quotas bind.
    """
    parent = list(range(records))
    with no_garbage_collection():
        held = _held(records, claims)
        refused = []
        for number, (a, b) in enumerate(joins):
            while parent[a] != a:
                parent[a] = a = parent[parent[a]]
            while parent[b] != b:
                parent[b] = b = parent[parent[b]]
            if a == b:
                continue
            ours, theirs = held[a], held[b]
            if ours and theirs:
                quota = _forbidding(ours, theirs, quotas, bans if number < words else len(quotas))
                if quota is not None:
                    refused.append((number, quota, a, b))
                    continue
            parent[b] = a
            held[a] = _union(ours, theirs)
    root = _roots(parent)
    return root, [Refused(number, quota) for number, quota, a, b in refused if root[a] != root[b]]


def holders(
    claims: Iterable[tuple[int, int, int]],
    root: Sequence[int],
    refused: Iterable[tuple[int, int, int]],
    names: Sequence[str],
) -> list[tuple[str, ...]]:
    """Per refusal (one end, other end, quota): who holds what stood in the way, by name and sorted.

    On each side, for everything it claims of the quota, the first record that claims it.
    """
    first: defaultdict[int, dict[int, dict[int, str]]] = defaultdict(dict)
    asked = []
    for a, b, quota in refused:
        sides = first[quota]
        asked.append((sides.setdefault(root[a], {}), sides.setdefault(root[b], {})))
    for record, quota, what in claims:
        claimed = first[quota].get(root[record])
        if claimed is not None:
            name, known = names[record], claimed.get(what)
            if known is None or name < known:
                claimed[what] = name
    return [tuple(sorted({*one.values(), *other.values()})) for one, other in asked]


_Held = dict[int, set[int]]
"""What an identity in the making claims, by quota."""


def _held(records: int, claims: Iterable[tuple[int, int, int]]) -> list[_Held | None]:
    held: list[_Held | None] = [None] * records
    for record, quota, what in claims:
        mine = held[record]
        if mine is None:
            held[record] = {quota: {what}}
        elif quota in mine:
            mine[quota].add(what)
        else:
            mine[quota] = {what}
    return held


def _forbidding(ours: _Held, theirs: _Held, quotas: Sequence[int], bound: int) -> int | None:
    """The first of the first ``bound`` quotas that keeps the two apart."""
    first = bound
    for quota, claimed in ours.items():
        if quota < first and (other := theirs.get(quota)) is not None:
            one, two = len(claimed), len(other)
            if one + two > quotas[quota]:
                union = one + two - len(claimed & other)  # which takes as long as the smaller is large, and no copy
                if union > quotas[quota] and union > one and union > two:
                    first = quota
    return first if first < bound else None


def _union(ours: _Held | None, theirs: _Held | None) -> _Held | None:
    """Both, in the larger of the two; the smaller is spent."""
    if not ours or not theirs:
        return ours or theirs
    if len(ours) < len(theirs):
        ours, theirs = theirs, ours
    for quota, claimed in theirs.items():
        mine = ours.get(quota)
        if mine is None:
            ours[quota] = claimed
        elif len(mine) < len(claimed):
            claimed |= mine
            ours[quota] = claimed
        else:
            mine |= claimed
    return ours


def _roots(parent: list[int]) -> list[int]:
    """For each record the one at the top; ``parent`` becomes that."""
    for record, above in enumerate(parent):
        while parent[above] != above:
            above = parent[above]
        parent[record] = above
    return parent


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Nothing here is cyclic, and to walk millions of small objects time and again takes as long as the work."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
