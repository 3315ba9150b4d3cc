"""Long-running operations over a real socket, and what is left of them after a restart."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import DoubleValue, StringValue

from onefold.graph.errors import Conflict, NotReady, Overloaded
from onefold.service import operations as module
from onefold.service.operations import SERVICE, WAITS, Operations, OperationsServicer, Progress
from onefold.service.server import Server, Service
from onefold.service.settings import Settings
from tests.rpc.echo import details

START = DoubleValue(value=0)


class Task:
    """Work that begins, tells half of its progress, and ends when told."""

    def __init__(self, outcome: Message | Exception) -> None:
        self.outcome = outcome
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, progress: Progress, cancelled: Callable[[], bool]) -> Message:
        progress(DoubleValue(value=0.5))
        self.begun.set()
        while not self.go_on.wait(0.01) and not cancelled():
            pass
        progress(DoubleValue(value=1.0))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@contextmanager
def operating(folder: Path) -> Iterator[tuple[Operations, Any]]:
    with ExitStack() as stack:
        operations = stack.enter_context(Operations(folder))
        service = Service(operations_pb2_grpc.add_OperationsServicer_to_server, OperationsServicer(operations), SERVICE)
        server = stack.enter_context(Server(Settings(listen="127.0.0.1:0"), [service], waits=WAITS))
        channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.port}"))
        yield operations, operations_pb2_grpc.OperationsStub(channel)


def wait(stub: Any, name: str, seconds: float = 5) -> Any:
    request = operations_pb2.WaitOperationRequest(
        name=name, timeout=Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))
    )
    return stub.WaitOperation(request, timeout=30)


def get(stub: Any, name: str) -> Any:
    return stub.GetOperation(operations_pb2.GetOperationRequest(name=name), timeout=5)


def unpacked(packed: Any, kind: type[Message]) -> Any:
    message = kind()
    assert packed.Unpack(message)
    return message


def test_an_operation_tells_its_progress_and_then_its_response(tmp_path: Path) -> None:
    task = Task(StringValue(value="model 1"))
    with operating(tmp_path) as (operations, stub):
        name = operations.start("train", START, task).name
        assert task.begun.wait(5)
        running = get(stub, name)
        assert not running.done
        assert unpacked(running.metadata, DoubleValue).value == 0.5
        task.go_on.set()
        done = wait(stub, name)
    assert done.done
    assert unpacked(done.response, StringValue).value == "model 1"
    assert unpacked(done.metadata, DoubleValue).value == 1.0


def test_a_wait_ends_at_its_timeout_with_the_state_of_then(tmp_path: Path) -> None:
    task = Task(StringValue())
    with operating(tmp_path) as (operations, stub):
        name = operations.start("train", START, task).name
        began = time.monotonic()
        assert not wait(stub, name, 0.3).done
        assert 0.2 < time.monotonic() - began < 3


def test_a_foreseen_failure_has_the_status_that_a_call_would_have(tmp_path: Path) -> None:
    task = Task(NotReady("churn", "needs 500 customers, and there are 12"))
    task.go_on.set()
    with operating(tmp_path) as (operations, stub):
        done = wait(stub, operations.start("train", START, task).name)
    assert done.error.code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
    assert "there are 12" in done.error.message


def test_a_bug_fails_the_operation_and_not_the_next(tmp_path: Path) -> None:
    bug, good = Task(ZeroDivisionError("1/0")), Task(StringValue(value="fine"))
    bug.go_on.set()
    good.go_on.set()
    with operating(tmp_path) as (operations, stub):
        first, second = (operations.start("train", START, task).name for task in (bug, good))
        assert wait(stub, first).error.code == grpc.StatusCode.INTERNAL.value[0]
        assert "1/0" not in wait(stub, first).error.message
        assert unpacked(wait(stub, second).response, StringValue).value == "fine"


def test_a_cancelled_operation_stops_and_one_that_waits_never_begins(tmp_path: Path) -> None:
    running, waiting = Task(StringValue()), Task(StringValue())
    with operating(tmp_path) as (operations, stub):
        names = [operations.start("train", START, task).name for task in (running, waiting)]
        assert running.begun.wait(5)
        for name in reversed(names):
            stub.CancelOperation(operations_pb2.CancelOperationRequest(name=name))
        codes = [wait(stub, name).error.code for name in names]
    assert codes == [grpc.StatusCode.CANCELLED.value[0]] * 2
    assert not waiting.begun.is_set()


def test_an_outcome_outlives_the_process(tmp_path: Path) -> None:
    task = Task(StringValue(value="model 1"))
    task.go_on.set()
    with operating(tmp_path) as (operations, stub):
        name = operations.start("train", START, task).name
        before = wait(stub, name)
    with operating(tmp_path) as (_, stub):
        assert get(stub, name) == before


def test_what_ran_when_the_process_ended_is_reported_as_aborted(tmp_path: Path) -> None:
    running, waiting = Task(StringValue()), Task(StringValue())
    with operating(tmp_path) as (operations, _):
        names = [operations.start("train", START, task).name for task in (running, waiting)]
        assert running.begun.wait(5)
    with operating(tmp_path) as (_, stub):
        found = [get(stub, name) for name in names]
    assert [(o.done, o.error.code) for o in found] == [(True, grpc.StatusCode.ABORTED.value[0])] * 2


def test_a_damaged_file_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "0192.json").write_text("{")
    with operating(tmp_path) as (_, stub):
        assert list(stub.ListOperations(operations_pb2.ListOperationsRequest()).operations) == []


def test_a_repeated_request_id_gives_the_same_operation_even_after_a_restart(tmp_path: Path) -> None:
    task = Task(StringValue())
    task.go_on.set()
    with operating(tmp_path) as (operations, stub):
        name = operations.start("train", START, task, request_id="r-1").name
        assert operations.start("train", START, task, request_id="r-1").name == name
        assert operations.start("other", START, task, request_id="r-1").name != name
        wait(stub, name)
    with operating(tmp_path) as (operations, _):
        assert operations.start("train", START, task, request_id="r-1").name == name


def test_pages_hold_every_operation_once_newest_first(tmp_path: Path) -> None:
    task = Task(StringValue())
    task.go_on.set()
    with operating(tmp_path) as (operations, stub):
        names = [operations.start("train", START, task).name for _ in range(7)]
        seen, token = [], ""
        while True:
            page = stub.ListOperations(operations_pb2.ListOperationsRequest(page_size=3, page_token=token))
            seen += [operation.name for operation in page.operations]
            if not (token := page.next_page_token):
                break
    assert seen == list(reversed(names))


@pytest.mark.parametrize(
    ("request_fields", "field"),
    [
        ({"page_token": "bm9uc2Vuc2U"}, "page_token"),
        ({"page_token": "ä"}, "page_token"),
        ({"page_size": -1}, "page_size"),
        ({"filter": "done"}, "filter"),
        ({"name": "models"}, "name"),
    ],
)
def test_a_bad_list_request_names_its_field(tmp_path: Path, request_fields: dict[str, Any], field: str) -> None:
    with operating(tmp_path) as (_, stub), pytest.raises(grpc.RpcError) as caught:
        stub.ListOperations(operations_pb2.ListOperationsRequest(**request_fields))
    assert [v.field for v in details(caught.value)[1]["BadRequest"].field_violations] == [field]


def test_only_an_operation_that_is_done_can_be_deleted(tmp_path: Path) -> None:
    task = Task(StringValue())
    with operating(tmp_path) as (operations, stub):
        name = operations.start("train", START, task).name
        request = operations_pb2.DeleteOperationRequest(name=name)
        with pytest.raises(grpc.RpcError) as caught:
            stub.DeleteOperation(request)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        task.go_on.set()
        wait(stub, name)
        stub.DeleteOperation(request)
        with pytest.raises(grpc.RpcError) as caught:
            get(stub, name)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert list(tmp_path.iterdir()) == []


def test_the_queue_and_the_history_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KEPT", 3)
    task, quick = Task(StringValue()), Task(StringValue())
    quick.go_on.set()
    with operating(tmp_path) as (operations, stub):
        for _ in range(5):
            last = operations.start("train", START, quick).name
            wait(stub, last)
        assert len(operations.newest(10)) == 3
        for _ in range(module.MAX_UNFINISHED):
            operations.start("train", START, task)
        with pytest.raises(Overloaded):
            operations.start("train", START, task)


def test_work_that_is_to_be_alone_waits_for_no_other_of_its_kind(tmp_path: Path) -> None:
    with operating(tmp_path) as (operations, stub):
        task = Task(StringValue(value="done"))
        first = operations.start("train", START, task, request_id="r1", alone=True)
        with pytest.raises(Conflict, match=first.name):
            operations.start("train", START, task, request_id="r2", alone=True)
        assert operations.start("train", START, task, request_id="r1", alone=True).name == first.name
        other = operations.start("export", START, task, alone=True)
        task.go_on.set()
        assert wait(stub, other.name).done
        assert wait(stub, operations.start("train", START, task, alone=True).name).done
