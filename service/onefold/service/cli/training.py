"""``onefold train``: a churn model, and how it compares to what it must beat."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToJson
from rich.markup import escape
from rich.table import Table

from onefold.graph.errors import OnefoldError
from onefold.graph.model import to_instant
from onefold.service.cli import terminal
from onefold.service.client import error_of
from onefold.service.convert import timestamp_to_proto
from onefold.v1 import prediction_service_pb2, prediction_service_pb2_grpc

_GLANCE = Duration(nanos=400_000_000)
"""How often progress is looked at."""

MEASURES: Final = {"auc": "AUC", "log_loss": "log loss", "brier": "Brier score", "ece": "calibration error"}
"""What is shown of a model's metrics, and how it is called."""


def train(channel: grpc.Channel, horizon_days: int, cutoff: datetime | None, as_json: bool) -> None:
    """Trains a model in the service, shows how far it is, and prints its measures and whether it is in use now."""
    model = trained(channel, horizon_days, cutoff)
    if as_json:
        print(MessageToJson(model, preserving_proto_field_name=True))
        return
    console = terminal.out()
    console.print(escape(in_words(model)), soft_wrap=True)
    console.print(measures(model))
    console.print(escape(decision(model)), soft_wrap=True)


def trained(
    channel: grpc.Channel, horizon_days: int = 0, cutoff: datetime | None = None
) -> prediction_service_pb2.Model:
    """The model, once trained; 0 is the service's own horizon. Raises NotReady when there is too little data."""
    request = prediction_service_pb2.TrainModelRequest(horizon_days=horizon_days)
    if cutoff is not None:
        request.cutoff_time.CopyFrom(timestamp_to_proto(to_instant(cutoff)))
    try:
        with terminal.progress("training") as bars:
            operation = prediction_service_pb2_grpc.PredictionServiceStub(channel).TrainModel(request, timeout=30)
            operations = operations_pb2_grpc.OperationsStub(channel)
            while not operation.done:
                operation = operations.WaitOperation(
                    operations_pb2.WaitOperationRequest(name=operation.name, timeout=_GLANCE), timeout=30
                )
                known = prediction_service_pb2.TrainModelMetadata()
                if operation.metadata.Unpack(known):
                    for task in bars.task_ids:
                        bars.update(task, total=1.0, completed=known.progress, said=known.stage)
    except grpc.RpcError as error:
        raise error_of(error) from error
    if operation.HasField("error"):
        raise OnefoldError(operation.error.message)
    model = prediction_service_pb2.Model()
    operation.response.Unpack(model)
    return model


def measures(model: prediction_service_pb2.Model) -> Table:
    """A table of the measures on held-out customers, beside those of the baseline."""
    table = terminal.table(("held out", "model", "RFM logistic", "difference"))
    for column in table.columns[1:]:
        column.justify = "right"
    for name, words in MEASURES.items():
        if name in model.metrics and name in model.baseline_metrics:
            ours, base = model.metrics[name], model.baseline_metrics[name]
            table.add_row(words, f"{ours:.4f}", f"{base:.4f}", f"{ours - base:+.4f}")
    return table


def decision(model: prediction_service_pb2.Model) -> str:
    """Whether a new model took the place of the one in use, and why."""
    if model.challenge.promoted:
        return f"Promoted: {model.challenge.words}."
    return f"Not promoted: {model.challenge.words}. To use it all the same: onefold model promote {model.version}"


def in_words(model: prediction_service_pb2.Model) -> str:
    """What the model is, and on whom it was measured."""
    measured = ""
    if "rows" in model.metrics and "base_rate" in model.metrics:
        measured = f", {model.metrics['base_rate']:.0%} of {model.metrics['rows']:,.0f} held-out customers"
    return (
        f"{model.name}, trained on {model.row_count:,} customers; churn is no purchase within "
        f"{model.horizon_days} days{measured}"
    )
