"""``PredictionService`` over a real socket, on each engine: a shop is streamed in, trained on, and scored."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import numpy as np
import pytest
from google.longrunning import operations_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import PreconditionFailure

from onefold.graph import policy
from onefold.graph.errors import NotReady
from onefold.graph.ingest import Batch
from onefold.graph.ingest import ingest as graph_ingest
from onefold.graph.model import Deletion, Instant, OperatorBan, OperatorMatch
from onefold.graph.predictions import Prediction, Run, read_history, read_scores, write_predictions
from onefold.graph.reader import Reader
from onefold.ml import churn
from onefold.ml.current import CurrentModel
from onefold.ml.panel import Panel
from onefold.ml.registry import Registry
from onefold.service import app, convert
from onefold.service.cli import models, predicting, profiles, training
from onefold.service.predictor import Predictor
from onefold.service.scoring import Rescorer, score_everybody
from onefold.v1 import identity_pb2, identity_service_pb2, record_pb2, segment_service_pb2
from onefold.v1 import prediction_service_pb2 as pb
from onefold.v1 import profile_service_pb2 as profile_pb
from tests import items as make
from tests.engines import empty
from tests.histories import END, HORIZON_DAYS, shop
from tests.rpc.conftest import Client, settings
from tests.rpc.echo import details
from tests.rpc.items import (
    DAY,
    at,
    by_customer,
    by_identifier,
    code,
    customer,
    identifier,
    ingest,
    key,
    order,
    violations,
)


def failure(call: Callable[[], object]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def items_of_the_shop() -> Iterator[record_pb2.Item]:
    """The seeded shop as a source would send it; customers with an odd number buy under two records."""
    orders, events = shop()
    for number, row in enumerate(orders.to_pylist()):
        who = f"{row['identity']}-{number % 2}" if int(row["identity"][-1]) % 2 else row["identity"]
        yield customer(f"crm:{who}", f"email:{row['identity']}@example.org", seen=seconds(row["placed_at"]))
        price = convert.money_to_proto(row["total"], "GBP")
        yield record_pb2.Item(
            order=record_pb2.Order(
                key=record_pb2.OrderKey(source="shop", order_id=str(number)),
                customer=key(f"crm:{who}"),
                place_time=at(seconds(row["placed_at"])),
                status=record_pb2.ORDER_STATUS_PAID,
                currency_code="GBP",
                lines=[record_pb2.OrderLine(sku="mug", quantity=1, unit_price=price)],
                channel="web",
            )
        )
    for number, row in enumerate(events.to_pylist()):
        yield record_pb2.Item(
            event=record_pb2.Event(
                source="web",
                event_id=str(number),
                type="product_view",
                event_time=at(seconds(row["at"])),
                device=identifier(f"cookie:{row['identity']}"),
            )
        )


def seconds(moment: object) -> int:
    return int(moment.timestamp())  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def trained(served: Client) -> Client:
    """The service over the seeded shop, with a model."""
    empty(served.engine.driver, served.engine.endpoint.database)
    items = list(items_of_the_shop())
    messages = [
        identity_service_pb2.StreamRecordsRequest(sequence=n, items=items[n : n + 400])
        for n in range(0, len(items), 400)
    ]
    for acknowledged in served.identity.StreamRecords(iter(messages), timeout=240):
        assert not any(r.HasField("status") for r in acknowledged.results)
    operation = served.prediction.TrainModel(pb.TrainModelRequest(horizon_days=HORIZON_DAYS), timeout=30)
    assert done(served, operation).HasField("response")
    return served


def done(client: Client, operation: operations_pb2.Operation) -> operations_pb2.Operation:
    """The operation when it is over."""
    until = time.monotonic() + 240
    while not operation.done:
        assert time.monotonic() < until
        request = operations_pb2.WaitOperationRequest(name=operation.name, timeout=Duration(seconds=10))
        operation = client.operations.WaitOperation(request, timeout=30)
    return operation


def score(client: Client, subject: identity_pb2.Subject, reasons: int | None = None) -> pb.ChurnScore:
    return client.prediction.ScoreChurn(pb.ScoreChurnRequest(subject=subject, max_reasons=reasons), timeout=30)


def newest_order() -> Instant:
    return max(int(t.timestamp()) for t in shop()[0]["placed_at"].to_pylist()) * 1000


# -- without a model -----------------------------------------------------------------------------------------


def test_without_a_model_nothing_is_scored_and_profiles_come_without(client: Client) -> None:
    ingest(client, customer("crm:1"), order("shop:1", of="crm:1"))
    status, found = details(failure(lambda: score(client, by_customer("crm:1"))))
    assert code(status) is grpc.StatusCode.FAILED_PRECONDITION
    precondition: PreconditionFailure = found["PreconditionFailure"]
    assert precondition.violations[0].subject == "churn model"
    profile = client.profile.GetProfile(profile_pb.GetProfileRequest(subject=by_customer("crm:1")), timeout=30)
    assert not profile.HasField("churn")


def test_too_little_data_fails_the_operation_and_says_what_is_missing(client: Client) -> None:
    ingest(client, customer("crm:1"), order("shop:1", of="crm:1"))
    operation = done(client, client.prediction.TrainModel(pb.TrainModelRequest(), timeout=30))
    assert code(operation.error) is grpc.StatusCode.FAILED_PRECONDITION
    assert "customers with an order: 1 of 100 needed" in operation.error.message


def test_a_bad_horizon_or_cutoff_is_refused_before_anything_starts(client: Client) -> None:
    ingest(client, customer("crm:1"), order("shop:1", of="crm:1"))
    soon = at(int(time.time()) - 5 * DAY)
    for request, field in [
        (pb.TrainModelRequest(horizon_days=400), "horizon_days"),
        (pb.TrainModelRequest(horizon_days=30, cutoff_time=soon), "cutoff_time"),
    ]:
        error = failure(lambda request=request: client.prediction.TrainModel(request, timeout=30))
        status, _ = details(error)
        assert list(violations(status)) == [field]


# -- with one ------------------------------------------------------------------------------------------------


def test_a_training_gives_a_model_with_its_figures(trained: Client) -> None:
    (model,) = trained.prediction.ListModels(pb.ListModelsRequest(), timeout=30).models
    assert (model.name, model.state, model.horizon_days) == ("models/churn-0001", pb.MODEL_STATE_ACTIVE, HORIZON_DAYS)
    assert model.row_count == 400
    assert model.metrics["auc"] > 0.5
    assert model.baseline_metrics["auc"] > 0.5
    assert convert.parse_timestamp(model.cutoff_time) == newest_order() + 1 - HORIZON_DAYS * DAY * 1000
    assert trained.prediction.GetModel(pb.GetModelRequest(name=model.name), timeout=30) == model


def test_reasons_add_up_to_the_score(trained: Client) -> None:
    for reasons in (None, 0, 1000):
        churn = score(trained, by_customer("crm:id-0002"), reasons)
        assert len(churn.reasons) == 3 if reasons is None else len(churn.reasons) <= reasons
        parts = churn.base_log_odds + sum(r.contribution for r in churn.reasons) + churn.other_contribution
        assert parts == pytest.approx(churn.log_odds, abs=1e-6)
        assert 0 < churn.probability < 1
        assert all(r.words and r.value for r in churn.reasons)


def test_a_score_is_as_of_the_newest_order(trained: Client) -> None:
    churn = score(trained, by_customer("crm:id-0002"))
    assert convert.parse_timestamp(churn.as_of_time) == newest_order() + 1 <= END
    assert churn.model == "models/churn-0001"


def test_all_that_leads_to_a_person_gives_one_score(trained: Client) -> None:
    asked = [by_customer("crm:id-0002"), by_identifier("email:id-0002@example.org")]
    assert score(trained, asked[0]) == score(trained, asked[1])


def test_what_anybody_writes_shows_in_the_next_score(trained: Client) -> None:
    who = by_customer("crm:id-0012")
    before = score(trained, who)
    assert score(trained, who) == before
    elsewhere = make.writer(trained.engine.endpoint, trained.engine.driver, policy.load())  # in another process, say
    forgotten = make.order("shop:forgotten", of="crm:id-0012", at=newest_order() - 2 * DAY * 1000)
    graph_ingest(elsewhere, [Batch([forgotten])])
    after = score(trained, who)
    assert after.log_odds != before.log_odds
    assert predictions(trained, who).churn == after
    graph_ingest(elsewhere, [Batch([Deletion("order:shop:forgotten", END)])])
    assert score(trained, who) == before
    other = score(trained, by_customer("crm:id-0014"))
    graph_ingest(elsewhere, [Batch([OperatorMatch("customer:crm:id-0012", "customer:crm:id-0014", "ann", "", END)])])
    merged = score(trained, who)
    assert merged == score(trained, by_customer("crm:id-0014"))
    assert merged.log_odds not in {before.log_odds, other.log_odds}
    graph_ingest(elsewhere, [Batch([OperatorBan("customer:crm:id-0012", "customer:crm:id-0014", "ann", "", END + 1)])])
    apart = score(trained, who), score(trained, by_customer("crm:id-0014"))
    assert [s.log_odds for s in apart] == [before.log_odds, other.log_odds]


def test_a_batch_scores_as_one_by_one_and_refuses_alone(trained: Client) -> None:
    ingest(trained, customer("crm:window-shopper"))
    subjects = [by_customer("crm:id-0002"), by_customer("crm:404"), by_customer("crm:window-shopper"), by_customer("")]
    request = pb.BatchScoreChurnRequest(subjects=[*subjects, by_identifier("email:id-0003@example.org")])
    results = trained.prediction.BatchScoreChurn(request, timeout=30).results
    assert [r.index for r in results] == [0, 1, 2, 3, 4]
    assert results[0].score == score(trained, subjects[0])
    assert results[4].score == score(trained, by_identifier("email:id-0003@example.org"))
    assert [code(r.status) for r in results[1:4]] == [
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
    ]
    assert "subjects[3].customer.source" in violations(results[3].status)


def test_a_person_who_bought_nothing_has_no_score(trained: Client) -> None:
    ingest(trained, customer("crm:window-shopper"))
    status, _ = details(failure(lambda: score(trained, by_customer("crm:window-shopper"))))
    assert code(status) is grpc.StatusCode.FAILED_PRECONDITION
    request = profile_pb.GetProfileRequest(subject=by_customer("crm:window-shopper"))
    assert not trained.profile.GetProfile(request, timeout=30).HasField("churn")


def test_a_profile_carries_the_same_score(trained: Client) -> None:
    request = profile_pb.GetProfileRequest(subject=by_customer("crm:id-0002"))
    asked = score(trained, by_customer("crm:id-0002"))
    asked.ClearField("identity_confidence")  # which is looked at only for who asks for a score
    assert trained.profile.GetProfile(request, timeout=30).churn == asked


def test_any_horizon_up_to_the_longest_is_answered_and_none_beyond(trained: Client) -> None:
    asked = [
        trained.prediction.ScoreChurn(
            pb.ScoreChurnRequest(subject=by_customer("crm:id-0002"), horizon_days=days), timeout=30
        )
        for days in (1, 7, HORIZON_DAYS)
    ]
    assert [score.horizon_days for score in asked] == [1, 7, HORIZON_DAYS]
    assert [s.probability for s in asked] == sorted((s.probability for s in asked), reverse=True)
    request = pb.ScoreChurnRequest(subject=by_customer("crm:id-0002"), horizon_days=HORIZON_DAYS + 1)
    status, _ = details(failure(lambda: trained.prediction.ScoreChurn(request, timeout=30)))
    assert list(violations(status)) == ["horizon_days"]


def test_a_score_tells_how_sure_it_is_that_the_person_is_one(trained: Client) -> None:
    one, two = (score(trained, by_customer(f"crm:{who}")).identity_confidence for who in ("id-0002", "id-0001-0"))
    assert (one.probability, one.share) == (1, 0)
    assert 0.5 < two.probability < 1
    assert 0 < two.share <= 0.5


def test_a_model_of_less_than_a_year_says_so_with_every_score(trained: Client) -> None:
    warnings = {w.caution: w.words for w in score(trained, by_customer("crm:id-0002")).warnings}
    model = trained.prediction.GetModel(pb.GetModelRequest(name="models/churn-0001"), timeout=30)
    days = (model.cutoff_time.seconds - model.first_order_time.seconds) // DAY + HORIZON_DAYS
    assert (pb.CAUTION_SHORT_HISTORY in warnings) == (days < 365)
    assert any("less than a year" in weakness for weakness in model.weaknesses) == (days < 365)
    assert days >= 365 or warnings[pb.CAUTION_SHORT_HISTORY] in model.weaknesses


def test_everybody_is_streamed_with_the_score_that_each_gets_alone(trained: Client) -> None:
    def streamed(after: str = "") -> dict[str, float]:
        found: dict[str, float] = {}
        for message in trained.prediction.StreamScores(pb.StreamScoresRequest(after=after), timeout=60):
            found |= zip(message.identities, message.probabilities, strict=True)
        return found

    everybody = streamed()
    assert list(everybody) == sorted(everybody)
    assert len(everybody) == 400
    alone = score(trained, by_customer("crm:id-0002"))
    assert everybody[alone.identity] == pytest.approx(alone.probability, abs=1e-12)
    middle = list(everybody)[150]
    assert streamed(middle) == {id: p for id, p in everybody.items() if id > middle}


def predictions(client: Client, subject: identity_pb2.Subject, horizon_days: int = 0) -> pb.Predictions:
    request = pb.GetPredictionsRequest(subject=subject, horizon_days=horizon_days)
    return client.prediction.GetPredictions(request, timeout=30)


def test_all_predictions_of_a_person_agree_with_one_another(trained: Client) -> None:
    found = predictions(trained, by_customer("crm:id-0002"))
    assert found.churn == score(trained, by_customer("crm:id-0002"))
    curve = {point.horizon_days: point.churn_probability for point in found.curve}
    assert list(curve) == sorted(curve)
    assert list(curve.values()) == sorted(curve.values(), reverse=True)
    assert curve[HORIZON_DAYS] == pytest.approx(found.churn.probability, abs=1e-12)
    assert found.value.total == pytest.approx(found.value.historic + found.value.predicted)
    assert found.value.currency == "GBP"
    assert found.expected_orders > 0
    assert found.HasField("next_order") == (not found.abstentions)
    assert [(p.product, "mug" in p.words or bool(p.words)) for p in found.next_products] == [("shop:mug", True)]
    shorter = predictions(trained, by_customer("crm:id-0002"), 7)
    assert shorter.value.predicted <= found.value.predicted
    assert shorter.expected_orders < found.expected_orders


def drawn(printed: str) -> list[tuple[int, str]]:
    """The days and the risk of each line with a bar."""
    return [(int(days), told) for days, told in re.findall(r"^ +(\d+) days █*░* +(\d+%) *$", printed, re.MULTILINE)]


def test_the_pages_of_a_person_draw_the_curve_that_is_predicted(
    trained: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    found = predictions(trained, by_customer("crm:id-0002"))
    curve = [(point.horizon_days, f"{point.churn_probability:.0%}") for point in found.curve]
    assert curve[-1] == (HORIZON_DAYS, f"{found.churn.probability:.0%}")
    profiles.show(trained.channel, by_customer("crm:id-0002"), as_json=False)
    assert drawn(capsys.readouterr().out) == curve
    predicting.predict(trained.channel, by_customer("crm:id-0002"), 0, as_json=False)
    assert drawn(capsys.readouterr().out) == curve


def test_a_score_of_another_model_gets_no_curve(trained: Client) -> None:
    asked = profile_pb.GetProfileRequest(subject=by_customer("crm:id-0002"))
    profile = trained.profile.GetProfile(asked, timeout=30)
    assert list(profiles.curve(trained.channel, profile)) == list(
        predictions(trained, by_customer("crm:id-0002")).curve
    )
    profile.churn.model = "models/churn-0000"
    assert not profiles.curve(trained.channel, profile)


def test_a_profile_without_a_score_is_shown_without_a_curve(
    trained: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    ingest(trained, customer("crm:window-shopper"))
    profiles.show(trained.channel, by_customer("crm:window-shopper"), as_json=False)
    printed = capsys.readouterr().out
    assert "customer:crm:window-shopper" in printed
    assert "Risk of churn" not in printed
    assert drawn(printed) == []


def test_who_ordered_once_gets_no_next_order_and_is_told_why(trained: Client) -> None:
    orders = shop()[0].to_pylist()
    days = {row["identity"]: set() for row in orders}
    for row in orders:
        days[row["identity"]].add(row["placed_at"].date())
    once = next(who for who, dates in days.items() if len(dates) == 1)
    often = next(who for who, dates in days.items() if len(dates) > 3)
    found = predictions(trained, by_identifier(f"email:{once}@example.org"))
    assert [(a.what, "fewer than 2" in a.words) for a in found.abstentions] == [("next_order", True)]
    assert not found.HasField("next_order")
    assert not found.HasField("mean_gap_days")
    due = predictions(trained, by_identifier(f"email:{often}@example.org")).next_order
    first, middle, last = (convert.parse_timestamp(t) for t in (due.earliest_time, due.median_time, due.latest_time))
    assert newest_order() <= first <= middle <= last <= newest_order() + 1 + HORIZON_DAYS * DAY * 1000


def test_of_who_bought_nothing_or_is_unknown_nothing_is_predicted(trained: Client) -> None:
    ingest(trained, customer("crm:window-shopper"))
    for who, expected in (
        ("crm:window-shopper", grpc.StatusCode.FAILED_PRECONDITION),
        ("crm:404", grpc.StatusCode.NOT_FOUND),
    ):
        error = failure(lambda who=who: predictions(trained, by_customer(who)))
        assert error.code() is expected


def test_a_model_tells_its_measures_with_intervals_beside_its_baselines(trained: Client) -> None:
    model = trained.prediction.GetModel(pb.GetModelRequest(name="models/churn-0001"), timeout=30)
    assert model.kind == pb.MODEL_KIND_SMALL
    assert model.choice
    assert {gate.what for gate in model.gates if gate.there >= gate.needed} >= {"customers with an order"}
    (auc,) = [m for m in model.measures if (m.part, m.name) == ("churn", "auc")]
    assert auc.model.low <= auc.model.value <= auc.model.high
    assert "rfm_logistic" in auc.baselines
    assert sum(model.importance.values()) > 0


def test_a_model_tells_its_reliability_its_lift_and_that_it_was_the_first(trained: Client) -> None:
    model = trained.prediction.GetModel(pb.GetModelRequest(name="models/churn-0001"), timeout=30)
    assert sum(part.rows for part in model.reliability) == model.metrics["rows"]
    assert all(part.observed.low <= part.observed.value <= part.observed.high for part in model.reliability)
    assert model.lift[0].lift > 1 > model.lift[-1].lift
    assert model.lift[-1].gain == pytest.approx(1)
    assert (model.challenge.promoted, model.challenge.champion) == (True, "")
    assert not model.HasField("drift")


def test_right_after_its_training_nobody_has_moved_from_a_model(trained: Client) -> None:
    request = pb.GetModelRequest(name="models/churn-0001", drift=True)
    report = trained.prediction.GetModel(request, timeout=60).drift
    assert report.customer_count == 400
    assert convert.parse_timestamp(report.as_of_time) == newest_order() + 1
    assert {drift.level for drift in report.drifts} == {pb.DRIFT_LEVEL_STABLE}
    assert {"days_since_order", "churn probability"} < {drift.name for drift in report.drifts}


def test_the_card_is_printed_and_written_as_a_page(
    trained: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'onefold[plots]'")
    model = models.show(trained.channel, "", as_json=False, drift=True)
    printed = capsys.readouterr().out
    assert "churn-0001  in use\n" in printed
    assert "400 customers as of" in printed
    models.write_page(trained.settings, model, tmp_path / "card")
    assert str(tmp_path / "card" / "card.md") in capsys.readouterr().err
    text = (tmp_path / "card" / "card.md").read_text("utf-8")
    assert text.startswith("# churn-0001\n")
    assert "## Drift since training" in text
    assert {file.name for file in (tmp_path / "card").glob("*.svg")} == {
        "reliability.svg",
        "lift.svg",
        "importance.svg",
    }
    elsewhere = trained.settings.model_copy(update={"data_folder": tmp_path})
    with pytest.raises(NotReady, match="run this where the service runs"):
        models.write_page(elsewhere, model, tmp_path / "other")


def test_scores_are_kept_in_the_graph_and_anew_once_two_people_turn_out_to_be_one(trained: Client) -> None:
    reader = Reader(trained.engine.driver, trained.engine.endpoint.database, policy.load())
    writer = make.writer(trained.engine.endpoint, trained.engine.driver, policy.load())
    predictor = Predictor(reader, CurrentModel(Registry(trained.settings.models_folder)), lambda: END)
    done = score_everybody(writer, predictor, reader)
    assert done.written == 400
    one, two = (score(trained, by_customer(f"crm:{who}")).identity for who in ("id-0004", "id-0006"))
    kept = read_scores(reader, [one, two])
    assert kept[one].prediction.churn_probability == pytest.approx(
        score(trained, by_customer("crm:id-0004")).probability, abs=1e-9
    )
    orders = kept[one].prediction.features["orders"] + kept[two].prediction.features["orders"]
    ingest(trained, customer("app:2", "email:id-0004@example.org", "email:id-0006@example.org", seen=END // 1000))
    merged = score(trained, by_customer("crm:id-0004")).identity
    until = time.monotonic() + 60
    while True:
        found = read_scores(reader, [merged])
        if merged in found and not found[merged].stale:
            break
        assert time.monotonic() < until, "nobody scored the merged person anew"
        time.sleep(0.2)
    assert found[merged].prediction.features["orders"] > max(
        kept[who].prediction.features["orders"] for who in (one, two)
    )
    assert found[merged].prediction.features["orders"] <= orders  # order days, of which they may share some
    assert len(read_history(reader, merged)) >= 2
    streamed = trained.prediction.StreamScores(pb.StreamScoresRequest(), timeout=60)
    ids = [id for message in streamed for id in message.identities]
    assert ids.count(merged) == 1
    assert not ({one, two} - {merged}) & set(ids), "who is retired is not streamed"


def test_a_score_of_before_what_was_looked_at_is_found_later_and_keeps_its_horizon(trained: Client) -> None:
    reader = Reader(trained.engine.driver, trained.engine.endpoint.database, policy.load())
    writer = make.writer(trained.engine.endpoint, trained.engine.driver, policy.load())
    writer = replace(writer, clock=lambda: int(time.time() * 1000))
    predictor = Predictor(reader, CurrentModel(Registry(trained.settings.models_folder)), lambda: END)
    hasty, patient = Rescorer(writer, predictor, reader), Rescorer(writer, predictor, reader, anew_seconds=0)
    while hasty.look().run is not None:
        pass
    who = score(trained, by_customer("crm:id-0008")).identity
    run = Run("a run that was under way", "churn-0001", int(time.time() * 1000), END, 0, 7, 7)
    assert write_predictions(writer, run, [Prediction(who, 0.5)]) == {who}
    assert read_scores(reader, [who])[who].stale
    assert hasty.look().run is None
    assert patient.look().written
    found = read_scores(reader, [who])[who]
    assert (found.stale, found.run.churn_horizon_days) == (False, 7)


def test_a_segments_scores_are_those_of_its_members(trained: Client, tmp_path: Path) -> None:
    shutil.copytree(trained.settings.models_folder, tmp_path / "models")
    with ExitStack() as resources:
        given = settings(trained.engine.endpoint, tmp_path, frame_minutes=60)
        server = app.start(given, resources)
        channel = resources.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.port}"))
        framed = Client(channel, trained.engine, given)
        made = segment_service_pb2.Segment(key="returning", rule="orders >= 2")
        framed.segment.CreateSegment(segment_service_pb2.CreateSegmentRequest(segment=made))
        group = segment_service_pb2.Group(segment="returning")
        members: list[str] = []
        until = time.monotonic() + 60
        while not members:
            assert time.monotonic() < until
            time.sleep(0.1)
            with suppress(grpc.RpcError):  # the first frame is under way
                request = segment_service_pb2.StreamSegmentMembersRequest(group=group)
                members = [id for m in framed.segment.StreamSegmentMembers(request, timeout=30) for id in m.identities]
        request = pb.StreamScoresRequest(segment="returning")
        streamed = [id for m in framed.prediction.StreamScores(request, timeout=60) for id in m.identities]
        assert streamed == members
        assert 0 < len(members) < 400
        with pytest.raises(grpc.RpcError) as refused:
            list(framed.prediction.StreamScores(pb.StreamScoresRequest(segment="retruning"), timeout=60))
        framed.segment.DeleteSegment(segment_service_pb2.DeleteSegmentRequest(key="returning"))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.RpcError) as frameless:
        list(trained.prediction.StreamScores(pb.StreamScoresRequest(segment="about_to_leave"), timeout=60))
    assert frameless.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_an_unknown_model_is_not_found(trained: Client) -> None:
    error = failure(lambda: trained.prediction.GetModel(pb.GetModelRequest(name="models/churn-0404"), timeout=30))
    assert error.code() is grpc.StatusCode.NOT_FOUND


def test_visits_before_log_in_are_the_persons_once_the_device_is(trained: Client) -> None:
    latest = max(shop()[0].to_pylist(), key=lambda row: row["placed_at"])["identity"]
    email = f"email:{latest}@example.org"

    def visits() -> set[str]:
        told = score(trained, by_identifier(email), 1000).reasons
        return {reason.value for reason in told if reason.value.endswith(("event", "events"))}

    assert visits() == {"no events"}
    ingest(trained, customer("app:1", email, f"cookie:{latest}", seen=END // 1000))
    assert visits()
    assert "no events" not in visits()


def test_one_training_at_a_time_and_a_repeat_gets_the_first(trained: Client) -> None:
    # From here on there are more models than one.
    request = pb.TrainModelRequest(horizon_days=HORIZON_DAYS, request_id=str(uuid4()))
    first = trained.prediction.TrainModel(request, timeout=30)
    assert trained.prediction.TrainModel(request, timeout=30).name == first.name
    if not trained.operations.GetOperation(operations_pb2.GetOperationRequest(name=first.name), timeout=30).done:
        other = failure(lambda: trained.prediction.TrainModel(pb.TrainModelRequest(), timeout=30))
        assert other.code() is grpc.StatusCode.ABORTED
    model = pb.Model()
    assert done(trained, first).response.Unpack(model)
    assert model.state == pb.MODEL_STATE_ACTIVE
    newest_first = trained.prediction.ListModels(pb.ListModelsRequest(page_size=1), timeout=30)
    rest = trained.prediction.ListModels(
        pb.ListModelsRequest(page_size=1, page_token=newest_first.next_page_token), timeout=30
    )
    assert [m.version for m in (*newest_first.models, *rest.models)] == ["churn-0002", "churn-0001"]
    assert [m.state for m in rest.models] == [pb.MODEL_STATE_SUPERSEDED]
    assert not rest.next_page_token
    assert score(trained, by_customer("crm:id-0002")).model == "models/churn-0002"
    back = trained.prediction.PromoteModel(pb.PromoteModelRequest(name="models/churn-0001"), timeout=30)
    assert back.state == pb.MODEL_STATE_ACTIVE
    assert score(trained, by_customer("crm:id-0002")).model == "models/churn-0001"
    unknown = failure(
        lambda: trained.prediction.PromoteModel(pb.PromoteModelRequest(name="models/churn-9"), timeout=30)
    )
    assert unknown.code() is grpc.StatusCode.NOT_FOUND


def train(client: Client) -> pb.Model:
    """Another model of the shop."""
    model = pb.Model()
    operation = client.prediction.TrainModel(pb.TrainModelRequest(horizon_days=HORIZON_DAYS), timeout=30)
    assert done(client, operation).response.Unpack(model)
    return model


def test_a_retrained_model_takes_over_under_load_without_a_failed_call(trained: Client) -> None:
    before = _in_use(trained)
    over = threading.Event()

    def ask() -> list[str]:
        """The models that answered, in order; whatever fails is raised."""
        answered = []
        while not over.is_set():
            answered.append(score(trained, by_customer("crm:id-0002")).model)
        return answered

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask) for _ in range(3)]
        try:
            model = train(trained)
            time.sleep(1)  # so that everybody asks the new one, too
        finally:
            over.set()
        answers = [asked.result() for asked in asking]
    assert model.challenge.champion == before
    assert model.challenge.promoted
    for answered in answers:
        turn = answered.index(model.name)
        assert set(answered[:turn]) == {before}
        assert set(answered[turn:]) == {model.name}


def test_a_model_of_scrambled_outcomes_is_not_promoted_and_its_card_says_why(
    trained: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, rows = _in_use(trained), churn.training_rows

    def scrambled(*given: Any, **more: Any) -> Panel:
        panel = rows(*given, **more)
        return replace(panel, churned=np.random.default_rng(3).permutation(panel.churned))

    with monkeypatch.context() as patched:
        patched.setattr(churn, "training_rows", scrambled)
        training.train(trained.channel, HORIZON_DAYS, None, as_json=False)
    newest = trained.prediction.ListModels(pb.ListModelsRequest(page_size=1), timeout=30).models[0]
    assert (newest.state, newest.challenge.promoted) == (pb.MODEL_STATE_SUPERSEDED, False)
    assert newest.challenge.champion == before
    assert newest.challenge.differences["log_loss"].low > 0
    assert newest.challenge.words.endswith("which is surely worse")
    assert f"Not promoted: {newest.challenge.words}." in capsys.readouterr().out
    assert score(trained, by_customer("crm:id-0002")).model == before
    models.list_all(trained.channel, as_json=False)
    assert "not promoted" in capsys.readouterr().out
    # An operator may have it all the same.
    models.promote(trained.channel, newest.version)
    assert score(trained, by_customer("crm:id-0002")).model == newest.name
    # But from a later one the way back is to the one that was good enough.
    registry = Registry(trained.settings.models_folder)
    registry.promote(registry.save(registry.load(before.removeprefix("models/"))))
    models.roll_back(trained.channel)
    assert _in_use(trained) == before


def _in_use(client: Client) -> str:
    found = client.prediction.ListModels(pb.ListModelsRequest(page_size=500), timeout=30).models
    (name,) = [model.name for model in found if model.state == pb.MODEL_STATE_ACTIVE]
    return name


def test_in_a_graph_where_nobody_has_bought_anything_drift_says_so(
    trained: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    # The very last in this module: it empties the graph.
    empty(trained.engine.driver, trained.engine.endpoint.database)
    models.show(trained.channel, "", as_json=False, drift=True)
    assert "Nobody in the graph has bought anything" in capsys.readouterr().out
