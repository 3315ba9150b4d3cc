"""A shop's people and what they did, made up: rows for plain Python to reckon with, and the tables of segments."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from onefold.segments import columns

DAY = 86_400_000
END = 1_700_000_000_000
"""Everything happened in the 300 days before, and a little after it."""

GOOD = ("great sturdy mug, not bad at all", "love the colour", "质量很好，非常满意", "物流很快，颜色漂亮")
BAD = ("it broke, never again", "the handle isn't good", "质量不好，很失望", "颜色不好看，破了")
TYPES = ("page_view", "product_view", "search", "cart", "email_open")

FRAME = pa.schema(
    [
        ("identity", pa.string()),
        ("age", pa.int64()),
        ("gender", pa.string()),
        ("region", pa.string()),
        ("loyalty_tier", pa.string()),
        ("categories", pa.list_(pa.string())),
        ("labels", pa.list_(pa.string())),
        ("segments", pa.list_(pa.string())),
    ]
)


@dataclass
class Crowd:
    """Rows of the tables, by name of column."""

    frame: list[dict[str, Any]] = field(default_factory=list)
    orders: list[dict[str, Any]] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def members(self) -> set[str]:
        """Who is in the segment: those whom the frame has in ``vip``."""
        return {row["identity"] for row in self.frame if "vip" in row["segments"]}

    def tables(self) -> tuple[pa.Table, pa.Table, pa.Table, pa.Table]:
        """The frame, orders, lines and events."""
        return (
            pa.Table.from_pylist(self.frame, FRAME),
            pa.Table.from_pylist(self.orders, columns.ORDERS),
            pa.Table.from_pylist(self.lines, columns.LINES),
            pa.Table.from_pylist(self.events, columns.EVENTS),
        )


def moment(instant: int) -> datetime:
    """The instant as a datetime."""
    return datetime.fromtimestamp(instant / 1000, UTC)


def crowd(seed: int, people: int) -> Crowd:
    """So many people, some of them in the segment ``vip``: older, with more money, on the phone."""
    rng, made = random.Random(seed), Crowd()
    for number in range(people):
        identity, vip = f"i{number:05d}", rng.random() < 0.3
        made.frame.append(person(rng, identity, vip))
        for visit in range(rng.randrange(9)):
            made.events.append(event(rng, identity, f"web:{number}-{visit}", vip))
        if rng.random() < 0.3:
            made.events.append(review(rng, identity, f"web:{number}-r", vip))
        for place in range(rng.randrange(4)):
            buy(rng, made, identity, f"shop:{number}-{place}", vip)
    rng.shuffle(made.orders)
    rng.shuffle(made.events)
    return made


def person(rng: random.Random, identity: str, vip: bool) -> dict[str, Any]:
    """A row of the frame."""
    return {
        "identity": identity,
        "age": None if rng.random() < 0.2 else rng.randint(14, 60) + 10 * vip,
        "gender": rng.choice(["f", "f", "m", None]),
        "region": rng.choice(["north", "south", "east", "west", "far", "away", None, None]),
        "loyalty_tier": rng.choice(["gold", "silver"] if vip else ["silver", None]),
        "categories": None if rng.random() < 0.1 else sorted(rng.sample(["home", "garden", "toys"], rng.randrange(3))),
        "labels": ["rfm_high_value"] if vip and rng.random() < 0.5 else [],
        "segments": ["vip"] if vip else [],
    }


def event(rng: random.Random, identity: str, record: str, vip: bool) -> dict[str, Any]:
    """A row of the events."""
    device = rng.choice(["phone", "phone", "desktop"] if vip else ["phone", "desktop", "desktop"])
    return {
        "identity": identity,
        "record": record,
        "type": rng.choice(TYPES),
        "at": moment(END - rng.randrange(-DAY, 300 * DAY, 60_000)),
        "utc_offset_minutes": rng.choice([None, 0, 60, -330]),
        "channel": "web",
        "source": "web",
        "properties": [("device_type", device)] if rng.random() < 0.8 else [],
    }


def review(rng: random.Random, identity: str, record: str, vip: bool) -> dict[str, Any]:
    """A row of the events: what somebody wrote."""
    rating = rng.choice([1, 2, 3, 4, 5])
    text = rng.choice(GOOD if rating >= 4 else BAD if rating <= 2 else GOOD + BAD)
    properties = [("rating", str(rating)), ("text", text)]
    return {**event(rng, identity, record, vip), "type": "review", "properties": properties}


def buy(rng: random.Random, made: Crowd, identity: str, order: str, vip: bool) -> None:
    """An order with its lines."""
    at = END - rng.randrange(-DAY, 300 * DAY, 60_000)
    placed = {
        "identity": identity,
        "order": order,
        "placed_at": moment(at),
        "status": rng.choice(["paid"] * 9 + ["cancelled"]),
        "currency": rng.choice(["GBP"] * 9 + ["EUR"]),
    }
    basket = rng.sample(["mug", "plate", "spade", "kite", "lamp"], rng.randint(1, 3))
    if "mug" in basket and "plate" not in basket and rng.random() < 0.7:
        basket.append("plate")
    for product in basket:
        line = {"product": f"shop:{product}", "name": product.title(), "category": "home" if "a" in product else "toys"}
        price = rng.choice([2_500_000, 10_000_000, None])
        made.lines.append({**placed, **line, "quantity": rng.randint(1, 3), "unit_price": price})
    total = rng.choice([0, 5_000_000, 20_000_000, 20_000_000 * (1 + 2 * vip)])
    refund = rng.random()
    when_back = at + 1 if refund < 0.1 else at + 3 * DAY
    made.orders.append(
        {
            **placed,
            "record": f"customer:crm:{identity}",
            "utc_offset_minutes": rng.choice([None, 0, 60, -330]),
            "total": total,
            "refunds": [{"at": moment(when_back), "amount": total}] if refund < 0.2 else [],
            "lines": len(basket),
            "units": len(basket),
            "products": len(basket),
            "channel": "web",
            "has_coupon": rng.random() < 0.3,
            "payment_method": rng.choice(["card", "card", "wallet", ""]),
            "source": "shop",
        }
    )
