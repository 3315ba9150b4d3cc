"""``make bench-ml``: every figure promised of predictions, beside its bar and every baseline, on real orders."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pyarrow as pa

from onefold.ml import churn
from onefold.ml.panel import DAY
from tests.bench_ml import report, small, sources, windows
from tests.histories import NO_EVENTS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "predictions.md"
BEGIN, END = "<!-- bench -->\n", "<!-- /bench -->"


def main() -> int:
    """Measure; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench_ml", description=__doc__)
    parser.add_argument(
        "retail", nargs="?", type=Path, default=sources.RETAIL, help="Online Retail as CSV, packed or not"
    )
    names = [window.name for window in windows.WINDOWS]
    parser.add_argument("--only", choices=names, action="append", help="only this window (may be repeated)")
    parser.add_argument("--write", action="store_true", help=f"write tables and plots to {PAGE.relative_to(ROOT)}")
    arguments = parser.parse_args()
    wanted = [window for window in windows.WINDOWS if window.name in (arguments.only or names)]
    found, draws, seconds = [], {}, {}
    for source in dict.fromkeys(window.source for window in wanted):
        orders = sources.cdnow() if source == "cdnow" else sources.online_retail(arguments.retail)
        for window in wanted:
            if window.source == source:
                rows = windows.rows_of(window, orders)
                found.append(windows.compare(rows, windows.ours(rows), windows.theirs(rows)))
                draws[window.name] = small.measure(rows, orders)
                print(report.text(found[-1:], {window.name: draws[window.name]}, {}), flush=True)
        if source == "cdnow":
            seconds["CDNOW"] = _training(orders, 180)
    told = report.text(found, draws, seconds)
    print(told)
    if arguments.write:
        page = PAGE.read_text("utf-8")
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        PAGE.write_text(before + BEGIN + told + END + after, "utf-8")
        for window in found:
            report.plot(window, PAGE.with_suffix("") / f"{window.window.name}.svg")
    return 0 if all(bar.holds for bar in report.bars(found, draws, seconds)) else 1


def _training(orders: pa.Table, horizon_days: int) -> float:
    """Seconds of CPU that a training with all that is known takes."""
    until = max(orders["placed_at"].cast(pa.int64()).to_pylist()) + DAY
    began = time.process_time()
    churn.train(orders, NO_EVENTS, cutoff=until, created_at=until, horizon_days=horizon_days)
    return time.process_time() - began


if __name__ == "__main__":
    raise SystemExit(main())
