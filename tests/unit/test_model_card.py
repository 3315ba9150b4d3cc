import io
from dataclasses import replace

from rich.console import Console

from onefold.ml import features, monitor
from onefold.ml.drift import Level
from onefold.ml.metrics import Estimate
from onefold.ml.model import Challenge
from onefold.ml.registry import Entry
from onefold.service import convert
from onefold.service.cli import model_card
from onefold.service.drifting import Moved
from tests.histories import DAY, END, shop, small


def moved():
    everybody = features.compute(*shop(), END + 90 * DAY, small().card.population)
    return Moved(END + 90 * DAY, len(everybody), monitor.drifts(small(), everybody))


def message(found=None, **changed):
    entry = Entry("churn-0007", replace(small().card, **changed), "", is_current=True)
    return convert.model_to_proto(entry, found)


def printed(model):
    console = Console(width=200, highlight=False, file=io.StringIO())
    model_card.render(model, console)
    return console.file.getvalue()


def test_what_has_moved_comes_back_from_its_message_but_for_the_spread():
    found = convert.parse_moved(message(moved()).drift)
    assert (found.as_of, found.customers) == (moved().as_of, 400)
    assert list(found.drifts) == list(moved().drifts)
    for name, drift in moved().drifts.items():
        assert found.drifts[name] == replace(drift, shares=())


def test_nobody_to_compare_comes_back_as_nobody():
    nobody = Moved(None, 0, {})
    assert convert.parse_moved(message(nobody).drift) == nobody
    unknown = replace(
        moved(),
        drifts={
            name: replace(d, index=None, level=Level.UNKNOWN, rows=400, shares=()) for name, d in moved().drifts.items()
        },
    )
    assert convert.parse_moved(message(unknown).drift) == unknown


def test_the_message_carries_reliability_lift_and_the_challenge_as_the_card_has_them():
    card, sent = small().card, message()
    assert [(b.rows, b.predicted, b.observed.value, b.observed.low, b.observed.high) for b in sent.reliability] == [
        (b.rows, b.predicted, b.observed, b.low, b.high) for b in card.reliability
    ]
    assert [(p.rows, p.rate, p.lift, p.gain, p.population, p.lowest_score) for p in sent.lift] == [
        (p.rows, p.rate, p.lift, p.gain, p.population, p.lowest_score) for p in card.lift
    ]
    assert (sent.challenge.promoted, sent.challenge.words) == (True, card.challenge.words)
    assert not sent.HasField("drift")


def test_the_card_as_printed_names_every_part_and_measure():
    text = printed(message())
    card = small().card
    auc = card.measured["churn"].model["auc"]
    for words in (
        "churn-0007  in use",
        "Small model: customers with an order: 400 of 1001 needed.",
        f"Tested on what 400 of them did from 2011-09-23 on, unseen; {card.metrics.base_rate:.0%} churned.",
        "! the model knows 300 days of orders",
        f"{auc.value:.3f} ({auc.low:.3f} … {auc.high:.3f})",
        "orders within the interval",
        "✗ customers with an order",
        "Promoted: no usable model was in use",
        next(iter(card.importance)),
    ):
        assert words in text, words
    assert "Drift" not in text


def test_beside_a_measure_stands_the_best_baseline_whichever_way_is_better():
    card = small().card
    for name, best in (("auc", max), ("log_loss", min)):
        figures = {of: told[name].value for of, told in card.measured["churn"].baselines.items()}
        words = {"auc": "AUC", "log_loss": "log loss"}[name]
        (line,) = [line for line in printed(message()).splitlines() if line.strip().startswith(words)]
        assert f" {best(figures.values()):.3f} " in line


def test_a_model_that_was_not_promoted_says_why_and_how_to_use_it_all_the_same():
    refused = Challenge("churn-0006", {"log_loss": Estimate(0.03, 0.01, 0.05)}, False, "it is surely worse")
    text = printed(message(challenge=refused))
    assert "Not promoted: it is surely worse. To use it all the same: onefold model promote churn-0007" in text


def test_drift_is_printed_the_farthest_first_and_nobody_is_said_to_be_nobody():
    text = printed(message(moved()))
    first = next(iter(moved().drifts))
    assert "Drift since training" in text
    assert text.index(first, text.index("the farthest of")) < text.index(
        list(moved().drifts)[5], text.index("the farthest of")
    )
    assert "customers have shifted since training" in text
    assert "Nobody in the graph has bought anything" in printed(message(Moved(None, 0, {})))


def test_a_model_that_cannot_be_read_is_printed_by_its_name_alone():
    text = printed(convert.model_to_proto(Entry("churn-0001", None, "damaged", is_current=False)))
    assert text.strip() == "churn-0001  refused: train again"
