"""``onefold watch``: the feed of changes, a line a change."""

from __future__ import annotations

from datetime import UTC, datetime

import grpc
from google.protobuf.json_format import MessageToJson
from rich.text import Text

from onefold.graph.errors import OnefoldError
from onefold.service import client
from onefold.service.cli import terminal
from onefold.v1 import identity_service_pb2 as pb

_STYLES = {"CREATED": "green", "CHANGED": "dim", "MERGED": "cyan", "SPLIT": "yellow", "ERASED": "red"}


def watch(channel: grpc.Channel, after: int | None, as_json: bool) -> None:
    """Prints changes until it is interrupted. Raises what the service says, if it does not pass."""
    console = terminal.out()

    def on_pause(error: OnefoldError, seconds: float) -> None:
        terminal.err().print(Text(f"{error}; trying again in {seconds:.1f} s", style="dim"))

    for change in client.watch(channel, after, on_pause=on_pause):
        if as_json:
            print(MessageToJson(change, preserving_proto_field_name=True, indent=None), flush=True)
        else:
            console.print(line(change), soft_wrap=True)
            console.file.flush()


def line(change: pb.IdentityChange) -> Text:
    """A change in a line: its place in the log, when, what, to whom, from whom."""
    kind = pb.IdentityChangeKind.Name(change.kind).removeprefix("IDENTITY_CHANGE_KIND_")
    at = datetime.fromtimestamp(change.create_time.seconds, UTC)
    words = Text(f"{change.sequence:>8}  {at:%Y-%m-%d %H:%M:%S}  ")
    words.append(f"{kind:<7}", style=_STYLES.get(kind, ""))
    words.append(f"  {change.identity}")
    if change.other_identities:
        words.append(f"  from {', '.join(change.other_identities)}", style="dim")
    words.append(f"  {change.move_count:,} moved", style="dim")
    return words
