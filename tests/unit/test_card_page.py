import builtins
import re
from dataclasses import replace

import numpy as np
import pytest

from onefold.graph.errors import NotReady
from onefold.ml.card_page import Card, Gate, Measure, page, plots, write
from onefold.ml.drift import drift, reference
from onefold.ml.lift import lift, reliability

DAY = 86_400_000
RANDOM = np.random.default_rng(4)
PROBABILITY = RANDOM.beta(2, 3, size=3_000)
HAPPENED = RANDOM.random(3_000) < PROBABILITY
BARE = Card(
    title="churn-0007",
    predicts="No purchase within 90 days.",
    created_at=15_310 * DAY,
    known_until=15_300 * DAY,
    trained_since=15_000 * DAY,
    tested_since=15_210 * DAY,
    tested_until=15_300 * DAY,
    population="everyone with an order before the cutoff",
    rows=40_000,
    customers=4_000,
    data_fingerprint="0123456789abcdef",
)
CARD = replace(
    BARE,
    measures=[
        Measure("AUC", 0.7512, 0.731, 0.769, {"RFM logistic": 0.7421, "base rate": 0.5}),
        Measure("log loss", 0.5912, baselines={"RFM logistic": 0.5801}, higher_is_better=False),
    ],
    gates=[Gate("beats RFM logistic on AUC", True, "+0.009"), Gate("calibration error at most 0.05", False, "0.071")],
    reliability=reliability(HAPPENED, PROBABILITY),
    tenths=lift(HAPPENED, PROBABILITY),
    importance={f"feature {n}": 1.0 / n for n in range(1, 20)},
    drift={
        "orders": drift(reference(PROBABILITY), PROBABILITY + 1),
        "score": drift(reference(PROBABILITY), PROBABILITY),
    },
    weaknesses=["One Christmas has been seen, so no season is known."],
    versions={"lightgbm": "4.7.0"},
)


def test_the_page_says_what_the_card_says():
    text = page(CARD)
    for words in (
        "# churn-0007",
        "40,000 rows of 4,000 customers",
        "`0123456789abcdef`",
        "| AUC (higher is better) | **0.7512** | 0.731 to 0.769 | 0.7421 | 0.5 |",
        "| log loss (lower is better) | **0.5912** |  | 0.5801 (better than the model) |  |",
        "| calibration error at most 0.05 | **failed** | 0.071 |",
        "1 shifted, 1 stable.",
        "- One Christmas has been seen",
        "lightgbm 4.7.0",
        "](lift.svg)",
    ):
        assert words in text, words


def test_what_a_card_does_not_have_is_left_out():
    text = page(BARE)
    assert "##" not in text
    assert "svg" not in text
    assert plots(BARE) == {}


def test_a_pipe_in_a_name_does_not_break_the_table():
    assert r"| a\|b |" in page(replace(BARE, gates=[Gate("a|b", True)]))


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch, tmp_path):
    real = builtins.__import__

    def no_plots(name, *args, **more):
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", no_plots)
    with pytest.raises(NotReady, match=r"pip install 'onefold\[plots\]'"):
        write(CARD, tmp_path / "card")
    assert not (tmp_path / "card").exists()


def test_every_plot_that_the_page_shows_is_written_beside_it_and_is_the_same_each_time(tmp_path):
    pytest.importorskip("matplotlib", reason="pip install 'onefold[plots]'")
    path = write(CARD, tmp_path / "card")
    shown = set(re.findall(r"\]\((\w+\.svg)\)", path.read_text("utf-8")))
    assert shown == {"reliability.svg", "lift.svg", "importance.svg"}
    assert shown == {file.name for file in path.parent.glob("*.svg")}
    assert {name: (path.parent / name).read_text("utf-8") for name in shown} == plots(CARD)
    for svg in plots(CARD).values():
        assert "<dc:date>" not in svg


def test_the_plots_name_their_axes_and_the_inputs_that_move_most():
    pytest.importorskip("matplotlib", reason="pip install 'onefold[plots]'")
    drawn = plots(CARD)
    assert "share of customers, highest scores first" in drawn["lift.svg"]
    assert "came true, with 95 % interval" in drawn["reliability.svg"]
    assert "feature 15" in drawn["importance.svg"]
    assert "feature 16" not in drawn["importance.svg"]
    assert "The first 15 of 19 inputs" in drawn["importance.svg"]
