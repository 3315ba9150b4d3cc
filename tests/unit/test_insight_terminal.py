"""Insight and data quality as they are printed."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from onefold.graph.errors import InvalidInput
from onefold.segments.insight.describe import Asked, describe
from onefold.segments.quality import Reject
from onefold.service.cli import insight, quality
from onefold.service.importing.rejects import RejectsFile, counted
from tests.clientele import END, crowd
from tests.unit.test_quality import NOW, found, record, week

MADE = crowd(seed=11, people=800)


def printed(render, *given):
    console = Console(width=200, highlight=False, file=io.StringIO())
    render(*given, console)
    return console.file.getvalue()


def test_an_insight_is_told_section_by_section():
    told = describe(MADE.members, *MADE.tables(), END, Asked(most=8))
    text = printed(insight.render, told, "VIPs [of all]")
    plain = " ".join(text.split())
    value = told.buying.order_value.segment
    for words in (
        "VIPs [of all]",
        f"{told.members:,} customers, {told.share:.0%} of 800, as of 2023-11-14 22:13 UTC; intervals of 99%",
        f"! only {told.members} customers",
        "Member level (known of",
        "From the first visit to the first order",
        f"average order, GBP {value.value:.2f} ({value.low:.2f} to {value.high:.2f}; everybody",
        "Bought together",
    ):
        assert words in plain, words
    (monday,) = [line for line in text.splitlines() if line.startswith("Mon")][:1]
    assert len(monday.removeprefix("Mon   ").rstrip()) <= 48


def test_a_segment_of_who_did_nothing_is_told_without_empty_sections():
    nothing = MADE.tables()
    one = describe(["i00000"], nothing[0], *(t.slice(0, 0) for t in nothing[1:]), END)
    text = printed(insight.render, one, "one")
    assert "nothing was bought" in text
    for section in ("Bought together", "Best sellers", "Visits", "What came before"):
        assert section not in text


def test_quality_is_told_section_by_section():
    told = found(
        [record("a", "crm", city="Leeds"), record("a", "crm", city="York"), record("b", "web")],
        [link for back in range(1, 12) for link in week(back, 100 if back > 1 else 900)],
        [{"source": "web", "what": "event", "items": 9_000, "recent": 2, "newest": NOW}],
        [Reject("reader", "BAD_VALUE", 7)],
    )
    lines = [" ".join(line.split()) for line in printed(quality.render, told).splitlines()]
    assert lines[0] == "People whom records describe: 2, as of 2023-11-15 12:00 UTC"
    for line in (
        "everybody crm web",
        "city 50% 100% 0%",
        "web events 9,000 2 0 hours ago",
        "crm 2 1 50.0%",
        "city 1 1 100.0%",
        "web device 900 100 +76.3 standard deviations",
        "reader BAD_VALUE 7",
    ):
        assert line in lines, line
    assert not any(line.startswith("gender") for line in lines)


def test_rejects_are_counted_by_who_refused_them_and_why(tmp_path: Path):
    with RejectsFile(tmp_path / "r.csv") as file:
        for reason in ("BAD_VALUE", "NO_KEY", "BAD_VALUE"):
            file.add(3, "reader", reason, "it, is\nwrong", 'a,"b"')
        file.add(9, "service", "REASON_INVALID", "no", "\udcff")
    assert counted(tmp_path / "r.csv") == {
        ("reader", "BAD_VALUE"): 2, ("reader", "NO_KEY"): 1, ("service", "REASON_INVALID"): 1,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n"])
def test_another_file_is_no_file_of_rejects(tmp_path: Path, text: str):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(InvalidInput, match="no file of rejects"):
        counted(tmp_path / "x.csv")
    with pytest.raises(InvalidInput, match="can't be read"):
        counted(tmp_path / "gone.csv")


def test_quality_as_json_is_json():
    told = found([record("a", "crm", city="Leeds")], week(1, 3), [], [Reject("reader", "BAD_VALUE", 7)])
    data = json.loads(quality.as_json(told))
    assert data["everybody"]["known"]["city"] == 1.0
    assert data["drifts"][0]["weeks"][0] == {"monday": "2023-11-06", "links": 3, "identifiers": 3}
