"""``onefold segment`` and ``onefold insight``: segments, who is in them and why, what they are like, what they did, and
who comes and goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict, MessageToJson
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.markup import escape
from rich.text import Text

from onefold.graph.errors import InvalidInput, OnefoldError, Violation
from onefold.segments.catalogue import parse, static
from onefold.segments.insight import report
from onefold.service import client, convert
from onefold.service.cli import insight, terminal
from onefold.v1 import identity_pb2, segment_service_pb2_grpc
from onefold.v1 import segment_service_pb2 as pb

_FORMATS: Final = {
    ".csv": pb.EXPORT_FORMAT_CSV,
    ".parquet": pb.EXPORT_FORMAT_PARQUET,
    ".jsonl": pb.EXPORT_FORMAT_JSONL,
}
_BALANCE_SHOWN: Final = 5
_TRUTHS: Final = {pb.TRUTH_TRUE: "[green]true[/]", pb.TRUTH_FALSE: "[red]false[/]", pb.TRUTH_UNKNOWN: "[yellow]open[/]"}
_SIGNS: Final = {pb.SEGMENT_CHANGE_KIND_ENTERED: ("+", "green"), pb.SEGMENT_CHANGE_KIND_LEFT: ("-", "red")}


def group_of(segment: str, rule: str) -> pb.Group:
    """A segment by its key, or a rule. Raises InvalidInput unless it is one of them."""
    if bool(segment) == bool(rule):
        raise InvalidInput([Violation("SEGMENT", "give a segment's key, or a --rule")])
    return pb.Group(segment=segment) if segment else pb.Group(rule=rule)


def list_all(channel: grpc.Channel, as_json: bool) -> None:
    """Prints every segment, by key."""
    found: list[pb.Segment] = []
    token = ""
    with _meant():
        while True:
            page = _stub(channel).ListSegments(pb.ListSegmentsRequest(page_size=500, page_token=token))
            found += page.segments
            token = page.next_page_token
            if not token:
                break
    if as_json:
        for segment in found:
            print(_json(segment))
        return
    table = terminal.table(["segment", "members", "by", "description"])
    for segment in found:
        count = f"{segment.member_count:,}" if segment.HasField("member_count") else "?"
        table.add_row(*map(escape, (segment.key, count, _definition(segment), segment.description)))
    terminal.out().print(table)


def show(channel: grpc.Channel, key: str, history: int, as_json: bool) -> None:
    """Prints one segment, and how many were in it in so many frames back."""
    with _meant():
        found = _stub(channel).GetSegment(pb.GetSegmentRequest(key=key, history_count=history))
    _print(found, as_json)
    if as_json or not found.history:
        return
    table = terminal.table(["as of", "members"])
    for count in found.history:
        table.add_row(_moment(count.as_of_time), f"{count.member_count:,}")
    terminal.out().print(table)


def create(
    channel: grpc.Channel, key: str, rule: str, records: Path | None, description: str, owner: str, as_json: bool
) -> None:
    """Makes a segment by a rule, or of the records in a file, a name a line, and prints it."""
    segment = pb.Segment(key=key, description=description, owner=owner)
    if (not rule) == (records is None):
        raise InvalidInput([Violation("--rule", "give a --rule, or --records")])
    if records is None:
        segment.rule = rule
    else:
        segment.records.records.extend(_names(records))
    with _meant():
        _print(_stub(channel).CreateSegment(pb.CreateSegmentRequest(segment=segment)), as_json)


def update(
    channel: grpc.Channel,
    key: str,
    rule: str | None,
    records: Path | None,
    description: str | None,
    owner: str | None,
    etag: str,
    as_json: bool,
) -> None:
    """Changes what is not None of a segment, if its etag is this one or none is given, and prints it."""
    if rule is not None and records is not None:
        raise InvalidInput([Violation("--rule", "give a --rule, or --records")])
    changes = {"rule": rule, "records": records, "description": description, "owner": owner}
    mask = [name for name, value in changes.items() if value is not None]
    if not mask:
        raise InvalidInput([Violation("segment", "give what changes: --rule, --records, --description or --owner")])
    segment = pb.Segment(key=key, etag=etag, description=description or "", owner=owner or "")
    if rule is not None:
        segment.rule = rule
    if records is not None:
        segment.records.records.extend(_names(records))
    with _meant():
        request = pb.UpdateSegmentRequest(segment=segment, update_mask=FieldMask(paths=mask))
        _print(_stub(channel).UpdateSegment(request), as_json)


def _names(file: Path) -> list[str]:
    """The names of records in a file, a line each."""
    return [line.strip() for line in _read(file).splitlines() if line.strip()]


def _read(file: Path) -> str:
    """The text of a file. Raises InvalidInput where it is none."""
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput([Violation(str(file), "is not valid UTF-8")]) from error


def delete(channel: grpc.Channel, key: str) -> None:
    """Deletes a segment that nothing reads."""
    with _meant():
        _stub(channel).DeleteSegment(pb.DeleteSegmentRequest(key=key))


def snapshot(channel: grpc.Channel, group: pb.Group, key: str, as_json: bool) -> None:
    """Fixes who is in now as a new segment, and prints it."""
    with _meant():
        _print(_stub(channel).SnapshotSegment(pb.SnapshotSegmentRequest(group=group, key=key)), as_json)


def preview(channel: grpc.Channel, group: pb.Group, as_json: bool) -> None:
    """Prints who would be in, in numbers, with examples and overlaps."""
    with _meant():
        found = _stub(channel).PreviewSegment(pb.PreviewSegmentRequest(group=group, example_count=5, overlaps=True))
    if as_json:
        print(_json(found))
        return
    out = terminal.out()
    out.print(
        f"[bold]{found.member_count:,}[/] of {found.frame.person_count:,} people are in ({found.share:.1%}), "
        f"{found.unknown_count:,} are left open  [dim]{found.elapsed_ms:.1f} ms, {_as_of(found.frame)}[/]"
    )
    if found.examples:
        out.print(f"[dim]as[/] {', '.join(found.examples)}", soft_wrap=True)
    if found.overlaps:
        table = terminal.table(["also in", "of them", "of that one"])
        for each in found.overlaps:
            table.add_row(
                escape(each.segment),
                f"{each.member_count / found.member_count:.1%}",
                f"{each.member_count / each.other_count:.1%}",
            )
        out.print(table)


def members(channel: grpc.Channel, group: pb.Group) -> None:
    """Prints the id of everybody who is in, a line each."""
    with _meant():
        for message in _stub(channel).StreamSegmentMembers(pb.StreamSegmentMembersRequest(group=group)):
            for identity in message.identities:
                print(identity)


def check(channel: grpc.Channel, group: pb.Group, subject: identity_pb2.Subject, as_json: bool) -> None:
    """Prints whether a person is in, and what each clause came to."""
    with _meant():
        found = _stub(channel).CheckMembership(pb.CheckMembershipRequest(group=group, subject=subject))
    if as_json:
        print(_json(found))
        return
    out = terminal.out()
    out.print(f"{_TRUTHS[found.truth]}  {found.identity}  [dim]{_as_of(found.frame)}[/]")
    table = terminal.table()
    for clause in found.clauses:
        values = MessageToDict(clause).get("values", {})
        said = ", ".join(f"{name} = {'unknown' if value is None else value}" for name, value in sorted(values.items()))
        table.add_row(_TRUTHS[clause.truth], escape(clause.text), f"[dim]{escape(said)}[/]")
    out.print(table)


def export(channel: grpc.Channel, group: pb.Group, file: Path, features: Sequence[str], contactable_on: str) -> None:
    """Writes who is in to a file; what was there stays until all has come."""
    format = _FORMATS.get(file.suffix.lower())
    if format is None:
        raise InvalidInput([Violation("FILE", f"must end in {', '.join(_FORMATS)}")])
    request = pb.ExportSegmentRequest(group=group, format=format, features=features, contactable_on=contactable_on)
    incoming = file.with_name(file.name + ".part")
    try:
        with _meant(), incoming.open("wb") as out:
            for message in _stub(channel).ExportSegment(request):
                out.write(message.data)
        incoming.replace(file)
    finally:
        incoming.unlink(missing_ok=True)


def describe(channel: grpc.Channel, group: pb.Group, folder: Path | None, png: bool, as_json: bool) -> None:
    """Prints what its members are like beside everybody; writes it as a page with charts too, into a folder if one is
    named. Raises NotReady where charts are wanted and matplotlib is not installed."""
    with _meant():
        answer = _stub(channel).DescribeSegment(pb.DescribeSegmentRequest(group=group))
    found = convert.parse_insight(answer)
    title = group.segment or group.rule
    page = None if folder is None else report.write(found, title, folder, png=png)
    if as_json:
        print(_json(answer))
        return
    insight.render(found, title, terminal.out())
    if page is not None:
        terminal.out().print(f"\n[dim]with charts:[/] {escape(str(page))}", soft_wrap=True)


def measure(
    channel: grpc.Channel, group: pb.Group, outside: pb.Group | None, start: datetime | None, days: int, as_json: bool
) -> None:
    """Prints what a group did within a window beside comparable people."""
    request = pb.MeasureSegmentRequest(group=group, outside=outside, days=days)
    if start is not None:
        request.start_time.FromDatetime(start)
    with _meant():
        found = _stub(channel).MeasureSegment(request)
    if as_json:
        print(_json(found))
        return
    out = terminal.out()
    began = datetime.fromtimestamp(found.start_time.seconds, UTC)
    out.print(
        f"[bold]{found.measured_count:,}[/] of {found.group_count:,} people who were in on {began:%Y-%m-%d %H:%M} UTC, "
        f"{found.days} days on, beside {found.outside_count:,} outside who count as {found.comparable_count:,.0f}",
        soft_wrap=True,
    )
    for warning in found.warnings:
        out.print(f"[yellow]![/] {escape(warning)}", soft_wrap=True)
    for outcome in found.outcomes:
        out.print(escape(outcome.words), soft_wrap=True)
    table = terminal.table(["most unlike", "before", "made comparable"])
    for each in found.balance[:_BALANCE_SHOWN]:
        table.add_row(escape(each.term), f"{each.before:+.2f}", "defines it" if each.defines else f"{each.after:+.2f}")
    out.print(table)


def lookalike(channel: grpc.Channel, group: pb.Group, size: int, key: str, as_json: bool) -> None:
    """Prints who looks like a group without being in it, and how well that can be said; keeps them as a new segment
    too, if it is given a key."""
    with _meant():
        found = _stub(channel).FindLookalikes(pb.FindLookalikesRequest(group=group, size=size, key=key))
    if as_json:
        print(_json(found))
        return
    out = terminal.out()
    out.print(
        f"[bold]AUC {found.auc:.3f}[/] (95 %: {found.auc_low:.3f} to {found.auc_high:.3f}): "
        f"{found.group_count:,} people told from {found.rest_count:,}  [dim]{_as_of(found.frame)}[/]",
        soft_wrap=True,
    )
    for warning in found.warnings:
        out.print(f"[yellow]![/] {escape(warning)}", soft_wrap=True)
    table = terminal.table(["what tells them", "gain", "group", "rest"])
    for each in found.telling:
        sides = [f"{value:,.2f}" if known else "?" for value, known in _sides(each)]
        table.add_row(escape(each.term), f"{each.gain:.0%}", *sides)
    out.print(table)
    if found.excluded:
        out.print(f"[dim]not shown to the trees:[/] {escape(', '.join(sorted(found.excluded)))}", soft_wrap=True)
    if key:
        out.print(f"{len(found.lookalikes):,} people are in [bold]{escape(key)}[/]")
        return
    for one in found.lookalikes:
        out.print(f"{one.identity}  {one.likeness:.2f}")


def _sides(telling: pb.FindLookalikesResponse.Telling) -> Iterator[tuple[float, bool]]:
    yield telling.of_group, telling.HasField("of_group")
    yield telling.of_rest, telling.HasField("of_rest")


def clusters(channel: grpc.Channel, features: Sequence[str], file: Path | None, as_json: bool) -> None:
    """Prints who is alike, and why there are so many clusters. With a file, goes on from the clustering in it, if it is
    there, and leaves the new one there."""
    previous = _read(file) if file is not None and file.exists() else ""
    with _meant():
        found = _stub(channel).FindClusters(pb.FindClustersRequest(features=features, previous=previous))
    if file is not None:
        file.write_text(found.clustering, "utf-8")
    if as_json:
        print(_json(found))
        return
    out = terminal.out()
    for each in found.clusters:
        out.print(f"[bold]{escape(each.name)}[/]: {escape(each.words)}", soft_wrap=True)
    if found.unknown_count:
        out.print(f"{found.unknown_count:,} are in none: not all features are known of them")
    table = terminal.table(["clusters", "silhouette", "agreement", "smallest"])
    for tried in found.tried:
        table.add_row(f"{tried.clusters}", f"{tried.silhouette:.2f}", f"{tried.agreement:.2f}", f"{tried.smallest:,}")
    out.print(table)
    out.print(escape(found.why), soft_wrap=True)


def watch(channel: grpc.Channel, segments: Sequence[str], after: int | None, as_json: bool) -> None:
    """Prints who comes and who goes, until it is interrupted. Raises what the service says, if it does not pass."""
    console = terminal.out()

    def on_pause(error: OnefoldError, seconds: float) -> None:
        terminal.err().print(Text(f"{error}; trying again in {seconds:.1f} s", style="dim"))

    for change in client.watch_segments(channel, segments, after, on_pause=on_pause):
        if as_json:
            print(_json(change), flush=True)
        else:
            console.print(line(change), soft_wrap=True)
            console.file.flush()


def line(change: pb.SegmentChange) -> Text:
    """A change in a line: its place in the feed, when, in or out, where, who, why."""
    sign, style = _SIGNS[change.kind]
    cause = pb.SegmentChangeCause.Name(change.cause).removeprefix("SEGMENT_CHANGE_CAUSE_").lower()
    at = datetime.fromtimestamp(change.create_time.seconds, UTC)
    words = Text(f"{change.sequence:>8}  {at:%Y-%m-%d %H:%M:%S}  ")
    words.append(f"{sign} {change.segment}", style=style)
    words.append(f"  {change.identity}  ")
    words.append(f"{cause}{f', now {change.successor}' if change.successor else ''}", style="dim")
    return words


def labels(channel: grpc.Channel, as_json: bool) -> None:
    """Prints every label with how many have it, and what it is doubted for."""
    with _meant():
        found = _stub(channel).ListLabels(pb.ListLabelsRequest(history_count=1))
    if as_json:
        for label in found.labels:
            print(_json(label))
        return
    table = terminal.table(["label", "layer", "people", "share", "read by", "doubts"])
    for label in found.labels:
        count = (f"{label.member_count:,}", f"{label.share:.1%}") if label.HasField("member_count") else ("?", "")
        told = (label.key, label.layer, *count, ", ".join(label.read_by), "; ".join(label.doubts))
        table.add_row(*map(escape, told))
    terminal.out().print(table)


def apply(channel: grpc.Channel, file: Path, dry_run: bool) -> None:
    """Puts a catalogue in force, with the lists of its static segments, and prints what that changes."""
    text = _read(file)
    lists = static.records(parse(text, str(file)), file.parent)
    request = pb.ApplyCatalogueRequest(
        text=text, dry_run=dry_run, lists={key: pb.RecordList(records=names) for key, names in lists.items()}
    )
    with _meant():
        done = _stub(channel).ApplyCatalogue(request)
    out = terminal.out()
    for change in done.changes:
        out.print(escape(change), soft_wrap=True)
    words = "would be in force" if dry_run else "is in force"
    out.print(f"[bold]catalogue {done.catalogue.version}[/] {words}; {len(done.changes)} changes")


@contextmanager
def _meant() -> Iterator[None]:
    """What calls inside fail with, as the service meant it."""
    try:
        yield
    except grpc.RpcError as error:
        raise client.error_of(error) from error


def _stub(channel: grpc.Channel) -> Any:
    return segment_service_pb2_grpc.SegmentServiceStub(channel)


def _print(segment: pb.Segment, as_json: bool) -> None:
    if as_json:
        print(_json(segment))
        return
    out = terminal.out()
    told = {
        "segment": segment.key,
        "by": _definition(segment),
        "members": f"{segment.member_count:,}" if segment.HasField("member_count") else "not counted yet",
        "description": segment.description,
        "owner": segment.owner,
        "as of": _as_of(segment.frame) if segment.HasField("frame") else "",
    }
    for name, value in told.items():
        if value:
            out.print(f"[bold]{name:<12}[/] {escape(value)}", soft_wrap=True)


def _definition(segment: pb.Segment) -> str:
    return segment.rule or f"a list of {segment.record_count:,} records"


def _as_of(frame: pb.Frame) -> str:
    return f"as of {_moment(frame.as_of_time)}, frame {frame.id}"


def _moment(time: Timestamp) -> str:
    return f"{datetime.fromtimestamp(time.seconds, UTC):%Y-%m-%d %H:%M:%S}"


def _json(message: Message) -> str:
    return MessageToJson(
        message, preserving_proto_field_name=True, indent=None, always_print_fields_with_no_presence=True
    )
