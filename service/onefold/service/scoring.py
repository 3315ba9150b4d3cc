"""Scores kept in the graph, where Cypher sees what the service serves: everybody's, and anew those of whom a merge or a
split has touched since."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from onefold.graph.audit import head_of
from onefold.graph.ingest import Writer
from onefold.graph.predictions import Prediction, Run, clear_predictions, stale_identities, write_predictions
from onefold.graph.reader import Reader
from onefold.ml.next_order import next_order
from onefold.ml.panel import DAY, KEYS
from onefold.service.predictor import Block, Predictor

AT_ONCE: Final = 500
"""So many touched identities are scored anew together."""

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

    def __init__(self, writer: Writer, predictor: Predictor, reader: Reader) -> None:
        self._writer = writer
        self._predictor = predictor
        self._reader = reader
        self._done = 0
        """Up to this decision nobody is left to score."""

    def look(self, seconds: float | None = None) -> Scored:
        """Scores at most :data:`AT_ONCE` of them. Raises as :func:`score_everybody`, DeadlineExceeded after
        ``seconds``."""
        reader = self._reader.within(seconds)
        sequence, _ = head_of(reader)  # before anything is read: what is decided meanwhile makes stale
        if sequence == self._done:
            return Scored(None)
        touched = stale_identities(reader, AT_ONCE, self._done)
        block = self._predictor.block(touched, seconds=seconds) if touched else None
        if block is None:
            self._done = sequence
            return Scored(None)
        run = _run(self._writer.new_id(), self._writer, block, sequence)
        written = write_predictions(self._writer, run, list(_predictions(block)), seconds)
        cleared = clear_predictions(self._writer, run, set(touched) - set(block.scores.identities), seconds)
        if len(touched) < AT_ONCE:
            self._done = sequence
        return Scored(run, len(written), len(cleared))


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
            expected_orders=float(block.values.expected_orders[row]),
            predicted_spend_micros=round(float(block.values.predicted[row]) * _MICROS),
            predicted_spend_currency=block.values.currency,
            next_order_at=None if math.isnan(median) else block.as_of + round(median * DAY),
            features={key: column[row] for key, column in zip(KEYS, columns, strict=True)},
        )
