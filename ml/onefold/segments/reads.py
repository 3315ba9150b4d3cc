"""What rules read, and with that the order in which labels and segments can be evaluated."""

from __future__ import annotations

import graphlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from onefold.graph.errors import InvalidInput, Violation
from onefold.segments.tree import CountEvents, DaysSince, HasLabel, InSegment, Name, Node, children


class Named(NamedTuple):
    """A label or a segment."""

    kind: Literal["label", "segment"]
    key: str

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


@dataclass(frozen=True, slots=True)
class Reads:
    """What a rule reads, each once, in the order of its text."""

    features: tuple[str, ...]
    """Keys of the catalogue's features."""
    windows: tuple[CountEvents, ...]
    """Counts of events: features that are computed for the rules that ask for them."""
    named: tuple[Named, ...]
    """Labels and segments."""


def reads(tree: Node) -> Reads:
    """What a rule reads."""
    features: dict[str, None] = {}
    windows: dict[CountEvents, None] = {}
    named: dict[Named, None] = {}
    todo = [tree]
    while todo:
        match node := todo.pop():
            case Name(key):
                features[key] = None
            case CountEvents():
                windows[node] = None  # the names in it are fields of events
            case HasLabel(key):
                named[Named("label", key)] = None
            case InSegment(key):
                named[Named("segment", key)] = None
            case _:
                todo += reversed(children(node))
    return Reads(tuple(features), tuple(windows), tuple(named))


def has_clock(node: Node) -> bool:
    """Whether time alone may change what a rule, or a part of one, comes to."""
    return isinstance(node, DaysSince) or any(map(has_clock, children(node)))


def evaluation_order(rules: Mapping[Named, Node]) -> list[Named]:
    """The labels and segments, each after all that its rule reads; of those that may come at the same time, by name.

    A label or a segment without a rule, such as a static list, need not be among them. Raises
    :class:`onefold.graph.errors.InvalidInput` for a circle, with the way around it.
    """
    sorter = graphlib.TopologicalSorter({name: set(reads(rules[name]).named) & rules.keys() for name in sorted(rules)})
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        around = " reads ".join(map(str, reversed(error.args[1])))
        raise InvalidInput([Violation(str(error.args[1][-1]), f"its rule comes back to itself: {around}")]) from error
    found: list[Named] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        found += ready
        sorter.done(*ready)
    return found
