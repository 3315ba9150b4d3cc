"""``onefold policy check``."""

from __future__ import annotations

import json
from pathlib import Path

from rich.markup import escape

from onefold.graph import policy
from onefold.service.cli import terminal


def check(path: Path | None, as_json: bool) -> None:
    """Says what a policy file is. Raises InvalidPolicy, with the line and field of every rule that it breaks."""
    known = policy.load(path)
    name = str(path) if path else "the policy that comes with Onefold"
    if as_json:
        print(json.dumps({"policy": name, "version": known.version, "kinds": sorted(known.kinds)}))
        return
    terminal.out().print(
        f"[green]ok[/]  {escape(name)}: version {known.version}, {len(known.kinds)} kinds of identifier", soft_wrap=True
    )
