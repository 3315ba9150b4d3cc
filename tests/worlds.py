"""Small random worlds of evidence, in which every rule of resolution has something to do."""

from __future__ import annotations

import random

from onefold.graph import policy
from onefold.graph.policy import Policy
from onefold.graph.resolve import Ban, Edges, Link, Match

RULES = """
version: 1
link_threshold: 0.8
accumulated_threshold: 0.7
sources:
  crm: {deduplicated: true}
  web: {trust: 0.9}
blocked: {values: ["n/a"]}
kinds:
  email:
    label: Email
    confidence: {verified: 0.98, declared: 0.9, observed: 0.6}
    specificity: [{up_to: 2, factor: 1.0}, {factor: 0.9}]
    shared_above: 3
    limit: 2
  phone:
    label: Phone
    confidence: {verified: 0.95, declared: 0.85, observed: 0.6}
    specificity: [{up_to: 1, factor: 1.0}, {up_to: 2, factor: 0.9}, {factor: 0.8}]
    shared_above: 2
    limit: 2
  device:
    label: Device
    confidence: {verified: 0.9, declared: 0.7, observed: 0.5}
    shared_above: 4
  member:
    label: ExternalId
    confidence: {verified: 0.99, declared: 0.95, observed: 0.85}
    shared_above: 5
    limit: 1
"""
"""Low limits, so that a dozen records meet all of them."""


def rules() -> Policy:
    return policy.parse(RULES)


def world(seed: int, records: int = 8, known_shared: bool = False) -> tuple[Edges, list[Ban], int]:
    """Evidence, bans and an instant to decide for; with ``known_shared`` at times an identifier that is said to be
    shared."""
    rng = random.Random(seed)
    names = [
        f"customer:{rng.choice(['crm', 'crm', 'web', 'shop'])}:{i}" if rng.random() < 0.8 else f"order:shop:{i}"
        for i in range(rng.randint(2, records))
    ]
    values = [f"{kind}:{i}" for kind in ("email", "phone", "device", "member") for i in range(rng.randint(1, 3))]
    values.append("email:n/a")
    links = []
    for name in names:
        for value in rng.sample(values, rng.randint(0, min(4, len(values)))):
            for source in {name.split(":")[1], *rng.sample(["web", "shop"], rng.randint(0, 1))}:
                assurance = rng.choice(["verified", "verified", "declared", "observed"])
                links.append(Link(name, value, source, assurance, rng.randint(0, 9)))
    customers = [n for n in names if n.startswith("customer:")]
    matches: list[Match] = []
    bans: list[Ban] = []
    if len(customers) >= 2:
        matches = [Match(*rng.sample(customers, 2), rng.randint(0, 9)) for _ in range(rng.randint(0, 2))]
        bans = [
            Ban(*rng.sample(customers, 2), rng.randint(0, 6), rng.choice([None, 7, 20]))
            for _ in range(rng.randint(0, 2))
        ]
    as_of = rng.choice([5, 8, 30])
    shared = rng.sample(values, rng.randint(0, 1)) if known_shared else ()
    return Edges(links, matches, names, shared), bans, as_of
