"""Who lives in the made world: people with names, addresses, families, and a part in the story."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final

from onefold.graph.model import Instant, RecordName, customer_name
from onefold.service.demo import names
from onefold.v1 import record_pb2 as pb

CRM: Final = "crm"
WEB: Final = "webshop"
APP: Final = "app"
STORE: Final = "store"
SYSTEMS: Final = {CRM: 0.85, WEB: 0.75, APP: 0.45, STORE: 0.6}
"""How likely a person has a record in each."""

ROLE_MAILBOX: Final = "info@wharf-traders.example.com"
TEAM_MAILBOX: Final = "packing.room@wharf-traders.example.com"
MAILBOX_USERS: Final = 12

FEWEST: Final = 60
"""How many people the story needs for its cast."""


class Role(StrEnum):
    """A part in the story that is played by name."""

    STAR = "star"
    COUPLE = "couple"
    MOTHER = "mother"
    DAUGHTER = "daughter"
    BRIDE = "bride"
    COLLEAGUE = "colleague"
    EXTRA = "extra"


@dataclass(frozen=True, slots=True)
class Shopper:
    """A customer of the real order file."""

    source: str
    source_id: str
    ordered_at: tuple[Instant, ...]
    """When they ordered, ascending; never empty."""

    @property
    def key(self) -> pb.CustomerKey:
        """The record's key."""
        return pb.CustomerKey(source=self.source, source_id=self.source_id)

    @property
    def name(self) -> RecordName:
        """The record's name."""
        return customer_name(self.source, self.source_id)


@dataclass(slots=True)
class Person:
    """One made person, and what they tell a shop."""

    number: int
    shopper: Shopper
    given: str
    family: str
    city: str
    postal_code: str
    street: str
    born: date
    phone: str
    email: str
    is_member: bool
    systems: list[str]
    """Where they have a record, never empty."""
    role: Role = Role.EXTRA
    crm_email: str = ""
    """The email that the CRM has; their own, unless the story says otherwise."""
    web_email: str = ""
    """The email that the web shop has."""
    tablet: str = ""
    """A device of the household that others log in on too."""

    @property
    def member(self) -> str:
        """Their number in the loyalty programme, whether they have joined or not."""
        return f"M{100_000 + self.number}"

    def key_in(self, system: str) -> pb.CustomerKey:
        """The key of their record in a system."""
        return pb.CustomerKey(source=system, source_id=f"{system[0].upper()}{10_000 + self.number}")

    def name_in(self, system: str) -> RecordName:
        """The name of their record in a system."""
        return customer_name(system, self.key_in(system).source_id)


def populate(rng: random.Random, shoppers: Sequence[Shopper]) -> list[Person]:
    """A person for each shopper, with families, and the cast of the story."""
    phones = _phones(rng)
    taken: set[str] = set()
    people = [_person(rng, number, shopper, phones, taken) for number, shopper in enumerate(shoppers)]
    extras = _cast(rng, people)
    _found_families(rng, extras)
    for person in people:
        person.crm_email = person.crm_email or person.email
        person.web_email = person.web_email or person.email
    return people


def _person(
    rng: random.Random,
    number: int,
    shopper: Shopper,
    phones: dict[str, Iterator[str]],
    taken: set[str],
) -> Person:
    given, family = rng.choice(names.GIVEN), rng.choice(names.FAMILY)
    city, area, _ = rng.choice(names.CITIES)
    return Person(
        number=number,
        shopper=shopper,
        given=given,
        family=family,
        city=city,
        postal_code=f"{area}{rng.randint(1, 19)} {rng.randint(1, 9)}{''.join(rng.choices('ABDEFGHJLN', k=2))}",
        street=f"{rng.randint(1, 180)} {rng.choice(names.STREETS)}",
        born=date(1940, 1, 1) + timedelta(days=rng.randrange(55 * 365)),
        phone=next(phones[city]),
        email=_email(rng, given, family, taken),
        is_member=rng.random() < 0.75,
        systems=[s for s, share in SYSTEMS.items() if rng.random() < share] or [CRM],
    )


def _phones(rng: random.Random) -> dict[str, Iterator[str]]:
    """For each town its numbers in national form, each once, in random order."""
    return {
        city: iter([f"{begin} {last:04d}" for last in rng.sample(range(1000), 1000)]) for city, _, begin in names.CITIES
    }


def _email(rng: random.Random, given: str, family: str, taken: set[str]) -> str:
    form = rng.choice(("{g}.{f}", "{g}{f}", "{i}.{f}", "{f}.{g}"))
    local = form.format(g=given, f=family, i=given[0]).lower()
    domain = rng.choice(names.MAIL_DOMAINS)
    email = f"{local}@{domain}"
    while email in taken:
        email = f"{local}{rng.randint(2, 99)}@{domain}"
    taken.add(email)
    return email


def _cast(rng: random.Random, people: Sequence[Person]) -> list[Person]:
    """Give the parts that are played by name; the people that are left have none."""
    star = max(people, key=lambda person: (len(person.shopper.ordered_at), person.number))
    star.role, star.is_member, star.systems = Role.STAR, True, list(SYSTEMS)
    others = rng.sample([person for person in people if person is not star], len(people) - 1)
    anna, bert, mother, daughter, bride = others[:5]
    for one in (anna, bert):  # two members with one email: the member numbers keep them apart
        one.role, one.is_member, one.systems = Role.COUPLE, True, [CRM, STORE]
        one.crm_email = anna.email
    for one in (mother, daughter):  # nothing but the operator's word keeps these two apart
        one.is_member, one.systems, one.web_email = False, [CRM, WEB], daughter.email
    mother.role, daughter.role = Role.MOTHER, Role.DAUGHTER
    bride.role, bride.is_member, bride.systems = Role.BRIDE, False, [CRM, WEB]
    mailboxes = [ROLE_MAILBOX, TEAM_MAILBOX]
    colleagues = others[5 : 5 + MAILBOX_USERS * len(mailboxes)]
    for place, one in enumerate(colleagues):
        one.role, one.crm_email = Role.COLLEAGUE, mailboxes[place % len(mailboxes)]
        one.systems = sorted({CRM, *one.systems})
    return others[5 + len(colleagues) :]


def _found_families(rng: random.Random, people: Sequence[Person]) -> None:
    """One in eight lives in a family of two to four: one name, one address, one phone, perhaps one tablet."""
    left = list(people[: len(people) // 8])
    number = 0
    while len(left) >= 2:
        family = [left.pop() for _ in range(min(len(left), rng.choice((2, 2, 3, 4))))]
        number += 1
        tablet = f"tablet-{number:04d}" if rng.random() < 0.5 else ""
        for one in family:
            head = family[0]
            one.family, one.phone, one.tablet = head.family, head.phone, tablet
            one.city, one.postal_code, one.street = head.city, head.postal_code, head.street
