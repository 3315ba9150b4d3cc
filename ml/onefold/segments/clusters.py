"""Clusters: people who are alike in a few figures, found by k-means, told in words, and the same ones next time.

How many there are is chosen (:mod:`onefold.segments.cluster_choice`). A clustering keeps its scales and centres, so
that whoever comes later is assigned by the same; the next one starts from it, and what has stayed in place keeps its
name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter, ValidationError
from scipy.optimize import linear_sum_assignment
from threadpoolctl import threadpool_limits

from onefold.graph.errors import InvalidInput, NotReady, Violation
from onefold.graph.model import Instant
from onefold.ml.features import FloatArray, matrix
from onefold.ml.panel import BoolArray
from onefold.segments import cluster_words, standard
from onefold.segments.cluster_choice import MOST, Candidate, candidates, choose, kmeans, nearest
from onefold.segments.cluster_words import Apart
from onefold.segments.standard import Scale

FEATURES: Final = ("days_since_order", "orders", "spend")
"""How recently, how often, for how much: known of everybody who bought."""

LEAST_PEOPLE: Final = 100

SCHEMA: Final = pa.schema(
    [pa.field("identity", pa.string()), pa.field("cluster", pa.string()), pa.field("distance", pa.float64())]
)
"""What :func:`assign` gives: the key of the cluster, and how far its centre is, in deviations; null of whom a feature
is not known."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """People who are alike."""

    key: str
    """Stays, from one clustering to the next, as long as the cluster stays in place."""
    name: str
    """What set it apart when it was first found."""
    centre: tuple[float, ...]
    """By the clustering's features, standardised."""
    people: int
    share: float
    """Of those who are in any cluster."""
    apart: tuple[Apart, ...]
    """By feature; first what sets it apart most."""

    @property
    def words(self) -> str:
        """The cluster in a sentence, with its medians and everybody's."""
        return cluster_words.sentence(self.people, self.share, self.apart)


@dataclass(frozen=True, slots=True)
class Clustering:
    """Clusters, how they were found, and what is needed to assign people to them."""

    features: tuple[str, ...]
    scales: tuple[Scale, ...]
    """By feature."""
    clusters: tuple[Cluster, ...]
    """The largest first."""
    tried: tuple[Candidate, ...]
    """Each number of clusters that was tried."""
    why: str
    """Why there are as many as there are."""
    as_of: Instant
    people: int
    unknown: int
    """People who are in no cluster, as one of the features is not known of them."""
    format: Literal[1] = 1

    def text(self) -> str:
        """The clustering as JSON. :func:`parse` reads it."""
        return _STORED.dump_json(self, indent=1).decode()


_STORED: Final = TypeAdapter(Clustering)


def parse(text: str) -> Clustering:
    """The clustering of :meth:`Clustering.text`. Raises :class:`NotReady` for anything else."""
    try:
        found = _STORED.validate_json(text)
    except ValidationError as err:
        where = ".".join(map(str, err.errors()[0]["loc"])) or "text"
        raise NotReady("clusters", f"what is stored is damaged or of another version ({where})") from err
    widths = {len(found.features), len(found.scales), *(len(cluster.centre) for cluster in found.clusters)}
    figures = [*(figure for each in found.scales for figure in (each.mean, each.deviation))]
    figures += [place for cluster in found.clusters for place in cluster.centre]
    if (
        len(widths) != 1
        or not found.clusters
        or not np.isfinite(figures).all()
        or not all(s.deviation for s in found.scales)
    ):
        raise NotReady("clusters", "what is stored does not fit together; cluster again")
    return found


def fit(
    frame: pa.Table,
    as_of: Instant,
    features: Sequence[str] = FEATURES,
    previous: Clustering | None = None,
    most: int = MOST,
) -> Clustering:
    """The clusters of a frame by these features, numbers all of them; for the same frame always the same.

    After a ``previous`` one of the same features its scales are kept and its centres are started from. Raises
    :class:`InvalidInput` for features that are not there or no numbers, and :class:`NotReady` where fewer than 100
    people have all features known, or they hardly differ.
    """
    identities, values = _rows(frame, features)
    known = ~np.isnan(values).any(axis=1)
    # By identity, so that the order of the rows counts for nothing.
    values = values[known][np.argsort(identities[known], kind="stable")]
    if len(values) < LEAST_PEOPLE:
        missing = f"all of {', '.join(features)} are known of {len(values)} people; {LEAST_PEOPLE} are needed"
        raise NotReady("clusters", missing)
    before = previous if previous is not None and previous.features == tuple(features) else None
    scales = before.scales if before else tuple(standard.scale(column) for column in values.T)
    points = _standard(scales, values)
    # One thread: more of them add up in another order, and so find other centres.
    with threadpool_limits(1):
        tried = candidates(points, most)
        if not tried:
            raise NotReady("clusters", f"people hardly differ in {', '.join(features)}")
        chosen, why = choose(tried, len(before.clusters) if before else None)
        centres = kmeans(points, chosen.clusters, _start(before, chosen.clusters))
    return Clustering(
        features=tuple(features),
        scales=scales,
        clusters=_clusters(features, values, points, centres, before),
        tried=tuple(tried),
        why=why,
        as_of=as_of,
        people=len(values),
        unknown=frame.num_rows - len(values),
    )


def assign(frame: pa.Table, clustering: Clustering) -> pa.Table:
    """The cluster of each person, by :data:`SCHEMA`, in the order of the frame.

    It depends on nothing but the person's own figures. Raises :class:`InvalidInput` for a feature that is not there.
    """
    identities, values = _rows(frame, clustering.features)
    known = ~np.isnan(values).any(axis=1)
    centres = np.array([cluster.centre for cluster in clustering.clusters])
    place, distance = nearest(_standard(clustering.scales, values), centres)
    keys = np.array([cluster.key for cluster in clustering.clusters], dtype=object)
    unknown = ~known
    return pa.table(
        [
            pa.array(identities, pa.string()),
            pa.array(keys[place], pa.string(), mask=unknown),
            pa.array(distance, pa.float64(), mask=unknown),
        ],
        schema=SCHEMA,
    )


def _rows(frame: pa.Table, features: Sequence[str]) -> tuple[np.ndarray[tuple[int], np.dtype[np.object_]], FloatArray]:
    """Whom the frame is about, and the features as numbers, a column each; unknown is NaN."""
    if not features:
        raise InvalidInput([Violation("features", "must name at least one")])
    wrong = [
        Violation(key, f"must be a number, is {frame.schema.field(key).type}")
        for key in features
        if key in frame.schema.names and not _is_number(frame.schema.field(key).type)
    ]
    if wrong:
        raise InvalidInput(wrong)
    there = [key for key in features if key in frame.schema.names]
    floats = frame.select(there).cast(pa.schema([pa.field(key, pa.float64()) for key in there]))
    return frame["identity"].to_numpy(), matrix(floats, features)


def _is_number(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_))


def _standard(scales: Sequence[Scale], values: FloatArray) -> FloatArray:
    return np.column_stack([scale.standard(column) for scale, column in zip(scales, values.T, strict=True)])


def _start(before: Clustering | None, clusters: int) -> FloatArray | None:
    """The last centres, where there are as many."""
    if before is None or len(before.clusters) != clusters:
        return None
    return np.array([cluster.centre for cluster in before.clusters])


def _clusters(
    features: Sequence[str], values: FloatArray, points: FloatArray, centres: FloatArray, before: Clustering | None
) -> tuple[Cluster, ...]:
    place, _ = nearest(points, centres)
    people = np.bincount(place, minlength=len(centres))
    same = _in_place(centres, before)
    found: list[Cluster] = []
    # A name that something else had would be taken for it.
    taken = {cluster.key for cluster in before.clusters} if before else set()
    # The largest first, and of equals the one that is found first.
    for number in sorted(range(len(centres)), key=lambda n: (-people[n], n)):
        within = place == number
        apart = _apart(features, values, points, within)
        old = same.get(number)
        name = old.name if old else cluster_words.name(apart, taken)
        taken.add(cluster_words.key(name))
        found.append(
            Cluster(
                key=old.key if old else cluster_words.key(name),
                name=name,
                centre=tuple(centres[number].tolist()),
                people=int(people[number]),
                share=float(people[number] / len(points)),
                apart=apart,
            )
        )
    return tuple(found)


def _in_place(centres: FloatArray, before: Clustering | None) -> dict[int, Cluster]:
    """By the place of a centre, the earlier cluster that it still is: matched so that all distances together are least
    (the Hungarian method), and nearer than half way to the next of the earlier clusters."""
    if before is None:
        return {}
    old = np.array([cluster.centre for cluster in before.clusters])
    distances = np.linalg.norm(centres[:, None] - old[None], axis=2)
    apart = np.linalg.norm(old[:, None] - old[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    return {
        int(new): before.clusters[was]
        for new, was in zip(*linear_sum_assignment(distances), strict=True)
        if distances[new, was] < apart[was].min() / 2
    }


def _apart(
    features: Sequence[str],
    values: FloatArray,
    points: FloatArray,
    within: BoolArray,
) -> tuple[Apart, ...]:
    deviation = points.std(axis=0)
    effect = (points[within].mean(axis=0) - points.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    medians, of_all = np.median(values[within], axis=0), np.median(values, axis=0)
    rows = zip(features, medians.tolist(), of_all.tolist(), effect.tolist(), strict=True)
    return tuple(sorted((Apart(*row) for row in rows), key=lambda apart: (-abs(apart.effect), apart.feature)))
