"""What is defined: the catalogue in force with the segments that were created by calls, checked as one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from hashlib import blake2b

from onefold.graph.errors import Conflict, InvalidInput, NotFound, NotReady, Violation
from onefold.graph.ingest import Writer
from onefold.graph.model import RecordName
from onefold.graph.reader import Reader
from onefold.graph.segments import (
    Definitions,
    Edit,
    StoredCatalogue,
    StoredSegment,
    change_definitions,
    listed_records,
    read_definitions,
    write_list,
)
from onefold.segments import catalogue as catalogues
from onefold.segments.catalogue import Catalogue, Change, Segment
from onefold.segments.catalogue.difference import Kind
from onefold.segments.check import Rule, check
from onefold.segments.memberships import CompiledRules
from onefold.segments.problems import InvalidRule, did_you_mean
from onefold.segments.reads import Named
from onefold.segments.tree import InSegment
from onefold.segments.vocabulary import Vocabulary

_OF_FILE = "list "
"""Begins what stands in a segment for the file of its records: the id of its list, which changes as the list does."""


@dataclass(frozen=True)
class Defined:
    """Everything that is defined at one moment."""

    stored: Definitions
    file: Catalogue
    """The catalogue in force, by itself."""
    catalogue: Catalogue
    """With the segments that were created by calls."""
    broken: Mapping[str, str] = field(default_factory=dict)
    """Of those that don't fit the catalogue any more, why; they are in no frame."""

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What a rule may speak of."""
        return self.catalogue.vocabulary

    @cached_property
    def compiled(self) -> CompiledRules:
        """The rules of all labels and segments, for one person at a time."""
        return CompiledRules(self.catalogue)

    @cached_property
    def _rules(self) -> Callable[[str], Rule]:
        """Checks a text, once for those who ask the same again and again."""
        return lru_cache(maxsize=256)(lambda text: check(text, self.vocabulary))

    @property
    def lists(self) -> Mapping[str, str]:
        """The id of each static segment's list, by the segment's key."""
        return self.stored.lists

    def segment(self, key: str) -> Segment:
        """A segment that can be evaluated. Raises NotFound, and InvalidInput for one that is broken."""
        if key in self.broken:
            raise InvalidInput([Violation(f"segment {key}", self.broken[key])])
        if key not in self.catalogue.segments:
            near = did_you_mean(key, self.catalogue.segments).removeprefix("; ")
            raise NotFound("segment", key, near)
        return self.catalogue.segments[key]

    def membership(self, key: str) -> Rule:
        """The rule by which a frame is asked who is in a segment: its own, or of a list that of being on it. Raises as
        :meth:`segment`."""
        return self.segment(key).rule or Rule(InSegment(key), {})

    def rule(self, text: str) -> Rule:
        """The rule that a text says. Raises InvalidRule."""
        return self._rules(text)

    def check(self, text: str, field: str = "rule") -> Rule:
        """The rule that a text says. Raises InvalidInput that begins at ``field``."""
        try:
            return self.rule(text)
        except InvalidRule as error:
            raise InvalidInput([Violation(f"{field}: {v.field}", v.rule) for v in error.violations]) from error

    @property
    def text(self) -> str:
        """The catalogue in force, as YAML."""
        return self.stored.catalogue.text if self.stored.catalogue else catalogues.read(None)

    def readers(self, key: str) -> tuple[Named, ...]:
        """What reads a segment in its rule."""
        return self.catalogue.readers(Named("segment", key))


def defined(stored: Definitions) -> Defined:
    """What these definitions come to."""
    file = _file(stored.catalogue.text if stored.catalogue else None)
    file = replace(file, segments={key: _with_list(each, stored.lists) for key, each in file.segments.items()})
    known = _vocabulary(file, stored.segments)
    good: list[Segment] = []
    broken: dict[str, str] = {}
    for segment in stored.segments.values():
        try:
            good.append(_segment(segment, known))
        except InvalidInput as error:
            broken[segment.key] = str(error)
    return Defined(stored, file, file.with_segments(good), broken)


class Definer:
    """Knows what is defined, and changes it."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer
        self.on_change: Callable[[], None] = lambda: None
        """Is called when this process has changed anything."""
        self._current: Defined | None = None

    @property
    def current(self) -> Defined:
        """What was defined when it was last looked at, by :meth:`look`. Raises as that does, the first time."""
        return self._current or self.look()

    def look(self, seconds: float | None = None) -> Defined:
        """What is defined now. Raises DeadlineExceeded, Unavailable."""
        return self._take(read_definitions(self._reader.within(seconds)))

    def create(
        self, key: str, description: str, owner: str, rule: str | None, records: Collection[RecordName],
        seconds: float | None = None,
    ) -> StoredSegment:  # fmt: skip
        """A new segment, by a rule or as a list of records; the one that is there, if it is the same.

        Raises InvalidInput, and as :func:`onefold.graph.segments.change_definitions` does.
        """
        if rule is None and (same := self._same_list(key, description, owner, records, seconds)):
            return same
        list, count = (None, 0) if rule is not None else write_list(self._writer, records, seconds)

        def decide(before: Definitions) -> Edit:
            now = defined(before)
            checked = None if rule is None else now.check(rule, "segment.rule").text
            made = self._made(key, description, owner, checked, list, count)
            there = before.segments.get(key)
            if there is not None and rule is not None and there.etag == made.etag:
                return Edit()
            if there is not None or key in now.file.segments:
                raise InvalidInput([Violation("segment.key", f"there is a segment {key}: call yours otherwise")])
            edit = Edit(put=[made])
            _check_order(before, edit)
            return edit

        return self._changed(decide, seconds).stored.segments[key]

    def _is_list(self, list: str | None, records: Collection[RecordName], seconds: float | None) -> bool:
        """Whether a list has just these records."""
        return list is not None and listed_records(self._reader.within(seconds), list) == frozenset(records)

    def _same_list(
        self, key: str, description: str, owner: str, records: Collection[RecordName], seconds: float | None
    ) -> StoredSegment | None:
        """The segment that is there, if it is such a list."""
        there = self.look(seconds).stored.segments.get(key)
        if there is None or (there.description, there.owner) != (description, owner):
            return None
        return there if self._is_list(there.list, records, seconds) else None

    def update(
        self, key: str, changes: Mapping[str, str], records: Collection[RecordName], etag: str,
        seconds: float | None = None,
    ) -> StoredSegment:  # fmt: skip
        """A segment with some of its fields (``description``, ``owner``, ``rule``) changed, or another list of records.

        Raises Conflict unless the segment has this etag, if one is given; else as :meth:`create` and :meth:`delete`.
        """
        list, count = write_list(self._writer, records, seconds) if records else (None, 0)

        def decide(before: Definitions) -> Edit:
            there = _to_change(before, key, etag)
            wanted = {"description": there.description, "owner": there.owner, "rule": there.rule, **changes}
            rule = None if list else wanted["rule"]
            checked = None if rule is None else defined(before).check(rule, "segment.rule").text
            its = (None, 0) if checked is not None else (list, count) if list else (there.list, there.records)
            made = self._made(key, wanted["description"] or "", wanted["owner"] or "", checked, *its)
            edit = Edit(put=[replace(made, created_at=there.created_at)])
            _check_order(before, edit)
            return edit

        return self._changed(decide, seconds).stored.segments[key]

    def delete(self, key: str, etag: str, seconds: float | None = None) -> None:
        """Deletes a segment that nothing reads. Raises NotReady, naming what does, NotFound, InvalidInput for one of
        the catalogue, Conflict unless it has this etag, if one is given."""

        def decide(before: Definitions) -> Edit:
            _to_change(before, key, etag)
            readers = defined(before).readers(key)
            if readers:
                raise NotReady(f"segment {key}", f"is read by {', '.join(map(str, readers))}")
            return Edit(drop=[key])

        self._changed(decide, seconds)

    def apply(
        self, text: str, lists: Mapping[str, Collection[RecordName]], etag: str, dry_run: bool,
        seconds: float | None = None,
    ) -> tuple[list[Change], Defined]:  # fmt: skip
        """What a catalogue changes, and what is defined by it; it is in force then unless it is a ``dry_run``.

        ``lists`` has the records of its static segments; those that are not given stay. Raises InvalidCatalogue,
        InvalidInput, NotReady (a stored segment reads what it drops), Conflict.
        """
        new = catalogues.parse(text)
        static = [key for key, segment in new.segments.items() if segment.rule is None]
        if odd := sorted(set(lists) - set(static)):
            raise InvalidInput([Violation("lists", f"{odd[0]} is no static segment of the catalogue")])
        there = self.look(seconds).stored.catalogue
        known = there.lists if there else {}
        other = {key: of for key, of in lists.items() if not self._is_list(known.get(key), of, seconds)}
        written = {} if dry_run else {key: write_list(self._writer, of, seconds)[0] for key, of in other.items()}
        relisted = [Change(Kind.CHANGED, f"segment {key}", f"{len(set(of)):,} records") for key, of in other.items()]
        said: list[Change] = []

        def decide(before: Definitions) -> Edit:
            if etag and etag != catalogue_etag(before):
                raise Conflict("the catalogue in force is another one: get it anew")
            kept = before.catalogue.lists if before.catalogue else {}
            missing = [key for key in static if key not in lists and key not in kept]
            if missing:
                raise InvalidInput([Violation("lists", f"the records of {', '.join(missing)} are missing")])
            its = {key: written.get(key, kept.get(key, "")) for key in static}
            stored = StoredCatalogue(text, _digest(text, *map(str, sorted(its.items()))), self._writer.clock(), its)
            edit = Edit(catalogue=stored)
            _check_order(before, edit)
            said[:] = [*catalogues.diff(_file(before.catalogue.text if before.catalogue else None), new), *relisted]
            return edit

        if dry_run:
            before = read_definitions(self._reader.within(seconds))
            edit = decide(before)
            return said, defined(replace(before, catalogue=edit.catalogue))
        return said, self._changed(decide, seconds)

    def _made(
        self, key: str, description: str, owner: str, rule: str | None, list: str | None, count: int
    ) -> StoredSegment:
        now = self._writer.clock()
        etag = _digest(key, description, owner, rule or "", list or "")
        return StoredSegment(key, description, owner, rule, list, count, etag, now, now)

    def _changed(self, decide: Callable[[Definitions], Edit], seconds: float | None) -> Defined:
        found = self._take(change_definitions(self._writer, decide, seconds))
        self.on_change()
        return found

    def _take(self, stored: Definitions) -> Defined:
        current = self._current
        if current is None or current.stored != stored:
            current = self._current = defined(stored)
        return current


def catalogue_etag(stored: Definitions) -> str:
    """What the catalogue in force is, for who would change it."""
    return stored.catalogue.etag if stored.catalogue else _digest(catalogues.read(None))


def _check_order(before: Definitions, edit: Edit) -> None:
    """That all still makes sense: what is stored fits the catalogue, and no rule comes back to itself."""
    after = Definitions(
        edit.catalogue or before.catalogue, {**before.segments, **{segment.key: segment for segment in edit.put}}
    )
    was, now = defined(before), defined(after)
    if taken := sorted(set(now.file.segments) & set(after.segments)):
        raise NotReady(f"segment {taken[0]}", "was created by a call: delete it, or call the catalogue's otherwise")
    if torn := sorted(set(now.broken) - set(was.broken)):
        raise NotReady(f"segment {torn[0]}", f"would not make sense any more: {now.broken[torn[0]]}")


def _to_change(before: Definitions, key: str, etag: str) -> StoredSegment:
    there = before.segments.get(key)
    if there is None:
        if key in defined(before).file.segments:
            raise InvalidInput([Violation("key", f"{key} is of the catalogue: apply a new one")])
        raise NotFound("segment", key, did_you_mean(key, before.segments).removeprefix("; "))
    if etag and etag != there.etag:
        raise Conflict(f"segment {key} is not what the etag says: get it anew")
    return there


@lru_cache(maxsize=4)
def _file(text: str | None) -> Catalogue:
    return catalogues.load() if text is None else catalogues.parse(text)


def _vocabulary(file: Catalogue, more: Iterable[str]) -> Vocabulary:
    return replace(file.vocabulary, segments=frozenset((*file.segments, *more)))


def _segment(stored: StoredSegment, known: Vocabulary) -> Segment:
    rule = None if stored.rule is None else check(stored.rule, known)
    records = f"{_OF_FILE}{stored.list}" if stored.list else ""
    return Segment(stored.key, rule, stored.description, stored.owner, records)


def _with_list(segment: Segment, lists: Mapping[str, str]) -> Segment:
    return replace(segment, records_file=f"{_OF_FILE}{lists[segment.key]}") if segment.key in lists else segment


def _digest(*parts: str) -> str:
    return blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()
