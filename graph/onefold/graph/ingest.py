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
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Final, TypeVar

import neo4j
from neo4j.exceptions import (
    ConstraintError,
    DriverError,
    Neo4jError,
    ServiceUnavailable,
    SessionExpired,
)

from onefold.graph import bounded, cypher, store
from onefold.graph.decide import Plan, Refused, decide
from onefold.graph.errors import Conflict, DeadlineExceeded, InvalidInput, Unavailable, Violation
from onefold.graph.evidence import Evidence, Touched
from onefold.graph.model import (
    BanExpiry,
    Customer,
    Deletion,
    Event,
    IdentifierKey,
    IdentifierLink,
    Instant,
    Item,
    OperatorBan,
    OperatorMatch,
    Order,
    OwnItem,
    Recheck,
    RecordName,
    Withdrawal,
)
from onefold.graph.policy import Policy
from onefold.graph.resolve import Refusal, RefusalReason
from onefold.graph.retry import is_retryable
from onefold.graph.turns import Turn

ATTEMPTS: Final = 30
_BACKOFF_S: Final = 0.005
_LONGEST_BACKOFF_S: Final = 0.5

_T = TypeVar("_T")


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

    items: Sequence[Item | OwnItem]
    request_id: str = ""
    """A repeat of the same id gets the first answer; empty for none."""
    sent: str = ""
    """What the caller sent under the id, as a fingerprint by which a repeat is known; empty for that of the items."""
    refused: Mapping[int, Sequence[Violation]] = field(default_factory=dict)
    """What was sent beside the items and never let in, and why, by its place in all that was sent. It is part of the
    answer, so that a repeat is told the same, whatever is let in by then."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write, and no answer to remember."""
        return not (self.items or self.request_id)

    @property
    def fingerprint(self) -> str:
        """The same for the same items, whatever the process."""
        return self.sent or blake2b(repr([*map(_ordered, self.items)]).encode(), digest_size=16).hexdigest()

    def answer(self, outcomes: Iterator[Outcome]) -> list[Outcome]:
        """What became of all that was sent; takes as many outcomes as there are items."""
        return [
            Outcome(violations=tuple(self.refused[place])) if place in self.refused else next(outcomes)
            for place in range(len(self.items) + len(self.refused))
        ]


def _ordered(item: Item | OwnItem) -> Item | OwnItem:
    """The item with its properties by name: they have no order of their own."""
    if isinstance(item, Customer | Order | Event):
        return replace(item, properties=dict(sorted(item.properties.items())))
    return item


Answer = list[Outcome] | InvalidInput
"""What one batch is answered: the outcomes of all that was sent, or why it is refused as a whole."""


@dataclass(frozen=True, slots=True)
class Writer:
    """Everything that a write needs besides the items."""

    driver: neo4j.Driver
    database: str
    policy: Policy
    clock: Callable[[], Instant]
    new_id: Callable[[], str]
    turn: Turn
    """What each transaction has to wait for: :func:`onefold.graph.turns.turns_at`."""
    on_retry: Callable[[str], None] = field(default=lambda reason: None)
    """Told the name of each reason to try again."""
    on_large_component: Callable[[str, int], None] = field(default=lambda component, records: None)
    """Told of a component that a commit has touched and that has as many records as the policy's ``max_component``."""


def ingest(writer: Writer, batches: Sequence[Batch], seconds: float | None = None) -> list[Answer]:
    """What became of each item of each batch, once all of it is committed; or InvalidInput (field ``request_id``), in
    the place of a batch whose id was given to other items before.

    Raises DeadlineExceeded after ``seconds``, Conflict when it lost too many races, Unavailable when the engine
    can't be reached. After DeadlineExceeded and Unavailable the items may or may not be in the graph: send them again.
    """
    return until_committed(writer, lambda until: _attempt(writer, batches, until), seconds)


def until_committed(writer: Writer, attempt: Callable[[float | None], _T], seconds: float | None) -> _T:
    """What an attempt gives that commits a transaction; another is made where that can help. It is told when, on the
    monotonic clock, whoever asks has gone. Raises as :func:`ingest` does."""
    until = None if seconds is None else time.monotonic() + seconds
    for number in range(ATTEMPTS):
        if until is not None and time.monotonic() >= until:
            raise _too_late()
        try:
            return attempt(until)
        except store.StaleRead:
            error: Exception | None = None
        except ConstraintError as err:
            error = err
        except (Neo4jError, DriverError) as err:
            if bounded.ran_out(err, until):
                raise _too_late() from err
            if not (isinstance(err, ServiceUnavailable | SessionExpired) or is_retryable(err)):
                raise
            error = err
        writer.on_retry(type(error).__name__ if error else "StaleRead")
        pause = min(_BACKOFF_S * 2**number, _LONGEST_BACKOFF_S) * random.uniform(0.5, 1.5)
        time.sleep(pause if until is None else max(0.0, min(pause, until - time.monotonic())))
    if isinstance(error, ServiceUnavailable | SessionExpired):
        raise Unavailable("the graph engine can't be reached") from error
    raise Conflict(f"gave up after {ATTEMPTS} attempts against other writers") from error


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("the deadline ran out before the items were committed")


def rehearse(writer: Writer, batches: Sequence[Batch]) -> list[Answer]:
    """What :func:`ingest` would answer to these batches one after the other; nothing of it stays. The engine keeps its
    plans of the statements, which are what a first batch waits for. Raises what the driver raises.
    """
    with transaction(writer, None) as tx:
        answers = [answer for batch in batches for answer in _work(tx, writer, [batch])[0]]
        tx.rollback()
    return answers


def _attempt(writer: Writer, batches: Sequence[Batch], until: float | None) -> list[Answer]:
    with transaction(writer, until) as tx:
        answers, (component, records) = _work(tx, writer, batches)
        tx.commit()
    if records >= writer.policy.max_component:
        writer.on_large_component(component, records)
    return answers


@contextmanager
def transaction(writer: Writer, until: float | None) -> Iterator[neo4j.Transaction]:
    """A transaction in a writer's turn, which the engine is to end at ``until``; the caller commits it."""
    seconds = None if until is None else max(0.001, until - time.monotonic())
    with (
        writer.turn(until),
        bounded.session(writer.driver, writer.database, until, fetch_size=-1) as session,
        session.begin_transaction(timeout=seconds) as tx,
    ):
        yield tx


def _work(tx: neo4j.Transaction, writer: Writer, batches: Sequence[Batch]) -> tuple[list[Answer], tuple[str, int]]:
    """Everything but the commit: the answers, and the largest component with its number of records."""
    largest = ("", 0)
    lock = uuid.uuid4().hex
    now = writer.clock()
    answers = _Answers.read(tx, batches)
    new = answers.unanswered(batches)
    items = [item for batch in new for item in batch.items]
    outcomes: Iterator[Outcome] = iter(())
    if items:
        evidence, before, accepted = _gather(tx, writer.policy, items, now, lock)
        plan = decide(evidence, writer.policy, writer.new_id)
        store.write(tx, evidence, plan, writer.policy, now, lock)
        outcomes = iter(_outcomes(items, accepted, before, plan))
        largest = plan.largest
    for batch in new:
        answers.note(batch, batch.answer(outcomes))
    answers.write(tx, now)
    return [answers.of(batch) for batch in batches], largest


_Said = bool | tuple[Violation, ...]
"""Whether an item said anything new, or why it was not accepted."""


def _gather(
    tx: neo4j.Transaction, policy: Policy, items: Sequence[Item | OwnItem], now: Instant, lock: str
) -> tuple[Evidence, dict[str, str], list[_Said]]:
    """All evidence that bears on the items, with them in it, and with the end of bans that are over before they come;
    who was who before; and what each item said."""
    touched = Touched.by(items)
    evidence, before, accepted = _read_and_fold(tx, policy, items, touched, now, lock)
    suspects = evidence.suspects()
    if suspects:
        # Who adds to a shared identifier looks at it again with the log's head in hand: nobody can from here on.
        store.lock_log(tx, lock)
        touched.records |= store.holders(tx, evidence, suspects, policy)
        recounted = evidence.recounted
        evidence, before, accepted = _read_and_fold(tx, policy, items, touched, now, lock)
        evidence.recounted = recounted
    return evidence, before, accepted


def _read_and_fold(
    tx: neo4j.Transaction,
    policy: Policy,
    items: Sequence[Item | OwnItem],
    touched: Touched,
    now: Instant,
    lock: str,
) -> tuple[Evidence, dict[str, str], list[_Said]]:
    evidence = store.read(tx, touched, policy, lock)
    before = _identities(evidence)
    accepted = [_fold(evidence, item) for item in items]
    store.hand_over(tx, evidence)
    evidence.end_bans(now)
    return evidence, before, accepted


def _fold(evidence: Evidence, item: Item | OwnItem) -> _Said:
    try:
        return evidence.add(item)
    except InvalidInput as err:
        return tuple(err.violations)


def _identities(evidence: Evidence) -> dict[str, str]:
    known = {name: r.identity for name, r in evidence.records.items() if r.identity}
    known.update((key, v.identity) for key, v in evidence.identifiers.items() if v.identity)
    return known


def _outcomes(
    items: Iterable[Item | OwnItem],
    accepted: Iterable[_Said],
    before: Mapping[str, str],
    plan: Plan,
) -> list[Outcome]:
    refused: dict[RecordName, list[Refusal]] = defaultdict(list)
    for refusal in plan.refusals:
        refused[refusal.record].append(refusal)
        refused[refusal.owner].append(refusal)
    return [_outcome(item, said, before, plan, refused) for item, said in zip(items, accepted, strict=True)]


def _outcome(
    item: Item | OwnItem,
    said: _Said,
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


def _subject(item: Item | OwnItem) -> tuple[RecordName | None, IdentifierKey | None, frozenset[IdentifierKey]]:
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
        case Withdrawal():
            return item.customer, None, frozenset((item.identifier,))
        case Deletion():
            return item.record, None, frozenset()
        case OperatorMatch() | OperatorBan() | BanExpiry():
            return item.a, None, frozenset()
        case Recheck():
            return None, None, frozenset()


# -- answers to request ids ------------------------------------------------------------------------------------------


class _Answers:
    """What callers are answered, by request id where they gave one, so that a repeat gets the first answer."""

    def __init__(self, known: dict[str, tuple[str, list[Outcome]]]) -> None:
        self._known = known
        self._new: dict[str, Batch] = {}
        self._anonymous: dict[int, list[Outcome]] = {}

    @classmethod
    def read(cls, tx: neo4j.Transaction, batches: Sequence[Batch]) -> _Answers:
        """The answers that these batches' request ids got before."""
        requests = sorted({b.request_id for b in batches if b.request_id})
        if not requests:
            return cls({})
        found = tx.run(cypher.READ_ANSWERS, requests=requests)
        return cls({key: (fingerprint, _from_json(answer)) for key, fingerprint, answer in found})

    def unanswered(self, batches: Sequence[Batch]) -> list[Batch]:
        """The batches whose items are to be written: of several with one id only the first."""
        unanswered = []
        for batch in batches:
            if batch.request_id:
                if batch.request_id in self._known or batch.request_id in self._new:
                    continue
                self._new[batch.request_id] = batch
            unanswered.append(batch)
        return unanswered

    def note(self, batch: Batch, outcomes: list[Outcome]) -> None:
        """What a batch is answered."""
        if batch.request_id:
            self._known[batch.request_id] = (batch.fingerprint, outcomes)
        else:
            self._anonymous[id(batch)] = outcomes

    def of(self, batch: Batch) -> Answer:
        """The batch's answer."""
        if not batch.request_id:
            return self._anonymous.get(id(batch), [])
        fingerprint, outcomes = self._known[batch.request_id]
        if fingerprint != batch.fingerprint:
            return InvalidInput([Violation("request_id", "was given to other items before: make a new one")])
        return outcomes

    def write(self, tx: neo4j.Transaction, now: Instant) -> None:
        """Keep the new answers. A request id that another process answers at the same time is a constraint error."""
        rows = [[key, self._known[key][0], _to_json(self._known[key][1])] for key in self._new]
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
