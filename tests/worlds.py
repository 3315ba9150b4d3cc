"""Random worlds of evidence: small ones, in which every rule of resolution has something to do, and crowds of guest
orders that have only hints in common."""

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


def crowd(seed: int, most: int = 40) -> tuple[Edges, list[Ban], int]:
    """Groups of 5 to ``most`` guest orders that say the same of one to three identifiers, with a few customers who have
    these too, and at times something of their own; bans and operators' matches among them all."""
    rng = random.Random(seed)
    # Few values, so that groups overlap; more of a kind that has no limit.
    values = ["device:0", "device:1", "device:2", "member:0", "email:0", "phone:0"]
    links: list[Link] = []
    for group in range(rng.randint(1, 3)):
        said = [(v, rng.choice(["declared", "observed", "observed"])) for v in rng.sample(values, rng.randint(1, 3))]
        source = rng.choice(["web", "shop"])
        for n in range(rng.randint(5, most)):
            name = f"order:{source}:{group}-{n}"
            links += [Link(name, value, source, assurance, rng.randint(0, 9)) for value, assurance in said]
            if rng.random() < 0.1:
                links.append(Link(name, f"device:own-{rng.randint(0, 2)}", source, "observed", rng.randint(0, 9)))
    for n in range(rng.randint(0, 3)):
        source = rng.choice(["crm", "web", "shop"])
        for value in rng.sample(values, rng.randint(1, 4)):
            assurance = rng.choice(["verified", "declared", "observed"])
            links.append(Link(f"customer:{source}:{n}", value, source, assurance, rng.randint(0, 9)))
    names = sorted({link.record for link in links})
    matches = [Match(*rng.sample(names, 2), rng.randint(0, 9)) for _ in range(rng.randint(0, 2))]
    bans = [Ban(*rng.sample(names, 2), rng.randint(0, 6), rng.choice([None, 7])) for _ in range(rng.randint(0, 4))]
    return Edges(links, matches, names), bans, rng.choice([8, 30])


def hinted(orders: int, hints: int) -> list[Link]:
    """Guest orders that were all seen with the same devices, which joins none of them."""
    return [
        Link(f"order:shop:{n}", f"device:{hint}", "shop", "observed", n) for n in range(orders) for hint in range(hints)
    ]


def hinted_in_pairs(orders: int) -> list[Link]:
    """Guest orders that all have two devices, by hints that aren't enough, and two by two a third with which they are.

    The third says least, so that as persons they are counted by the other two: one.
    """
    names = [f"order:shop:{n}" for n in range(orders)]
    links = [Link(name, "device:0", "shop", "declared", 0) for name in names]
    links += [Link(name, "device:1", "shop", "observed", 0) for name in names]
    return links + [Link(name, f"device:of-two-{n // 2}", "shop", "observed", 0) for n, name in enumerate(names)]
