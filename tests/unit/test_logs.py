"""Logs: one format for all, and no personal data even where a library or a traceback slips it in."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from neo4j.exceptions import Neo4jError

from onefold.service.logs import blanked, configure


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure("info", "json", stream)
    yield stream
    structlog.contextvars.clear_contextvars()
    logging.captureWarnings(False)
    configure()


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_our_lines_and_those_of_libraries_have_one_form(out: io.StringIO) -> None:
    structlog.contextvars.bind_contextvars(request_id="r-1")
    structlog.get_logger().info("ours", items=3)
    logging.getLogger("some.library").warning("theirs %d", 4)
    ours, theirs = lines(out)
    assert (ours["event"], ours["level"], ours["items"], ours["request_id"]) == ("ours", "info", 3, "r-1")
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("theirs 4", "warning", "some.library")
    assert theirs["request_id"] == "r-1"
    assert ours["timestamp"].endswith("Z")


def test_the_level_holds_for_both(out: io.StringIO) -> None:
    configure("warning", "json", out)
    structlog.get_logger().info("ours")
    logging.getLogger("some.library").info("theirs")
    assert lines(out) == []


def test_the_drivers_notifications_are_silent(out: io.StringIO) -> None:
    logging.getLogger("neo4j.notifications").warning("UnknownPropertyKeyWarning in MATCH (n {email: 'x'})")
    logging.getLogger("neo4j.io").warning("retrying")
    logging.getLogger("neo4j.pool").error("Unable to retrieve routing information")
    logging.getLogger("neo4j.io").error("Failed to read from defunct connection")
    assert lines(out) == []


def test_warnings_become_lines(out: io.StringIO) -> None:
    with warnings.catch_warnings():
        logging.captureWarnings(False)  # pytest records warnings; here they go where a process sends them
        configure("info", "json", out)
        warnings.simplefilter("always")
        warnings.warn("old way", stacklevel=1)
    [line] = lines(out)
    assert "old way" in line["event"]


def test_a_traceback_is_logged_without_personal_data_and_without_locals(out: io.StringIO) -> None:
    hidden = "a local value"
    try:
        raise ValueError(f"bad value ann@example.org, {len(hidden)} letters")
    except ValueError:
        structlog.get_logger().exception("failed")
        logging.getLogger("some.library").exception("failed too")
    ours, theirs = lines(out)
    assert "ValueError: bad value <email>" in ours["exception"]
    assert "ValueError: bad value <email>" in theirs["exception"]
    assert "a local value" not in out.getvalue()


def test_of_what_an_engine_said_a_traceback_has_class_and_code_but_no_words(out: io.StringIO) -> None:
    refused = {
        "code": "Neo.ClientError.Schema.ConstraintValidationFailed",
        "message": "Node(7) has label `ExternalId` and property `key` = 'member:A-4711'",
    }
    try:
        try:
            raise Neo4jError._hydrate_neo4j(**refused)
        except Neo4jError as error:
            raise RuntimeError("can't be written") from error
    except RuntimeError:
        structlog.get_logger().exception("failed")
        logging.getLogger("some.library").exception("failed too")
    for line in lines(out):
        assert "ConstraintError: Neo.ClientError.Schema.ConstraintValidationFailed" in line["exception"]
        assert line["exception"].endswith("RuntimeError: can't be written")
        assert line["exception"].count("test_logs.py") == 2
    assert "4711" not in out.getvalue()


def test_nor_has_one_of_the_cause_that_an_engine_named(out: io.StringIO) -> None:
    error = Neo4jError._hydrate_gql(
        gql_status="22N79",
        description="error: data exception - property uniqueness constraint violated",
        message="member:A-4711 is there",
        neo4j_code="Neo.ClientError.Schema.ConstraintValidationFailed",
        cause={"gql_status": "22N80", "description": "of 'member:A-4711'", "message": "openid:o-4711"},
    )
    structlog.get_logger().error("failed", exc_info=error)
    [line] = lines(out)
    assert "GqlError: 22N80" in line["exception"]
    assert "4711" not in out.getvalue()


def test_the_console_form_is_for_people_and_as_discreet(out: io.StringIO) -> None:
    configure("info", "console", out)
    structlog.get_logger().info("profile", of="ann@example.org")
    assert "<email>" in out.getvalue()
    assert not out.getvalue().startswith("{")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail from Ann.O'Neil+x@mail.example.org.", "mail from Ann.O'<email>"),
        ("key email:ann@example.org not found", "key email:<email> not found"),
        ("grüße@bücher.example", "<email>"),
        ("call +44 20 7946 0018 now", "call <phone> now"),
        ("phone:+442079460018", "phone:<phone>"),
        ("(0044) 020 7946 0018", "(<phone>"),
        ("+86 138-0013-8000", "<phone>"),
    ],
)
def test_what_looks_like_an_email_or_a_phone_is_blanked(text: str, expected: str) -> None:
    assert blanked(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "0192f8a1-7c3e-7bbb-8a10-012345678901",
        "2026-11-23T06:54:01.123456Z",
        "127.0.0.1:50051",
        "took 0.123456789 s",
        "version 5.26.12, 541909 rows",
        "a commit 0de7697",
    ],
)
def test_ids_times_addresses_and_numbers_are_left_alone(text: str) -> None:
    assert blanked(text) == text


def test_containers_are_searched_too() -> None:
    found = blanked({"to": ["ann@example.org", 3], "ann@example.org": None})
    assert found == {"to": ["<email>", 3], "<email>": None}
