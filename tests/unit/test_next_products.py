import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from onefold.graph.errors import InvalidInput, NotReady
from onefold.ml import columns
from onefold.ml.next_products import (
    DAY,
    RECOMMENDATIONS,
    SHRINKAGE,
    fit,
    hit_rate,
    parse,
    recommend,
)

NOW = 20_000 * DAY


def line(identity, product, day=10, **other):
    return {
        "identity": identity,
        "order": f"{identity}-{day}",
        "placed_at": NOW - day * DAY,
        "status": "paid",
        "product": product,
        "name": product.upper(),
        "category": "",
        "quantity": 1,
        **other,
    }


def table(rows):
    return pa.Table.from_pylist(rows, schema=columns.LINES)


def basket(identity, *products, day=10):
    return [line(identity, product, day) for product in products]


CAMPERS = [row for n in range(6) for row in basket(f"camper-{n}", "tent", "stove")]
COOKS = [row for n in range(4) for row in basket(f"cook-{n}", "pan", "knife", "stove")]
SHOP = CAMPERS + COOKS


def shop(customers=120, seed=2):
    """Everyone has one of four tastes of ten products, and buys six of them over 100 days."""
    random = np.random.default_rng(seed)
    tastes = random.integers(4, size=customers).tolist()
    return table(
        [
            line(f"id-{number:03d}", f"p{taste}-{random.integers(10)}", int(random.integers(100)))
            for number, taste in enumerate(tastes)
            for _ in range(6)
        ]
    )


def of(identity, lines, model, **how):
    found = recommend(model, lines, NOW, identities=[identity], **how)
    return found.drop_columns(["identity"]).to_pylist()


def test_what_others_bought_besides_comes_with_the_customers_who_did():
    lines = table([*SHOP, line("ann", "tent")])
    first = of("ann", lines, fit(lines, NOW, again=False))[0]
    assert first == {
        "rank": 1,
        "product": "stove",
        "name": "STOVE",
        "reason": "together",
        "score": pytest.approx(6 / (np.sqrt(7 * 10) + SHRINKAGE)),
        "because": "tent",
        "count": 6,
        "words": "bought with TENT by 6 customers",
    }


def test_products_on_different_days_and_orders_are_bought_together_too():
    apart = [row for n in range(3) for row in (line(f"id-{n}", "tent", 90), line(f"id-{n}", "stove", 3))]
    lines = table([*apart, line("ann", "tent")])
    assert of("ann", lines, fit(lines, NOW, again=False))[0]["count"] == 3


def test_two_products_of_one_customer_only_are_no_pattern():
    lines = table([*basket("bob", "tent", "harp"), *CAMPERS, line("ann", "tent")])
    found = of("ann", lines, fit(lines, NOW, again=False))
    assert {row["product"]: row["reason"] for row in found} == {"stove": "together", "harp": "popular"}


def test_what_was_bought_lately_speaks_louder():
    first = {}
    for last, other in (("tent", "pan"), ("pan", "tent")):
        lines = table([*SHOP, line("ann", last, 1), line("ann", other, 900)])
        first[last] = of("ann", lines, fit(lines, NOW, again=False))[0]
    assert (first["tent"]["product"], first["tent"]["because"]) == ("stove", "tent")
    assert (first["pan"]["product"], first["pan"]["because"]) == ("knife", "pan")


def test_bought_products_are_offered_again_only_by_a_model_that_does_so():
    lines = table([*SHOP, *basket("ann", "tent", "pan"), line("ann", "pan", 40)])
    never = of("ann", lines, fit(lines, NOW, again=False))
    assert {"tent", "pan"}.isdisjoint(row["product"] for row in never)
    again = of("ann", lines, fit(lines, NOW, again=True))
    assert [(row["product"], row["words"]) for row in again[:2]] == [
        ("pan", "bought on 2 days"),
        ("tent", "bought on 1 day"),
    ]
    assert [row["reason"] for row in again[2:]] == ["together", "together"]
    assert of("ann", lines, fit(lines, NOW, again=True), again=False) == never


def test_a_shop_where_people_rebuy_offers_again_and_one_where_nobody_does_not():
    random = np.random.default_rng(1)
    habits = [
        line(f"id-{n}", f"h{n % 40}" if day else f"x{random.integers(40)}", day)
        for n in range(80)
        for day in (60, 40, 5)
    ]
    assert fit(table(habits), NOW).again
    once = [line(f"id-{n}", f"b{(n % 4) * 10 + step}", 80 - 15 * step) for n in range(80) for step in range(6)]
    assert not fit(table(once), NOW).again
    assert not fit(table(CAMPERS), NOW).again  # there is nothing to test on


def test_a_stranger_gets_what_is_popular():
    lines = table(SHOP)
    found = of("nobody", lines, fit(lines, NOW))
    assert [(row["product"], row["words"]) for row in found] == [
        ("stove", "bought by 10 customers"),
        ("tent", "bought by 6 customers"),
        ("knife", "bought by 4 customers"),
        ("pan", "bought by 4 customers"),
    ]


@pytest.mark.parametrize(
    "void",
    [{"status": "cancelled"}, {"quantity": 0}, {"product": ""}, {"category": "shipping"}, {"day": 0}, {"day": -1}],
)
def test_what_is_no_purchase_before_the_cutoff_counts_nowhere(void):
    kept = {key: value for key, value in void.items() if key != "day"}
    more = [line(f"camper-{n}", "post", void.get("day", 10)) | kept for n in range(6)]
    assert fit(table(SHOP + more), NOW).text() == fit(table(SHOP), NOW).text()


def test_the_same_lines_in_any_order_give_the_same_text_and_the_text_the_same_model():
    lines = shop()
    model = fit(lines, NOW)
    shuffled = lines.take(np.random.default_rng(1).permutation(lines.num_rows))
    assert fit(shuffled, NOW).text() == model.text()
    read = parse(model.text())
    assert read.text() == model.text()
    assert recommend(read, lines, NOW).equals(recommend(model, shuffled, NOW))


def test_one_customer_alone_gets_what_they_get_among_all():
    lines = shop()
    model = fit(lines, NOW)
    everyone = recommend(model, lines, NOW, top=5)
    assert everyone.schema == RECOMMENDATIONS
    assert set(pc.value_counts(everyone["identity"]).field("counts").to_pylist()) == {5}
    for identity in ("id-000", "id-077"):
        theirs = lines.filter(pc.equal(lines["identity"], identity))
        alone = recommend(model, theirs, NOW, top=5)
        assert alone.to_pylist() == everyone.filter(pc.equal(everyone["identity"], identity)).to_pylist()


def test_tastes_are_found_and_beat_popularity_on_products_that_are_new():
    found = hit_rate(shop(300), NOW - 30 * DAY, top=5, only_new=True)
    assert found.model.value > found.popularity.value
    assert found.over_popularity.low > 0
    assert found.over_popularity.value == pytest.approx(found.model.value - found.popularity.value)
    assert found.model.low <= found.model.value <= found.model.high
    assert found == hit_rate(shop(300), NOW - 30 * DAY, top=5, only_new=True)


def test_a_hit_is_a_customer_who_buys_at_least_one_of_the_products():
    then = [line("camper-0", "stove", 1), line("camper-1", "harp", 1), line("new", "stove", 1)]
    found = hit_rate(table(SHOP + then), NOW - 5 * DAY, days=5, top=1)
    # Popularity names the stove; the model what each has bought most often, of two the more popular.
    assert (found.customers, found.popularity.value, found.model.value, found.habit.value) == (2, 0.5, 0.5, 0.5)
    with pytest.raises(NotReady, match="no customer of before bought anything that counts"):
        hit_rate(table(SHOP), NOW - 5 * DAY)


def test_what_happens_in_the_window_does_not_reach_the_model_that_is_tested_on_it():
    lines = shop()
    split = NOW - 30 * DAY
    early = lines.filter(pc.less(lines["placed_at"].cast(pa.int64()), split))
    assert fit(lines, split).text() == fit(early, split).text()


def test_nothing_bought_and_bad_input_are_told():
    with pytest.raises(NotReady, match="nothing was bought"):
        fit(table([]), NOW)
    with pytest.raises(InvalidInput, match="quantity: must be there exactly once"):
        fit(table(SHOP).drop_columns(["quantity"]), NOW)
    with pytest.raises(InvalidInput, match="top: must be at least 1"):
        recommend(fit(table(SHOP), NOW), table(SHOP), NOW, top=0)
    assert recommend(fit(table(SHOP), NOW), table([]), NOW).num_rows == 0


def damaged(**changes):
    return json.dumps(json.loads(fit(table(SHOP), NOW).text()) | changes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        damaged(format=2),
        damaged(products=[]),
        damaged(products=[{"product": "a", "name": "", "buyers": 1, "together": [[7, 2]]}]),
        damaged(products=[{"product": "a", "name": "", "buyers": 1, "together": [[-1, 2]]}]),
    ],
)
def test_a_stored_model_that_is_damaged_is_refused(text):
    with pytest.raises(NotReady, match="next products"):
        parse(text)


def test_a_product_that_the_model_does_not_know_says_nothing():
    lines = table(SHOP)
    model = fit(lines, NOW, again=False)
    later = table([*SHOP, *basket("ann", "tent", "novelty")])
    assert of("ann", later, model) == of("ann", table([*SHOP, line("ann", "tent")]), replace(model, as_of=0))
