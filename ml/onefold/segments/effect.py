"""Effect: what a group did within a window, beside what comparable people did.

A campaign, a label, a price: whoever got it differed from the rest before. So the group is held against people outside
who were as it was when the window began (:mod:`onefold.segments.comparable`). What differs is an effect as far as all
that mattered is among the features; what nobody knows of can't be made comparable, and only a hold-out drawn by lot is
safe from it.

Every outcome is a ratio of two sums over people, so one formula gives all intervals: within each stratum the variance
of the linearised ratio (Cochran, "Sampling Techniques", 3rd ed., 1977, sections 5.3 and 6.3), added up over strata.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from onefold.graph.errors import InvalidInput, NotReady, Violation
from onefold.graph.model import Instant
from onefold.ml import columns, features
from onefold.ml.catalogue import PURCHASES
from onefold.ml.features import FloatArray
from onefold.ml.metrics import Estimate
from onefold.ml.panel import DAY, BoolArray
from onefold.segments import comparable
from onefold.segments.comparable import Balance
from onefold.segments.encode import encoded, terms
from onefold.segments.query import query

LEAST_PEOPLE: Final = 30
"""On either side."""

FEW_HAPPENINGS: Final = 10
"""Below this the interval of a share is a rough one."""

MOST_PEOPLE: Final = 100_000
"""On either side; of more a sample is measured."""

_Z_95: Final = 1.959963984540054
_SEED: Final = 20111209


class Kind(StrEnum):
    """What is measured of people within the window."""

    CONVERSION = "conversion"
    """Share that bought."""
    REPURCHASE = "repurchase"
    """Share that bought on two days or more."""
    ORDER_VALUE = "order_value"
    """Charged per purchase, main currency; of those who bought, who may be others than those who would have."""
    SPEND = "spend"
    """Charged less refunded per person, main currency; nothing where nothing was bought."""
    RETURN = "return_of_lost"
    """Of those who were lost, the share that bought."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One thing that was measured."""

    kind: Kind
    people: int
    """Of the group, who count: for the order value those who bought, for the return those who were lost."""
    of_group: float
    of_comparable: float
    difference: Estimate
    """The group's less that of the comparable people, with its 95 % interval."""
    unadjusted: float
    """The group's less that of everybody outside."""

    @property
    def is_sure(self) -> bool:
        """Whether the difference is more than chance."""
        return self.difference.excludes_zero

    @property
    def words(self) -> str:
        """The outcome in a sentence, such as ``conversion: 56.5 % against 57.3 % of comparable people, …``."""
        is_share = self.kind in _SHARES
        group, others = (
            f"{100 * each:.1f} %" if is_share else f"{each:,.2f}" for each in (self.of_group, self.of_comparable)
        )
        apart = (self.difference.value, self.difference.low, self.difference.high)
        value, low, high = (f"{100 * each:+.1f}" if is_share else f"{each:+,.2f}" for each in apart)
        judged = "more than chance" if self.is_sure else "which may be chance"
        return (
            f"{self.kind.replace('_', ' ')}: {group} against {others} of comparable people,"
            f" {value}{' points' if is_share else ''} (95 %: {low} to {high}), {judged}"
        )


_SHARES: Final = frozenset({Kind.CONVERSION, Kind.REPURCHASE, Kind.RETURN})


@dataclass(frozen=True, slots=True)
class Effect:
    """What a group did within a window, beside comparable people."""

    as_of: Instant
    """When the window began."""
    days: int
    group: int
    """People of the group that were there then."""
    measured: int
    """Of those, who have somebody comparable outside; the effect is on them."""
    outside: int
    comparable: float
    """How many people drawn by lot would say as much as those outside do, weighed as they are (Kish)."""
    outcomes: tuple[Outcome, ...]
    balance: tuple[Balance, ...]
    """By figure; what has stayed most different comes first."""
    warnings: tuple[str, ...]


def measure(
    group: Set[str],
    frame: pa.Table,
    orders: pa.Table,
    as_of: Instant,
    days: int,
    *,
    defining: Set[str] = frozenset(),
    lost: Set[str] = frozenset(),
    outside: Set[str] | None = None,
) -> Effect:
    """The effect on a group within ``days`` days from ``as_of``; for the same tables always the same.

    ``frame`` is as of ``as_of`` and so knows nothing of the window; ``orders``, in the columns of
    :data:`onefold.ml.columns.ORDERS`, reach to its end. Features of ``defining`` are not made comparable: by them alone
    everybody outside would be told apart. ``lost`` are those who were lost then. Whom the group is held against is all
    others, or only those ``outside``, such as a hold-out. Raises :class:`InvalidInput` for a window of no days, and
    :class:`NotReady` where either side has fewer than 30 people, or hardly anybody is comparable.
    """
    if days < 1:
        raise InvalidInput([Violation("days", "must be at least 1")])
    frame = _asked(frame.take(pc.sort_indices(frame["identity"])), group, outside)
    member = _among(frame, group)
    _check_sizes(member)
    did = _did(frame, orders, as_of, days)
    compared = _compared(frame, member, as_of, defining)
    outcomes = [
        _outcome(Kind.CONVERSION, compared, did["bought"], np.ones(len(member))),
        _outcome(Kind.REPURCHASE, compared, did["again"], np.ones(len(member))),
        _outcome(Kind.ORDER_VALUE, compared, did["charged"], did["purchases"]),
        _outcome(Kind.SPEND, compared, did["spend"], np.ones(len(member))),
        _return(frame, member, did["bought"], _among(frame, lost), as_of, defining),
    ]
    found = tuple(outcome for outcome in outcomes if outcome is not None)
    return Effect(
        as_of=as_of,
        days=days,
        group=int(member.sum()),
        measured=compared.measured,
        outside=int((~member).sum()),
        comparable=compared.comparable,
        outcomes=found,
        balance=compared.balance,
        warnings=_warnings(group, compared, found, did, orders, as_of, days),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Compared:
    """The two sides, in strata."""

    member: BoolArray
    stratum: np.ndarray[tuple[int], np.dtype[np.int64]]
    weight: FloatArray
    balance: tuple[Balance, ...]

    @property
    def measured(self) -> int:
        return int((self.member & (self.stratum >= 0)).sum())

    @property
    def comparable(self) -> float:
        weight = self.weight[~self.member]
        return float(weight.sum() ** 2 / max((weight**2).sum(), 1e-12))


def _asked(frame: pa.Table, group: Set[str], outside: Set[str] | None) -> pa.Table:
    """The rows of both sides, at most so many of either, by identity."""
    member = _among(frame, group)
    other = ~member if outside is None else _among(frame, outside) & ~member
    random = np.random.default_rng(_SEED)
    rows = [random.permutation(np.flatnonzero(side))[:MOST_PEOPLE] for side in (member, other)]
    return frame.take(np.sort(np.concatenate(rows)))


def _among(frame: pa.Table, people: Set[str]) -> BoolArray:
    there = pc.is_in(frame["identity"], value_set=pa.array(sorted(people), pa.string()))
    return np.asarray(there.to_numpy(), dtype=np.bool_)


def _check_sizes(member: BoolArray) -> None:
    for words, people in (("in the group", int(member.sum())), ("outside", int((~member).sum()))):
        if people < LEAST_PEOPLE:
            raise NotReady("effect", f"{people} people are {words}; {LEAST_PEOPLE} are needed on either side")


def _compared(frame: pa.Table, member: BoolArray, as_of: Instant, defining: Set[str]) -> _Compared:
    all_terms = terms(frame)
    columns_, names, of = comparable.design(encoded(frame, all_terms, as_of), all_terms)
    defines = [term.feature in defining for term in of]
    stratum = comparable.strata(member, columns_[:, ~np.array(defines, dtype=np.bool_)])
    weight = comparable.weights(member, stratum)
    if not weight.any():
        raise NotReady("effect", "nobody outside is comparable: the features tell the group from all others")
    return _Compared(member, stratum, weight, comparable.balance(member, weight, columns_, names, defines))


_DID: Final = f"""
    WITH {PURCHASES},
    within AS (
        SELECT
            identity,
            count(DISTINCT day) AS days,
            count(*) FILTER (home) AS purchases,
            sum(total) FILTER (home) / 1e6 AS charged,
            sum(total - returned) FILTER (home) / 1e6 AS spend
        FROM purchases
        WHERE placed >= $start
        GROUP BY identity
    )
    SELECT
        identity,
        coalesce(days, 0) >= 1 AS bought,
        coalesce(days, 0) >= 2 AS again,
        coalesce(purchases, 0) AS purchases,
        coalesce(charged, 0) AS charged,
        coalesce(spend, 0) AS spend
    FROM people LEFT JOIN within USING (identity)
    ORDER BY identity
"""


def _did(frame: pa.Table, orders: pa.Table, as_of: Instant, days: int) -> dict[str, FloatArray]:
    """What each person of the frame did within the window."""
    end = as_of + days * DAY
    tables = {
        "orders": columns.check(orders, columns.ORDERS),
        "cutoffs": pa.table({"as_of": pa.array([end])}),
        "people": frame.select(["identity"]),
    }
    currency = features.population(orders, end).currency
    found = query(_DID, tables, {"start": as_of, "currency": currency})
    return {name: found[name].cast(pa.float64()).to_numpy() for name in found.schema.names if name != "identity"}


def _outcome(kind: Kind, compared: _Compared, amount: FloatArray, of: FloatArray) -> Outcome | None:
    """The ratio of two sums on either side; None where either has nobody to measure it on."""
    member, weight = compared.member, compared.weight
    sides = {}
    for side, who in ((True, member), (False, ~member)):
        base = float((weight * of)[who].sum())
        if not base:
            return None
        sides[side] = (float((weight * amount)[who].sum()) / base, base)
    (inside, base_inside), (outside, base_outside) = sides[True], sides[False]
    # What each person adds to the error of the ratio, where weights sum up to the people measured.
    apart = np.where(member, (amount - inside * of) / base_inside, (amount - outside * of) / base_outside)
    half = _Z_95 * float(np.sqrt(_variance(apart * compared.measured, compared)))
    difference = inside - outside
    crude = float(amount[member].sum() / of[member].sum() - amount[~member].sum() / of[~member].sum())
    return Outcome(
        kind=kind,
        people=int(((weight * of)[member] > 0).sum()),
        of_group=inside,
        of_comparable=outside,
        difference=Estimate(difference, difference - half, difference + half),
        unadjusted=crude,
    )


def _variance(apart: FloatArray, compared: _Compared) -> float:
    """Of the difference of the two sides' means over strata, each weighing as much as its part of the group."""
    total = 0.0
    for side in (compared.member, ~compared.member):
        placed = side & (compared.stratum >= 0)
        stratum, values = compared.stratum[placed], apart[placed]
        people = np.bincount(stratum)
        mean = np.bincount(stratum, weights=values) / people
        spread = np.bincount(stratum, weights=(values - mean[stratum]) ** 2) / (people - 1)
        share = np.bincount(compared.stratum[compared.member & (compared.stratum >= 0)]) / compared.measured
        total += float((share**2 * spread / people).sum())
    return total


def _return(
    frame: pa.Table, member: BoolArray, bought: FloatArray, lost: BoolArray, as_of: Instant, defining: Set[str]
) -> Outcome | None:
    """The lost of the group beside comparable ones of the lost outside, where both are enough."""
    if min((member & lost).sum(), (~member & lost).sum()) < LEAST_PEOPLE:
        return None
    try:
        compared = _compared(frame.filter(pa.array(lost)), member[lost], as_of, defining)
    except NotReady:
        return None
    return _outcome(Kind.RETURN, compared, bought[lost], np.ones(int(lost.sum())))


def _warnings(
    group: Set[str],
    compared: _Compared,
    outcomes: tuple[Outcome, ...],
    did: dict[str, FloatArray],
    orders: pa.Table,
    as_of: Instant,
    days: int,
) -> tuple[str, ...]:
    said = []
    people = int(compared.member.sum())
    if compared.measured < people:
        said.append(f"{people - compared.measured} of the {people} people of the group are like nobody outside")
    unlike = [each for each in compared.balance if not each.is_alike and not each.defines]
    if unlike:
        worst = unlike[0]
        said.append(f"{len(unlike)} figures are not alike, most of all {worst.term} ({worst.after:+.2f} deviations)")
    defined = sorted({each.term for each in compared.balance if each.defines and not each.is_alike})
    if defined:
        said.append(f"the group is defined by {', '.join(defined)}, so the effect of that is in the figures as well")
    if did["bought"][compared.member].sum() < FEW_HAPPENINGS:
        said.append(f"fewer than {FEW_HAPPENINGS} of the group bought, so the intervals are rough")
    latest = pc.max(orders["placed_at"].cast(pa.int64())).as_py()
    if latest is None or latest < as_of + (days - 1) * DAY:
        known = 0 if latest is None else max(0, (latest - as_of) // DAY)
        said.append(f"orders are known of the first {known} of the {days} days only")
    return tuple(said)
