"""One read, answered: a statement sent by itself, tried again where that can help, its errors in the domain's words."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import neo4j
from neo4j.exceptions import DriverError, Neo4jError

from onefold.graph.errors import DeadlineExceeded, OnefoldError, Unavailable
from onefold.graph.policy import Policy
from onefold.graph.retry import is_retryable

ATTEMPTS: Final = 3
_PAUSE_S: Final = 0.05
_TIMED_OUT: Final = "TransactionTimedOut"


@dataclass(frozen=True, slots=True)
class Reader:
    """Everything that a read needs besides what is asked for."""

    driver: neo4j.Driver
    database: str
    policy: Policy

    def rows(self, text: str, /, *, seconds: float | None = None, **parameters: Any) -> list[neo4j.Record]:
        """All rows of one statement, which must only read.

        Raises DeadlineExceeded after ``seconds``, Unavailable when the engine can't be reached.
        """
        until = None if seconds is None else time.monotonic() + seconds
        for attempt in range(1, ATTEMPTS + 1):
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                break
            try:
                with self._session() as session:
                    return list(session.run(_query(text, left), parameters))
            except (DriverError, Neo4jError) as err:
                if _TIMED_OUT in (getattr(err, "code", None) or ""):
                    raise DeadlineExceeded("the deadline ran out before the graph answered") from err
                if not is_retryable(err):
                    raise
                if attempt == ATTEMPTS:
                    raise Unavailable("the graph engine can't be reached") from err
            time.sleep(_PAUSE_S)
        raise DeadlineExceeded("the deadline ran out before the graph answered")

    def answers(self, seconds: float) -> bool:
        """Whether the engine answers within ``seconds``, this account and database included."""
        try:
            self.rows("RETURN 1", seconds=seconds)
        except (OnefoldError, DriverError, Neo4jError):
            return False
        return True

    def stream(self, text: str, /, *, batch: int, **parameters: Any) -> Iterator[neo4j.Record]:
        """The rows of one statement as they come, ``batch`` of them at a time.

        Raises Unavailable when the engine can't be reached or goes away: what came before is no answer then.
        """
        try:
            with self._session(fetch_size=batch) as session:
                yield from session.run(text, parameters)
        except (DriverError, Neo4jError) as err:
            if not is_retryable(err):
                raise
            raise Unavailable("the graph engine can't be reached") from err

    def _session(self, fetch_size: int = -1) -> neo4j.Session:
        # A follower of a cluster that has not caught up with this process's own writes waits until it has.
        return self.driver.session(
            database=self.database,
            fetch_size=fetch_size,
            default_access_mode=neo4j.READ_ACCESS,
            bookmark_manager=self.driver.execute_query_bookmark_manager,
        )


def _query(text: str, seconds: float | None) -> str | neo4j.Query:
    return text if seconds is None else neo4j.Query(text, timeout=seconds)
