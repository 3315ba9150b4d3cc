"""The text of a rule as a tree: the syntax, which is that of CEL less what the three back ends do not share.

    or       = and { "||" and }
    and      = relation { "&&" relation }
    relation = sum [ ( "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" ) sum ]
    sum      = product { ( "+" | "-" ) product }
    product  = unary { ( "*" | "/" ) unary }
    unary    = "!" unary | "-" NUMBER | member
    member   = primary { "." ( "startsWith" | "contains" ) "(" or ")" }
    primary  = "true" | "false" | NUMBER | DURATION | TEXT | NAME | NAME "(" list ")" | "(" or ")" | "[" list "]"
    list     = or { "," or }

It is parsed by recursive descent, a method a line, because authors of rules read its errors: each says what was
expected there, in the language's own words. Every recursion passes ``_Parser._nested``, which bounds it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Final, cast

from onefold.segments.folding import folded
from onefold.segments.functions import FUNCTIONS
from onefold.segments.problems import InvalidRule, Problem, did_you_mean
from onefold.segments.tokens import RESERVED, Token, tokens
from onefold.segments.tree import (
    And,
    Arithmetic,
    ArithmeticOperator,
    Comparison,
    ComparisonOperator,
    Duration,
    In,
    Listing,
    Match,
    MatchOperator,
    Name,
    Node,
    Not,
    Number,
    Or,
    Span,
    Text,
    Truth,
)

MAX_BYTES: Final = 65_536
MAX_CLAUSES: Final = 150
"""The embedded engine refuses conditions that are much longer."""
MAX_NESTING: Final = 24
MAX_OPERATIONS: Final = 50
MAX_LISTED: Final = 1_000
MAX_NUMBER: Final = 2**53 - 1
"""The largest whole number up to which all are told apart as float64, which every back end computes with."""
MAX_DAYS: Final = 3_650

_RELATIONS: Final = ("==", "!=", "<", "<=", ">", ">=", "in")


def parse(text: str) -> Node:
    """The tree of a rule. Whether it fits a catalogue is for :func:`onefold.segments.check.check` to say.

    Raises :class:`onefold.segments.problems.InvalidRule` at the first place where the text is not of the language, or
    goes beyond the bounds above.
    """
    _check_size(text)
    return _Parser(text).whole()


def _check_size(text: str) -> None:
    too_long = InvalidRule("", [Problem((0, 0), f"a rule may have {MAX_BYTES:,} bytes")])
    if len(text) > MAX_BYTES:
        raise too_long
    try:
        if len(text.encode()) > MAX_BYTES:
            raise too_long
    except UnicodeEncodeError as error:
        raise InvalidRule("", [Problem((0, 0), "half a character (a lone surrogate) is no text")]) from error


class _Parser:
    """Reads a text once, from left to right; each method begins at the next token and ends after what it gives."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text)
        self._place = 0
        self._nesting = 0
        self._clauses = 1
        self._operations = 0

    def whole(self) -> Node:
        if len(self._tokens) == 1:
            raise self._error(self._next.at, "the rule is empty")
        tree = self._or()
        token = self._next
        if token.kind != "end":
            raise self._error(token.at, f"expected && or || or the end, not {_shown(token)}{_hint(token)}")
        return tree

    def _or(self) -> Node:
        parts = [self._and()]
        while self._combines("||"):
            parts.append(self._and())
        if len(parts) == 1:
            return parts[0]
        return Or(tuple(p for part in parts for p in (part.of if isinstance(part, Or) else (part,))), at=_over(parts))

    def _and(self) -> Node:
        parts = [self._relation()]
        while self._combines("&&"):
            parts.append(self._relation())
        if len(parts) == 1:
            return parts[0]
        return And(tuple(p for part in parts for p in (part.of if isinstance(part, And) else (part,))), at=_over(parts))

    def _combines(self, mark: str) -> bool:
        token = self._next
        if not self._take(mark):
            return False
        self._clauses += 1
        if self._clauses > MAX_CLAUSES:
            raise self._error(token.at, f"a rule may have {MAX_CLAUSES} clauses")
        return True

    def _relation(self) -> Node:
        left, token = self._sum(), self._next
        if not self._take(*_RELATIONS):
            return left
        right, after = self._sum(), self._next
        if after.kind != "text" and after.text in _RELATIONS:
            raise self._error(after.at, f"{token.text} can't be followed by {after.text}: combine two by &&")
        at = _over((left, right))
        if token.text == "in":
            return In(left, right, at=at)
        return Comparison(cast(ComparisonOperator, token.text), left, right, at=at)

    def _sum(self) -> Node:
        return self._operated(("+", "-"), self._product)

    def _product(self) -> Node:
        return self._operated(("*", "/"), self._unary)

    def _operated(self, marks: tuple[str, str], operand: Callable[[], Node]) -> Node:
        left = operand()
        while self._take(*marks):
            token = self._before
            self._operations += 1
            if self._operations > MAX_OPERATIONS:
                raise self._error(token.at, f"a rule may have {MAX_OPERATIONS} operations of arithmetic")
            right = operand()
            left = Arithmetic(cast(ArithmeticOperator, token.text), left, right, at=_over((left, right)))
        return left

    def _unary(self) -> Node:
        start = self._next.at[0]
        if self._take("!"):
            of = self._nested(self._unary)
            return Not(of, at=(start, of.at[1]))
        if self._take("-"):
            if self._next.kind != "number":
                raise self._error(self._before.at, "- stands before numbers only: write 0 - … for the rest")
            number = self._number()
            return Number(-number.value, at=(start, number.at[1]))
        return self._member()

    def _member(self) -> Node:
        of = self._primary()
        while self._take("."):
            token = self._next
            if token.kind != "name" or token.text not in _METHODS:
                known = did_you_mean(token.text, _METHODS)
                raise self._error(
                    token.at, f"after the point expected startsWith or contains, not {_shown(token)}{known}"
                )
            self._advance()
            self._expect("(", f'{token.text} takes a text, as in city.{token.text}("new")')
            text = self._nested(self._or)
            self._expect(")", f"{token.text} takes one text")
            of = Match(cast(MatchOperator, token.text), of, text, at=(of.at[0], self._before.at[1]))
            self._operations += 1
            if self._operations > MAX_OPERATIONS:
                raise self._error(token.at, "too many texts are looked for")
        return of

    def _primary(self) -> Node:
        token = self._next
        match token.kind:
            case "number":
                return self._number()
            case "duration":
                return self._duration()
            case "text":
                self._advance()
                return Text(self._text_of(token), at=token.at)
            case "name" if token.text in ("true", "false"):
                self._advance()
                return Truth(token.text == "true", at=token.at)
            case "name" if token.text not in RESERVED:
                self._advance()
                return self._call(token) if self._next.text == "(" else Name(token.text, at=token.at)
        if self._take("("):
            of = self._nested(self._or)
            self._expect(")", "a parenthesis is not closed here")
            return of
        if self._take("["):
            listed = tuple(self._list("]"))
            return Listing(listed, at=(token.at[0], self._before.at[1]))
        raise self._error(token.at, f"expected a feature, a number, a text or (, not {_shown(token)}{_hint(token)}")

    def _list(self, end: str) -> list[Node]:
        if self._take(end):
            if end == "]":
                raise self._error(self._before.at, "a list must have something in it")
            return []
        found = [self._nested(self._or)]
        while self._take(","):
            found.append(self._nested(self._or))
            if len(found) > MAX_LISTED:
                raise self._error(found[-1].at, f"a list may have {MAX_LISTED:,} entries")
        self._expect(end, f"expected , or {end}, not {_shown(self._next)}")
        return found

    def _call(self, name: Token) -> Node:
        if name.text not in FUNCTIONS:
            known = did_you_mean(name.text, FUNCTIONS) or f"; there are {', '.join(FUNCTIONS)}"
            raise self._error(name.at, f"there is no function {name.text}{known}")
        self._advance()
        arguments = self._list(")")
        at = (name.at[0], self._before.at[1])
        made = FUNCTIONS[name.text](arguments, at)
        if isinstance(made, str):
            raise self._error(at, made)
        return made

    def _number(self) -> Number:
        token = self._next
        self._advance()
        value = float(token.text)
        if len(token.text) > 40 or not abs(value) <= MAX_NUMBER:
            raise self._error(token.at, f"a number may be {MAX_NUMBER:,} at most, and 40 characters long")
        if value == 0 and token.text.lower().partition("e")[0].strip("0."):
            raise self._error(token.at, "this number is too small to be told from 0")
        return Number(int(value) if value.is_integer() else value, at=token.at)

    def _duration(self) -> Duration:
        token = self._next
        self._advance()
        digits, unit = token.text[:-1], token.text[-1]
        if unit not in "dh" or not digits.isdigit():
            raise self._error(token.at, f"{token.text[:40]} is no duration: write days or hours, as in 30d or 12h")
        hours = int(digits[:9]) * (24 if unit == "d" else 1)
        if not 1 <= hours <= MAX_DAYS * 24 or len(digits) > 9:
            raise self._error(token.at, f"a duration may be 1h to {MAX_DAYS}d")
        return Duration(hours, at=token.at)

    def _text_of(self, token: Token) -> str:
        for escape in _ESCAPE.finditer(token.text):
            if escape[1] not in "\\\"'":
                start, end = (token.at[0] + place for place in escape.span())
                raise self._error((start, end), r"in a text, \ stands before a quote or another \ only")
        value = folded(_ESCAPE.sub(r"\1", token.text[1:-1]))
        if any(unicodedata.category(character) == "Cc" for character in value):
            raise self._error(token.at, "a text may have no control characters in it")
        return value

    @property
    def _next(self) -> Token:
        return self._tokens[self._place]

    @property
    def _before(self) -> Token:
        return self._tokens[self._place - 1]

    def _advance(self) -> None:
        self._place += 1

    def _take(self, *words: str) -> bool:
        if self._next.kind not in ("mark", "name") or self._next.text not in words:
            return False
        self._advance()
        return True

    def _expect(self, mark: str, words: str) -> None:
        if not self._take(mark):
            raise self._error(self._next.at, words)

    def _nested(self, part: Callable[[], Node]) -> Node:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise self._error(self._next.at, f"a rule may be nested {MAX_NESTING} deep")
        found = part()
        self._nesting -= 1
        return found

    def _error(self, at: Span, words: str) -> InvalidRule:
        return InvalidRule(self._text, [Problem(at, words)])


_METHODS: Final = ("startsWith", "contains")
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)


def _shown(token: Token) -> str:
    return "the end" if token.kind == "end" else token.text[:40]


def _hint(token: Token) -> str:
    words = {
        "null": "write known(x) or !known(x)",
        "and": "write &&",
        "or": "write ||",
        "not": "write !",
        "AND": "write &&",
        "OR": "write ||",
    }
    return f": {words[token.text]}" if token.kind == "name" and token.text in words else ""


def _over(parts: Sequence[Node]) -> Span:
    return parts[0].at[0], parts[-1].at[1]
