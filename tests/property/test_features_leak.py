"""What happened at or after the cutoff is not known: no feature may move with it."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onefold.ml import features
from tests.histories import DAY, event, events_table, order, orders_table

CUTOFF = 16_000 * DAY + 5 * 3_600_000
PEOPLE = st.sampled_from(["ann", "bob", "cid"])
BEFORE = st.integers(CUTOFF - 300 * DAY, CUTOFF - 1)
AFTER = st.integers(CUTOFF, CUTOFF + DAY - 1) | st.integers(CUTOFF, CUTOFF + 100 * DAY)
"""Half of them on the first day: what looks only that far ahead is found out, too."""
AMOUNT = st.integers(0, 10**12)


@st.composite
def an_order(draw, at, refunded_at):
    refunds = st.lists(st.fixed_dictionaries({"at": refunded_at, "amount": AMOUNT}), max_size=3)
    return order(
        draw(PEOPLE),
        draw(at),
        draw(AMOUNT),
        currency=draw(st.sampled_from(["GBP", "EUR"])),
        refunds=draw(refunds),
        lines=draw(st.integers(1, 50)),
        units=draw(st.integers(1, 10**6)),
        status=draw(st.sampled_from(["paid", "paid", "cancelled"])),
        channel=draw(st.sampled_from(["", "web", "store"])),
        has_coupon=draw(st.booleans()),
    )


def an_event(at):
    return st.builds(event, PEOPLE, at, st.sampled_from(["view", "add_to_cart", "search"]))


few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def all_of(orders, events):
    orders, events = orders_table(orders), events_table(events)
    known = features.population(orders, CUTOFF)
    return known, features.compute(orders, events, CUTOFF, known)


@few
@given(
    past=st.lists(an_order(BEFORE, BEFORE), max_size=20),
    seen=st.lists(an_event(BEFORE), max_size=8),
    future=st.lists(an_order(AFTER, AFTER), max_size=8),
    unseen=st.lists(an_event(AFTER), max_size=8),
    late=st.lists(st.fixed_dictionaries({"at": AFTER, "amount": AMOUNT}), max_size=3),
)
def test_rows_at_or_after_the_cutoff_move_no_feature(past, seen, future, unseen, late):
    refunded_later = [{**row, "refunds": row["refunds"] + late} for row in past]
    assert all_of(refunded_later + future, seen + unseen) == all_of(past, seen)


@few
@given(
    rows=st.lists(an_order(BEFORE, BEFORE), min_size=1, max_size=25),
    seen=st.lists(an_event(BEFORE), max_size=8),
    data=st.data(),
)
def test_one_customer_alone_has_the_same_bits_as_among_all_in_any_order(rows, seen, data):
    known, together = all_of(rows, seen)
    for row in together.to_pylist():
        own = [o for o in data.draw(st.permutations(rows)) if o["identity"] == row["identity"]]
        own_events = [e for e in seen if e["identity"] == row["identity"]]
        alone = features.compute(orders_table(own), events_table(own_events), CUTOFF, known)
        assert alone.to_pylist() == [row]


@few
@given(rows=st.lists(an_order(BEFORE, BEFORE), max_size=25))
def test_purchases_are_the_orders_that_stand_with_what_was_kept_of_them(rows):
    found = features.purchases(orders_table(rows), CUTOFF, "GBP").to_pylist()
    expected = [
        {
            "identity": row["identity"],
            "placed": row["placed_at"],
            "value": (row["total"] - _returned(row)) / 1e6 if row["currency"] == "GBP" else 0.0,
        }
        for row in rows
        if _stands(row)
    ]
    assert found == sorted(expected, key=lambda purchase: tuple(purchase.values()))


def _returned(row):
    return min(row["total"], sum(refund["amount"] for refund in row["refunds"]))


def _stands(row):
    at_once = sum(r["amount"] for r in row["refunds"] if r["at"] // DAY == row["placed_at"] // DAY)
    return row["status"] != "cancelled" and row["total"] > 0 and at_once < row["total"]
