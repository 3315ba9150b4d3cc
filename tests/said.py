"""What a set of items says, whatever their order: the slow oracle of the evidence that is folded in one by one.

Nothing here is shared with :mod:`onefold.graph.evidence` but the digest that decides between two versions of one
instant.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from onefold.graph.evidence import NEVER, _customer_digest, _order_digest
from onefold.graph.model import (
    Assertion,
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
    RecordName,
    Withdrawal,
)
from onefold.graph.resolve import Ban, Edges, Link, Match


class _Version(NamedTuple):
    observed_at: Instant
    digest: str
    customer: RecordName | None = None
    """Whose order it is; None for a guest order and for a customer."""
    said: frozenset[Assertion] = frozenset()
    placed_at: Instant = NEVER


class _Sight(NamedTuple):
    record: RecordName
    assertion: Assertion
    source: str
    at: Instant
    stated: bool
    """By a version of the record, whose latest alone counts; else by an order, or by anything else, which stays."""
    order: RecordName | None = None
    """The order of the record's that says so, while it is there and its latest version does."""


@dataclass(frozen=True, slots=True)
class Said:
    """All that holds."""

    edges: Edges
    bans: list[Ban]
    devices: frozenset[IdentifierKey]
    """Devices on which something happened."""
    events: frozenset[str]
    digests: dict[RecordName, str]
    """Of the latest version of each customer and order."""
    placed: dict[RecordName, RecordName]
    """Orders that are there, and whose they are."""


def said(items: Iterable[Item | OwnItem]) -> Said:
    """What these items say together. An operator's words are taken to be about known records, and the end of a ban to
    have been told after the ban."""
    items = list(items)
    sights = [sight for item in items for sight in _sights(item)]
    latest = _latest_versions(items)
    deleted_at = _latest((item.record, item.at) for item in items if isinstance(item, Deletion))
    withdrawn_at = _latest(
        ((item.customer, item.identifier, item.source), item.at) for item in items if isinstance(item, Withdrawal)
    )

    placed = {
        record: version.customer
        for record, version in latest.items()
        if version.customer is not None and version.observed_at > deleted_at.get(record, NEVER)
    }

    def lives(record: RecordName) -> bool:
        version = latest.get(record, _NONE)
        return version.customer is None and version.observed_at > deleted_at.get(record, NEVER - 1)

    def holds(sight: _Sight) -> bool:
        version = latest.get(sight.record, _NONE)
        if sight.order is not None:
            order = latest[sight.order]
            if (sight.record, True) != (placed.get(sight.order), sight.assertion in order.said):
                return False
            at = order.placed_at
        elif not sight.stated:
            at = sight.at
        elif sight.assertion in version.said:
            at = version.observed_at
        else:
            return False
        withdrawn = withdrawn_at.get((sight.record, sight.assertion.identifier, sight.source), NEVER)
        return lives(sight.record) and at > max(withdrawn, deleted_at.get(sight.record, NEVER))

    first_seen: dict[tuple[RecordName, Assertion, str], Instant] = {}
    for sight in sights:
        key = sight[:3]
        first_seen[key] = min(sight.at, first_seen.get(key, sight.at))
    records = {record for item in items if (record := _spoken_of(item)) and lives(record)}
    return Said(
        Edges(
            links=[
                Link(
                    record,
                    assertion.identifier,
                    source,
                    assertion.assurance.value,
                    first_seen[record, assertion, source],
                )
                for record, assertion, source in {sight[:3] for sight in sights if holds(sight)}
            ],
            matches=[Match(*pair, at) for pair, at in _matches(items).items() if records.issuperset(pair)],
            records=records,
        ),
        bans=_standing_bans(items),
        devices=frozenset(i.device for i in items if isinstance(i, Event) and i.device and i.customer is None),
        events=frozenset(i.key for i in items if isinstance(i, Event)),
        digests={record: version.digest for record, version in latest.items()},
        placed=placed,
    )


_NONE = _Version(NEVER, "")


def _sights(item: Item | OwnItem) -> Iterable[_Sight]:
    match item:
        case Customer():
            return [_Sight(item.name, a, item.source, item.observed_at, True) for a in item.assertions]
        case Order(customer=None):
            return [_Sight(item.name, a, item.source, item.placed_at, True) for a in item.assertions]
        case Order(customer=str(customer)):
            return [_Sight(customer, a, item.source, item.placed_at, False, item.name) for a in item.assertions]
        case Event(customer=str(customer), device=str(device)):
            return [_Sight(customer, Assertion(device, item.assurance), item.source, item.at, False)]
        case IdentifierLink():
            return [_Sight(item.customer, item.assertion, item.source, item.at, False)]
    return []


def _spoken_of(item: Item | OwnItem) -> RecordName | None:
    """The record that an item says to be one."""
    match item:
        case Customer():
            return item.name
        case Order():
            return item.customer or item.name
        case Event() | IdentifierLink():
            return item.customer
    return None


def _latest_versions(items: Iterable[Item | OwnItem]) -> dict[RecordName, _Version]:
    versions: dict[RecordName, list[_Version]] = defaultdict(list)
    for item in items:
        if isinstance(item, Customer):
            version = _Version(item.observed_at, _customer_digest(item), None, frozenset(item.assertions))
        elif isinstance(item, Order):
            version = _Version(
                item.observed_at, _order_digest(item), item.customer, frozenset(item.assertions), item.placed_at
            )
        else:
            continue
        versions[item.name].append(version)
    return {record: max(known, key=lambda v: v[:2]) for record, known in versions.items()}


def _latest(dated: Iterable[tuple[object, Instant]]) -> dict[object, Instant]:
    latest: dict[object, Instant] = {}
    for what, at in dated:
        latest[what] = max(at, latest.get(what, at))
    return latest


def _matches(items: Iterable[Item | OwnItem]) -> dict[tuple[RecordName, RecordName], Instant]:
    first: dict[tuple[RecordName, RecordName], Instant] = {}
    for item in items:
        if isinstance(item, OperatorMatch):
            a, b = sorted((item.a, item.b))
            first[a, b] = min(item.at, first.get((a, b), item.at))
    return first


def _standing_bans(items: Iterable[Item | OwnItem]) -> list[Ban]:
    latest: dict[tuple[RecordName, ...], tuple[Instant, float]] = {}
    ended = {(*sorted((i.a, i.b)), i.said_at) for i in items if isinstance(i, BanExpiry)}
    for item in items:
        if isinstance(item, OperatorBan):
            pair = tuple(sorted((item.a, item.b)))
            until = float("inf") if item.expires_at is None else item.expires_at
            latest[pair] = max((item.at, until), latest.get(pair, (item.at, until)))
    return [Ban(*pair, at) for pair, (at, until) in latest.items() if until == float("inf") or (*pair, at) not in ended]
