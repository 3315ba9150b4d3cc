"""``onefold cypher``: one statement on the graph that the service uses, rolled back unless it is to write.

The embedded engine does not enforce read-only sessions, so what was not asked to write runs in a transaction that is
never committed.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import date, datetime, time
from enum import StrEnum
from itertools import islice
from typing import Any, Final

import neo4j
import neo4j.spatial
import neo4j.time
from neo4j.exceptions import AuthError, ClientError, DriverError, Neo4jError
from neo4j.graph import Node, Path, Relationship
from rich.markup import escape

from onefold.graph.embedded import running
from onefold.graph.endpoint import Endpoint
from onefold.graph.errors import InvalidInput, NotReady, OnefoldError, Unavailable, Violation
from onefold.service.cli import terminal
from onefold.service.settings import Settings

SHOWN: Final = 100
"""Rows of a table, unless more are asked for."""

_SCHEMA = re.compile(
    r"^\s*(?:(?://[^\n]*\n|/\*.*?\*/)\s*)*(?:CREATE|DROP|ALTER|SHOW|GRANT|DENY|REVOKE|TERMINATE|START|STOP)\s+"
    r"(?:OR\s+REPLACE\s+)?(?:\w+\s+)?(?:CONSTRAINT|INDEX|DATABASE|USER|ROLE|ALIAS|SERVER|TRANSACTIONS?)\b",
    re.IGNORECASE | re.DOTALL,
)


_READ_ONLY: Final = "Neo.ClientError.Statement.AccessMode"


class Form(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def query(
    settings: Settings, statement: str, parameters: Mapping[str, Any], form: Form, limit: int, write: bool
) -> None:
    """Runs a statement and prints its rows. Raises InvalidInput for one that the engine does not take."""
    if not statement.strip():
        raise InvalidInput([Violation("STATEMENT", "is empty")])
    if not write and _SCHEMA.match(statement):
        raise InvalidInput([Violation("STATEMENT", "changes more than data, which can't be rolled back: add --write")])
    endpoint = _endpoint(settings)
    try:
        with ExitStack() as resources:
            driver = resources.enter_context(_driver(endpoint))
            access = neo4j.WRITE_ACCESS if write else neo4j.READ_ACCESS
            session = resources.enter_context(
                driver.session(database=endpoint.database or None, default_access_mode=access)
            )
            transaction = resources.enter_context(session.begin_transaction())
            result = transaction.run(statement, dict(parameters))
            _print(result, form, limit)
            counters = result.consume().counters
            if write:
                transaction.commit()
            else:
                transaction.rollback()
    except (Neo4jError, DriverError, OSError) as error:
        raise _meaning(error, endpoint) from error
    if write:
        terminal.note(_changes(counters))
    elif counters.contains_updates:
        terminal.note("The statement writes; nothing of it was kept. To keep it: --write")


def parse_parameter(text: str) -> tuple[str, Any]:
    """``name=value``, the value as JSON, or as the text that it is."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise InvalidInput([Violation("--param", f"should be name=value, and {text!r} is not")])
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def plain(value: Any) -> Any:
    """A value of a result as JSON has it: nodes and relationships as maps, times as ISO 8601."""
    match value:
        case Node():
            return {"labels": sorted(value.labels), "properties": plain(dict(value))}
        case Relationship():
            return {"type": value.type, "properties": plain(dict(value))}
        case Path():
            return [
                plain(part)
                for pair in zip(value.nodes, [*value.relationships, None], strict=True)
                for part in pair
                if part
            ]
        case dict():
            return {key: plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [plain(inner) for inner in value]
        case neo4j.time.DateTime() | neo4j.time.Date() | neo4j.time.Time() | neo4j.time.Duration():
            return value.iso_format()
        case datetime() | date() | time():
            return value.isoformat()
        case bytes() | bytearray():
            return value.hex()
        case None | bool() | int() | float() | str():
            return value
    return str(value)


def shown(value: Any) -> str:
    """A value as a person reads it in Cypher."""
    match value:
        case None:
            return "null"
        case str():
            return value
        case Node():
            return f"(:{':'.join(sorted(value.labels))} {_properties(value)})"
        case Relationship():
            return f"[:{value.type} {_properties(value)}]"
        case Path():
            steps = [shown(value.nodes[0])]
            for relationship, node in zip(value.relationships, value.nodes[1:], strict=True):
                forward = relationship.end_node == node
                steps += [f"-{shown(relationship)}->" if forward else f"<-{shown(relationship)}-", shown(node)]
            return "".join(steps)
        case bool() | int() | float():
            return json.dumps(value)
        case dict() | list():
            return json.dumps(plain(value), ensure_ascii=False)
    return str(plain(value))


def _properties(entity: Node | Relationship) -> str:
    return (
        "{"
        + ", ".join(f"{key}: {json.dumps(plain(value), ensure_ascii=False)}" for key, value in sorted(entity.items()))
        + "}"
    )


def _print(result: neo4j.Result, form: Form, limit: int) -> None:
    columns = result.keys()
    rows: Iterator[neo4j.Record] = islice(result, limit) if limit else iter(result)
    match form:
        case Form.JSON:
            for row in rows:
                print(json.dumps(dict(zip(columns, map(plain, row), strict=True)), ensure_ascii=False))
        case Form.CSV:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(columns)
            for row in rows:
                writer.writerow("" if value is None else shown(value) for value in row)
        case Form.TABLE:
            _print_table(list(columns), list(rows))
    if limit and result.peek() is not None:
        terminal.note(f"Only the first {limit:,} rows are shown; --limit N shows more, --limit 0 all.")


def _print_table(columns: list[str], rows: list[neo4j.Record]) -> None:
    if not rows:
        terminal.note("No rows.")
        return
    table = terminal.table([escape(column) for column in columns])
    for row in rows:
        table.add_row(*(escape(shown(value)) for value in row))
    terminal.out().print(table)


def _endpoint(settings: Settings) -> Endpoint:
    if settings.graph_uri is None:
        return running(settings.data_folder)
    password = settings.graph_password.get_secret_value() if settings.graph_password else ""
    return Endpoint(settings.graph_uri, settings.graph_user, password, settings.graph_database or "")


def _driver(endpoint: Endpoint) -> neo4j.Driver:
    return neo4j.GraphDatabase.driver(
        endpoint.uri,
        auth=(endpoint.user, endpoint.password) if endpoint.password else None,
        notifications_min_severity="OFF",
        telemetry_disabled=True,
        connection_timeout=10,
    )


def _meaning(error: Exception, endpoint: Endpoint) -> OnefoldError:
    if isinstance(error, AuthError):
        return NotReady(f"user {endpoint.user!r} at {endpoint.uri}", "user or password is not right")
    if isinstance(error, Neo4jError):
        words = (error.message or str(error)).strip().splitlines()[0]
        if error.code == _READ_ONLY:
            words += ": add --write"
        if isinstance(error, ClientError) or not error.is_retryable():
            return InvalidInput([Violation("STATEMENT", words)])
        return Unavailable(words)
    return Unavailable(f"the engine at {endpoint.uri} does not answer: {error}")


def _changes(counters: neo4j.SummaryCounters) -> str:
    names = ("nodes_created", "nodes_deleted", "relationships_created", "relationships_deleted", "properties_set")
    done = [f"{getattr(counters, name):,} {name.replace('_', ' ')}" for name in names if getattr(counters, name)]
    return ", ".join(done) or "Nothing was changed."
