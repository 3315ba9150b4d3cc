"""What happens in the made world: the records, visits and orders that its people leave in a shop's systems."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

from onefold.graph.model import Instant, RecordName, order_name
from onefold.service.convert import date_to_proto, money_to_proto, timestamp_to_proto
from onefold.service.demo.people import APP, CRM, STORE, WEB, Person, Role
from onefold.v1 import record_pb2 as pb

MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

KIOSK: Final = "kiosk-market-place-1"
REGION: Final = "GB"
CURRENCY: Final = "GBP"

PAGES: Final = ("page_view", "page_view", "page_view", "search", "product_view", "product_view", "cart_add")
GUEST_PRODUCTS: Final = (
    ("22423", "REGENCY CAKESTAND 3 TIER", 12_750_000),
    ("85123A", "WHITE HANGING HEART T-LIGHT HOLDER", 2_950_000),
    ("47566", "PARTY BUNTING", 4_950_000),
    ("20725", "LUNCH BAG RED RETROSPOT", 1_650_000),
    ("84879", "ASSORTED COLOUR BIRD ORNAMENT", 1_690_000),
)


class Story:
    """Collects what happens, and who each record really is."""

    def __init__(self, rng: random.Random, people: Sequence[Person], end: Instant) -> None:
        self.truth: dict[RecordName, str] = {}
        self._rng = rng
        self._people = people
        self._end = end
        self._entries: list[tuple[Instant, pb.Item]] = []
        self._users: defaultdict[str, set[str]] = defaultdict(set)
        self._anonymous: Counter[str] = Counter()
        self._events = 0

    def tell(self) -> None:
        """Let everything happen."""
        for person in self._people:
            for system in person.systems:
                self._record(person, system)
            self._name_customer_number(person)
            cookies = self._browse(person) if WEB in person.systems else []
            if APP in person.systems:
                self._use_app(person)
            if person.role is Role.STAR or self._rng.random() < 0.25:
                self._buy_as_guest(person, cookies)
        self._strangers(len(self._people) // 5)
        self._operators()

    def items(self) -> list[pb.Item]:
        """What happened, in the order of its time."""
        return [item for _, item in sorted(self._entries, key=lambda entry: entry[0])]

    def anonymous_events(self) -> int:
        """Events that name no customer, on a device that one person, and nobody else, has logged in on."""
        return sum(count for device, count in self._anonymous.items() if len(self._users[device]) == 1)

    # -- records

    def _record(self, person: Person, system: str) -> None:
        identifiers, traits = {
            CRM: self._in_crm,
            WEB: self._in_webshop,
            APP: self._in_app,
            STORE: self._in_store,
        }[system](person)
        at = self._around_first_order(person)
        self.truth[person.name_in(system)] = person.shopper.name
        self._add(
            at,
            pb.Item(
                customer=pb.Customer(
                    key=person.key_in(system),
                    identifiers=identifiers,
                    traits=traits,
                    region=REGION,
                    observe_time=timestamp_to_proto(at),
                )
            ),
        )

    def _in_crm(self, person: Person) -> tuple[list[pb.Identifier], pb.Traits]:
        if person.role is Role.BRIDE:  # under her old name, from an old address book
            old = f"{person.given}.maiden@old.example.org".lower()
            return [_declared("email", old)], pb.Traits(given_name=person.given, city=person.city)
        found = [_declared("email", self._typed_email(person.crm_email, 0.04))]
        if self._rng.random() < 0.8:
            found.append(_declared("phone", self._typed_phone(person.phone)))
        if person.is_member:
            found.append(_verified("member", person.member))
        return found, pb.Traits(
            full_name=f"{person.given} {person.family}",
            given_name=person.given,
            family_name=person.family,
            birth_date=date_to_proto(person.born),
            street_address=person.street,
            postal_code=person.postal_code,
            city=person.city,
            country=REGION,
            language="en-GB",
        )

    def _in_webshop(self, person: Person) -> tuple[list[pb.Identifier], pb.Traits]:
        found = [_verified("email", person.web_email)]
        if self._rng.random() < 0.6 or person.role is Role.MOTHER:
            found.append(_declared("phone", self._typed_phone(person.phone)))
        name = person.given if self._rng.random() < 0.9 else person.given[0]
        return found, pb.Traits(full_name=f"{name} {person.family}", language="en-GB")

    def _in_app(self, person: Person) -> tuple[list[pb.Identifier], pb.Traits]:
        found = [_verified("email", person.email)]
        if person.is_member:
            found.append(_declared("member", person.member.lower()))
        return found, pb.Traits(given_name=person.given, city=person.city)

    def _in_store(self, person: Person) -> tuple[list[pb.Identifier], pb.Traits]:
        chance = self._rng.random()
        phone = "00000000000" if chance < 0.03 else self._typed_phone(person.phone)
        found = [_declared("phone", phone)]
        if person.is_member:
            card = person.member
            if self._rng.random() < 0.015:  # read out and typed, with a wrong last digit
                card = card[:-1] + self._rng.choice([digit for digit in "0123456789" if digit != card[-1]])
                found.append(_declared("member", card))
            else:
                found.append(_verified("member", f"{card[0]}-{card[1:4]} {card[4:]}"))
        if self._rng.random() < 0.4:
            typed = "n/a" if self._rng.random() < 0.1 else self._typed_email(person.email, 0.08)
            found.append(_declared("email", typed))
        tier = "gold" if len(person.shopper.ordered_at) >= 10 else "silver"
        return found, pb.Traits(
            family_name=person.family, city=person.city, loyalty_tier=tier if person.is_member else ""
        )

    def _name_customer_number(self, person: Person) -> None:
        """A system says which customer of the order file is theirs."""
        teller = person.systems[0]
        own_email = {CRM: person.crm_email, WEB: person.web_email}.get(teller, person.email)
        if person.role in {Role.BRIDE, Role.COLLEAGUE}:  # what their CRM has is not theirs alone
            teller, own_email = WEB, person.email
        if person.is_member and teller in {CRM, STORE}:
            identifier = _verified("member", person.member)
        else:
            identifier = _declared("email", own_email)
        self._add(
            person.shopper.ordered_at[0],
            pb.Item(
                link=pb.IdentifierLink(
                    source=teller,
                    customer=person.shopper.key,
                    identifier=identifier,
                    observe_time=timestamp_to_proto(person.shopper.ordered_at[0]),
                )
            ),
        )

    # -- visits and orders

    def _browse(self, person: Person) -> list[str]:
        """Visits in one to three browsers, anonymous until the log-in; the browsers' cookies."""
        rng = self._rng
        cookies = [self._cookie() for _ in range(rng.choice((1, 1, 2, 3)))]
        for cookie in cookies:
            log_in = self._while_customer(person)
            device = _observed("cookie", cookie)
            for _ in range(rng.randint(2 if person.role is Role.STAR else 0, 8)):
                self._event(WEB, rng.choice(PAGES), log_in - rng.randrange(MINUTE, 90 * DAY), device)
            self._log_in(person, WEB, log_in, "cookie", cookie)
            for _ in range(rng.randint(0, 3)):
                at = min(log_in + rng.randrange(MINUTE, HOUR), self._end)
                self._event(WEB, rng.choice(PAGES), at, device, person)
        if rng.random() < 0.2:
            self._log_in(person, STORE, self._while_customer(person), "device", KIOSK)
            self._event(STORE, "product_view", self._while_customer(person), _observed("device", KIOSK))
        if person.tablet:
            self._log_in(person, WEB, self._while_customer(person), "device", person.tablet)
            tablet = _observed("device", person.tablet)
            self._event(WEB, rng.choice(PAGES), self._while_customer(person), tablet)
        return cookies

    def _use_app(self, person: Person) -> None:
        install = f"{self._rng.getrandbits(64):016X}"
        log_in = self._while_customer(person)
        for _ in range(self._rng.randint(0, 4)):
            at = log_in - self._rng.randrange(MINUTE, 20 * DAY)
            self._event(APP, "app_open", at, _observed("device", install.lower()))
        self._log_in(person, APP, log_in, "device", install)

    def _buy_as_guest(self, person: Person, cookies: Sequence[str]) -> None:
        rng = self._rng
        # An hour after an order of theirs: a day on which they bought anyway.
        at = rng.choice(person.shopper.ordered_at) + rng.randrange(10 * MINUTE, 90 * MINUTE)
        identifiers = [_declared("email", self._typed_email(person.email, 0.03))]
        if rng.random() < 0.5:
            identifiers.append(_declared("phone", self._typed_phone(person.phone)))
        if cookies and rng.random() < 0.6:
            identifiers.append(_observed("cookie", rng.choice(cookies)))
        key = pb.OrderKey(source=WEB, order_id=f"G{20_000 + person.number}")
        self.truth[order_name(key.source, key.order_id)] = person.shopper.name
        lines = [
            pb.OrderLine(
                sku=sku,
                name=name,
                quantity=rng.randint(1, 3),
                unit_price=money_to_proto(price, CURRENCY),
            )
            for sku, name, price in rng.sample(GUEST_PRODUCTS, rng.randint(1, 3))
        ]
        self._add(
            at,
            pb.Item(
                order=pb.Order(
                    key=key,
                    identifiers=identifiers,
                    region=REGION,
                    place_time=timestamp_to_proto(at),
                    status=pb.ORDER_STATUS_DELIVERED,
                    currency_code=CURRENCY,
                    lines=lines,
                    channel="web",
                    payment_method="card",
                )
            ),
        )

    def _strangers(self, count: int) -> None:
        """Visitors who never say who they are."""
        begin = min(person.shopper.ordered_at[0] for person in self._people)
        for _ in range(count):
            device = _observed("cookie", self._cookie())
            arrival = self._rng.randint(begin, self._end)
            for page in range(self._rng.randint(1, 4)):
                at = min(arrival + page * MINUTE, self._end)
                self._event(WEB, self._rng.choice(PAGES), at, device)

    def _operators(self) -> None:
        by_role = {person.role: person for person in self._people}
        bride, mother, daughter = by_role[Role.BRIDE], by_role[Role.MOTHER], by_role[Role.DAUGHTER]
        ban = pb.OperatorBan(
            a=mother.key_in(WEB),
            b=daughter.key_in(WEB),
            actor="operator:ines",
            reason="mother signed up with her daughter's email; both called",
            create_time=timestamp_to_proto(self._end),
        )
        match = pb.OperatorMatch(
            a=bride.key_in(CRM),
            b=bride.shopper.key,
            actor="operator:ines",
            reason="married, new name and email; marriage certificate seen",
            create_time=timestamp_to_proto(self._end),
        )
        self._add(self._end, pb.Item(ban=ban))
        self._add(self._end, pb.Item(match=match))

    # -- small things

    def _add(self, at: Instant, item: pb.Item) -> None:
        self._entries.append((at, item))

    def _event(
        self,
        source: str,
        type_: str,
        at: Instant,
        device: pb.Identifier,
        person: Person | None = None,
    ) -> None:
        self._events += 1
        if person is None:
            self._anonymous[_device(device)] += 1
        else:
            self._users[_device(device)].add(person.shopper.name)
        event = pb.Event(
            source=source,
            event_id=f"E{self._events:06d}",
            type=type_,
            event_time=timestamp_to_proto(at),
            customer=None if person is None else person.key_in(APP if source == APP else WEB),
            device=device,
            channel={WEB: "web", APP: "app", STORE: "store"}[source],
        )
        self._add(at, pb.Item(event=event))

    def _log_in(self, person: Person, source: str, at: Instant, kind: str, device: str) -> None:
        self._event(source, "login", at, _verified(kind, device), person)

    def _around_first_order(self, person: Person) -> Instant:
        first = person.shopper.ordered_at[0]
        return min(first + self._rng.randrange(-30 * DAY, 60 * DAY), self._end)

    def _while_customer(self, person: Person) -> Instant:
        return self._rng.randint(person.shopper.ordered_at[0], self._end)

    def _cookie(self) -> str:
        return f"ck.{self._rng.getrandbits(80):020x}"

    def _typed_email(self, email: str, errors: float) -> str:
        """An email as somebody types it: now and then with two letters swapped, one lost, or one doubled."""
        rng = self._rng
        if rng.random() >= errors:
            return email.upper() if rng.random() < 0.05 else email
        local, _, domain = email.partition("@")
        place = rng.randrange(len(local) - 1)
        error = rng.choice(
            (
                local[:place] + local[place + 1] + local[place] + local[place + 2 :],
                local[:place] + local[place + 1 :],
                local[: place + 1] + local[place:],
            )
        )
        return f"{error.strip('.').replace('..', '.')}@{domain}"

    def _typed_phone(self, phone: str) -> str:
        """A phone number in one of the forms that people write."""
        area, rest = phone.split(" ", 1)
        return self._rng.choice((phone, f"({area}) {rest}", f"+44 {phone[1:]}", phone.replace(" ", "")))


def _device(identifier: pb.Identifier) -> str:
    return f"{identifier.kind}:{identifier.value.lower()}"


def _verified(kind: str, value: str) -> pb.Identifier:
    return pb.Identifier(kind=kind, value=value, assurance=pb.ASSURANCE_VERIFIED)


def _declared(kind: str, value: str) -> pb.Identifier:
    return pb.Identifier(kind=kind, value=value, assurance=pb.ASSURANCE_DECLARED)


def _observed(kind: str, value: str) -> pb.Identifier:
    return pb.Identifier(kind=kind, value=value, assurance=pb.ASSURANCE_OBSERVED)
