"""The graph as the online path sees it: evidence read under locks, plans written in one transaction.

Speaks Cypher through the official driver and nothing else. A function that takes a ``tx`` runs inside the caller's
transaction and leaves committing to it.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import neo4j

from onefold.graph import cypher
from onefold.graph.decide import Decision, Placement, Plan
from onefold.graph.evidence import (
    NEVER,
    UNSEEN,
    Evidence,
    IdentifierState,
    LinkKey,
    LinkState,
    OrderState,
    RecordState,
    Touched,
)
from onefold.graph.model import (
    PROPERTY_PREFIX,
    BanExpiry,
    Customer,
    IdentifierKey,
    Instant,
    OperatorBan,
    OperatorMatch,
    Order,
    PropertyValue,
    RecordName,
    Refund,
    kind_of,
    split_name,
)
from onefold.graph.policy import Label, Policy
from onefold.graph.resolve import Ban, Edges, Link, resolve

Rows = list[Any]


class StaleRead(Exception):
    """What was touched moved to another component before its lock was held; read again."""


def read(tx: neo4j.Transaction, touched: Touched, policy: Policy, lock: str) -> Evidence:
    """The stored evidence of every component that the batch touches, locked until the transaction ends.

    Adds to ``touched`` whose the orders are by now, and what they say of them. ``lock`` must be unique to the
    transaction. Raises StaleRead if the batch's nodes changed component between being found and being locked.
    """
    keys = _keys_by_label(touched, policy)
    record = tx.run(cypher.READ_AND_LOCK, keys=keys, lock=lock).single(strict=True)
    orders = _read_orders(tx, touched)
    whose = {order.placed_by or f"order:{key}" for key, order in orders.items()}  # whosever the batch says they are
    given = {v for order in orders.values() for _, (v, _, _) in order.given if kind_of(v) in policy.kinds}
    if not (whose <= touched.records and given <= touched.identifiers):
        touched.records |= whose
        touched.identifiers |= given
        return read(tx, touched, policy, lock)
    evidence = Evidence(orders=orders)
    take_members(evidence, record["customers"], record["orders"], record["devices"])
    nobodys: dict[str, dict[str, str | None]] = defaultdict(dict)
    loose: dict[Label, list[str]] = defaultdict(list)
    placed: list[str] = []
    for name, component, identity, shared, events in record["touched"]:
        if name in touched.identifiers:
            if component is not None:
                placed.append(name)
                continue
            known = evidence.identifiers.get(name)  # with a member's links, read under the lock
            if known is not None and (known.component, known.shared) != (None, bool(shared)):
                raise StaleRead(name)
            label = policy.kind(kind_of(name)).label
            _take_identifier(evidence, name, label, component, identity, shared, events)
            if not shared and not policy.is_blocked(name):
                loose[label].append(name)
        elif component is None or name not in evidence.records:
            of, key = split_name(name)
            nobodys[of][key] = component
    matched = _take_nobodys(tx, evidence, nobodys, lock)
    for name in placed:  # by the links of a member, which may be one whose membership was lost
        _fresh(name, evidence.identifiers)
    _lock_loose(tx, loose, lock)
    beyond = _take_ended(tx, evidence, touched, policy)
    if beyond or not matched <= touched.records:
        touched.records |= matched
        touched.identifiers |= beyond
        return read(tx, touched, policy, lock)
    if touched.events:
        evidence.events.update(r[0] for r in tx.run(cypher.READ_EVENTS, events=sorted(touched.events)))
    return evidence


def _fresh(name: str, fetched: Collection[str]) -> None:
    if name not in fetched:
        raise StaleRead(name)


def _read_orders(tx: neo4j.Transaction, touched: Touched) -> dict[str, OrderState]:
    """The stored orders of the batch. Whose they are is right once the component of whom they are found to be has been
    locked before: nobody else takes them from there."""
    if not touched.orders:
        return {}
    orders = {}
    found = tx.run(cypher.READ_ORDERS, orders=sorted(touched.orders))
    for key, observed_at, digest, deleted_at, customer, placed_at, words in found:
        whose = None if customer is None else f"customer:{customer}"
        observed_at = NEVER if observed_at is None else observed_at
        placed_at = NEVER if placed_at is None else placed_at
        said = frozenset(_said(key.partition(":")[0], word) for word in words or ())
        orders[key] = OrderState(observed_at, digest or "", whose, deleted_at, whose, True, placed_at, said)
    return orders


def _word(link: LinkKey) -> str:
    """What an order says of its customer, as the order's node has it."""
    identifier, _, assurance = link
    return f"{assurance}:{identifier}"


def _said(source: str, word: str) -> LinkKey:
    assurance, _, identifier = word.partition(":")
    return identifier, source, assurance


def hand_over(tx: neo4j.Transaction, evidence: Evidence) -> None:
    """Have the links that orders of the batch let go of held by the orders that are left, whoever stored these."""
    rows = [[split_name(name)[1], key[1], _word(key)] for name, key in sorted(evidence.let_go)]
    left = tx.run(cypher.READ_LEFT, rows=_Unspelled(rows), orders=sorted(evidence.orders)) if rows else ()
    evidence.hand_over({(f"customer:{key}", _said(source, word)): at for key, source, word, at in left})


def _take_nobodys(
    tx: neo4j.Transaction, evidence: Evidence, nobodys: Mapping[str, Mapping[str, str | None]], lock: str
) -> set[RecordName]:
    """Take in touched records that are nobody's, each with the component in which it was found: none, unless its
    membership was lost. Returns the records that must be touched too, since one that comes back is one with those it
    was matched with. Raises StaleRead if one has become somebody's meanwhile, or moved to another component."""
    matched: set[RecordName] = set()
    for label, found in nobodys.items():
        for row, claimed, others in tx.run(cypher.READ_NOBODYS[label], keys=list(found), lock=lock):
            if row[1] is not None or row[2] != found[row[0]]:
                raise StaleRead(f"{label}:{row[0]}")
            _take_record(evidence, label, row)
            evidence.records[f"{label}:{row[0]}"].claimed = claimed
            matched.update(f"customer:{key}" for key in others)
    return matched


def _lock_loose(tx: neo4j.Transaction, loose: Mapping[Label, list[str]], lock: str) -> None:
    for label, keys in loose.items():
        for key, component, shared in tx.run(cypher.LOCK_LOOSE[label], keys=keys, lock=lock):
            if component is not None or shared:
                raise StaleRead(key)


def _take_ended(tx: neo4j.Transaction, evidence: Evidence, touched: Touched, policy: Policy) -> set[IdentifierKey]:
    """Take in the ended links of touched records to touched identifiers: what is said now may be older than what ended
    them. Returns the identifiers that must be touched too, since a record that comes back brings its links with it."""
    beyond = set()
    for label in cypher.RECORD_LABELS:
        keys = [
            split_name(name)[1]
            for name, record in evidence.records.items()
            if record.ended and name in touched.records and name.startswith(label)
        ]
        for key, link in tx.run(cypher.READ_ENDED[label], keys=keys) if keys else ():
            record = evidence.records[f"{label}:{key}"]
            if link[0] in touched.identifiers:
                _take_link(evidence, record, link, stored=False)
            elif record.identity is None and kind_of(link[0]) in policy.kinds:
                beyond.add(link[0])
    return beyond


def write(tx: neo4j.Transaction, evidence: Evidence, plan: Plan, policy: Policy, now: Instant, lock: str) -> None:
    """Everything that the batch adds and the plan decides; the decisions last, sealed.

    The log's head is locked by the last statements only, so that commits wait for one another as briefly as can be.
    Raises StaleRead if an identifier that the batch took for shared is so no longer.
    """
    links = _Links(evidence, policy)
    new = _new_rows(evidence, plan, policy, links)
    if any(new.values()):
        tx.run(cypher.CREATE, rows=new, now=now).consume()
    for text, rows in _statements(evidence, plan, links):
        if rows:
            tx.run(text, rows=_Unspelled(rows), now=now).consume()
    believed = _believed_shared(evidence)
    if plan.decisions or believed:
        head = lock_log(tx, lock)
        _still_shared(tx, believed)
        _append(tx, plan.decisions, policy.version, now, head)


def _believed_shared(evidence: Evidence) -> dict[Label, list[str]]:
    """The shared identifiers to which the batch adds links or a first event, without a look at who else is there."""
    adds = {key for _, (key, _, _), link in evidence.turned() if not link.stored}
    adds.update(key for key, identifier in evidence.identifiers.items() if identifier.events_dirty)
    believed: dict[Label, set[str]] = defaultdict(set)
    for key in adds - evidence.recounted:
        identifier = evidence.identifiers[key]
        if identifier.shared and identifier.label:
            believed[identifier.label].add(key)
    return {label: sorted(keys) for label, keys in believed.items()}


def _still_shared(tx: neo4j.Transaction, believed: Mapping[Label, list[str]]) -> None:
    """Whoever finds that an identifier is shared no longer holds the log's head from before counting: with the head in
    hand, what is still marked as shared will stay so until this transaction is over."""
    for label, keys in believed.items():
        found = {row[0] for row in tx.run(cypher.READ_SHARED[label], keys=keys)}
        if len(found) < len(keys):
            raise StaleRead(min(set(keys) - found))


def holders(tx: neo4j.Transaction, evidence: Evidence, suspects: Iterable[IdentifierKey], policy: Policy) -> set[str]:
    """Every record at those of the suspects that may be shared no longer, given what the evidence says by now.

    A hub is not read whole: most often the first few records show that it still is one.
    """
    names: set[RecordName] = set()
    for key in sorted(suspects):
        label = evidence.identifiers[key].label
        if label is None:
            continue
        for limit in (_PROBE, _ALL):
            rows = tx.run(cypher.READ_HOLDERS[label], key=key, limit=limit).values()
            links = [
                Link(name, identifier, source, assurance, 0)
                for name, given in rows
                for identifier, source, assurance in _given(evidence, name, given)
            ]
            if key in resolve(Edges(links), policy)[0].shared:
                break
            if len(rows) < limit or limit == _ALL:
                names.update(name for name, _ in rows)
                evidence.recounted.add(key)
                break
    return names


def _given(evidence: Evidence, name: RecordName, given: Sequence[Sequence[str]]) -> Iterable[Sequence[str]]:
    record = evidence.records.get(name)
    return given if record is None else [key for key, _ in record.standing()]


_PROBE: Final = 500
_ALL: Final = (1 << 31) - 1  # what the embedded engine counts to


class _Unspelled(list[Any]):
    """Rows that no log spells out. The driver writes each statement's parameters out for its debug log before it looks
    whether anybody logs: a fifth of a commit's Python time, and personal data where none belongs."""

    def __repr__(self) -> str:
        return f"<{len(self)} rows>"


def _keys_by_label(touched: Touched, policy: Policy) -> dict[str, list[str]]:
    names = ("customers", "orders", *cypher.IDENTIFIER_PARAMETERS.values())
    keys: dict[str, list[str]] = {name: _Unspelled() for name in names}
    for name in sorted(touched.records):
        label, key = split_name(name)
        keys["customers" if label == "customer" else "orders"].append(key)
    for key in sorted(touched.identifiers):
        keys[cypher.IDENTIFIER_PARAMETERS[policy.kind(kind_of(key)).label]].append(key)
    return keys


def take_members(evidence: Evidence, customers: Rows, orders: Rows, devices: Rows) -> None:
    """Put the rows of :data:`onefold.graph.cypher.MEMBERS` into the evidence."""
    for row in customers:
        _take_record(evidence, "customer", row)
    for row in orders:
        _take_record(evidence, "order", row)
    for row in devices:
        _take_identifier(evidence, *row)


def _take_record(evidence: Evidence, label: str, row: Sequence[Any]) -> None:
    key, identity, component, created_at, observed_at, digest, deleted_at, ended, links, matches, bans = row
    name = f"{label}:{key}"
    observed_at = NEVER if observed_at is None else observed_at
    record = evidence.records[name] = RecordState(
        name,
        identity,
        component,
        created_at,
        observed_at,
        digest or "",
        deleted_at,
        bool(ended),
    )
    for link in links:
        _take_link(evidence, record, link, stored=True)
    record.spoken_for = record.bears_witness
    for other, at in matches:
        a, b = sorted((name, f"customer:{other}"))
        evidence.matches[a, b] = at
    for other, at, expires_at, lapsed in bans:
        a, b = sorted((name, f"customer:{other}"))
        evidence.bans[a, b] = Ban(a, b, at, expires_at)
        if lapsed:
            evidence.lapsed.add((a, b))


def _take_link(evidence: Evidence, record: RecordState, row: Sequence[Any], *, stored: bool) -> None:
    key, label, component, identity, shared, events, source, assurance, *state = row
    record.links[key, source, assurance] = link_state(*state, stored=stored)
    if key not in evidence.identifiers:
        _take_identifier(evidence, key, label, component, identity, shared, events)


def link_state(
    first_seen: Instant | None,
    last_seen: Instant | None,
    observations: int,
    stated_by: str | None,
    sighted_at: Instant | None,
    ordered_at: Instant | None,
    withdrawn_at: Instant | None,
    refused: str | None,
    *,
    stored: bool,
) -> LinkState:
    """A link from its properties in the graph; ``stored`` as in :class:`LinkState`."""
    last_seen = NEVER if last_seen is None else last_seen
    if stated_by is None:
        sighted_at = last_seen  # no version ever said so: all its sights were others'
    return LinkState(
        UNSEEN if first_seen is None else first_seen,
        last_seen,
        observations,
        stated_by,
        NEVER if sighted_at is None else sighted_at,
        NEVER if ordered_at is None else ordered_at,
        NEVER if withdrawn_at is None else withdrawn_at,
        refused,
        stored,
    )


def _take_identifier(
    evidence: Evidence,
    key: IdentifierKey,
    label: Label,
    component: str | None,
    identity: str | None,
    shared: bool,
    events: bool,
) -> None:
    evidence.identifiers[key] = IdentifierState(key, identity, component, bool(shared), bool(events), label)


# -- rows ------------------------------------------------------------------------------------------------------------


def _new_rows(evidence: Evidence, plan: Plan, policy: Policy, links: _Links) -> dict[str, Rows]:
    """The rows of :data:`onefold.graph.cypher.CREATE`."""
    rows: dict[str, Rows] = {
        name: _Unspelled() for name in ("identities", "customers", *cypher.IDENTIFIER_PARAMETERS.values())
    }
    rows["identities"] += ([identity, anonymous] for identity, anonymous in plan.new_identities.items())
    for key, identifier in evidence.identifiers.items():
        if not identifier.stored:
            kind, _, value = key.partition(":")
            to = plan.identifiers[key]
            rows[cypher.IDENTIFIER_PARAMETERS[policy.kind(kind).label]].append(
                [key, kind, value, to.component, to.identity, to.shared, identifier.has_events]
            )
    for name in _news(evidence):
        record, placed = evidence.records[name], plan.records[name]
        if name.startswith("customer:") and not record.stored and record.live:
            key = split_name(name)[1]
            properties = _customer_properties(key, evidence.customers.get(name), record.digest, placed.component)
            known = _known(record.observed_at)
            rows["customers"].append([key, placed.identity, properties, known, links.of_new_customer(name)])
    return rows


def _news(evidence: Evidence) -> Iterable[RecordName]:
    """The records that are new, or of which there is a new version."""
    return {**evidence.changed, **evidence.customers}


def _statements(evidence: Evidence, plan: Plan, links: _Links) -> Iterator[tuple[str, Rows]]:
    """Each text with its rows, in an order in which every row finds what it refers to: what is new is there."""
    yield cypher.NAME_IDENTITIES, plan.named
    yield cypher.SPLIT_IDENTITIES, sorted(plan.split)
    yield cypher.ERASE_IDENTITIES, plan.erased
    yield from _placed_identifiers(evidence, plan)
    yield from _version_statements(evidence)
    yield from _customer_statements(evidence, plan)
    yield from _order_statements(evidence)
    yield from _standing_statements(evidence, plan, links)
    yield from links.statements()
    yield from _word_statements(evidence)
    yield from _event_statements(evidence)
    yield cypher.RETIRE_IDENTITIES, [[old, new, decision] for old, (new, decision) in plan.retired.items()]


def _placed_identifiers(evidence: Evidence, plan: Plan) -> Iterator[tuple[str, Rows]]:
    placed: dict[Label, Rows] = defaultdict(list)
    for key, state in evidence.identifiers.items():
        to = plan.identifiers[key]
        if state.label is not None and (state.component, state.identity, state.shared) != _as_stored(to):
            placed[state.label].append([key, to.component, to.identity, to.shared])
    for label in cypher.IDENTIFIER_LABELS:
        yield cypher.PLACE_IDENTIFIERS[label], placed[label]


def _as_stored(placement: Placement) -> tuple[str | None, str | None, bool]:
    return placement.component, placement.identity, placement.shared


def _version_statements(evidence: Evidence) -> Iterator[tuple[str, Rows]]:
    kept: dict[str, Rows] = defaultdict(list)
    for name in sorted(evidence.superseded):
        label, key = split_name(name)
        owner = evidence.orders[key].placed_by if label == "order" else None
        kept[label].append([key, owner and split_name(owner)[1]])
    for label in cypher.RECORD_LABELS:
        yield cypher.KEEP_VERSIONS[label], kept[label]


def _customer_statements(evidence: Evidence, plan: Plan) -> Iterator[tuple[str, Rows]]:
    """Customers that are new and gone already, and new versions of those that are not new."""
    nobodys: Rows = []
    described: Rows = []
    for name in _news(evidence):
        label, key = split_name(name)
        state = evidence.records[name]
        if label != "customer" or (state.live and not state.stored):
            continue
        if not state.stored:
            nobodys.append([key, key.partition(":")[0]])
        if name in evidence.customers:
            component = plan.records[name].component
            properties = _customer_properties(key, evidence.customers[name], state.digest, component)
            described.append([key, properties, state.observed_at])
    yield cypher.CREATE_NOBODYS["customer"], nobodys
    yield cypher.DESCRIBE_CUSTOMERS, described


def _standing_statements(evidence: Evidence, plan: Plan, links: _Links) -> Iterator[tuple[str, Rows]]:
    """Which identity stored records are members of, and which are nobody's."""
    marked: dict[str, Rows] = defaultdict(list)
    joined: dict[str, Rows] = defaultdict(list)
    parted: dict[str, Rows] = defaultdict(list)
    placed: dict[str, Rows] = defaultdict(list)
    moved: dict[str, Rows] = defaultdict(list)
    for name, state in evidence.records.items():
        label, key = split_name(name)
        to = plan.records[name]
        ended = state.ended or name in links.ended
        if ended != state.ended or (name in evidence.changed and state.deleted_at is not None):
            marked[label].append([key, state.deleted_at, ended])
        if state.identity is None:
            if to.identity is not None and (state.stored or label == "order"):
                joined[label].append([key, to.identity, to.component])
        elif to.identity is None:
            parted[label].append(key)
        else:
            if state.component != to.component:
                placed[label].append([key, to.component])
            if state.identity != to.identity:
                moved[label].append([key, to.identity])
    for label in cypher.RECORD_LABELS:
        yield cypher.MARK_RECORDS[label], marked[label]
        yield cypher.JOIN_RECORDS[label], joined[label]
        yield cypher.PART_RECORDS[label], parted[label]
        yield cypher.PLACE_RECORDS[label], placed[label]
        yield cypher.MOVE_RECORDS[label], moved[label]


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


def _order_statements(evidence: Evidence) -> Iterator[tuple[str, Rows]]:
    created: Rows = []
    described: Rows = []
    cleared: Rows = []
    lines: Rows = []
    products: dict[str, list[str]] = {}
    for key, order in evidence.placed.items():
        state = evidence.orders[key]
        row = [key, _order_properties(order, state), order.placed_at, order.observed_at]
        (described if state.stored else created).append(row)
        if state.stored:
            cleared.append(key)
        if order.lines:
            lines.append([key, list(_line_rows(order, products))])
    yield cypher.CREATE_ORDERS, created
    yield cypher.CREATE_NOBODYS["order"], _unknown_orders(evidence)
    yield cypher.CLEAR_ORDERS, sorted(cleared)
    yield cypher.DESCRIBE_ORDERS, described
    yield from _owner_statements(evidence)
    yield cypher.MERGE_PRODUCTS, [products[key] for key in sorted(products)]
    yield cypher.CREATE_LINES, lines
    yield (
        cypher.MERGE_REFUNDS,
        [[key, list(_refund_rows(key, refunds.values()))] for key, refunds in evidence.refunds.items()],
    )


def _unknown_orders(evidence: Evidence) -> Rows:
    """Orders of which nothing is known but that they were deleted."""
    return [
        [key, key.partition(":")[0]]
        for key, order in evidence.orders.items()
        if not order.stored and key not in evidence.placed
    ]


def _owner_statements(evidence: Evidence) -> Iterator[tuple[str, Rows]]:
    taken: Rows = []
    placed: dict[str, list[str]] = defaultdict(list)
    for key, order in evidence.orders.items():
        if order.placed_by == order.owner:
            continue
        if order.placed_by is not None:
            taken.append(key)
        if order.owner is not None:
            placed[split_name(order.owner)[1]].append(key)
    yield cypher.TAKE_ORDERS, taken
    yield cypher.PLACE_ORDERS, [[customer, orders] for customer, orders in placed.items()]


def _order_properties(order: Order, state: OrderState) -> dict[str, Any]:
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
        "digest": state.digest,
        "said": None if state.customer is None else sorted(map(_word, state.said)),
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


class _Links:
    """What becomes of the links of which anything new was said."""

    def __init__(self, evidence: Evidence, policy: Policy) -> None:
        self._evidence = evidence
        self._policy = policy
        self.ended: set[RecordName] = set()
        """Records with a link that holds no longer, or never held."""
        self._created: dict[RecordName, dict[Label, Rows]] = {}
        self._rows: dict[tuple[str, ...], Rows] = defaultdict(list)
        for (name, key), link in evidence.noted.items():
            if evidence.records[name].holds(link):
                self._hold(name, key, link)
            else:
                self._end(name, key, link)

    def of_new_customer(self, name: RecordName) -> list[Rows]:
        """The rows of a new customer's links, by identifier label: they are written with the customer."""
        created = self._created.pop(name, {})
        return [created.get(label, []) for label in cypher.IDENTIFIER_LABELS]

    def statements(self) -> Iterator[tuple[str, Rows]]:
        """The statements for all links but those of new customers."""
        rows = self._rows
        created: dict[tuple[str, Label], Rows] = defaultdict(list)
        for name, by_label in self._created.items():
            record, key = split_name(name)
            for label, links in by_label.items():
                created[record, label].append([key, links])
        for record in cypher.RECORD_LABELS:
            yield cypher.RESUME_LINKS[record], rows["resume", record]
        for pair, by_record in created.items():
            yield cypher.CREATE_LINKS[pair], by_record
        for record in cypher.RECORD_LABELS:
            yield cypher.UPDATE_LINKS[record], rows["update", record]
            yield cypher.END_LINKS[record], rows["end", record]
            yield cypher.UPDATE_ENDED[record], rows["update ended", record]
            for label in cypher.IDENTIFIER_LABELS:
                yield cypher.CREATE_ENDED[record, label], rows["create ended", record, label]

    def _hold(self, name: RecordName, key: LinkKey, link: LinkState) -> None:
        record = split_name(name)[0]
        if link.stored is False:
            self._rows["resume", record].append(_link_row(name, key, link))
        if not link.stored:
            identifier, source, assurance = key
            kind = kind_of(identifier)
            confidence = self._policy.base_confidence(kind, assurance, source)
            self._created.setdefault(name, {}).setdefault(self._policy.kind(kind).label, []).append(
                [*key, confidence, link.first_seen, link.last_seen, link.observations, link.stated_by]
            )
        if link.dirty if link.stored else _says_more(link):
            self._rows["update", record].append(_link_row(name, key, link))

    def _end(self, name: RecordName, key: LinkKey, link: LinkState) -> None:
        record, row = split_name(name)[0], _link_row(name, key, link)
        self.ended.add(name)
        if link.stored is None:
            label = self._evidence.identifiers[key[0]].label or self._policy.kind(kind_of(key[0])).label
            self._rows["create ended", record, label].append(row)
            return
        if link.dirty:
            self._rows["update" if link.stored else "update ended", record].append(row)
        if link.stored:
            self._rows["end", record].append(row)


def _says_more(link: LinkState) -> bool:
    """Whether a link needs more properties than a new one has."""
    sighted_apart = link.stated_by is not None and link.sighted_at != NEVER
    said = (link.ordered_at, link.withdrawn_at) != (NEVER, NEVER)
    return sighted_apart or said or link.refused is not None


def _link_row(name: RecordName, key: LinkKey, link: LinkState) -> Rows:
    sighted_at = None if link.stated_by is None else _known(link.sighted_at)
    return [
        *(split_name(name)[1], *key, None if link.first_seen == UNSEEN else link.first_seen, _known(link.last_seen)),
        *(link.observations, link.stated_by, sighted_at, _known(link.withdrawn_at), link.refused),
        _known(link.ordered_at),
    ]


def _word_statements(evidence: Evidence) -> Iterator[tuple[str, Rows]]:
    """What operators say of pairs of customers, each pair in the order of its keys."""
    bans = [(*_ends(ban), ban) for ban in evidence.new_bans]
    yield cypher.SET_MATCHES, [[*_ends(m), m.actor, m.reason, m.at] for m in evidence.new_matches]
    yield cypher.SET_BANS, [[a, b, ban.actor, ban.reason, ban.at, ban.expires_at] for a, b, ban in bans]
    yield cypher.SET_EXPIRIES, [[_pair_key(a, b), a, b, ban.at, ban.expires_at] for a, b, ban in bans]
    # An operator may have said anew, in the same commit, what had just ended.
    ended = [_ends(expiry) for expiry in evidence.expired if evidence.has_lapsed(expiry)]
    yield cypher.LAPSE_BANS, [[a, b, _pair_key(a, b)] for a, b in ended]


def _ends(word: OperatorMatch | OperatorBan | BanExpiry) -> tuple[str, str]:
    a, b = split_name(word.a)[1], split_name(word.b)[1]
    return (a, b) if a < b else (b, a)


def _pair_key(a: str, b: str) -> str:
    """The key of a pair of records. Keys may hold anything, so that only its length tells where the first one ends."""
    return f"{len(a)} {a} {b}"


def _event_statements(evidence: Evidence) -> Iterator[tuple[str, Rows]]:
    yield cypher.MARK_EVENTS, [key for key, v in evidence.identifiers.items() if v.events_dirty and v.stored]
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


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the log, locked until the transaction ends."""

    sequence: int
    hash: str
    at: Instant


def lock_log(tx: neo4j.Transaction, lock: str) -> Head:
    """The log's end; until the transaction is over no other one gets past this."""
    return Head(*tx.run(cypher.LOCK_LOG, lock=lock).single(strict=True))


def _append(
    tx: neo4j.Transaction, decisions: Sequence[Decision], policy_version: str, now: Instant, head: Head
) -> None:
    if not decisions:
        return
    sequence, previous = head.sequence, head.hash
    now = max(now, head.at)  # a clock may run backwards, the log never does
    rows = [log_row(d, number) for number, d in enumerate(decisions, start=sequence + 1)]
    sealed = seal(previous, rows, policy_version, now)
    tx.run(
        cypher.APPEND_DECISIONS,
        rows=_Unspelled(rows), sequence=sequence + len(rows), policy_version=policy_version, now=now,
        prev_hash=previous, hash=sealed,
    ).consume()  # fmt: skip


def log_row(decision: Decision, sequence: int) -> Rows:
    """All that a decision says, in the form that is stored and sealed."""
    members = [m.member for m in decision.moves]
    origins = [m.origin for m in decision.moves]
    identities = decision.identities
    return [
        decision.id, sequence, decision.kind.value, decision.actor, decision.reason, members, origins,
        identities[0] if identities else "", list(decision.causes), [*identities[:1], *sorted(identities[1:])],
    ]  # fmt: skip


def seal(previous: str, rows: Iterable[Sequence[Any]], policy_version: str, now: Instant) -> str:
    """SHA-256, in hexadecimal, over the previous commit's seal and everything this commit's decisions say."""
    content = json.dumps([previous, policy_version, now, list(rows)], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()
