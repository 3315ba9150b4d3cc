"""Resolution written for the eye: every rule of DESIGN as a few obvious, slow lines, to hold the real one against.

Nothing here is shared with :mod:`onefold.graph.resolve` but the value types and the hash that breaks ties.
A rule can be switched off, so that tests can ask whether their worlds would notice.
"""

from __future__ import annotations

from hashlib import blake2b
from itertools import combinations
from math import prod

from onefold.graph.model import kind_of, source_of
from onefold.graph.policy import Policy
from onefold.graph.resolve import Ban, Edges

RULES = (
    "as_of",
    "blocked",
    "noisy_or",
    "guests",
    "specificity",
    "shared",
    "known_shared",
    "accumulated",
    "first_seen",
    "tie",
    "operator",
    "claims",
    "BAN",
    "expiry",
    "SOURCE",
    "LIMIT",
)
"""What can be switched off."""


def resolve(edges: Edges, policy: Policy, bans: list[Ban], as_of: int, without: str = ""):
    """The identities as sorted tuples of records, and the refused pairs of ends with their reasons."""

    def tie(*keys: str) -> bytes:
        return b"" if without == "tie" else blake2b("\0".join(keys).encode(), digest_size=16).digest()

    rows = [r for r in edges.links if r.first_seen <= as_of or without == "as_of"]
    rows = [r for r in rows if not policy.is_blocked(r.identifier) or without == "blocked"]
    matches = [m for m in edges.matches if m.at <= as_of]
    bans = [b for b in bans if b.at <= as_of and (b.expires_at is None or as_of < b.expires_at or without == "expiry")]
    records = set(edges.records) | {r.record for r in rows} | {end for m in edges.matches for end in m[:2]}
    identifiers = {r.identifier for r in rows}

    def base(row):
        return policy.base_confidence(kind_of(row.identifier), row.assurance, row.source)

    def strongest_other(order, identifier):
        others = {r.identifier for r in rows if r.record == order and r.identifier != identifier}
        best = {o: max(base(r) for r in rows if (r.record, r.identifier) == (order, o)) for o in others}
        return min(best, key=lambda o: (-best[o], o)) if best else ""

    def persons(identifier):
        here = [r for r in rows if r.identifier == identifier]
        return max(
            len(
                {
                    strongest_other(r.record, identifier)
                    if r.record.startswith("order:") and without != "guests"
                    else r.record
                    for r in here
                    if r.source == source
                }
            )
            for source in {r.source for r in here}
        )

    d = {v: persons(v) for v in identifiers}
    shared = {v for v in identifiers if d[v] > policy.kind(kind_of(v)).shared_above and without != "shared"}
    if without != "known_shared":
        shared |= set(edges.shared)

    def ppm(record, identifier):
        here = [r for r in rows if (r.record, r.identifier) == (record, identifier)]
        best = {s: max(base(r) for r in here if r.source == s) for s in {r.source for r in here}}
        none = 1.0
        for source in sorted(best):
            none *= 1.0 - best[source]
        combined = max(best.values()) if len(best) == 1 or without == "noisy_or" else 1.0 - none
        specificity = policy.specificity(kind_of(identifier), d[identifier] if without != "specificity" else 1)
        return round(min(combined, 0.999) * specificity * 1_000_000)

    def seen(record, identifier):
        if without == "first_seen":
            return 0
        return min(r.first_seen for r in rows if (r.record, r.identifier) == (record, identifier))

    pairs = {(r.record, r.identifier) for r in rows if r.identifier not in shared}
    confidence = {pair: ppm(*pair) for pair in pairs}
    eligible = {pair for pair in pairs if confidence[pair] >= round(policy.link_threshold * 1_000_000)}

    def first_link(identifier):
        return min(
            (pair for pair in eligible if pair[1] == identifier),
            key=lambda pair: (-confidence[pair], seen(*pair), tie(*pair)),
        )

    joins = [  # (sort key, one record, other record, what is refused)
        ((1, -confidence[pair], seen(*pair), tie(*pair)), pair[0], first_link(pair[1])[0], pair, False)
        for pair in eligible
        if pair != first_link(pair[1])
    ]
    for a, b in combinations(sorted(records), 2):
        common = sorted({v for r, v in pairs if r == a} & {v for r, v in pairs if r == b})
        if (
            len(common) < 2
            or without == "accumulated"
            or any((a, v) in eligible and (b, v) in eligible for v in common)
        ):
            continue
        chance = 1.0 - prod(1.0 - confidence[a, v] / 1e6 * (confidence[b, v] / 1e6) for v in common)
        score = round(min(chance, 0.999) * 1_000_000)
        if score >= round(policy.accumulated_threshold * 1_000_000):
            since = max(seen(r, v) for r in (a, b) for v in common)
            joins.append(((1, -score, since, tie(a, b)), a, b, (a, b), False))
    for m in matches:
        a, b = sorted((m.a, m.b))
        joins.append(((0, m.at, 0, tie(a, b)), a, b, (a, b), without != "operator"))

    group = {r: {r} for r in records}

    def claims(members, kind):
        claimed = {v for r, v in eligible if r in members and kind_of(v) == kind}
        return claimed if without != "claims" else {v for v in claimed if first_link(v)[0] in members}

    def sources(members):
        return {source_of(r) for r in members if r.startswith("customer:") and policy.is_deduplicated(source_of(r))}

    def forbidden(left, right, operator):
        across = [b for b in bans if (b.a in left and b.b in right) or (b.a in right and b.b in left)]
        if across and without != "BAN":
            return "BAN"
        if operator:
            return None
        if sources(left) & sources(right) and without != "SOURCE":
            return "SOURCE"
        for kind in policy.kinds:
            limit = policy.kind(kind).limit
            ours, theirs = claims(left, kind), claims(right, kind)
            if limit is not None and without != "LIMIT" and len(ours | theirs) > max(limit, len(ours), len(theirs)):
                return "LIMIT"
        return None

    refused = []
    for _, a, b, ends, operator in sorted(joins, key=lambda join: join[0]):
        if group[a] is group[b]:
            continue
        why = forbidden(group[a], group[b], operator)
        if why:
            refused.append((a, b, ends, why))
            continue
        union = group[a] | group[b]
        for member in union:
            group[member] = union
    kept_apart = {(ends, why) for a, b, ends, why in refused if group[a] is not group[b]}
    return sorted({tuple(sorted(g)) for g in group.values()}), kept_apart
