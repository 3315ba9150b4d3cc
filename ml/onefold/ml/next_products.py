"""Next products: what a customer is likely to buy, from what customers bought besides what they bought.

Item-to-item collaborative filtering (Linden, Smith and York, "Amazon.com Recommendations", IEEE Internet Computing
7(1), 2003): two products are alike as far as the same customers bought both, on whatever days. Their cosine is shrunk
where few customers speak for it (Bell and Koren, "Scalable Collaborative Filtering with Jointly Derived Neighborhood
Interpolation Weights", ICDM 2007). A model stores counts of customers and nothing else, so that each recommendation
can be told in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from typing import Any, Final, Literal

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter, ValidationError
from scipy import sparse

from onefold.graph.errors import InvalidInput, NotReady, Violation
from onefold.graph.model import Instant
from onefold.ml import columns
from onefold.ml.features import FloatArray
from onefold.ml.metrics import Estimate

IntArray = npt.NDArray[np.int64]

NOT_PRODUCTS: Final = frozenset(
    {"adjustment", "commission", "discount", "fee", "gift_card", "manual", "sample", "shipping"}
)
"""Categories of lines that nobody buys for their own sake."""

NEIGHBOURS: Final = 20
"""Products that a product speaks for. On retail orders 20 find more than 10, 50 or 200 do."""

SHRINKAGE: Final = 5.0
"""Customers that a similarity is drawn to zero by."""

LEAST_TOGETHER: Final = 2
"""Customers who must have bought both: one customer is no pattern, and could be recognised."""

FADING_DAYS: Final = 180.0
"""After so many days, what a customer bought speaks with 1/e of its weight."""

BACK_TEST_DAYS: Final = 30
DAY: Final = 86_400_000

RECOMMENDATIONS: Final = pa.schema(
    [
        pa.field("identity", pa.string(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("product", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("because", pa.string()),
        pa.field("count", pa.int64(), nullable=False),
        pa.field("words", pa.string(), nullable=False),
    ]
)
"""One row per recommendation, by identity and rank; ``rank`` counts from 1.

``reason`` is the first of these that holds, and all of an earlier one rank before a later one: ``again`` (they bought
it, and the model offers such products again), ``together`` (customers bought it besides what they bought), ``popular``
(many bought it). ``score`` compares products of one reason: order days with it plus its share of all customers; the
mean similarity, from 0 to 1, to what they bought; its share of all customers. ``because`` is the product that speaks
most for one that is bought together, else null. ``count`` are the days they bought it, the customers who bought both,
or the customers who bought it.
"""

AGAIN: Final = "again"
TOGETHER: Final = "together"
POPULAR: Final = "popular"
_REASONS: Final = (AGAIN, TOGETHER, POPULAR)

_POPULAR_OFFERED: Final = 200
_CUSTOMERS_AT_ONCE: Final = 4_096
_PRODUCTS_AT_ONCE: Final = 512


@dataclass(frozen=True, slots=True, eq=False)
class NextProducts:
    """A fitted model: who bought which products, and which pairs of them, in numbers of customers."""

    as_of: Instant
    """It knows nothing that happened from here on."""
    customers: int
    again: bool
    """Whether it offers a customer again what the customer bought."""
    products: tuple[str, ...]
    """Every product that was bought, in order."""
    names: tuple[str, ...]
    """Theirs; empty where unknown."""
    buyers: IntArray
    """How many customers bought each."""
    together: sparse.csr_array
    """How many customers bought the product of the row and that of the column; a row has its nearest only."""

    def similarity(self) -> sparse.csr_array:
        """The shrunk cosine of each stored pair: together ÷ (√(buyers · buyers) + :data:`SHRINKAGE`)."""
        pairs = self.together.tocoo()
        return sparse.csr_array(
            (_cosine(pairs.data, self.buyers[pairs.row], self.buyers[pairs.col]), (pairs.row, pairs.col)),
            shape=pairs.shape,
        )

    def text(self) -> str:
        """The model as JSON; the same lines give the same text. :func:`parse` reads it."""
        rows = [
            _StoredProduct(key, name, int(buyers), _row(self.together, number))
            for number, (key, name, buyers) in enumerate(zip(self.products, self.names, self.buyers, strict=True))
        ]
        return _STORED.dump_json(_Stored(1, self.as_of, self.customers, self.again, rows)).decode()


def parse(text: str) -> NextProducts:
    """The model of :meth:`NextProducts.text`. Raises :class:`NotReady` for anything else."""
    try:
        stored = _STORED.validate_json(text, strict=True)
    except ValidationError as err:
        where = ".".join(map(str, err.errors()[0]["loc"])) or "text"
        raise NotReady("next products", f"the stored model is damaged or of another version ({where})") from err
    lengths = [len(product.together) for product in stored.products]
    pairs = np.array([pair for product in stored.products for pair in product.together], dtype=np.int64).reshape(-1, 2)
    count = len(stored.products)
    if not count or (pairs < [0, 1]).any() or (pairs[:, 0] >= count).any():
        raise NotReady("next products", "the stored model names products that it does not have; fit again")
    return NextProducts(
        as_of=stored.as_of,
        customers=stored.customers,
        again=stored.again,
        products=tuple(product.product for product in stored.products),
        names=tuple(product.name for product in stored.products),
        buyers=np.array([product.buyers for product in stored.products], dtype=np.int64),
        together=sparse.csr_array(
            (pairs[:, 1], pairs[:, 0], np.concatenate([[0], np.cumsum(lengths)])), shape=(count, count)
        ),
    )


def fit(
    lines: pa.Table, as_of: Instant, *, again: bool | None = None, without: frozenset[str] = NOT_PRODUCTS
) -> NextProducts:
    """A model of what was bought before ``as_of``, from :data:`onefold.ml.columns.LINES`.

    Lines of cancelled orders, without a product or pieces, or of a category in ``without`` are no purchase. Where
    ``again`` is not told, the last :data:`BACK_TEST_DAYS` decide: what customers had bought is offered again exactly if
    that finds more of what they bought in them. Raises :class:`InvalidInput` when the table has other columns, and
    :class:`NotReady` where nothing was bought.
    """
    bought = _bought(lines, as_of, without)
    if not len(bought.customer):
        raise NotReady("next products", "nothing was bought before the cutoff")
    if again is None:
        again = _finds_more_again(lines, as_of, without)
    shape = len(bought.identities), len(bought.products)
    who = sparse.csr_array((np.ones(len(bought.customer), np.int64), (bought.customer, bought.product)), shape=shape)
    buyers = np.bincount(bought.product, minlength=shape[1]).astype(np.int64)
    return NextProducts(
        as_of=as_of,
        customers=shape[0],
        again=again,
        products=bought.products,
        names=bought.names,
        buyers=buyers,
        together=_nearest(who, buyers),
    )


def recommend(
    model: NextProducts,
    lines: pa.Table,
    as_of: Instant,
    *,
    top: int = 10,
    identities: Sequence[str] | None = None,
    again: bool | None = None,
) -> pa.Table:
    """At most ``top`` products for each identity, by :data:`RECOMMENDATIONS`.

    For ``identities`` or, without them, for all who bought something before ``as_of``; their purchases are those in
    ``lines`` before it. One who bought nothing gets what is popular. One identity alone gets what it gets among all.
    ``again`` overrules the model's: without it, all products are new to the customer.
    Raises :class:`InvalidInput` when the table has other columns or ``top`` is not positive.
    """
    if top < 1:
        raise InvalidInput([Violation("top", "must be at least 1")])
    if again is not None:
        model = replace(model, again=again)
    bought = _bought(lines, as_of, frozenset(), known=model.products)
    if identities is not None:
        bought = bought.of(sorted(set(identities)))
    similarity = model.similarity()
    tables = [
        _told(model, block, _picked(model, block, similarity, top), similarity)
        for block in bought.blocks(_CUSTOMERS_AT_ONCE)
    ]
    return pa.concat_tables([RECOMMENDATIONS.empty_table(), *tables])


@dataclass(frozen=True, slots=True)
class HitRate:
    """Share of customers for whom at least one of the ``top`` products came true, beside what has to be beaten."""

    customers: int
    """Who had bought before, and bought something that counts in the window."""
    top: int
    days: int
    model: Estimate
    popularity: Estimate
    """Of the products that most customers had bought, the same for all but for what does not count."""
    habit: Estimate
    """Of what each customer had bought on most days, filled up with what is popular: the model without its pairs. Where
    the model does not offer such products again, what is popular among those that the customer had not bought."""
    over_popularity: Estimate
    """The model's less popularity's, on the same customers."""
    over_habit: Estimate


def hit_rate(
    lines: pa.Table,
    split: Instant,
    *,
    days: int = BACK_TEST_DAYS,
    top: int = 10,
    again: bool = True,
    only_new: bool = False,
    without: frozenset[str] = NOT_PRODUCTS,
) -> HitRate:
    """How often a model of what was bought before ``split`` names a product that is bought within ``days`` after it.

    ``again`` is the model's. With ``only_new`` only products count that the customer had not bought before, and what
    they had bought is offered by nobody. Raises as :func:`fit` does, and :class:`NotReady` where no customer can be
    tested.
    """
    model = fit(lines, split, again=again and not only_new, without=without)
    before = _bought(lines, split, without, known=model.products)
    after = _bought(lines, split + days * DAY, without, since=split)
    had, came, known = _pairs(before), _pairs(after), set(before.identities)
    true = {(who, what) for who, what in came - (had if only_new else set()) if who in known}
    counted = sorted({who for who, _ in true})
    if not counted:
        raise NotReady("next products", f"no customer of before bought anything that counts in the {days} days after")
    habit = replace(model, together=sparse.csr_array(model.together.shape, dtype=np.int64))
    most = [model.products[at] for at in _by_popularity(model)]
    popular = {
        (who, what) for who in counted for what in _first(most, who, had if only_new else frozenset[_Pair](), top)
    }
    offers = (_offered(model, lines, split, counted, top), popular, _offered(habit, lines, split, counted, top))
    hits = np.array([[who in hit for who in counted] for hit in ({who for who, _ in o & true} for o in offers)])
    return _measured(hits, top, days)


@dataclass(frozen=True, slots=True)
class _StoredProduct:
    product: str
    name: str
    buyers: int
    together: list[tuple[int, int]]
    """Position of a product, and customers who bought both."""


@dataclass(frozen=True, slots=True)
class _Stored:
    format: Literal[1]
    as_of: int
    customers: int
    again: bool
    products: list[_StoredProduct]


_STORED: Final = TypeAdapter(_Stored)


@dataclass(frozen=True, slots=True, eq=False)
class _Bought:
    """Who bought what: rows of (customer, product), by customer and product, each once."""

    identities: tuple[str, ...]
    products: tuple[str, ...]
    names: tuple[str, ...]
    customer: IntArray
    product: IntArray
    days: IntArray
    """On how many days."""
    age: FloatArray
    """Days from the last time to the cutoff."""

    def of(self, identities: Sequence[str]) -> _Bought:
        """Of these identities only, those included that bought nothing."""
        number = {identity: at for at, identity in enumerate(identities)}
        moved = np.array([number.get(identity, -1) for identity in self.identities], dtype=np.int64)
        customer = moved[self.customer] if len(moved) else self.customer
        return self._rows(tuple(identities), customer, customer >= 0)

    def blocks(self, size: int) -> Iterator[_Bought]:
        """The same in parts of at most ``size`` identities."""
        for start in range(0, len(self.identities), size):
            part = self.identities[start : start + size]
            customer = self.customer - start
            yield self._rows(part, customer, (customer >= 0) & (customer < len(part)))

    def _rows(self, identities: tuple[str, ...], customer: IntArray, kept: npt.NDArray[np.bool_]) -> _Bought:
        return _Bought(
            identities,
            self.products,
            self.names,
            customer[kept],
            self.product[kept],
            self.days[kept],
            self.age[kept],
        )


_BOUGHT: Final = """
    SELECT
        identity,
        product,
        max(name) AS name,
        count(DISTINCT floor(epoch_ms(placed_at) / 86400000.0)) AS days,
        ($as_of - max(epoch_ms(placed_at))) / 86400000.0 AS age
    FROM lines
    WHERE epoch_ms(placed_at) < $as_of AND epoch_ms(placed_at) >= $since
        AND status <> 'cancelled' AND quantity > 0 AND product <> ''
        AND NOT list_contains($without::VARCHAR[], category)
    GROUP BY identity, product
    ORDER BY identity, product
"""


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """One empty database in memory for the process: opening one costs more than the query does."""
    return duckdb.connect()


def _bought(
    lines: pa.Table,
    as_of: Instant,
    without: frozenset[str],
    *,
    since: Instant = -(1 << 62),
    known: tuple[str, ...] | None = None,
) -> _Bought:
    """What was bought in [since, as_of); of the ``known`` products only, in their order, where they are told."""
    parameters = {"as_of": as_of, "since": since, "without": sorted(without)}
    with _database().cursor() as connection:
        connection.register("lines", columns.check(lines, columns.LINES))
        table = connection.sql(_BOUGHT, params=parameters).to_arrow_table()
    if known is None:
        products = pc.unique(table["product"]).sort()
        named = table.group_by("product").aggregate([("name", "max")]).sort_by("product")["name_max"].to_pylist()
    else:
        products, named = pa.array(known, pa.string()), [""] * len(known)
        table = table.filter(pc.is_in(table["product"], products))
    identities = pc.unique(table["identity"])
    return _Bought(
        identities=tuple(identities.to_pylist()),
        products=tuple(products.to_pylist()),
        names=tuple(named),
        customer=_numbers(pc.index_in(table["identity"], identities)),
        product=_numbers(pc.index_in(table["product"], products)),
        days=_numbers(table["days"]),
        age=table["age"].to_numpy().astype(np.float64),
    )


def _numbers(column: pa.ChunkedArray) -> IntArray:
    return np.asarray(column.to_numpy(), dtype=np.int64)


def _row(matrix: sparse.csr_array, number: int) -> list[tuple[int, int]]:
    of = slice(matrix.indptr[number], matrix.indptr[number + 1])
    return list(zip(matrix.indices[of].tolist(), matrix.data[of].tolist(), strict=True))


def _cosine(together: IntArray, buyers: IntArray, others: IntArray) -> FloatArray:
    return np.asarray(together / (np.sqrt(buyers * others) + SHRINKAGE), dtype=np.float64)


def _nearest(who: sparse.csr_array, buyers: IntArray) -> sparse.csr_array:
    """The counts of pairs, of each product those with its nearest; computed in blocks, since all pairs may be many."""
    blocks = []
    for start in range(0, who.shape[1], _PRODUCTS_AT_ONCE):
        pairs = (who[:, start : start + _PRODUCTS_AT_ONCE].T @ who).tocoo()
        row, near, together = pairs.row.astype(np.int64) + start, pairs.col.astype(np.int64), pairs.data
        kept = (row != near) & (together >= LEAST_TOGETHER)
        row, near, together = row[kept], near[kept], together[kept]
        order = np.lexsort((near, -_cosine(together, buyers[row], buyers[near]), row))
        first = order[_position(row[order]) < NEIGHBOURS]
        blocks.append(np.stack([row[first], near[first], together[first]]))
    row, near, together = np.concatenate(blocks, axis=1)
    found = sparse.csr_array((together, (row, near)), shape=(len(buyers), len(buyers)))
    found.sort_indices()
    return found


def _position(groups: IntArray) -> IntArray:
    """Each row's place within its group, from 0; rows of a group are neighbours."""
    if not len(groups):
        return np.empty(0, np.int64)
    begins = np.concatenate([[True], groups[1:] != groups[:-1]])
    starts = np.flatnonzero(begins)
    return np.asarray(np.arange(len(groups)) - starts[np.cumsum(begins) - 1], dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class _Picks:
    """Recommendations as columns; ``customer`` and ``product`` are positions."""

    customer: IntArray
    product: IntArray
    reason: IntArray
    """Position in :data:`_REASONS`."""
    score: FloatArray
    count: IntArray


def _picked(model: NextProducts, bought: _Bought, similarity: sparse.csr_array, top: int) -> _Picks:
    """The first ``top`` of each customer, by customer and rank."""
    found = _bought_together(bought, similarity)
    if model.again:
        found = _joined(_bought_again(model, bought), found)
    found = _joined(found, _filled_up(model, bought, found, top))
    order = np.lexsort((found.product, -found.score, found.reason, found.customer))
    first = order[_position(found.customer[order]) < top]
    return _Picks(
        found.customer[first], found.product[first], found.reason[first], found.score[first], found.count[first]
    )


def _bought_again(model: NextProducts, bought: _Bought) -> _Picks:
    score = bought.days + model.buyers[bought.product] / model.customers
    return _Picks(bought.customer, bought.product, np.zeros_like(bought.product), score, bought.days)


def _bought_together(bought: _Bought, similarity: sparse.csr_array) -> _Picks:
    history = _history(bought)
    pairs = (history @ similarity).tocoo()
    customer, product = pairs.row.astype(np.int64), pairs.col.astype(np.int64)
    score = pairs.data / history.sum(axis=1)[customer]
    new = ~np.isin(_keys(bought, customer, product), _keys(bought, bought.customer, bought.product))
    customer, product, score = customer[new], product[new], score[new]
    return _Picks(customer, product, np.ones_like(product), score, np.zeros_like(product))


def _filled_up(model: NextProducts, bought: _Bought, found: _Picks, top: int) -> _Picks:
    """Popular products for those of whom less than ``top`` was found."""
    is_short = np.bincount(found.customer, minlength=len(bought.identities)) < top
    short = np.flatnonzero(is_short)
    most = _by_popularity(model)[: top + _POPULAR_OFFERED]
    customer, product = np.repeat(short, len(most)), np.tile(most, len(short))
    had, offered = is_short[bought.customer], is_short[found.customer]
    known = (
        _keys(bought, bought.customer[had], bought.product[had]),
        _keys(bought, found.customer[offered], found.product[offered]),
    )
    new = ~np.isin(_keys(bought, customer, product), np.concatenate(known))
    customer, product = customer[new], product[new]
    buyers = model.buyers[product]
    return _Picks(customer, product, np.full_like(product, 2), buyers / model.customers, buyers)


def _history(bought: _Bought) -> sparse.csr_array:
    shape = len(bought.identities), len(bought.products)
    return sparse.csr_array((np.exp(-bought.age / FADING_DAYS), (bought.customer, bought.product)), shape=shape)


def _keys(bought: _Bought, customer: IntArray, product: IntArray) -> IntArray:
    return customer * len(bought.products) + product


def _joined(one: _Picks, other: _Picks) -> _Picks:
    return _Picks(
        np.concatenate([one.customer, other.customer]),
        np.concatenate([one.product, other.product]),
        np.concatenate([one.reason, other.reason]),
        np.concatenate([one.score, other.score]),
        np.concatenate([one.count, other.count]),
    )


def _by_popularity(model: NextProducts) -> IntArray:
    return np.lexsort((np.arange(len(model.products)), -model.buyers))


def _told(model: NextProducts, bought: _Bought, picks: _Picks, similarity: sparse.csr_array) -> pa.Table:
    together = np.flatnonzero(picks.reason == 1)
    speaks, count = np.full(len(picks.product), -1), picks.count.copy()
    if len(together):
        product = picks.product[together]
        speaks[together] = _strongest(_history(bought)[picks.customer[together]] * similarity.T.tocsr()[product])
        count[together] = model.together[speaks[together], product]
    reasons = [_REASONS[at] for at in picks.reason.tolist()]
    said = [
        _words(reason, number, model.names[at] or model.products[at] if at >= 0 else "")
        for reason, number, at in zip(reasons, count.tolist(), speaks.tolist(), strict=True)
    ]
    values: dict[str, Any] = {
        "identity": [bought.identities[at] for at in picks.customer.tolist()],
        "rank": _position(picks.customer) + 1,
        "product": [model.products[at] for at in picks.product.tolist()],
        "name": [model.names[at] for at in picks.product.tolist()],
        "reason": reasons,
        "score": picks.score,
        "because": [model.products[at] if at >= 0 else None for at in speaks.tolist()],
        "count": count,
        "words": said,
    }
    return pa.table(values, schema=RECOMMENDATIONS)


def _strongest(parts: sparse.csr_array) -> IntArray:
    """The column of each row's greatest value, the first of equals; every row has one."""
    parts.sort_indices()
    row = np.repeat(np.arange(parts.shape[0]), np.diff(parts.indptr))
    order = np.lexsort((parts.indices, -parts.data, row))
    return np.asarray(parts.indices[order[_position(row[order]) == 0]], dtype=np.int64)


def _words(reason: str, count: int, because: str) -> str:
    match reason:
        case "again":
            return f"bought on {count:,} day{'s' if count > 1 else ''}"
        case "together":
            return f"bought with {because} by {count:,} customers"
        case _:
            return f"bought by {count:,} customer{'s' if count > 1 else ''}"


def _finds_more_again(lines: pa.Table, as_of: Instant, without: frozenset[str]) -> bool:
    try:
        kept, dropped = (
            hit_rate(lines, as_of - BACK_TEST_DAYS * DAY, again=again, without=without).model.value
            for again in (True, False)
        )
    except NotReady:
        return False
    return kept > dropped


_Pair = tuple[str, str]
"""An identity and a product."""


def _pairs(bought: _Bought) -> set[_Pair]:
    return {
        (bought.identities[who], bought.products[what])
        for who, what in zip(bought.customer.tolist(), bought.product.tolist(), strict=True)
    }


def _offered(model: NextProducts, lines: pa.Table, as_of: Instant, identities: Sequence[str], top: int) -> set[_Pair]:
    table = recommend(model, lines, as_of, top=top, identities=identities)
    return set(zip(table["identity"].to_pylist(), table["product"].to_pylist(), strict=True))


def _first(most: Sequence[str], who: str, had: Set[_Pair], top: int) -> Iterator[str]:
    return islice((product for product in most if (who, product) not in had), top)


_DRAWS: Final = 2_000
_SEED: Final = 20111209


def _measured(hits: npt.NDArray[np.bool_], top: int, days: int) -> HitRate:
    """The rates of the model, of popularity and of habit, rows in this order, and the differences.

    A draw of customers is a draw of how many of them each combination of hits has.
    """
    customers = hits.shape[1]
    cells = np.bincount(hits[0] * 4 + hits[1] * 2 + hits[2] * 1, minlength=8)
    drawn = np.random.default_rng(_SEED).multinomial(customers, cells / customers, size=_DRAWS) / customers
    in_cell = np.array([[cell >> 2 & 1, cell >> 1 & 1, cell & 1] for cell in range(8)])
    seen = np.vstack([cells / customers @ in_cell, drawn @ in_cell])
    model, popularity, habit = seen.T
    return HitRate(
        customers=customers,
        top=top,
        days=days,
        model=_estimate(model),
        popularity=_estimate(popularity),
        habit=_estimate(habit),
        over_popularity=_estimate(model - popularity),
        over_habit=_estimate(model - habit),
    )


def _estimate(seen: FloatArray) -> Estimate:
    """From the figure itself, first, and those of the draws."""
    low, high = np.quantile(seen[1:], [0.025, 0.975]).tolist()
    return Estimate(float(seen[0]), low, high)
