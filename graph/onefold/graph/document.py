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
        raise error([Violation(_at(str(path), line), "is not valid UTF-8")]) from err


def parse(text: str, model: type[Model], *, name: str, error: type[InvalidInput] = InvalidInput) -> Model:
    """The value that a YAML text describes; ``name`` is what faults of the text as a whole are told of.

    Raises ``error`` with a violation for each fault, line by line, its field as ``kinds.email.limit (line 12)``.
    A key that is given twice is a fault: the second of two would silently win.
    """
    root, content, faults = _load(text, name, error)
    try:
        value = model.model_validate(content)
    except ValidationError as err:
        schema = model.model_json_schema()
        faults += [_fault(detail, root, schema) for detail in err.errors()]
        raise error(_line_by_line(faults)) from err
    if faults:
        raise error(_line_by_line(faults))
    return value


def locate(text: str, path: Sequence[Step]) -> str:
    """A field of a text that was parsed before, as faults name it: ``items[3] (line 12)``."""
    place = _place(yaml.compose(text, yaml.SafeLoader), path)
    return _at(place.path, place.line)


class _Fault(NamedTuple):
    line: int
    """Counted from 0."""
    path: str
    rule: str


def _line_by_line(faults: list[_Fault]) -> list[Violation]:
    return [Violation(_at(path, line), rule) for line, path, rule in sorted(faults)]


def _at(path: str, line: int) -> str:
    return f"{path} (line {line + 1})"


# -- text to nodes, which know their lines, and to plain values ------------------------------------------------------


def _load(text: str, name: str, error: type[InvalidInput]) -> tuple[yaml.Node, dict[Any, Any], list[_Fault]]:
    """The text's nodes, its values, and the keys that are given twice."""
    if len(text) > MAX_LENGTH:
        raise error([Violation(name, f"must be at most {MAX_LENGTH} characters long")])
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            raise error([Violation(name, "is empty")])
        faults = list(_given_twice(root))
        content = loader.construct_document(root)
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        raise error([Violation(_at(name, mark.line) if mark else name, _in_words(err.problem or ""))]) from err
    except ReaderError as err:
        line = text.count("\n", 0, err.position)
        rule = f"holds a character that YAML does not allow: U+{err.character:04X}"
        raise error([Violation(_at(name, line), rule)]) from err
    except (yaml.YAMLError, ValueError, RecursionError) as err:
        raise error([Violation(name, f"is not valid YAML: {err}")]) from err
    if not isinstance(content, dict):
        raise error([Violation(_at(name, root.start_mark.line), "must be a mapping of names to values")])
    return root, content, faults


def _in_words(problem: str) -> str:
    """What the YAML library says, made plain where its words are those of its grammar."""
    for words, plain in _PLAIN_WORDS.items():
        if words in problem:
            return plain
    return problem or "is not valid YAML"


_PLAIN_WORDS: Final = {
    r"'\t'": "is indented with a tab; YAML takes spaces only",
    "expected <block end>": "is not indented like its neighbours",
    "another document": "holds more than one document",
    "unhashable key": "has a name that is not plain text",
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
                here = f"{path}.{key.value}".removeprefix(".")
                line = key.start_mark.line
                if key.value in first:
                    yield _Fault(line, here, f"is given twice, first in line {first[key.value] + 1}")
                else:
                    first[key.value] = line
                    waiting.append((here, value))


# -- faults by field and line ----------------------------------------------------------------------------------------


def _fault(detail: ErrorDetails, root: yaml.Node, schema: Mapping[str, Any]) -> _Fault:
    # pydantic's own words in a path stand in brackets: "[key]" for the key itself, the name of an alternative.
    steps = [step for step in detail["loc"] if not (isinstance(step, str) and step.startswith("["))]
    place = _place(root, steps)
    # A rule on the whole document has no field of its own.
    return _Fault(place.line, place.path or "the whole", _rule(detail, _known(schema, steps)))


class _Place(NamedTuple):
    path: str
    line: int


def _place(root: yaml.Node | None, steps: Sequence[Step]) -> _Place:
    """The path of a field in words, and its line; for a field that is missing, the line of what lacks it."""
    path, node, line = "", root, root.start_mark.line if root else 0
    for step in steps:
        path += f"[{step}]" if isinstance(node, yaml.SequenceNode) else f".{step}"
        node, line = _descend(node, step, line)
    return _Place(path.removeprefix("."), line)


def _descend(node: yaml.Node | None, step: Step, line: int) -> tuple[yaml.Node | None, int]:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        child = node.value[step]
        return child, child.start_mark.line
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return value, key.start_mark.line
    return None, line


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
