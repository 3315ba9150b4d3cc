"""Who is meant: the ways to name a person."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from onefold.graph.model import IdentifierKey, RecordName


class SubjectKind(StrEnum):
    """What kind of name leads to the person."""

    IDENTITY = "identity"
    RECORD = "record"
    IDENTIFIER = "identifier"


@dataclass(frozen=True, slots=True)
class Subject:
    """A person, named by anything that leads to them."""

    kind: SubjectKind
    name: str
    """An identity's id, a record's name (a customer's, or any order's), or an identifier's key."""

    @classmethod
    def identity(cls, id: str) -> Subject:
        """The person with this id, or whose id it was before a merge."""
        return cls(SubjectKind.IDENTITY, id)

    @classmethod
    def record(cls, name: RecordName) -> Subject:
        """The person of a customer record, or who placed an order."""
        return cls(SubjectKind.RECORD, name)

    @classmethod
    def identifier(cls, key: IdentifierKey) -> Subject:
        """The person with whom an identifier belongs."""
        return cls(SubjectKind.IDENTIFIER, key)
