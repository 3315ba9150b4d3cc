"""A trained model and its card: what it is, what it was trained on, how good it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final, Literal

from onefold.graph.model import Instant
from onefold.ml import trees
from onefold.ml.blend import Blend
from onefold.ml.catalogue import BY_KEY
from onefold.ml.drift import Reference
from onefold.ml.features import Population
from onefold.ml.gates import Gate, Kind
from onefold.ml.lift import ReliabilityBin, Tenth
from onefold.ml.linear import TERMS, Linear, Weighed
from onefold.ml.mbgnbd import MbgNbd
from onefold.ml.metrics import Estimate, Metrics
from onefold.ml.next_products import NextProducts
from onefold.ml.recipe import NEXT_ORDER_PERCENTILES, Parts

PRODUCTS: Final = "next_products.json"


@dataclass(frozen=True, slots=True)
class Measured:
    """One part of a model on the held-out window, beside what it has to beat there; estimates by measure."""

    model: Mapping[str, Estimate]
    baselines: Mapping[str, Mapping[str, Estimate]]
    """By baseline."""
    differences: Mapping[str, Mapping[str, Estimate]]
    """By baseline: the model less the baseline, paired."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """A new model beside the one in use, on the same held-out customers."""

    champion: str
    """The id of the model that was in use; empty where there was none to compare with."""
    differences: Mapping[str, Estimate]
    """Of churn, by measure: the new model's less the champion's, paired; empty where they could not be compared."""
    promoted: bool
    """Whether the new model was to replace the champion by itself."""
    words: str
    """Why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """Everything about a model but its parameters; stored as ``model.json``."""

    format: Literal[3] = 3
    created_at: Instant
    kind: Kind
    choice: str
    """Why it is of that kind, in words."""
    gates: tuple[Gate, ...]
    """What data it needed, and what there was."""
    horizon_days: int
    """The longest horizon it answers for, and the one it was measured at."""
    horizons: tuple[int, ...]
    """All that it learned from, in days, rising."""
    cutoff: Instant
    """It knows nothing that happened from here on."""
    features: Mapping[str, str]
    """Its inputs from the catalogue in order: key and fingerprint of each as it was trained."""
    catalogue: str
    """Fingerprint of that whole catalogue."""
    population: Population
    """What its relative features refer to."""
    rows: int
    """Rows of training, one per customer, snapshot and horizon."""
    snapshots: int
    period: tuple[Instant, Instant]
    """The first order day that it knows, and the cutoff."""
    held_out: Instant
    """The figures are those of the same recipe trained on windows that ended by this instant, predicting the
    ``horizon_days`` after it. The model itself was then fitted on all windows that ended by ``cutoff``."""
    metrics: Metrics
    """Of churn."""
    baselines: Mapping[str, Metrics]
    """Of churn, trained and measured on the same rows."""
    measured: Mapping[str, Measured]
    """By part, ``churn``, ``spend``, ``typical`` and ``next_order``: the same with intervals."""
    reliability: tuple[ReliabilityBin, ...]
    """Of churn on the held-out window: promised beside what came true."""
    lift: tuple[Tenth, ...]
    """Likewise, by rank: who was the likeliest to churn comes first."""
    challenge: Challenge
    """What spoke for putting it in use, or against."""
    importance: Mapping[str, float]
    """Mean absolute contribution to the log-odds of churn of each input that has any, the greatest first."""
    reference: Mapping[str, Reference]
    """How each feature was distributed among all customers at the cutoff."""
    score_reference: Reference
    """The same of the probability of churn within ``horizon_days``, as the model told it of them."""
    data_fingerprint: str
    versions: Mapping[str, str]
    """Of the libraries that trained it."""

    def differing_features(self) -> list[str]:
        """The model's features that the catalogue no longer has, or now defines otherwise."""
        return [
            key
            for key, fingerprint in self.features.items()
            if key not in BY_KEY or BY_KEY[key].fingerprint != fingerprint
        ]


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The fit that the back-test tried: what it would have told of churn at ``held_out``, knowing nothing since."""

    population: Population
    """Of then, against which its features are computed."""
    process: MbgNbd
    churn: Blend


@dataclass(frozen=True, slots=True)
class PredictionModel:
    """A model ready to predict churn, value and the next order."""

    card: ModelCard
    parts: Parts
    rehearsal: Rehearsal
    """Kept so that a later model can be compared with this one where neither knows the answers."""
    products: NextProducts | None = None
    """What may be bought next; None where no order has lines."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Its inputs from the catalogue, in order."""
        return tuple(self.card.features)

    def files(self) -> dict[str, str]:
        """Its parameters as texts, by file name; the same data give the same texts."""
        products = {} if self.products is None else {PRODUCTS: self.products.text()}
        return written(self.parts) | _written_rehearsal(self.rehearsal) | products


def written(parts: Parts) -> dict[str, str]:
    """Parameters as texts, by file name: JSON, and trees in LightGBM's own format."""
    return {
        "process.json": _json(asdict(parts.process)),
        **_written_blend("churn", parts.churn),
        **_written_blend("spend", parts.spend),
        "spend_typical.txt": trees.text(parts.typical),
        **{f"next_order_{share}.txt": trees.text(booster) for share, booster in parts.next_order.items()},
    }


def read(files: Mapping[str, str]) -> Parts:
    """The parameters of :func:`written`.

    Raises :class:`KeyError` for a file that is missing, :class:`ValueError` for one that is no JSON or has other
    terms than this version, :class:`lightgbm.basic.LightGBMError` for trees that can't be read.
    """
    return Parts(
        process=MbgNbd(**json.loads(files["process.json"])),
        churn=_read_blend("churn", files),
        spend=_read_blend("spend", files),
        typical=trees.read(files["spend_typical.txt"]),
        next_order={share: trees.read(files[f"next_order_{share}.txt"]) for share in NEXT_ORDER_PERCENTILES},
    )


def read_rehearsal(files: Mapping[str, str]) -> Rehearsal:
    """The rehearsal among a model's files. Raises as :func:`read` does."""
    document = json.loads(files["rehearsal.json"])
    return Rehearsal(
        population=Population(**document["population"]),
        process=MbgNbd(**document["process"]),
        churn=_read_blend("rehearsal_churn", files),
    )


def _written_rehearsal(rehearsal: Rehearsal) -> dict[str, str]:
    known = {"population": asdict(rehearsal.population), "process": asdict(rehearsal.process)}
    return {"rehearsal.json": _json(known), **_written_blend("rehearsal_churn", rehearsal.churn)}


_BOOSTERS = ("residual", "free")


def _written_blend(name: str, blend: Blend) -> dict[str, str]:
    boosters = zip(_BOOSTERS, blend.boosters, strict=False)
    return {
        f"{name}.json": _json(blend.linear.document()),
        **{f"{name}_{role}.txt": trees.text(booster) for role, booster in boosters},
    }


def _read_blend(name: str, files: Mapping[str, str]) -> Blend:
    document = json.loads(files[f"{name}.json"])
    terms = {term: Weighed(**weighed) for term, weighed in document["terms"].items()}
    if list(terms) != list(TERMS):
        raise ValueError(f"{name}.json has other terms than this version")
    there = [f"{name}_{role}.txt" for role in _BOOSTERS if f"{name}_{role}.txt" in files]
    return Blend(Linear(document["intercept"], terms), tuple(trees.read(files[file]) for file in there))


def _json(document: object) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
