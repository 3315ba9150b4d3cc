"""Where a graph engine answers: all that the store needs to know of one."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A Bolt address with the account and database to use there."""

    uri: str
    """``bolt://host:port`` for one engine, ``neo4j://host:port`` for a routed cluster; ``+s`` for TLS."""
    user: str
    password: str = field(repr=False)
    database: str
    turns: str = ""
    """The file at which writers take turns, on an engine of this machine that needs that; empty for none."""
