"""The table of errors: complete, in step with the contract, silent about what is no caller's business."""

from __future__ import annotations

import grpc
import pytest

from onefold.graph import errors
from onefold.graph.errors import InvalidPolicy, OnefoldError, Violation
from onefold.service.status import MAX_STATUS_BYTES, TABLE, row_of, status_of
from onefold.v1.errors_pb2 import ErrorReason


def all_errors() -> list[type[OnefoldError]]:
    found, todo = [], [OnefoldError]
    while todo:
        subclasses = [c for c in todo.pop().__subclasses__() if c.__module__ == errors.__name__]
        found += subclasses
        todo += subclasses
    return found


@pytest.mark.parametrize("kind", all_errors())
def test_every_error_of_the_tree_has_a_row(kind: type[OnefoldError]) -> None:
    assert row_of(kind.__new__(kind)) is not None


def test_every_reason_is_in_the_contract_and_the_other_way_round() -> None:
    ours = {f"ERROR_REASON_{row.reason}" for row in TABLE.values()} | {"ERROR_REASON_INTERNAL"}
    assert ours == set(ErrorReason.keys()) - {"ERROR_REASON_UNSPECIFIED"}


def test_one_reason_always_comes_with_the_same_code() -> None:
    codes = {(row.reason, row.code) for row in TABLE.values()}
    assert len(codes) == len({reason for reason, _ in codes})


def test_a_subclass_has_its_parents_row() -> None:
    status = status_of(InvalidPolicy([Violation("kinds.email (line 3)", "should be above 0")]))
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


def test_a_bug_tells_nothing_of_itself() -> None:
    status = status_of(KeyError("ann@example.org"))
    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert b"ann" not in status.SerializeToString()


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidInput([Violation("界" * 5_000, "界" * 5_000)] * 3_000),
        errors.NotFound("界" * 5_000, "界" * 5_000),
        errors.NotReady("界" * 5_000, "界" * 5_000),
        errors.Overloaded("界" * 5_000),
        errors.Conflict("界" * 5_000),
    ],
)
def test_any_status_fits_in_headers(error: OnefoldError) -> None:
    assert len(status_of(error, "r-1").SerializeToString()) <= MAX_STATUS_BYTES
