"""A tree as plain data, as JSON has it, for whoever builds rules out of blocks.

A node is an object whose ``is`` names its class in :mod:`onefold.segments.tree` and whose other members are its fields,
as ``{"is": "Not", "of": {"is": "HasLabel", "key": "silent"}}``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, get_args

from onefold.graph.errors import InvalidInput, Violation
from onefold.segments import tree
from onefold.segments.functions import EARLIEST, LATEST, YEARS
from onefold.segments.parse import MAX_DAYS, MAX_NESTING, MAX_NUMBER, parse
from onefold.segments.printing import text_of
from onefold.segments.tree import CountEvents, Duration, Name, Node, Number, Timestamp

_CLASSES: Final[Mapping[str, type]] = {cls.__name__: cls for cls in get_args(tree.Node)}
_FIELDS: Final = {cls: {f.name: str(f.type) for f in fields(cls) if f.compare} for cls in _CLASSES.values()}
"""Of each class, the names of its fields and what they hold, as the class says it."""

_OPERATORS: Final[Mapping[str, tuple[str, ...]]] = {
    "ComparisonOperator": get_args(tree.ComparisonOperator),
    "ArithmeticOperator": get_args(tree.ArithmeticOperator),
    "MatchOperator": get_args(tree.MatchOperator),
}
_PLAIN: Final[Mapping[str, tuple[type, ...]]] = {
    "str": (str,),
    "bool": (bool,),
    "int": (int,),
    "Instant": (int,),
    "int | float": (int, float),
}
_DEEPEST: Final = 4 * MAX_NESTING + 60
"""No tree that a text can say is as deep."""


def to_data(node: Node) -> dict[str, Any]:
    """A tree as objects, lists, texts and numbers."""
    return {"is": type(node).__name__, **{name: _out(getattr(node, name)) for name in _FIELDS[type(node)]}}


def from_data(data: object) -> Node:
    """The tree that such data say, in canonical form, as if it had been parsed.

    Raises :class:`onefold.graph.errors.InvalidInput` with the path of what is no node, and as
    :func:`onefold.segments.parse.parse` does for a tree that no text says.
    """
    return parse(text_of(_node(data, "rule", 0)))


def _out(value: object) -> object:
    if isinstance(value, tuple):
        return [to_data(each) for each in value]
    return to_data(value) if type(value) in _FIELDS else value  # type: ignore[arg-type]


def _node(data: object, path: str, depth: int) -> Node:
    if depth > _DEEPEST:
        raise _wrong(path, "is nested too deep")
    if not isinstance(data, Mapping) or str(data.get("is")) not in _CLASSES:
        raise _wrong(path, f"must be an object whose `is` is one of {', '.join(_CLASSES)}")
    cls = _CLASSES[str(data["is"])]
    wanted = _FIELDS[cls]
    if odd := sorted(map(str, data.keys() - wanted.keys() - {"is"})):
        raise _wrong(f"{path}.{odd[0]}", f"{cls.__name__} has {', '.join(wanted)}")
    values = {name: _field(kind, data.get(name), f"{path}.{name}", depth) for name, kind in wanted.items()}
    node: Node = cls(**values)
    _check_sayable(node, path)
    return node


def _check_sayable(node: Node, path: str) -> None:
    """That a text says the same: what is refused here would be read back as something else, or could not be written."""
    match node:
        case Name(key) if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
            raise _wrong(f"{path}.key", "must be letters, digits and underscores")
        case Number(value) if not abs(value) <= MAX_NUMBER:
            raise _wrong(f"{path}.value", f"must be a number, and {MAX_NUMBER:,} at most")
        case Timestamp(instant) if not EARLIEST <= instant < LATEST:
            raise _wrong(f"{path}.instant", f"must be of the years {YEARS.start} to {YEARS.stop - 1}")
        case Duration(hours) | CountEvents(hours=int(hours)) if not 1 <= hours <= MAX_DAYS * 24:
            raise _wrong(f"{path}.hours", f"must be 1 to {MAX_DAYS * 24}")


def _field(kind: str, value: object, path: str, depth: int) -> object:
    if kind.endswith(" | None"):
        return None if value is None else _field(kind.removesuffix(" | None"), value, path, depth)
    if kind == "Node":
        return _node(value, path, depth + 1)
    if kind == "tuple[Node, ...]":
        if not isinstance(value, Sequence) or isinstance(value, str) or not value:
            raise _wrong(path, "must be a list with something in it")
        return tuple(_node(each, f"{path}[{place}]", depth + 1) for place, each in enumerate(value))
    if kind in _OPERATORS:
        if value not in _OPERATORS[kind]:
            raise _wrong(path, f"must be one of {' '.join(_OPERATORS[kind])}")
        return value
    if not isinstance(value, _PLAIN[kind]) or (isinstance(value, bool) and kind != "bool"):
        raise _wrong(path, f"must be {' or '.join(cls.__name__ for cls in _PLAIN[kind])}")
    return value


def _wrong(path: str, words: str) -> InvalidInput:
    return InvalidInput([Violation(path, words)])
