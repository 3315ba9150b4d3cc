"""``onefold predict``: what is to be expected of one person, and why."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
from google.protobuf.json_format import MessageToJson
from rich.console import RenderableType
from rich.markup import escape
from rich.padding import Padding

from onefold.service.cli import risk, terminal
from onefold.service.client import error_of
from onefold.v1 import identity_pb2
from onefold.v1 import prediction_service_pb2 as pb
from onefold.v1 import prediction_service_pb2_grpc as rpc


def predict(channel: grpc.Channel, subject: identity_pb2.Subject, horizon_days: int, as_json: bool) -> None:
    """Prints all that is predicted. Raises NotFound, and NotReady without a model or an order."""
    found = get(channel, pb.GetPredictionsRequest(subject=subject, horizon_days=horizon_days))
    if as_json:
        print(MessageToJson(found, preserving_proto_field_name=True))
        return
    for line in _lines(found):
        terminal.out().print(line, soft_wrap=True)


def get(channel: grpc.Channel, request: pb.GetPredictionsRequest) -> pb.Predictions:
    """All that is predicted of a person. Raises as :func:`predict` does."""
    try:
        found: pb.Predictions = rpc.PredictionServiceStub(channel).GetPredictions(request, timeout=30)
    except grpc.RpcError as error:
        raise error_of(error) from error
    return found


def _lines(found: pb.Predictions) -> Iterator[RenderableType]:
    churn, value = found.churn, found.value
    yield f"[dim]identity {churn.identity}, by {churn.model}, from {_day(churn.as_of_time)} on[/]"
    yield f"[bold]Churn[/] {churn.probability:.0%} within {churn.horizon_days} days"
    for reason in churn.reasons:
        yield f"  {reason.contribution:+.2f}  {escape(reason.words)}"
    yield Padding(risk.curve(found.curve), (0, 0, 0, 2), expand=False)
    yield (
        f"[bold]Value[/] {value.historic:,.2f} {value.currency} so far; {value.predicted:,.2f} to be expected within"
        f" {churn.horizon_days} days (typically {value.typical:,.2f}), from {found.expected_orders:.1f} orders"
    )
    if found.HasField("next_order"):
        due = found.next_order
        gap = f", usually every {_days(found.mean_gap_days)}" if found.HasField("mean_gap_days") else ""
        yield (
            f"[bold]Next order[/] around {_day(due.median_time)}, if any: from {_day(due.earliest_time)} to"
            f" {_day(due.latest_time)} for eight in ten{gap}"
        )
    for product in found.next_products:
        yield f"[bold]Next product[/] {escape(product.name or product.product)}: {escape(product.words)}"
    for abstention in found.abstentions:
        yield f"[yellow]no {abstention.what.replace('_', ' ')}[/]: {escape(abstention.words)}"
    for warning in churn.warnings:
        yield f"[yellow]take care[/]: {escape(warning.words)}"


def _day(time: object) -> str:
    return str(time.ToJsonString())[:10]  # type: ignore[attr-defined]


def _days(count: float) -> str:
    return "day" if round(count) == 1 else f"{count:.0f} days"
