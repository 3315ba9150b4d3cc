"""What can go wrong, as one tree.

    OnefoldError
    ├── InvalidInput          a value breaks a rule; carries the field and the rule
    │   ├── InvalidPolicy     the policy file breaks a rule; carries line and field
    │   ├── InvalidRule       a rule of a segment makes no sense; carries line and column (onefold.segments.problems)
    │   └── InvalidCatalogue  a catalogue breaks a rule; carries field, line and column (onefold.segments.catalogue)
    ├── NotFound              nothing is known under that key
    ├── Conflict              it lost a race as often as it may; try again
    ├── Unavailable           the engine can't be reached or is starting; try again
    ├── DeadlineExceeded      the caller's deadline ran out
    ├── Overloaded            a bounded queue is full; try again later
    ├── NotReady              a precondition does not hold (no model yet, too little data)
    └── EngineError           the embedded engine can't run here; says what to do

Each carries its data as attributes; doors turn them into a status in one table.
"""

from __future__ import annotations

from dataclasses import dataclass


class OnefoldError(Exception):
    """Any error that Onefold raises on purpose."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: the path of the field, and the rule in words."""

    field: str
    rule: str


class InvalidInput(OnefoldError):
    """A value breaks a rule."""

    def __init__(self, violations: list[Violation]) -> None:
        super().__init__("; ".join(f"{v.field}: {v.rule}" for v in violations))
        self.violations = violations


class InvalidPolicy(InvalidInput):
    """The policy file breaks a rule."""


class NotFound(OnefoldError):
    """Nothing is known under that key."""

    def __init__(self, resource_type: str, key: str, why: str = "") -> None:
        super().__init__(f"no {resource_type} is known as {key!r}" + (f": {why}" if why else ""))
        self.resource_type = resource_type
        self.key = key
        self.why = why


class Conflict(OnefoldError):
    """A write lost a race as often as it may."""


class Unavailable(OnefoldError):
    """The engine can't be reached, or is still starting."""


class DeadlineExceeded(OnefoldError):
    """The caller's deadline ran out before the answer was there."""


class Overloaded(OnefoldError):
    """A bounded queue is full."""

    def __init__(self, what: str, retry_after_s: float = 0.2) -> None:
        super().__init__(f"{what} is full; try again in {retry_after_s:g} s")
        self.what = what
        self.retry_after_s = retry_after_s


class NotReady(OnefoldError):
    """What was asked for needs something that is not there yet."""

    def __init__(self, subject: str, missing: str) -> None:
        super().__init__(f"{subject}: {missing}")
        self.subject = subject
        self.missing = missing


class EngineError(OnefoldError):
    """The embedded engine can't run here."""
