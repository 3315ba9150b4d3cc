"""An insight on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from onefold.graph.model import to_datetime
from onefold.segments.insight.describe import Insight
from onefold.segments.insight.intervals import Estimate, Figure
from onefold.segments.insight.shares import Distribution
from onefold.segments.insight.when import Grid
from onefold.service.cli import terminal

_SHOWN: Final = 8
"""Rows of a table at most."""
_SHADES: Final = " ░▒▓█"
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def render(insight: Insight, title: str, console: Console) -> None:
    """Prints an insight, section by section; one that has nothing to say is left out."""
    console.print(f"[bold]{escape(title)}[/]", soft_wrap=True)
    console.print(
        f"{insight.members:,} customers, {_percent(insight.share)} of {insight.people:,}, as of"
        f" {to_datetime(insight.as_of):%Y-%m-%d %H:%M} UTC; intervals of {insight.confidence:.0%}",
        soft_wrap=True,
    )
    for warning in insight.warnings:
        console.print(f"[yellow]![/] {escape(warning)}", soft_wrap=True)
    _section(console, "At a glance", _checks(insight))
    for found in insight.distributions:
        _section(console, f"{found.title} (known of {found.known:,})", _distribution(found))
    if any(map(any, insight.when.visits)):
        _section(console, "Visits by weekday and hour", _grid(insight.when.visits))
    if any(map(any, insight.when.orders)):
        _section(console, "Orders by weekday and hour", _grid(insight.when.orders))
    _section(console, "From the first visit to the first order", *_decision(insight))
    _section(console, "What came before an order", _paths(insight))
    _section(console, "How they buy", *_buying(insight))
    _section(console, "Best sellers (share of orders)", _best(insight))
    _section(console, "Bought together", _pairs(insight))
    _section(console, "Words of reviews", *_words(insight))


def _section(console: Console, title: str, *parts: RenderableType) -> None:
    there = [part for part in parts if not isinstance(part, Table) or part.row_count]
    if not there:
        return
    console.print(f"\n[bold]{escape(title)}[/]", soft_wrap=True)
    for part in there:
        console.print(part, soft_wrap=isinstance(part, str))


def _checks(insight: Insight) -> Table:
    table = terminal.table()
    for check in insight.checks:
        if check.met is None:
            mark = "[dim]?[/]"
        elif check.sure:
            mark = "[green]yes[/]" if check.met else "[yellow]no[/]"
        else:
            mark = "just" if check.met else "not quite"
        table.add_row(mark, escape(check.words), f"at least {check.bar:.0%} is good", _between(check.found))
    return table


def _distribution(found: Distribution) -> Table:
    table = terminal.table(("", "customers", "share", "everybody", "index", ""))
    shown = found.shares if found.ordered else found.shares[:_SHOWN]
    for share in shown:
        part = "" if share.share is None else _percent(share.share.value)
        index, between = "too few", ""
        if share.tgi is not None:
            index, between = f"{share.tgi.value:.0f}", _between(share.tgi, _whole)
        table.add_row(escape(share.value), f"{share.count:,}", part, _percent(share.whole), index, between)
    return table


def _grid(grid: Grid) -> Table:
    """A shade an hour; the darkest is the most."""
    most = max(map(max, grid))
    table = terminal.table(("", "0     3     6     9     12    15    18    21"))
    for day, row in zip(_DAYS, grid, strict=True):
        shades = "".join(_SHADES[-(-count * (len(_SHADES) - 1) // most)] * 2 for count in row)
        table.add_row(day, shades)
    return table


def _decision(insight: Insight) -> Iterator[str]:
    found = insight.decision
    if not found.same_day.of:
        return
    yield f"{found.bought:,} of {found.same_day.of:,} visitors have bought, {found.not_yet:,} have not yet"
    yield f"bought on the day of the first visit: {_told(found.same_day, _percent)}"
    if found.quartiles:
        first, half, third = found.quartiles
        yield f"days until the first order: {half:.0f} in the middle, {first:.0f} to {third:.0f} for half of them"


def _paths(insight: Insight) -> Table:
    table = terminal.table(("", "orders", "share"))
    for path in insight.decision.paths[:_SHOWN]:
        table.add_row(escape(" → ".join(path.steps)), f"{path.orders:,}", _percent(path.share))
    return table


def _buying(insight: Insight) -> Iterator[RenderableType]:
    found = insight.buying
    table = terminal.table()
    rows: tuple[tuple[str, Figure, Callable[[float], str]], ...] = (
        ("have bought", found.buyers, _percent),
        ("repurchase rate", found.repurchase_rate, _percent),
        (f"average order, {found.currency}", found.order_value, _number),
        ("orders per buyer", found.orders_per_buyer, _number),
        ("orders with a coupon", found.coupon_share, _percent),
    )
    for name, figure, shown in rows:
        if figure.segment is not None:
            table.add_row(escape(name), escape(_told(figure, shown)))
    yield table
    if found.concentration is not None:
        (band,) = [b for b in found.price_bands if b.share == found.concentration][:1]
        yield escape(f"{_percent(band.share)} of orders charge {band.value} {found.currency}")
    for method in found.payment_methods[:_SHOWN]:
        if method.value:
            yield escape(f"{_percent(method.share)} are paid by {method.value}, everybody {_percent(method.whole)}")


def _best(insight: Insight) -> Table:
    table = terminal.table(("", "orders", "share", "everybody"))
    for product in insight.products.best_sellers[:_SHOWN]:
        name = escape(product.name)
        table.add_row(name, f"{product.orders:,}", _percent(product.share), _percent(product.whole))
    return table


def _pairs(insight: Insight) -> Table:
    table = terminal.table(("who buys", "also buys", "orders", "support", "confidence", "lift"))
    for p in insight.products.pairs[:_SHOWN]:
        shares = (_percent(p.support), _percent(p.confidence))
        table.add_row(escape(p.first), escape(p.then), f"{p.together:,}", *shares, f"{p.lift:.1f}")
    return table


def _words(insight: Insight) -> Iterator[str]:
    found = insight.words
    for name, words, reviews in (("good", found.good, found.good_reviews), ("bad", found.bad, found.bad_reviews)):
        if reviews:
            said = ", ".join(word.word for word in words[: 2 * _SHOWN]) or "none that is more than chance"
            yield escape(f"{reviews:,} {name}: {said}")
    if found.note:
        yield escape(found.note)


def _told(figure: Figure, shown: Callable[[float], str]) -> str:
    if figure.segment is None:
        return ""
    everybody = "" if figure.whole is None else f"; everybody {shown(figure.whole)}"
    return f"{shown(figure.segment.value)} ({_between(figure.segment, shown)}{everybody})"


def _between(found: Estimate | None, shown: Callable[[float], str] | None = None) -> str:
    if found is None:
        return ""
    words = shown or _percent
    return "from one customer" if found.high == float("inf") else f"{words(found.low)} to {words(found.high)}"


def _percent(share: float) -> str:
    return f"{share:.1%}" if share < 0.0995 else f"{share:.0%}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:,.2f}"


def _whole(value: float) -> str:
    return f"{value:.0f}"
