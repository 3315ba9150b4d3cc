"""``onefold train``: a churn model, and how it compares to what it must beat."""

from __future__ import annotations

from datetime import datetime

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToJson
from rich.table import Table
from rich.text import Text

from onefold.graph.errors import OnefoldError
from onefold.graph.model import to_instant
from onefold.service.cli import terminal
from onefold.service.client import error_of
from onefold.service.convert import timestamp_to_proto
from onefold.v1 import prediction_service_pb2, prediction_service_pb2_grpc

_GLANCE = Duration(nanos=400_000_000)
"""How often progress is looked at."""


def train(channel: grpc.Channel, horizon_days: int, cutoff: datetime | None, as_json: bool) -> None:
    """Trains a model in the service, shows how far it is, and prints its measures."""
    model = trained(channel, horizon_days, cutoff)
    if as_json:
        print(MessageToJson(model, preserving_proto_field_name=True))
        return
    console = terminal.out()
    console.print(
        f"[bold]{model.name}[/], from {model.row_count:,} customers: no purchase within {model.horizon_days} days",
        soft_wrap=True,
    )
    console.print(measures(model))


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
    """A table of the model's measures on held-out customers, beside those of the baseline."""
    table = terminal.table(("held out", "model", "RFM logistic", "difference"))
    for column in table.columns[1:]:
        column.justify = "right"
    for name, value in sorted(model.metrics.items()):
        base = model.baseline_metrics.get(name)
        if base is None:
            table.add_row(name, f"{value:.4g}", "", "")
        else:
            table.add_row(name, f"{value:.4f}", f"{base:.4f}", Text(f"{value - base:+.4f}"))
    return table
