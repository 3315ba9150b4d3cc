"""``onefold quality``: how good the data in the graph are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from onefold.graph import quality as tables
from onefold.graph.errors import InvalidInput, Violation
from onefold.graph.model import to_datetime
from onefold.segments.quality import RECENT_DAYS, Completeness, Quality, Reject, assess, samples
from onefold.service import app
from onefold.service.cli import terminal
from onefold.service.cli.maintenance import reader_of, writer_at
from onefold.service.importing.rejects import counted
from onefold.service.settings import Settings

_DAY: Final = 86_400_000


def quality(settings: Settings, rejects: Sequence[Path], for_scripts: bool, textfile: Path | None = None) -> None:
    """Prints how good the data in the graph are, with what these files of rejects hold; ``textfile`` becomes the same
    as metrics.

    Raises InvalidInput for a file that is none of rejects, and for a text file that can't be written.
    """
    refused = sum((counted(path) for path in rejects), Counter[tuple[str, str]]())
    with writer_at(settings) as writer, terminal.progress("reading the graph"):
        reader, now = reader_of(writer), app.now()
        records, links = tables.records(reader), tables.links(reader)
        said = tables.said(reader, now - RECENT_DAYS * _DAY)
    found = assess(records, links, said, (Reject(*why, count) for why, count in refused.items()), now)
    if textfile is not None:
        write_metrics(found, textfile)
    if for_scripts:
        print(as_json(found))
    else:
        render(found, terminal.out())


def as_json(found: Quality) -> str:
    """An object with all of it; a day as ISO 8601, an instant in milliseconds."""
    return json.dumps(asdict(found), ensure_ascii=False, default=str)


def write_metrics(found: Quality, path: Path) -> None:
    """Writes the gauges as a file for the text file collector of Prometheus's node exporter, which never reads half of
    one. Raises InvalidInput when it can't be written."""
    registry, gauges = CollectorRegistry(), dict[str, Gauge]()
    for sample in samples(found):
        if sample.name not in gauges:
            gauges[sample.name] = Gauge(sample.name, sample.help, sorted(sample.labels), registry=registry)
        gauges[sample.name].labels(**sample.labels).set(sample.value)
    try:
        write_to_textfile(str(path), registry)
    except OSError as error:
        raise InvalidInput([Violation("--textfile", f"{path} can't be written: {error.strerror}")]) from error


def render(found: Quality, console: Console) -> None:
    """Prints it, section by section; one that has nothing to say is left out."""
    day = f"{to_datetime(found.as_of):%Y-%m-%d %H:%M} UTC"
    console.print(f"People whom records describe: {found.everybody.of:,}, as of {day}", soft_wrap=True)
    for title, shown in (
        ("How much is known (share of people, and of each source's records)", _completeness(found)),
        ("How fresh it is", _freshness(found)),
        ("People whom a source has more than once", _duplicates(found)),
        ("Where records of one person differ", _conflicts(found)),
        ("New identifiers in the last whole week", _drifts(found)),
        ("What was not taken", _rejects(found)),
    ):
        if shown.row_count:
            console.print(f"\n[bold]{title}[/]", soft_wrap=True)
            console.print(shown)


def _completeness(found: Quality) -> Table:
    all_known: tuple[Completeness, ...] = (found.everybody, *found.sources)
    table = terminal.table(("", "everybody", *(escape(known.source) for known in found.sources)))
    for trait in found.everybody.known:
        if any(known.known[trait] for known in all_known):
            table.add_row(_plain(trait), *(f"{known.known[trait]:.0%}" for known in all_known))
    if found.sources:
        table.add_row("all traits", *(f"{known.mean:.0%}" for known in all_known))
    return table


def _freshness(found: Quality) -> Table:
    table = terminal.table(("source", "sends", "items", f"last {RECENT_DAYS} days", "newest"))
    for one in found.freshness:
        table.add_row(
            escape(one.source), f"{one.what}s", f"{one.items:,}", f"{one.recent:,}", f"{_ago(one.age_days)} ago"
        )
    return table


def _duplicates(found: Quality) -> Table:
    table = terminal.table(("source", "records", "people", "one too many"))
    for one in found.duplicates:
        if one.records > one.people:
            table.add_row(escape(one.source), f"{one.records:,}", f"{one.people:,}", f"{one.share:.1%}")
    return table


def _conflicts(found: Quality) -> Table:
    table = terminal.table(("trait", "people with two values or more", "that differ", "share"))
    for one in found.conflicts:
        if one.conflicting:
            table.add_row(_plain(one.trait), f"{one.people:,}", f"{one.conflicting:,}", f"{one.share:.1%}")
    return table


def _drifts(found: Quality) -> Table:
    table = terminal.table(("source", "kind", "last week", "usual", ""))
    for one in found.drifts:
        if one.usual is None or one.deviation is None:
            continue
        words = f"{one.deviation:+.1f} standard deviations"
        last = f"{one.weeks[-1].identifiers:,}"
        shown = f"[red]{words}[/]" if one.is_far else words
        table.add_row(escape(one.source), escape(one.kind), last, f"{one.usual:,.0f}", shown)
    return table


def _rejects(found: Quality) -> Table:
    table = terminal.table(("refused by", "reason", "rows"))
    for one in found.rejects:
        table.add_row(escape(one.by), escape(one.reason), f"{one.count:,}")
    return table


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _ago(days: float) -> str:
    if days >= 2:
        return f"{days:,.0f} days"
    return f"{days * 24:.0f} hours"
