"""What segments are like and what they did, over a real socket, on each engine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from typer.testing import CliRunner

from onefold.service import app, client, convert
from onefold.service.cli.app import app as commands
from onefold.v1 import record_pb2
from onefold.v1 import segment_service_pb2 as pb
from tests.conftest import Engine
from tests.engines import empty
from tests.rpc import items as make
from tests.rpc.conftest import Client, settings

PEOPLE = 240
MAILED = 'city == "leeds"'
BEGAN = make.NOW - 30 * make.DAY
"""When the window began: half of the people got a letter then, every other one."""


def is_mailed(person: int) -> bool:
    return person % 2 == 0


def bought(person: int) -> bool:
    """In the window: three of four of who got a letter, one of four of the others."""
    return person // 2 % 4 < (3 if is_mailed(person) else 1)


def person(number: int) -> Iterator[record_pb2.Item]:
    """Somebody who bought twice before the window, as anybody did."""
    name = f"web:{number}"
    city = "Leeds" if is_mailed(number) else "York"
    yield make.customer(name, f"email:p{number}@example.org", seen=BEGAN - 99 * make.DAY, city=city)
    for n in range(2):
        placed = BEGAN - (10 + 40 * n + number // 2 % 7) * make.DAY
        yield make.order(f"shop:{number}-{n}", of=name, placed=placed, pounds=10 + 2 * (number // 2 % 5))
    if bought(number):
        yield make.order(f"shop:{number}-x", of=name, placed=BEGAN + (1 + number % 28) * make.DAY, pounds=20)


@pytest.fixture(scope="module")
def shop(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    empty(engine.driver, engine.endpoint.database)
    with ExitStack() as resources:
        given = settings(engine.endpoint, tmp_path_factory.mktemp("data"), frame_minutes=60)
        server = app.start(given, resources)
        server.set_ready(True)
        address = f"127.0.0.1:{server.port}"
        channel = resources.enter_context(grpc.insecure_channel(address))
        shop = Client(channel, engine, given.model_copy(update={"listen": address}))
        for number in range(0, PEOPLE, 20):
            done = make.ingest(shop, *(item for n in range(number, number + 20) for item in person(n)))
            assert not any(result.HasField("status") for result in done)
        make.ingest(shop, make.order("shop:last", of="web:1", placed=make.NOW, pounds=20))
        shop.segment.CreateSegment(pb.CreateSegmentRequest(segment=pb.Segment(key="mailed", rule=MAILED)))
        # It counts events as nothing else does: the first frame that can be asked for it was made anew from all this.
        visits = pb.Segment(key="visitors", rule='count_events("page_view", 3d) >= 1')
        shop.segment.CreateSegment(pb.CreateSegmentRequest(segment=visits))
        until(lambda: is_counted(shop, visits.rule))
        yield shop


def is_counted(shop: Client, rule: str) -> bool:
    try:
        shop.segment.PreviewSegment(pb.PreviewSegmentRequest(group=pb.Group(rule=rule)))
    except grpc.RpcError:  # no frame has what it asks for yet
        return False
    return True


def members(shop: Client, rule: str) -> list[str]:
    try:
        found = shop.segment.ListSegmentMembers(pb.ListSegmentMembersRequest(group=pb.Group(rule=rule), page_size=500))
    except grpc.RpcError:  # the segment is not there yet
        return []
    return list(found.identities)


def until(holds: Callable[[], bool], seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.2)


def refused(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return raised.value.code(), str(client.error_of(raised.value))


def test_a_segment_is_described_beside_everybody(shop: Client) -> None:
    group = pb.Group(segment="mailed")
    answer = shop.segment.DescribeSegment(pb.DescribeSegmentRequest(group=group, most=1))
    found = convert.parse_insight(answer)
    assert (found.members, found.people, found.as_of) == (PEOPLE // 2, PEOPLE, 1_000 * make.NOW + 1)
    assert found.warnings[0].startswith(f"only {PEOPLE // 2} customers")
    orders = [2 + bought(n) for n in range(0, PEOPLE, 2)]
    assert found.buying.orders_per_buyer.segment is not None
    assert found.buying.orders_per_buyer.segment.value == pytest.approx(sum(orders) / len(orders))
    assert (found.buying.currency, found.buying.repurchase_rate.whole) == ("GBP", 1.0)
    assert [product.orders for product in found.products.best_sellers] == [sum(orders)]
    (city,) = (each for each in found.distributions if each.key == "city")
    assert [(s.value, s.count, s.everywhere) for s in city.shares] == [("leeds", PEOPLE // 2, PEOPLE // 2)]
    assert city.left_out == 1
    assert city.shares[0].tgi is not None
    assert city.shares[0].tgi.value == pytest.approx(200)


def test_an_effect_is_measured_from_when_the_window_began(shop: Client) -> None:
    request = pb.MeasureSegmentRequest(group=pb.Group(segment="mailed"), days=30)
    found = shop.segment.MeasureSegment(request)
    assert (found.group_count, found.outside_count, found.days) == (PEOPLE // 2, PEOPLE // 2, 30)
    assert found.start_time.seconds == BEGAN
    conversion = next(outcome for outcome in found.outcomes if outcome.kind == "conversion")
    assert 0.6 < conversion.of_group < 0.9
    assert conversion.low > 0.3
    assert conversion.low < conversion.difference < conversion.high
    assert conversion.words.startswith("conversion: ")
    assert found.balance[0].term
    rules = pb.MeasureSegmentRequest(group=pb.Group(rule=MAILED), outside=pb.Group(rule='city == "york"'), days=30)
    assert shop.segment.MeasureSegment(rules).outcomes[0] == conversion


def test_who_looks_like_a_group_is_found_and_kept(shop: Client) -> None:
    request = pb.FindLookalikesRequest(group=pb.Group(segment="mailed"), size=20, key="like_mailed")
    found = shop.segment.FindLookalikes(request)
    assert (found.group_count, found.rest_count, len(found.lookalikes)) == (PEOPLE // 2, PEOPLE // 2, 20)
    assert found.excluded["city"] == "defines the group"
    assert 0.5 < found.auc_low < found.auc < found.auc_high <= 1
    likeness = [one.likeness for one in found.lookalikes]
    assert likeness == sorted(likeness, reverse=True)
    until(lambda: members(shop, 'in_segment("like_mailed")') == sorted(one.identity for one in found.lookalikes))
    assert members(shop, f'in_segment("like_mailed") && {MAILED}') == []
    code, _ = refused(lambda: shop.segment.FindLookalikes(pb.FindLookalikesRequest(group=pb.Group(rule="orders > 9"))))
    assert code is grpc.StatusCode.FAILED_PRECONDITION


def test_clusters_keep_their_names_from_one_time_to_the_next(shop: Client) -> None:
    first = shop.segment.FindClusters(pb.FindClustersRequest())
    assert sum(cluster.people for cluster in first.clusters) + first.unknown_count == PEOPLE
    assert first.why
    assert first.tried[0].clusters == 3
    again = shop.segment.FindClusters(pb.FindClustersRequest(previous=first.clustering))
    assert [(c.key, c.name) for c in again.clusters] == [(c.key, c.name) for c in first.clusters]
    code, words = refused(lambda: shop.segment.FindClusters(pb.FindClustersRequest(features=["spent"])))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "there is no spent" in words
    code, _ = refused(lambda: shop.segment.FindClusters(pb.FindClustersRequest(previous="{}")))
    assert code is grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (pb.DescribeSegmentRequest(group=pb.Group(segment="maild")), grpc.StatusCode.NOT_FOUND, "mailed"),
        (pb.DescribeSegmentRequest(group=pb.Group(rule="purchases > 9")), grpc.StatusCode.INVALID_ARGUMENT, "nobody"),
        (pb.DescribeSegmentRequest(group=pb.Group(rule="purchase > 9")), grpc.StatusCode.INVALID_ARGUMENT, "purchases"),
        (pb.MeasureSegmentRequest(group=pb.Group(segment="maild"), days=9), grpc.StatusCode.NOT_FOUND, "mailed"),
        (
            pb.MeasureSegmentRequest(group=pb.Group(segment="mailed"), days=9, start_time=make.at(make.NOW)),
            grpc.StatusCode.INVALID_ARGUMENT,
            "not over yet",
        ),
        (
            pb.MeasureSegmentRequest(group=pb.Group(rule="purchases >= 2 && purchases_30d > 9"), days=9),
            grpc.StatusCode.FAILED_PRECONDITION,
            "0 people are in the group",
        ),
        (pb.MeasureSegmentRequest(group=pb.Group(segment="mailed")), grpc.StatusCode.INVALID_ARGUMENT, "days"),
        (
            pb.MeasureSegmentRequest(group=pb.Group(segment="mailed"), outside=pb.Group(rule="citi"), days=9),
            grpc.StatusCode.INVALID_ARGUMENT,
            "outside.rule",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(
    shop: Client,
    request_: pb.DescribeSegmentRequest | pb.MeasureSegmentRequest,
    code: grpc.StatusCode,
    words: str,
) -> None:
    def call() -> object:
        if isinstance(request_, pb.DescribeSegmentRequest):
            return shop.segment.DescribeSegment(request_)
        return shop.segment.MeasureSegment(request_)

    found, said = refused(call)
    assert found is code
    assert words in said


def test_the_command_line_tells_both_and_writes_a_page(shop: Client, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")

    def printed(*words: str) -> str:
        done = CliRunner().invoke(commands, [*words, "--address", shop.settings.listen], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    said = printed("insight", "mailed", "--page", str(tmp_path / "report"), "--png")
    assert f"{PEOPLE // 2} customers, 50% of {PEOPLE}" in said
    assert "insight.html" in said
    assert "<h1>mailed</h1>" in (tmp_path / "report" / "insight.html").read_text("utf-8")
    assert list((tmp_path / "report").glob("*.png"))
    assert "conversion: " in printed("segment", "measure", "mailed", "--days", "30")
    assert "AUC 0." in printed("segment", "lookalike", "mailed", "--size", "3")
    kept = tmp_path / "clusters.json"
    assert "silhouette" in printed("segment", "clusters", "--keep", str(kept))
    name = json.loads(kept.read_text("utf-8"))["clusters"][0]["name"]
    assert f"\n{name}: " in printed("segment", "clusters", "--keep", str(kept))
    assert '"measured_count"' in printed("segment", "measure", "--rule", MAILED, "--days", "30", "--json")


def test_what_no_study_can_look_at_is_refused_in_words(shop: Client) -> None:
    unseen = pb.MeasureSegmentRequest(group=pb.Group(rule='count_events("never_asked_for", 7d) > 1'), days=30)
    early = pb.MeasureSegmentRequest(group=pb.Group(rule=MAILED), days=30)
    early.start_time.seconds = -62_135_596_800
    no_number = pb.FindClustersRequest(features=["identity"])
    broken = json.loads(shop.segment.FindClusters(pb.FindClustersRequest(features=["orders", "spend"])).clustering)
    broken["scales"][0]["mean"] = float("nan")
    damaged = pb.FindClustersRequest(features=["orders", "spend"], previous=json.dumps(broken))
    for call, code, words in (
        (lambda: shop.segment.MeasureSegment(unseen), grpc.StatusCode.FAILED_PRECONDITION, "is not in the frame yet"),
        (lambda: shop.segment.MeasureSegment(early), grpc.StatusCode.INVALID_ARGUMENT, "start_time"),
        (lambda: shop.segment.FindClusters(no_number), grpc.StatusCode.INVALID_ARGUMENT, "must be a number"),
        (lambda: shop.segment.FindClusters(damaged), grpc.StatusCode.FAILED_PRECONDITION, "does not fit together"),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert caught.value.code() is code
        assert words in str(caught.value.details())
