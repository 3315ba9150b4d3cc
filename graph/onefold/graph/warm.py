"""A first pass over what the engine will be asked: it plans each new text, and nobody should have to wait for that."""

from __future__ import annotations

import contextlib
from typing import Final

from neo4j.exceptions import DriverError, Neo4jError

from onefold.graph.errors import NotFound
from onefold.graph.identity import find
from onefold.graph.ingest import Batch, Writer, rehearse
from onefold.graph.model import Assertion, Assurance, Customer, Event, Item, Order, OrderLine, Refund
from onefold.graph.policy import Policy
from onefold.graph.profile import ALL, read_profile
from onefold.graph.reader import Reader
from onefold.graph.subject import Subject

_SOURCE: Final = "onefold-warm-up"


def warm(writer: Writer) -> None:
    """Has the engine plan the common statements: made-up batches, one that finds nothing and one that finds the first,
    are written and rolled back, and a profile is asked for that nobody has. Leaves no trace in the graph.
    """
    made_up = writer.new_id()  # replicas that start together must not meet
    reader = Reader(writer.driver, writer.database, writer.policy)
    nobody = Subject.record(f"customer:{_SOURCE}:{made_up}")
    try:
        rehearse(writer, [Batch(_items(made_up, n, writer.policy)) for n in range(2)])
        with contextlib.suppress(NotFound):
            find(reader, nobody)
        with contextlib.suppress(NotFound):
            read_profile(reader, nobody, ALL)
    except (Neo4jError, DriverError) as err:
        if not err.is_retryable():
            raise
        # Others write just now: the first callers plan what is left.


def _items(made_up: str, n: int, policy: Policy) -> list[Item]:
    """Items of the common sorts: other records and later sights with each ``n``, but the same identifiers."""
    kinds = {rule.label: kind for kind, rule in policy.kinds.items()}
    given = tuple(Assertion(f"{kind}:{made_up}", Assurance.VERIFIED) for kind in kinds.values())
    id, line = f"{made_up}-{n}", OrderLine(made_up, 1, 1)
    known, new = Customer(_SOURCE, made_up, n, given), Customer(_SOURCE, id, n, given)
    bought = Order(_SOURCE, id, n, "XXX", 1, "paid", n, new.name, lines=(line,), refunds=(Refund("1", n, 1),))
    as_guest = Order(_SOURCE, f"guest-{id}", n, "XXX", 1, "paid", n, assertions=given, lines=(line,))
    return [known, new, bought, as_guest, Event(_SOURCE, id, "view", n, new.name)]
