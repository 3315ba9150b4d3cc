"""A made world of people around real orders: what five systems of a shop would know of them, and the truth.

Each made person is one customer of the real order file. They have a record in the CRM, the web shop, the app, or the
stores, often with an error; the CRM says which customer number of the order file is theirs. What makes it hard is
what makes it hard in shops:

* **families** with one phone, some with one email, some with one tablet that several log in on;
* a **kiosk** in the store that hundreds log in on;
* **typing errors** in emails and member numbers, and clerks who type ``n/a``;
* **guest checkouts**: orders with an email, perhaps a phone, and no account;
* **anonymous visits** before a log-in, and visitors who never log in;
* **company mailboxes**: one that says by its name that it is read by many, one that doesn't;
* a mother who signed up with her daughter's email, whom an **operator** has told apart for good, and a bride whose
  records share nothing, whom an operator has told to be one.

Nothing here knows the future: visits are spread over the time in which their person is a customer without regard to
their orders, and guest orders are placed on days on which the person bought anyway, so that churn can't be learned from
the made part.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from onefold.graph.model import IdentifierKey, Instant, RecordName
from onefold.service.convert import parse_timestamp
from onefold.service.demo.people import FEWEST, Role, Shopper, populate
from onefold.service.demo.story import KIOSK, Story
from onefold.v1 import record_pb2 as pb

PERSONS: Final = 1500


@dataclass(frozen=True, slots=True)
class Cast:
    """Who to look at in the story."""

    star: RecordName
    """The record of a person with everything: all systems, visits before log-in, a guest order."""
    couple: tuple[RecordName, RecordName]
    """Two members with one email."""
    banned: tuple[RecordName, RecordName]
    """Two records with one verified email that an operator has told apart."""
    matched: tuple[RecordName, RecordName]
    """Two records that have nothing in common, and that an operator has told to be one."""
    kiosk: IdentifierKey
    """The device that hundreds log in on."""


@dataclass(frozen=True, slots=True)
class World:
    """The made part: what is to be ingested beside the real orders, and what is true."""

    items: list[pb.Item]
    """In the order of their time."""
    truth: Mapping[RecordName, str]
    """Who each record is; a real customer without a made person is itself."""
    cast: Cast
    anonymous_events: int
    """Events that name no customer, on a device that one person, and nobody else, has logged in on."""


def shoppers(items: Iterable[pb.Item]) -> list[Shopper]:
    """The customers that have orders among some items, by key."""
    ordered: defaultdict[tuple[str, str], list[Instant]] = defaultdict(list)
    for item in items:
        if item.HasField("order") and item.order.HasField("customer"):
            key = item.order.customer
            ordered[key.source, key.source_id].append(parse_timestamp(item.order.place_time))
    return [Shopper(source, key, tuple(sorted(at))) for (source, key), at in sorted(ordered.items())]


def world(customers: Sequence[Shopper], seed: int = 1, persons: int = PERSONS) -> World:
    """The world around some customers: the same for the same customers, seed and number of persons.

    At most ``persons`` of them become a made person. Raises ValueError when that is too few for the cast.
    """
    persons = min(persons, len(customers))
    if persons < FEWEST:
        raise ValueError(f"a world needs at least {FEWEST} customers with orders")
    rng = random.Random(seed)
    people = populate(rng, sorted(rng.sample(customers, persons), key=lambda shopper: shopper.name))
    story = Story(rng, people, end=max(shopper.ordered_at[-1] for shopper in customers))
    story.tell()
    by_role = {person.role: person for person in people}
    couple = [person.name_in("crm") for person in people if person.role is Role.COUPLE]
    mother, daughter, bride = by_role[Role.MOTHER], by_role[Role.DAUGHTER], by_role[Role.BRIDE]
    return World(
        items=story.items(),
        truth={shopper.name: shopper.name for shopper in customers} | story.truth,
        cast=Cast(
            star=by_role[Role.STAR].shopper.name,
            couple=(couple[0], couple[1]),
            banned=(mother.name_in("webshop"), daughter.name_in("webshop")),
            matched=(bride.name_in("crm"), bride.shopper.name),
            kiosk=f"device:{KIOSK}",
        ),
        anonymous_events=story.anonymous_events(),
    )
