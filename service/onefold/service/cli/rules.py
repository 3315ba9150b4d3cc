"""``onefold rule``: what a rule says, what it reads, and what it is in SQL and in Cypher."""

from __future__ import annotations

import json
from pathlib import Path

from rich.markup import escape

from onefold.graph.errors import InvalidInput, Violation
from onefold.graph.model import Instant
from onefold.segments import statement
from onefold.segments.check import Rule, check
from onefold.segments.problems import InvalidRule
from onefold.segments.reads import reads
from onefold.segments.vocabulary import shipped
from onefold.service.cli import terminal


def check_text(text: str, now: Instant, as_json: bool) -> int:
    """Says what a rule comes to, with its twins as of ``now``, or shows each place that is wrong; gives the exit code.

    Features are those that come with Onefold; any label and any segment may be asked for.
    """
    try:
        rule = check(text, shipped())
    except InvalidRule as error:
        terminal.err().print(escape(error.shown()), soft_wrap=True)
        return terminal.EXIT_INVALID
    data = _data(rule, now)
    if as_json:
        print(json.dumps(data, ensure_ascii=False))
        return 0
    for name, value in data.items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        terminal.out().print(f"[bold]{name.replace('_', ' '):<18}[/] {escape(shown)}", soft_wrap=True)
    return 0


def text_in(path: Path) -> str:
    """The text of a file. Raises InvalidInput where there is none."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput([Violation("--file", f"{path} can't be read as text")]) from error


def _data(rule: Rule, now: Instant) -> dict[str, object]:
    read = reads(rule.tree)
    duckdb, cypher = statement.duckdb(rule, now), statement.cypher(rule, now)
    return {
        "rule": rule.text,
        "features": {feature.key: feature.type for feature in rule.features.values()},
        "labels": [name.key for name in read.named if name.kind == "label"],
        "segments": [name.key for name in read.named if name.kind == "segment"],
        "duckdb_where": duckdb.text,
        "duckdb_parameters": duckdb.parameters,
        "cypher_where": cypher.text,
        "cypher_parameters": cypher.parameters,
    }
