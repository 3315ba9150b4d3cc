"""How a scenario ends under a policy, decided without a graph, and whether it was expected to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from onefold.graph.errors import InvalidInput, Violation
from onefold.graph.evidence import Evidence
from onefold.graph.model import Event, IdentifierKey, Item, RecordName
from onefold.graph.policy import Policy
from onefold.graph.resolve import Partition, Refusal, resolve
from onefold.service import convert, wire
from onefold.service.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Ending:
    """Who is who at the end of a story, and on what grounds."""

    policy: Policy
    """The rules that it was decided by."""
    partition: Partition
    refusals: list[Refusal]
    identifiers: Mapping[RecordName, list[IdentifierKey]]
    """What each record was said to have, blocked values too, in the story's order."""
    events: Mapping[IdentifierKey, int]
    """How many events without a customer each device has."""

    def identity(self, record: RecordName) -> RecordName | None:
        """The identity of a record, named by its first record; None for a record that the story does not bring."""
        return self.partition.root.get(record)

    def owner(self, identifier: IdentifierKey) -> RecordName | None:
        """The identity that an identifier belongs with; None for one that is nobody's."""
        record = self.partition.owner.get(identifier)
        return None if record is None else self.partition.root[record]


def rules(scenario: Scenario, policy: Policy) -> Policy:
    """The policy with the story's word on its sources."""
    if not scenario.sources:
        return policy
    content = policy.model_dump(by_alias=True)
    return Policy.model_validate({**content, "sources": {**content["sources"], **scenario.sources}})


def tell(scenario: Scenario, policy: Policy) -> Ending:
    """The story's end, as the service would come to it. Raises InvalidInput for items that the service would refuse,
    with the place of each in the file."""
    known = rules(scenario, policy)
    told, evidence = _told(scenario, known)
    edges = evidence.edges()
    partition, refusals = resolve(edges, known, evidence.bans.values(), scenario.end)
    identifiers: dict[RecordName, list[IdentifierKey]] = {record: [] for record in partition.root}
    for link in edges.links:
        if link.identifier not in identifiers[link.record]:
            identifiers[link.record].append(link.identifier)
    events = Counter(item.device for item in told if isinstance(item, Event) and item.device and not item.customer)
    return Ending(known, partition, refusals, identifiers, events)


def _told(scenario: Scenario, policy: Policy) -> tuple[list[Item], Evidence]:
    told: list[Item] = []
    evidence = Evidence()
    broken: list[Violation] = []
    for index, item in enumerate(scenario.items):
        for message in item.messages():
            try:
                if wrong := wire.violations(message):
                    raise InvalidInput(wrong)
                parsed = convert.parse_item(message, policy)
                evidence.add(parsed)
                told.append(parsed)
            except InvalidInput as err:
                broken += [Violation(scenario.place(index), f"{v.field} {v.rule}") for v in err.violations]
    if broken:
        raise InvalidInput(broken)
    evidence.hand_over()
    return told, evidence


# -- what was expected -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a story expects of its end."""

    expected: str
    found: str = ""
    """What is there instead; empty if it is as expected."""

    @property
    def holds(self) -> bool:
        """Whether the story ends so."""
        return not self.found


def checks(scenario: Scenario, ending: Ending) -> list[Check]:
    """Each thing that the story expects, and one for each that it does not expect and is there all the same: an end
    is told in full. Empty for a story that expects nothing."""
    if scenario.people is None:
        return []
    return [
        *_people(scenario, ending),
        *_apart(scenario, ending),
        *_shared(scenario, ending),
        *_anonymous_events(scenario, ending),
    ]


def _people(scenario: Scenario, ending: Ending) -> Iterator[Check]:
    groups = {ending.partition.root[group[0]]: group for group in ending.partition.groups()}
    for person in scenario.groups:
        identities = {ending.identity(record) for record in person}
        there = sorted(groups[identity] for identity in identities if identity is not None)
        unknown = [f"{record} is not in the story" for record in person if ending.identity(record) is None]
        found = "" if there == [person] else " | ".join([*map(", ".join, there), *unknown])
        yield Check(f"one person: {', '.join(person)}", found)
    named = {record for person in scenario.groups for record in person}
    if others := [group for group in groups.values() if not named.intersection(group)]:
        yield Check("nobody else", " | ".join(map(", ".join, others)))


def _apart(scenario: Scenario, ending: Ending) -> Iterator[Check]:
    there: dict[_Refused, Refusal] = {}
    for refusal in ending.refusals:
        pair = frozenset((ending.identity(refusal.record), ending.identity(refusal.owner)))
        there.setdefault((pair, refusal.reason.value, refusal.kind), refusal)
    expected: set[_Refused] = set()
    for apart in scenario.apart:
        key: _Refused = (frozenset(map(ending.identity, apart.who)), apart.reason, apart.kind)
        expected.add(key)
        words = f"{' and '.join(apart.who)} kept apart: {apart.reason} {apart.kind}".strip()
        yield Check(words, "" if key in there else "not refused so")
    for (pair, reason, kind), refusal in there.items():
        if (pair, reason, kind) not in expected:
            yield Check("nobody else kept apart", f"{refusal.record} and {refusal.owner}: {reason} {kind}".strip())


_Refused = tuple[frozenset[RecordName | None], str, str]
"""Two identities, and the reason and the kind for which they are two."""


def _shared(scenario: Scenario, ending: Ending) -> Iterator[Check]:
    for identifier in scenario.shared:
        yield Check(f"{identifier} shared", "" if identifier in ending.partition.shared else "not shared")
    if others := sorted(ending.partition.shared - set(scenario.shared)):
        yield Check("nothing else shared", ", ".join(others))


def _anonymous_events(scenario: Scenario, ending: Ending) -> Iterator[Check]:
    for record, expected in scenario.anonymous_events.items():
        identity = ending.identity(record)
        count = sum(n for device, n in ending.events.items() if identity and ending.owner(device) == identity)
        yield Check(f"anonymous events of {record}: {expected}", "" if count == expected else str(count))
