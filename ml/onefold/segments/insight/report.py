"""Insight as a page that a person reads: one HTML file with its charts in it, and the charts as PNG files if wanted.

The same insight makes the same bytes. Charts need matplotlib: ``pip install 'onefold[plots]'``.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from math import isinf
from pathlib import Path
from typing import Final

from onefold.graph.model import to_datetime
from onefold.segments.insight.charts import Chart, charts
from onefold.segments.insight.describe import Insight
from onefold.segments.insight.intervals import Estimate, Figure

PAGE: Final = "insight.html"


def write(insight: Insight, title: str, folder: Path, *, png: bool = False) -> Path:
    """Writes the page into a folder, which is made if missing, and gives its path; with ``png`` each chart too, as a
    file named by its key.

    Raises :class:`NotReady` where matplotlib is not installed; then nothing is written.
    """
    text = page(insight, title)
    pictures = {key: chart.png() for key, chart in charts(insight).items()} if png else {}
    folder.mkdir(parents=True, exist_ok=True)
    for key, picture in pictures.items():
        (folder / f"{key}.png").write_bytes(picture)
    (folder / PAGE).write_text(text, "utf-8")
    return folder / PAGE


def page(insight: Insight, title: str) -> str:
    """The insight in HTML, with nothing to be loaded from elsewhere. Raises :class:`NotReady` as :func:`write` does."""
    drawn = charts(insight)
    parts = (
        _head(insight, title),
        _checks(insight),
        _people(insight, drawn),
        _when(drawn),
        _decision(insight, drawn),
        _buying(insight, drawn),
        _products(insight, drawn),
        _words(insight, drawn),
    )
    body = "\n".join(block for part in parts for block in part)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c2733 }
h1 { margin-bottom: 0 } h2 { margin-top: 2.5rem; border-bottom: 1px solid #d6dae0 }
img { max-width: 100%; height: auto }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .3rem 1.2rem .3rem 0; text-align: left }
th { font-weight: 600; border-bottom: 1px solid #8a8f98 } td + td { font-variant-numeric: tabular-nums }
.lead { color: #5b6470; margin-top: .2rem } .warning { background: #fff4d6; padding: .6rem 1rem; border-radius: .3rem }
"""


def _head(insight: Insight, title: str) -> Iterator[str]:
    yield f"<h1>{escape(title)}</h1>"
    yield _said(
        f"{insight.members:,} customers, {_percent(insight.share)} of {insight.people:,}, as of"
        f" {to_datetime(insight.as_of):%Y-%m-%d %H:%M} UTC. Intervals are those of {insight.confidence:.0%}.",
        "lead",
    )
    for warning in insight.warnings:
        yield _said(f"{warning[:1].upper()}{warning[1:]}.", "warning")


def _checks(insight: Insight) -> Iterator[str]:
    yield "<h2>At a glance</h2>"
    verdicts = {True: "met", False: "not met", None: "not known"}
    rows = [
        (
            check.words,
            f"{check.bar:.0%}",
            verdicts[check.met] + ("" if check.sure or check.met is None else ", but it is close"),
            _between(check.found),
        )
        for check in insight.checks
    ]
    yield _table(("check", "at least", "", "interval"), rows)


def _people(insight: Insight, drawn: Mapping[str, Chart]) -> Iterator[str]:
    if not insight.distributions:
        return
    yield "<h2>Who they are</h2>"
    yield _said(
        "Bars are shares of those of the segment for whom something is known; the marks are everybody's. The index"
        " (TGI) is the one divided by the other, times 100: grey where it may be chance, and not told where fewer than"
        f" five customers would be expected. Of {1 / (1 - insight.confidence):.0f} such intervals about one misses."
    )
    for found in insight.distributions:
        yield _picture(drawn[found.key])
        said = [f"Known of {found.known:,}, unknown of {found.unknown:,}."]
        if found.several:
            said.append("One customer may have several.")
        if found.left_out:
            said.append(f"{found.left_out:,} more values are left out.")
        yield _said(" ".join(said), "lead")


def _when(drawn: Mapping[str, Chart]) -> Iterator[str]:
    if "when" in drawn:
        yield "<h2>When they come</h2>"
        yield _picture(drawn["when"])


def _decision(insight: Insight, drawn: Mapping[str, Chart]) -> Iterator[str]:
    found = insight.decision
    if not found.same_day.of and not found.paths:
        return
    yield "<h2>How they decide</h2>"
    if found.same_day.of:
        yield _said(
            f"Of {found.same_day.of:,} whose first visit was seen, {found.bought:,} have bought since and"
            f" {found.not_yet:,} have not yet. {_told(found.same_day)} bought on the day of the first visit."
        )
    if found.quartiles:
        first, half, third = found.quartiles
        yield _said(
            f"Half of those who bought did so within {half:.0f} days, a quarter within {first:.0f}, three quarters"
            f" within {third:.0f}."
        )
    yield from _pictures(drawn, "waits")
    if found.paths:
        yield _table(
            ("what came before an order", "orders", "share"),
            [(" → ".join(path.steps), f"{path.orders:,}", _percent(path.share)) for path in found.paths],
        )
        yield _said(f"Before {found.orders_without_path:,} more orders nothing was seen.", "lead")


def _buying(insight: Insight, drawn: Mapping[str, Chart]) -> Iterator[str]:
    found = insight.buying
    yield "<h2>How they buy</h2>"
    rows = [
        ("have bought", *_cells(found.buyers, _percent)),
        ("bought on a second day (repurchase rate)", *_cells(found.repurchase_rate, _percent)),
        (f"average order, {found.currency}", *_cells(found.order_value, _number)),
        ("orders per buyer", *_cells(found.orders_per_buyer, _number)),
        ("orders with a coupon", *_cells(found.coupon_share, _percent)),
    ]
    yield _table(("", "segment", "interval", "everybody"), rows)
    if found.revenue_share is not None:
        yield _said(
            f"Their orders came to {_number(found.revenue)} {found.currency}, {_percent(found.revenue_share)} of"
            " everybody's."
        )
    yield from _pictures(drawn, "price_bands", "payment_methods")


def _products(insight: Insight, drawn: Mapping[str, Chart]) -> Iterator[str]:
    found = insight.products
    if not found.orders:
        return
    yield "<h2>What they buy</h2>"
    if found.best_sellers_share is not None:
        count = len(found.best_sellers)
        yield _said(f"The first {count} products bring {_percent(found.best_sellers_share)} of the revenue.")
    yield from _pictures(drawn, "best_sellers", "order_categories")
    if found.pairs:
        yield "<h3>Bought together</h3>"
        rows = [
            (p.first, p.then, f"{p.together:,}", _percent(p.support), _percent(p.confidence), f"{p.lift:.1f}")
            for p in found.pairs
        ]
        yield _table(("who buys", "also buys", "orders", "support", "confidence", "lift"), rows)


def _words(insight: Insight, drawn: Mapping[str, Chart]) -> Iterator[str]:
    found = insight.words
    if not found.good_reviews and not found.bad_reviews:
        return
    yield "<h2>What they write</h2>"
    if "words" in drawn:
        yield _picture(drawn["words"])
        yield _said("Numbers are reviews with the word, of the one sort and the other.", "lead")
    else:
        yield _said(
            f"In {found.good_reviews:,} good and {found.bad_reviews:,} bad reviews no word is more than chance."
        )
    if found.note:
        yield _said(f"{found.note}.", "lead")


def _cells(figure: Figure, shown: Callable[[float], str]) -> tuple[str, str, str]:
    segment, whole = figure.segment, figure.whole
    return (
        "" if segment is None else shown(segment.value),
        _between(segment, shown),
        "" if whole is None else shown(whole),
    )


def _told(figure: Figure) -> str:
    if figure.segment is None:
        return "None"
    everybody = "" if figure.whole is None else f", everybody {_percent(figure.whole)}"
    return f"{_percent(figure.segment.value)} ({_between(figure.segment)}{everybody})"


def _percent(share: float) -> str:
    return f"{share:.1%}" if share < 0.0995 else f"{share:.0%}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:,.2f}"


def _between(found: Estimate | None, shown: Callable[[float], str] = _percent) -> str:
    if found is None:
        return ""
    return "not known from one customer" if isinf(found.high) else f"{shown(found.low)} to {shown(found.high)}"


def _said(words: str, kind: str = "") -> str:
    return f'<p class="{kind}">{escape(words)}</p>' if kind else f"<p>{escape(words)}</p>"


def _pictures(drawn: Mapping[str, Chart], *keys: str) -> Iterator[str]:
    yield from (_picture(drawn[key]) for key in keys if key in drawn)


def _picture(chart: Chart) -> str:
    """As a picture of its own: ids within several plots in one page would clash."""
    data = b64encode(chart.svg().encode()).decode()
    return f'<img alt="{escape(chart.words)}" src="data:image/svg+xml;base64,{data}">'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "\n".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>\n<thead><tr>{cells}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
