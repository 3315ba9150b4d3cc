"""What an operator may set, where it comes from, and what each setting means.

A value is taken from the first of these that has it: the command line, the environment (``ONEFOLD_LISTEN``),
the secrets folder (a file ``onefold_graph_password``, as container platforms mount them), the settings file
(TOML, ``listen = "..."``), the default. Where the last two are is said by ``ONEFOLD_SECRETS_FOLDER`` and
``ONEFOLD_SETTINGS_FILE``.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from onefold.graph.errors import InvalidInput, Violation

PREFIX: Final = "ONEFOLD_"
FILE_VARIABLE: Final = "ONEFOLD_SETTINGS_FILE"
SECRETS_VARIABLE: Final = "ONEFOLD_SECRETS_FOLDER"
BOLT_SCHEMES: Final = ("neo4j", "neo4j+s", "neo4j+ssc", "bolt", "bolt+s", "bolt+ssc")

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:\[\]/]+):(?P<port>[0-9]{1,5})")


def _user_data_folder() -> Path:
    """``onefold`` in the user's data folder, as the XDG base directories say."""
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "onefold"


def _address(value: str) -> str:
    match = _ADDRESS.fullmatch(value)
    if match is None or int(match["port"]) > 65_535:
        raise ValueError("should be host:port, as 127.0.0.1:50051, [::1]:50051 or 0.0.0.0:50051")
    return value


def _bolt_uri(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in BOLT_SCHEMES or not parts.hostname:
        raise ValueError(f"should be {'://…, '.join(BOLT_SCHEMES)}://…, as neo4j://localhost:7687")
    if parts.username or parts.password:
        raise ValueError("should hold no user or password: those are settings of their own")
    return value


def _expanded(value: Path) -> Path:
    return value.expanduser().absolute()


def _existing_file(value: Path) -> Path:
    path = _expanded(value)
    if not path.is_file():
        raise ValueError(f"should be a file, and {path} is none")
    return path


Folder = Annotated[Path, AfterValidator(_expanded)]
ExistingFile = Annotated[Path, AfterValidator(_existing_file)]


class Settings(BaseSettings):
    """Every setting of the service, checked. Get them by :func:`load`, which says in words what is wrong."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, validate_default=True, env_ignore_empty=True
    )

    listen: Annotated[str, AfterValidator(_address)] = Field(
        "127.0.0.1:50051",
        description="Where the gRPC server listens, as `host:port`. Port 0 takes a free one.",
    )
    data_folder: Folder = Field(
        default_factory=_user_data_folder,
        description="Folder of the embedded engine's data, the models, the frames and the operations.",
        json_schema_extra={"shown": "~/.local/share/onefold"},
    )
    graph_uri: Annotated[str, AfterValidator(_bolt_uri)] | None = Field(
        None,
        description="The Neo4j to use (`neo4j://…`, `neo4j+s://…`, `bolt://…`). "
        "Without it, the embedded engine is started.",
    )
    graph_user: str = Field("neo4j", min_length=1, description="The user at `ONEFOLD_GRAPH_URI`.")
    graph_password: SecretStr | None = Field(
        None, description="The password at `ONEFOLD_GRAPH_URI`. Without it, no authentication is tried."
    )
    graph_database: str | None = Field(
        None, description="The database at `ONEFOLD_GRAPH_URI`. Without it, the user's home database."
    )
    graph_turns: Path | None = Field(
        None,
        description="A file at which writers take turns; only for a further service on another one's embedded engine: "
        "`engine/turns` in that one's data folder.",
    )
    engine_heap: str = Field(
        "1g",
        pattern=r"^[1-9][0-9]*[mg]$",
        description="Memory for the embedded engine's heap, as `512m` or `2g`.",
    )
    policy_file: ExistingFile | None = Field(
        None, description="The resolution policy (YAML). Without it, the one that comes with Onefold."
    )
    metrics_port: int = Field(
        9464,
        ge=0,
        le=65_535,
        description="Port of `/metrics`, `/livez` and `/readyz` over HTTP; 0 switches them off.",
    )
    metrics_host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Where that port listens; `0.0.0.0` for a scraper on another machine.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="`debug`, `info` (one line a call), `warning` or `error`."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`json`, `console` for people, or `auto`: `console` on a terminal, else `json`."
    )
    workers: int = Field(
        64, ge=1, le=512, description="Threads that answer unary calls. One that writes waits for its commit."
    )
    max_concurrent_rpcs: int = Field(
        512,
        ge=1,
        le=100_000,
        description="Unary calls that may be there at once, running or waiting for a worker; "
        "more are refused with `RESOURCE_EXHAUSTED`.",
    )
    max_streams: int = Field(
        64,
        ge=1,
        le=1_024,
        description="Streams and waits that may be open at once. "
        "Each has a thread of its own, so that none keeps unary calls waiting.",
    )
    queue_items: int = Field(
        20_000,
        ge=500,
        le=10_000_000,
        description="Items that may wait to be written; more are refused with `RESOURCE_EXHAUSTED`.",
    )
    batch_items: int = Field(500, ge=1, le=10_000, description="Items that are written in one transaction, at most.")
    gather_milliseconds: float = Field(
        10.0,
        ge=0,
        le=1_000,
        description="How long a writer waits for each of the callers it has just answered, to commit them together.",
    )
    frame_minutes: float = Field(
        60.0,
        ge=0,
        le=10_080,
        description="How often everybody's segments and labels are looked at anew, since time changes them too; "
        "0 keeps no frames, so that no segment can be counted.",
    )
    answer_days: int = Field(
        7, ge=1, le=3650, description="For how many days a repeat of a request id gets the first answer."
    )
    writer_lanes: int = Field(
        1,
        ge=1,
        le=16,
        description="Writers that work side by side. Neo4j may gain from 2 to 4; the embedded engine not.",
    )
    max_message_bytes: int = Field(
        4 * 1024 * 1024, ge=64 * 1024, le=256 * 1024 * 1024, description="The largest request, in bytes."
    )
    max_connection_age_seconds: float = Field(
        1_800,
        ge=1,
        le=1e6,
        description="After this, a client is asked to connect anew, so that load spreads over new replicas.",
    )
    drain_seconds: float = Field(
        20.0,
        ge=0,
        le=3_600,
        description="How long running calls may take to end when the service is told to stop.",
    )
    reflection: bool | None = Field(
        None,
        description="Whether generic clients may read the contract from the server. "
        "By default on without TLS and off with it.",
        json_schema_extra={"shown": "on without TLS"},
    )
    tls_certificate_file: ExistingFile | None = Field(
        None, description="The server's certificate chain (PEM). With it, the server speaks TLS only."
    )
    tls_key_file: ExistingFile | None = Field(None, description="The private key of that certificate (PEM).")
    tls_client_authority_file: ExistingFile | None = Field(
        None, description="Authorities (PEM) of which every client must show a certificate: mutual TLS."
    )

    @model_validator(mode="after")
    def _whole(self) -> Settings:
        if self.tls_certificate_file and not self.tls_key_file:
            raise _broken("tls_key_file", "is needed with ONEFOLD_TLS_CERTIFICATE_FILE")
        if (self.tls_key_file or self.tls_client_authority_file) and not self.tls_certificate_file:
            raise _broken("tls_certificate_file", "is needed with the other TLS settings")
        if self.graph_password and not self.graph_uri:
            raise _broken("graph_uri", "is needed with ONEFOLD_GRAPH_PASSWORD: the embedded engine makes its own")
        if self.batch_items > self.queue_items:
            raise _broken("queue_items", "should be at least ONEFOLD_BATCH_ITEMS")
        return self

    @property
    def embedded(self) -> bool:
        """Whether the service starts its own engine."""
        return self.graph_uri is None

    @property
    def models_folder(self) -> Path:
        """Where trained models are."""
        return self.data_folder / "models"

    @property
    def frames_folder(self) -> Path:
        """Where frames are."""
        return self.data_folder / "frames"

    @property
    def operations_folder(self) -> Path:
        """Where long-running operations are."""
        return self.data_folder / "operations"

    @property
    def reflects(self) -> bool:
        """Whether the server offers reflection."""
        return self.tls_certificate_file is None if self.reflection is None else self.reflection

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The order of this module's docstring."""
        secrets = SecretsSettingsSource(settings_cls, secrets_dir=_secrets_folder())
        settings_file = InitSettingsSource(settings_cls, _settings_file())
        return init_settings, env_settings, secrets, settings_file


def load(**overrides: Any) -> Settings:
    """The settings of this process; ``overrides`` (by field name, ``None`` for "not given") come first.

    Raises :class:`InvalidInput` that names the environment variable of each bad setting and the rule that it
    breaks. Values are not repeated in it, since one may be a password.
    """
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise InvalidInput([_violation(dict(e)) for e in error.errors(include_input=False)]) from None


def variable(field: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + field.upper()


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str | None]:
    """Variables that look like settings and are none, each with the one that was perhaps meant.

    They are no error: container platforms define such names of their own (``ONEFOLD_PORT_50051_TCP``).
    """
    known = [*map(variable, Settings.model_fields), FILE_VARIABLE, SECRETS_VARIABLE]
    strangers = [n for n in environ if n.startswith(PREFIX) and not n.startswith(f"{PREFIX}TEST_") and n not in known]
    return {name: next(iter(get_close_matches(name, known, n=1, cutoff=0.8)), None) for name in sorted(strangers)}


def settings_table() -> str:
    """The settings as a Markdown table: variable, default, meaning."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, info in Settings.model_fields.items():
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        default = extra.get("shown", info.default)
        rows.append(f"| `{variable(name)}` | {'' if default is None else f'`{default}`'} | {info.description} |")
    rows.append(f'| `{FILE_VARIABLE}` |  | A TOML file with any of these settings, as `log_level = "debug"`. |')
    rows.append(
        f"| `{SECRETS_VARIABLE}` |  | A folder with one file a setting, named as its variable in lower case: "
        "`onefold_graph_password`. |"
    )
    return "\n".join(rows) + "\n"


def _settings_file() -> dict[str, Any]:
    name = os.environ.get(FILE_VARIABLE)
    if not name:
        return {}
    try:
        return tomllib.loads(Path(name).expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput([Violation(FILE_VARIABLE, f"should be a TOML file that can be read: {error}")]) from error


def _secrets_folder() -> Path | None:
    name = os.environ.get(SECRETS_VARIABLE)
    if not name:
        return None
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise InvalidInput([Violation(SECRETS_VARIABLE, f"should be a folder, and {folder} is none")])
    return folder


def _broken(field: str, rule: str) -> PydanticCustomError:
    return PydanticCustomError("onefold", "{rule}", {"field": field, "rule": rule})


def _violation(error: dict[str, Any]) -> Violation:
    context = error.get("ctx") or {}
    field = str(context.get("field") or error["loc"][0])
    if error["type"] == "extra_forbidden":
        meant = get_close_matches(field, list(Settings.model_fields), n=1)
        return Violation(variable(field), "is no setting" + (f"; {meant[0]} is one" if meant else ""))
    rule = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return Violation(variable(field), rule[:1].lower() + rule[1:])
