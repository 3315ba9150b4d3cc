"""What was predicted of people, in the graph: on their identities, so that a query sees what the service serves, and
the history of it.

A prediction stands on the records that its identity had. Whoever writes one says up to which decision of the log these
were known; a later decision that affected the identity makes it stale. See ``docs/scores.md``.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from onefold.graph.audit import head_of
from onefold.graph.errors import InvalidInput, Violation
from onefold.graph.feature_owners import FEATURE_PREFIX, Owner, claim
from onefold.graph.ingest import Writer, transaction, until_committed
from onefold.graph.model import Instant
from onefold.graph.reader import Reader

FeatureValue = float | int | bool | str

_T = TypeVar("_T")

_AT_ONCE: Final = 1_000

_ALIVE: Final = "i.merged_into IS NULL AND i.erased_at IS NULL"

_NEWEST: Final = "(i.scores_at IS NULL OR i.scores_at.epochMillis <= $at)"
"""Whether no later run than this one has written to ``i``."""

_INSTANT: Final = "CASE WHEN {0} IS NULL THEN null ELSE datetime({{epochMillis: {0}}}) END"

_WRITE: Final = f"""
UNWIND $rows AS r MATCH (i:Identity {{id: r[0]}}) SET i.lock = $lock
WITH i, r WHERE {_ALIVE}
MERGE (s:Score {{key: r[1]}})
SET s = r[2], s.key = r[1], s.at = datetime({{epochMillis: $at}}),
  s.features_at = datetime({{epochMillis: $features_at}}), s.next_order_at = {_INSTANT.format("r[3]")}
MERGE (i)-[:SCORED]->(s)
WITH i, r
CALL (i, r) {{
  WITH i, r WHERE {_NEWEST}
  SET i += r[4], i.scores_at = datetime({{epochMillis: $at}}), i.features_at = datetime({{epochMillis: $features_at}}),
    i.next_order_at = {_INSTANT.format("r[3]")}
  RETURN count(*) AS written
}}
RETURN r[0]
"""
"""The lock comes first: whoever retires or erases an identity has done so by then, or comes after this."""

_CLEAR: Final = f"""
UNWIND $rows AS r MATCH (i:Identity {{id: r[0]}}) SET i.lock = $lock
WITH i, r WHERE {_ALIVE} AND {_NEWEST}
SET i += r[1], i.scores_at = datetime({{epochMillis: $at}}), i.scores_sequence = $sequence, i.next_order_at = null,
  i.features_at = null
RETURN i.id
"""

_TOUCHED: Final = """EXISTS { MATCH (i)<-[:AFFECTED]-(d:Decision) WHERE d.sequence > i.scores_sequence }"""

_ROW: Final = """{0}.run, {0}.score_model, {0}.{1}.epochMillis, {0}.features_at.epochMillis, {0}.scores_sequence,
  {0}.churn_horizon_days, {0}.value_horizon_days, {0}.churn_probability, {0}.expected_orders,
  {0}.predicted_spend_micros, {0}.predicted_spend_currency, {0}.next_order_at.epochMillis, {0}.identity_confidence,
  {0}.weakest_merge_share"""

_READ: Final = f"""
UNWIND $identities AS id MATCH (i:Identity {{id: id}}) WHERE i.score_run IS NOT NULL
RETURN i.id, {_TOUCHED}, [k IN keys(i) WHERE k STARTS WITH '{FEATURE_PREFIX}' | [k, i[k]]],
  {_ROW.format("i", "scores_at").replace("i.run", "i.score_run")}
"""

_HISTORY: Final = f"""
MATCH (i:Identity {{id: $identity}})-[:SCORED]->(s:Score)
WITH i, s ORDER BY s.at DESC, s.key DESC LIMIT $limit
RETURN i.id, {_TOUCHED.replace("i.scores_sequence", "s.scores_sequence")}, [], {_ROW.format("s", "at")}
"""

_STALE: Final = f"""
UNWIND $identities AS id MATCH (i:Identity {{id: id}})
WHERE NOT ({_ALIVE}) OR (i.score_run IS NOT NULL AND {_TOUCHED})
RETURN i.id
"""

_OLDEST: Final = """
MATCH (i:Identity) WHERE i.scores_sequence IS NOT NULL
RETURN i.scores_sequence ORDER BY i.scores_sequence LIMIT 1
"""

_AFFECTED: Final = f"""
UNWIND range($first, $last) AS s MATCH (d:Decision {{sequence: s}})
RETURN s, COLLECT {{ MATCH (d)-[:AFFECTED]->(i:Identity)
  RETURN [i.id, {_ALIVE}, i.scores_sequence, COUNT {{ MATCH (i)-[:SCORED]->() }}] }}
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One time that people were scored."""

    id: str
    """What is written under an id again takes the place of what was."""
    model: str
    at: Instant
    """When it was done. Of two runs the later one is on the identities."""
    features_at: Instant
    """As of when: nothing from this instant on was looked at."""
    sequence: int
    """The number of the log's last decision (:func:`onefold.graph.audit.head_of`), read before anything that the scores
    are made of."""
    churn_horizon_days: int | None = None
    value_horizon_days: int | None = None
    """Of ``expected_orders`` and ``predicted_spend_micros``."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a run says of one identity; None where it says nothing."""

    identity: str
    churn_probability: float | None = None
    """Of no purchase within the churn horizon from ``features_at`` on."""
    expected_orders: float | None = None
    """Within the value horizon."""
    predicted_spend_micros: int | None = None
    """Within the value horizon, in micros of ``predicted_spend_currency``."""
    predicted_spend_currency: str | None = None
    next_order_at: Instant | None = None
    identity_confidence: float | None = None
    """That the identity is one person: :attr:`onefold.graph.confidence.Confidence.probability`."""
    weakest_merge_share: float | None = None
    """:attr:`onefold.graph.confidence.Confidence.share`."""
    features: Mapping[str, FeatureValue | None] = field(default_factory=dict)
    """By name; None or NaN for what is unknown, which is not kept. History does not keep any; on the identity are the
    frames' figures where frames bring the same ones (:mod:`onefold.graph.feature_owners`)."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What is kept of a prediction."""

    run: Run
    prediction: Prediction
    stale: bool
    """Whether a decision after ``run.sequence`` affected the identity: it may not be who was scored any more."""


def write_predictions(
    writer: Writer, run: Run, predictions: Sequence[Prediction], seconds: float | None = None
) -> frozenset[str]:
    """Put what a run says on the identities and into their histories, a thousand in a transaction.

    Returns the ids of those that took it; identities that were retired or erased meanwhile get nothing. The same again
    changes nothing; what a later run has said stays on the identity. Raises InvalidInput, and nothing is written, for a
    figure that is not finite or out of its bounds; else as :func:`onefold.graph.ingest.ingest` does: what was committed
    before stays, and may be written again.
    """
    violations = [v for number, p in enumerate(predictions) for v in _violations(f"predictions[{number}]", p)]
    if violations:
        raise InvalidInput(violations)
    features = {_property(name) for prediction in predictions for name in prediction.features}
    return _written(
        writer,
        _WRITE,
        sorted(predictions, key=lambda p: p.identity),
        lambda prediction, own: _row(run, prediction, own),
        features,
        seconds,
        at=run.at,
        features_at=run.features_at,
    )


def clear_predictions(
    writer: Writer, run: Run, identities: Collection[str], seconds: float | None = None
) -> frozenset[str]:
    """Take away what is on identities of which a run has nothing to say, as of those whose orders a split took away.

    They count as looked at by the run; their histories stay. Returns and raises as :func:`write_predictions` does.
    """
    return _written(
        writer,
        _CLEAR,
        sorted(identities),
        lambda identity, own: [identity, dict.fromkeys((*_FIGURES, *own))],
        (),
        seconds,
        at=run.at,
        sequence=run.sequence,
    )


def read_scores(reader: Reader, identities: Collection[str]) -> dict[str, Scored]:
    """What is on those of these identities of which anything was predicted, by id, features included.

    Retired and erased ids have nothing on them. Raises DeadlineExceeded, Unavailable.
    """
    return {row[0]: _scored(row) for row in reader.rows(_READ, identities=list(identities))}


def read_history(reader: Reader, identity: str, limit: int = 100) -> list[Scored]:
    """What was predicted of an identity, newest run first, without features; of a retired one until it was.

    ``stale`` tells whether a decision has affected it since. Raises DeadlineExceeded, Unavailable.
    """
    return [_scored(row) for row in reader.rows(_HISTORY, identity=identity, limit=limit)]


def stale(reader: Reader, identities: Collection[str]) -> frozenset[str]:
    """Those of these ids of which no score should be used: scored before a decision that affected them, retired, or
    erased. Raises DeadlineExceeded, Unavailable."""
    return frozenset(row[0] for row in reader.rows(_STALE, identities=list(identities)))


def stale_identities(reader: Reader, limit: int, after: int = 0) -> list[str]:
    """The first ``limit`` identities to score anew, those first that were touched first: scored before a decision that
    affected them, or made by a merge or a split of scored ones and not scored since.

    Reads the log from the oldest score on, or from the decision ``after``, up to which nobody is left to score. Raises
    DeadlineExceeded, Unavailable.
    """
    found: dict[str, None] = {}
    for oldest in (row[0] for row in reader.rows(_OLDEST)):
        last, _ = head_of(reader)
        for first in range(max(oldest, after) + 1, last + 1, _AT_ONCE):
            rows = reader.rows(_AFFECTED, first=first, last=min(first + _AT_ONCE - 1, last))
            found |= dict.fromkeys(id for sequence, those in sorted(rows) for id in _to_score(sequence, those))
            if len(found) >= limit:
                break
    return list(found)[:limit]


def _to_score(sequence: int, affected: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Of the identities that a decision affected, those that have not been looked at since, if any was scored."""
    affected = sorted(affected, key=lambda those: those[0])
    if any(seen is not None or scores for _, _, seen, scores in affected):
        yield from (id for id, alive, seen, _ in affected if alive and (seen is None or seen < sequence))


def _written(
    writer: Writer,
    text: str,
    of: Sequence[_T],
    row: Callable[[_T, Collection[str]], list[Any]],
    features: Collection[str],
    seconds: float | None,
    **parameters: Any,
) -> frozenset[str]:
    """The ids that a text gives, a thousand rows in a transaction; ``row`` is told which features are the scores'."""

    def attempt(until: float | None) -> set[str]:
        lock = uuid.uuid4().hex
        with transaction(writer, until) as tx:
            own = claim(tx, Owner.SCORES, features, lock)
            found = {r[0] for r in tx.run(text, rows=[row(each, own) for each in part], lock=lock, **parameters)}
            tx.commit()
        return found

    written: set[str] = set()
    for start in range(0, len(of), _AT_ONCE):
        part = of[start : start + _AT_ONCE]
        written |= until_committed(writer, attempt, seconds)
    return frozenset(written)


def _row(run: Run, prediction: Prediction, own: Collection[str]) -> list[Any]:
    figures = {
        "score_model": run.model,
        "scores_sequence": run.sequence,
        "churn_horizon_days": run.churn_horizon_days,
        "value_horizon_days": run.value_horizon_days,
        **{name: getattr(prediction, name) for name in (*_BOUNDS, "predicted_spend_currency")},
    }
    said = {name: value for name, value in figures.items() if value is not None}
    given = {_property(name): value for name, value in prediction.features.items() if not _is_unknown(value)}
    features = {name: given.get(name) for name in own}  # null takes away what another run has left
    key = f"{run.id} {prediction.identity}"
    on_identity = {**figures, **features, "score_run": run.id}
    return [prediction.identity, key, {**said, "run": run.id}, prediction.next_order_at, on_identity]


def _property(feature: str) -> str:
    return f"{FEATURE_PREFIX}{feature}"


_BOUNDS: Final = {
    "churn_probability": (0.0, 1.0),
    "expected_orders": (0.0, math.inf),
    "predicted_spend_micros": (-math.inf, math.inf),
    "identity_confidence": (0.0, 1.0),
    "weakest_merge_share": (0.0, 0.5),
}

_FIGURES: Final = (
    "score_run", "score_model", "churn_horizon_days", "value_horizon_days", *_BOUNDS, "predicted_spend_currency"
)  # fmt: skip
"""What a run leaves on an identity beside features and instants."""


def _violations(path: str, prediction: Prediction) -> Iterator[Violation]:
    for name, (least, most) in _BOUNDS.items():
        value = getattr(prediction, name)
        if value is not None and not (math.isfinite(value) and least <= value <= most):
            yield Violation(f"{path}.{name}", f"must be finite and from {least:g} to {most:g}")
    for name, feature in prediction.features.items():
        if isinstance(feature, float) and math.isinf(feature):
            yield Violation(f"{path}.features[{name!r}]", "must be finite or unknown")


def _is_unknown(value: FeatureValue | None) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _scored(row: Sequence[Any]) -> Scored:
    identity, touched, features, run, model, at, features_at, sequence, churn_days, value_days, *said = row
    churn, orders, spend, currency, next_order_at, sure, share = said
    return Scored(
        Run(run, model, at, features_at, sequence, churn_days, value_days),
        Prediction(
            identity, churn, orders, spend, currency, next_order_at, sure, share,
            {
                name.removeprefix(FEATURE_PREFIX): value
                for name, value in sorted(features)
                if isinstance(value, float | int | str)  # instants and lists are of frames, none of which scores read
            },
        ),
        bool(touched),
    )  # fmt: skip
