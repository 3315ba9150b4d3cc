"""What every call gets from the server, over a real socket."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.wrappers_pb2 import Int64Value, StringValue
from neo4j.exceptions import Neo4jError
from prometheus_client import CollectorRegistry

from onefold.graph.errors import Conflict, InvalidInput, NotFound, Overloaded, Unavailable, Violation
from onefold.service import logs
from tests.rpc.echo import Client, Echo, details, serving


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logs.configure("debug", "json", stream)
    yield stream
    logs.configure()


def rpc_lines(stream: io.StringIO) -> list[dict[str, object]]:
    deadline = time.monotonic() + 2
    while True:  # a line is written just after the caller has its answer
        found = [json.loads(line) for line in stream.getvalue().splitlines() if '"event": "rpc"' in line]
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.01)


def failure(client: Client, echo: Echo, error: Exception) -> grpc.RpcError:
    echo.error = error
    with pytest.raises(grpc.RpcError) as caught:
        client.fail(StringValue(value="x"))
    return caught.value


def trailing(call: grpc.Call) -> dict[str, object]:
    return dict(call.trailing_metadata())


def test_all_four_kinds_of_methods_answer(echo: Echo) -> None:
    with serving(echo) as (_, client):
        assert client.say(StringValue(value="hä")).value == "hä"
        assert [n.value for n in client.count(Int64Value(value=4))] == [0, 1, 2, 3]
        assert client.sum(Int64Value(value=n) for n in range(5)).value == 10
        assert [m.value for m in client.chat(iter([StringValue(value="a"), StringValue()]))] == ["a", ""]


def test_a_broken_rule_reaches_the_caller_with_its_field(echo: Echo) -> None:
    with serving(echo) as (_, client):
        error = failure(client, echo, InvalidInput([Violation("items[3].email", "is no e-mail address")]))
        status, found = details(error)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (found["ErrorInfo"].reason, found["ErrorInfo"].domain) == ("INVALID_INPUT", "onefold.v1")
    [violation] = found["BadRequest"].field_violations
    assert (violation.field, violation.description) == ("items[3].email", "is no e-mail address")
    assert "items[3].email" in status.message


def test_ten_thousand_broken_rules_still_fit_in_headers(echo: Echo) -> None:
    with serving(echo) as (_, client):
        broken = [Violation(f"items[{n}].大小", "太大了" * 200) for n in range(10_000)]
        _, found = details(failure(client, echo, InvalidInput(broken)))
    shown = found["BadRequest"].field_violations
    assert shown[-1].description == f"and {10_000 - len(shown) + 1} more"


def test_an_unknown_key_names_the_resource(echo: Echo) -> None:
    with serving(echo) as (_, client):
        _, found = details(failure(client, echo, NotFound("identity", "email:ann@example.org")))
    assert (found["ResourceInfo"].resource_type, found["ResourceInfo"].resource_name) == (
        "identity",
        "email:ann@example.org",
    )


def test_what_the_engine_said_is_logged_and_not_sent(echo: Echo, lines: io.StringIO) -> None:
    with serving(echo) as (_, client):
        error = failure(client, echo, Unavailable("bolt://10.0.0.7:7687 refused"))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "10.0.0.7" not in (error.details() or "")
    assert "10.0.0.7" in str(rpc_lines(lines)[0]["error"])


def test_of_what_the_driver_raised_the_log_has_class_and_code_but_no_message(echo: Echo, lines: io.StringIO) -> None:
    class Refusal(Neo4jError):
        code = "Neo.ClientError.Schema.ConstraintValidationFailed"

    error = Conflict("gave up")
    error.__cause__ = Refusal("Node(7) exists with label `ExternalId` and property `key` = 'member:Ann-Example'")
    with serving(echo) as (_, client):
        failure(client, echo, error)
    [line] = rpc_lines(lines)
    assert (line["code"], line["error"]) == ("ABORTED", "Conflict: gave up")
    assert line["cause"] == "Refusal: Neo.ClientError.Schema.ConstraintValidationFailed"
    assert "Ann-Example" not in lines.getvalue()


def test_a_bug_shows_only_the_id_to_ask_about(echo: Echo, lines: io.StringIO) -> None:
    with serving(echo) as (_, client):
        error = failure(client, echo, KeyError("secret of ann@example.org"))
        status, found = details(error)
    assert error.code() is grpc.StatusCode.INTERNAL
    request_id = trailing(error)["x-request-id"]
    assert status.message == f"internal error; ask about request {request_id}"
    assert found["RequestInfo"].request_id == request_id
    [line] = rpc_lines(lines)
    assert line["request_id"] == request_id
    assert line["level"] == "error"
    assert "KeyError" in str(line["exception"])
    assert "ann@example.org" not in lines.getvalue()


def test_an_error_in_the_middle_of_a_streamed_response_has_its_status(echo: Echo) -> None:
    echo.error = NotFound("segment", "vip")
    with serving(echo) as (_, client):
        answers = client.count(Int64Value(value=3))
        assert [next(answers).value for _ in range(3)] == [0, 1, 2]
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
    assert details(caught.value)[1]["ResourceInfo"].resource_name == "vip"


def test_bytes_that_are_no_message_are_the_callers_fault(echo: Echo) -> None:
    with serving(echo) as (_, client):
        with pytest.raises(grpc.RpcError) as caught:
            client.raw(b"\x0a\x02\xff\xfe")
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert client.raw(b"").value == ""


def test_garbage_on_a_request_stream_is_the_callers_fault(echo: Echo) -> None:
    with serving(echo) as (_, client):
        chat = client.channel.stream_stream("/test.Echo/Chat")
        with pytest.raises(grpc.RpcError) as caught:
            list(chat(iter([b"", b"\x0a\x02\xff\xfe"])))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_message_above_the_limit_is_refused_in_words(echo: Echo) -> None:
    with serving(echo, max_message_bytes=1 << 16) as (_, client):
        with pytest.raises(grpc.RpcError) as caught:
            client.say(StringValue(value="x" * (1 << 17)))
        assert client.say(StringValue(value="x" * 60_000)).value
    assert details(caught.value)[1]["ErrorInfo"].reason == "MESSAGE_TOO_LARGE"
    assert "65,536" in (caught.value.details() or "")


def test_a_status_that_the_servicer_set_itself_is_kept(echo: Echo) -> None:
    with serving(echo) as (_, client), pytest.raises(grpc.RpcError) as caught:
        client.abort(StringValue())
    assert (caught.value.code(), caught.value.details()) == (
        grpc.StatusCode.ALREADY_EXISTS,
        "said by the servicer",
    )


def test_a_plain_request_id_is_taken_over_and_any_other_replaced(echo: Echo) -> None:
    with serving(echo) as (_, client):
        _, call = client.say.with_call(StringValue(), metadata=[("x-request-id", "basket-42")])
        assert trailing(call)["x-request-id"] == "basket-42"
        _, call = client.say.with_call(StringValue(), metadata=[("x-request-id", "ann@example.org")])
        assert "@" not in str(trailing(call)["x-request-id"])


def test_the_callers_deadline_reaches_the_servicer(echo: Echo) -> None:
    with serving(echo) as (_, client):
        assert client.time_left(StringValue(), timeout=30).value == 30
        assert client.time_left(StringValue()).value == -1


def test_the_log_line_tells_size_and_outcome_and_nothing_of_the_content(echo: Echo, lines: io.StringIO) -> None:
    with serving(echo) as (_, client):
        client.say(StringValue(value="Ann Example"))
    [line] = rpc_lines(lines)
    assert line["method"] == "test.Echo/Say"
    assert (line["code"], line["received"], line["received_bytes"], line["sent"]) == ("OK", 1, 13, 1)
    assert line["peer"] == "ipv4"
    assert "Ann" not in lines.getvalue()


def test_a_caller_that_goes_away_is_logged_as_cancelled(echo: Echo, lines: io.StringIO) -> None:
    with serving(echo) as (_, client):
        call = client.chat(iter_then_wait(echo))
        assert next(call).value == "a"
        call.cancel()
        time.sleep(0.5)  # or the call may be over before the word reaches the server
        echo.gate.set()
        [line] = rpc_lines(lines)
    assert line["code"] == "CANCELLED"
    assert "Traceback" not in lines.getvalue()


def test_a_call_that_ends_after_its_deadline_is_counted_and_logged_as_its_caller_saw_it(
    echo: Echo, lines: io.StringIO
) -> None:
    registry = CollectorRegistry()
    with serving(echo, registry=registry) as (_, client):
        with pytest.raises(grpc.RpcError) as caught:
            client.hold(StringValue(), timeout=0.3)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        echo.gate.set()
        [line] = rpc_lines(lines)
    assert line["code"] == "DEADLINE_EXCEEDED"
    labels = {"grpc_type": "unary", "grpc_service": "test.Echo", "grpc_method": "Hold"}
    assert registry.get_sample_value("grpc_server_handled_total", labels | {"grpc_code": "DEADLINE_EXCEEDED"}) == 1


def iter_then_wait(echo: Echo) -> Iterator[StringValue]:
    yield StringValue(value="a")
    echo.gate.wait(10)


def test_calls_are_counted_by_method_and_code(echo: Echo) -> None:
    registry = CollectorRegistry()
    with serving(echo, registry=registry) as (_, client):
        for _ in range(3):
            client.say(StringValue())
        failure(client, echo, NotFound("x", "y"))
        list(client.count(Int64Value(value=5)))

    def value(name: str, kind: str, method: str, **more: str) -> float | None:
        labels = {"grpc_type": kind, "grpc_service": "test.Echo", "grpc_method": method, **more}
        return registry.get_sample_value(name, labels)

    assert value("grpc_server_handled_total", "unary", "Say", grpc_code="OK") == 3
    assert value("grpc_server_handled_total", "unary", "Fail", grpc_code="NOT_FOUND") == 1
    assert value("grpc_server_msg_sent_total", "server_stream", "Count") == 5
    assert value("grpc_server_handling_seconds_count", "unary", "Say") == 3


def test_a_full_lane_refuses_at_once_with_the_time_to_try_again(echo: Echo) -> None:
    with serving(echo, workers=1, max_concurrent_rpcs=2) as (_, client):
        held = [client.hold.future(StringValue(value=str(n))) for n in range(2)]
        assert echo.inside.acquire(timeout=5)
        error = refused(client)
        echo.gate.set()
        assert [call.result().value for call in held] == ["0", "1"]
        assert client.say(StringValue(value="again")).value == "again"
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    _, found = details(error)
    assert found["ErrorInfo"].reason == "OVERLOADED"
    assert 0 < found["RetryInfo"].retry_delay.ToMilliseconds() < 1000


def refused(client: Client) -> grpc.RpcError:
    """The error of a call that came while the lane was full; the second held call may still be on its way."""
    for _ in range(100):
        try:
            client.say(StringValue(), timeout=0.3)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                return error
    raise AssertionError("never refused")


def test_open_streams_neither_starve_unary_calls_nor_grow_without_end(echo: Echo) -> None:
    with serving(echo, workers=1, max_streams=2) as (_, client):
        calls = [client.chat(iter_then_wait(echo)) for _ in range(2)]
        assert [next(call).value for call in calls] == ["a", "a"]
        assert client.say(StringValue(value="b"), timeout=5).value == "b"
        with pytest.raises(grpc.RpcError) as caught:
            list(client.chat(iter([StringValue()]), timeout=5))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "RetryInfo" in details(caught.value)[1]
        echo.gate.set()
        assert [list(call) for call in calls] == [[], []]


def test_callers_that_give_up_while_they_wait_free_their_places(echo: Echo) -> None:
    registry = CollectorRegistry()
    with serving(echo, registry=registry, workers=1, max_concurrent_rpcs=3) as (_, client):
        first = client.hold.future(StringValue())
        assert echo.inside.acquire(timeout=5)
        waiting = [client.say.future(StringValue(), timeout=0.2) for _ in range(2)]
        assert {call.code() for call in waiting} == {grpc.StatusCode.DEADLINE_EXCEEDED}
        echo.gate.set()
        first.result()
        until = time.monotonic() + 5
        while registry.get_sample_value("onefold_lane_held", {"lane": "unary"}) and time.monotonic() < until:
            time.sleep(0.01)
        held = [client.say.future(StringValue(value=str(n))) for n in range(3)]
        assert [call.result().value for call in held] == ["0", "1", "2"]


def test_an_overload_of_our_own_says_when_to_try_again(echo: Echo) -> None:
    with serving(echo) as (_, client):
        _, found = details(failure(client, echo, Overloaded("the queue of items", 1.5)))
    assert found["RetryInfo"].retry_delay.ToMilliseconds() == 1500
    assert found["QuotaFailure"].violations[0].subject == "the queue of items"
