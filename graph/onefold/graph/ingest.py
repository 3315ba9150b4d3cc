"""The online path: read–lock–fetch, decide, write, commit — tried again until it stands or time is up.

:func:`ingest` takes several callers' batches in one transaction. Whatever happens in between — a race with another
writer, a lost connection, an engine that restarts — an answer means that everything accepted is durable, and the same
items again change nothing.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import neo4j
from neo4j.exceptions import (
    ConstraintError,
    DriverError,
    Neo4jError,
    ServiceUnavailable,
    SessionExpired,
)

from onefold.graph import cypher, store
from onefold.graph.decide import Plan, Refused, decide
from onefold.graph.errors import Conflict, DeadlineExceeded, InvalidInput, Unavailable, Violation
from onefold.graph.evidence import Evidence, Touched
from onefold.graph.model import (
    Customer,
    Event,
    IdentifierKey,
    IdentifierLink,
    Instant,
    Item,
    Order,
    RecordName,
)
from onefold.graph.policy import Policy
from onefold.graph.resolve import Refusal, RefusalReason

ATTEMPTS: Final = 30
_BACKOFF_S: Final = 0.005
_LONGEST_BACKOFF_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item."""

    changed: bool = False
    """Whether it said anything that was not known."""
    identity_before: str = ""
    """The identity of the item's record, or of its device, before the item; empty if it had none."""
    identity: str = ""
    refused: tuple[Refused, ...] = ()
    violations: tuple[Violation, ...] = ()
    """Why the item was not accepted; empty if it was."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one caller sent in one call."""

    items: Sequence[Item]
    request_id: str = ""
    """A repeat of the same id gets the first answer; empty for none."""


@dataclass(frozen=True, slots=True)
class Writer:
    """Everything that a write needs besides the items."""

    driver: neo4j.Driver
    database: str
    policy: Policy
    clock: Callable[[], Instant]
    new_id: Callable[[], str]
    on_retry: Callable[[str], None] = field(default=lambda reason: None)
    """Told the name of each reason to try again."""


def ingest(writer: Writer, batches: Sequence[Batch], seconds: float | None = None) -> list[list[Outcome]]:
    """What became of each item of each batch, once all of it is committed.

    Raises DeadlineExceeded after ``seconds``, Conflict when it lost too many races, Unavailable when the engine
    can't be reached. After DeadlineExceeded and Unavailable the items may or may not be in the graph: send them again.
    """
    until = None if seconds is None else time.monotonic() + seconds
    for attempt in range(ATTEMPTS):
        left = None if until is None else until - time.monotonic()
        if left is not None and left <= 0:
            raise DeadlineExceeded("the deadline ran out before the items were committed")
        try:
            return _attempt(writer, batches, left)
        except store.StaleRead:
            error: Exception | None = None
        except ConstraintError as err:
            error = err
        except (ServiceUnavailable, SessionExpired) as err:
            error = err
        except (Neo4jError, DriverError) as err:
            if not err.is_retryable():
                raise
            error = err
        writer.on_retry(type(error).__name__ if error else "StaleRead")
        pause = min(_BACKOFF_S * 2**attempt, _LONGEST_BACKOFF_S) * random.uniform(0.5, 1.5)
        time.sleep(pause if left is None else max(0.0, min(pause, left)))
    if isinstance(error, ServiceUnavailable | SessionExpired):
        raise Unavailable("the graph engine can't be reached") from error
    raise Conflict(f"gave up after {ATTEMPTS} attempts against other writers") from error


def rehearse(writer: Writer, batches: Sequence[Batch]) -> list[list[Outcome]]:
    """What :func:`ingest` would answer to these batches one after the other; nothing of it stays. The engine keeps its
    plans of the statements, which are what a first batch waits for. Raises what the driver raises.
    """
    with _transaction(writer, None) as tx:
        answers = [answer for batch in batches for answer in _work(tx, writer, [batch])]
        tx.rollback()
    return answers


def _attempt(writer: Writer, batches: Sequence[Batch], seconds: float | None) -> list[list[Outcome]]:
    with _transaction(writer, seconds) as tx:
        answers = _work(tx, writer, batches)
        tx.commit()
    return answers


@contextmanager
def _transaction(writer: Writer, seconds: float | None) -> Iterator[neo4j.Transaction]:
    with (
        writer.driver.session(
            database=writer.database,
            fetch_size=-1,
            bookmark_manager=writer.driver.execute_query_bookmark_manager,
        ) as session,
        session.begin_transaction(timeout=seconds) as tx,
    ):
        yield tx


def _work(tx: neo4j.Transaction, writer: Writer, batches: Sequence[Batch]) -> list[list[Outcome]]:
    """Everything but the commit."""
    lock = uuid.uuid4().hex
    now = writer.clock()
    answered = _read_answers(tx, batches)
    items = [item for b in batches if b.request_id not in answered for item in b.items]
    if not items:
        return [answered.get(b.request_id, []) for b in batches]
    evidence = store.read(tx, Touched.by(items), writer.policy, lock)
    before = _identities(evidence)
    accepted = [_fold(evidence, item) for item in items]
    plan = decide(evidence, writer.policy, now, writer.new_id)
    store.write(tx, evidence, plan, writer.policy, now, lock)
    outcomes = iter(_outcomes(items, accepted, before, plan))
    answers = [
        answered[b.request_id] if b.request_id in answered else [next(outcomes) for _ in b.items] for b in batches
    ]
    _write_answers(tx, batches, answers, answered, now)
    return answers


def _fold(evidence: Evidence, item: Item) -> bool | tuple[Violation, ...]:
    try:
        return evidence.add(item)
    except InvalidInput as err:
        return tuple(err.violations)


def _identities(evidence: Evidence) -> dict[str, str]:
    known = {name: r.identity for name, r in evidence.records.items() if r.identity}
    known.update((key, v.identity) for key, v in evidence.identifiers.items() if v.identity)
    return known


def _outcomes(
    items: Iterable[Item],
    accepted: Iterable[bool | tuple[Violation, ...]],
    before: Mapping[str, str],
    plan: Plan,
) -> list[Outcome]:
    refused: dict[RecordName, list[Refusal]] = defaultdict(list)
    for refusal in plan.refusals:
        refused[refusal.record].append(refusal)
        refused[refusal.owner].append(refusal)
    return [_outcome(item, said, before, plan, refused) for item, said in zip(items, accepted, strict=True)]


def _outcome(
    item: Item,
    said: bool | tuple[Violation, ...],
    before: Mapping[str, str],
    plan: Plan,
    refused: Mapping[RecordName, list[Refusal]],
) -> Outcome:
    if isinstance(said, tuple):
        return Outcome(violations=said)
    record, device, identifiers = _subject(item)
    about = [
        Refused(r, plan.identity_of(r.record, None), plan.identity_of(r.owner, None))
        for r in refused.get(record or "", ())
        if r.identifier is None or r.identifier in identifiers
    ]
    return Outcome(
        changed=said,
        identity_before=before.get(record or device or "", ""),
        identity=plan.identity_of(record, device),
        refused=tuple(about),
    )


def _subject(item: Item) -> tuple[RecordName | None, IdentifierKey | None, frozenset[IdentifierKey]]:
    """The record an item is about, or its device, and the identifiers it names."""
    match item:
        case Customer():
            return item.name, None, frozenset(a.identifier for a in item.assertions)
        case Order():
            return item.customer or item.name, None, frozenset(a.identifier for a in item.assertions)
        case Event():
            return item.customer, item.device, frozenset((item.device,) if item.device else ())
        case IdentifierLink():
            return item.customer, None, frozenset((item.assertion.identifier,))
        case _:
            return item.a, None, frozenset()


# -- answers to request ids ------------------------------------------------------------------------------------------


def _read_answers(tx: neo4j.Transaction, batches: Sequence[Batch]) -> dict[str, list[Outcome]]:
    requests = [b.request_id for b in batches if b.request_id]
    if not requests:
        return {}
    found = tx.run(cypher.READ_ANSWERS, requests=requests)
    return {key: _from_json(answer) for key, answer in found}


def _write_answers(
    tx: neo4j.Transaction,
    batches: Sequence[Batch],
    answers: Sequence[Sequence[Outcome]],
    answered: Mapping[str, object],
    now: Instant,
) -> None:
    rows = [
        [b.request_id, _to_json(answer)]
        for b, answer in zip(batches, answers, strict=True)
        if b.request_id and b.request_id not in answered
    ]
    if rows:
        tx.run(cypher.CREATE_ANSWERS, rows=rows, now=now).consume()


def _to_json(outcomes: Sequence[Outcome]) -> str:
    return json.dumps(
        [
            [
                o.changed, o.identity_before, o.identity,
                [[[getattr(r.refusal, f) for f in Refusal.__slots__], r.identity, r.other_identity] for r in o.refused],
                [[v.field, v.rule] for v in o.violations],
            ]
            for o in outcomes
        ],
        ensure_ascii=False,
        separators=(",", ":"),
    )  # fmt: skip


def _from_json(text: str) -> list[Outcome]:
    return [
        Outcome(
            changed,
            before,
            after,
            tuple(Refused(_refusal(fields), identity, other) for fields, identity, other in refused),
            tuple(Violation(f, rule) for f, rule in violations),
        )
        for changed, before, after, refused, violations in json.loads(text)
    ]


def _refusal(fields: Sequence[Any]) -> Refusal:
    named = dict(zip(Refusal.__slots__, fields, strict=True))
    return Refusal(**named | {"reason": RefusalReason(named["reason"]), "holders": tuple(named["holders"])})
