"""Bytes to requests that obey the contract, or to the paths of the fields that do not.

The rules stand in the ``.proto`` files and are checked here, before a servicer sees a request. Paths are
written as a client would: ``items[3].order.lines[2].quantity``, ``properties["size"].double_value``.

A request of many items is a :class:`Batch`: a bad item never fails the others, not even one that can't be
read. The request's bytes are then taken apart, each item is read alone, and the bad one is walked along its
descriptor to the string that is not UTF-8. That costs nothing until it happens, and then time in proportion
to the bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast

import protovalidate
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from onefold.graph.errors import InvalidInput, Violation
from onefold.v1 import (
    audit_service_pb2,
    identity_service_pb2,
    prediction_service_pb2,
    profile_service_pb2,
    segment_service_pb2,
)

M = TypeVar("M", bound=Message)

CONTRACT: Final = (
    audit_service_pb2,
    identity_service_pb2,
    prediction_service_pb2,
    profile_service_pb2,
    segment_service_pb2,
)
"""The modules whose services are served."""

BATCHES: Final[Mapping[str, str]] = {
    "onefold.v1.IngestRecordsRequest": "items",
    "onefold.v1.StreamRecordsRequest": "items",
    "onefold.v1.BatchGetProfilesRequest": "subjects",
    "onefold.v1.BatchScoreChurnRequest": "subjects",
}
"""The requests whose items are refused one by one, and the field that holds them."""

WHOLE: Final = "request"
"""The path of a request as a whole."""


@dataclass(frozen=True)
class Batch(Generic[M]):
    """A request of many items, and what is wrong with each that is wrong."""

    message: M
    """The request. An item that can't be read is empty in it, so that all others keep their places."""
    unreadable: Mapping[int, list[Violation]] = field(default_factory=dict)
    """Why items can't be read that can't, by their place."""
    error: InvalidInput | None = None
    """Why the request is refused as a whole. A unary servicer never sees one: its decoder raises it."""

    @cached_property
    def refused(self) -> Mapping[int, list[Violation]]:
        """The broken rules of the items that break any, by their place. Paths begin at the request.

        The items are checked when this is first asked for, on the thread that asks.
        """
        if self.error is not None:
            return {}
        name = BATCHES[_descriptor(type(self.message)).full_name]
        items = enumerate(getattr(self.message, name))
        found = ((place, self.unreadable.get(place) or violations(item, f"{name}[{place}]")) for place, item in items)
        return {place: broken for place, broken in found if broken}

    def check(self, index: int) -> None:
        """Raises :class:`InvalidInput` if the item at this place breaks a rule."""
        if index in self.refused:
            raise InvalidInput(list(self.refused[index]))


def decoders() -> Mapping[str, Callable[[bytes], Any]]:
    """The decoder of each method of the contract, by its path (``/onefold.v1.ProfileService/GetProfile``).

    A decoder gives the request message, checked, or a :class:`Batch` for the requests in :data:`BATCHES`.
    It raises :class:`InvalidInput`, except for the batches of a stream, which goes on: they carry the error.
    """
    return {
        f"/{service.full_name}/{method.name}": _decoder(method)
        for module in CONTRACT
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


def decode(message_type: type[M], data: bytes) -> M:
    """The message in ``data``, checked.

    Raises :class:`InvalidInput` with the path of each field that breaks a rule or can't be read.
    """
    try:
        message = message_type.FromString(data)
    except DecodeError as error:
        raise InvalidInput(_unreadable(_descriptor(message_type), data, "")) from error
    broken = violations(message)
    if broken:
        raise InvalidInput(broken)
    return message


def decode_batch(message_type: type[M], data: bytes) -> Batch[M]:
    """The batch in ``data``, its request checked as a whole. Never raises."""
    name = BATCHES[_descriptor(message_type).full_name]
    unreadable: dict[int, list[Violation]] = {}
    try:
        try:
            message = message_type.FromString(data)
        except DecodeError:
            message, unreadable = _salvage(message_type, data, name)
    except InvalidInput as error:
        return Batch(message_type(), error=error)
    broken = violations(message)
    return Batch(message, unreadable, InvalidInput(broken) if broken else None)


def violations(message: Message, path: str = "") -> list[Violation]:
    """The broken rules of a message, none if it is good. ``path`` is where it stands in its request."""
    return [
        Violation(_path(path, broken) or WHOLE, _words(_descriptor(type(message)), broken))
        for broken in protovalidate.collect_violations(message)
    ]


def _decoder(method: MethodDescriptor) -> Callable[[bytes], Any]:
    message_type = GetMessageClass(method.input_type)
    if method.input_type.full_name not in BATCHES:
        return lambda data: decode(message_type, data)
    if method.client_streaming:
        return _StreamDecoder(message_type)

    def unary(data: bytes) -> Batch[Message]:
        batch = decode_batch(message_type, data)
        if batch.error is not None:
            raise batch.error
        return batch

    return unary


class _StreamDecoder(Generic[M]):
    """Decodes the batches of a stream. What is wrong with one is in it, so that the stream goes on."""

    def __init__(self, message_type: type[M]) -> None:
        self._message_type = message_type

    def __call__(self, data: bytes) -> Batch[M]:
        return decode_batch(self._message_type, data)

    def refused(self, error: InvalidInput) -> Batch[M]:
        """A batch that was not even looked at."""
        return Batch(self._message_type(), error=error)


# Rules in words


def _path(path: str, broken: protovalidate.Violation) -> str:
    for element in _elements(broken):
        path = f"{path}.{element.field_name}" if path else element.field_name
        if element.subscript is not None:
            path += f"[{_quoted(element.subscript.value)}]"
    return path


def _words(descriptor: Descriptor, broken: protovalidate.Violation) -> str:
    """The rule as a person would say it.

    Rules of our own carry their words in the contract; the library's are put straight where they need it.
    """
    rule = broken.proto.rule_id
    if rule == "required":
        return _required(descriptor, broken)
    if rule == "enum.not_in" and broken.field_value == 0:
        return "is required"
    if rule == "enum.defined_only":
        return f"must be one of {', '.join(_values(descriptor, broken))}"
    if rule in ("string.min_len", "string.min_bytes", "repeated.min_items") and broken.rule_value == 1:
        return "must not be empty"
    if rule == "double.finite":
        return "must be a finite number"
    return broken.proto.message.replace("item(s)", "items").replace("map must be", "must have")


def _required(descriptor: Descriptor, broken: protovalidate.Violation) -> str:
    parent, name = _target(descriptor, broken)
    if name not in parent.oneofs_by_name:
        return "is required"
    return f"must have one of {', '.join(choice.name for choice in parent.oneofs_by_name[name].fields)}"


def _values(descriptor: Descriptor, broken: protovalidate.Violation) -> list[str]:
    """The names of the values of the enum, without the unspecified one."""
    parent, name = _target(descriptor, broken)
    enum = parent.fields_by_name[name].enum_type
    return [value.name for value in enum.values if value.number != 0] if enum else []


def _target(descriptor: Descriptor, broken: protovalidate.Violation) -> tuple[Descriptor, str]:
    """The message that has the field (or oneof) that breaks the rule, and the field's name in it."""
    *parents, last = _elements(broken)
    for element in parents:
        known = descriptor.fields_by_name[element.field_name]
        descriptor = _held(_held(known).fields_by_name["value"] if _is_map(known) else known)
    return descriptor, last.field_name


def _elements(broken: protovalidate.Violation) -> Sequence[protovalidate.FieldPathElementPb]:
    path = broken.proto.field
    return path.elements if path is not None else ()


def _descriptor(message_type: type[Message]) -> Descriptor:
    return cast(Descriptor, message_type.DESCRIPTOR)


def _held(known: FieldDescriptor) -> Descriptor:
    """The type of a field that holds messages."""
    return cast(Descriptor, known.message_type)


def _is_map(known: FieldDescriptor) -> bool:
    return known.message_type is not None and bool(known.message_type.GetOptions().map_entry)


def _quoted(subscript: str | int | bool) -> str:
    return json.dumps(subscript, ensure_ascii=False)


# What can't be read


class _Part(NamedTuple):
    """One field of an encoded message."""

    number: int
    payload: bytes | None
    """What it holds if it has a length: a string, a message."""
    raw: bytes
    """All of it, with its tag."""


class _Garbled(Exception):
    """Bytes that are no message of any type."""


def _salvage(message_type: type[M], data: bytes, name: str) -> tuple[M, dict[int, list[Violation]]]:
    """The request with the items that can be read, and what is wrong with the others, by their place.

    Raises :class:`InvalidInput` when it is not the items that can't be read.
    """
    items = _descriptor(message_type).fields_by_name[name]
    item_type = GetMessageClass(_held(items))
    try:
        parts = list(_parts(data))
    except _Garbled:
        raise InvalidInput(_unreadable(_descriptor(message_type), data, "")) from None
    rest = b"".join(part.raw for part in parts if part.number != items.number)
    try:
        message = message_type.FromString(rest)
    except DecodeError as error:
        raise InvalidInput(_unreadable(_descriptor(message_type), rest, "")) from error
    unreadable = {}
    read = getattr(message, name)
    encoded = [part.payload for part in parts if part.number == items.number and part.payload is not None]
    for index, payload in enumerate(encoded):
        try:
            read.append(item_type.FromString(payload))
        except DecodeError:
            unreadable[index] = _unreadable(_held(items), payload, f"{name}[{index}]")
            read.add()
    return message, unreadable


def _unreadable(descriptor: Descriptor, data: bytes, path: str) -> list[Violation]:
    """Why ``data`` can't be read as a message of this type: at least one reason."""
    return list(_faults(descriptor, data, path)) or [_garbled(descriptor, path)]


def _garbled(descriptor: Descriptor, path: str) -> Violation:
    return Violation(path or WHOLE, f"can't be read as {descriptor.full_name}")


def _faults(descriptor: Descriptor, data: bytes, path: str) -> Iterator[Violation]:
    try:
        parts = list(_parts(data))
    except _Garbled:
        yield _garbled(descriptor, path)
        return
    seen: Counter[int] = Counter()
    for part in parts:
        known = descriptor.fields_by_number.get(part.number)
        if known is None or part.payload is None:
            continue
        where = f"{path}.{known.name}" if path else known.name
        if known.is_repeated and not _is_map(known):
            where += f"[{seen[part.number]}]"
            seen[part.number] += 1
        yield from _faults_of_field(known, part.payload, where)


def _faults_of_field(known: FieldDescriptor, payload: bytes, where: str) -> Iterator[Violation]:
    if known.type == FieldDescriptor.TYPE_STRING:
        if not _is_utf8(payload):
            yield Violation(where, "is not valid UTF-8")
    elif _is_map(known):
        yield from _faults_of_entry(_held(known), payload, where)
    elif known.message_type is not None:
        yield from _faults(known.message_type, payload, where)


def _faults_of_entry(entry: Descriptor, data: bytes, where: str) -> Iterator[Violation]:
    """The faults of one entry of a map, which a path names by its key and not by its place."""
    try:
        payloads = {part.number: part.payload for part in _parts(data)}
    except _Garbled:
        yield Violation(where, "has an entry that can't be read")
        return
    key, value = payloads.get(1) or b"", payloads.get(2)
    if not _is_utf8(key):
        yield Violation(where, "has a name that is not valid UTF-8")
    elif value is not None:
        yield from _faults_of_field(entry.fields_by_number[2], value, f"{where}[{_quoted(key.decode())}]")


def _parts(data: bytes) -> Iterator[_Part]:
    """The fields of an encoded message, in order. Raises :class:`_Garbled` where the bytes make no sense."""
    at = 0
    while at < len(data):
        start, payload = at, None
        tag, at = _varint(data, at)
        match tag & 7:
            case 0:
                _, at = _varint(data, at)
            case 1:
                at += 8
            case 2:
                size, at = _varint(data, at)
                payload = data[at : at + size]
                at += size
            case 5:
                at += 4
            case _:  # groups, which the contract has none of
                raise _Garbled
        if at > len(data):
            raise _Garbled
        yield _Part(tag >> 3, payload, data[start:at])


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The variable-length number that begins at ``at``, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at == len(data):
            break
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
    raise _Garbled


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
