"""The demo, told on a small made order file."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
BEGIN = datetime(2010, 12, 1, 9)


def order_file(path: Path, customers: int = 400) -> None:
    """A year of orders: customers buy at a pace of their own, and some stop."""
    rng = random.Random(5)
    sales = []
    for customer in range(customers):
        pace, last = rng.choice((12, 30, 60)), rng.choice((150, 370, 370))
        day = rng.randrange(pace)
        while day < last:
            sales.append((BEGIN + timedelta(days=day, minutes=rng.randrange(500)), 12_000 + customer))
            day += max(1, round(rng.expovariate(1 / pace)))
    rows = (
        f"{536_000 + n},2242{rng.randrange(9)},TEA CUP {rng.randrange(9)},{rng.randint(1, 9)},{at:%Y-%m-%d %H:%M:%S},"
        f"{rng.randint(100, 999) / 100:.2f},{customer}.0,United Kingdom\n"
        for n, (at, customer) in enumerate(sorted(sales))
    )
    path.write_text(HEADER + "".join(rows))


def test_the_demo_tells_its_story_and_leaves_nothing_behind(tmp_path: Path) -> None:
    order_file(tmp_path / "orders.csv")
    (scratch := tmp_path / "scratch").mkdir()
    # A user's settings must not lead the demo to a graph that is in use.
    theirs = {"ONEFOLD_GRAPH_URI": "neo4j://production.example.org", "ONEFOLD_LISTEN": "127.0.0.1:1"}
    environment = os.environ | theirs | {"TMPDIR": str(scratch)}
    done = subprocess.run(
        [sys.executable, "-m", "onefold.service.cli", "demo", "--file", "orders.csv"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert re.findall(r"^\d  ", done.stdout, re.MULTILINE) == [f"{n}  " for n in range(1, 9)]
    found = re.search(r"precision (\S+), recall (\S+),", done.stdout)
    assert found is not None
    assert float(found[1]) > 0.97
    assert float(found[2]) > 0.85
    assert "never one (mother signed up with her daughter's email" in done.stdout
    assert re.search(r"^ +AUC +0\.\d{4} +0\.\d{4}", done.stdout, re.MULTILINE)
    assert "Risk of churn" in done.stdout
    assert re.search(r"[1-9]\d* of \d+ people are in", done.stdout)
    assert re.search(r"Why \S+ is in:\n +(true|false) +has_label", done.stdout)
    assert re.search(r'^ +true +has_label\("(at_risk|lost)"\)', done.stdout, re.MULTILINE)
    assert re.search(r"of buyers bought on a second day \(\d+% to \d+%\), of everybody \d+%", done.stdout)
    assert not list(scratch.iterdir())
