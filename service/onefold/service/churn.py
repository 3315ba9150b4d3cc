"""Scores of people who are in the graph: their columns, the one feature query, the model in use.

A score speaks about the time from *as of* on. That instant is the newest order in the graph, at most now: what people
bought since is not known to anybody. In a live shop that is seconds ago; over a file of old orders it is where the
file ends, and nobody is called lost for what the file could not tell.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from onefold.graph import columns
from onefold.graph.errors import DeadlineExceeded
from onefold.graph.model import Instant
from onefold.graph.newest import newest_order
from onefold.graph.reader import Reader
from onefold.ml import features
from onefold.ml.current import CurrentModel
from onefold.ml.score import Explanation, Scores, reasons, score

AS_OF_SECONDS: Final = 10.0
"""How long a looked-up *as of* serves: within it people are scored as of the same instant."""


@dataclass(frozen=True, slots=True)
class Churn:
    """How likely one person is to buy nothing within the horizon from ``as_of`` on."""

    identity: str
    model_id: str
    horizon_days: int
    as_of: Instant
    scores: Scores
    row: int
    """The person's row in the scores."""

    @property
    def probability(self) -> float:
        """Of no purchase within the horizon."""
        return float(self.scores.probability[self.row])

    @property
    def log_odds(self) -> float:
        """The model's output."""
        return float(self.scores.log_odds[self.row])

    def reasons(self, top: int) -> Explanation:
        """Why, at most ``top`` reasons, strongest first."""
        return reasons(self.scores, self.row, top)


class ChurnScorer:
    """Scores people with the model in use. All threads may use it."""

    def __init__(self, reader: Reader, model: CurrentModel, clock: Callable[[], Instant]) -> None:
        self._reader = reader
        self._model = model
        self._clock = clock
        self._looking = threading.Lock()
        self._as_of: Instant | None = None
        self._serves_until = 0.0

    def scores(self, identities: Sequence[str], *, seconds: float | None = None) -> dict[str, Churn]:
        """The scores of those of these (current) identities that have bought anything.

        Features are computed once for all. Raises NotReady where there is no model that fits, DeadlineExceeded after
        ``seconds``.
        """
        model_id, model = self._model.get()
        reader = self._reader.within(seconds)
        as_of = self._known_until(reader)
        if as_of is None or not identities:
            return {}
        table = features.compute(
            columns.orders(reader, as_of, identities),
            columns.events(reader, as_of, identities),
            as_of,
            model.card.population,
        )
        scored = score(model, table)
        return {
            identity: Churn(identity, model_id, model.card.horizon_days, as_of, scored, row)
            for row, identity in enumerate(scored.identities)
        }

    def _known_until(self, reader: Reader) -> Instant | None:
        # Whoever looks may wait for the graph longer than this caller will.
        left = reader.left()
        if not self._looking.acquire(timeout=-1 if left is None else left):
            raise DeadlineExceeded("the deadline ran out before the newest order was known")
        try:
            if self._as_of is None or time.monotonic() >= self._serves_until:
                self._as_of = known_until(reader, self._clock)
                self._serves_until = time.monotonic() + AS_OF_SECONDS
            return self._as_of
        finally:
            self._looking.release()


def known_until(reader: Reader, clock: Callable[[], Instant]) -> Instant | None:
    """Up to when purchases are known: just after the newest order, at most now. None where there is no order."""
    newest = newest_order(reader)
    return None if newest is None else min(newest + 1, clock())
