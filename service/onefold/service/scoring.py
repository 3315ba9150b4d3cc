"""Scores kept in the graph, where Cypher sees what the service serves: everybody's, and anew those of whom a merge or a
split has touched since."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from onefold.graph.audit import head_of
from onefold.graph.errors import InvalidInput
from onefold.graph.ingest import Writer
from onefold.graph.predictions import (
    Prediction,
    Run,
    clear_predictions,
    read_scores,
    stale_identities,
    write_predictions,
)
from onefold.graph.reader import Reader
from onefold.ml.next_order import next_order
from onefold.ml.panel import DAY, KEYS
from onefold.service.predictor import Block, Predictor

AT_ONCE: Final = 500
"""So many touched identities are scored anew together."""

ANEW_SECONDS: Final = 600.0

_MICROS: Final = 1_000_000

Progress = Callable[[int, int], None]
"""Told how many of how many people are scored."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What became of one run."""

    run: Run | None
    """None where nobody was to be scored."""
    written: int = 0
    cleared: int = 0
    """Identities of which nothing can be said any more."""


def score_everybody(
    writer: Writer, predictor: Predictor, reader: Reader, horizon_days: int | None = None,
    progress: Progress = lambda done, of: None,
) -> Scored:  # fmt: skip
    """Scores everybody who has bought anything and writes that on their identities and into their histories.

    Raises NotReady where there is no model, InvalidInput (field ``horizon_days``), and else as
    :func:`onefold.graph.predictions.write_predictions` does: what was written stays, and a new run takes its place.
    """
    sequence, _ = head_of(reader)  # before anything is read: what is decided meanwhile makes stale
    id, run, written = writer.new_id(), None, 0
    for block, of in predictor.everybody(horizon_days):
        run = run or _run(id, writer, block, sequence)
        written += len(write_predictions(writer, run, list(_predictions(block))))
        progress(written, of)
    return Scored(run, written)


class Rescorer:
    """Scores anew those whom a decision has touched since they were scored, so that nobody's score is another's."""

    def __init__(
        self, writer: Writer, predictor: Predictor, reader: Reader, anew_seconds: float = ANEW_SECONDS
    ) -> None:
        """Every ``anew_seconds`` all of the log since the oldest score is looked through."""
        self._writer = writer
        self._predictor = predictor
        self._reader = reader
        self._anew_seconds = anew_seconds
        self._done = 0
        """Up to this decision nobody was left to score."""
        self._anew_at = time.monotonic() + anew_seconds

    def look(self, seconds: float | None = None) -> Scored:
        """Scores at most :data:`AT_ONCE` of them, each at the horizon of the score that it takes the place of. Raises
        as :func:`score_everybody`, DeadlineExceeded after ``seconds``."""
        if time.monotonic() >= self._anew_at:
            # A run that was under way may have written, since, scores from before what was looked at.
            self._done, self._anew_at = 0, time.monotonic() + self._anew_seconds
        reader = self._reader.within(seconds)
        sequence, _ = head_of(reader)  # before anything is read: what is decided meanwhile makes stale
        if sequence == self._done:
            return Scored(None)
        touched = stale_identities(reader, AT_ONCE, self._done)
        done = Scored(None)
        for horizon_days, identities in _by_horizon(reader, touched).items():
            done = self._score(identities, horizon_days, sequence, done, seconds)
        if len(touched) < AT_ONCE:
            self._done = sequence
        return done

    def _score(
        self, identities: list[str], horizon_days: int | None, sequence: int, done: Scored, seconds: float | None
    ) -> Scored:
        try:
            block = self._predictor.block(identities, horizon_days, seconds=seconds)
        except InvalidInput:  # beyond what the model in use has learned
            block = self._predictor.block(identities, seconds=seconds)
        if block is None:
            return done
        run = _run(self._writer.new_id(), self._writer, block, sequence)
        written = write_predictions(self._writer, run, list(_predictions(block)), seconds)
        cleared = clear_predictions(self._writer, run, set(identities) - set(block.scores.identities), seconds)
        return Scored(run, done.written + len(written), done.cleared + len(cleared))


def _by_horizon(reader: Reader, identities: list[str]) -> dict[int | None, list[str]]:
    kept = read_scores(reader, identities) if identities else {}
    grouped: dict[int | None, list[str]] = defaultdict(list)
    for identity in identities:
        grouped[kept[identity].run.churn_horizon_days if identity in kept else None].append(identity)
    return grouped


def _run(id: str, writer: Writer, block: Block, sequence: int) -> Run:
    days = block.scores.horizon_days
    return Run(id, block.model_id, writer.clock(), block.as_of, sequence, days, days)


def _predictions(block: Block) -> Iterator[Prediction]:
    due = next_order(block.model, block.features).median
    columns = [block.features[key].to_pylist() for key in KEYS]
    for row, identity in enumerate(block.scores.identities):
        median = float(due[row])
        yield Prediction(
            identity=identity,
            churn_probability=float(block.scores.probability[row]),
            expected_orders=float(block.expected_orders[row]),
            predicted_spend_micros=round(float(block.expected_spend[row]) * _MICROS),
            predicted_spend_currency=block.scores.currency,
            next_order_at=None if math.isnan(median) else block.as_of + round(median * DAY),
            features={key: column[row] for key, column in zip(KEYS, columns, strict=True)},
        )
