"""``onefold features``: the catalogue as a table or a page, one feature in full, and the values of all identities."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from rich.markup import escape

from onefold.graph import columns
from onefold.graph.errors import InvalidInput, NotReady, Violation
from onefold.graph.model import Instant
from onefold.ml import features
from onefold.ml.catalogue import CATALOGUE, Feature, named
from onefold.segments import feature_page
from onefold.service import app
from onefold.service.cli import terminal
from onefold.service.cli.maintenance import reader_of, writer_at
from onefold.service.predictor import known_until
from onefold.service.settings import Settings


def list_all(as_json: bool, as_markdown: bool) -> None:
    """Prints the catalogue: a table, a JSON array, or the page in the documentation."""
    if as_markdown:
        print(feature_page.page(), end="")
        return
    if as_json:
        print(json.dumps([_data(feature) for feature in CATALOGUE], ensure_ascii=False))
        return
    table = terminal.table(("feature", "meaning", "unit", "type", "topic"))
    for feature in CATALOGUE:
        table.add_row(*map(escape, (feature.key, feature.meaning, feature.unit, feature.type, feature.topic)))
    terminal.out().print(table)


def show(key: str, as_json: bool) -> None:
    """Prints all there is to know about one feature. Raises NotFound, naming the nearest, for an unknown key."""
    data = _data(named(key))
    if as_json:
        print(json.dumps(data, ensure_ascii=False))
        return
    for name, value in data.items():
        terminal.out().print(f"[bold]{name.replace('_', ' '):<12}[/] {escape(value)}", soft_wrap=True)


def export(settings: Settings, path: Path, as_of: Instant | None, keys: Sequence[str]) -> None:
    """Writes the features of every identity with a purchase before ``as_of``, a row each, to a file.

    Without ``as_of`` they are as of the newest order. Raises InvalidInput for a file of another kind, NotFound for an
    unknown key, NotReady where nobody has bought anything.
    """
    write = _writer_of(path)
    chosen = ["identity", *([named(key).key for key in keys] or features.SCHEMA.names[1:])]
    with writer_at(settings) as writer, terminal.progress("reading the graph"):
        reader = reader_of(writer)
        until = known_until(reader, app.now) if as_of is None else as_of
        if until is None:
            raise NotReady("features", "there is no order in the graph")
        orders, events = columns.orders(reader, until), columns.events(reader, until)
    table = features.compute(orders, events, until, features.population(orders, until)).select(chosen)
    if not table.num_rows:
        raise NotReady("features", f"nobody had bought anything before {_iso(until)}")
    try:
        write(table, path)
    except OSError as error:
        raise InvalidInput([Violation("FILE", f"{path} can't be written: {error.strerror or error}")]) from error
    terminal.note(f"{path}: {len(chosen) - 1} features of {table.num_rows:,} identities as of {_iso(until)}")


def _data(feature: Feature) -> dict[str, str]:
    return {
        "key": feature.key,
        "meaning": feature.meaning,
        "unit": feature.unit,
        "type": feature.type,
        "topic": feature.topic,
        "source": feature.source,
        "formula": feature.formula,
        "as_of_rule": feature.as_of,
        "words": feature.words,
        "otherwise": feature.otherwise,
        "owner": feature.owner,
        "fingerprint": feature.fingerprint,
    }


def _iso(instant: Instant) -> str:
    return datetime.fromtimestamp(instant / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _write_json(table: pa.Table, path: Path) -> None:
    rows: list[dict[str, Any]] = table.to_pylist()
    lines = ",\n".join(map(json.dumps, rows))
    path.write_text(f"[\n{lines}\n]\n", "utf-8")


def _write_json_lines(table: pa.Table, path: Path) -> None:
    rows: list[dict[str, Any]] = table.to_pylist()
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")


def _write_csv(table: pa.Table, path: Path) -> None:
    pyarrow.csv.write_csv(table, path)


def _write_parquet(table: pa.Table, path: Path) -> None:
    pyarrow.parquet.write_table(table, path)


_WRITERS: Final[dict[str, Callable[[pa.Table, Path], None]]] = {
    ".csv": _write_csv,
    ".json": _write_json,
    ".jsonl": _write_json_lines,
    ".parquet": _write_parquet,
}


def _writer_of(path: Path) -> Callable[[pa.Table, Path], None]:
    if path.suffix.lower() not in _WRITERS:
        raise InvalidInput([Violation("FILE", f"{path} should end in one of {', '.join(_WRITERS)}")])
    return _WRITERS[path.suffix.lower()]
