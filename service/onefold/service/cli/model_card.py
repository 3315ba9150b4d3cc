"""A model's card on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from onefold.ml.terms import BASELINES, MEASURES, PARTS
from onefold.service.cli import terminal
from onefold.service.cli.training import decision
from onefold.v1 import prediction_service_pb2 as pb

KINDS: Final = {pb.MODEL_KIND_FULL: "full", pb.MODEL_KIND_SMALL: "small"}
STATES: Final = {
    pb.MODEL_STATE_ACTIVE: "in use",
    pb.MODEL_STATE_SUPERSEDED: "",
    pb.MODEL_STATE_INCOMPATIBLE: "refused: train again",
}
_LEVELS: Final = {
    pb.DRIFT_LEVEL_STABLE: "stable",
    pb.DRIFT_LEVEL_MOVED: "[yellow]moved[/]",
    pb.DRIFT_LEVEL_SHIFTED: "[red]shifted[/]",
    pb.DRIFT_LEVEL_UNKNOWN: "unknown",
}
_SHOWN: Final = 10
_BAR: Final = 20


def render(model: pb.Model, console: Console) -> None:
    """Prints the card, section by section."""
    for line in _head(model):
        console.print(line, soft_wrap=True)
    if model.HasField("challenge"):
        console.print(escape(decision(model)), soft_wrap=True)
    if model.weaknesses:
        _heading(console, "Known weaknesses")
        for weakness in model.weaknesses:
            console.print(f"[yellow]![/] {escape(weakness)}", soft_wrap=True)
    for title, shown in (
        ("How good it is, on held-out customers (95 % intervals)", _measures(model)),
        ("Whether a probability means what it says", _reliability(model)),
        ("What ranking by it gains", _lift(model)),
        ("What moves churn", _important(model)),
        ("What data it needs", _gates(model)),
    ):
        if shown.row_count:
            _heading(console, title)
            console.print(shown)
    if model.HasField("drift"):
        _heading(console, "Drift since training")
        for part in _drift(model.drift):
            console.print(part, soft_wrap=isinstance(part, str))


def _heading(console: Console, words: str) -> None:
    console.print(f"\n[bold]{words}[/]", soft_wrap=True)


def _head(model: pb.Model) -> Iterator[str]:
    state = STATES.get(model.state, "")
    yield f"[bold]{model.version}[/]{f'  [green]{state}[/]' if state else ''}"
    if not model.HasField("create_time"):
        return
    yield (
        f"Churn is no purchase within {model.horizon_days} days. {KINDS.get(model.kind, 'unknown').capitalize()} model:"
        f" {escape(model.choice)}."
    )
    yield (
        f"Trained {_day(model.create_time)} on {model.customer_count:,} customers with orders since"
        f" {_day(model.first_order_time)}; data {model.data_fingerprint}."
    )
    if "rows" in model.metrics:
        yield (
            f"Tested on what {model.metrics['rows']:,.0f} of them did from {_day(model.held_out_time)} on, unseen;"
            f" {model.metrics['base_rate']:.0%} churned."
        )


def _measures(model: pb.Model) -> Table:
    table = terminal.table(("", "model", "best baseline", "difference"))
    part = ""
    for measure in model.measures:
        if measure.part != part:
            part = measure.part
            table.add_row(f"[dim]{PARTS.get(part, part)}[/]")
        best = _best(measure)
        table.add_row(
            f"  {MEASURES[measure.name].words if measure.name in MEASURES else measure.name}",
            _interval(measure.model),
            f"{_figure(measure.baselines[best].value)} {BASELINES.get(best, best)}" if best else "",
            _judged(measure.differences[best], measure.name) if best else "",
        )
    return table


def _best(measure: pb.Measure) -> str:
    """The baseline that does best; empty where there is none."""
    better = MEASURES[measure.name].better if measure.name in MEASURES else "higher"

    def worth(baseline: str) -> float:
        value = measure.baselines[baseline].value
        return value if better == "higher" else -value if better == "lower" else -abs(value - float(better))

    return max(measure.baselines, key=worth, default="")


def _judged(apart: pb.Estimate, name: str) -> str:
    """A difference, in colour where it is more than chance."""
    words, better = _interval(apart, signed=True), MEASURES[name].better if name in MEASURES else 0.0
    if isinstance(better, float) or apart.low <= 0.0 <= apart.high:
        return words
    return f"[{'green' if (apart.value > 0) == (better == 'higher') else 'red'}]{words}[/]"


def _reliability(model: pb.Model) -> Table:
    table = terminal.table(("customers", "promised", "churned", "95 %", ""))
    for part in model.reliability:
        seen = part.observed
        inside = seen.low <= part.predicted <= seen.high
        table.add_row(
            f"{part.rows:,}",
            f"{part.predicted:.0%}",
            f"{seen.value:.0%}",
            f"{seen.low:.0%} … {seen.high:.0%}",
            "" if inside else f"[yellow]{'less' if seen.high < part.predicted else 'more'} than promised[/]",
        )
    return _right(table, 3)


def _lift(model: pb.Model) -> Table:
    table = terminal.table(("likeliest first", "churned", "lift", "of all who churned", ""))
    for part in model.lift:
        table.add_row(
            f"{part.population:.0%}", f"{part.rate:.0%}", f"{part.lift:.1f}", f"{part.gain:.0%}", _bar(part.gain)
        )
    return _right(table, 4)


def _important(model: pb.Model) -> Table:
    table = terminal.table(("input", "share", ""))
    whole = sum(model.importance.values()) or 1.0
    ranked = sorted(model.importance.items(), key=lambda item: (-item[1], item[0]))
    for name, size in ranked[:_SHOWN]:
        table.add_row(escape(name), f"{size / whole:.0%}", _bar(size / ranked[0][1] if ranked[0][1] else 0.0))
    return table


def _gates(model: pb.Model) -> Table:
    table = terminal.table(("", "there", "needed", "for the model"))
    for gate in model.gates:
        enough = gate.there >= gate.needed
        table.add_row(
            f"{'[green]✓[/]' if enough else '[yellow]✗[/]'} {escape(gate.what)}",
            f"{gate.there:,}",
            f"{gate.needed:,}",
            KINDS.get(gate.kind, ""),
        )
    for column in table.columns[1:3]:
        column.justify = "right"
    return table


def _drift(report: pb.DriftReport) -> Iterator[RenderableType]:
    if not report.customer_count:
        yield "Nobody in the graph has bought anything: there is nobody to compare."
        return
    yield (
        f"{report.customer_count:,} customers as of {_day(report.as_of_time)}. Population stability index: below 0.1"
        " stable, to 0.25 moved, above it shifted."
    )
    table = terminal.table((f"the farthest of {len(report.drifts)}", "index", ""))
    for drift in report.drifts[:_SHOWN]:
        table.add_row(
            escape(drift.name), f"{drift.index:.3f}" if drift.HasField("index") else "", _LEVELS.get(drift.level, "")
        )
    yield table


def _right(table: Table, columns: int) -> Table:
    """The table with its first columns set to the right, as figures are."""
    for column in table.columns[:columns]:
        column.justify = "right"
    return table


def _bar(share: float) -> str:
    return f"[blue]{'█' * round(share * _BAR)}[/]"


def _interval(estimate: pb.Estimate, *, signed: bool = False) -> str:
    sign: Literal["", "+"] = "+" if signed else ""
    return f"{_figure(estimate.value, sign)} ({_figure(estimate.low, sign)} … {_figure(estimate.high, sign)})"


def _figure(value: float, sign: Literal["", "+"] = "") -> str:
    return f"{value:{sign}.{3 if abs(value) < 10 else 1}f}"


def _day(time: object) -> str:
    return str(time.ToJsonString())[:10]  # type: ignore[attr-defined]
