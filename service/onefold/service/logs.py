"""Logs: one line a thing that happened, as JSON for machines or coloured for people, on standard error.

No line holds personal data. The first defence is that none is ever passed to a logger; the second is
:func:`redact`, which blanks what looks like an e-mail address or a phone number, in tracebacks too.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from typing import Any, Final, TextIO

import structlog
from neo4j.exceptions import DriverError, GqlError
from structlog.typing import ExcInfo, Processor

_EMAIL: Final = re.compile(r"[^\s@<>\"'`,;:=(){}\[\]|/\\]+@[^\s@<>\"'`,;:=(){}\[\]|/\\]+")
# +44 20 7946 0018, 0044 20 7946 0018, 020 7946 0018; never part of a longer word, as of an id or instant.
_PHONE: Final = re.compile(r"(?<![\w.+-])(?:\+|00|0)[1-9](?:[ ()./-]{0,2}\d){6,14}(?![\w:-])")
_OURS: Final = frozenset({"timestamp", "level", "logger", "request_id", "method", "code", "peer", "ms"})
"""Keys whose values we make ourselves: not searched."""


def configure(level: str = "info", form: str = "auto", stream: TextIO | None = None) -> None:
    """Sends structlog's and the standard library's records to one stream (standard error) in one format.

    ``level`` and ``form`` (``auto``, ``json``, ``console``) are as in the settings. May be called again.
    """
    out = sys.stderr if stream is None else stream
    console = form == "console" or (form == "auto" and out.isatty())
    threshold = logging.getLevelNamesMapping()[level.upper()]
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.ExceptionRenderer(_traceback),
        redact,
    ]
    render: Processor = (
        structlog.dev.ConsoleRenderer(
            colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback, sort_keys=False
        )
        if console
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[*before, render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder(), *before],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.INFO), force=True)
    logging.captureWarnings(True)
    _quiet_libraries()


def _quiet_libraries() -> None:
    # The driver reports hints of the planner as notifications, with the text of the query and at WARNING:
    # a property that no node has yet is one. They speak to someone who types queries, not to an operator.
    logging.getLogger("neo4j.notifications").setLevel(logging.ERROR)
    # It logs each attempt of a retried transaction; what comes of it is in the call's own line.
    logging.getLogger("neo4j").setLevel(logging.ERROR)
    # Its pool logs that no server answers, and its connections that they broke, as they do at each deadline; both are
    # raised too.
    logging.getLogger("neo4j.pool").setLevel(logging.CRITICAL)
    logging.getLogger("neo4j.io").setLevel(logging.CRITICAL)


def _traceback(exc_info: ExcInfo) -> str:
    """A traceback as Python prints it; but of what an engine said only the class and the code, since its words quote
    keys, and keys are personal data of every kind."""
    return "".join(_told(exc_info[1], set())).rstrip()


def _told(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    cause, joint = error.__cause__, "The above exception was the direct cause of the following exception:"
    if cause is None and not error.__suppress_context__:
        cause, joint = error.__context__, "During handling of the above exception, another exception occurred:"
    if cause is not None and id(cause) not in seen:
        yield from _told(cause, seen)
        yield f"\n{joint}\n\n"
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(error.__traceback__)
    if isinstance(error, GqlError) and not isinstance(error, DriverError):
        yield f"{type(error).__name__}: {getattr(error, 'code', None) or error.gql_status}\n"
    else:
        yield from traceback.format_exception_only(error)


def redact(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: the event with e-mail addresses and phone numbers blanked in every string."""
    for key, value in event.items():
        if key not in _OURS and not isinstance(value, (int, float, bool)):
            event[key] = blanked(value)
    return event


def blanked(value: Any) -> Any:
    """The value with ``<email>`` and ``<phone>`` in the place of what looks like one, in containers too."""
    if isinstance(value, str):
        text = _EMAIL.sub("<email>", value) if "@" in value else value
        return _PHONE.sub("<phone>", text) if "+" in text or "0" in text else text
    if isinstance(value, dict):
        return {blanked(k): blanked(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [blanked(v) for v in value]
    return value if value is None or isinstance(value, (int, float)) else blanked(str(value))
