"""The page of an insight, and its charts."""

import builtins
import re
from dataclasses import replace

import pytest

from onefold.graph.errors import NotReady
from onefold.segments.insight.charts import charts
from onefold.segments.insight.describe import Asked, describe
from onefold.segments.insight.report import PAGE, page, write
from tests.clientele import END, crowd

MADE = crowd(seed=11, people=800)
INSIGHT = describe(MADE.members, *MADE.tables(), END, Asked(most=8))


def test_the_page_says_what_the_insight_says():
    text = page(INSIGHT, "VIPs <gold & silver>")
    assert "<h1>VIPs &lt;gold &amp; silver&gt;</h1>" in text
    found = INSIGHT.buying.order_value.segment
    for words in (
        f"{INSIGHT.members:,} customers",
        f"Only {INSIGHT.members} customers: below 1,000",
        "high-value customers bring",
        f"<td>average order, GBP</td><td>{found.value:.2f}</td><td>{found.low:.2f} to {found.high:.2f}</td>",
        "<td>Mug</td><td>Plate</td>",
        f"Of {INSIGHT.decision.same_day.of:,} whose first visit was seen",
        "<td>" + " → ".join(INSIGHT.decision.paths[0].steps) + "</td>",
    ):
        assert words in text, words


def test_the_page_needs_nothing_from_elsewhere_and_is_the_same_each_time():
    text = page(INSIGHT, "VIPs")
    assert text == page(INSIGHT, "VIPs")
    assert not re.findall(r"(?:src|href)=\"(?!data:)", text)
    assert text.count("<img ") == len(charts(INSIGHT))


def test_every_chart_is_written_as_a_png_if_wanted(tmp_path):
    assert write(INSIGHT, "VIPs", tmp_path / "new") == tmp_path / "new" / PAGE
    assert [f.name for f in (tmp_path / "new").iterdir()] == [PAGE]
    write(INSIGHT, "VIPs", tmp_path / "png", png=True)
    pictures = {f.stem: f.read_bytes() for f in (tmp_path / "png").glob("*.png")}
    assert pictures.keys() == charts(INSIGHT).keys()
    assert {picture[:8] for picture in pictures.values()} == {b"\x89PNG\r\n\x1a\n"}


def test_names_are_drawn_as_they_are():
    shares = tuple(replace(s, value=f"$5–${n}") for n, s in enumerate(INSIGHT.distributions[0].shares))
    first = replace(INSIGHT.distributions[0], shares=shares)
    assert ">$5–$1<" in charts(replace(INSIGHT, distributions=(first,)))["age"].svg()


def test_a_segment_of_who_did_nothing_has_a_page():
    nothing = MADE.tables()
    one = describe(["i00000"], nothing[0], *(t.slice(0, 0) for t in nothing[1:]), END)
    text = page(one, "one")
    assert "nothing was bought" in text
    assert "<h2>What they buy</h2>" not in text
    for chart in charts(one).values():
        assert chart.svg()


def test_without_matplotlib_nothing_is_written(tmp_path, monkeypatch):
    real = builtins.__import__

    def no_matplotlib(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    with pytest.raises(NotReady, match=r"onefold\[plots\]"):
        write(INSIGHT, "VIPs", tmp_path / "new")
    assert not (tmp_path / "new").exists()
