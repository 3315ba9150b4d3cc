"""Resolution on columns: every rule of :mod:`onefold.graph.resolve`, by its number."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from onefold.graph.bulk.columns import ColumnPartition, EvidenceColumns
from onefold.graph.bulk.joins import joined, owners
from onefold.graph.bulk.links import links_of
from onefold.graph.bulk.matches import accumulated
from onefold.graph.model import Instant
from onefold.graph.policy import Policy
from onefold.graph.resolve import Ban, Refusal, holding, last_instant
from onefold.graph.rulebook import PPM, rulebook


def resolve_columns(
    columns: EvidenceColumns, policy: Policy, bans: Iterable[Ban] = (), as_of: Instant | None = None
) -> tuple[ColumnPartition, list[Refusal]]:
    """What :func:`onefold.graph.resolve.resolve` says of the same evidence.

    For *n* rows takes time as sorting them does, and up to 150 bytes a row, the columns included.
    Raises InvalidInput (field ``matches``) when a match names a record that is not in the columns.
    """
    bans = list(bans)
    if as_of is None:
        as_of = last_instant([int(columns.first_seen.max())] if len(columns.first_seen) else [], columns.matches, bans)
    rules = rulebook(policy)
    links, shared = links_of(columns, policy, as_of)  # 1 to 3
    matches = accumulated(columns, links, rules)  # 4
    eligible = links.where(links.doubt <= rules.most_doubt)
    owner = owners(columns, eligible)  # 5
    root, refusals = joined(columns, eligible, owner, matches, holding(bans, as_of), rules, as_of)  # 6 to 9
    partition = ColumnPartition(
        root,
        owner,
        shared,
        links.record,
        links.identifier,
        PPM - links.doubt,
        np.stack((matches.a, matches.b), axis=1),
        PPM - matches.doubt,
    )
    return partition, refusals
