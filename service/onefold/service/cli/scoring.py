"""``onefold score``: what the model in use says of everybody, written to the graph. The service may run meanwhile."""

from __future__ import annotations

import json

from rich.progress import Progress as Bars

from onefold.ml.current import CurrentModel
from onefold.ml.registry import Registry
from onefold.service import app
from onefold.service.cli import terminal
from onefold.service.cli.maintenance import reader_of, writer_at
from onefold.service.convert import timestamp_to_proto
from onefold.service.predictor import Predictor
from onefold.service.scoring import Progress, Scored, score_everybody
from onefold.service.settings import Settings


def score(settings: Settings, horizon_days: int | None, as_json: bool) -> None:
    """Scores everybody, shows how far it is, and prints what was written. Raises NotReady where there is no model."""
    with writer_at(settings) as writer:
        reader = reader_of(writer)
        predictor = Predictor(reader, CurrentModel(Registry(settings.models_folder)), app.now)
        with terminal.progress("computing features") as bars:
            scored = score_everybody(writer, predictor, reader, horizon_days, _shown(bars))
    _report(scored, as_json)


def _shown(bars: Bars) -> Progress:
    def show(done: int, of: int) -> None:
        for task in bars.task_ids:
            bars.update(task, description="writing scores", completed=done, total=of, said=f"{done:,} of {of:,}")

    return show


def _report(scored: Scored, as_json: bool) -> None:
    run = scored.run
    if as_json:
        said = None if run is None else {"id": run.id, "model": run.model, "as_of": _iso(run.features_at)}
        print(json.dumps({"run": said, "identities": scored.written}))
    elif run is None:
        terminal.note("Nobody has bought anything, so there is nobody to score.")
    else:
        terminal.out().print(
            f"{scored.written:,} identities scored by models/{run.model}: churn, orders and spend within"
            f" {run.churn_horizon_days} days from {_iso(run.features_at)}, with their features",
            soft_wrap=True,
        )


def _iso(instant: int) -> str:
    return timestamp_to_proto(instant).ToJsonString()
