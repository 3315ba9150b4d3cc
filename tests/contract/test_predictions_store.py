"""Predictions in the graph: what a run writes, what a query then sees, and when it is stale."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from onefold.graph.audit import head_of
from onefold.graph.errors import InvalidInput
from onefold.graph.ingest import Batch, Outcome, Writer, ingest
from onefold.graph.model import Deletion, Item, OperatorBan, OperatorMatch
from onefold.graph.predictions import (
    Prediction,
    Run,
    Scored,
    clear_predictions,
    read_history,
    read_scores,
    stale,
    stale_identities,
    write_predictions,
)
from onefold.graph.reader import Reader
from tests import items as make
from tests.conftest import Engine

NOW = make.NOW
DAY = make.DAY
IDENTITY = "MATCH (i:Identity {id: $id}) RETURN [k IN keys(i) WHERE i[k] IS NOT NULL | [k, i[k]]]"
SCORES = "MATCH (s:Score) RETURN count(s)"


@pytest.fixture
def writer(engine: Engine, endpoint: object) -> Writer:
    return make.writer(engine.endpoint, engine.driver)


@pytest.fixture
def reader(writer: Writer) -> Reader:
    return make.reader(writer)


def put(writer: Writer, *items: Item) -> list[Outcome]:
    return ingest(writer, [Batch(items)])[0]


def run(reader: Reader, id: str = "run-1", at: int = NOW, **other: Any) -> Run:
    return Run(id, "churn-0001", at, NOW - DAY, head_of(reader)[0], **{"churn_horizon_days": 60, **other})


def said(identity: str, **other: Any) -> Prediction:
    return Prediction(identity, **{"churn_probability": 0.25, "features": {"orders": 3, "spend": 12.5}, **other})


def properties(reader: Reader, id: str) -> dict[str, Any]:
    ((pairs,),) = reader.rows(IDENTITY, id=id)
    return dict(pairs)


def own(reader: Reader, id: str) -> set[str]:
    return properties(reader, id).keys() - {"lock"}


def count(reader: Reader) -> int:
    ((scores,),) = reader.rows(SCORES)
    return int(scores)


def two(writer: Writer) -> tuple[str, str]:
    ann, bob = put(writer, make.customer("web:1", "email:1"), make.customer("web:2", "email:2"))
    return ann.identity, bob.identity


def test_what_is_written_is_read_and_seen_by_queries(writer: Writer, reader: Reader) -> None:
    ann, bob = two(writer)
    done = run(reader, value_horizon_days=365)
    whole = said(
        ann,
        expected_orders=2.5,
        predicted_spend_micros=99_000_000,
        predicted_spend_currency="GBP",
        next_order_at=NOW + 9 * DAY,
        identity_confidence=0.98,
        weakest_merge_share=0.25,
        features={"orders": 3, "spend": 12.5, "channel": "web", "gap": None, "pace": float("nan"), "vip": True},
    )
    assert write_predictions(writer, done, [whole, said(bob, features={})]) == {ann, bob}
    found = read_scores(reader, [ann, bob, "nobody"])
    known = {"channel": "web", "orders": 3, "spend": 12.5, "vip": True}
    assert found == {
        ann: Scored(done, replace(whole, features=known), stale=False),
        bob: Scored(done, said(bob, features={}), stale=False),
    }
    asked = """
    MATCH (i:Identity) WHERE i.churn_probability < 0.3 AND i.f_orders >= 3 AND i.next_order_at > i.features_at
    RETURN i.id, i.score_model, i.scores_at.epochMillis
    """
    assert [list(row) for row in reader.rows(asked)] == [[ann, "churn-0001", NOW]]
    assert {"id", "anonymous", "created_at"} <= own(reader, ann)


def test_a_run_that_is_written_again_changes_nothing(writer: Writer, reader: Reader) -> None:
    ann, bob = two(writer)
    done = run(reader)
    for _ in range(2):
        write_predictions(writer, done, [said(ann), said(bob)])
    assert [scored.run for scored in read_history(reader, ann)] == [done]
    assert count(reader) == 2


def test_history_has_every_run_and_the_identity_the_latest(writer: Writer, reader: Reader) -> None:
    ann, _ = two(writer)
    runs = [run(reader, f"run-{n}", NOW + n) for n in (2, 3, 1)]
    for number, done in enumerate(runs):
        write_predictions(writer, done, [said(ann, churn_probability=number / 10, features={f"of_{number}": 1})])
    now = read_scores(reader, [ann])[ann]
    assert (now.run, now.prediction.churn_probability, now.prediction.features) == (runs[1], 0.1, {"of_1": 1})
    told = read_history(reader, ann)
    assert [(s.run, s.prediction.churn_probability) for s in told] == [(runs[1], 0.1), (runs[0], 0.0), (runs[2], 0.2)]
    assert {tuple(s.prediction.features) for s in told} == {()}
    assert [s.run for s in read_history(reader, ann, limit=1)] == [runs[1]]


def test_what_the_latest_run_does_not_say_is_taken_away(writer: Writer, reader: Reader) -> None:
    ann, bob = two(writer)
    first, second = run(reader), run(reader, "run-2", NOW + 1)
    write_predictions(writer, first, [said(ann, expected_orders=1.0), said(bob)])
    before = own(reader, ann)
    write_predictions(writer, second, [Prediction(ann)])
    assert before - own(reader, ann) == {"churn_probability", "expected_orders", "f_orders", "f_spend"}
    assert clear_predictions(writer, second, [bob]) == {bob}
    assert own(reader, bob) == {"id", "anonymous", "created_at", "scores_at", "scores_sequence"}
    assert bob not in read_scores(reader, [bob])
    assert len(read_history(reader, bob)) == 1
    assert clear_predictions(writer, first, [ann]) == frozenset()  # a later run has spoken
    assert ann in read_scores(reader, [ann])


def test_who_was_retired_meanwhile_gets_nothing_and_loses_what_it_had(writer: Writer, reader: Reader) -> None:
    ann, bob = two(writer)
    write_predictions(writer, run(reader), [said(ann), said(bob)])
    between = run(reader, "run-2", NOW + 1)
    put(writer, OperatorMatch("customer:web:1", "customer:web:2", "ann", "", NOW))
    assert write_predictions(writer, between, [said(ann), said(bob)]) == {ann}
    assert own(reader, bob) == {"id", "anonymous", "created_at", "merged_into"}
    assert [s.run.id for s in read_history(reader, bob)] == ["run-1"]
    assert read_scores(reader, [ann, bob]).keys() == {ann}
    # The run had not seen the merge.
    assert read_scores(reader, [ann])[ann].stale
    assert stale(reader, [ann, bob]) == {ann, bob}


def test_an_erased_person_leaves_no_prediction_behind(writer: Writer, reader: Reader) -> None:
    ann, bob = two(writer)
    (cid,) = put(writer, make.customer("web:3", "email:3"))
    write_predictions(writer, run(reader), [said(ann), said(bob), said(cid.identity)])
    put(writer, OperatorMatch("customer:web:1", "customer:web:2", "ann", "", NOW))
    put(writer, Deletion("customer:web:1", NOW + 1), Deletion("customer:web:2", NOW + 1))
    assert own(reader, ann) == {"id", "anonymous", "created_at", "erased_at"}
    assert (read_history(reader, ann), read_history(reader, bob)) == ([], [])
    assert count(reader) == 1
    late = run(reader, "run-2", NOW + 2)
    assert write_predictions(writer, late, [said(ann), said(cid.identity)]) == {cid.identity}
    assert count(reader) == 2
    assert stale(reader, [ann, bob, cid.identity]) == {ann, bob}


def test_a_decision_about_another_makes_nobody_stale(writer: Writer, reader: Reader) -> None:
    ann, bob = two(writer)
    write_predictions(writer, run(reader), [said(ann), said(bob)])
    put(writer, make.customer("web:3", "email:2", at=NOW + 1), make.customer("web:4", "email:4"))
    put(writer, make.order("shop:1", of="web:1"))  # whose it is changes nobody's records
    assert stale(reader, [ann, bob]) == {bob}
    assert {id: scored.stale for id, scored in read_scores(reader, [ann, bob]).items()} == {ann: False, bob: True}
    assert stale_identities(reader, 10) == [bob]


def test_who_was_touched_is_to_be_scored_until_it_was(writer: Writer, reader: Reader) -> None:
    assert stale_identities(reader, 10) == []
    ann, bob = two(writer)
    assert stale_identities(reader, 10) == []  # nobody has been scored
    write_predictions(writer, run(reader), [said(ann), said(bob)])
    put(writer, make.order("till:1", "email:2"))
    put(writer, make.order("till:2", "email:1"))
    assert stale_identities(reader, 10) == [bob, ann]
    assert stale_identities(reader, 1) == [bob]
    assert write_predictions(writer, run(reader, "run-2", NOW + 1), [said(bob)]) == {bob}
    assert stale_identities(reader, 10) == [ann]
    clear_predictions(writer, run(reader, "run-3", NOW + 2), [ann])
    assert stale_identities(reader, 10) == []


def test_both_parts_of_a_split_are_to_be_scored(writer: Writer, reader: Reader) -> None:
    ann, bea = put(writer, make.customer("web:1", "email:1"), make.customer("web:2", "email:1"))
    assert ann.identity == bea.identity
    write_predictions(writer, run(reader), [said(ann.identity)])
    put(writer, OperatorBan("customer:web:1", "customer:web:2", "ann", "", NOW))
    both = [row[0] for row in reader.rows("MATCH (i:Identity)<-[:MEMBER_OF]-() RETURN DISTINCT i.id")]
    assert len(both) == 2
    assert sorted(stale_identities(reader, 10)) == sorted(both)
    write_predictions(writer, run(reader, "run-2", NOW + 1), [said(id) for id in both])
    assert stale_identities(reader, 10) == []
    assert stale(reader, both) == frozenset()
    assert own(reader, ann.identity) >= {"split", "churn_probability"}


def test_who_a_scored_one_merged_into_is_to_be_scored(writer: Writer, reader: Reader) -> None:
    ann, bob = two(writer)
    write_predictions(writer, run(reader), [said(bob)])
    (cid,) = put(writer, make.customer("web:9", "email:9"))
    write_predictions(writer, run(reader, "run-2"), [said(cid.identity)])
    put(writer, OperatorMatch("customer:web:1", "customer:web:2", "ann", "", NOW))
    assert stale_identities(reader, 10) == [ann]


def test_figures_that_can_not_be_are_refused_and_nothing_is_written(writer: Writer, reader: Reader) -> None:
    ann, bob = two(writer)
    wrong = said(bob, churn_probability=1.5, expected_orders=float("nan"), features={"spend": float("inf")})
    with pytest.raises(InvalidInput) as raised:
        write_predictions(writer, run(reader), [said(ann), wrong])
    assert [violation.field for violation in raised.value.violations] == [
        "predictions[1].churn_probability",
        "predictions[1].expected_orders",
        "predictions[1].features['spend']",
    ]
    assert read_scores(reader, [ann, bob]) == {}


def test_more_than_one_transaction_holds_are_all_written(
    writer: Writer, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onefold.graph.predictions._AT_ONCE", 2)
    ids = [o.identity for o in put(writer, *(make.customer(f"web:{n}", f"email:{n}") for n in range(5)))]
    assert write_predictions(writer, run(reader), [said(id) for id in ids]) == set(ids)
    assert read_scores(reader, ids).keys() == set(ids)
    put(writer, *(make.order(f"till:{n}", f"email:{n}") for n in range(5)))
    assert sorted(stale_identities(reader, 10)) == sorted(ids)
    assert len(stale_identities(reader, 3)) == 3
    assert write_predictions(writer, run(reader), []) == frozenset()


def test_who_is_merged_while_a_run_writes_never_keeps_a_prediction(writer: Writer, reader: Reader) -> None:
    ids = [o.identity for o in put(writer, *(make.customer(f"web:{n}", f"email:{n}") for n in range(40)))]

    def merge() -> None:
        for n in range(0, 40, 2):
            put(writer, OperatorMatch(f"customer:web:{n}", f"customer:web:{n + 1}", "ann", "", NOW))

    with ThreadPoolExecutor(2) as pool:
        merging = pool.submit(merge)
        runs = 0
        while not merging.done():
            runs += 1
            write_predictions(writer, run(reader, f"run-{runs}", NOW + runs), [said(id) for id in ids])
        merging.result()
    retired = "MATCH (i:Identity) WHERE i.merged_into IS NOT NULL RETURN i.id, i.score_run, i.churn_probability"
    left = [row[1:] for row in reader.rows(retired)]
    assert len(left) == 20
    assert {value for row in left for value in row} == {None}
