"""A rule's text as tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from onefold.segments.problems import InvalidRule, Problem
from onefold.segments.tree import Span

RESERVED: Final = ("in", "null", "and", "or", "not")
"""Words that nothing can be called by."""

Kind = Literal["name", "number", "duration", "text", "mark", "end"]


@dataclass(frozen=True, slots=True)
class Token:
    """A word or a mark, as it stands in the text; ``end`` comes last and is empty."""

    kind: Kind
    text: str
    at: Span


_TOKEN: Final = re.compile(
    r"""(?P<space>[ \t\r\n]+|//[^\n]*)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![A-Za-z0-9_.]))
    |(?P<duration>[0-9]+[a-z]+(?![A-Za-z0-9_.]))
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<mark>&&|\|\||[=!<>]=|[!<>+\-*/()\[\],.])""",
    re.VERBOSE,
)

_ODD_NUMBER: Final = re.compile(r"[0-9][A-Za-z0-9_.]*")

_INSTEAD: Final = {
    "=": "write == to compare",
    "&": "write && for and",
    "|": "write || for or",
    '"': "this text has no end: close it with another double quote, on the same line",
    "'": "this text has no end: close it with another single quote, on the same line",
    "“": 'write straight quotes, as in "leeds"',
    "”": 'write straight quotes, as in "leeds"',
    "%": "the rule language has no remainder",
}


def tokens(text: str) -> list[Token]:
    """All of a text but spaces and comments (``// …``). Raises :class:`InvalidRule` at the first odd character."""
    found: list[Token] = []
    offset = 0
    while offset < len(text):
        match = _TOKEN.match(text, offset)
        if match is None:
            raise InvalidRule(text, [_odd(text, offset)])
        kind: Kind | Literal["space"] = match.lastgroup  # type: ignore[assignment]
        if kind != "space":
            found.append(Token(kind, match[0], match.span()))
        offset = match.end()
    found.append(Token("end", "", (len(text), len(text))))
    return found


def _odd(text: str, offset: int) -> Problem:
    if number := _ODD_NUMBER.match(text, offset):
        return Problem(number.span(), f"{number[0][:40]} is neither a number nor a duration such as 30d or 12h")
    odd = text[offset]
    shown = odd if odd.isprintable() else f"U+{ord(odd):04X}"
    return Problem((offset, offset + 1), _INSTEAD.get(odd, f"{shown} means nothing here"))
