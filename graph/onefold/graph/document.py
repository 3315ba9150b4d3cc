"""YAML files that people write, checked as a whole: every fault is told, with its field and its line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from yaml.reader import ReaderError

from onefold.graph.errors import InvalidInput, Violation

MAX_LENGTH: Final = 1 << 20
"""The longest text that is read, in characters."""

Model = TypeVar("Model", bound=BaseModel)
Step = str | int
"""A field's name or an element's place: one step of the way into a document."""


def read(path: Path, *, error: type[InvalidInput] = InvalidInput) -> str:
    """The text of a file. Raises ``error`` when it can't be read or is not UTF-8."""
    try:
        content = path.read_bytes()
    except OSError as err:
        raise error([Violation(str(path), f"can't be read: {err.strerror}")]) from err
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as err:
        line = content.count(b"\n", 0, err.start)
        raise error([Violation(f"{path} (line {line + 1})", "is not valid UTF-8")]) from err


def parse(
    text: str, model: type[Model], *, name: str, error: type[InvalidInput] = InvalidInput, columns: bool = False
) -> Model:
    """The value that a YAML text describes; ``name`` is what faults of the text as a whole are told of.

    Raises ``error`` with a violation for each fault, line by line, its field as ``kinds.email.limit (line 12)``; with
    ``columns`` as ``kinds.email.limit (line 12, column 5)``.
    A key that is given twice is a fault: the second of two would silently win.
    """
    try:
        root, content, faults = _load(text, name)
    except _Unreadable as err:
        raise error([Violation(err.at.shown(columns) if err.at else name, err.rule)]) from err
    try:
        value = model.model_validate(content)
    except ValidationError as err:
        schema = model.model_json_schema()
        faults += [_fault(detail, root, schema) for detail in err.errors()]
        raise error(_line_by_line(faults, columns)) from err
    if faults:
        raise error(_line_by_line(faults, columns))
    return value


def locate(text: str, path: Sequence[Step]) -> str:
    """A field of a text that was parsed before, as faults name it: ``items[3] (line 12)``."""
    return Places(text).of(path).shown(columns=False)


class Place(NamedTuple):
    """Where a field stands in a text; places are in the order of the text."""

    line: int
    column: int
    """Both counted from 1."""
    path: str

    def shown(self, columns: bool) -> str:
        """As faults name it: ``items[3] (line 12)``, or with the column too."""
        return f"{self.path} (line {self.line}{f', column {self.column}' if columns else ''})"


class Places:
    """Where the fields of a text stand that was parsed before, and the characters of the texts in it: for files some of
    whose values are of a language of their own."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._root = yaml.compose(text, yaml.SafeLoader)

    def of(self, path: Sequence[Step], offset: int | None = None) -> Place:
        """The place of a field; with an offset, that of this character of the field's text."""
        place, node = _place(self._root, path)
        if offset is None or not isinstance(node, yaml.ScalarNode):
            return place
        index = _source_index(self._text, node, offset)
        line_start = self._text.rfind("\n", 0, index) + 1
        return Place(self._text.count("\n", 0, index) + 1, index - line_start + 1, place.path)


def _source_index(text: str, node: yaml.ScalarNode, offset: int) -> int:
    """Where in its source a character of a scalar's value is: past quotes and indentation, each character is the next
    one of its kind. An escape such as ``\\u00e9`` is passed over with what follows it."""
    index, end = node.start_mark.index, node.end_mark.index
    if node.style in ("|", ">"):
        index = text.index("\n", index)
    for character, following in zip(node.value[:offset], node.value[1 : offset + 1] + "x", strict=False):
        index = _found(text, character, index, end) + 1
        while character.isspace() and not following.isspace() and text[index : index + 1].isspace():
            index += 1  # indentation, or a line end that is folded into one space
    return _found(text, node.value[offset : offset + 1], index, end)


def _found(text: str, character: str, start: int, end: int) -> int:
    for index in range(start, end):
        if text[index] == character or (character.isspace() and text[index].isspace()):
            return index
    return min(start, end)


class _Fault(NamedTuple):
    at: Place
    rule: str


class _Unreadable(Exception):
    """The text as a whole is nothing that can be looked into."""

    def __init__(self, rule: str, at: Place | None = None) -> None:
        super().__init__(rule)
        self.rule = rule
        self.at = at


def _line_by_line(faults: list[_Fault], columns: bool) -> list[Violation]:
    return [Violation(fault.at.shown(columns), fault.rule) for fault in sorted(faults)]


def _at(path: str, mark: yaml.Mark) -> Place:
    return Place(mark.line + 1, mark.column + 1, path)


# -- text to nodes, which know their lines, and to plain values ------------------------------------------------------


def _load(text: str, name: str) -> tuple[yaml.Node, dict[Any, Any], list[_Fault]]:
    """The text's nodes, its values, and the keys that are given twice. Raises _Unreadable."""
    if len(text) > MAX_LENGTH:
        raise _Unreadable(f"must be at most {MAX_LENGTH} characters long")
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            raise _Unreadable("is empty")
        faults = list(_given_twice(root))
        content = loader.construct_document(root)
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        said = _in_words(err.problem or "", err.context or "")
        raise _Unreadable(said, _at(name, mark) if mark else None) from err
    except ReaderError as err:
        before = text[: err.position]
        at = Place(before.count("\n") + 1, len(before) - before.rfind("\n"), name)
        raise _Unreadable(f"holds a character that YAML does not allow: U+{err.character:04X}", at) from err
    except (yaml.YAMLError, ValueError, RecursionError) as err:
        raise _Unreadable(f"is not valid YAML: {err}") from err
    except (LookupError, AttributeError) as err:  # the library's own, of `!!int ''` and `!!timestamp x`
        raise _Unreadable("holds a value that is not what its tag (!!…) says") from err
    if not isinstance(content, dict):
        raise _Unreadable("must be a mapping of names to values", _at(name, root.start_mark))
    return root, content, faults


def _in_words(problem: str, context: str) -> str:
    """What the YAML library says, made plain where its words are those of its grammar."""
    for words, plain in _PLAIN_WORDS.items():
        if words in problem or words in context:
            return plain
    return problem or "is not valid YAML"


_PLAIN_WORDS: Final = {
    r"'\t'": "is indented with a tab; YAML takes spaces only",
    "expected <block end>": "is not indented like its neighbours",
    "another document": "holds more than one document",
    "unhashable key": "has a name that is not plain text",
    "scanning a tag": "begins with !, which means something else in YAML: put it in quotes",
}


def _given_twice(root: yaml.Node) -> Iterator[_Fault]:
    """Each key that stands a second time in its mapping.

    Asked of the nodes before they become values: then, merged (``<<``) keys stand beside those that override them.
    """
    seen: set[int] = set()
    waiting: list[tuple[str, yaml.Node]] = [("", root)]
    while waiting:
        path, node = waiting.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += [(f"{path}[{place}]", child) for place, child in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            first: dict[str, int] = {}
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):  # refused when values are made of the nodes
                    continue
                here = f"{path}.{key.value}".removeprefix(".")
                if key.value in first:
                    yield _Fault(_at(here, key.start_mark), f"is given twice, first in line {first[key.value]}")
                else:
                    first[key.value] = key.start_mark.line + 1
                    waiting.append((here, value))


# -- faults by field and line ----------------------------------------------------------------------------------------


def _fault(detail: ErrorDetails, root: yaml.Node, schema: Mapping[str, Any]) -> _Fault:
    # pydantic's own words in a path stand in brackets: "[key]" for the key itself, the name of an alternative.
    steps = [step for step in detail["loc"] if not (isinstance(step, str) and step.startswith("["))]
    place, _ = _place(root, steps)
    return _Fault(place, _rule(detail, _known(schema, steps)))


def _place(root: yaml.Node | None, steps: Sequence[Step]) -> tuple[Place, yaml.Node | None]:
    """The place of a field, and its node; for a field that is missing, the place of what lacks it."""
    path, node, mark = "", root, root.start_mark if root else None
    for step in steps:
        path += f"[{step}]" if isinstance(node, yaml.SequenceNode) else f".{step}"
        node, mark = _descend(node, step, mark)
    # A rule on the whole document has no field of its own.
    words = path.removeprefix(".") or "the whole"
    return _at(words, mark) if mark else Place(1, 1, words), node


def _descend(node: yaml.Node | None, step: Step, mark: yaml.Mark | None) -> tuple[yaml.Node | None, yaml.Mark | None]:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        child = node.value[step]
        return child, child.start_mark
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return value, key.start_mark
    return None, mark


def _rule(detail: ErrorDetails, known: list[str]) -> str:
    match detail["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "is not known here" + _did_you_mean(detail["loc"][-1], known)
        case "string_type" if not isinstance(detail["input"], list | dict):
            return "must be text: put it in quotes"
        case "string_type":
            return "must be text"
        case "bool_type":
            return "must be true or false"
        case "tuple_type":
            return "must be a list"
        case "model_type" | "dict_type":
            return "must be a mapping of names to values"
        case "too_short":
            return "must not be empty"
        case "string_pattern_mismatch":
            return f"must match {detail['ctx']['pattern']}"
        case "value_error":
            return str(detail["ctx"]["error"])
        case _:
            words = detail["msg"].replace("Input should", "must")
            return words[0].lower() + words[1:]


def _did_you_mean(word: object, known: list[str]) -> str:
    close = difflib.get_close_matches(str(word), known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known are {', '.join(known)}" if known else ""


def _known(schema: Mapping[str, Any], steps: Sequence[Step]) -> list[str]:
    """The names of all fields that may stand beside the one that the steps lead to, by the model's JSON schema."""
    here = list(_alternatives(schema, schema))
    for step in steps[:-1]:
        here = [
            found
            for described in here
            for child in _children(described, step)
            for found in _alternatives(child, schema)
        ]
    return sorted({name for described in here for name in described.get("properties", ())})


def _children(described: Mapping[str, Any], step: Step) -> Iterator[Mapping[str, Any]]:
    if isinstance(step, int) and "items" in described:
        yield described["items"]
    elif step in described.get("properties", ()):
        yield described["properties"][step]
    else:
        patterns = described.get("patternProperties", {})
        yield from (child for pattern, child in patterns.items() if re.search(pattern, str(step)))
        if isinstance(others := described.get("additionalProperties"), Mapping):
            yield others


def _alternatives(described: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What a schema comes to: itself, what it refers to, or each of the shapes that it allows."""
    if "$ref" in described:
        described = schema["$defs"][described["$ref"].rpartition("/")[2]]
    options = [*described.get("anyOf", ()), *described.get("oneOf", ())]
    if not options:
        yield described
    for option in options:
        yield from _alternatives(option, schema)
