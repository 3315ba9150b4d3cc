"""``make bench``: every ratio the product promises, beside its bar, measured in one run."""

from __future__ import annotations

import argparse
import os
import platform
import time

from rich.console import Console
from rich.table import Table

from tests.bench import features, frames, hub, ingest, profile, resolve, resolve_identity, scores, unary
from tests.engines import ENGINES

PER_ENGINE = {
    "ingest": lambda engine, records: ingest.measure(engine, records),
    "unary": lambda engine, _: unary.measure(engine),
    "profile": lambda engine, _: profile.measure(engine),
    "hub": lambda engine, _: hub.measure(engine),
    "resolve-identity": lambda engine, _: resolve_identity.measure(engine),
    "scores": lambda engine, _: scores.measure(engine),
}

ALONE = {"resolve": resolve.measure, "features": lambda _: features.measure(), "frames": lambda _: frames.measure()}
"""Those that need no engine."""


def main() -> int:
    """Run the benches; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--records", type=int, default=500_000, help="how far the ingest bench lets the graph grow")
    parser.add_argument("--rows", type=int, default=10_000_000, help="how many rows of evidence the bulk bench decides")
    parser.add_argument("--engine", choices=ENGINES, action="append", help="only this engine (may be repeated)")
    parser.add_argument(
        "--only", choices=[*ALONE, *PER_ENGINE], action="append", help="only this bench (may be repeated)"
    )
    arguments = parser.parse_args()
    wanted = arguments.only or [*ALONE, *PER_ENGINE]
    load_before = os.getloadavg()[0]
    ratios = [ratio for name in wanted if name in ALONE for ratio in ALONE[name](arguments.rows)]
    for engine in arguments.engine or ENGINES:
        for name in wanted:
            if name in PER_ENGINE:
                ratios += PER_ENGINE[name](engine, arguments.records)
    table = Table("what", "ours", "reference", "ratio", "bar", "")
    for r in ratios:
        table.add_row(r.name, f"{r.ours:,.2f}", f"{r.reference:,.2f}", f"{r.ratio:.2f}", r.bar, "✓" if r.holds else "✗")
    console = Console()
    console.print(table)
    console.print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, "
        f"load {load_before:.1f} before and {os.getloadavg()[0]:.1f} after; "
        f"a loop of a million additions takes {_yardstick():.0f} ms of CPU"
    )
    return 0 if all(r.holds for r in ratios) else 1


def _yardstick() -> float:
    """How fast the machine is just now, for those bars that are in seconds."""
    began, total = time.process_time(), 0
    for n in range(1_000_000):
        total += n
    return (time.process_time() - began) * 1e3


if __name__ == "__main__":
    raise SystemExit(main())
