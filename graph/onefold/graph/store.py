"""The graph as the online path sees it: evidence read under locks, plans written in one transaction.

Speaks Cypher through the official driver and nothing else. A function that takes a ``tx`` runs inside the caller's
transaction and leaves committing to it.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import neo4j

from onefold.graph import cypher
from onefold.graph.decide import Decision, Placement, Plan
from onefold.graph.evidence import (
    NEVER,
    Evidence,
    IdentifierState,
    LinkState,
    OrderState,
    RecordState,
    Touched,
)
from onefold.graph.model import (
    PROPERTY_PREFIX,
    Customer,
    IdentifierKey,
    Instant,
    Order,
    PropertyValue,
    RecordName,
    Refund,
    kind_of,
    split_name,
)
from onefold.graph.policy import Label, Policy
from onefold.graph.resolve import Ban

Rows = list[Any]


class StaleRead(Exception):
    """What was touched moved to another component before its lock was held; read again."""


def read(tx: neo4j.Transaction, touched: Touched, policy: Policy, lock: str) -> Evidence:
    """The stored evidence of every component that the batch touches, locked until the transaction ends.

    ``lock`` must be unique to the transaction. Raises StaleRead if the batch's nodes changed component between
    being found and being locked.
    """
    keys = _keys_by_label(touched, policy)
    record = tx.run(cypher.READ_AND_LOCK, {**keys, "lock": lock}).single(strict=True)
    evidence = Evidence()
    take_members(evidence, record["customers"], record["orders"], record["devices"])
    fetched = evidence.records.keys()
    for name, component, identity, shared, events in record["touched"]:
        is_record = name not in touched.identifiers
        if component is not None and name not in (fetched if is_record else evidence.identifiers):
            raise StaleRead(name)
        if not is_record and component is None:
            label = policy.kind(kind_of(name)).label
            _take_identifier(evidence, name, label, component, identity, shared, events)
    if touched.orders:
        for key, observed_at, digest, customer in tx.run(cypher.READ_ORDERS, orders=sorted(touched.orders)):
            whose = None if customer is None else f"customer:{customer}"
            evidence.orders[key] = OrderState(observed_at, digest, whose)
    if touched.events:
        evidence.events.update(r[0] for r in tx.run(cypher.READ_EVENTS, events=sorted(touched.events)))
    return evidence


def write(tx: neo4j.Transaction, evidence: Evidence, plan: Plan, policy: Policy, now: Instant, lock: str) -> None:
    """Everything that the batch adds and the plan decides; the decisions last, sealed.

    The log's head is locked by the last statements only, so that commits wait for one another as briefly as can be.
    """
    for text, rows in _statements(evidence, plan, policy):
        if rows:
            tx.run(text, rows=_Unspelled(rows), now=now).consume()
    if plan.decisions:
        _append(tx, plan.decisions, policy.version, now, lock)


def holders(tx: neo4j.Transaction, evidence: Evidence) -> set[RecordName]:
    """Every record at the identifiers that the evidence suspects of being shared no longer."""
    keys: dict[Label, list[str]] = defaultdict(list)
    for key in sorted(evidence.suspects):
        if (label := evidence.identifiers[key].label) is not None:
            keys[label].append(key)
    return {row[0] for label in keys for row in tx.run(cypher.READ_HOLDERS[label], keys=keys[label])}


class _Unspelled(list[Any]):
    """Rows that no log spells out. The driver writes each statement's parameters out for its debug log before it looks
    whether anybody logs: a fifth of a commit's Python time, and personal data where none belongs."""

    def __repr__(self) -> str:
        return f"<{len(self)} rows>"


def _keys_by_label(touched: Touched, policy: Policy) -> dict[str, list[str]]:
    names = ("customers", "orders", "emails", "phones", "devices", "external_ids")
    keys: dict[str, list[str]] = {name: _Unspelled() for name in names}
    for name in sorted(touched.records):
        label, key = split_name(name)
        keys["customers" if label == "customer" else "orders"].append(key)
    for key in sorted(touched.identifiers):
        keys[_PARAMETER[policy.kind(kind_of(key)).label]].append(key)
    return keys


_PARAMETER = {"Email": "emails", "Phone": "phones", "Device": "devices", "ExternalId": "external_ids"}


def take_members(evidence: Evidence, customers: Rows, orders: Rows, devices: Rows) -> None:
    """Put the rows of :data:`onefold.graph.cypher.MEMBERS` into the evidence."""
    for row in customers:
        _take_record(evidence, "customer", row)
    for row in orders:
        _take_record(evidence, "order", row)
    for row in devices:
        _take_identifier(evidence, *row)


def _take_record(evidence: Evidence, label: str, row: Sequence[Any]) -> None:
    key, identity, component, created_at, observed_at, digest, links, matches, bans = row
    name = f"{label}:{key}"
    observed_at = NEVER if observed_at is None else observed_at
    record = RecordState(name, identity, component, created_at, observed_at, digest or "")
    for identifier, its_label, its_component, its_identity, shared, events, *link in links:
        source, assurance, first_seen, last_seen, observations, refused = link
        record.links[identifier, source, assurance] = LinkState(
            first_seen, last_seen, observations, refused, stored=True
        )
        _take_identifier(evidence, identifier, its_label, its_component, its_identity, shared, events)
    for other, at in matches:
        a, b = sorted((name, f"customer:{other}"))
        evidence.matches[a, b] = at
    for other, at, expires_at in bans:
        a, b = sorted((name, f"customer:{other}"))
        evidence.bans[a, b] = Ban(a, b, at, expires_at)
    evidence.records[name] = record


def _take_identifier(
    evidence: Evidence,
    key: IdentifierKey,
    label: Label,
    component: str | None,
    identity: str | None,
    shared: bool,
    events: bool,
) -> None:
    if key not in evidence.identifiers:
        evidence.identifiers[key] = IdentifierState(key, identity, component, bool(shared), bool(events), label)


# -- rows ------------------------------------------------------------------------------------------------------------


def _statements(evidence: Evidence, plan: Plan, policy: Policy) -> Iterator[tuple[str, Rows]]:
    """Each text with its rows, in an order in which every row finds what it refers to."""
    yield cypher.CREATE_IDENTITIES, [[i, anonymous] for i, anonymous in plan.new_identities.items()]
    yield cypher.NAME_IDENTITIES, plan.named
    yield from _identifier_statements(evidence, plan, policy)
    links = _new_links(evidence, policy)
    yield from _record_statements(evidence, plan, links)
    yield from _order_statements(evidence, plan)
    yield from _link_statements(evidence, links)
    yield (
        cypher.SET_MATCHES,
        [[*sorted((split_name(m.a)[1], split_name(m.b)[1])), m.actor, m.reason, m.at] for m in evidence.new_matches],
    )
    yield (
        cypher.SET_BANS,
        [
            [*sorted((split_name(b.a)[1], split_name(b.b)[1])), b.actor, b.reason, b.at, b.expires_at]
            for b in evidence.new_bans
        ],
    )
    yield from _event_statements(evidence)
    yield cypher.RETIRE_IDENTITIES, [[old, new, decision] for old, (new, decision) in plan.retired.items()]


def _identifier_statements(evidence: Evidence, plan: Plan, policy: Policy) -> Iterator[tuple[str, Rows]]:
    created: dict[str, Rows] = defaultdict(list)
    placed: dict[str, Rows] = defaultdict(list)
    for key, state in evidence.identifiers.items():
        kind, _, value = key.partition(":")
        # A stored one may be of a kind that the policy in force does not know.
        label = state.label or policy.kind(kind).label
        to = plan.identifiers[key]
        if not state.stored:
            created[label].append([key, kind, value, to.component, to.identity, to.shared, state.has_events])
        elif state.events_dirty or (state.component, state.identity, state.shared) != _as_stored(to):
            placed[label].append([key, to.component, to.identity, to.shared, state.has_events])
    for label in cypher.IDENTIFIER_LABELS:
        yield cypher.CREATE_IDENTIFIERS[label], created[label]
        yield cypher.PLACE_IDENTIFIERS[label], placed[label]


def _as_stored(placement: Placement) -> tuple[str | None, str | None, bool]:
    return placement.component, placement.identity, placement.shared


def _record_statements(
    evidence: Evidence, plan: Plan, links: Mapping[RecordName, Mapping[Label, Rows]]
) -> Iterator[tuple[str, Rows]]:
    created: Rows = []
    described: Rows = []
    for name, state in evidence.records.items():
        label, key = split_name(name)
        if label != "customer" or (state.identity is not None and name not in evidence.customers):
            continue
        to = plan.records[name]
        properties = _customer_properties(key, evidence.customers.get(name), state.digest, to.component)
        if state.identity is None:
            by_label = links.get(name, {})
            nested = [by_label.get(label, []) for label in cypher.IDENTIFIER_LABELS]
            created.append([key, to.identity, properties, _known(state.observed_at), nested])
        else:
            described.append([key, properties, state.observed_at])
    yield cypher.CREATE_CUSTOMERS, created
    yield cypher.DESCRIBE_CUSTOMERS, described
    for label in cypher.RECORD_LABELS:
        placed, moved = [], []
        for name, state in evidence.records.items():
            of, key = split_name(name)
            to = plan.records[name]
            if of != label or state.identity is None:
                continue
            if state.component != to.component:
                placed.append([key, to.component])
            if state.identity != to.identity:
                moved.append([key, to.identity])
        yield cypher.PLACE_RECORDS[label], placed
        yield cypher.MOVE_RECORDS[label], moved


def _known(observed_at: Instant) -> Instant | None:
    """None for a record that others only spoke of: it has no version of its own yet."""
    return None if observed_at == NEVER else observed_at


def _customer_properties(
    key: str, customer: Customer | None, digest: str, component: str | None
) -> dict[str, PropertyValue | list[str] | None]:
    source, _, source_id = key.partition(":")
    properties: dict[str, PropertyValue | list[str] | None] = {
        "key": key,
        "source": source,
        "source_id": source_id,
        "component": component,
        "digest": digest,
    }
    if customer is not None:
        properties.update(customer.traits)
        properties.update(_prefixed(customer.properties))
        properties["utc_offset_minutes"] = customer.utc_offset_minutes
    return properties


def _prefixed(properties: Mapping[str, PropertyValue]) -> Iterator[tuple[str, PropertyValue | list[str]]]:
    for name, value in properties.items():
        yield PROPERTY_PREFIX + name, list(value) if isinstance(value, tuple) else value


def _order_statements(evidence: Evidence, plan: Plan) -> Iterator[tuple[str, Rows]]:
    created: Rows = []
    described: Rows = []
    lines: Rows = []
    joined: Rows = []
    products: dict[str, list[str]] = {}
    by_customer: dict[str, list[str]] = defaultdict(list)
    for key, order in evidence.placed.items():
        state = evidence.orders[key]
        row = [key, _order_properties(order, state.digest), order.placed_at, order.observed_at]
        (described if key in evidence.rewritten else created).append(row)
        if order.lines:
            lines.append([key, list(_line_rows(order, products))])
        if key in evidence.rewritten:
            continue
        if order.customer is not None:
            by_customer[split_name(order.customer)[1]].append(key)
        else:
            to = plan.records[order.name]
            joined.append([key, to.identity, to.component])
    yield cypher.CREATE_ORDERS, created
    yield cypher.CLEAR_ORDERS, sorted(evidence.rewritten)
    yield cypher.DESCRIBE_ORDERS, described
    yield cypher.PLACE_ORDERS, [[c, orders] for c, orders in by_customer.items()]
    yield cypher.JOIN_ORDERS, joined
    yield cypher.MERGE_PRODUCTS, [products[key] for key in sorted(products)]
    yield cypher.CREATE_LINES, lines
    yield (
        cypher.MERGE_REFUNDS,
        [[key, list(_refund_rows(key, refunds.values()))] for key, refunds in evidence.refunds.items()],
    )


def _order_properties(order: Order, digest: str) -> dict[str, Any]:
    return {
        "key": order.key,
        "source": order.source,
        "order_id": order.order_id,
        "status": order.status,
        "currency": order.currency,
        "total_micros": order.total,
        "channel": order.channel or None,
        "payment_method": order.payment_method or None,
        "coupons": list(order.coupons),
        "utc_offset_minutes": order.utc_offset_minutes,
        "digest": digest,
        **dict(_prefixed(order.properties)),
    }


def _line_rows(order: Order, products: dict[str, list[str]]) -> Iterator[list[Any]]:
    for number, line in enumerate(order.lines, start=1):
        key = f"{order.source}:{line.sku}"
        if key not in products or (line.name and not products[key][3]):
            products[key] = [key, order.source, line.sku, line.name, line.category]
        yield [key, number, line.quantity, line.unit_price]


def _refund_rows(order: str, refunds: Iterable[tuple[Instant, Refund]]) -> Iterator[list[Any]]:
    for observed_at, refund in refunds:
        key = f"{order}:{refund.refund_id}"
        what = (refund.sku or None, refund.quantity, refund.reason or None)
        yield [key, refund.at, refund.amount, *what, observed_at]


def _new_links(evidence: Evidence, policy: Policy) -> dict[RecordName, dict[Label, Rows]]:
    """The rows of new links, by record and the identifier's label."""
    rows: dict[RecordName, dict[Label, Rows]] = {}
    for name, (identifier, source, assurance) in evidence.new_links:
        kind = kind_of(identifier)
        link = evidence.records[name].links[identifier, source, assurance]
        confidence = policy.base_confidence(kind, assurance, source)
        rows.setdefault(name, {}).setdefault(policy.kind(kind).label, []).append(
            [identifier, source, assurance, confidence, link.first_seen, link.last_seen, link.observations]
        )
    return rows


def _link_statements(evidence: Evidence, new: Mapping[RecordName, Mapping[Label, Rows]]) -> Iterator[tuple[str, Rows]]:
    created: dict[tuple[str, Label], Rows] = defaultdict(list)
    updated: dict[str, Rows] = defaultdict(list)
    for name, state in evidence.records.items():
        record, key = split_name(name)
        if state.identity is not None or record == "order":
            for label, rows in new.get(name, {}).items():
                created[record, label].append([key, rows])
        for (identifier, source, assurance), link in state.links.items():
            if link.dirty and (link.stored or link.refused):
                updated[record].append(
                    [
                        *(key, identifier, source, assurance),
                        *(link.first_seen, link.last_seen, link.observations, link.refused),
                    ]
                )
    for pair, by_record in created.items():
        yield cypher.CREATE_LINKS[pair], by_record
    for record, rows in updated.items():
        yield cypher.UPDATE_LINKS[record], rows


def _event_statements(evidence: Evidence) -> Iterator[tuple[str, Rows]]:
    by_owner: dict[str, dict[str, Rows]] = {"Customer": defaultdict(list), "Device": defaultdict(list)}
    for event in evidence.new_events:
        properties: dict[str, Any] = {
            "source": event.source,
            "type": event.type,
            "utc_offset_minutes": event.utc_offset_minutes,
            **dict(_prefixed(event.properties)),
        }
        if event.channel:
            properties["channel"] = event.channel
        row = [event.key, properties, event.at]
        if event.customer is not None:
            if event.device is not None:
                properties["device"] = event.device
            by_owner["Customer"][split_name(event.customer)[1]].append(row)
        elif event.device is not None:
            by_owner["Device"][event.device].append(row)
    for label, by_key in by_owner.items():
        yield cypher.CREATE_EVENTS[label], [[key, rows] for key, rows in by_key.items()]


# -- the log ---------------------------------------------------------------------------------------------------------


def _append(tx: neo4j.Transaction, decisions: Sequence[Decision], policy_version: str, now: Instant, lock: str) -> None:
    head = tx.run(cypher.LOCK_LOG, lock=lock).single(strict=True)
    sequence, previous = head["sequence"], head["hash"]
    rows = [log_row(d, number) for number, d in enumerate(decisions, start=sequence + 1)]
    sealed = seal(previous, rows, policy_version, now)
    tx.run(
        cypher.APPEND_DECISIONS,
        rows=_Unspelled(rows), policy_version=policy_version, now=now, prev_hash=previous, hash=sealed,
    ).consume()  # fmt: skip
    tx.run(cypher.ADVANCE_LOG, sequence=sequence + len(rows), hash=sealed).consume()


def log_row(decision: Decision, sequence: int) -> Rows:
    """All that a decision says, in the form that is stored and sealed."""
    members = [m.member for m in decision.moves]
    origins = [m.origin for m in decision.moves]
    first, *others = decision.identities
    return [
        decision.id, sequence, decision.kind.value, decision.actor, decision.reason, members, origins, first,
        list(decision.causes), [first, *sorted(others)],
    ]  # fmt: skip


def seal(previous: str, rows: Iterable[Sequence[Any]], policy_version: str, now: Instant) -> str:
    """SHA-256, in hexadecimal, over the previous commit's seal and everything this commit's decisions say."""
    content = json.dumps([previous, policy_version, now, list(rows)], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()
