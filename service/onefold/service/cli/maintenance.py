"""``onefold verify`` and ``onefold rebuild``: the whole graph held against its evidence, and brought to what that says.

Both go to the graph itself, as the service does, with the service's settings; the service may run meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Final

from rich.markup import escape
from rich.progress import Progress as Bars

from onefold.graph import policy, schema
from onefold.graph.audit import list_decisions
from onefold.graph.bulk.changes import Changes
from onefold.graph.embedded import holds_graph
from onefold.graph.errors import Conflict, InvalidInput, OnefoldError, Violation
from onefold.graph.ingest import Writer
from onefold.graph.probe import probe
from onefold.graph.reader import Reader
from onefold.graph.rebuild import Rebuilt, foresee, rebuild
from onefold.graph.scan import Progress
from onefold.graph.turns import turns_at
from onefold.graph.verify import Examination, Finding, examine
from onefold.service import app
from onefold.service.cli import terminal
from onefold.service.cli.serving import running_engine
from onefold.service.settings import Settings

EXIT_DIFFERS: Final = 1
EXIT_NOT_LOOKED: Final = 2


def verify(settings: Settings, limit: int, as_json: bool) -> int:
    """Says whether the graph is as its evidence and its log say: 0 if so, 1 if not, 2 when that can't be told."""
    try:
        with writer_at(settings) as writer:
            reader = reader_of(writer)
            _tell_policy(reader)
            with terminal.progress("reading the graph") as bars:
                found = examine(reader, limit, _shown(bars), _shown(bars, "reading the log"))
    except OnefoldError as error:
        terminal.fail(error)
        return EXIT_NOT_LOOKED
    if as_json:
        print(json.dumps({"policy": writer.policy.version, **asdict(found)}))
    else:
        _tell_examination(found, writer.policy.version)
    return EXIT_DIFFERS if found.differences or found.log.fault else 0


def rebuild_graph(settings: Settings, dry_run: bool, limit: int, as_json: bool) -> int:
    """Decides again what is not as the policy says, or says what that would change; 1 if anything is left."""
    with writer_at(settings) as writer:
        reader = reader_of(writer)
        _tell_policy(reader)
        if dry_run:
            with terminal.progress("reading the graph") as bars:
                changes, finding = foresee(reader, _shown(bars))
            _report_changes(changes, finding, as_json)
            return 0
        schema.ensure(writer.driver, writer.database)
        with terminal.progress("reading the graph") as bars:
            rebuilt = rebuild(writer, _shown(bars), _shown(bars, "deciding records again"), limit)
    _report_rebuilt(rebuilt, writer.policy.version, as_json)
    return EXIT_DIFFERS if rebuilt.finding.differences else 0


@contextmanager
def writer_at(settings: Settings) -> Iterator[Writer]:
    """What writes to the graph of these settings as a service would; the embedded engine is started if none runs."""
    rules = policy.load(settings.policy_file)
    if settings.embedded and not holds_graph(settings.data_folder):
        raise _no_graph(settings)
    with ExitStack() as resources:
        endpoint = running_engine(settings) or app.endpoint(settings, resources)
        known = probe(endpoint).schema_version
        if not known:
            raise _no_graph(settings)
        if known > schema.VERSION:
            raise Conflict(
                f"the graph has schema version {known}, this Onefold knows up to {schema.VERSION}: upgrade it"
            )
        driver, database = app.connect(endpoint, resources)
        yield Writer(driver, database, rules, app.now, app.new_id, turns_at(endpoint))


def _no_graph(settings: Settings) -> InvalidInput:
    field, place = ("--data-folder", settings.data_folder) if settings.embedded else ("graph_uri", settings.graph_uri)
    return InvalidInput([Violation(field, f"there is no graph in {place}")])


def reader_of(writer: Writer) -> Reader:
    """A reader of the same graph, by the same rules."""
    return Reader(writer.driver, writer.database, writer.policy)


def _tell_policy(reader: Reader) -> None:
    """Say so if the newest decision went by other rules than ours."""
    newest = list_decisions(reader, size=1).items
    if newest and newest[0].policy_version != reader.policy.version:
        terminal.note(
            f"The newest decision was made by policy {newest[0].policy_version}; this looks by"
            f" {reader.policy.version}, and so must every service that writes (ONEFOLD_POLICY_FILE)."
        )


def _shown(bars: Bars, doing: str = "reading the graph") -> Progress:
    def show(done: int, total: int) -> None:
        for task in bars.task_ids:
            bars.update(task, description=doing, completed=done, total=total, said=f"{done:,} of {total:,}")

    return show


def _tell_examination(found: Examination, version: str) -> None:
    console = terminal.out()
    for count, what in (
        (found.records, "records"),
        (found.identifiers, "identifiers"),
        (found.identities, "identities"),
    ):
        console.print(f"{count:>15,} {what:<12} held against all evidence, by policy {version}", soft_wrap=True)
    console.print(f"{found.log.decisions:>15,} {'decisions':<12} sealed as they were written", soft_wrap=True)
    if found.log.fault:
        console.print(f"[bold red]the log[/]: {escape(found.log.fault)}", soft_wrap=True)
    _tell_differences(found.differences, found.more)
    if not found.differences and not found.log.fault:
        console.print("[green]Nothing differs.[/]")


def _tell_differences(differences: Sequence[str], more: int) -> None:
    console = terminal.out()
    for difference in differences:
        console.print(f"[bold red]differs[/]: {escape(difference)}", soft_wrap=True)
    if more:
        console.print(f"… and up to {more:,} more; --limit N names more of them")


def _report_changes(changes: Changes, finding: Finding, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(changes)))
        return
    console = terminal.out()
    if not finding.differences:
        console.print("Nothing would change.")
        return
    console.print(
        f"{changes.merged:,} identities would merge into others, {changes.split:,} would split;"
        f" {changes.moved:,} records would come to another identity",
        soft_wrap=True,
    )
    console.print(
        f"{changes.shared:,} identifiers would become shared, {changes.unshared:,} would be shared no longer",
        soft_wrap=True,
    )
    terminal.note("Nothing was changed: this was a dry run.")


def _report_rebuilt(rebuilt: Rebuilt, version: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"policy": version, "decided": rebuilt.decided, **asdict(rebuilt.finding)}))
        return
    terminal.out().print(
        f"{rebuilt.decided:,} of {rebuilt.finding.records:,} records were decided again, by policy {version}",
        soft_wrap=True,
    )
    _tell_differences(rebuilt.finding.differences, rebuilt.finding.more)
    if not rebuilt.finding.differences:
        terminal.out().print("[green]Nothing differs.[/]")
