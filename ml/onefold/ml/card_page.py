"""A model's card as a page that a person reads: Markdown with plots, from plain figures.

The same card makes the same bytes, on any day. Plots need matplotlib, which Onefold does not need to run:
``pip install 'onefold[plots]'``.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from onefold.graph.errors import NotReady
from onefold.graph.model import Instant
from onefold.ml.drift import Drift
from onefold.ml.lift import ReliabilityBin, Tenth

PAGE: Final = "card.md"


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of the model on held-out rows, beside what it has to beat."""

    name: str
    """In words, as ``AUC``."""
    value: float
    low: float | None = None
    """95 % interval; None where none was computed."""
    high: float | None = None
    baselines: Mapping[str, float] = field(default_factory=dict)
    """The same figure of each baseline, by its name in words."""
    higher_is_better: bool = True


@dataclass(frozen=True, slots=True)
class Gate:
    """A condition that a model must meet before it is used."""

    rule: str
    passed: bool
    seen: str = ""
    """What was found, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """All that the page says; what is empty is left out of it."""

    title: str
    predicts: str
    """In a sentence, with the horizon."""
    created_at: Instant
    known_until: Instant
    """The model knows nothing that happened from here on."""
    trained_since: Instant
    tested_since: Instant
    tested_until: Instant
    """The held-out window of the figures, reliability, lift."""
    population: str
    """Who the rows are, in words."""
    rows: int
    """Of training."""
    customers: int
    data_fingerprint: str
    measures: Sequence[Measure] = ()
    gates: Sequence[Gate] = ()
    reliability: Sequence[ReliabilityBin] = ()
    tenths: Sequence[Tenth] = ()
    importance: Mapping[str, float] = field(default_factory=dict)
    """How much each input moves the prediction, in any unit of one sign; only shares of the sum are told."""
    drift: Mapping[str, Drift] = field(default_factory=dict)
    """Of features and scores since training, by name."""
    weaknesses: Sequence[str] = ()
    """What is known to go wrong, a sentence each."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the libraries that trained it."""


def write(card: Card, folder: Path) -> Path:
    """Writes the page and its plots into a folder, which is made if missing; gives the page's path.

    Raises :class:`NotReady` where matplotlib is not installed; then nothing is written.
    """
    drawn = plots(card)
    folder.mkdir(parents=True, exist_ok=True)
    for name, svg in drawn.items():
        (folder / name).write_text(svg, "utf-8")
    (folder / PAGE).write_text(page(card), "utf-8")
    return folder / PAGE


def page(card: Card) -> str:
    """The card in Markdown; it shows the plots of :func:`plots` from the same folder."""
    parts = (_head, _measures, _gates, _reliability, _lift, _importance, _drift, _weaknesses, _versions)
    return "\n\n".join(block for part in parts for block in part(card)) + "\n"


def plots(card: Card) -> dict[str, str]:
    """The plots as SVG texts by file name, those for which the card has figures.

    Raises :class:`NotReady` where matplotlib is not installed.
    """
    wanted: tuple[tuple[str, object, Callable[[Card], Any]], ...] = (
        (_RELIABILITY, card.reliability, _draw_reliability),
        (_LIFT, card.tenths, _draw_lift),
        (_IMPORTANCE, card.importance, _draw_importance),
    )
    return {name: _svg(card, draw) for name, figures, draw in wanted if figures}


_RELIABILITY: Final = "reliability.svg"
_LIFT: Final = "lift.svg"
_IMPORTANCE: Final = "importance.svg"
_SHOWN: Final = 15
"""Features in the plot of importance, and in the table of drift."""


def _head(card: Card) -> Iterator[str]:
    yield f"# {card.title}"
    yield card.predicts
    yield _table(
        ("", ""),
        (
            ("population", card.population),
            ("trained on", f"{card.rows:,} rows of {card.customers:,} customers"),
            ("training period", f"{_day(card.trained_since)} to {_day(card.known_until)}"),
            ("tested on", f"{_day(card.tested_since)} to {_day(card.tested_until)}, which the tested fit had not seen"),
            ("made", _day(card.created_at)),
            ("data fingerprint", f"`{card.data_fingerprint}`"),
        ),
    )


def _measures(card: Card) -> Iterator[str]:
    if not card.measures:
        return
    yield "## How good it is"
    baselines = list(dict.fromkeys(name for measure in card.measures for name in measure.baselines))
    rows = [
        (
            f"{measure.name} ({'higher' if measure.higher_is_better else 'lower'} is better)",
            f"**{measure.value:.4g}**",
            "" if measure.low is None or measure.high is None else f"{measure.low:.4g} to {measure.high:.4g}",
            *(_beside(measure, name) for name in baselines),
        )
        for measure in card.measures
    ]
    yield _table(("on held-out customers", "model", "95 % interval", *baselines), rows)


def _beside(measure: Measure, baseline: str) -> str:
    if baseline not in measure.baselines:
        return ""
    value = measure.baselines[baseline]
    better = value != measure.value and (value > measure.value) == measure.higher_is_better
    return f"{value:.4g}{' (better than the model)' if better else ''}"


def _gates(card: Card) -> Iterator[str]:
    if card.gates:
        yield "## Gates"
        rows = [(gate.rule, "passed" if gate.passed else "**failed**", gate.seen) for gate in card.gates]
        yield _table(("rule", "", "seen"), rows)


def _reliability(card: Card) -> Iterator[str]:
    if card.reliability:
        inside = sum(part.low <= part.predicted <= part.high for part in card.reliability)
        yield "## Whether a probability means what it says"
        of = len(card.reliability)
        yield f"In {inside} of {of} bins the mean prediction lies within the 95 % interval of what came true."
        yield f"![Predicted against observed share, by bin, with intervals]({_RELIABILITY})"


def _lift(card: Card) -> Iterator[str]:
    if card.tenths:
        first = card.tenths[0]
        yield "## What ranking by it gains"
        yield (
            f"The {first.population:.0%} with the highest scores hold {first.gain:.0%} of all that came true,"
            f" {first.lift:.1f} times their share."
        )
        yield f"![Cumulative gain, and lift by part]({_LIFT})"


def _importance(card: Card) -> Iterator[str]:
    if card.importance:
        yield "## What moves it"
        yield f"![Share of each input in what moves the prediction]({_IMPORTANCE})"


def _drift(card: Card) -> Iterator[str]:
    if not card.drift:
        return
    yield "## Drift since training"
    levels = [drift.level for drift in card.drift.values()]
    yield (
        ", ".join(f"{levels.count(level)} {level}" for level in dict.fromkeys(levels))
        + ". Population stability index: below 0.1 stable, to 0.25 moved, above it shifted."
    )
    farthest = sorted(card.drift.items(), key=lambda pair: (-(pair[1].index or 0.0), pair[0]))[:_SHOWN]
    rows = [
        (name, "unknown" if drift.index is None else f"{drift.index:.3f}", drift.level, f"{drift.rows:,}")
        for name, drift in farthest
    ]
    yield _table(("what", "index", "", "rows now"), rows)


def _weaknesses(card: Card) -> Iterator[str]:
    if card.weaknesses:
        yield "## Known weaknesses"
        yield "\n".join(f"- {weakness}" for weakness in card.weaknesses)


def _versions(card: Card) -> Iterator[str]:
    if card.versions:
        yield "Trained with " + ", ".join(f"{name} {version}" for name, version in card.versions.items()) + "."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |" for cells in lines)


def _day(instant: Instant) -> str:
    return f"{datetime.fromtimestamp(instant / 1000, UTC):%Y-%m-%d}"


_BLUE: Final = "#2b6ca3"
_GREY: Final = "#8a8f98"
_STYLE: Final = {
    "svg.hashsalt": "onefold",  # else ids of clip paths differ from run to run
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same widths everywhere
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _GREY,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "figure.constrained_layout.use": True,
}


def _svg(card: Card, draw: Callable[[Card], Any]) -> str:
    try:
        import matplotlib as mpl
    except ImportError as err:
        raise NotReady("plots", "matplotlib is not installed; pip install 'onefold[plots]'") from err
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        file = io.StringIO()
        draw(card).savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def _percent(axis: Any) -> None:
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _draw_reliability(card: Card) -> Any:
    figure = _figure(5.2, 4.8)
    axes = figure.subplots()
    predicted = [part.predicted for part in card.reliability]
    observed = [part.observed for part in card.reliability]
    spread = [
        [part.observed - part.low for part in card.reliability],
        [part.high - part.observed for part in card.reliability],
    ]
    most = min(1.0, 1.06 * max(*predicted, *(part.high for part in card.reliability)))
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle="--", label="as promised")
    axes.errorbar(
        predicted, observed, yerr=spread, color=_BLUE, marker="o", markersize=4.5, linewidth=1.2, elinewidth=1.2,
        capsize=3, label="came true, with 95 % interval",
    )  # fmt: skip
    axes.set(xlim=(0, most), ylim=(0, most), aspect="equal", xlabel="predicted", ylabel="came true")
    _percent(axes.xaxis)
    _percent(axes.yaxis)
    axes.legend(frameon=False, loc="upper left")
    return figure


def _draw_lift(card: Card) -> Any:
    figure = _figure(9.2, 4.0)
    gain, bars = figure.subplots(1, 2)
    reached = [0.0, *(part.population for part in card.tenths)]
    base = sum(part.rate * part.rows for part in card.tenths) / sum(part.rows for part in card.tenths)
    gain.plot([0, base, 1], [0, 1, 1], color=_GREY, linewidth=1, linestyle=":", label="the best possible")
    gain.plot(
        reached,
        [0.0, *(part.gain for part in card.tenths)],
        color=_BLUE,
        marker="o",
        markersize=4,
        label="the model",
        clip_on=False,
    )
    gain.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle="--", label="by chance")
    gain.set(
        xlim=(0, 1), ylim=(0, 1.02), xlabel="share of customers, highest scores first", ylabel="share of what came true"
    )
    gain.set_title("Cumulative gain")
    _percent(gain.xaxis)
    _percent(gain.yaxis)
    gain.legend(frameon=False, loc="lower right")
    drawn = bars.bar(range(1, len(card.tenths) + 1), [part.lift for part in card.tenths], width=0.75, color=_BLUE)
    bars.bar_label(drawn, fmt="%.1f", padding=2, fontsize=8.5)
    bars.axhline(1.0, color=_GREY, linewidth=1, linestyle="--")
    bars.set(xticks=range(1, len(card.tenths) + 1), xlabel="part of customers, highest scores first", ylabel="lift")
    bars.margins(y=0.08)
    bars.set_title("Lift by part")
    return figure


def _draw_importance(card: Card) -> Any:
    most = sorted(card.importance.items(), key=lambda pair: (-abs(pair[1]), pair[0]))
    total = sum(abs(value) for value in card.importance.values()) or 1.0
    shown = [(name, abs(value) / total) for name, value in most[:_SHOWN]]
    figure = _figure(7.4, 0.9 + 0.3 * len(shown))
    axes = figure.subplots()
    drawn = axes.barh([name for name, _ in shown], [share for _, share in shown], height=0.7, color=_BLUE)
    axes.bar_label(drawn, fmt="{:.0%}", padding=3, fontsize=8.5)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.1, y=0.02)
    axes.set_xlabel("share of what moves the prediction")
    if len(most) > len(shown):
        axes.set_title(f"The first {len(shown)} of {len(most)} inputs")
    _percent(axes.xaxis)
    return figure
