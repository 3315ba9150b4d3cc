"""Pages of a list: a place in its order, carried by the caller as an opaque token.

A token names the last item that was given, never how many: items that come or go in between neither repeat nor
skip any other. It is bound to the list it came from, so that it can't continue another one.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Generic, TypeVar

from onefold.graph.errors import InvalidInput, Violation

DEFAULT_SIZE: Final = 50
MAX_SIZE: Final = 500

T = TypeVar("T")
Place = tuple[int | str, ...]
"""What the list is sorted by, of one item: equal for no two."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items of a list, in its order."""

    items: tuple[T, ...]
    next_token: str = ""
    """What gives the page that follows; empty when there is none."""


def size_of(requested: int) -> int:
    """How many items to give when so many are asked for: 0 leaves it to us, and too many are cut."""
    return min(requested, MAX_SIZE) if requested > 0 else DEFAULT_SIZE


def token_of(asked: object, place: Place) -> str:
    """The token that continues a list after ``place``; ``asked`` is what the list was asked for, in full."""
    content = json.dumps([_digest(asked), *place], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def place_of(asked: object, token: str, start: Place) -> Place:
    """Where the list goes on; without a token, the place before all items that is given as ``start``.

    Raises InvalidInput (field ``page_token``) for a token that is not of this list.
    """
    if not token:
        return start
    try:
        digest, *place = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError, TypeError, RecursionError) as err:
        raise _not_ours() from err
    if digest != _digest(asked) or [type(p) for p in place] != [type(s) for s in start]:
        raise _not_ours()
    return tuple(place)


def _digest(asked: object) -> str:
    return blake2b(repr(asked).encode(), digest_size=9).hexdigest()


def _not_ours() -> InvalidInput:
    return InvalidInput([Violation("page_token", "must be the next_page_token of the same list")])
