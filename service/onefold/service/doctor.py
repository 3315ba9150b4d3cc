"""What stands in the way of serving, found before it does: each check looks at one thing and says what to do.

Checks change nothing, except that the check of the data folder writes a file and deletes it.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from http.client import HTTPConnection, HTTPException
from importlib import metadata
from pathlib import Path
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from onefold.graph import policy, schema
from onefold.graph.errors import EngineError, InvalidPolicy, NotReady, OnefoldError, Unavailable
from onefold.graph.probe import EngineFacts
from onefold.ml.registry import Registry
from onefold.service.settings import Settings, unknown_variables

ENGINE_PACKAGE: Final = "arcadedb-embedded"
OUR_SERVICE: Final = "onefold.v1.IdentityService"
LITTLE_SPACE: Final = 2 * 1024**3
NO_SPACE: Final = 256 * 1024**2


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    """Onefold serves, but not all of it, or not for long."""
    FAIL = "fail"
    """Onefold does not start."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    seen: str
    advice: str = ""
    """What to do about it; empty when nothing need be done."""


def diagnose(settings: Settings, probe: Callable[[], EngineFacts]) -> Iterator[Check]:
    """Every check, each as soon as it is done.

    ``probe`` asks the engine, as :func:`onefold.graph.probe.probe` does: the one that a service runs on, if one does.
    Nothing is raised: a check that breaks is a failed check.
    """
    serving = onefold_answers(settings)
    checks: list[tuple[str, Callable[[], Check]]] = [
        ("settings", partial(check_variables, os.environ)),
        ("platform", partial(check_platform, settings.embedded)),
        ("data folder", partial(check_data_folder, settings.data_folder)),
        ("disk space", partial(check_space, settings.data_folder)),
        ("policy", partial(check_policy, settings.policy_file)),
        ("port", partial(check_port, settings.listen, serving)),
        ("metrics port", partial(check_metrics_port, settings.metrics_host, settings.metrics_port, serving)),
        ("model", partial(check_model, settings.models_folder)),
        ("engine", partial(check_engine, probe)),
    ]
    for name, check in checks:
        try:
            yield check()
        except Exception as error:
            yield Check(name, Verdict.FAIL, f"{type(error).__name__}: {error}", "the check itself broke; report it")


def check_variables(environ: Mapping[str, str]) -> Check:
    """Warns of environment variables that look like settings and are none."""
    unknown = unknown_variables(environ)
    if not unknown:
        return Check("settings", Verdict.OK, "every ONEFOLD_ variable is a setting")
    meant = [f"{name} (is {near} meant?)" if near else name for name, near in unknown.items()]
    return Check("settings", Verdict.WARN, f"no settings: {', '.join(meant)}", "correct or unset them")


def check_platform(embedded: bool) -> Check:
    """Whether this machine can run what was asked for."""
    here = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    if not embedded:
        return Check("platform", Verdict.OK, f"{here}; Neo4j runs elsewhere, no Java is needed here")
    try:
        version = metadata.version(ENGINE_PACKAGE)
    except metadata.PackageNotFoundError:
        advice = f"pip install {ENGINE_PACKAGE}; without a wheel for it, set ONEFOLD_GRAPH_URI to a Neo4j 5.26+"
        return Check("platform", Verdict.FAIL, f"{here}, without {ENGINE_PACKAGE}", advice)
    return Check("platform", Verdict.OK, f"{here}; {ENGINE_PACKAGE} {version} brings its own Java")


def check_data_folder(folder: Path) -> Check:
    """Whether the service can write where it keeps its data."""
    place = next(p for p in (folder, *folder.parents) if p.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        advice = "give this user the right to write there, or set ONEFOLD_DATA_FOLDER to another folder"
        return Check("data folder", Verdict.FAIL, f"{folder}: {error.strerror} ({place})", advice)
    return Check("data folder", Verdict.OK, f"{folder}{'' if place == folder else ' will be made'}")


def check_space(folder: Path) -> Check:
    """Whether the disk under the data folder has room."""
    free = shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free
    seen = f"{free / 1024**3:.1f} GiB free"
    if free >= LITTLE_SPACE:
        return Check("disk space", Verdict.OK, seen)
    verdict = Verdict.FAIL if free < NO_SPACE else Verdict.WARN
    return Check("disk space", verdict, seen, f"free some, or move {folder} by ONEFOLD_DATA_FOLDER")


def check_policy(file: Path | None) -> Check:
    """Whether the resolution policy can be used."""
    try:
        version = policy.load(file).version
    except InvalidPolicy as error:
        return Check("policy", Verdict.FAIL, f"{file}: {error}", "correct the lines named")
    return Check("policy", Verdict.OK, f"{file or 'the one that comes with Onefold'}, version {version}")


def check_port(listen: str, serving: bool) -> Check:
    """Whether the service can listen, or does so already."""
    host, port = _host_and_port(listen)
    if serving:
        return Check("port", Verdict.OK, f"a healthy Onefold answers at {listen}")
    if port == 0:
        return Check("port", Verdict.OK, "a free one will be taken")
    taken = _why_not_free(host, port)
    if taken:
        advice = "stop what listens there, or set ONEFOLD_LISTEN to another address"
        return Check("port", Verdict.FAIL, f"{listen}: {taken}, and no healthy Onefold answers", advice)
    return Check("port", Verdict.OK, f"{listen} is free")


def check_metrics_port(host: str, port: int, serving: bool) -> Check:
    """Whether the service can show its metrics, or does so already."""
    name, address = "metrics port", f"{host}:{port}"
    if port == 0:
        return Check(name, Verdict.OK, "no metrics are wanted")
    taken = _why_not_free(host, port)
    if taken is None:
        return Check(name, Verdict.OK, f"{address} is free")
    if serving and _shows_metrics(host, port):
        return Check(name, Verdict.OK, f"a Onefold shows its metrics at {address}")
    advice = "stop what listens there, or set ONEFOLD_METRICS_PORT to another port, 0 for none"
    return Check(name, Verdict.FAIL, f"{address}: {taken}, and no Onefold shows its metrics", advice)


def check_model(folder: Path) -> Check:
    """Whether there is a churn model that fits this version's features."""
    train = "train one: onefold train"
    try:
        registry = Registry(folder)
        model = registry.current_id()
        registry.load(model)
    except NotReady as error:
        return Check("model", Verdict.WARN, str(error), train)
    except OnefoldError as error:
        return Check("model", Verdict.WARN, f"the current model can't be used: {error}", train)
    return Check("model", Verdict.OK, f"{model} fits the features of this version")


def check_engine(probe: Callable[[], EngineFacts]) -> Check:
    """Whether the engine answers, and holds a graph that this version can use."""
    try:
        facts = probe()
    except NotReady as error:
        return Check("engine", Verdict.FAIL, str(error), "set ONEFOLD_GRAPH_USER and ONEFOLD_GRAPH_PASSWORD")
    except Unavailable as error:
        return Check("engine", Verdict.FAIL, str(error), "start it, and see that ONEFOLD_GRAPH_URI is its address")
    except EngineError as error:
        return Check("engine", Verdict.FAIL, "the embedded engine does not start", str(error))
    seen = f"{facts.agent}, {_schema_in_words(facts.schema_version)}"
    if facts.schema_version > schema.VERSION:
        return Check("engine", Verdict.FAIL, seen, f"upgrade Onefold: this one knows up to {schema.VERSION}")
    return Check("engine", Verdict.OK, seen)


def onefold_answers(settings: Settings) -> bool:
    """Whether a Onefold already serves at the address of these settings, and says that it is healthy."""
    host, port = _host_and_port(settings.listen)
    near = _near(host)
    target = f"[{near}]:{port}" if ":" in near else f"{near}:{port}"
    request = health_pb2.HealthCheckRequest(service=OUR_SERVICE)
    try:
        with _channel(target, settings) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=2)
    except (grpc.RpcError, OSError):
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _why_not_free(host: str, port: int) -> str | None:
    """Why nothing can listen there; None if something can."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        return error.strerror or str(error)
    return None


def _shows_metrics(host: str, port: int) -> bool:
    connection = HTTPConnection(_near(host), port, timeout=2)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().read(64) == b"alive\n"
    except (HTTPException, OSError):
        return False
    finally:
        connection.close()


def _channel(target: str, settings: Settings) -> grpc.Channel:
    certificate, key = settings.tls_certificate_file, settings.tls_key_file
    if certificate is None or key is None:
        return grpc.insecure_channel(target)
    chain = certificate.read_bytes()
    # Under mutual TLS the server's own pair is shown as the client's: its authority signs both, as a rule.
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(chain, key.read_bytes(), chain))


def _near(host: str) -> str:
    """Where to reach from here what listens at this host."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _host_and_port(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def _schema_in_words(version: int) -> str:
    if version == 0:
        return "no graph in it yet"
    return f"schema version {version}" + (f", to be brought to {schema.VERSION}" if version < schema.VERSION else "")
