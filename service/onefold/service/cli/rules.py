"""``onefold rule``: what a rule says and reads, what it is in SQL and in Cypher, and what it comes to for a person."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import grpc
from google.protobuf.json_format import MessageToDict
from rich.markup import escape

from onefold.graph.errors import InvalidInput, Violation
from onefold.graph.model import Instant
from onefold.segments import catalogue, statement
from onefold.segments.catalogue import examples
from onefold.segments.check import Rule, check
from onefold.segments.evaluate import Explanation, explain
from onefold.segments.problems import InvalidRule, Problem
from onefold.segments.reads import reads
from onefold.segments.vocabulary import shipped
from onefold.service import client
from onefold.service.cli import terminal
from onefold.v1 import segment_service_pb2 as pb
from onefold.v1 import segment_service_pb2_grpc


def check_text(text: str, now: Instant, as_json: bool) -> int:
    """Says what a rule comes to, with its twins as of ``now``, or shows each place that is wrong; gives the exit code.

    Features are those that come with Onefold; any label and any segment may be asked for.
    """
    try:
        rule = check(text, shipped())
    except InvalidRule as error:
        terminal.err().print(escape(error.shown()), soft_wrap=True)
        return terminal.EXIT_INVALID
    _print(_data(rule, now), as_json)
    return 0


def check_in_force(channel: grpc.Channel, text: str, as_json: bool) -> int:
    """The same by the catalogue in force and the segments that there are, with its twins as of the newest frame."""
    try:
        said = segment_service_pb2_grpc.SegmentServiceStub(channel).ParseRule(pb.ParseRuleRequest(text=text))
    except grpc.RpcError as error:
        raise client.error_of(error) from error
    if said.problems:
        problems = [Problem((each.start, each.end), each.message) for each in said.problems]
        terminal.err().print(escape(InvalidRule(text, problems).shown()), soft_wrap=True)
        return terminal.EXIT_INVALID
    told = MessageToDict(said, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    _print({"rule": told.pop("text")} | {name: told[name] for name in _TOLD if name in told}, as_json)
    return 0


_TOLD: Final = (
    "features",
    "labels",
    "segments",
    "duckdb_where",
    "duckdb_parameters",
    "cypher_where",
    "cypher_parameters",
)


def explain_for(text: str, row_text: str, path: Path | None, now: Instant, as_json: bool) -> int:
    """Says what a rule comes to for one person, clause by clause, or where it is wrong; gives the exit code.

    ``row_text`` is JSON: values by feature, and under ``labels`` and ``segments`` what the person has. Raises
    InvalidInput for a row that does not fit the features, and InvalidCatalogue.
    """
    known = catalogue.load(path).vocabulary
    try:
        rule = check(text, known)
    except InvalidRule as error:
        terminal.err().print(escape(error.shown()), soft_wrap=True)
        return terminal.EXIT_INVALID
    try:
        explanation = explain(rule, examples.row_of(json.loads(row_text), known, now), now)
    except ValueError as error:
        raise InvalidInput([Violation("ROW", str(error))]) from error
    if as_json:
        print(json.dumps(_explained(explanation), ensure_ascii=False))
        return 0
    terminal.out().print(f"[bold]{examples.truth_word(explanation.truth)}[/]  {escape(rule.text)}", soft_wrap=True)
    table = terminal.table(("clause", "is", "for"))
    for clause in explanation.clauses:
        said = (clause.text, examples.truth_word(clause.truth), examples.values_said(clause, rule))
        table.add_row(*map(escape, said))
    terminal.out().print(table)
    return 0


def _explained(explanation: Explanation) -> dict[str, object]:
    clauses = [
        {"clause": each.text, "truth": examples.truth_word(each.truth), "values": dict(each.values)}
        for each in explanation.clauses
    ]
    return {"truth": examples.truth_word(explanation.truth), "clauses": clauses}


def text_in(path: Path) -> str:
    """The text of a file. Raises InvalidInput where there is none."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput([Violation("--file", f"{path} can't be read as text")]) from error


def _print(data: Mapping[str, object], as_json: bool) -> None:
    if as_json:
        print(json.dumps(data, ensure_ascii=False))
        return
    for name, value in data.items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        terminal.out().print(f"[bold]{name.replace('_', ' '):<18}[/] {escape(shown)}", soft_wrap=True)


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
