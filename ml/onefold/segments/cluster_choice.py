"""How many clusters there are: as many as are well apart, and come out alike whichever half of the people is looked at.

Well apart is the mean silhouette (Rousseeuw, "Silhouettes", Journal of Computational and Applied Mathematics 20, 1987).
Alike is the adjusted Rand index (Hubert and Arabie, "Comparing partitions", Journal of Classification 2, 1985) of what
two halves of the people, each clustered for itself, make of everybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score

from onefold.ml.features import FloatArray
from onefold.ml.panel import IntArray

FEWEST: Final = 3
"""Two clusters only say who buys much and who buys little."""

MOST: Final = 8
"""More can't be told apart by who works with them."""

ALIKE_FROM: Final = 0.8
WORTH_CHANGING: Final = 0.02
"""By so much must another number's silhouette be better than that of the number in use."""

SAMPLE: Final = 5_000
"""People who are looked at to choose; the silhouette takes a time that grows with their square."""

_HALVINGS: Final = 10
_SEED: Final = 20111209


@dataclass(frozen=True, slots=True)
class Candidate:
    """One number of clusters."""

    clusters: int
    silhouette: float
    """From -1 to 1: how much nearer people are to their own cluster than to the next, on average."""
    agreement: float
    """The mean adjusted Rand index of two halves: 1 where they agree about everybody, 0 for chance."""
    smallest: int
    """People in the smallest cluster, of those who were looked at."""

    @property
    def is_stable(self) -> bool:
        """Whether halves of the people agree well enough."""
        return self.agreement >= ALIKE_FROM


def candidates(points: FloatArray, most: int = MOST) -> list[Candidate]:
    """Every number of clusters from 3 on, measured on a sample of the points, the same for the same points."""
    random = np.random.default_rng(_SEED)
    if len(points) > SAMPLE:
        points = points[np.sort(random.choice(len(points), SAMPLE, replace=False))]
    halvings = [random.permutation(len(points)) for _ in range(_HALVINGS)]
    distinct = len(np.unique(points, axis=0))
    return [_candidate(points, halvings, number) for number in range(FEWEST, min(most, distinct // 2) + 1)]


def choose(tried: Sequence[Candidate], in_use: int | None = None) -> tuple[Candidate, str]:
    """The number to take, and why: of those that are stable the one with the best silhouette; the one in use as long as
    it is stable and none is better by much; where none is stable, the one about which halves agree most."""
    stable = [candidate for candidate in tried if candidate.is_stable]
    if not stable:
        chosen = max(tried, key=lambda candidate: (candidate.agreement, -candidate.clusters))
        return chosen, (
            f"{chosen.clusters} clusters, with reserve: halves of the people agree about no number of clusters"
            f" (at most {chosen.agreement:.2f}, wanted {ALIKE_FROM:.2f}), so there may be no clusters here"
        )
    best = max(stable, key=lambda candidate: (candidate.silhouette, -candidate.clusters))
    kept = next((candidate for candidate in stable if candidate.clusters == in_use), None)
    if kept is not None and best.silhouette - kept.silhouette <= WORTH_CHANGING:
        return kept, f"{kept.clusters} clusters as before: {_measured(kept)}, and no other number is clearly better"
    return best, (
        f"{best.clusters} clusters: {_measured(best)}, the best silhouette among"
        f" the {len(stable)} of {len(tried)} numbers about which halves agree"
    )


def kmeans(points: FloatArray, clusters: int, start: FloatArray | None = None) -> FloatArray:
    """The centres that k-means finds, from ten random starts or from ``start``."""
    if start is None:
        found = KMeans(clusters, n_init=10, random_state=_SEED).fit(points)
    else:
        found = KMeans(clusters, n_init=1, init=start, random_state=_SEED).fit(points)
    return np.asarray(found.cluster_centers_, dtype=np.float64)


def nearest(points: FloatArray, centres: FloatArray) -> tuple[IntArray, FloatArray]:
    """The place of the nearest centre of each point, the first of equals, and its distance."""
    # One centre after the other: a point's distances do not depend on which points are asked about beside it.
    squares = np.stack([((points - centre) ** 2).sum(axis=1) for centre in centres], axis=1)
    place = squares.argmin(axis=1)
    return place, np.sqrt(squares[np.arange(len(points)), place])


def _candidate(points: FloatArray, halvings: Sequence[IntArray], number: int) -> Candidate:
    labels, _ = nearest(points, kmeans(points, number))
    agreements = []
    for order in halvings:
        halves = (order[: len(order) // 2], order[len(order) // 2 :])
        one, other = (nearest(points, kmeans(points[np.sort(half)], number))[0] for half in halves)
        agreements.append(adjusted_rand_score(one, other))
    return Candidate(
        clusters=number,
        silhouette=float(silhouette_score(points, labels)),
        agreement=float(np.mean(agreements)),
        smallest=int(np.bincount(labels, minlength=number).min()),
    )


def _measured(candidate: Candidate) -> str:
    return f"silhouette {candidate.silhouette:.2f}, agreement of halves {candidate.agreement:.2f}"
