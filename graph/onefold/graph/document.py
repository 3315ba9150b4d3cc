"""YAML files that people write, checked as a whole: every fault is told, with its field and its line."""

from __future__ import annotations

import difflib
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from onefold.graph.errors import InvalidInput, Violation

MAX_LENGTH: Final = 1 << 20
"""The longest text that is read, in characters."""

Model = TypeVar("Model", bound=BaseModel)


def parse(text: str, model: type[Model], *, name: str, error: type[InvalidInput] = InvalidInput) -> Model:
    """The value that a YAML text describes; ``name`` is what faults of the text as a whole are told of.

    Raises ``error`` with a violation for each fault, its field as ``kinds.email.limit (line 12)``. A key that
    is given twice is a fault: the second of two would silently win.
    """
    if len(text) > MAX_LENGTH:
        raise error([Violation(name, f"must be at most {MAX_LENGTH} characters long")])
    try:
        root, content = _read(text)
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        where = f"{name} (line {mark.line + 1})" if mark else name
        raise error([Violation(where, err.problem or "is not valid YAML")]) from err
    except (yaml.YAMLError, ValueError, RecursionError) as err:
        raise error([Violation(name, f"is not valid YAML: {err}")]) from err
    if root is None or not isinstance(content, dict):
        raise error([Violation(f"{name} (line 1)", "must be a mapping of names to values")])
    try:
        return model.model_validate(content)
    except ValidationError as err:
        known = _field_names(model)
        raise error([_violation(detail, root, known) for detail in err.errors()]) from err


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value!r} is given twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _read(text: str) -> tuple[yaml.Node | None, Any]:
    """The one document of a text, as nodes (which know their lines) and as plain values."""
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        return root, None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()


def _violation(detail: ErrorDetails, root: yaml.Node, known: list[str]) -> Violation:
    path = ""
    node: yaml.Node | None = root
    line = root.start_mark.line
    for step in detail["loc"]:
        if step == "[key]":  # pydantic's word for "the key itself"; the path already names it
            continue
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
        node, line = _descend(node, step, line)
    # A rule on the whole document has no field of its own.
    return Violation(f"{path.removeprefix('.') or 'the whole'} (line {line + 1})", _rule(detail, known))


def _descend(node: yaml.Node | None, step: str | int, line: int) -> tuple[yaml.Node | None, int]:
    """The child of a node and its line; for a child that is missing, no node and its parent's line."""
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
            close = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1)
            return "is not known here" + (f"; did you mean {close[0]!r}?" if close else "")
        case "string_type":
            return "must be text: put it in quotes"
        case "model_type" | "dict_type":
            return "must be a mapping of names to values"
        case "string_pattern_mismatch":
            return f"must match {detail['ctx']['pattern']}"
        case "value_error":
            return str(detail["ctx"]["error"])
        case _:
            words = detail["msg"].replace("Input should", "must")
            return words[0].lower() + words[1:]


def _field_names(model: type[BaseModel]) -> list[str]:
    schema = model.model_json_schema()
    objects = [schema, *schema.get("$defs", {}).values()]
    return sorted({name for described in objects for name in described.get("properties", ())})
