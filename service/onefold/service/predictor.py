"""Predictions of people who are in the graph: their columns, the one feature query, the model in use.

A prediction speaks about the time from *as of* on. That instant is the newest order in the graph, at most now: what
people bought since is not known to anybody. In a live shop that is seconds ago; over a file of old orders it is where
the file ends, and nobody is called lost for what the file could not tell.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from onefold.graph import columns
from onefold.graph.audit import head_of
from onefold.graph.confidence import Confidence, read_confidence
from onefold.graph.errors import DeadlineExceeded, NotReady
from onefold.graph.identity import not_found
from onefold.graph.model import Instant
from onefold.graph.newest import newest_order
from onefold.graph.reader import Reader
from onefold.graph.revision import Revision, read_revisions
from onefold.graph.subject import Subject
from onefold.ml import features
from onefold.ml.current import CurrentModel
from onefold.ml.features import FloatArray
from onefold.ml.model import PredictionModel
from onefold.ml.next_order import NextOrders, next_order
from onefold.ml.next_products import recommend
from onefold.ml.panel import SHORTER_HORIZONS
from onefold.ml.score import Explanation, Scores, curve, reasons, score
from onefold.ml.value import Values, expected, value
from onefold.service.cautions import Caution, cautions
from onefold.service.kept import Kept

AS_OF_SECONDS: Final = 10.0
"""How long a looked-up *as of* serves: within it people are scored as of the same instant."""

FRAME_SECONDS: Final = 60.0
"""How long everybody's features serve, unless an order or a decision comes in between: what else changes, such as an
order's status, is seen by then."""

KEPT: Final = 2_000
"""So many identities' features and confidence are kept, some 40 MB, each for :data:`FRAME_SECONDS` at most while the
identity's revision stays."""

BLOCK: Final = 10_000
"""So many people are scored together when everybody is."""

CURVE_DAYS: Final = (7, 14, *SHORTER_HORIZONS)
"""The horizons of a curve, as far as the model reaches; its own longest ends it."""


@dataclass(frozen=True, slots=True)
class Churn:
    """How likely one person is to buy nothing within the horizon from ``as_of`` on."""

    identity: str
    model_id: str
    as_of: Instant
    scores: Scores
    row: int
    """The person's row in the scores."""
    confidence: Confidence | None
    """How sure it is that the person is one; None where it was not looked at."""
    cautions: tuple[Caution, ...]

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


@dataclass(frozen=True, slots=True)
class Outlook:
    """All that is predicted of one person."""

    churn: Churn
    curve: tuple[tuple[int, float], ...]
    """The probability of no purchase within so many days."""
    values: Values
    """Of this person alone."""
    next_order: NextOrders
    """Likewise."""
    mean_gap_days: float | None
    next_products: tuple[NextProduct, ...] | None
    """The likeliest first; None where the model knows of none."""


@dataclass(frozen=True, slots=True)
class NextProduct:
    """A product that may be bought next."""

    product: str
    name: str
    score: float
    words: str
    """Why."""


@dataclass(frozen=True, slots=True)
class Block:
    """The scores of some people, and what is expected of them, their ids rising."""

    model_id: str
    model: PredictionModel
    as_of: Instant
    features: pa.Table
    scores: Scores
    expected_orders: FloatArray
    """Order days within the horizon."""
    expected_spend: FloatArray
    """Likewise, in the scores' currency."""


class Predictor:
    """Predicts by the model in use. All threads may use it."""

    def __init__(self, reader: Reader, model: CurrentModel, clock: Callable[[], Instant]) -> None:
        self._reader = reader
        self._model = model
        self._clock = clock
        self._looking = threading.Lock()
        self._as_of: Instant | None = None
        self._serves_until = 0.0
        self._framing = threading.Lock()
        self._frame_of: tuple[str, Instant, int] | None = None
        self._frame_until = 0.0
        self._frame: pa.Table | None = None
        self._ready: Kept[pa.Table] = Kept(KEPT, FRAME_SECONDS)
        self._sure: Kept[Confidence] = Kept(KEPT, FRAME_SECONDS)

    def churn(
        self,
        subjects: Collection[Subject],
        horizon_days: int | None = None,
        *,
        sure: bool = False,
        seconds: float | None = None,
    ) -> dict[Subject, Churn | NotReady]:
        """The score of the person whom each subject leads to, at the model's longest horizon if none is asked for;
        with ``sure``, how sure it is that they are one. NotReady, with the reason, for who has not bought anything; a
        subject that leads to nobody is missing.

        Features are computed once for all. Raises NotReady where there is no model that fits, InvalidInput (field
        ``horizon_days``) for a horizon out of its range, DeadlineExceeded after ``seconds``.
        """
        model_id, model = self._model.get()
        reader = self._reader.within(seconds)
        people = read_revisions(reader, subjects)
        as_of = self._known_until(reader)
        if as_of is None or not people:
            return {subject: _nothing_bought(person) for subject, person in people.items()}
        persons = {person.identity: person for person in people.values()}
        scored = score(model, self._features(reader, model_id, model, as_of, persons.values()), horizon_days)
        found = {
            identity: self._churn(reader, model_id, model, as_of, scored, row, persons[identity] if sure else None)
            for row, identity in enumerate(scored.identities)
        }
        return {subject: found.get(person.identity) or _nothing_bought(person) for subject, person in people.items()}

    def outlook(
        self, subject: Subject, horizon_days: int | None = None, products: int = 0, *, seconds: float | None = None
    ) -> Outlook:
        """All that is predicted of the person whom the subject leads to, with at most so many ``products``. Raises
        NotFound if it leads to nobody, NotReady if they have not bought anything, and as :meth:`churn`."""
        model_id, model = self._model.get()
        reader = self._reader.within(seconds)
        person = read_revisions(reader, [subject]).get(subject)
        if person is None:
            raise not_found(reader, subject)
        as_of = self._known_until(reader)
        table = None if as_of is None else self._features(reader, model_id, model, as_of, [person])
        if as_of is None or table is None or not len(table):
            raise _nothing_bought(person)
        scored = score(model, table, horizon_days)
        longest = model.card.horizon_days
        days = (*(d for d in CURVE_DAYS if d < longest), longest)
        gap = float(features.matrix(table, ["gap_mean"])[0, 0])
        return Outlook(
            churn=self._churn(reader, model_id, model, as_of, scored, 0, person),
            curve=tuple(zip(days, (1.0 - curve(model, table, days)[0]).tolist(), strict=True)),
            values=value(model, table, horizon_days),
            next_order=next_order(model, table),
            mean_gap_days=None if np.isnan(gap) else gap,
            next_products=_next_products(reader, model, person.identity, as_of, products),
        )

    def everybody(
        self,
        horizon_days: int | None = None,
        after: str = "",
        *,
        among: Collection[str] | None = None,
        seconds: float | None = None,
    ) -> Iterator[tuple[Block, int]]:
        """Everybody who has bought anything and whose id comes after ``after``, by ids rising, as of one instant and by
        one model, or those ``among`` these ids; with each block, how many people there are in all. Raises as
        :meth:`churn`.

        The features are computed by the first who asks, and serve others for :data:`FRAME_SECONDS` while nothing is
        decided and no newer order is known."""
        model_id, model = self._model.get()
        reader = self._reader.within(seconds)
        as_of = self._known_until(reader)
        if as_of is None:
            return
        table = self._everybodys(reader, model_id, model, as_of)
        if among is not None:
            table = table.filter(pc.is_in(table["identity"], value_set=pa.array(among, pa.string())))
        first = int(np.searchsorted(table["identity"].to_numpy(), after, side="right")) if after else 0
        for start in range(first, len(table), BLOCK):
            yield _block(model_id, model, as_of, table.slice(start, BLOCK), horizon_days), len(table) - first

    def block(
        self, identities: Sequence[str], horizon_days: int | None = None, *, seconds: float | None = None
    ) -> Block | None:
        """Those of these (current) identities that have bought anything; None where no order is known. Raises as
        :meth:`churn`."""
        model_id, model = self._model.get()
        reader = self._reader.within(seconds)
        as_of = self._known_until(reader)
        if as_of is None:
            return None
        return _block(model_id, model, as_of, features_of(reader, model, as_of, identities), horizon_days)

    def _everybodys(self, reader: Reader, model_id: str, model: PredictionModel, as_of: Instant) -> pa.Table:
        left = reader.left()
        if not self._framing.acquire(timeout=-1 if left is None else left):
            raise DeadlineExceeded("the deadline ran out before everybody's features were known")
        try:
            sequence, _ = head_of(reader)  # before anything is read: who is decided meanwhile is looked at again
            asked = model_id, as_of, sequence
            if self._frame is None or self._frame_of != asked or time.monotonic() >= self._frame_until:
                self._frame = features_of(reader, model, as_of)
                self._frame_of, self._frame_until = asked, time.monotonic() + FRAME_SECONDS
            return self._frame
        finally:
            self._framing.release()

    def _features(
        self, reader: Reader, model_id: str, model: PredictionModel, as_of: Instant, people: Collection[Revision]
    ) -> pa.Table:
        """Of those who have bought anything, in any order; computed only of whom they are not kept."""
        given = model_id, as_of
        ready = [table for person in people if (table := self._ready.get(person, given)) is not None]
        known = {table["identity"][0].as_py() for table in ready}
        missing = {person.identity: person for person in people if person.identity not in known}
        if missing or not ready:
            computed = features_of(reader, model, as_of, list(missing))
            for row, identity in enumerate(computed["identity"].to_pylist()):
                self._ready.put(computed.slice(row, 1), missing[identity], given)
            ready.append(computed)
        return ready[0] if len(ready) == 1 else pa.concat_tables(ready)

    def _confidence(self, reader: Reader, person: Revision) -> Confidence:
        kept = self._sure.get(person)
        if kept is None:
            kept = read_confidence(reader, Subject.identity(person.identity))
            self._sure.put(kept, person)
        return kept

    def _churn(
        self,
        reader: Reader,
        model_id: str,
        model: PredictionModel,
        as_of: Instant,
        scored: Scores,
        row: int,
        person: Revision | None,
    ) -> Churn:
        """The score in a row; how sure it is that ``person`` is one, if they are given."""
        confidence = None if person is None else self._confidence(reader, person)
        found = cautions(model.card, scored, row, as_of, confidence)
        return Churn(scored.identities[row], model_id, as_of, scored, row, confidence, found)

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


def features_of(
    reader: Reader, model: PredictionModel, as_of: Instant, identities: Sequence[str] | None = None
) -> pa.Table:
    """The features of everybody who has bought anything by ``as_of``, or of those of these identities, as the model
    knows them: the table of :func:`onefold.ml.features.compute`."""
    orders, events = columns.orders(reader, as_of, identities), columns.events(reader, as_of, identities)
    return features.compute(orders, events, as_of, model.card.population)


def _block(model_id: str, model: PredictionModel, as_of: Instant, table: pa.Table, horizon_days: int | None) -> Block:
    scored = score(model, table, horizon_days, contributions=False)
    return Block(model_id, model, as_of, table, scored, *expected(model, table, scored.horizon_days))


def _nothing_bought(person: Revision) -> NotReady:
    return NotReady(f"identity {person.identity}", "has not bought anything yet, so nothing can be said")


def _next_products(
    reader: Reader, model: PredictionModel, identity: str, as_of: Instant, top: int
) -> tuple[NextProduct, ...] | None:
    if model.products is None:
        return None
    if not top:
        return ()
    lines = columns.lines(reader, as_of, [identity])
    found = recommend(model.products, lines, as_of, top=top, identities=[identity]).to_pylist()
    return tuple(NextProduct(row["product"], row["name"], row["score"], row["words"]) for row in found)


def known_until(reader: Reader, clock: Callable[[], Instant]) -> Instant | None:
    """Up to when purchases are known: just after the newest order, at most now. None where there is no order."""
    newest = newest_order(reader)
    return None if newest is None else min(newest + 1, clock())
