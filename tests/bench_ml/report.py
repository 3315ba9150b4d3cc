"""What was measured, as tables beside their bars, and as plots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onefold.ml.metrics import BINS, Estimate
from tests.bench_ml.small import SIZES, Draw
from tests.bench_ml.windows import OURS, Found

PLOTTED = (OURS, "RFM logistic", "LightGBM, library defaults")


@dataclass(frozen=True)
class Bar:
    """A promise, what was measured, and whether it holds."""

    promise: str
    measured: str
    holds: bool


def bars(found: Sequence[Found], draws: dict[str, list[Draw]], seconds: dict[str, float]) -> list[Bar]:
    """Every bar that the windows measured allow to judge."""
    return [*_churn(found), *_spend(found), *_next_order(found), *_small(draws), *_time(seconds)]


def _churn(found: Sequence[Found]) -> Iterable[Bar]:
    beaten = [
        f"{name} on {window.window.name}"
        for window in found
        for name, apart in window.measured["churn"].differences.items()
        if apart["auc"].high < 0
    ]
    yield Bar(
        "churn AUC: no baseline better with a 95 % interval that excludes 0", ", ".join(beaten) or "none", not beaten
    )
    means = _means(found, "churn", "auc")
    best = max((value, name) for name, value in means.items() if name != OURS)
    yield Bar(
        "churn AUC, mean over the windows: above every baseline's",
        f"{means[OURS]:.4f} against {best[0]:.4f} ({best[1]})",
        means[OURS] > best[0],
    )
    lower = [w for w in found if _value(w, "churn", "log_loss") <= min(_others(w, "churn", "log_loss").values())]
    yield Bar(
        "churn log loss: at most the best baseline's on two of three windows",
        ", ".join(w.window.name for w in lower) or "none",
        3 * len(lower) >= 2 * len(found),
    )
    for window in found:
        if window.window.name != "retail90":
            ece = _value(window, "churn", "ece")
            yield Bar(f"churn ECE at most .03 on {window.window.name}", f"{ece:.4f}", ece <= 0.03)


def _spend(found: Sequence[Found]) -> Iterable[Bar]:
    for window in found:
        ours, others = _value(window, "spend", "gini"), _others(window, "spend", "gini")
        best = max(others, key=lambda name: others[name])
        yield Bar(
            f"spend Gini above every baseline on {window.window.name}",
            f"{ours:.4f} against {others[best]:.4f} ({best})",
            ours > others[best],
        )


def _next_order(found: Sequence[Found]) -> Iterable[Bar]:
    for window in found:
        ours, others = _value(window, "next_order", "median_error"), _others(window, "next_order", "median_error")
        best = min(others, key=lambda name: others[name])
        yield Bar(
            f"next order, median error at most every baseline's on {window.window.name}",
            f"{ours:.2f} against {others[best]:.2f} days ({best})",
            ours <= others[best],
        )


def _small(draws: dict[str, list[Draw]]) -> Iterable[Bar]:
    for window, of in draws.items():
        worst = max(d.ours - min(d.rfm_logistic, d.mbg_nbd) for d in of)
        yield Bar(
            f"small data, {window}: no draw worse than the better of RFM logistic and MBG/NBD by more than .01",
            f"worst draw {worst:+.4f}",
            worst <= 0.01,
        )


def _time(seconds: dict[str, float]) -> Iterable[Bar]:
    for name, took in seconds.items():
        yield Bar(f"training on {name} with its back-test: at most 60 s of CPU", f"{took:.1f} s", took <= 60.0)


def _value(window: Found, part: str, measure: str) -> float:
    return window.measured[part].model[measure].value


def _others(window: Found, part: str, measure: str) -> dict[str, float]:
    return {name: told[measure].value for name, told in window.measured[part].baselines.items()}


def _means(found: Sequence[Found], part: str, measure: str) -> dict[str, float]:
    rows = [{OURS: _value(window, part, measure), **_others(window, part, measure)} for window in found]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def text(found: Sequence[Found], draws: dict[str, list[Draw]], seconds: dict[str, float]) -> str:
    """All tables, as Markdown."""
    parts = [_bars_table(bars(found, draws, seconds))]
    parts += [_table(window, *what) for window in found for what in _PARTS]
    if draws:
        parts.append(_draws_table(draws))
    return "\n\n".join(parts) + "\n"


_PARTS = (
    ("churn", ("auc", "log_loss", "ece"), ("AUC", "log loss", "ECE")),
    ("spend", ("gini", "ratio_of_totals"), ("normalised Gini", "ratio of totals")),
    ("next_order", ("median_error", "median_error_4"), ("median error, days", "the same with 4 orders or more")),
)


def _bars_table(of: Sequence[Bar]) -> str:
    rows = [(bar.promise, bar.measured, "yes" if bar.holds else "**no**") for bar in of]
    return _markdown(("bar", "measured", "holds"), rows)


def _table(window: Found, part: str, keys: Sequence[str], words: Sequence[str]) -> str:
    measured = window.measured[part]
    rows = [(f"**{OURS}**", *(_said(measured.model[key]) for key in keys), "")]
    rows += [
        (name, *(_said(told[key]) for key in keys), _said(measured.differences[name][keys[0]], "+"))
        for name, told in measured.baselines.items()
    ]
    title = part.replace("_", " ")
    head = (
        f"### {window.window.name}: {title}\n\n{window.customers:,} customers; {window.churn_rate:.1%} did not buy "
        f"within {window.window.horizon_days} days.\n\n"
    )
    return head + _markdown((title, *words, f"{words[0]}: {OURS} less this"), rows)


def _said(estimate: Estimate, sign: str = "") -> str:
    digits = 4 if abs(estimate.value) < 3 else 2
    value, low, high = (f"{number:{sign}.{digits}f}" for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low} … {high})"


def _draws_table(draws: dict[str, list[Draw]]) -> str:
    rows = []
    for window, of in draws.items():
        for size in SIZES:
            here = [d for d in of if d.size == size]
            apart = [d.ours - min(d.rfm_logistic, d.mbg_nbd) for d in here]
            means = (np.mean([getattr(d, name) for d in here]) for name in ("ours", "rfm_logistic", "mbg_nbd"))
            rows.append(
                (window, f"{size:,}", *(f"{m:.4f}" for m in means), f"{np.mean(apart):+.4f}", f"{max(apart):+.4f}")
            )
    names = ("window", "customers", OURS, "RFM logistic", "MBG/NBD", "less the better, mean", "in the worst draw")
    return f"### Small shops: log loss of churn, {len(here)} draws each\n\n" + _markdown(names, rows)


def _markdown(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plot(window: Found, path: Path) -> None:
    """The reliability of the probabilities of one window: what was promised, and what came true."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "onefold"
    figure, axes = pyplot.subplots(figsize=(5, 5))
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=1)
    for name in PLOTTED:
        probability = window.probabilities[name]
        bin_of = np.minimum((probability * BINS).astype(int), BINS - 1)
        there = np.flatnonzero(np.bincount(bin_of, minlength=BINS) >= 10)
        promised = [probability[bin_of == b].mean() for b in there]
        came = [window.happened[bin_of == b].mean() for b in there]
        axes.plot(promised, came, marker="o", markersize=4, linewidth=2 if name == OURS else 1, label=name)
    axes.set(xlabel="predicted probability of no purchase", ylabel="share without a purchase", title=window.window.name)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
