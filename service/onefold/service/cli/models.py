"""``onefold model``: the trained models, one's card, and which of them is in use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import grpc
from google.protobuf.json_format import MessageToJson
from rich.markup import escape
from rich.table import Table

from onefold.graph.errors import NotReady
from onefold.service.cli import terminal
from onefold.service.cli.training import in_words
from onefold.service.client import error_of
from onefold.v1 import prediction_service_pb2 as pb
from onefold.v1 import prediction_service_pb2_grpc as rpc

_SECONDS: Final = 30
_STATES: Final = {
    pb.MODEL_STATE_ACTIVE: "in use",
    pb.MODEL_STATE_SUPERSEDED: "",
    pb.MODEL_STATE_INCOMPATIBLE: "refused: train again",
}
_KINDS: Final = {pb.MODEL_KIND_FULL: "full", pb.MODEL_KIND_SMALL: "small"}
_IMPORTANT: Final = 10


def list_all(channel: grpc.Channel, as_json: bool) -> None:
    """Prints the models, newest first."""
    models = _all(channel)
    if as_json:
        print(MessageToJson(pb.ListModelsResponse(models=models), preserving_proto_field_name=True))
        return
    table = terminal.table(("model", "kind", "trained", "horizon", "customers", "AUC", "log loss", ""))
    for model in models:
        figures = [f"{model.metrics[name]:.4f}" if name in model.metrics else "" for name in ("auc", "log_loss")]
        table.add_row(
            model.version, _KINDS.get(model.kind, ""), _day(model), f"{model.horizon_days} days",
            f"{model.customer_count:,}", *figures, _STATES.get(model.state, ""),
        )  # fmt: skip
    terminal.out().print(table)


def show(channel: grpc.Channel, version: str, as_json: bool) -> None:
    """Prints the card of a model, or of the one in use. Raises NotFound, NotReady where none is in use."""
    model = _get(channel, version) if version else _in_use(_all(channel))
    if as_json:
        print(MessageToJson(model, preserving_proto_field_name=True))
        return
    console = terminal.out()
    console.print(escape(in_words(model)), soft_wrap=True)
    for line in _told(model):
        console.print(escape(line), soft_wrap=True)
    console.print(_measures(model))
    console.print(_important(model))


def promote(channel: grpc.Channel, version: str) -> None:
    """Puts a model in use. Raises NotFound, NotReady for one that is damaged or made for other features."""
    try:
        model = rpc.PredictionServiceStub(channel).PromoteModel(
            pb.PromoteModelRequest(name=f"models/{version}"), timeout=_SECONDS
        )
    except grpc.RpcError as error:
        raise error_of(error) from error
    terminal.note(f"{model.version} is in use.")


def roll_back(channel: grpc.Channel) -> None:
    """Puts the model in use that was trained before the one that is. Raises NotReady where there is none."""
    models = _all(channel)
    active = _in_use(models)
    older = [m for m in models[models.index(active) + 1 :] if m.state == pb.MODEL_STATE_SUPERSEDED]
    if not older:
        raise NotReady("older model", f"there is none before {active.version} that could be used")
    promote(channel, older[0].version)


def _all(channel: grpc.Channel) -> list[pb.Model]:
    stub, token = rpc.PredictionServiceStub(channel), ""
    models: list[pb.Model] = []
    try:
        while True:
            page = stub.ListModels(pb.ListModelsRequest(page_size=500, page_token=token), timeout=_SECONDS)
            models += page.models
            token = page.next_page_token
            if not token:
                return models
    except grpc.RpcError as error:
        raise error_of(error) from error


def _get(channel: grpc.Channel, version: str) -> pb.Model:
    try:
        model: pb.Model = rpc.PredictionServiceStub(channel).GetModel(
            pb.GetModelRequest(name=f"models/{version}"), timeout=_SECONDS
        )
    except grpc.RpcError as error:
        raise error_of(error) from error
    return model


def _in_use(models: list[pb.Model]) -> pb.Model:
    for model in models:
        if model.state == pb.MODEL_STATE_ACTIVE:
            return model
    raise NotReady("model", "none is in use: run onefold train")


def _told(model: pb.Model) -> Iterator[str]:
    yield f"kind: {_KINDS.get(model.kind, 'unknown')}, {model.choice}"
    days = (model.held_out_time.seconds - model.first_order_time.seconds) // 86_400
    yield f"learned from {days} days of orders before its test; data {model.data_fingerprint}"
    for gate in model.gates:
        mark = "✓" if gate.there >= gate.needed else "✗"
        yield f"{mark} {_KINDS.get(gate.kind, '')} model: {gate.what}, {gate.there:,} of {gate.needed:,} needed"
    for weakness in model.weaknesses:
        yield f"! {weakness}"


def _measures(model: pb.Model) -> Table:
    table = terminal.table(("held out", "", "model (95 %)", "nearest baseline", "difference (95 %)"))
    for measure in model.measures:
        closest = min(measure.differences, key=lambda of: abs(measure.differences[of].value), default="")
        table.add_row(
            measure.part,
            measure.name,
            _interval(measure.model),
            f"{measure.baselines[closest].value:.4f} {closest}" if closest else "",
            _interval(measure.differences[closest], signed=True) if closest else "",
        )
    return table


def _important(model: pb.Model) -> Table:
    table = terminal.table(("what moves churn most", "share"))
    whole = sum(model.importance.values()) or 1.0
    ranked = sorted(model.importance.items(), key=lambda item: (-item[1], item[0]))
    for name, size in ranked[:_IMPORTANT]:
        table.add_row(name, f"{size / whole:.0%}")
    return table


def _interval(estimate: pb.Estimate, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    return f"{estimate.value:{sign}.4f} ({estimate.low:{sign}.4f} … {estimate.high:{sign}.4f})"


def _day(model: pb.Model) -> str:
    return model.create_time.ToJsonString()[:10]
