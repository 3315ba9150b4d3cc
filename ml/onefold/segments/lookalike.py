"""Look-alikes: who is most like a group of people without being in it.

Boosted trees (LightGBM) learn to tell the group from the rest, and everybody is scored by trees that never saw them:
people are dealt out to five folds, and each fold is scored by what was learned from the other four. So the same scores
say how well the group can be told (the area under the ROC curve) and who of the rest comes nearest.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from typing import Any, Final

import lightgbm as lgb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from onefold.graph.errors import NotReady
from onefold.graph.model import Instant
from onefold.ml.features import FloatArray
from onefold.ml.metrics import Estimate, auc, resampled
from onefold.ml.panel import BoolArray, IntArray
from onefold.segments.defining import Defining, sayers
from onefold.segments.encode import Term, encoded, terms

FOLDS: Final = 5
LEAST_SEED: Final = 30
SMALL_SEED: Final = 500
"""Below this the ranking is that of few people."""

MOST_SEED: Final = 20_000
MOST_REST: Final = 50_000
"""More people are scored, but not learned from."""

LEAST_REST: Final = 100

RANKING: Final = pa.schema(
    [pa.field("identity", pa.string()), pa.field("likeness", pa.float64()), pa.field("score", pa.float64())]
)
"""``likeness`` is the share of the group that looks less like the group, so that 0.5 is as typical as a typical member;
``score`` is what the trees say, and serves to rank only."""

_SEED: Final = 20111209
_ROUNDS: Final = 150
_CHUNK: Final = 50_000
_PARAMETERS: Final[dict[str, Any]] = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 15,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "max_bin": 127,
    "seed": _SEED,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}


@dataclass(frozen=True, slots=True)
class Telling:
    """One number that tells the group from the rest."""

    term: str
    gain: float
    """Its share of what all numbers together gain the trees."""
    of_group: float | None
    """The median, or the mean where the medians of both are the same; of a yes or no, the share of yes. None where it
    is known of nobody."""
    of_rest: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Lookalikes:
    """Who is most like a group, and how well that can be said."""

    ranking: pa.Table
    """By :data:`RANKING`: who is not in the group, the nearest first."""
    auc: Estimate
    """The chance that one of the group scores above one of the rest, neither seen in training; 0.5 is a coin."""
    group: int
    """People of the group that are in the frame."""
    rest: int
    telling: tuple[Telling, ...]
    """What tells most, first; at most ten."""
    excluded: dict[str, str] = field(default_factory=dict)
    """Features that were left out, and why."""
    warnings: tuple[str, ...] = ()


def lookalikes(
    group: Set[str],
    frame: pa.Table,
    as_of: Instant,
    defined: Defining | None = None,
    size: int = 1_000,
    without: Set[str] = frozenset(),
) -> Lookalikes:
    """The ``size`` people of a frame who are most like a group without being in it; for the same frame and group always
    the same.

    What defines the group (:func:`onefold.segments.defining.defining`), and features that say as much, are left out,
    and so are those of ``without``. Raises :class:`NotReady` where the group or the rest is too small, or no feature
    is left.
    """
    frame = frame.take(pc.sort_indices(frame["identity"]))
    member = _members(frame, group)
    _check_sizes(member)
    random = np.random.default_rng(_SEED)
    fold, learned = _dealt(member, random)
    excluded = _excluded(frame, learned, defined or Defining(frozenset(), ()), without, as_of)
    used = terms(frame, without=excluded.keys())
    if not used:
        raise NotReady("look-alikes", "no feature is left that does not define the group")
    values = encoded(frame.take(learned), used, as_of)
    trees = [_learn(values, member[learned], fold[learned], out) for out in range(FOLDS)]
    score = _scores(trees, frame, used, fold, as_of)
    found = resampled({"auc": auc(member[learned], score[learned])}, len(learned))["auc"].estimate
    telling = _telling(trees, used, values, member[learned])
    return Lookalikes(
        ranking=_ranking(frame, member, score, size),
        auc=found,
        group=int(member.sum()),
        rest=int((~member).sum()),
        telling=telling,
        excluded=excluded,
        warnings=_warnings(group, member, found, telling),
    )


def _members(frame: pa.Table, group: Set[str]) -> BoolArray:
    there = pc.is_in(frame["identity"], value_set=pa.array(sorted(group), pa.string()))
    return np.asarray(there.to_numpy(), dtype=np.bool_)


def _check_sizes(member: BoolArray) -> None:
    group, rest = int(member.sum()), int((~member).sum())
    if group < LEAST_SEED:
        raise NotReady("look-alikes", f"{group} people of the group are known; {LEAST_SEED} are needed to learn from")
    if rest < LEAST_REST:
        raise NotReady("look-alikes", f"{rest} people are not in the group; {LEAST_REST} are needed to learn from")


def _dealt(member: BoolArray, random: np.random.Generator) -> tuple[IntArray, IntArray]:
    """The fold of everybody, and the rows that are learned from, rising; each fold has as many of the group."""
    fold = np.zeros(len(member), dtype=np.int64)
    learned = []
    for rows, most in ((np.flatnonzero(member), MOST_SEED), (np.flatnonzero(~member), MOST_REST)):
        order = random.permutation(rows)
        fold[order] = np.arange(len(order)) % FOLDS
        learned.append(order[:most])
    return fold, np.sort(np.concatenate(learned))


def _excluded(
    frame: pa.Table, learned: IntArray, defined: Defining, without: Set[str], as_of: Instant
) -> dict[str, str]:
    named = dict.fromkeys(sorted(without), "was not wanted")
    there = set(frame.schema.names)
    defines = dict.fromkeys(sorted(defined.features & there), "defines the group")
    some = frame.take(learned)
    all_terms = terms(frame, without=without)
    says = sayers(some, all_terms, encoded(some, all_terms, as_of), defined, as_of) if defines else {}
    return named | defines | says


def _learn(values: FloatArray, member: BoolArray, fold: IntArray, out: int) -> lgb.Booster:
    """Trees from all folds but one."""
    rows = fold != out
    least = int(np.clip(member[rows].sum() // 20, 5, 50))
    data = lgb.Dataset(values[rows], label=member[rows].astype(np.float64), params={"verbosity": -1, "max_bin": 127})
    return lgb.train({**_PARAMETERS, "min_data_in_leaf": least}, data, num_boost_round=_ROUNDS)


def _scores(
    trees: list[lgb.Booster], frame: pa.Table, used: tuple[Term, ...], fold: IntArray, as_of: Instant
) -> FloatArray:
    """Everybody's, each from trees that did not see them; some rows at a time, to stay small."""
    score = np.empty(frame.num_rows)
    for start in range(0, frame.num_rows, _CHUNK):
        values = encoded(frame.slice(start, _CHUNK), used, as_of)
        of = fold[start : start + _CHUNK]
        for out, booster in enumerate(trees):
            rows = np.flatnonzero(of == out)
            if len(rows):
                score[start + rows] = booster.predict(values[rows])
    return score


def _ranking(frame: pa.Table, member: BoolArray, score: FloatArray, size: int) -> pa.Table:
    rest = np.flatnonzero(~member)
    # By falling score; equals stay in the order of their ids.
    nearest = rest[np.argsort(-score[rest], kind="stable")[:size]]
    group = np.sort(score[member])
    likeness = np.searchsorted(group, score[nearest], side="left") / len(group)
    return pa.table([frame["identity"].take(nearest), likeness, score[nearest]], schema=RANKING)


def _telling(
    trees: list[lgb.Booster], used: tuple[Term, ...], values: FloatArray, member: BoolArray
) -> tuple[Telling, ...]:
    gain = np.sum([booster.feature_importance("gain") for booster in trees], axis=0)
    share = gain / max(float(gain.sum()), 1e-12)
    first = [place for place in np.argsort(-share, kind="stable")[:10].tolist() if share[place] > 0]
    return tuple(
        Telling(
            str(used[place]),
            float(share[place]),
            *_typical(values[member, place], values[~member, place], used[place]),
        )
        for place in first
    )


def _typical(group: FloatArray, rest: FloatArray, term: Term) -> tuple[float | None, float | None]:
    known = [values[~np.isnan(values)] for values in (group, rest)]
    medians, means = ([float(of(each)) if len(each) else None for each in known] for of in (np.median, np.mean))
    group_is, rest_is = medians if term.value is None and medians[0] != medians[1] else means
    return group_is, rest_is


def _warnings(group: Set[str], member: BoolArray, found: Estimate, telling: tuple[Telling, ...]) -> tuple[str, ...]:
    people, missing = int(member.sum()), len(group) - int(member.sum())
    said = []
    if people < SMALL_SEED:
        said.append(f"the group has {people} people; with fewer than {SMALL_SEED} the ranking may say more about them")
    if missing:
        said.append(f"{missing} of the group are not in the frame and were not learned from")
    if found.low <= 0.5:
        said.append("the group can't be told from the rest: who is nearest is chance")
    if found.value >= 0.99:
        said.append(f"the group is told almost without error: does {telling[0].term} define it, with others?")
    return tuple(said)
