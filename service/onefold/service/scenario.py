"""Stories with a known end: who comes, what is known of them, and who is who at the end under a policy.

A scenario is a YAML file that an expert of the trade can read and write; ``docs/policy.md`` documents it. Its items
are sent as a client sends them (:func:`messages`) or decided right here, without a graph (:func:`tell`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, PrivateAttr, Tag, model_validator

from onefold.graph import document
from onefold.graph.errors import InvalidInput, Violation
from onefold.graph.evidence import Evidence
from onefold.graph.model import (
    TRAITS,
    Event,
    IdentifierKey,
    Instant,
    Item,
    RecordName,
    split_name,
)
from onefold.graph.policy import Policy, Source, SourceRule
from onefold.graph.resolve import Partition, Refusal, resolve
from onefold.service import convert, wire
from onefold.v1 import record_pb2

START: Final = 1_640_995_200
"""Day 0 of every story, 2022-01-01, in seconds since the epoch: early enough for the longest story to have ended."""

_DAY: Final = 86_400


# -- the file --------------------------------------------------------------------------------------------------------


def _split_by_colon(form: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        before, _, after = text.partition(":")
        if not before or not after:
            raise ValueError(f"must be {form}")
        return text

    return check


def _text_trait(name: str) -> str:
    if TRAITS.get(name) is not str:
        raise ValueError(f"must be one of {', '.join(trait for trait, kind in TRAITS.items() if kind is str)}")
    return name


Key = Annotated[str, AfterValidator(_split_by_colon("source:id, such as crm:17"))]
"""A customer's, an order's or an event's key: its source and the source's id of it."""

Identifier = Annotated[str, AfterValidator(_split_by_colon("kind:value, such as email:ann@example.org"))]
"""An identifier as a source writes it."""

Record = Annotated[str, Field(pattern=r"^(customer|order):[^:]+:.+$")]
"""A record by its name: ``customer:crm:17``, ``order:web:9``."""

Day = Annotated[int, Field(strict=True, ge=0, le=1500)]
"""Days since the story's start."""

Words = Annotated[str, Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Happening(_Part):
    day: Day = 0

    @property
    def at(self) -> Timestamp:
        return _timestamp(self.day)

    @property
    def last_day(self) -> int:
        """The last day on which it makes a difference."""
        return self.day


class _Identified(_Happening):
    """What comes with identifiers, under the ways in which they became known."""

    verified: tuple[Identifier, ...] = ()
    declared: tuple[Identifier, ...] = ()
    observed: tuple[Identifier, ...] = ()

    def identifiers(self) -> Iterator[record_pb2.Identifier]:
        """All of them, as a client gives them."""
        for assurance, texts in (
            ("verified", self.verified),
            ("declared", self.declared),
            ("observed", self.observed),
        ):
            for text in texts:
                yield _identifier(text, assurance)


class CustomerItem(_Identified):
    """A customer record. The same customer on a later day is the record's new version."""

    customer: Key
    traits: dict[Annotated[str, AfterValidator(_text_trait)], str] = {}

    def messages(self) -> Iterator[record_pb2.Item]:
        """The item as a client sends it."""
        yield record_pb2.Item(
            customer=record_pb2.Customer(
                key=customer_key(self.customer),
                identifiers=self.identifiers(),
                traits=record_pb2.Traits(**self.traits),  # type: ignore[arg-type]
                observe_time=self.at,
            )
        )


class OrderItem(_Identified):
    """An order: of a customer, or a guest order that is a record itself."""

    order: Key
    customer: Key | None = None

    def messages(self) -> Iterator[record_pb2.Item]:
        """The item as a client sends it."""
        yield record_pb2.Item(
            order=record_pb2.Order(
                key=order_key(self.order),
                customer=customer_key(self.customer) if self.customer else None,
                identifiers=self.identifiers(),
                place_time=self.at,
                status=record_pb2.ORDER_STATUS_PAID,
                currency_code="EUR",
            )
        )


class EventItem(_Happening):
    """A page view on a device, of a customer who is logged in or of nobody yet."""

    event: Key
    device: Identifier | None = None
    customer: Key | None = None
    assurance: Literal["verified", "declared", "observed"] = "observed"

    def messages(self) -> Iterator[record_pb2.Item]:
        """The item as a client sends it."""
        source, _, event_id = self.event.partition(":")
        yield record_pb2.Item(
            event=record_pb2.Event(
                source=source,
                event_id=event_id,
                type="page_view",
                event_time=self.at,
                device=_identifier(self.device, self.assurance) if self.device else None,
                customer=customer_key(self.customer) if self.customer else None,
            )
        )


class LinkItem(_Identified):
    """What another source knows of a customer's identifiers."""

    link: Key
    source: Source

    def messages(self) -> Iterator[record_pb2.Item]:
        """The item as a client sends it: a message for each identifier."""
        for identifier in self.identifiers():
            yield record_pb2.Item(
                link=record_pb2.IdentifierLink(
                    source=self.source, customer=customer_key(self.link), identifier=identifier, observe_time=self.at
                )
            )


class MatchItem(_Happening):
    """An operator's word that two customers are one person."""

    match: tuple[Key, Key]
    by: Words
    why: Words

    def messages(self) -> Iterator[record_pb2.Item]:
        """The item as a client sends it."""
        a, b = map(customer_key, self.match)
        word = record_pb2.OperatorMatch(a=a, b=b, actor=self.by, reason=self.why, create_time=self.at)
        yield record_pb2.Item(match=word)


class BanItem(_Happening):
    """An operator's word that two customers are never one person, or not until a day of the story."""

    ban: tuple[Key, Key]
    by: Words
    why: Words
    until: Day | None = None

    @property
    def last_day(self) -> int:
        """The day on which it ends, for a ban that does."""
        return self.day if self.until is None else self.until

    def messages(self) -> Iterator[record_pb2.Item]:
        """The item as a client sends it."""
        a, b = map(customer_key, self.ban)
        expires = None if self.until is None else _timestamp(self.until)
        yield record_pb2.Item(
            ban=record_pb2.OperatorBan(
                a=a, b=b, actor=self.by, reason=self.why, create_time=self.at, expire_time=expires
            )
        )


class WithdrawItem(_Happening):
    """A source's word that a customer no longer has some identifiers."""

    withdraw: Key
    identifiers: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    source: Source | None = None
    """Who takes its word back; without it, the customer's own source."""

    def messages(self) -> Iterator[record_pb2.Item]:
        """The item as a client sends it: a message for each identifier."""
        customer = customer_key(self.withdraw)
        for text in self.identifiers:
            yield record_pb2.Item(
                withdrawal=record_pb2.Withdrawal(
                    source=self.source or customer.source,
                    customer=customer,
                    identifier=_identifier(text, "unspecified"),
                    withdraw_time=self.at,
                )
            )


class DeleteItem(_Happening):
    """A source's word that it deleted a customer or an order."""

    delete: Record

    def messages(self) -> Iterator[record_pb2.Item]:
        """The item as a client sends it."""
        yield record_pb2.Item(deletion=record_pb2.Deletion(record=record_key(self.delete), delete_time=self.at))


_KINDS_OF_ITEM: Final = ("order", "event", "link", "match", "ban", "withdraw", "delete", "customer")
"""Words that say what an item is. An order and an event may name a customer, too, so that one comes last."""


def _kind_of_item(content: Any) -> str | None:
    named = content if isinstance(content, Mapping) else {}
    return next((f"[{kind}]" for kind in _KINDS_OF_ITEM if kind in named), None)


StoryItem = Annotated[
    Annotated[CustomerItem, Tag("[customer]")]
    | Annotated[OrderItem, Tag("[order]")]
    | Annotated[EventItem, Tag("[event]")]
    | Annotated[LinkItem, Tag("[link]")]
    | Annotated[MatchItem, Tag("[match]")]
    | Annotated[BanItem, Tag("[ban]")]
    | Annotated[WithdrawItem, Tag("[withdraw]")]
    | Annotated[DeleteItem, Tag("[delete]")],
    Discriminator(
        _kind_of_item,
        custom_error_type="kind_of_item",
        custom_error_message=f"must say what it is: {', '.join(sorted(_KINDS_OF_ITEM))}",
    ),
]
"""One thing that comes in."""


class Apart(_Part):
    """Two records that the evidence would join, and why they are not one person."""

    who: tuple[Record, Record]
    reason: Literal["BAN", "SOURCE", "LIMIT"]
    kind: str = ""
    """LIMIT: the kind of identifier of which one person would have too many. SOURCE: the source."""


class Scenario(_Part):
    """A story, and how it should end."""

    title: Words
    story: str = ""
    sources: Mapping[Source, SourceRule] = Field(default_factory=dict)
    """What the policy is to say of the story's sources, in place of its own word on them."""
    items: Annotated[tuple[StoryItem, ...], Field(min_length=1)]
    people: tuple[Annotated[tuple[Record, ...], Field(min_length=1)], ...] | None = None
    """All identities with a record, each by the names of its records; None where no end is expected."""
    apart: tuple[Apart, ...] = ()
    """All pairs that are kept apart."""
    shared: tuple[Identifier, ...] = ()
    """All identifiers that too many have."""
    anonymous_events: Mapping[Record, int] = Field(default_factory=dict)
    """How many events on devices are known to be the doing of a record's identity, though nobody was logged in."""

    _text: str = PrivateAttr("")

    @model_validator(mode="after")
    def _end_is_whole(self) -> Scenario:
        told_twice = [
            name for name, count in Counter(name for p in self.people or () for name in p).items() if count > 1
        ]
        if told_twice:
            raise ValueError(f"people must name {', '.join(told_twice)} once only: a record is one person's")
        if self.people is None and (self.apart or self.shared or self.anonymous_events):
            raise ValueError("people must be told, too, where anything of the end is")
        return self

    @property
    def groups(self) -> list[tuple[RecordName, ...]]:
        """The people who are expected, sorted."""
        return sorted(tuple(sorted(person)) for person in self.people or ())

    @property
    def end(self) -> Instant:
        """When the last thing has happened, in milliseconds since the epoch. A ban that ends in the story is over."""
        return (START + max(item.last_day for item in self.items) * _DAY) * 1000

    def place(self, index: int) -> str:
        """Where in its file an item stands: ``items[3] (line 12)``."""
        return document.locate(self._text, ("items", index))


def load(path: Path) -> Scenario:
    """The scenario in a file. Raises InvalidInput, naming every field that breaks a rule and its line."""
    return parse(document.read(path))


def parse(text: str) -> Scenario:
    """The scenario in a YAML text. Raises InvalidInput, naming every field that breaks a rule and its line."""
    scenario = document.parse(text, Scenario, name="scenario")
    scenario._text = text
    return scenario


# -- the story, told -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ending:
    """Who is who at the end of a story, and on what grounds."""

    policy: Policy
    """The rules that it was decided by."""
    partition: Partition
    refusals: list[Refusal]
    identifiers: Mapping[RecordName, list[IdentifierKey]]
    """What each record was said to have, blocked values too, in the story's order."""
    events: Mapping[IdentifierKey, int]
    """How many events without a customer each device has."""

    def identity(self, record: RecordName) -> RecordName | None:
        """The identity of a record, named by its first record; None for a record that the story does not bring."""
        return self.partition.root.get(record)

    def owner(self, identifier: IdentifierKey) -> RecordName | None:
        """The identity that an identifier belongs with; None for one that is nobody's."""
        record = self.partition.owner.get(identifier)
        return None if record is None else self.partition.root[record]


def messages(scenario: Scenario) -> list[record_pb2.Item]:
    """The story's items as a client sends them, in their order."""
    return [message for item in scenario.items for message in item.messages()]


def rules(scenario: Scenario, policy: Policy) -> Policy:
    """The policy with the story's word on its sources."""
    if not scenario.sources:
        return policy
    content = policy.model_dump(by_alias=True)
    return Policy.model_validate({**content, "sources": {**content["sources"], **scenario.sources}})


def tell(scenario: Scenario, policy: Policy) -> Ending:
    """The story's end, as the service would come to it. Raises InvalidInput for items that the service would refuse,
    with the place of each in the file."""
    known = rules(scenario, policy)
    told, evidence = _told(scenario, known)
    edges = evidence.edges()
    partition, refusals = resolve(edges, known, evidence.bans.values(), scenario.end)
    identifiers: dict[RecordName, list[IdentifierKey]] = {record: [] for record in partition.root}
    for link in edges.links:
        if link.identifier not in identifiers[link.record]:
            identifiers[link.record].append(link.identifier)
    events = Counter(item.device for item in told if isinstance(item, Event) and item.device and not item.customer)
    return Ending(known, partition, refusals, identifiers, events)


def _told(scenario: Scenario, policy: Policy) -> tuple[list[Item], Evidence]:
    told: list[Item] = []
    evidence = Evidence()
    broken: list[Violation] = []
    for index, item in enumerate(scenario.items):
        for message in item.messages():
            try:
                if wrong := wire.violations(message):
                    raise InvalidInput(wrong)
                parsed = convert.parse_item(message, policy)
                evidence.add(parsed)
                told.append(parsed)
            except InvalidInput as err:
                broken += [Violation(scenario.place(index), f"{v.field} {v.rule}") for v in err.violations]
    if broken:
        raise InvalidInput(broken)
    return told, evidence


# -- what was expected -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a story expects of its end."""

    expected: str
    found: str = ""
    """What is there instead; empty if it is as expected."""

    @property
    def holds(self) -> bool:
        """Whether the story ends so."""
        return not self.found


def checks(scenario: Scenario, ending: Ending) -> list[Check]:
    """Each thing that the story expects, and one for each that it does not expect and is there all the same: an end
    is told in full. Empty for a story that expects nothing."""
    if scenario.people is None:
        return []
    return [
        *_people(scenario, ending),
        *_apart(scenario, ending),
        *_shared(scenario, ending),
        *_anonymous_events(scenario, ending),
    ]


def _people(scenario: Scenario, ending: Ending) -> Iterator[Check]:
    groups = {ending.partition.root[group[0]]: group for group in ending.partition.groups()}
    for person in scenario.groups:
        identities = {ending.identity(record) for record in person}
        there = sorted(groups[identity] for identity in identities if identity is not None)
        unknown = [f"{record} is not in the story" for record in person if ending.identity(record) is None]
        found = "" if there == [person] else " | ".join([*map(", ".join, there), *unknown])
        yield Check(f"one person: {', '.join(person)}", found)
    named = {record for person in scenario.groups for record in person}
    if others := [group for group in groups.values() if not named.intersection(group)]:
        yield Check("nobody else", " | ".join(map(", ".join, others)))


def _apart(scenario: Scenario, ending: Ending) -> Iterator[Check]:
    there: dict[_Refused, Refusal] = {}
    for refusal in ending.refusals:
        pair = frozenset((ending.identity(refusal.record), ending.identity(refusal.owner)))
        there.setdefault((pair, refusal.reason.value, refusal.kind), refusal)
    expected: set[_Refused] = set()
    for apart in scenario.apart:
        key: _Refused = (frozenset(map(ending.identity, apart.who)), apart.reason, apart.kind)
        expected.add(key)
        words = f"{' and '.join(apart.who)} kept apart: {apart.reason} {apart.kind}".strip()
        yield Check(words, "" if key in there else "not refused so")
    for (pair, reason, kind), refusal in there.items():
        if (pair, reason, kind) not in expected:
            yield Check("nobody else kept apart", f"{refusal.record} and {refusal.owner}: {reason} {kind}".strip())


_Refused = tuple[frozenset[RecordName | None], str, str]
"""Two identities, and the reason and the kind for which they are two."""


def _shared(scenario: Scenario, ending: Ending) -> Iterator[Check]:
    for identifier in scenario.shared:
        yield Check(f"{identifier} shared", "" if identifier in ending.partition.shared else "not shared")
    if others := sorted(ending.partition.shared - set(scenario.shared)):
        yield Check("nothing else shared", ", ".join(others))


def _anonymous_events(scenario: Scenario, ending: Ending) -> Iterator[Check]:
    for record, expected in scenario.anonymous_events.items():
        identity = ending.identity(record)
        count = sum(n for device, n in ending.events.items() if identity and ending.owner(device) == identity)
        yield Check(f"anonymous events of {record}: {expected}", "" if count == expected else str(count))


# -- names -----------------------------------------------------------------------------------------------------------


def customer_key(key: str) -> record_pb2.CustomerKey:
    """The key of a customer, ``crm:17``, as a client writes it."""
    source, _, source_id = key.partition(":")
    return record_pb2.CustomerKey(source=source, source_id=source_id)


def order_key(key: str) -> record_pb2.OrderKey:
    """The key of an order, ``web:9``, as a client writes it."""
    source, _, order_id = key.partition(":")
    return record_pb2.OrderKey(source=source, order_id=order_id)


def record_key(name: RecordName) -> record_pb2.RecordKey:
    """A record by its name, ``customer:crm:17`` or ``order:web:9``, as a client writes it."""
    label, key = split_name(name)
    if label == "customer":
        return record_pb2.RecordKey(customer=customer_key(key))
    return record_pb2.RecordKey(order=order_key(key))


def _identifier(text: str, assurance: str) -> record_pb2.Identifier:
    kind, _, value = text.partition(":")
    known = record_pb2.Assurance.Value(f"ASSURANCE_{assurance.upper()}")
    return record_pb2.Identifier(kind=kind, value=value, assurance=known)


def _timestamp(day: int) -> Timestamp:
    return Timestamp(seconds=START + day * _DAY)
