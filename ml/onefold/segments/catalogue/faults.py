"""What is wrong with a catalogue's file, gathered until it is told."""

from __future__ import annotations

from onefold.graph.document import Places, Step
from onefold.graph.errors import Violation
from onefold.segments.catalogue.definitions import InvalidCatalogue

FieldPath = tuple[Step, ...]
"""The way to a field of the file: ``("labels", 3, "rule")``."""


class Faults:
    """Of one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found: list[tuple[FieldPath, int | None, str]] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, path: FieldPath, words: str, offset: int | None = None) -> None:
        """A fault of a field, or with an offset of that character of the field's text."""
        self._found.append((path, offset, words))

    def raise_any(self) -> None:
        """Raises InvalidCatalogue with all that was found, in the order of the text, if anything was."""
        if self._found:
            places = Places(self._text)
            told = sorted((places.of(path, offset), words) for path, offset, words in self._found)
            raise InvalidCatalogue([Violation(place.shown(columns=True), words) for place, words in told])
