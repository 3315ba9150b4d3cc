"""Random items over a small, colliding key space, and the tools to ingest them with a fake clock."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import neo4j
import uuid_utils

from onefold.graph import schema
from onefold.graph.endpoint import Endpoint
from onefold.graph.ingest import Writer
from onefold.graph.model import (
    Assertion,
    Assurance,
    BanExpiry,
    Customer,
    Deletion,
    Event,
    IdentifierLink,
    Item,
    OperatorBan,
    OperatorMatch,
    Order,
    OrderLine,
    OwnItem,
    Withdrawal,
)
from onefold.graph.policy import Policy
from onefold.graph.reader import Reader
from onefold.graph.turns import turns_at
from tests.worlds import rules

NOW = 1_700_000_000_000
DAY = 86_400_000


def customer(name: str, *identifiers: str, at: int = NOW, assurance: str = "verified", **traits: str) -> Customer:
    """``customer("crm:1", "email:a@example.org")``"""
    source, _, source_id = name.partition(":")
    return Customer(source, source_id, at, tuple(Assertion(i, Assurance(assurance)) for i in identifiers), traits)


def order(
    name: str,
    *identifiers: str,
    of: str | None = None,
    at: int = NOW,
    placed: int | None = None,
    total: int = 5_000_000,
) -> Order:
    """``order("shop:1", of="crm:1")``; without ``of`` a guest order, and without ``placed`` one that was placed
    when it was observed."""
    source, _, order_id = name.partition(":")
    return Order(
        source,
        order_id,
        at if placed is None else placed,
        "GBP",
        total,
        "paid",
        at,
        f"customer:{of}" if of else None,
        tuple(Assertion(i, Assurance.VERIFIED) for i in identifiers),
        (OrderLine("mug", 1, total, "A mug"),),
    )


def event(name: str, *, of: str | None = None, on: str | None = None, at: int = NOW, type: str = "view") -> Event:
    """``event("web:1", on="device:d1")``"""
    source, _, event_id = name.partition(":")
    customer = f"customer:{of}" if of else None
    return Event(source, event_id, type, at, customer, on, Assurance.VERIFIED)


def writer(endpoint: Endpoint, driver: neo4j.Driver, policy: Policy | None = None) -> Writer:
    """A writer on an engine with its schema in place."""
    schema.ensure(driver, endpoint.database)
    turn = turns_at(endpoint)
    return Writer(driver, endpoint.database, policy or rules(), lambda: NOW, lambda: str(uuid_utils.uuid7()), turn)


def reader(of: Writer) -> Reader:
    """A reader of what the writer writes."""
    return Reader(of.driver, of.database, of.policy)


def stream(seed: int, count: int) -> Iterator[Item]:
    """Items of all kinds about few people, with repeats, corrections and operators' words."""
    rng = random.Random(seed)
    values = [f"{kind}:{i}" for kind in ("email", "phone", "device", "member") for i in range(5)]
    devices = [v for v in values if v.startswith("device")]
    customers = [f"{rng.choice(['crm', 'web', 'shop'])}:{i}" for i in range(max(4, count // 4))]
    known: set[str] = set()
    orders: list[str] = []
    for number in range(count):
        at = NOW - rng.randint(0, 40) * DAY
        who = rng.choice(customers)
        roll = rng.random()
        if roll < 0.45 or not known:
            known.add(who)
            yield customer(
                who,
                *rng.sample(values, rng.randint(0, 3)),
                at=at,
                assurance=rng.choice(["verified", "verified", "declared", "observed"]),
                full_name=f"Name {rng.randint(0, 2)}",
            )
        elif roll < 0.70:
            again = bool(orders) and rng.random() < 0.25
            orders.append(rng.choice(orders) if again else f"shop:{number}")
            if rng.random() < 0.65:
                yield order(orders[-1], *rng.sample(values, rng.randint(1, 2)), at=at)
            else:
                known.add(who)
                yield order(orders[-1], *rng.sample(values, rng.randint(0, 1)), of=who, at=at)
        elif roll < 0.74:
            source = rng.choice([who.split(":")[0], "web", "shop"])
            yield Withdrawal(source, f"customer:{who}", rng.choice(values), at)
        elif roll < 0.76:
            yield Deletion(f"order:{rng.choice(orders)}" if orders and rng.random() < 0.3 else f"customer:{who}", at)
        elif roll < 0.84:
            named = rng.random() < 0.4
            if named:
                known.add(who)
            yield event(f"web:{number}", of=who if named else None, on=rng.choice(devices), at=at)
        elif roll < 0.92:
            known.add(who)
            yield IdentifierLink(
                rng.choice(["web", "shop"]), f"customer:{who}", Assertion(rng.choice(values), Assurance.VERIFIED), at
            )
        else:
            a, b = rng.choice(sorted(known)), rng.choice(sorted(known))
            if a != b:
                word = OperatorMatch if roll < 0.96 else OperatorBan
                yield word(f"customer:{a}", f"customer:{b}", "ann", "they said so", at)


def upheavals(seed: int, count: int = 40) -> list[Item | OwnItem]:
    """Items about so few people and values that most of them collide, and a good part of which takes back what others
    say: corrections, orders that change hands or what they say, withdrawals, deletions, bans that end. Some orders come
    twice. No two words of operators are of one instant, and every ban's end comes after it."""
    rng = random.Random(seed)
    values = [f"{kind}:{i}" for kind, n in _FEW.items() for i in range(n)] + ["email:n/a"]
    customers = [f"{rng.choice(['crm', 'web', 'web', 'shop', 'shop'])}:{i}" for i in range(rng.randint(5, 9))]
    orders = [f"shop:o{i}" for i in range(6)]
    made: list[Item | OwnItem] = []
    for number in range(count):
        at, who = NOW + rng.randint(0, 12), rng.choice(customers)
        match rng.choices(range(10), (30, 22, 8, 12, 12, 8, 8, 4, 14, 3))[0]:
            case 0:
                some = rng.sample(values, rng.choice([0, 1, 1, 2, 2, 3]))
                assurance = rng.choice(["verified", "verified", "declared", "observed"])
                made.append(customer(who, *some, at=at, assurance=assurance, full_name=f"Name {rng.randint(0, 1)}"))
            case 1:
                some = rng.sample(values, rng.randint(1, 3))
                made.append(order(rng.choice(orders[:4]), *some, of=who if rng.random() < 0.3 else None, at=at))
            case 2:
                named = rng.random() < 0.5
                on = f"device:{rng.randrange(_FEW['device'])}"
                made.append(event(f"web:{number}", of=who if named else None, on=on, at=at))
            case 3:
                given = Assertion(rng.choice(values), rng.choice(list(Assurance)))
                made.append(IdentifierLink(rng.choice(["web", "shop"]), f"customer:{who}", given, at))
            case 4:
                made.append(_taken_back(rng, made, at) or Withdrawal("web", f"customer:{who}", rng.choice(values), at))
            case 5:
                gone = f"order:{rng.choice(orders)}" if rng.random() < 0.3 else f"customer:{who}"
                made.append(Deletion(gone, at))
            case 6:
                a, b = rng.sample(customers, 2)
                at, until = NOW + 100 + number, rng.choice([None, NOW + 200])
                if rng.random() < 0.5:
                    made.append(OperatorMatch(f"customer:{a}", f"customer:{b}", "ann", "they said so", at))
                else:
                    made.append(OperatorBan(f"customer:{a}", f"customer:{b}", "ann", "they said so", at, until))
            case 7:
                bans = [i for i in made if isinstance(i, OperatorBan) and i.expires_at is not None]
                if bans:
                    ban = rng.choice(bans)
                    made.append(BanExpiry(ban.a, ban.b, ban.at))
            case 8:
                some, buyer = rng.sample(values[:2], rng.randint(0, 2)), rng.choice(customers[:2])
                made.append(order(rng.choice(orders[3:]), *some, of=buyer, at=at, placed=NOW + rng.choice([0, 4, 8])))
            case 9:
                again = [i for i in made if isinstance(i, Order)]
                made.append(rng.choice(again) if again else Deletion(f"order:{rng.choice(orders)}", at))
    return made


_FEW = {"email": 3, "phone": 2, "device": 2, "member": 3}


def _taken_back(rng: random.Random, made: list[Item | OwnItem], at: int) -> Withdrawal | None:
    """A withdrawal of something that was said before."""
    said = [(i.source, i.name, a) for i in made if isinstance(i, Customer) for a in i.assertions]
    said += [(i.source, i.customer, i.assertion) for i in made if isinstance(i, IdentifierLink)]
    if not said:
        return None
    source, record, assertion = rng.choice(said)
    return Withdrawal(source, record, assertion.identifier, at)


def tell(
    items: Sequence[Item | OwnItem],
    rng: random.Random,
    commit: Callable[[Sequence[Item | OwnItem]], Sequence[bool | None]],
) -> Iterator[list[Item | OwnItem]]:
    """Commits the items in random order and batches; after each commit, all that was said by then.

    ``commit`` says of each item whether it was new, None if it was refused. A word on somebody unknown is said again at
    the end, and so is the end of a ban that was not there yet.
    """
    left, said, later = rng.sample(items, len(items)), [], []
    while left:
        size = rng.choice([1, 1, 2, 5, 20])
        batch, left = left[:size], left[size:]
        for item, new in zip(batch, commit(batch), strict=True):
            unheard = new is None or (isinstance(item, BanExpiry) and not new)
            (later if unheard else said).append(item)
        yield said
    later.sort(key=lambda item: isinstance(item, BanExpiry))
    said += [item for item in later if commit([item]) != [None]]
    yield said


def batches(items: list[Item], seed: int) -> Iterator[list[Item]]:
    """The items in batches of random size."""
    rng = random.Random(seed)
    while items:
        size = rng.choice([1, 1, 2, 5, 20])
        yield items[:size]
        items = items[size:]
