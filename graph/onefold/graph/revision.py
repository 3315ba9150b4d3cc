"""At which revision an identity is: two equal ones have the same records, evidence, orders and events between them.

Every transaction that writes to a component first locks it, by a value of its own that it leaves on the identity that
the component is named after (:data:`onefold.graph.cypher.READ_AND_LOCK`), whichever process it is from. So these values
tell, by one small read, whether what was read of an identity before is what would be read now.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from onefold.graph.identity import LOCATE, each
from onefold.graph.reader import Reader
from onefold.graph.subject import Subject

_READ: Final = {
    label: f"""UNWIND $keys AS key{text.replace("$key", "key")}
RETURN key, i.id, COLLECT {{
  MATCH (i)<-[:MEMBER_OF]-(r) MATCH (c:Identity {{id: r.component}}) RETURN DISTINCT [c.id, coalesce(c.lock, '')] }}
"""
    for label, text in LOCATE.items()
}


@dataclass(frozen=True, slots=True)
class Revision:
    """An identity as of the last commit that touched it."""

    identity: str
    locks: tuple[tuple[str, str], ...]
    """Of each component that has records of it: its name, and what the last transaction left there, empty if it was
    made by that. In an order of no chance."""


def read_revisions(reader: Reader, subjects: Iterable[Subject]) -> dict[Subject, Revision]:
    """The identity that each subject leads to, and its revision; who leads to nobody is missing.

    What is read of an identity after its revision is of this or a later one. Raises InvalidInput for an unknown kind of
    identifier, DeadlineExceeded, Unavailable.
    """
    return {
        subject: Revision(id, tuple(sorted((component, lock) for component, lock in locks)))
        for subject, (id, locks) in each(reader, _READ, subjects).items()
    }
