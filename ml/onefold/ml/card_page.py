"""A model's card as a page that a person reads: Markdown with plots.

The same card makes the same bytes, on any day. Plots need matplotlib, which Onefold does not need to run:
``pip install 'onefold[plots]'``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from onefold.graph.model import Instant
from onefold.ml.drawing import BLUE, GREY, canvas, percent, svg
from onefold.ml.drift import Drift
from onefold.ml.model import Measured, ModelCard
from onefold.ml.panel import DAY
from onefold.ml.terms import BASELINES, MEASURES, PARTS, Term
from onefold.ml.weaknesses import weaknesses

PAGE: Final = "card.md"


def write(card: ModelCard, model_id: str, folder: Path, drifts: Mapping[str, Drift] | None = None) -> Path:
    """Writes the page and its plots into a folder, which is made if missing; gives the page's path.

    Raises :class:`NotReady` where matplotlib is not installed; then nothing is written.
    """
    drawn = plots(card)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in drawn.items():
        (folder / name).write_text(text, "utf-8")
    (folder / PAGE).write_text(page(card, model_id, drifts), "utf-8")
    return folder / PAGE


def page(card: ModelCard, model_id: str, drifts: Mapping[str, Drift] | None = None) -> str:
    """The card in Markdown; it shows the plots of :func:`plots` from the same folder. With ``drifts``, those of
    :func:`onefold.ml.monitor.drifts`, it also says how far customers have moved since."""
    moved = drifts or {}
    parts = (
        _head(card, model_id),
        _weaknesses(card, moved),
        _measures(card),
        _reliability(card),
        _lift(card),
        _importance(card),
        _challenge(card),
        _gates(card),
        _drift(moved),
        _versions(card),
    )
    return "\n\n".join(block for part in parts for block in part) + "\n"


def plots(card: ModelCard) -> dict[str, str]:
    """The plots as SVG texts by file name. Raises :class:`NotReady` where matplotlib is not installed."""
    wanted: tuple[tuple[str, Callable[[ModelCard], Any]], ...] = (
        (_RELIABILITY, _draw_reliability),
        (_LIFT, _draw_lift),
        (_IMPORTANCE, _draw_importance),
    )
    return {name: svg(partial(draw, card)) for name, draw in wanted}


_RELIABILITY: Final = "reliability.svg"
_LIFT: Final = "lift.svg"
_IMPORTANCE: Final = "importance.svg"
_SHOWN: Final = 15
"""Features in the plot of importance, and in the table of drift."""
_KINDS: Final = {"full": "full: linear models and trees", "small": "small: the buying process and linear models"}


def _head(card: ModelCard, model_id: str) -> Iterator[str]:
    yield f"# {model_id}"
    yield (
        f"How likely a customer is to buy nothing within {card.horizon_days} days (or any fewer), and what they will"
        " spend and when they will order next."
    )
    until = card.held_out + card.horizon_days * DAY
    yield _table(
        ("", ""),
        (
            ("kind", f"{_KINDS[card.kind]} ({card.choice})"),
            ("trained on", f"{card.rows:,} rows of {card.population.customers:,} customers with an order"),
            ("training period", f"{_day(card.period[0])} to {_day(card.cutoff)}"),
            (
                "tested on",
                f"{card.metrics.rows:,} customers from {_day(card.held_out)} to {_day(until)}, which the tested fit"
                f" had not seen; {card.metrics.base_rate:.0%} churned",
            ),
            ("made", _day(card.created_at)),
            ("data fingerprint", f"`{card.data_fingerprint}`"),
        ),
    )


def _weaknesses(card: ModelCard, drifts: Mapping[str, Drift]) -> Iterator[str]:
    if known := weaknesses(card, drifts):
        yield "## Known weaknesses"
        yield "\n".join(f"- {weakness}" for weakness in known)


def _measures(card: ModelCard) -> Iterator[str]:
    yield "## How good it is"
    yield (
        "On the customers it was tested on, with 95 % intervals. A baseline is called better or worse where the paired"
        " difference is more than chance."
    )
    for part, measured in card.measured.items():
        yield f"### {PARTS[part].capitalize()}"
        rows = [
            (
                _told(MEASURES[name]),
                f"**{_figure(name, found.value)}** ({_figure(name, found.low)} to {_figure(name, found.high)})",
                *(_beside(measured, baseline, name) for baseline in measured.baselines),
            )
            for name, found in measured.model.items()
        ]
        yield _table(("", "model", *(BASELINES[baseline] for baseline in measured.baselines)), rows)


def _told(term: Term) -> str:
    if isinstance(term.better, str):
        return f"{term.words} ({term.better} is better)"
    return f"{term.words} ({term.better:{'.0%' if term.share else '.0f'}} is best)"


def _figure(name: str, value: float) -> str:
    return f"{value:.0%}" if MEASURES[name].share else f"{value:.4g}"


def _beside(measured: Measured, baseline: str, name: str) -> str:
    if name not in measured.baselines[baseline]:
        return ""
    apart, better = measured.differences[baseline][name], MEASURES[name].better
    word = ""
    if apart.excludes_zero and isinstance(better, str):
        word = " worse" if (apart.value > 0) == (better == "higher") else " **better**"
    return f"{_figure(name, measured.baselines[baseline][name].value)}{word}"


def _reliability(card: ModelCard) -> Iterator[str]:
    inside = sum(part.low <= part.predicted <= part.high for part in card.reliability)
    yield "## Whether a probability means what it says"
    of = len(card.reliability)
    yield f"In {inside} of {of} bins the mean prediction lies within the 95 % interval of what came true."
    yield f"![Predicted against observed share, by bin, with intervals]({_RELIABILITY})"


def _lift(card: ModelCard) -> Iterator[str]:
    first = card.lift[0]
    yield "## What ranking by it gains"
    yield (
        f"The {first.population:.0%} with the highest scores hold {first.gain:.0%} of all who churned,"
        f" {first.lift:.1f} times their share."
    )
    yield f"![Cumulative gain, and lift by part]({_LIFT})"


def _importance(card: ModelCard) -> Iterator[str]:
    yield "## What moves it"
    yield f"![Share of each input in what moves the prediction]({_IMPORTANCE})"


def _challenge(card: ModelCard) -> Iterator[str]:
    found = card.challenge
    yield "## Beside the model that was in use"
    yield f"{'Promoted' if found.promoted else '**Not promoted**'}: {found.words}."
    if found.differences:
        rows = [
            (_told(MEASURES[name]), f"{apart.value:+.4f} ({apart.low:+.4f} to {apart.high:+.4f})")
            for name, apart in found.differences.items()
        ]
        yield _table(("churn", f"this model less {found.champion}"), rows)


def _gates(card: ModelCard) -> Iterator[str]:
    yield "## What data it needs"
    rows = [
        (gate.what, f"{gate.there:,}", f"{gate.needed:,}", gate.kind, "" if gate.is_open else "**too few**")
        for gate in card.gates
    ]
    yield _table(("", "there", "needed", "for the model", ""), rows)


def _drift(drifts: Mapping[str, Drift]) -> Iterator[str]:
    if not drifts:
        return
    yield "## Drift since training"
    levels = [drift.level for drift in drifts.values()]
    yield (
        ", ".join(f"{levels.count(level)} {level}" for level in dict.fromkeys(levels))
        + ". Population stability index: below 0.1 stable, to 0.25 moved, above it shifted."
    )
    rows = [
        (name, "unknown" if drift.index is None else f"{drift.index:.3f}", drift.level, f"{drift.rows:,}")
        for name, drift in list(drifts.items())[:_SHOWN]
    ]
    yield _table(("what, the farthest first", "index", "", "customers now"), rows)


def _versions(card: ModelCard) -> Iterator[str]:
    yield "Trained with " + ", ".join(f"{name} {version}" for name, version in card.versions.items()) + "."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |" for cells in lines)


def _day(instant: Instant) -> str:
    return f"{datetime.fromtimestamp(instant / 1000, UTC):%Y-%m-%d}"


def _draw_reliability(card: ModelCard) -> Any:
    figure = canvas(5.2, 4.8)
    axes = figure.subplots()
    predicted = [part.predicted for part in card.reliability]
    observed = [part.observed for part in card.reliability]
    spread = [
        [part.observed - part.low for part in card.reliability],
        [part.high - part.observed for part in card.reliability],
    ]
    most = min(1.0, 1.06 * max(*predicted, *(part.high for part in card.reliability)))
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="as promised")
    axes.errorbar(
        predicted, observed, yerr=spread, color=BLUE, marker="o", markersize=4.5, linewidth=1.2, elinewidth=1.2,
        capsize=3, clip_on=False, label="churned, with 95 % interval",
    )  # fmt: skip
    axes.set(xlim=(0, most), ylim=(0, most), aspect="equal", xlabel="predicted", ylabel="churned")
    percent(axes.xaxis)
    percent(axes.yaxis)
    axes.legend(frameon=False, loc="upper left")
    return figure


def _draw_lift(card: ModelCard) -> Any:
    figure = canvas(9.2, 4.0)
    gain, bars = figure.subplots(1, 2)
    reached = [0.0, *(part.population for part in card.lift)]
    base = sum(part.rate * part.rows for part in card.lift) / sum(part.rows for part in card.lift)
    gain.plot([0, base, 1], [0, 1, 1], color=GREY, linewidth=1, linestyle=":", label="the best possible")
    gain.plot(
        reached,
        [0.0, *(part.gain for part in card.lift)],
        color=BLUE,
        marker="o",
        markersize=4,
        label="the model",
        clip_on=False,
    )
    gain.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="by chance")
    gain.set(
        xlim=(0, 1), ylim=(0, 1.02), xlabel="share of customers, highest scores first", ylabel="share of who churned"
    )
    gain.set_title("Cumulative gain")
    percent(gain.xaxis)
    percent(gain.yaxis)
    gain.legend(frameon=False, loc="lower right")
    drawn = bars.bar(range(1, len(card.lift) + 1), [part.lift for part in card.lift], width=0.75, color=BLUE)
    bars.bar_label(drawn, fmt="%.1f", padding=2, fontsize=8.5)
    bars.axhline(1.0, color=GREY, linewidth=1, linestyle="--")
    bars.set(xticks=range(1, len(card.lift) + 1), xlabel="part of customers, highest scores first", ylabel="lift")
    bars.margins(y=0.08)
    bars.set_title("Lift by part")
    return figure


def _draw_importance(card: ModelCard) -> Any:
    most = sorted(card.importance.items(), key=lambda pair: (-abs(pair[1]), pair[0]))
    total = sum(abs(value) for value in card.importance.values()) or 1.0
    shown = [(name, abs(value) / total) for name, value in most[:_SHOWN]]
    figure = canvas(7.4, 0.9 + 0.3 * len(shown))
    axes = figure.subplots()
    drawn = axes.barh([name for name, _ in shown], [share for _, share in shown], height=0.7, color=BLUE)
    axes.bar_label(drawn, fmt="{:.0%}", padding=3, fontsize=8.5)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.1, y=0.02)
    axes.set_xlabel("share of what moves the prediction")
    if len(most) > len(shown):
        axes.set_title(f"The first {len(shown)} of {len(most)} inputs")
    percent(axes.xaxis)
    return figure
