"""``onefold serve`` and ``onefold doctor``."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict
from importlib import metadata
from typing import Final

from rich.markup import escape
from rich.text import Text

from onefold.graph.embedded import running
from onefold.graph.endpoint import Endpoint
from onefold.graph.errors import Unavailable
from onefold.graph.probe import EngineFacts, probe
from onefold.service import app, doctor, logs, process
from onefold.service.cli import terminal
from onefold.service.doctor import Verdict
from onefold.service.server import Server
from onefold.service.settings import Settings

_STYLES: Final = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}


def serve(settings: Settings, as_json: bool) -> None:
    """Serves until told to stop; says where once it listens."""
    logs.configure(settings.log_level, settings.log_format)

    def start(resources: ExitStack) -> Server:
        server = app.start(settings, resources)
        announce(settings, server.port, as_json)
        return server

    process.run(start, settings.drain_seconds)


def announce(settings: Settings, port: int, as_json: bool) -> None:
    """Says where the service listens, on which engine, and where its data are."""
    host = settings.listen.rpartition(":")[0]
    facts = {
        "listen": f"{host}:{port}",
        "engine": settings.graph_uri or "embedded",
        "data_folder": str(settings.data_folder),
        "metrics": f"http://{settings.metrics_host}:{settings.metrics_port}/metrics" if settings.metrics_port else None,
    }
    console = terminal.out()
    if as_json:
        print(json.dumps(facts), flush=True)
        return
    security = "TLS" if settings.tls_certificate_file else "no TLS"
    reflection = ", reflection" if settings.reflects else ""
    rows = {
        "gRPC": f"{facts['listen']}  ({security}{reflection})",
        "engine": settings.graph_uri or f"embedded ArcadeDB {metadata.version(doctor.ENGINE_PACKAGE)}",
        "data": facts["data_folder"] or "",
        "metrics": facts["metrics"] or "off",
    }
    console.print(f"[bold]Onefold {metadata.version('onefold')}[/] is serving. Ctrl-C stops it.")
    for name, value in rows.items():
        console.print(f"  {name:<8} {escape(value)}", soft_wrap=True)
    console.file.flush()


def diagnose(settings: Settings, as_json: bool) -> int:
    """Prints every check as it is done; the exit code says whether one failed."""
    failed = False
    console = terminal.out()
    for check in doctor.diagnose(settings, lambda: _probe(settings)):
        failed |= check.verdict is Verdict.FAIL
        if as_json:
            print(json.dumps(asdict(check)), flush=True)
            continue
        verdict = Text(f"{check.verdict:<5}", style=_STYLES[check.verdict])
        console.print(verdict, f"[bold]{check.name:<12}[/]", escape(check.seen), soft_wrap=True)
        if check.advice:
            console.print(f"      {'':<12} [dim]→ {escape(check.advice)}[/]", soft_wrap=True)
    return terminal.EXIT_FAILED if failed else 0


def _probe(settings: Settings) -> EngineFacts:
    """What the engine says of itself; the embedded one is started for it unless a service runs on it."""
    with ExitStack() as resources:
        return probe(running_engine(settings) or app.endpoint(settings, resources))


def running_engine(settings: Settings) -> Endpoint | None:
    """The embedded engine of a service that runs on the data folder; None if there is none."""
    if not settings.embedded:
        return None
    try:
        return running(settings.data_folder)
    except Unavailable:
        return None
