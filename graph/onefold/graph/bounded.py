"""Sessions that end at a deadline, whatever the engine does.

A statement's time limit is for the engine to keep, and one that hangs keeps none: the driver would wait for its answer
as long as the connection stands. Here each connection has a deadline for as long as a session holds it. Once that has
passed, whatever waits to send or to receive fails as if the connection had broken, and the connection is closed.

The driver has such deadlines, and sets them while it connects, but gives no public way to set them for what follows:
this module is the one place that reaches below its surface (``tests/contract/test_deadlines.py`` holds it to that).
"""

from __future__ import annotations

import copy
import time
from typing import Any, Final

import neo4j
from neo4j.exceptions import DriverError, Neo4jError

_TIMED_OUT: Final = "TransactionTimedOut"


def session(driver: neo4j.Driver, database: str, until: float | None, **config: Any) -> neo4j.Session:
    """A session as the driver's own, which ends at ``until`` on the monotonic clock; by itself never if that is None.

    A follower of a cluster that has not caught up with this process's own writes waits until it has.
    """
    if until is not None:
        config["connection_acquisition_timeout"] = max(0.001, until - time.monotonic())
    made = driver.session(database=database, bookmark_manager=driver.execute_query_bookmark_manager, **config)
    if until is not None:
        made._pool = _bounded(made._pool, until)
    return made


def ran_out(error: DriverError | Neo4jError, until: float | None) -> bool:
    """Whether that is how the end of the time shows: the engine says so, or the connection is no more."""
    if isinstance(error, Neo4jError):
        return _TIMED_OUT in (error.code or "")
    return until is not None and time.monotonic() >= until


def _bounded(pool: Any, until: float) -> Any:
    """The same pool, but what it hands out has a deadline until it is given back."""
    bounded = copy.copy(pool)

    def acquire(*args: Any, **kwargs: Any) -> Any:
        connection = pool._acquire(*args, **kwargs)
        connection.pool = bounded
        left = max(0.0, until - time.monotonic())
        connection.socket.set_read_deadline(left)
        connection.socket.set_write_deadline(left)
        return connection

    def release(*connections: Any) -> None:
        for connection in connections:
            if not connection.is_reset:
                connection.kill()  # to clean it up is to wait for the engine
            connection.socket.set_read_deadline(None)
            connection.socket.set_write_deadline(None)
        pool.release(*connections)

    def deactivate(address: Any) -> None:
        # That one answer was late says nothing about the other connections there.
        if time.monotonic() < until:
            pool.deactivate(address)

    bounded._acquire, bounded.release, bounded.deactivate = acquire, release, deactivate
    return bounded
