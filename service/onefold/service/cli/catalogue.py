"""``onefold catalogue``: check a file, compare two, show what is defined, print the schema."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from rich.markup import escape
from rich.table import Table

from onefold.segments import catalogue
from onefold.segments.catalogue import Catalogue, Ladder, Layer, Outcome, Status, difference, static
from onefold.segments.catalogue.difference import Change, Kind
from onefold.service.cli import terminal

_SHIPPED: Final = "the catalogue that comes with Onefold"


def check(path: Path | None, as_json: bool) -> int:
    """Says what a catalogue comes to, layer by layer, and asks its tests; the exit code says whether all hold.

    Raises InvalidCatalogue, with the line and column of all that is wrong.
    """
    known = catalogue.load(path)
    lists = static.records(known, path.parent) if path else {}
    outcomes = catalogue.outcomes(known)
    if as_json:
        print(json.dumps(_checked(known, lists, outcomes), ensure_ascii=False))
    else:
        _print_checked(str(path) if path else _SHIPPED, known, lists, outcomes)
    return 0 if all(outcome.holds for outcome in outcomes) else terminal.EXIT_FAILED


def compare(old: Path, new: Path, as_json: bool) -> None:
    """Says what the new catalogue changes, and which labels and segments it touches. Raises InvalidCatalogue."""
    changes = difference.diff(catalogue.load(old), catalogue.load(new))
    if as_json:
        print(json.dumps([_change_data(change) for change in changes], ensure_ascii=False))
        return
    out = terminal.out()
    if not changes:
        out.print("Both say the same.")
    for change in changes:
        out.print(f"{_SIGNS[change.kind]} [bold]{escape(change.of)}[/] {escape(change.words)}", soft_wrap=True)
        if change.touches:
            out.print(f"  [dim]touches {escape(', '.join(map(str, change.touches)))}[/]", soft_wrap=True)
        if change.doubt:
            out.print(f"  [yellow]look again[/]  {escape(change.doubt)}", soft_wrap=True)


def show(path: Path | None, key: str, as_json: bool) -> None:
    """Prints all that is defined, or one label, ladder, segment or feature in full.

    Raises InvalidCatalogue, and NotFound, naming the nearest, for an unknown key.
    """
    known = catalogue.load(path)
    if not key:
        _show_all(known, as_json)
        return
    defined = catalogue.named(known, key)
    data = {"key": key, **catalogue.definition(defined)}
    if as_json:
        print(json.dumps(data, ensure_ascii=False))
        return
    out = terminal.out()
    for name, value in data.items():
        if name != "of":
            out.print(f"[bold]{name.replace('_', ' '):<14}[/] {escape(str(value))}", soft_wrap=True)
    for tier in defined.tiers if isinstance(defined, Ladder) else ():
        out.print(f"[bold]{tier.key:<14}[/] {escape(tier.rule.text)}", soft_wrap=True)
        out.print(f"{'':<14} [dim]{escape(tier.description)}[/]", soft_wrap=True)


def schema() -> None:
    """Prints the JSON schema of a catalogue's file."""
    print(json.dumps(catalogue.schema(), indent=2, ensure_ascii=False))


_SIGNS: Final = {
    Kind.ADDED: "[green]+[/]",
    Kind.ACTIVATED: "[green]+[/]",
    Kind.DROPPED: "[red]-[/]",
    Kind.RETIRED: "[red]-[/]",
    Kind.CHANGED: "[yellow]~[/]",
    Kind.DESCRIBED: "[dim]~[/]",
}


def _print_checked(
    name: str, known: Catalogue, lists: Mapping[str, Sequence[str]], outcomes: Sequence[Outcome]
) -> None:
    out = terminal.out()
    amiss = [outcome for outcome in outcomes if not outcome.holds]
    word = "[red]amiss[/]" if amiss else "[green]ok[/]"
    tests = f"{len(amiss)} of {len(outcomes)} tests fail" if amiss else f"{len(outcomes)} tests hold"
    segments = f"{len(known.segments)} segments, {len(known.features)} custom features, {len(known.windows)} windows"
    out.print(f"{word}  {escape(name)}: version {known.version}, {segments}; {tests}", soft_wrap=True)
    out.print(_layers(known))
    for key, records in lists.items():
        out.print(f"segment {escape(key)} lists {len(records):,} records", soft_wrap=True)
    for outcome in amiss:
        out.print(f"[red]fails[/]  {escape(outcome.example.place)}: {escape(outcome.words)}", soft_wrap=True)


def _layers(known: Catalogue) -> Table:
    table = terminal.table(("layer", "labels", "of them tiers", *(s for s in Status if s is not Status.ACTIVE)))
    for layer in Layer:
        labels = [label for label in known.labels.values() if label.layer is layer]
        by_status = Counter(label.status for label in labels)
        tiers = sum(bool(label.ladder) for label in labels)
        others = (by_status[status] for status in Status if status is not Status.ACTIVE)
        table.add_row(layer, *map(str, (len(labels), tiers, *others)))
    return table


def _checked(known: Catalogue, lists: Mapping[str, Sequence[str]], outcomes: Sequence[Outcome]) -> dict[str, object]:
    layers = Counter(label.layer.value for label in known.labels.values())
    return {
        "version": known.version,
        "labels": {layer.value: layers[layer.value] for layer in Layer},
        "ladders": len(known.ladders),
        "segments": len(known.segments),
        "records": {key: len(records) for key, records in lists.items()},
        "tests": len(outcomes),
        "failures": [{"field": each.example.place, "words": each.words} for each in outcomes if not each.holds],
    }


def _change_data(change: Change) -> dict[str, object]:
    return {
        "kind": change.kind.value,
        "of": change.of,
        "words": change.words,
        "touches": [str(name) for name in change.touches],
        "doubt": change.doubt,
    }


def _show_all(known: Catalogue, as_json: bool) -> None:
    if as_json:
        print(json.dumps(catalogue.as_data(known), ensure_ascii=False))
        return
    table = terminal.table(("layer", "label", "who has it", "status", "owner"))
    for layer in Layer:
        for label in known.labels.values():
            if label.layer is layer:
                row = (layer, label.key, label.description or label.rule.text, label.status, label.owner)
                table.add_row(*map(escape, row))
    for segment in known.segments.values():
        said = segment.description or (segment.rule.text if segment.rule else f"the list {segment.records_file}")
        table.add_row("segment", *map(escape, (segment.key, said, "", segment.owner)))
    terminal.out().print(table)
