"""``onefold policy explain``: a story as a person tells it, and who is who at its end."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.markup import escape

from onefold.graph.model import Assurance, IdentifierKey, RecordName, kind_of
from onefold.graph.resolve import PPM, Refusal, RefusalReason, in_ppm
from onefold.service.ending import Check, Ending
from onefold.service.scenario import (
    BanItem,
    CustomerItem,
    DeleteItem,
    EventItem,
    LinkItem,
    MatchItem,
    OrderItem,
    Scenario,
    StoryItem,
    WithdrawItem,
)

_WIDTH: Final = 100
"""Columns of a story's prose."""


def lines(scenario: Scenario, ending: Ending, checks: Sequence[Check]) -> Iterator[str]:
    """The story line by line, in Rich's markup: what comes in, who is who, what is shared, who is kept apart and why,
    and whether it ends as it was expected to."""
    yield f"[bold]{escape(scenario.title)}[/]"
    if scenario.story:
        yield escape(textwrap.fill(scenario.story.strip(), _WIDTH, initial_indent="  ", subsequent_indent="  "))
    yield ""
    yield "  [bold]What comes in[/]"
    yield from map(escape, _columns([(f"day {item.day}", *_told(item)) for item in scenario.items]))
    yield ""
    yield f"  [bold]Who is who[/]  [dim](policy {ending.policy.version})[/]"
    yield from map(escape, _people(scenario, ending))
    for title, found in (("Shared", _shared(ending)), ("Kept apart", _apart(ending)), ("Nobody's", _nobodys(ending))):
        if found:
            yield ""
            yield f"  [bold]{title}[/]"
            yield from (escape(f"    {line}") for line in found)
    if checks:
        yield ""
        yield "  [bold]As expected[/]" if all(check.holds for check in checks) else "  [bold]Not as expected[/]"
        yield from map(_verdict, checks)


def as_data(scenario: Scenario, ending: Ending, checks: Sequence[Check]) -> dict[str, Any]:
    """The same for scripts."""
    return {
        "title": scenario.title,
        "policy": ending.policy.version,
        "people": [{"records": group, "identifiers": _owned(group, ending)} for group in ending.partition.groups()],
        "shared": sorted(ending.partition.shared),
        "refusals": [
            {
                "reason": refusal.reason.value,
                "kind": refusal.kind,
                "limit": refusal.limit,
                "records": [refusal.record, refusal.owner],
                "identifier": refusal.identifier,
                "confidence": refusal.confidence / PPM,
                "holders": refusal.holders,
            }
            for refusal in ending.refusals
        ],
        "checks": [{"expected": check.expected, "holds": check.holds, "found": check.found} for check in checks],
    }


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of words under each other, indented; the last word of a row is as long as it is."""
    widths = [max(map(len, column)) for column in zip(*(row[:-1] for row in rows), strict=True)]
    for *cells, last in rows:
        yield "    " + "".join(f"{cell:<{width + 2}}" for cell, width in zip(cells, widths, strict=True)) + last


# -- what comes in ---------------------------------------------------------------------------------------------------


def _told(item: StoryItem) -> tuple[str, str]:
    match item:
        case CustomerItem():
            traits = [f"{name} {value}" for name, value in item.traits.items()]
            return f"customer {item.customer}", "; ".join([*_said(item), *traits])
        case OrderItem():
            whose = f"order {item.order} of {item.customer}" if item.customer else f"guest order {item.order}"
            return whose, "; ".join(_said(item))
        case EventItem():
            whose = f"event {item.event} of {item.customer}" if item.customer else f"event {item.event}"
            return whose, f"{item.assurance} {item.device}" if item.device else ""
        case LinkItem():
            return f"link to {item.link}", "; ".join([*_said(item), f"says {item.source}"])
        case MatchItem():
            return "operator's match", f"{item.match[0]} is {item.match[1]}, says {item.by}: {item.why}"
        case BanItem():
            until = "" if item.until is None else f" until day {item.until}"
            return "operator's ban", f"{item.ban[0]} is not {item.ban[1]}{until}, says {item.by}: {item.why}"
        case WithdrawItem():
            who = item.source or item.withdraw.partition(":")[0]
            return f"withdrawn from {item.withdraw}", f"{', '.join(item.identifiers)}; says {who}"
        case DeleteItem():
            return f"deleted {item.delete}", ""


def _said(item: CustomerItem | OrderItem | LinkItem) -> list[str]:
    return [f"{assurance} {', '.join(texts)}" for assurance in Assurance if (texts := getattr(item, assurance))]


# -- who is who ------------------------------------------------------------------------------------------------------


def _people(scenario: Scenario, ending: Ending) -> Iterator[str]:
    rows = []
    for number, group in enumerate(ending.partition.groups(), start=1):
        for record in group:
            has = ", ".join(_strength(record, identifier, ending) for identifier in ending.identifiers[record])
            rows.append((str(number) if record == group[0] else "", record, has))
        rows += [("", "", words) for words in _grounds(scenario, group, ending)]
    yield from _columns(rows)


def _strength(record: RecordName, identifier: IdentifierKey, ending: Ending) -> str:
    """An identifier of a record, and what the link to it is worth."""
    if ending.policy.is_blocked(identifier):
        return f"{identifier} (blocked)"
    if identifier in ending.partition.shared:
        return f"{identifier} (shared)"
    confidence = ending.partition.confidence.get((record, identifier), 0)
    hint = "" if _is_claim(confidence, ending) else ", a hint"
    return f"{identifier} ({_probability(confidence)}{hint})"


def _grounds(scenario: Scenario, group: Sequence[RecordName], ending: Ending) -> Iterator[str]:
    """What else makes these records one, and what they gain by it."""
    for (a, b), confidence in sorted(ending.partition.accumulated.items()):
        if a in group and b in group:
            yield f"{a} and {b}: what they have in common makes {_probability(confidence)} together"
    for item in scenario.items:
        if isinstance(item, MatchItem) and {f"customer:{key}" for key in item.match} <= set(group):
            yield f"{item.match[0]} and {item.match[1]}: by {item.by}'s word"
    for device, count in sorted(ending.events.items()):
        if ending.owner(device) == ending.identity(group[0]):
            yield f"{_events(count)} on {device} without a log-in"


def _owned(group: Sequence[RecordName], ending: Ending) -> list[IdentifierKey]:
    return sorted(key for key, record in ending.partition.owner.items() if record in group)


def _shared(ending: Ending) -> list[str]:
    above = {identifier: ending.policy.kind(kind_of(identifier)).shared_above for identifier in ending.partition.shared}
    return [
        f"{identifier}: more than {most} customers of one source have it, so it says nothing about any of them"
        for identifier, most in sorted(above.items())
    ]


def _nobodys(ending: Ending) -> list[str]:
    return [
        f"{_events(count)} on {device}" for device, count in sorted(ending.events.items()) if not ending.owner(device)
    ]


# -- who is kept apart -----------------------------------------------------------------------------------------------


def _apart(ending: Ending) -> list[str]:
    """For each two identities: all that would join them, and why it does not."""
    numbers = {group[0]: number for number, group in enumerate(ending.partition.groups(), start=1)}
    bonds: dict[tuple[int, int, str], list[str]] = defaultdict(list)
    for refusal in ending.refusals:
        sides = {numbers[ending.partition.root[end]]: end for end in (refusal.record, refusal.owner)}
        (one, first), (other, second) = sorted(sides.items())
        bonds[one, other, _why(refusal, {one: first, other: second}, ending)].append(_bond(refusal, ending))
    lines = []
    for (one, other, why), common in bonds.items():
        lines += [f"{one} and {other}", *(f"  {bond}" for bond in common), f"  {why}"]
    return lines


def _bond(refusal: Refusal, ending: Ending) -> str:
    """What would join the two records."""
    if refusal.identifier is not None:
        a, b = (
            f"{record} ({_probability(ending.partition.confidence[record, refusal.identifier])})"
            for record in (refusal.record, refusal.owner)
        )
        return f"{a} and {b} have {refusal.identifier}"
    if refusal.confidence == PPM:
        return f"{refusal.record} and {refusal.owner} are one by an operator's word"
    together = _probability(refusal.confidence)
    return f"{refusal.record} and {refusal.owner} have several hints in common, {together} together"


def _why(refusal: Refusal, sides: Mapping[int, RecordName], ending: Ending) -> str:
    match refusal.reason:
        case RefusalReason.BAN:
            return f"BAN: by an operator's word {' and '.join(refusal.holders)} are never one"
        case RefusalReason.SOURCE:
            holders = " and ".join(refusal.holders)
            return f"SOURCE {refusal.kind}: it keeps one record a person, and {holders} are two"
        case RefusalReason.LIMIT:
            claims = [f"{number} has {_claims(refusal, end, ending)}" for number, end in sides.items()]
            return f"LIMIT {refusal.kind}: a person has at most {refusal.limit}; {', '.join(claims)}"


def _claims(refusal: Refusal, end: RecordName, ending: Ending) -> str:
    """The identifiers of the kind that an identity claims, and the records that hold them."""
    identity = ending.identity(end)
    holders: dict[IdentifierKey, list[RecordName]] = defaultdict(list)
    for record in refusal.holders:
        for identifier in ending.identifiers[record]:
            confidence = ending.partition.confidence.get((record, identifier), 0)
            if (
                ending.identity(record) == identity
                and kind_of(identifier) == refusal.kind
                and _is_claim(confidence, ending)
            ):
                holders[identifier].append(record)
    return " and ".join(f"{identifier} ({', '.join(records)})" for identifier, records in sorted(holders.items()))


# -- words -----------------------------------------------------------------------------------------------------------


def _is_claim(confidence: int, ending: Ending) -> bool:
    return confidence >= in_ppm(ending.policy.link_threshold)


def _probability(ppm: int) -> str:
    """Three decimals at most, and never rounded up: what misses a threshold must not look as if it reached it."""
    return f"{ppm // 1000 / 1000:g}"


def _events(count: int) -> str:
    return "1 event" if count == 1 else f"{count} events"


def _verdict(check: Check) -> str:
    if check.holds:
        return f"    [green]ok[/]  {escape(check.expected)}"
    return f"    [red]no[/]  {escape(check.expected)}; there is: {escape(check.found)}"
