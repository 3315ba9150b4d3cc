"""Insight as charts that a person looks at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from onefold.ml.drawing import BLUE, GREY, canvas, percent, png, svg
from onefold.segments.insight.buying import Part
from onefold.segments.insight.decision import Wait
from onefold.segments.insight.describe import Insight
from onefold.segments.insight.products import Product
from onefold.segments.insight.shares import Distribution
from onefold.segments.insight.when import Grid
from onefold.segments.insight.words import Word, Words

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
SHOWN: Final = 12
"""Rows of a chart at most; the page's tables have the rest."""

_RED: Final = "#b5483a"
_WIDE: Final = 30
"""Letters of a name at most."""
_FONTS: Final = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Microsoft YaHei",
    "SimHei",
)
"""Fonts with Chinese letters, of which a PNG takes the first that is installed."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart that can be drawn."""

    key: str
    words: str
    """What it shows, for who can't see it."""
    draw: Callable[[], Any]

    def svg(self) -> str:
        """As an SVG. Its letters are text, so that a browser finds a font for them."""
        return svg(self.draw)

    def png(self) -> bytes:
        """As a PNG. Chinese is drawn as boxes where no font for it is installed."""
        return png(self.draw, _installed())


def charts(insight: Insight) -> Mapping[str, Chart]:
    """The charts of an insight by their keys, in the order in which they are looked at; none without data."""
    every = f"{insight.confidence:.0%} interval"
    made = [
        *(
            Chart(d.key, f"{d.title}: shares, and the index against everybody", partial(_distribution, d, every))
            for d in insight.distributions
        ),
        *_when(insight),
        *_decision(insight),
        *_buying(insight),
        *_products(insight),
        *_words(insight.words),
    ]
    return {chart.key: chart for chart in made}


def _when(insight: Insight) -> list[Chart]:
    grids = [("Visits", insight.when.visits), ("Orders", insight.when.orders)]
    there = [(title, grid) for title, grid in grids if any(map(any, grid))]
    return [Chart("when", "Visits and orders by weekday and hour", partial(_grids, there))] if there else []


def _decision(insight: Insight) -> list[Chart]:
    waits = insight.decision.waits
    return [Chart("waits", "Days from the first visit to the first order", partial(_waits, waits))] if waits else []


def _buying(insight: Insight) -> list[Chart]:
    bands, methods = insight.buying.price_bands, insight.buying.payment_methods
    currency = insight.buying.currency
    made = []
    if bands:
        made.append(Chart("price_bands", "Orders by price band", partial(_parts, f"Order value, {currency}", bands)))
    if any(method.value for method in methods):
        made.append(Chart("payment_methods", "Orders by payment method", partial(_parts, "Payment", methods)))
    return made


def _products(insight: Insight) -> list[Chart]:
    found = insight.products
    made = []
    if found.best_sellers:
        made.append(Chart("best_sellers", "Best sellers by share of orders", partial(_best, found.best_sellers)))
    if found.categories:
        made.append(Chart("order_categories", "Orders by category", partial(_parts, "Category", found.categories)))
    return made


def _words(words: Words) -> list[Chart]:
    if not words.good and not words.bad:
        return []
    return [Chart("words", "Words of good and of bad reviews", partial(_both_sides, words))]


def _rows(count: int) -> float:
    """The height of so many rows, in inches."""
    return 0.95 + 0.3 * count


def _short(name: str) -> str:
    return name if len(name) <= _WIDE else f"{name[: _WIDE - 1]}…"


def _named(axes: Any, names: Sequence[str]) -> None:
    """Rows with names, the first at the top."""
    axes.set_yticks(range(len(names)), [_short(name) or "not said" for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def _bars(axes: Any, shares: Sequence[float], whole: Sequence[float]) -> None:
    """A bar a row for the segment, a mark for everybody, and to the right of both their numbers."""
    rows = range(len(shares))
    axes.barh(rows, shares, height=0.62, color=BLUE, label="segment")
    axes.scatter(whole, rows, marker="|", s=190, linewidth=2, color="black", label="everybody", zorder=3)
    for row, (here, everywhere) in enumerate(zip(shares, whole, strict=True)):
        _beside(axes, max(here, everywhere), row, f"{_percent(here)}, everybody {_percent(everywhere)}")
    axes.set_xlim(0, 1.5 * max(*shares, *whole, 0.01))
    axes.xaxis.set_major_locator(_round_ticks())
    percent(axes.xaxis)


def _beside(axes: Any, x: float, row: int, words: str, color: str = "black") -> None:
    """Words to the right of a place in a row."""
    axes.annotate(words, (x, row), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8.5, color=color)


def _round_ticks() -> Any:
    """Ticks that are whole percents."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=6, steps=[1, 2, 5, 10])


def _percent(share: float) -> str:
    return f"{share:.1%}" if share < 0.0995 else f"{share:.0%}"


def _legend(figure: Any, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside upper right", ncols=2, frameon=False, fontsize=8.5)


def _distribution(found: Distribution, every: str) -> Any:
    shown = found.shares if found.ordered else found.shares[:SHOWN]
    figure = canvas(9.2, _rows(len(shown)))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    _named(left, [share.value for share in shown])
    _bars(left, [s.share.value if s.share else 0.0 for s in shown], [s.whole for s in shown])
    left.set_title(found.title)
    _legend(figure, left)
    _index(right, found, len(shown))
    right.set_title(f"Index, 100 is as everybody; {every}", fontsize=9)
    return figure


def _index(axes: Any, found: Distribution, rows: int) -> None:
    axes.axvline(100, color=GREY, linewidth=1, linestyle="--")
    told = [(row, share.tgi) for row, share in enumerate(found.shares[:rows]) if share.tgi]
    for row, tgi in told:
        sure = tgi.low > 100 or tgi.high < 100
        color = GREY if not sure else BLUE if tgi.value > 100 else _RED
        axes.plot([tgi.low, tgi.high], [row, row], color=color, linewidth=1.6)
        axes.plot([tgi.value], [row], marker="o", markersize=5.5, color=color)
        _beside(axes, tgi.high, row, f"{tgi.value:.0f}")
    for row in set(range(rows)) - {row for row, _ in told}:
        _beside(axes, 100, row, "too few", GREY)
    most = max([tgi.high for _, tgi in told], default=100.0)
    axes.set_xlim(0, max(160.0, 1.15 * most))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _grids(there: Sequence[tuple[str, Grid]]) -> Any:
    figure = canvas(9.2, 0.4 + 2.5 * len(there))
    for axes, (title, grid) in zip(figure.subplots(len(there), 1, squeeze=False)[:, 0], there, strict=True):
        total = sum(map(sum, grid))
        shares = [[count / total for count in row] for row in grid]
        image = axes.imshow(shares, cmap="Blues", aspect="auto", vmin=0)
        axes.set_yticks(range(7), DAYS)
        axes.set_xticks(range(0, 24, 3), [f"{hour}:00" for hour in range(0, 24, 3)])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(f"{title}: {total:,}, by weekday and hour where they happened")
        bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=12)
        bar.outline.set_visible(False)
        bar.ax.yaxis.set_major_formatter(lambda share, _: f"{share:.1%}")
        bar.ax.tick_params(length=0, labelsize=8.5)
    return figure


def _waits(waits: Sequence[Wait]) -> Any:
    figure = canvas(9.2, 2.9)
    axes = figure.subplots()
    drawn = axes.bar([wait.days for wait in waits], [wait.share for wait in waits], width=0.7, color=BLUE)
    axes.bar_label(drawn, [_percent(wait.share) for wait in waits], padding=2, fontsize=8.5)
    axes.margins(y=0.12)
    axes.set_title("From the first visit to the first order, of those who have bought")
    axes.set_xlabel("days")
    axes.tick_params(axis="x", length=0)
    percent(axes.yaxis)
    return figure


def _parts(title: str, parts: Sequence[Part]) -> Any:
    shown = parts[:SHOWN]
    return _shares(title, [p.value for p in shown], [p.share for p in shown], [p.whole for p in shown])


def _best(products: Sequence[Product]) -> Any:
    shown = products[:SHOWN]
    title = "Best sellers, by share of orders with a product on them"
    return _shares(title, [p.name for p in shown], [p.share for p in shown], [p.whole for p in shown])


def _shares(title: str, names: Sequence[str], shares: Sequence[float], whole: Sequence[float]) -> Any:
    figure = canvas(9.2, _rows(len(names)))
    axes = figure.subplots()
    _named(axes, names)
    _bars(axes, shares, whole)
    axes.set_title(title)
    axes.set_xlabel("share of orders")
    _legend(figure, axes)
    return figure


def _both_sides(words: Words) -> Any:
    rows = max(len(words.good[:SHOWN]), len(words.bad[:SHOWN]))
    figure = canvas(9.2, _rows(rows))
    sides: tuple[tuple[str, Sequence[Word], str], ...] = (
        (f"Of {words.good_reviews:,} good reviews", words.good[:SHOWN], BLUE),
        (f"Of {words.bad_reviews:,} bad reviews", words.bad[:SHOWN], _RED),
    )
    for axes, (title, side, color), good in zip(figure.subplots(1, 2), sides, (True, False), strict=True):
        counts = [(w.good if good else w.bad, w.bad if good else w.good) for w in side]
        drawn = axes.barh(range(len(side)), [abs(word.score) for word in side], height=0.62, color=color)
        axes.bar_label(drawn, [f"{mine:,} : {other:,}" for mine, other in counts], padding=4, fontsize=8.5)
        _named(axes, [word.word for word in side])
        axes.set_ylim(rows - 0.4, -0.6)
        axes.margins(x=0.25)
        axes.set_title(title)
        axes.set_xlabel("how clearly it sets them apart, in standard errors", fontsize=8.5)
    return figure


def _installed() -> Sequence[str]:
    from matplotlib import font_manager

    there = set(font_manager.get_font_names())
    return [font for font in _FONTS if font in there][:1]
