"""``onefold model``: the trained models, one's card, and which of them is in use."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import grpc
from google.protobuf.json_format import MessageToJson

from onefold.graph.errors import NotReady
from onefold.ml import card_page
from onefold.ml.registry import Registry
from onefold.service import convert
from onefold.service.cli import model_card, terminal
from onefold.service.cli.model_card import KINDS, STATES
from onefold.service.client import error_of
from onefold.service.settings import Settings
from onefold.v1 import prediction_service_pb2 as pb
from onefold.v1 import prediction_service_pb2_grpc as rpc

_SECONDS: Final = 30
_DRIFT_SECONDS: Final = 600
"""For looking at everybody."""


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
            model.version, KINDS.get(model.kind, ""), _day(model), f"{model.horizon_days} days",
            f"{model.customer_count:,}", *figures, _standing(model),
        )  # fmt: skip
    terminal.out().print(table)


def show(channel: grpc.Channel, version: str, as_json: bool, drift: bool) -> pb.Model:
    """Prints the card of a model, or of the one in use, and gives it; with ``drift``, how far customers have moved
    since. Raises NotFound, NotReady where none is in use."""
    model = _get(channel, version or _in_use(_all(channel)).version, drift)
    if as_json:
        print(MessageToJson(model, preserving_proto_field_name=True))
    else:
        model_card.render(model, terminal.out())
    return model


def write_page(settings: Settings, model: pb.Model, folder: Path) -> None:
    """Writes the card of a model of this machine's registry as a page with plots. Raises NotReady where it is not there
    or matplotlib is missing."""
    found = [entry.card for entry in Registry(settings.models_folder).entries() if entry.id == model.version]
    if not found or found[0] is None:
        raise NotReady("page", f"{model.version} is not in {settings.models_folder}: run this where the service runs")
    drifts = convert.parse_moved(model.drift).drifts if model.HasField("drift") else None
    terminal.note(f"wrote {card_page.write(found[0], model.version, folder, drifts)}")


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
    before = models[models.index(active) + 1 :]
    older = [model for model in before if model.state == pb.MODEL_STATE_SUPERSEDED and not _held_back(model)]
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


def _get(channel: grpc.Channel, version: str, drift: bool) -> pb.Model:
    try:
        model: pb.Model = rpc.PredictionServiceStub(channel).GetModel(
            pb.GetModelRequest(name=f"models/{version}", drift=drift), timeout=_DRIFT_SECONDS if drift else _SECONDS
        )
    except grpc.RpcError as error:
        raise error_of(error) from error
    return model


def _in_use(models: list[pb.Model]) -> pb.Model:
    for model in models:
        if model.state == pb.MODEL_STATE_ACTIVE:
            return model
    raise NotReady("model", "none is in use: run onefold train")


def _standing(model: pb.Model) -> str:
    held_back = model.state == pb.MODEL_STATE_SUPERSEDED and _held_back(model)
    return "not promoted" if held_back else STATES.get(model.state, "")


def _held_back(model: pb.Model) -> bool:
    """Whether it was surely worse than the one in use when it was trained."""
    return model.HasField("challenge") and not model.challenge.promoted


def _day(model: pb.Model) -> str:
    return model.create_time.ToJsonString()[:10]
