"""What a new catalogue changes, in words, and who is touched by it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from onefold.segments.catalogue.definitions import (
    Catalogue,
    CustomFeature,
    EventField,
    Label,
    Ladder,
    Segment,
    Status,
    definition,
)
from onefold.segments.reads import Named, reads
from onefold.segments.tree import CountEvents, Name, Node, children


class Kind(StrEnum):
    """What happened to something that is defined."""

    ADDED = "added"
    DROPPED = "dropped"
    ACTIVATED = "activated"
    RETIRED = "retired"
    CHANGED = "changed"
    """Who has it may change."""
    DESCRIBED = "described"
    """Only what is said about it is other than before."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two catalogues."""

    kind: Kind
    of: str
    """``label silent``, ``tiers rfm``, ``segment winback``, ``feature company_size``, ``event field brand``, ``time
    zone``."""
    words: str
    touches: tuple[Named, ...] = ()
    """The labels and segments who may have others for it, itself left out: those that read it, and who reads them."""
    doubt: str = ""
    """What is perhaps not meant."""


def diff(old: Catalogue, new: Catalogue) -> list[Change]:
    """What is other in the new catalogue, in the order of its parts and by name; empty where both say the same."""
    changes = [*_time_zone(old, new), *_event_fields(old, new), *_features(old, new)]
    changes += _each("label", _own(old), _own(new), lambda each: [each.named], old, new)
    changes += _each("tiers", old.ladders, new.ladders, _tiers, old, new)
    changes += _each("segment", old.segments, new.segments, lambda each: [each.named], old, new)
    if changes and old.number == new.number:
        changes.append(
            Change(Kind.DESCRIBED, "catalogue", "says something else", doubt=f"its number is still {new.number}")
        )
    return changes


def _own(catalogue: Catalogue) -> dict[str, Label]:
    """The labels that are no tiers."""
    return {key: label for key, label in catalogue.labels.items() if not label.ladder}


def _tiers(ladder: Ladder) -> list[Named]:
    keys = (*(tier.key for tier in ladder.tiers), ladder.otherwise, ladder.unknown)
    return [Named("label", ladder.label(key)) for key in keys]


# -- labels, ladders, segments ---------------------------------------------------------------------------------------

_UNFELT: Final = ("description", "owner", "version", "refresh_hours", "meaning", "null_means")
"""Fields that change nothing for who has it."""


def _each(
    what: str,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    names: Callable[[Any], list[Named]],
    old_catalogue: Catalogue,
    new_catalogue: Catalogue,
) -> Iterator[Change]:
    for key in sorted(old.keys() | new.keys()):
        of = f"{what} {key}"
        if key not in old:
            yield Change(Kind.ADDED, of, _introduced(new[key]))
        elif key not in new:
            touched = old_catalogue.dependents(names(old[key]))
            yield Change(Kind.DROPPED, of, "is gone", _without(touched, names(old[key])))
        elif words := _changed(old[key], new[key]):
            own = {*names(old[key]), *names(new[key])}
            kind = _kind(old[key], new[key])
            touched = new_catalogue.dependents(own) if kind is not Kind.DESCRIBED else ()
            yield Change(kind, of, "; ".join(words), _without(touched, own), _doubt(old[key], new[key]))


def _without(touched: Iterable[Named], own: Iterable[Named]) -> tuple[Named, ...]:
    return tuple(name for name in touched if name not in set(own))


def _introduced(defined: Label | Ladder | Segment) -> str:
    match defined:
        case Label():
            return f"is new: {defined.rule.text}" + ("" if defined.status is Status.ACTIVE else f" ({defined.status})")
        case Ladder():
            return f"are new: {', '.join(tier.key for tier in defined.tiers)}, else {defined.otherwise}"
        case Segment():
            return f"is new: {defined.rule.text if defined.rule else f'the list {defined.records_file}'}"


def _kind(old: Label | Ladder | Segment, new: Label | Ladder | Segment) -> Kind:
    before, after = (Status.ACTIVE if isinstance(each, Segment) else each.status for each in (old, new))
    if after is not before and Status.ACTIVE in (before, after):
        return Kind.ACTIVATED if after is Status.ACTIVE else Kind.RETIRED
    if before is not Status.ACTIVE or _felt(old) == _felt(new):
        return Kind.DESCRIBED
    return Kind.CHANGED


def _felt(defined: Label | Ladder | Segment) -> dict[str, object]:
    said = {key: value for key, value in definition(defined).items() if key not in _UNFELT}
    if isinstance(defined, Ladder):
        said["of"] = [(tier.key, tier.rule.text) for tier in defined.tiers]
    return said


def _doubt(old: Label | Ladder | Segment, new: Label | Ladder | Segment) -> str:
    if isinstance(old, Segment) or isinstance(new, Segment) or _felt(old) == _felt(new) or old.version != new.version:
        return ""
    return f"its version is still {new.version}"


def _changed(old: Label | Ladder | Segment, new: Label | Ladder | Segment) -> list[str]:
    words = _fields_changed(definition(old), definition(new))
    return [*words, *_rungs(old, new)] if isinstance(old, Ladder) and isinstance(new, Ladder) else words


def _fields_changed(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    return [
        f"{field.replace('_', ' ')}: {_shown(before.get(field))} → {_shown(after.get(field))}"
        for field in dict.fromkeys((*before, *after))
        if before.get(field) != after.get(field) and field != "of"
    ]


def _shown(value: object) -> str:
    return "nothing" if value in (None, "") else str(value)


def _rungs(old: Ladder, new: Ladder) -> list[str]:
    before, after = ({tier.key: tier for tier in ladder.tiers} for ladder in (old, new))
    words = [f"{key} is gone" for key in before if key not in after]
    words += [f"{key} is new: {tier.rule.text}" for key, tier in after.items() if key not in before]
    kept = [key for key in before if key in after]
    if kept != [key for key in after if key in before]:
        words.append(f"in another order: {', '.join(after)}")
    for key in kept:
        one, other = before[key], after[key]
        if one.rule.text != other.rule.text:
            words.append(f"{key}: {one.rule.text} → {other.rule.text}")
        elif one.description != other.description:
            words.append(f"{key} is described otherwise: {_shown(other.description)}")
    return words


# -- what rules read -------------------------------------------------------------------------------------------------


def _time_zone(old: Catalogue, new: Catalogue) -> Iterator[Change]:
    if old.time_zone != new.time_zone:
        words = f"{old.time_zone} → {new.time_zone}: local hours of what does not say where it happened"
        yield Change(Kind.CHANGED, "time zone", words)


def _event_fields(old: Catalogue, new: Catalogue) -> Iterator[Change]:
    for key, kind, words in _compared(old.event_fields, new.event_fields, _field_said):
        catalogue = old if kind is Kind.DROPPED else new
        asking = [each.key for each in catalogue.features.values() if _asks(each.source, key)]
        yield Change(kind, f"event field {key}", words, _readers(catalogue, asking, key))


def _features(old: Catalogue, new: Catalogue) -> Iterator[Change]:
    for key, kind, words in _compared(old.features, new.features, definition):
        if kind is Kind.CHANGED and _read_as(old.features[key]) == _read_as(new.features[key]):
            yield Change(Kind.DESCRIBED, f"feature {key}", words)
        else:
            yield Change(kind, f"feature {key}", words, _readers(old if kind is Kind.DROPPED else new, [key]))


def _compared(
    old: Mapping[str, Any], new: Mapping[str, Any], said: Callable[[Any], Mapping[str, object]]
) -> Iterator[tuple[str, Kind, str]]:
    for key in sorted(old.keys() | new.keys()):
        if key not in old:
            yield key, Kind.ADDED, f"is new: {', '.join(str(value) for value in said(new[key]).values() if value)}"
        elif key not in new:
            yield key, Kind.DROPPED, "is gone"
        elif old[key] != new[key]:
            yield key, Kind.CHANGED, "; ".join(_fields_changed(said(old[key]), said(new[key])))


def _field_said(field: EventField) -> dict[str, object]:
    return {"type": field.type, "property": field.property}


def _read_as(feature: CustomFeature) -> dict[str, object]:
    return {key: value for key, value in definition(feature).items() if key not in _UNFELT}


def _readers(catalogue: Catalogue, features: Iterable[str], event_field: str = "") -> tuple[Named, ...]:
    """Who reads one of these features, or counts events by a field of them, or reads who does."""
    wanted = set(features)
    direct = [
        name
        for name, rule in catalogue.rules.items()
        if wanted & set(reads(rule.tree).features)
        or any(_asks(window, event_field) for window in reads(rule.tree).windows)
    ]
    return tuple(sorted({*direct, *catalogue.dependents(direct)}))


def _asks(source: object, event_field: str) -> bool:
    return isinstance(source, CountEvents) and source.where is not None and event_field in _names(source.where)


def _names(node: Node) -> set[str]:
    own = {node.key} if isinstance(node, Name) else set()
    return own.union(*map(_names, children(node)))
