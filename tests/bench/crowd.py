"""The people whom the bench of frames computes: traits, one order and a half each, ten events each, drawn by a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from onefold.ml.columns import INSTANT, REFUNDS
from onefold.segments import columns

DAY: Final = 86_400_000
END: Final = 20_000 * DAY
DAYS: Final = 400
EVENTS_EACH: Final = 10
ORDERS_EACH: Final = 1.5

_CATEGORIES: Final = [f"category {n}" for n in range(20)]
_BRANDS: Final = [f"Brand {n}" for n in range(60)]
_TYPES: Final = ["product_view", "page_view", "cart", "search", "review", "share", "login"]
_CHANNELS: Final = ["web", "app", "store", ""]
_SOURCES: Final = ["shop", "till", "app"]

_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Crowd:
    """Some people, in the tables that features are computed from."""

    people: pa.Table
    orders: pa.Table
    lines: pa.Table
    events: pa.Table
    predictions: pa.Table


def crowds(people: int, at_once: int, seed: int = 1) -> Iterator[Crowd]:
    """So many people, a part at a time, by identity."""
    for first in range(0, people, at_once):
        yield crowd(first, min(at_once, people - first), np.random.default_rng([seed, first]))


def crowd(first: int, many: int, rng: np.random.Generator) -> Crowd:
    """The people numbered from ``first`` on."""
    ids = pc.binary_join_element_wise(
        "0199c7a2-0000-7000-8000-", pa.array([f"{n:012d}" for n in range(first, first + many)]), ""
    )
    orders = _orders(ids, np.sort(rng.integers(0, many, round(many * ORDERS_EACH))), first, rng)
    return Crowd(
        _people(ids, many, rng),
        orders,
        _lines(orders, rng),
        _events(ids, np.sort(rng.integers(0, many, many * EVENTS_EACH)), rng),
        _predictions(ids, many, rng),
    )


def _texts(options: Sequence[str], count: int, rng: np.random.Generator) -> pa.Array:
    """Some much oftener than others."""
    place = np.minimum(rng.geometric(2 / (len(options) + 1), count) - 1, len(options) - 1)
    return pa.array(options, pa.string()).take(pa.array(place))


def _maybe(values: pa.Array, share: float, rng: np.random.Generator) -> pa.Array:
    return pc.if_else(pa.array(rng.random(len(values)) < share), values, pa.scalar(None, values.type))


def _same(value: Any, count: int, type: pa.DataType) -> pa.Array:
    return pa.array([value], type).take(pa.array(np.zeros(count, np.int8)))


def _instants(rng: np.random.Generator, count: int) -> pa.Array:
    return pa.array(END - (rng.random(count) ** 2 * DAYS * DAY).astype(np.int64) - 1).cast(INSTANT)


def _people(ids: pa.Array, many: int, rng: np.random.Generator) -> pa.Table:
    days = pa.array(rng.integers(-7_000, 13_000, many).astype(np.int32)).cast(pa.date32())
    return pa.table(
        [
            ids,
            _instants(rng, many),
            _maybe(_texts(["female", "male"], many, rng), 0.7, rng),
            _maybe(days, 0.6, rng),
            _same(None, many, pa.string()),
            _texts(["GB", "DE", "FR", "US"], many, rng),
            _maybe(_texts([f"Region {n}" for n in range(30)], many, rng), 0.8, rng),
            _maybe(_texts([f"City {n}" for n in range(2_000)], many, rng), 0.8, rng),
            _same(None, many, pa.string()),
            _same(None, many, pa.string()),
            _maybe(_texts(["bronze", "silver", "gold"], many, rng), 0.3, rng),
            _maybe(pa.array(rng.integers(0, 5_000, many)), 0.3, rng),
            _same(None, many, pa.date32()),
            pa.array([["email"], ["email", "phone"], []]).take(pa.array(rng.integers(0, 3, many))),
            pa.array([["shop"], ["app", "shop"], ["till"]]).take(pa.array(rng.integers(0, 3, many))),
            _same([("company_size", "12")], many, columns.PROPERTIES),
        ],
        schema=columns.PEOPLE,
    )


def _orders(ids: pa.Array, person: _Ints, first: int, rng: np.random.Generator) -> pa.Table:
    count = len(person)
    lines = rng.integers(1, 4, count)
    named = ids.take(pa.array(person))
    keys = pc.binary_join_element_wise("shop:", pa.array(np.arange(count) + first * 10).cast(pa.string()), "")
    return pa.table(
        [
            named,
            named,
            keys,
            _instants(rng, count),
            pa.array(rng.choice([0, 60, 120], count).astype(np.int32)),
            _same("GBP", count, pa.string()),
            pa.array(rng.lognormal(3.0, 0.7, count).astype(np.int64) * 1_000_000 + 990_000),
            _same([], count, REFUNDS),
            pa.array(lines.astype(np.int32)),
            pa.array(lines * 2),
            pa.array(lines.astype(np.int32)),
            _texts(["paid", "delivered", "cancelled"], count, rng),
            _texts(_CHANNELS, count, rng),
            pa.array(rng.random(count) < 0.2),
            _texts(["card", "cash"], count, rng),
            _texts(_SOURCES, count, rng),
        ],
        schema=columns.ORDERS,
    )


def _lines(orders: pa.Table, rng: np.random.Generator) -> pa.Table:
    of = np.repeat(np.arange(len(orders)), orders["lines"].to_numpy())
    count = len(of)
    same = orders.select(["identity", "order", "placed_at", "status", "currency"]).take(pa.array(of))
    return pa.table(
        [
            *same.columns,
            _texts([f"shop:{n}" for n in range(5_000)], count, rng),
            _same("", count, pa.string()),
            _texts(_CATEGORIES, count, rng),
            pa.array(rng.integers(1, 4, count)),
            pa.array(rng.lognormal(2.0, 0.7, count).astype(np.int64) * 1_000_000 + 990_000),
        ],
        schema=columns.LINES,
    )


def _events(ids: pa.Array, person: _Ints, rng: np.random.Generator) -> pa.Table:
    count = len(person)
    named = ids.take(pa.array(person))
    keys = pa.array(["brand", "category"] * count)
    values = pa.concat_arrays([_texts(_BRANDS, count, rng), _texts(_CATEGORIES, count, rng)])
    values = values.take(pa.array(np.arange(2 * count).reshape(2, count).T.ravel()))
    properties = pa.MapArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32) * 2), keys, values)
    return pa.table(
        [
            named,
            named,
            _texts(_TYPES, count, rng),
            _instants(rng, count),
            pa.array(rng.choice([0, 60, 120], count).astype(np.int32)),
            _texts(_CHANNELS, count, rng),
            _texts(_SOURCES, count, rng),
            properties,
        ],
        schema=columns.EVENTS,
    )


def _predictions(ids: pa.Array, many: int, rng: np.random.Generator) -> pa.Table:
    return pa.table(
        [
            ids,
            pa.array(rng.random(many)),
            pa.array(rng.random(many) * 3),
            _maybe(pa.array(rng.integers(0, 300, many) * 1_000_000), 0.6, rng),
            _maybe(_instants(rng, many), 0.6, rng),
            pa.array(rng.random(many)),
            pa.array(rng.random(many) / 2),
        ],
        schema=columns.PREDICTIONS,
    )
