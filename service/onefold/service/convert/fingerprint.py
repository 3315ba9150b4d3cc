"""What a caller sent, in short: a repeat of a request is known by it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from hashlib import blake2b
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message


def fingerprint(messages: Iterable[Message]) -> str:
    """Equal for equal messages, in whatever process and under whatever version of any library.

    It is of what was sent, by the numbers of fields, and not of what became of it: a deployment may give phones another
    region, or know another kind of identifier, between a request and its honest repeat. Protobuf's own deterministic
    bytes would do within one build of one library; they are promised to be the same in no other. JSON is, in ASCII:
    `repr` escapes what the Unicode of its Python does not know. A field that the contract does not know is not in it.
    """
    text = json.dumps([_said(message) for message in messages], separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _said(message: Message) -> list[Any]:
    return [[known.number, _value(known, value)] for known, value in message.ListFields()]


def _value(known: FieldDescriptor, value: Any) -> Any:
    message, map_, repeated = _shape(known)
    if map_:
        return sorted([key, _said(value[key])] for key in value)
    if message:
        return [_said(each) for each in value] if repeated else _said(value)
    return list(value) if repeated else value


@cache
def _shape(known: FieldDescriptor) -> tuple[bool, bool, bool]:
    """Whether a field holds messages, whether it is a map (of messages, as all of the contract's are), and whether it
    repeats."""
    message = known.message_type
    return message is not None, message is not None and bool(message.GetOptions().map_entry), bool(known.is_repeated)
