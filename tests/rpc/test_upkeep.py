"""The service's own threads outlive what nobody foresaw."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from onefold.graph import policy
from onefold.graph.ingest import Batch, Writer, ingest
from onefold.graph.lane import WriterLanes
from onefold.graph.model import OperatorBan
from onefold.graph.reader import Reader
from onefold.graph.upkeep import due_bans
from onefold.service import readiness, upkeep
from onefold.service.readiness import Readiness
from onefold.service.upkeep import Upkeep
from tests import items as make
from tests.conftest import Engine


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (upkeep, readiness):
        monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)


@pytest.fixture
def writer(engine: Engine, endpoint: object) -> Writer:
    return make.writer(engine.endpoint, engine.driver)


def test_bans_end_though_the_look_before_failed_as_nobody_foresaw(writer: Writer) -> None:
    ban = OperatorBan("customer:web:1", "customer:web:2", "ops", "", make.NOW, make.NOW + 1)
    ingest(writer, [Batch([make.customer("web:1"), make.customer("web:2"), ban])])
    reader = make.reader(writer)
    assert due_bans(reader, make.NOW + 1)
    times: Iterator[int | None] = iter([None])

    def clock() -> int:
        if next(times, make.NOW + 1) is None:
            raise KeyError("a bug")
        return make.NOW + 1

    lanes = WriterLanes(lambda batches, seconds: ingest(writer, batches, seconds))
    with closing(lanes), capture_logs() as lines, Upkeep(writer, lanes, reader, clock, answer_days=1):
        wait_until(lambda: not due_bans(reader, make.NOW + 1))
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["upkeep has failed"]


def test_readiness_goes_on_looking_after_a_look_that_failed_as_nobody_foresaw() -> None:
    broken = Reader(cast(Any, None), "", policy.load())
    with capture_logs() as lines, Readiness(broken, cast(Any, None)):
        wait_until(lambda: len(lines) >= 2)
    assert {line["event"] for line in lines} == {"a look at the graph has failed"}


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "not in time"
        time.sleep(0.02)
