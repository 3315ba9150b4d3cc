import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from onefold.graph.errors import InvalidInput
from onefold.segments import rfm
from onefold.segments.check import check
from onefold.segments.evaluate import compiled
from onefold.segments.vocabulary import Type, TypedFeature, Vocabulary, by_key
from tests import retail
from tests.histories import DAY, END, order, orders_table, shop

PAGE = Path(__file__).parents[2] / "docs" / "groups.md"
VOCABULARY = Vocabulary(
    by_key(
        [
            TypedFeature("purchases_30d", Type.INT, "orders"),
            *(TypedFeature(key, Type.FLOAT, "ratio") for key in ("order_value_ratio", "repeat_share")),
            *(TypedFeature(key, Type.FLOAT, "share") for key in ("cart_rate", "bounce_rate")),
        ]
    )
)
LADDER = [
    (tier, compiled(check(rule.replace("\\|", "|"), VOCABULARY)))
    for tier, rule in re.findall(r"^\| `(\w+)` \| `(purchases_30d.+?)` \|$", PAGE.read_text("utf-8"), re.MULTILINE)
]
"""The tiers of the page, with their rules."""


def figures(rows, as_of=END):
    table = orders_table(rows)
    found = rfm.figures(table, as_of, rfm.population(table, as_of))
    return {row["identity"]: row for row in found.to_pylist()}


def tier(row):
    return next((key for key, holds in LADDER if holds(row, 0)), "unclassified")


def test_purchases_are_counted_one_by_one_and_a_day_is_repeated_once():
    found = figures(
        [
            order("a", END - 40 * DAY),
            order("a", END - 10 * DAY),
            order("a", END - 10 * DAY + 1),
            order("b", END - 30 * DAY),
            order("b", END),
        ]
    )
    assert (found["a"]["purchases"], found["a"]["purchases_30d"], found["a"]["repeat_share"]) == (3, 2, 0.5)
    assert (found["b"]["purchases"], found["b"]["purchases_30d"], found["b"]["repeat_share"]) == (1, 1, 0.0)


def test_the_mean_order_is_that_of_all_orders_and_not_of_all_people():
    found = figures([order("a", END - n * DAY, 10_000_000) for n in range(1, 4)] + [order("b", END - DAY, 50_000_000)])
    assert found["a"]["order_value_ratio"] == pytest.approx(10 / 20)
    assert found["b"]["order_value_ratio"] == pytest.approx(50 / 20)


def test_what_is_no_purchase_counts_nowhere_and_another_currency_has_no_value():
    found = figures(
        [
            order("a", END - DAY),
            order("a", END - 2 * DAY, status="cancelled"),
            order("a", END - 3 * DAY, refunds=[{"at": END - 3 * DAY, "amount": 10_000_000}]),
            order("b", END - DAY, currency="EUR"),
            order("c", END - DAY, status="cancelled"),
        ]
    )
    assert found.keys() == {"a", "b"}
    assert found["a"]["purchases"] == 1
    assert found["b"]["purchases"] == 1
    assert found["b"]["order_value_ratio"] is None
    assert found["b"]["monetary_score"] is None


def test_the_latest_the_most_frequent_and_the_biggest_spenders_have_five():
    rows = [order(f"p{n}", END - (n + k + 1) * DAY, (20 - n) * 1_000_000) for n in range(10) for k in range(10 - n)]
    found = figures(rows)
    scores = ("recency_score", "frequency_score", "monetary_score")
    assert [found["p0"][score] for score in scores] == [5, 5, 5]
    assert [found["p9"][score] for score in scores] == [1, 1, 1]


def test_one_person_computed_alone_is_as_among_all_and_the_order_of_rows_counts_for_nothing():
    table, _ = shop()
    against = rfm.population(table, END)
    whole = rfm.figures(table, END, against)
    order_of = np.random.default_rng(2).permutation(table.num_rows)
    assert rfm.figures(table.take(order_of), END, rfm.population(table.take(order_of), END)).equals(whole)
    for row in whole.to_pylist()[::50]:
        alone = table.filter(pa.compute.equal(table["identity"], row["identity"]))
        assert rfm.figures(alone, END, against).to_pylist() == [row]


def test_no_orders_have_no_figures():
    empty = orders_table([])
    against = rfm.population(empty, END)
    assert against.order_value_mean is None
    assert rfm.figures(empty, END, against).num_rows == 0


def test_other_columns_are_refused():
    with pytest.raises(InvalidInput, match="placed_at"):
        rfm.population(pa.table({"identity": ["a"]}), END)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"purchases_30d": 2, "order_value_ratio": 1.5, "repeat_share": 0.3}, "high_value"),
        ({"purchases_30d": 3, "order_value_ratio": 1.4, "repeat_share": 0.5}, "potential"),
        ({"purchases_30d": 2, "order_value_ratio": None, "repeat_share": 0.5}, "potential"),
        ({"purchases_30d": 1, "order_value_ratio": 1.0, "cart_rate": 0.1}, "potential"),
        ({"purchases_30d": 1, "order_value_ratio": 1.0}, "potential"),
        ({"purchases_30d": 1, "order_value_ratio": 0.9}, "ordinary"),
        ({"purchases_30d": 1, "order_value_ratio": 0.9, "cart_rate": 0.3}, "unclassified"),
        ({"purchases_30d": 1, "order_value_ratio": 1.2, "cart_rate": 0.01}, "unclassified"),
        ({"purchases_30d": 0, "cart_rate": 0.01, "bounce_rate": 0.9}, "low"),
        ({"purchases_30d": 0}, "low"),
        ({"purchases_30d": 0, "cart_rate": 0.01, "bounce_rate": 0.5}, "unclassified"),
    ],
)
def test_the_ladder_of_the_page_takes_behaviour_into_account_where_it_is_known(row, expected):
    assert tier(row) == expected


def test_the_ladder_of_the_page_counts_online_retail_as_it_says():
    orders, cutoff = retail.orders(), retail.midnight(2011, 9, 10)
    now = rfm.figures(orders, retail.END, rfm.population(orders, retail.END)).to_pylist()
    then = rfm.figures(orders, cutoff, rfm.population(orders, cutoff)).to_pylist()
    later = set(bought_between(orders, cutoff, cutoff + 60 * DAY))
    for key, people, share in re.findall(
        r"^\| `(\w+)` \| ([\d,]+) \| (\d+) % \|$", PAGE.read_text("utf-8"), re.MULTILINE
    ):
        assert sum(tier(row) == key for row in now) == int(people.replace(",", ""))
        of_tier = [row["identity"] in later for row in then if tier(row) == key]
        assert round(100 * np.mean(of_tier)) == int(share)
    assert [sum(tier(row) == key for row in now) for key, _ in LADDER] == [47, 692, 889, 2_710]


def bought_between(orders, start, end):
    at = orders["placed_at"].cast(pa.int64()).to_numpy()
    return orders["identity"].filter(pa.array((at >= start) & (at < end))).to_pylist()
