import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from onefold.graph.errors import InvalidInput
from onefold.ml import catalogue, columns, features
from onefold.ml.catalogue import CATALOGUE, Source, ValueType
from tests.histories import DAY, END, NO_EVENTS, event, events_table, order, orders_table, row_of, shop

NOW = 20_000 * DAY


def of(rows, events=NO_EVENTS, as_of=NOW):
    orders = orders_table(rows)
    known = features.population(orders, as_of)
    return row_of(features.compute(orders, events, as_of, known), rows[0]["identity"])


def test_days_count_from_the_day_of_the_order():
    ann = of([order("ann", NOW - 94 * DAY + 3_600_000), order("ann", NOW - 125 * DAY)])
    assert ann["days_since_order"] == 94
    assert ann["days_since_first_order"] == 125
    assert ann["gap_mean"] == ann["gap_last"] == 31


def test_two_orders_on_one_day_are_one_purchase():
    ann = of([order("ann", NOW - 5 * DAY, 1_000_000), order("ann", NOW - 5 * DAY + 60_000, 2_000_000)])
    assert ann["orders"] == 1
    assert ann["order_value_mean"] == 3.0
    assert ann["gap_mean"] is None


def test_gap_statistics_follow_the_gaps():
    days = [100, 90, 60, 50]  # gaps of 10, 30 and 10 days
    ann = of([order("ann", NOW - day * DAY) for day in days])
    assert (ann["gap_mean"], ann["gap_median"], ann["gap_max"], ann["gap_last"]) == (50 / 3, 10, 30, 10)
    deviation = math.sqrt((2 * (10 - 50 / 3) ** 2 + (30 - 50 / 3) ** 2) / 3)
    assert ann["gap_variation"] == pytest.approx(deviation / (50 / 3))
    assert ann["overdue_longest"] == 50 / 30
    # The population is this one customer, so the mean gap draws the expectation nowhere.
    assert ann["gap_expected"] == pytest.approx((50 + 2 * 50 / 3) / 5)


def test_windows_include_their_last_day_and_not_the_one_before():
    ann = of([order("ann", NOW - 30 * DAY), order("ann", NOW - 31 * DAY)])
    assert ann["orders_30d"] == 1
    assert ann["orders_60d"] == 2


def test_faded_counts_lose_a_factor_of_e_per_time_constant():
    ann = of([order("ann", NOW - 30 * DAY)])
    assert ann["orders_faded_30d"] == pytest.approx(math.exp(-1), abs=1e-9)
    assert ann["orders_faded_240d"] == pytest.approx(math.exp(-1 / 8), abs=1e-9)


@pytest.mark.parametrize(
    "void",
    [
        {"status": "cancelled"},
        {"total": 0},
        {"refunds": [{"at": NOW - 3 * DAY + 60_000, "amount": 10_000_000}]},
    ],
    ids=["cancelled", "free", "refunded in full on its day"],
)
def test_what_was_no_purchase_counts_nowhere(void):
    ann = of([order("ann", NOW - 40 * DAY), order("ann", NOW - 3 * DAY, **void)])
    assert ann["orders"] == 1
    assert ann["days_since_order"] == 40


def test_a_refund_on_a_later_day_is_a_return_of_a_purchase():
    refund = {"at": NOW - 2 * DAY, "amount": 10_000_000}
    ann = of([order("ann", NOW - 3 * DAY, refunds=[refund]), order("ann", NOW - 9 * DAY)])
    assert ann["orders"] == 2
    assert ann["returned_share"] == 0.5
    assert ann["returned_orders"] == 1
    assert ann["spend"] == 10.0


def test_a_refund_is_unknown_before_it_is_given():
    refunded = order("ann", NOW - 9 * DAY, refunds=[{"at": NOW - 2 * DAY, "amount": 4_000_000}])
    assert of([refunded], as_of=NOW - 5 * DAY)["spend"] == 10.0
    assert of([refunded], as_of=NOW)["spend"] == 6.0


def test_other_currencies_count_but_do_not_add():
    rows = [order("ann", NOW - day * DAY, 5_000_000) for day in (3, 6)]
    ann = of([*rows, order("ann", NOW - 9 * DAY, 900_000_000, currency="JPY")])
    assert ann["orders"] == 3
    assert ann["spend"] == 10.0


def test_amounts_of_a_customer_without_the_main_currency_are_unknown():
    rows = [order("bob", NOW - 4 * DAY, currency="JPY"), *(order("ann", NOW - d * DAY) for d in (3, 6))]
    bob = of(rows)
    assert bob["orders"] == 1
    assert bob["spend"] is None
    assert bob["order_value_mean"] is None


def test_a_customer_without_events_has_none_and_was_never_seen():
    events = events_table([event("bob", NOW - DAY)])
    ann = of([order("ann", NOW - 4 * DAY)], events)
    assert (ann["events_30d"], ann["views_90d"], ann["days_since_event"]) == (0, 0, None)


def test_views_and_carts_are_known_by_the_last_word_of_the_type():
    types = ["view", "product_view", "page.view", "cart", "add_to_cart", "review", "cartoon"]
    ann = of([order("ann", NOW - DAY)], events_table([event("ann", NOW - DAY // 4, kind) for kind in types]))
    assert (ann["events_30d"], ann["views_30d"], ann["carts_30d"]) == (7, 3, 2)
    assert ann["days_since_event"] == 0.25


def test_a_value_is_the_same_to_the_last_bit_in_whatever_order_rows_come():
    # Enough rows that the engine splits them: a sum of fractions would show it in the last digits.
    random = np.random.default_rng(1)
    count = 150_000
    one = orders_table([order("ann", NOW - DAY)])
    orders = one.take(np.zeros(count, np.int64)).set_column(
        0, "identity", pa.array(np.char.mod("id-%d", random.integers(0, 800, count)))
    )
    placed = pa.array(NOW - random.integers(1, 1_500 * DAY, count)).cast(columns.INSTANT)
    orders = orders.set_column(orders.schema.get_field_index("placed_at"), "placed_at", placed)
    known = features.population(orders, NOW)
    shuffled = orders.take(random.permutation(count))
    assert features.population(shuffled, NOW) == known
    assert features.compute(shuffled, NO_EVENTS, NOW, known) == features.compute(orders, NO_EVENTS, NOW, known)


def test_threads_that_compute_at_once_see_their_own_rows_only():
    def days(number):
        return of([order(f"id-{number}", NOW - (number + 1) * DAY)])["days_since_order"]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(days, range(64))) == list(range(1, 65))


def test_nobody_without_a_purchase_is_in_the_population():
    orders = orders_table([order("ann", NOW - DAY, status="cancelled"), order("bob", NOW + DAY)])
    known = features.population(orders, NOW)
    assert (known.customers, known.first_order, known.mean_gap) == (0, None, None)
    assert features.compute(orders, NO_EVENTS, NOW, known).num_rows == 0


def test_the_population_knows_its_currency_pace_and_age():
    rows = [order("ann", NOW - d * DAY) for d in (1, 11)] + [order("bob", NOW - 30 * DAY, currency="EUR")]
    known = features.population(orders_table(rows), NOW)
    assert known == features.Population(
        customers=2, returning=1, order_days=3, first_order=NOW - 30 * DAY, currency="GBP", mean_gap=10.0
    )


def test_columns_that_differ_from_the_contract_are_named():
    orders = orders_table([order("ann", NOW - DAY)])
    broken = orders.drop_columns(["lines"]).set_column(0, "identity", pa.array([None], pa.string()))
    with pytest.raises(InvalidInput) as raised:
        features.population(broken, NOW)
    assert [violation.field for violation in raised.value.violations] == ["identity", "lines"]


def test_a_matrix_names_infinite_and_missing_features():
    table = pa.table({"identity": ["ann"], "orders": [math.inf], "spend": [None]})
    table = table.set_column(2, "spend", table["spend"].cast(pa.float64()))
    assert math.isnan(features.matrix(table, ["spend"])[0, 0])
    with pytest.raises(InvalidInput, match="orders: must be finite"):
        features.matrix(table, ["spend", "orders"])
    with pytest.raises(InvalidInput, match="gap_max: is not among"):
        features.matrix(table, ["gap_max"])


def test_the_fingerprint_of_data_knows_rows_but_not_their_order():
    rows = [order("ann", NOW - d * DAY) for d in (1, 2, 3)]
    reference = features.fingerprint(orders_table(rows), NO_EVENTS, NOW)
    assert features.fingerprint(orders_table(rows[::-1]), NO_EVENTS, NOW) == reference
    assert features.fingerprint(orders_table([*rows, order("ann", NOW)]), NO_EVENTS, NOW) == reference
    assert features.fingerprint(orders_table([*rows, rows[0]]), NO_EVENTS, NOW) != reference
    refunded = {**rows[0], "refunds": [{"at": NOW - 1, "amount": 1}]}
    assert features.fingerprint(orders_table([refunded, *rows[1:]]), NO_EVENTS, NOW) != reference


def test_every_feature_is_defined_once_and_says_what_it_is():
    keys = [feature.key for feature in CATALOGUE]
    assert len(set(keys)) == len(keys)
    for feature in CATALOGUE:
        assert feature.meaning
        assert feature.as_of


def test_a_feature_changes_its_fingerprint_with_its_formula_and_with_what_lies_beneath(monkeypatch):
    before = {feature.key: feature.fingerprint for feature in CATALOGUE}
    changed = {**catalogue.RELATIONS, Source.EVENTS: catalogue.RELATIONS[Source.EVENTS] + "AND true"}
    monkeypatch.setattr(catalogue, "RELATIONS", changed)
    differing = {feature.key for feature in CATALOGUE if feature.fingerprint != before[feature.key]}
    assert differing == {feature.key for feature in CATALOGUE if feature.source is Source.EVENTS}


def test_a_derived_feature_changes_with_the_features_it_names(monkeypatch):
    before = {feature.key: feature.fingerprint for feature in CATALOGUE}
    other = dataclasses.replace(catalogue.BY_KEY["days_since_order"], formula="max(age)")
    monkeypatch.setitem(catalogue.BY_KEY, "days_since_order", other)
    differing = {feature.key for feature in CATALOGUE if feature.fingerprint != before[feature.key]}
    assert differing == {"gap_expected", "overdue", "overdue_longest", "quiet_share"}


def test_a_feature_that_counts_is_a_whole_number_and_no_other_is_called_so():
    orders, events = shop()
    table = features.compute(orders, events, END - DAY // 3, features.population(orders, END))
    for feature in CATALOGUE:
        values = table[feature.key].drop_null().to_numpy()
        if feature.type is ValueType.WHOLE:
            assert (values == values.round()).all(), feature.key
    whole = {feature.key for feature in CATALOGUE if feature.type is ValueType.WHOLE}
    assert {"orders", "orders_30d", "returned_orders", "order_channels", "carts_90d"} <= whole
    assert not {"coupon_share", "days_since_order", "gap_variation", "orders_faded_7d"} & whole


def test_a_customer_alone_has_the_features_that_they_have_among_all_to_the_last_bit(monkeypatch):
    orders, events = shop()
    known, cutoffs = features.population(orders, END), [END, END - 40 * DAY]
    monkeypatch.setattr(features, "FEW_ROWS", 0)
    among_all = features.compute_at(orders, events, cutoffs, known)
    monkeypatch.undo()
    assert features.compute_at(orders, events, cutoffs, known) == among_all
    for who in ("id-0003", "id-0004", "id-0200"):
        own = orders.filter(pc.equal(orders["identity"], who)), events.filter(pc.equal(events["identity"], who))
        for as_of, table in zip(cutoffs, among_all, strict=True):
            assert features.compute(*own, as_of, known) == table.filter(pc.equal(table["identity"], who))


def test_a_population_of_an_odd_currency_or_without_a_gap_is_no_other_query():
    rows = [order("ann", NOW - DAY, currency="it's")]
    known = features.population(orders_table(rows), NOW)
    assert (known.currency, known.mean_gap) == ("it's", None)
    (ann,) = features.compute(orders_table(rows), NO_EVENTS, NOW, known).to_pylist()
    assert (ann["spend"], ann["gap_expected"]) == (10.0, None)
