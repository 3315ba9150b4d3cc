import builtins
import re
from dataclasses import replace

import pytest

from onefold.graph.errors import NotReady
from onefold.ml import features, monitor
from onefold.ml.card_page import page, plots, write
from onefold.ml.gates import Gate
from onefold.ml.metrics import Estimate
from onefold.ml.model import Challenge
from tests.histories import DAY, END, shop, small

CHALLENGE = Challenge("churn-0006", {"log_loss": Estimate(0.03, 0.01, 0.05)}, False, "which is surely worse")


def card(**changed):
    return replace(small().card, **changed)


def test_the_page_says_what_the_card_says():
    text = page(card(), "churn-0007")
    told, auc = small().card, small().card.measured["churn"].model["auc"]
    for words in (
        "# churn-0007",
        f"{told.rows:,} rows of 400 customers",
        f"`{told.data_fingerprint}`",
        "customers with an order: 400 of 1001 needed",
        f"| AUC (higher is better) | **{auc.value:.4g}** ({auc.low:.4g} to {auc.high:.4g}) | 0.5 worse |",
        "| customers with an order | 400 | 1,001 | full | **too few** |",
        "- the model knows 300 days of orders",
        f"lightgbm {told.versions['lightgbm']}",
        "](lift.svg)",
    ):
        assert words in text, words
    assert "## Drift" not in text


def test_a_baseline_is_called_better_only_where_that_is_more_than_chance():
    measured = small().card.measured
    for apart, word in ((Estimate(0.02, 0.01, 0.03), " **better**"), (Estimate(0.02, -0.01, 0.05), "")):
        churn = measured["churn"]
        differences = {**churn.differences, "mbg_nbd": {**churn.differences["mbg_nbd"], "log_loss": apart}}
        text = page(card(measured={**measured, "churn": replace(churn, differences=differences)}), "churn-0007")
        (line,) = [line for line in text.splitlines() if line.startswith("| log loss")]
        assert line.endswith(f"{churn.baselines['mbg_nbd']['log_loss'].value:.4g}{word} |")


def test_the_page_says_whether_the_model_was_promoted_and_why():
    assert "Promoted: no usable model was in use" in page(card(), "churn-0007")
    text = page(card(challenge=CHALLENGE), "churn-0007")
    assert "**Not promoted**: which is surely worse." in text
    assert "| log loss (lower is better) | +0.0300 (+0.0100 to +0.0500) |" in text


def test_drift_is_told_the_farthest_first_and_is_a_weakness():
    later = features.compute(*shop(), END + 90 * DAY, small().card.population)
    drifts = monitor.drifts(small(), later)
    text = page(card(), "churn-0007", drifts)
    told = re.findall(r"^\| (\S.*) \| [\d.]+ \| (?:stable|moved|shifted) \| 400 \|$", text, re.MULTILINE)
    assert told == list(drifts)[:15]
    assert f"shifted since training in {told[0]}" in text


def test_a_pipe_in_a_name_does_not_break_the_table():
    assert r"| a\|b |" in page(card(gates=(Gate("small", "a|b", 1, 2),)), "churn-0007")


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch, tmp_path):
    real = builtins.__import__

    def no_plots(name, *args, **more):
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", no_plots)
    with pytest.raises(NotReady, match=r"pip install 'onefold\[plots\]'"):
        write(card(), "churn-0007", tmp_path / "card")
    assert not (tmp_path / "card").exists()


def test_every_plot_that_the_page_shows_is_written_beside_it_and_is_the_same_each_time(tmp_path):
    pytest.importorskip("matplotlib", reason="pip install 'onefold[plots]'")
    path = write(card(), "churn-0007", tmp_path / "card")
    shown = set(re.findall(r"\]\((\w+\.svg)\)", path.read_text("utf-8")))
    assert shown == {"reliability.svg", "lift.svg", "importance.svg"}
    assert shown == {file.name for file in path.parent.glob("*.svg")}
    assert {name: (path.parent / name).read_text("utf-8") for name in shown} == plots(card())
    for svg in plots(card()).values():
        assert "<dc:date>" not in svg


def test_the_plots_name_their_axes_and_the_inputs_that_move_most():
    pytest.importorskip("matplotlib", reason="pip install 'onefold[plots]'")
    drawn = plots(card(importance={f"feature {n}": 1.0 / n for n in range(1, 20)}))
    assert "share of customers, highest scores first" in drawn["lift.svg"]
    assert "churned, with 95 % interval" in drawn["reliability.svg"]
    assert "feature 15" in drawn["importance.svg"]
    assert "feature 16" not in drawn["importance.svg"]
    assert "The first 15 of 19 inputs" in drawn["importance.svg"]
