"""Stories with a known end: who comes, what is known of them, and who is who when all of it has happened.

A scenario is a YAML file that an expert of the trade can read and write; ``docs/policy.md`` documents it. Its items
become what a client sends. How it ends under a policy is in :mod:`onefold.service.ending`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, PrivateAttr, Tag, model_validator

from onefold.graph import document
from onefold.graph.model import TRAITS, Instant, RecordName, split_name
from onefold.graph.policy import Source, SourceRule
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


# -- as a client sends it -------------------------------------------------------------------------------------------


def messages(scenario: Scenario) -> list[record_pb2.Item]:
    """The story's items as a client sends them, in their order."""
    return [message for item in scenario.items for message in item.messages()]


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
