"""The service's own work by the clock: it ends bans whose time is over, forgets old answers, and scores anew whom a
merge or a split has touched."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Self

import structlog
from neo4j.exceptions import DriverError, Neo4jError

from onefold.graph.errors import NotReady, OnefoldError
from onefold.graph.ingest import Batch, Writer
from onefold.graph.lane import WriterLanes
from onefold.graph.model import Instant
from onefold.graph.reader import Reader
from onefold.graph.upkeep import due_bans, forget_answers
from onefold.service.scoring import Rescorer

LOOK_SECONDS: Final = 1.0
_FORGET_SECONDS: Final = 600.0
_PATIENCE_SECONDS: Final = 60.0
_RESCORE_SECONDS: Final = 5.0
_DAY: Final = 86_400_000

log = structlog.get_logger("onefold.upkeep")


class Upkeep:
    """A thread that looks once a second for what is due. A context manager.

    Every replica may do it: what another one has done already changes nothing.
    """

    def __init__(
        self,
        writer: Writer,
        lanes: WriterLanes,
        reader: Reader,
        clock: Callable[[], Instant],
        answer_days: int,
        rescorer: Rescorer | None = None,
    ) -> None:
        """``answer_days`` is how long the answers to request ids are kept."""
        self._writer = writer
        self._lanes = lanes
        self._reader = reader
        self._clock = clock
        self._answer_days = answer_days
        self._forgot_at = time.monotonic()
        self._rescorer = rescorer
        self._rescored_at = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="onefold-upkeep", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            try:
                self._end_bans()
                self._forget()
                self._rescore()
            except (OnefoldError, DriverError, Neo4jError) as err:
                # It stays due; readiness tells when the graph is gone.
                log.warning("upkeep is put off", why=type(err).__name__)
            except Exception:
                log.exception("upkeep has failed")  # it stays due, and bans must not hold for ever for one error

    def _end_bans(self) -> None:
        due = due_bans(self._reader.within(_PATIENCE_SECONDS), self._clock())
        if due:
            self._lanes.submit(Batch(due), _PATIENCE_SECONDS).result()
            log.info("bans have ended", bans=len(due))

    def _forget(self) -> None:
        if time.monotonic() - self._forgot_at < _FORGET_SECONDS:
            return
        self._forgot_at = time.monotonic()
        before = self._clock() - self._answer_days * _DAY
        if forgotten := forget_answers(self._writer.driver, self._writer.database, before, seconds=_PATIENCE_SECONDS):
            log.info("old answers are forgotten", answers=forgotten)

    def _rescore(self) -> None:
        if self._rescorer is None or time.monotonic() - self._rescored_at < _RESCORE_SECONDS:
            return
        try:
            scored = self._rescorer.look(_PATIENCE_SECONDS)
        except NotReady:  # no model has been trained yet, or it is refused: those who ask are told
            return
        finally:
            self._rescored_at = time.monotonic()
        if scored.run is not None:
            log.info("identities were scored anew", scored=scored.written, cleared=scored.cleared)
