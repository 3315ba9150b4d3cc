"""A catalogue's file as definitions: every fault is told, by its path, line and column in the file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Final

from onefold.graph import document
from onefold.graph.document import Places
from onefold.graph.errors import InvalidInput
from onefold.segments.catalogue import examples
from onefold.segments.catalogue.definitions import (
    BASE_EVENT_FIELDS,
    MAX_KEY,
    VISIBLE,
    Catalogue,
    CustomFeature,
    EventField,
    Example,
    InvalidCatalogue,
    Label,
    Ladder,
    Property,
    Segment,
    Status,
    Tier,
    tier_rules,
)
from onefold.segments.catalogue.faults import Faults, FieldPath
from onefold.segments.catalogue.file import (
    CatalogueInFile,
    EventFieldInFile,
    ExampleInFile,
    FeatureInFile,
    LabelInFile,
    LadderInFile,
    SegmentInFile,
)
from onefold.segments.check import Rule, check
from onefold.segments.parse import parse as parse_rule
from onefold.segments.problems import InvalidRule
from onefold.segments.reads import Named, evaluation_order
from onefold.segments.tree import CountEvents, HasLabel, Node, children
from onefold.segments.vocabulary import FEATURES, Type, TypedFeature, Vocabulary, is_key

_PROPERTY: Final = re.compile(r'\s*property\(\s*"([a-z][a-z0-9_]{0,62})"\s*\)\s*')


def load(path: Path | None = None, features: Mapping[str, TypedFeature] = FEATURES) -> Catalogue:
    """The catalogue in a file, or the shipped one for retail.

    Raises InvalidCatalogue when the file can't be read or breaks a rule, naming every field with its line and column.
    """
    return parse(read(path), str(path or "the shipped catalogue"), features)


def read(path: Path | None = None) -> str:
    """The text of a catalogue's file, or of the shipped one. Raises InvalidCatalogue when it can't be read."""
    if path is None:
        return (resources.files("onefold.segments") / "catalogues" / "retail.yaml").read_text("utf-8")
    return document.read(path, error=InvalidCatalogue)


def parse(text: str, name: str = "catalogue", features: Mapping[str, TypedFeature] = FEATURES) -> Catalogue:
    """The catalogue in a YAML text, over the features that come with Onefold; ``name`` is what faults of the text as a
    whole are told of.

    Raises InvalidCatalogue: for everything that is not of the form of the file, each with its path, line and column;
    else for all that makes no sense, a rule's faults at their place in the file.
    """
    written = document.parse(text, CatalogueInFile, name=name, error=InvalidCatalogue, columns=True)
    faults = Faults(text)
    catalogue = _Reader(written, features, Places(text), faults).catalogue()
    faults.raise_any()
    return catalogue


class _Reader:
    """Makes definitions of what is written, and gathers what is wrong."""

    def __init__(
        self, written: CatalogueInFile, base: Mapping[str, TypedFeature], places: Places, faults: Faults
    ) -> None:
        self._written = written
        self._base = base
        self._places = places
        self._faults = faults
        self._event_fields = self._read_event_fields(written.event_fields)
        self._statuses: dict[str, Status] = {}
        """Of every label that there is, by key."""
        self._paths: dict[Named, FieldPath] = {}
        """Of everything that has a name."""
        self._name_all()
        self._known = self._read_vocabulary()

    def catalogue(self) -> Catalogue:
        """All of it; worth something only if there are no faults."""
        written = self._written
        labels = [self._label(each, ("labels", place)) for place, each in enumerate(written.labels)]
        ladders = [self._ladder(each, ("tiers", place)) for place, each in enumerate(written.tiers)]
        segments = [self._segment(each, ("segments", place)) for place, each in enumerate(written.segments)]
        tiers = [label for ladder in ladders if ladder for label in self._tier_labels(ladder)]
        found = Catalogue(
            number=written.catalogue,
            time_zone=written.time_zone,
            base=self._base,
            event_fields=self._event_fields,
            features={each.key: each for each in self._features()},
            labels={each.key: each for each in (*labels, *tiers) if each},
            ladders={each.key: each for each in ladders if each},
            segments={each.key: each for each in segments if each},
        )
        self._check_order(found)
        return found

    # -- names -------------------------------------------------------------------------------------------------------

    def _name_all(self) -> None:
        for place, label in enumerate(self._written.labels):
            self._name(Named("label", label.key), ("labels", place, "key"), label.status)
        for place, ladder in enumerate(self._written.tiers):
            self._name_tiers(ladder, ("tiers", place))
        for place, segment in enumerate(self._written.segments):
            self._name(Named("segment", segment.key), ("segments", place, "key"))

    def _name_tiers(self, ladder: LadderInFile, path: FieldPath) -> None:
        rungs = [(each.key, (*path, "of", place, "key")) for place, each in enumerate(ladder.of)]
        for key, where in (*rungs, (ladder.otherwise, (*path, "otherwise")), (ladder.unknown, (*path, "unknown"))):
            label = f"{ladder.key}_{key}"
            if len(label) > MAX_KEY:
                self._faults.add(where, f"its label would be called {label}, and a key may have {MAX_KEY} characters")
            self._name(Named("label", label), where, ladder.status)

    def _name(self, name: Named, path: FieldPath, status: Status = Status.ACTIVE) -> None:
        if first := self._paths.get(name):
            self._faults.add(path, f"there is another {name}, in line {self._places.of(first).line}")
            return
        self._paths[name] = path
        if name.kind == "label":
            self._statuses[name.key] = status

    # -- what rules may speak of -------------------------------------------------------------------------------------

    def _read_event_fields(self, written: Mapping[str, EventFieldInFile]) -> dict[str, EventField]:
        found = {each.key: each for each in BASE_EVENT_FIELDS}
        for key, each in written.items():
            path = ("event_fields", key)
            if self._may_be_called(key, path):
                if key in found and not found[key].property:
                    self._faults.add(path, "every event has it: call yours otherwise")
                found[key] = EventField(key, Type(each.type), each.property)
        return found

    def _read_vocabulary(self) -> Vocabulary:
        """With every feature that is written, also one whose source makes no sense: who reads it is not to blame."""
        features = dict(self._base)
        for key, each in self._written.features.items():
            path = ("features", key)
            if key in self._base:
                self._faults.add(path, "comes with Onefold: call yours otherwise")
            elif self._may_be_called(key, path):
                features[key] = TypedFeature(key, Type(each.type), each.unit)
        fields = {each.key: TypedFeature(each.key, each.type) for each in self._event_fields.values()}
        segments = [name.key for name in self._paths if name.kind == "segment"]
        return Vocabulary(features, fields, frozenset(self._statuses), frozenset(segments))

    def _may_be_called(self, key: str, path: FieldPath) -> bool:
        if not is_key(key):
            self._faults.add(path, f"{key} is a word of the rule language: call it otherwise")
        return is_key(key)

    def _features(self) -> Iterator[CustomFeature]:
        for key, each in self._written.features.items():
            source = self._source(each, ("features", key))
            if source is not None:
                yield CustomFeature(key, Type(each.type), source, each.meaning, each.unit, each.null_means)

    def _source(self, written: FeatureInFile, path: FieldPath) -> CountEvents | Property | None:
        if found := _PROPERTY.fullmatch(written.source):
            return Property(found[1])
        path = (*path, "source")
        try:
            tree = parse_rule(written.source)
        except InvalidRule as error:
            self._add_problems(path, error)
            return None
        if not isinstance(tree, CountEvents):
            self._faults.add(path, 'must be a count_events(…) or a property("…")')
            return None
        if Type(written.type) is not Type.INT:
            self._faults.add((*path[:-1], "type"), "must be int: events are counted")
        # As part of a rule, so that its fields are checked; on a line of its own, for a source may end in a comment.
        return tree if self._rule(f"{written.source}\n>= 0", path) else None

    # -- definitions -------------------------------------------------------------------------------------------------

    def _label(self, written: LabelInFile, path: FieldPath) -> Label | None:
        rule = self._rule(written.rule, (*path, "rule"), written.status)
        read = self._examples(written.tests, path, examples.TRUTHS)
        if rule is None:
            return None
        return Label(
            written.key,
            written.layer,
            rule,
            written.description,
            written.owner,
            written.version,
            written.status,
            _hours(written.refresh),
            examples=read,
        )

    def _ladder(self, written: LadderInFile, path: FieldPath) -> Ladder | None:
        rules = [
            self._rule(each.rule, (*path, "of", place, "rule"), written.status) for place, each in enumerate(written.of)
        ]
        keys = [*(each.key for each in written.of), written.otherwise, written.unknown]
        read = self._examples(written.tests, path, keys)
        tiers = [Tier(each.key, rule, each.description) for each, rule in zip(written.of, rules, strict=True) if rule]
        if len(tiers) < len(rules):
            return None
        return Ladder(
            written.key,
            tuple(tiers),
            written.unknown,
            written.otherwise,
            written.layer,
            written.description,
            written.owner,
            written.version,
            written.status,
            _hours(written.refresh),
            read,
        )

    def _tier_labels(self, ladder: Ladder) -> Iterator[Label]:
        descriptions = {
            **{tier.key: tier.description for tier in ladder.tiers},
            ladder.otherwise: f"{ladder.description or ladder.key}: none of the tiers above",
            ladder.unknown: f"{ladder.description or ladder.key}: too little is known",
        }
        for key, text in tier_rules(ladder).items():
            label = ladder.label(key)
            try:
                rule = check(text, self._known)
            except InvalidRule as error:
                path = self._paths[Named("label", label)]
                self._faults.add(path, f"with the rungs above it this is too much: {error.problems[0].words}")
                return
            yield Label(
                label,
                ladder.layer,
                rule,
                descriptions.get(key) or ladder.description,
                ladder.owner,
                ladder.version,
                ladder.status,
                ladder.refresh_hours,
                ladder.key,
            )

    def _segment(self, written: SegmentInFile, path: FieldPath) -> Segment | None:
        if (written.rule is None) == (written.static is None):
            self._faults.add(path, "must have either a rule or a static list")
            return None
        rule = None if written.rule is None else self._rule(written.rule, (*path, "rule"))
        read = self._examples(written.tests, path, examples.TRUTHS)
        if written.static is not None and written.tests:
            self._faults.add((*path, "tests"), "a static list has no rule to test")
        file = written.static.records if written.static else ""
        return Segment(written.key, rule, written.description, written.owner, file, read) if rule or file else None

    def _rule(self, text: str, path: FieldPath, status: Status = Status.ACTIVE) -> Rule | None:
        try:
            rule = check(text, self._known)
        except InvalidRule as error:
            self._add_problems(path, error)
            return None
        for node in _labels_read(rule.tree):
            other = self._statuses[node.key]
            if other not in VISIBLE[status]:
                words = "a draft: nobody has it yet" if other is Status.DRAFT else "retired: nobody has it any more"
                self._faults.add(path, f"label {node.key} is {words}", node.at[0])
        return rule

    def _examples(
        self, written: Iterable[ExampleInFile], path: FieldPath, expected: Iterable[str]
    ) -> tuple[Example, ...]:
        options = tuple(expected)
        read: list[Example] = []
        for place, each in enumerate(written):
            where = (*path, "tests", place)
            name = self._places.of(where).shown(columns=True)
            read.append(examples.read(each, where, name, options, self._known, self._faults))
        return tuple(read)

    def _add_problems(self, path: FieldPath, error: InvalidRule) -> None:
        for problem in error.problems:
            self._faults.add(path, problem.words, problem.at[0])

    def _check_order(self, found: Catalogue) -> None:
        """That no rule comes back to itself, drafts and retired labels too; where rules are missing nothing is said."""
        if self._faults:
            return
        rules = {label.named: label.rule.tree for label in found.labels.values()}
        try:
            evaluation_order(rules | {name: rule.tree for name, rule in found.rules.items()})
        except InvalidInput as error:
            paths = {str(name): path for name, path in self._paths.items()}
            for violation in error.violations:
                self._faults.add(paths[violation.field], violation.rule)


def _labels_read(node: Node) -> Iterator[HasLabel]:
    if isinstance(node, HasLabel):
        yield node
    for child in children(node):
        yield from _labels_read(child)


def _hours(refresh: str) -> int:
    return int(refresh[:-1]) * (24 if refresh[-1] == "d" else 1)
