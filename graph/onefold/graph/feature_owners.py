"""Which features on identities are whose. Scores and frames both bring some, and neither may take away the other's.

``(:FeatureOwner {key, names})`` has the names of the properties that one of them has ever written. What both could
write is the frames': theirs are computed for everybody, at the same instant.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Final

import neo4j

FEATURE_PREFIX: Final = "f_"
"""Begins the names of the properties that hold features."""


class Owner(StrEnum):
    """Who brings features."""

    SCORES = "scores"
    FRAMES = "frames"


_READ: Final = "MATCH (o:FeatureOwner) RETURN o.key, o.names"

_WRITE: Final = "MERGE (o:FeatureOwner {key: $key}) SET o.lock = $lock, o.names = $names"

_LOCK: Final = "MERGE (o:FeatureOwner {key: $key}) SET o.lock = $lock"


def names_of(tx: neo4j.Transaction) -> dict[Owner, frozenset[str]]:
    """The names of the properties that each has ever written."""
    found = {Owner(key): frozenset(names or ()) for key, names in tx.run(_READ)}
    return {owner: found.get(owner, frozenset()) for owner in Owner}


def claim(tx: neo4j.Transaction, owner: Owner, names: Collection[str], lock: str) -> frozenset[str]:
    """All that this owner may write or take away, now that it has ``names`` too. ``lock`` as in
    :func:`onefold.graph.store.read`."""
    found = names_of(tx)
    if not found[owner].issuperset(names):
        tx.run(_LOCK, key=owner.value, lock=lock).consume()
        found = names_of(tx)  # another one may have come first
        found[owner] |= frozenset(names)
        tx.run(_WRITE, key=owner.value, lock=lock, names=sorted(found[owner])).consume()
    return found[owner] if owner is Owner.FRAMES else found[owner] - found[Owner.FRAMES]


def give_up(tx: neo4j.Transaction, owner: Owner, names: Collection[str], lock: str) -> None:
    """Says that an owner has taken these from all identities, and will write them no more."""
    left = names_of(tx)[owner] - frozenset(names)
    tx.run(_WRITE, key=owner.value, lock=lock, names=sorted(left)).consume()
