"""Planning statements ahead leaves nothing behind."""

from __future__ import annotations

from onefold.graph import ingest, warm
from onefold.graph.audit import list_decisions
from onefold.graph.endpoint import Endpoint
from onefold.graph.policy import load
from tests.conftest import Engine
from tests.items import customer, reader, writer

COUNT = "MATCH (n) WHERE NOT n:Schema RETURN count(n)"


def test_a_warm_engine_holds_what_it_held_before(endpoint: Endpoint, engine: Engine) -> None:
    w = writer(endpoint, engine.driver, load())
    ingest.ingest(w, [ingest.Batch([customer("crm:1", "email:ann@example.org")])])
    r = reader(w)
    before = r.rows(COUNT)[0][0]
    warm.warm(w)
    assert r.rows(COUNT)[0][0] == before
    assert [d.sequence for d in list_decisions(r).items] == [1]


def test_a_rehearsed_batch_is_answered_and_not_kept(endpoint: Endpoint, engine: Engine) -> None:
    w = writer(endpoint, engine.driver, load())
    first = ingest.Batch([customer("crm:1", "email:ann@example.org")])
    second = ingest.Batch([customer("app:2", "email:ann@example.org")])
    (one,), (other,) = ingest.rehearse(w, [first, second])
    assert one.identity == other.identity != ""
    assert reader(w).rows(COUNT)[0][0] == 0
