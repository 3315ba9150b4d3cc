"""Which of the driver's errors say that the same again may succeed."""

from __future__ import annotations

from typing import Final

from neo4j.exceptions import DriverError, Neo4jError

_GONE: Final = "Neo.ClientError.Statement.EntityNotFound"


def is_retryable(err: DriverError | Neo4jError) -> bool:
    """Whether to try again: what the driver says, and a link or node that another transaction deleted between being
    found and being read, which no engine hides from those who read what is committed."""
    return err.is_retryable() or getattr(err, "code", None) == _GONE
