"""Health follows the graph: while it does not answer, nobody should be sent here."""

from __future__ import annotations

import threading
from typing import Final, Self

import structlog

from onefold.graph.reader import Reader
from onefold.service.server import Server

LOOK_SECONDS: Final = 0.5
_PATIENCE_SECONDS: Final = 3.0

log = structlog.get_logger("onefold.readiness")


class Readiness:
    """Makes the server not ready when the graph stops answering, and ready when it answers again. A context manager.

    It only tells of changes: who started the server says first that it is ready.
    """

    def __init__(self, reader: Reader, server: Server) -> None:
        self._reader = reader
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="onefold-readiness", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        answered = True
        while not self._over.wait(LOOK_SECONDS):
            try:
                answers = self._reader.answers(_PATIENCE_SECONDS)
                if answers != answered:
                    (log.info if answers else log.error)("the graph answers again" if answers else "the graph is gone")
                    self._server.set_ready(answers)
                    answered = answers
            except Exception:
                log.exception("a look at the graph has failed")  # the next one may not
