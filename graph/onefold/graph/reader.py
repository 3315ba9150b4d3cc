"""One read, answered: a statement sent by itself, tried again where that can help, its errors in the domain's words."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import neo4j
from neo4j.exceptions import DriverError, Neo4jError

from onefold.graph import bounded
from onefold.graph.errors import DeadlineExceeded, OnefoldError, Unavailable
from onefold.graph.policy import Policy
from onefold.graph.retry import is_retryable

ATTEMPTS: Final = 3
_PAUSE_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Reader:
    """Everything that a read needs besides what is asked for."""

    driver: neo4j.Driver
    database: str
    policy: Policy
    until: float | None = None
    """On the monotonic clock: when whoever asks has gone. None if they wait for ever."""

    def within(self, seconds: float | None) -> Reader:
        """The same for one question, all of whose statements together may take ``seconds``; None sets no limit."""
        if seconds is None:
            return self
        until = time.monotonic() + seconds
        return replace(self, until=until if self.until is None else min(until, self.until))

    def left(self) -> float | None:
        """How many seconds there still are; None for any number. Raises DeadlineExceeded when there are none."""
        if self.until is None:
            return None
        left = self.until - time.monotonic()
        if left <= 0:
            raise _too_late()
        return left

    def rows(self, text: str, /, **parameters: Any) -> list[neo4j.Record]:
        """All rows of one statement, which must only read.

        Raises DeadlineExceeded when the time is over, Unavailable when the engine can't be reached.
        """
        for attempt in range(1, ATTEMPTS + 1):
            left = self.left()
            try:
                with self._session() as session:
                    return list(session.run(_query(text, left), parameters))
            except (DriverError, Neo4jError) as err:
                if bounded.ran_out(err, self.until):
                    raise _too_late() from err
                if not is_retryable(err):
                    raise
                if attempt == ATTEMPTS:
                    raise Unavailable("the graph engine can't be reached") from err
            time.sleep(_PAUSE_S)
        raise AssertionError("the last attempt has returned or raised")

    def answers(self, seconds: float) -> bool:
        """Whether the engine answers within ``seconds``, this account and database included."""
        try:
            self.within(seconds).rows("RETURN 1")
        except (OnefoldError, DriverError, Neo4jError):
            return False
        return True

    def stream(self, text: str, /, *, batch: int, **parameters: Any) -> Iterator[neo4j.Record]:
        """The rows of one statement as they come, ``batch`` of them at a time.

        Raises DeadlineExceeded when the time is over, Unavailable when the engine can't be reached or goes away: what
        came before is no answer then.
        """
        try:
            with self._session(fetch_size=batch) as session:
                yield from session.run(_query(text, self.left()), parameters)
        except (DriverError, Neo4jError) as err:
            if bounded.ran_out(err, self.until):
                raise _too_late() from err
            if not is_retryable(err):
                raise
            raise Unavailable("the graph engine can't be reached") from err

    def _session(self, fetch_size: int = -1) -> neo4j.Session:
        return bounded.session(
            self.driver, self.database, self.until, fetch_size=fetch_size, default_access_mode=neo4j.READ_ACCESS
        )


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("the deadline ran out before the graph answered")


def _query(text: str, seconds: float | None) -> str | neo4j.Query:
    return text if seconds is None else neo4j.Query(text, timeout=seconds)
