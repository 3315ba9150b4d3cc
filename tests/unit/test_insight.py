"""Insight against plain Python over the same rows."""

import math
from collections import Counter, defaultdict
from datetime import timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from onefold.graph.errors import InvalidInput
from onefold.segments import columns
from onefold.segments.insight import decision, relations
from onefold.segments.insight.describe import Asked, describe
from onefold.segments.insight.intervals import share
from tests.clientele import END, FRAME, crowd, moment

ZONE = "Asia/Kolkata"
MADE = crowd(seed=7, people=1_500)
INSIGHT = describe(MADE.members, *MADE.tables(), END, Asked(time_zone=ZONE))
INSIDE = MADE.members
ROWS = {row["identity"]: row for row in MADE.frame}
VISITS = {"page_view", "product_view", "search", "cart"}


def close(a, b):
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)


def local(row, at):
    offset = row["utc_offset_minutes"]
    there = row[at].astimezone(ZoneInfo(ZONE)) if offset is None else row[at] + timedelta(minutes=offset)
    return there.replace(tzinfo=None)


def refunded_at_once(row):
    return sum(
        r["amount"] for r in row["refunds"] if r["at"].date() == row["placed_at"].date() and r["at"] < moment(END)
    )


PURCHASES = [
    row
    for row in MADE.orders
    if row["status"] != "cancelled"
    and row["total"] > 0
    and row["placed_at"] < moment(END)
    and refunded_at_once(row) < row["total"]
]
EVENTS = [row for row in MADE.events if row["at"] < moment(END)]
BOUGHT = {row["order"] for row in PURCHASES}
SOLD = [row for row in MADE.lines if row["order"] in BOUGHT]


def inside(rows):
    return [row for row in rows if row["identity"] in INSIDE]


def distribution(key):
    (found,) = [d for d in INSIGHT.distributions if d.key == key]
    return found


def test_a_distribution_counts_those_for_whom_something_is_known():
    devices = defaultdict(set)
    for row in EVENTS:
        if "device_type" in dict(row["properties"]):
            devices[row["identity"]].add(dict(row["properties"])["device_type"])
    had = {
        "gender": {i: {row["gender"]} for i, row in ROWS.items() if row["gender"]},
        "region": {i: {row["region"]} for i, row in ROWS.items() if row["region"]},
        "loyalty_tier": {i: {row["loyalty_tier"]} for i, row in ROWS.items() if row["loyalty_tier"]},
        "categories": {i: set(row["categories"]) for i, row in ROWS.items() if row["categories"] is not None},
        "device_type": devices,
    }
    assert {d.key for d in INSIGHT.distributions} == {*had, "age"}
    for key, values in had.items():
        told = distribution(key)
        here = {i: v for i, v in values.items() if i in INSIDE}
        assert (told.known, told.unknown) == (len(here), len(INSIDE) - len(here)), key
        counts = Counter(v for owned in here.values() for v in owned)
        everywhere = Counter(v for owned in values.values() for v in owned)
        assert {s.value: (s.count, s.everywhere) for s in told.shares} == {
            v: (counts[v], everywhere[v]) for v in everywhere
        }, key
        for s in told.shares:
            assert close(s.share.value, s.count / len(here))
            assert close(s.whole, s.everywhere / len(values))
            assert s.tgi is None or close(s.tgi.value, 100 * s.share.value / s.whole)
        assert [s.count for s in told.shares] == sorted((s.count for s in told.shares), reverse=True)


def test_every_dimension_that_is_known_is_told_with_its_index():
    """All that a frame may have, and what events say of the device."""
    alike = {"age": 30, "gender": "f", "country": "gb", "region": "kent", "city": "dover", "loyalty_tier": "gold"}
    alike |= {"categories": ["home"], "first_source": "shop", "labels": []}
    rows = [
        {
            **alike,
            "identity": f"i{n:04d}",
            "price_band": 5 if n % 4 == 0 else 1 + n % 2,
            "preferred_channel": "app" if n % 4 == 0 else "store",
        }
        for n in range(2_000)
    ]
    frame = pa.Table.from_pylist(rows)
    devices = [
        (n, [("device_type", device), ("os", os)])
        for n in range(1_000)
        for device, os in [("phone", "android" if n % 4 else "ios"), ("desktop", "linux")][: 1 + (n % 8 == 0)]
    ]
    seen = {**MADE.events[0], "at": moment(END - 1)}
    events = [{**seen, "identity": f"i{n:04d}", "properties": said} for n, said in devices]
    # Of the segment are all whose number is a multiple of eight: those have price band 5, the app, and two devices.
    inside = [f"i{n:04d}" for n in range(0, 2_000, 8)]
    nothing = (columns.ORDERS.empty_table(), columns.LINES.empty_table())
    told = describe(inside, frame, *nothing, pa.Table.from_pylist(events, columns.EVENTS), END).distributions
    assert [d.key for d in told] == [
        "age", "gender", "country", "region", "city", "loyalty_tier", "device_type", "os", "price_band", "categories",
        "preferred_channel", "first_source",
    ]  # fmt: skip
    found = {d.key: {s.value: (s.count, s.everywhere, round(s.tgi.value)) for s in d.shares} for d in told}
    assert found["price_band"] == {"1": (0, 500, 0), "2": (0, 1_000, 0), "5": (250, 500, 400)}
    assert found["preferred_channel"] == {"app": (250, 500, 400), "store": (0, 1_500, 0)}
    assert found["device_type"] == {"phone": (125, 1_000, 100), "desktop": (125, 125, 800)}
    assert found["os"] == {"linux": (125, 125, 800), "ios": (125, 250, 400), "android": (0, 750, 0)}
    assert found["city"] == {"dover": (250, 2_000, 100)}


def test_ages_are_told_in_bands_in_their_order():
    shares = distribution("age").shares
    assert [s.value for s in shares] == ["0–17", "18–24", "25–34", "35–44", "45–54", "55–64", "65+"]
    ages = [row["age"] for row in ROWS.values() if row["identity"] in INSIDE and row["age"] is not None]
    assert shares[2].count == sum(25 <= age < 35 for age in ages)
    assert shares[6].count == sum(age >= 65 for age in ages)
    assert sum(s.count for s in shares) == len(ages)


def test_hours_and_weekdays_are_local():
    slots = {(r["identity"], local(r, "at").replace(minute=0)) for r in inside(EVENTS) if r["type"] in VISITS}
    visits = Counter((slot.weekday(), slot.hour) for _, slot in slots)
    orders = Counter((local(r, "placed_at").weekday(), local(r, "placed_at").hour) for r in inside(PURCHASES))
    for grid, counts in ((INSIGHT.when.visits, visits), (INSIGHT.when.orders, orders)):
        assert {(d, h): n for d, row in enumerate(grid) for h, n in enumerate(row) if n} == counts


def first_of(rows, at):
    first = {}
    for row in rows:
        mine = (row[at], local(row, at))
        first[row["identity"]] = min(first.get(row["identity"], mine), mine)
    return first


def test_the_way_from_the_first_visit_to_the_first_order():
    visits = first_of([r for r in EVENTS if r["type"] in VISITS], "at")
    orders = first_of(PURCHASES, "placed_at")
    waits = {
        i: (orders[i][1].date() - visits[i][1].date()).days if i in orders else None
        for i in visits
        if i not in orders or orders[i] >= visits[i]
    }
    here = [days for i, days in waits.items() if i in INSIDE]
    days = sorted(max(0, d) for d in here if d is not None)
    told = INSIGHT.decision
    assert (told.same_day.of, told.bought, told.not_yet) == (len(here), len(days), len(here) - len(days))
    assert close(told.same_day.segment.value, sum(d == 0 for d in days) / len(here))
    assert close(told.same_day.whole, sum(d is not None and d <= 0 for d in waits.values()) / len(waits))
    assert told.quartiles[1] == (days[(len(days) - 1) // 2] + days[len(days) // 2]) / 2
    assert [w.count for w in told.waits] == [
        sum(start <= d and (end is None or d <= end) for d in days) for start, end in decision.WAITS
    ]


def test_the_path_to_an_order_begins_after_the_one_before():
    placed = defaultdict(dict)
    for row in sorted(inside(PURCHASES), key=lambda r: r["order"], reverse=True):
        placed[row["identity"]][row["placed_at"]] = row["order"]
    before = defaultdict(list)
    for row in sorted(inside(EVENTS), key=lambda r: (r["at"], r["type"])):
        later = [at for at in placed[row["identity"]] if at >= row["at"]]
        if later and row["at"] >= min(later) - timedelta(days=decision.PATH_DAYS):
            steps = before[placed[row["identity"]][min(later)]]
            if steps[-1:] != [row["type"]]:
                steps.append(row["type"])
    paths = Counter(tuple(steps[-decision.STEPS :]) for steps in before.values())
    assert INSIGHT.decision.orders_without_path == len(inside(PURCHASES)) - len(before)
    told = {path.steps: path.orders for path in INSIGHT.decision.paths}
    assert len(told) == 20
    assert told == {steps: paths[steps] for steps in told}
    assert [p.orders for p in INSIGHT.decision.paths] == sorted(paths.values(), reverse=True)[:20]


def test_what_the_segment_buys_for_and_how_often():
    told, rows = INSIGHT.buying, inside(PURCHASES)
    buyers = {r["identity"] for r in rows}
    pounds = [r["total"] / 1e6 for r in rows if r["currency"] == "GBP"]
    days = {i: {local(r, "placed_at").date() for r in rows if r["identity"] == i} for i in buyers}
    assert told.currency == "GBP"
    assert close(told.buyers.segment.value, len(buyers) / len(INSIDE))
    assert close(told.order_value.segment.value, sum(pounds) / len(pounds))
    assert close(told.orders_per_buyer.segment.value, len(rows) / len(buyers))
    assert close(told.repurchase_rate.segment.value, sum(len(d) > 1 for d in days.values()) / len(buyers))
    assert close(told.coupon_share.segment.value, sum(r["has_coupon"] for r in rows) / len(rows))
    everywhere = [r["total"] / 1e6 for r in PURCHASES if r["currency"] == "GBP"]
    assert close(told.revenue, sum(pounds))
    assert close(told.revenue_share, sum(pounds) / sum(everywhere))
    assert close(told.order_value.whole, sum(everywhere) / len(everywhere))
    assert {p.value: p.orders for p in told.payment_methods} == Counter(r["payment_method"] for r in rows)


def test_price_bands_end_where_a_fifth_of_everybodys_orders_does():
    told = INSIGHT.buying.price_bands
    assert [band.value for band in told] == ["up to 5", "over 5 to 20", "over 20"]
    pounds = [r["total"] / 1e6 for r in inside(PURCHASES) if r["currency"] == "GBP"]
    assert [b.orders for b in told] == [sum(p <= 5 for p in pounds), pounds.count(20), pounds.count(60)]
    assert INSIGHT.buying.concentration == max(band.share for band in told)


def test_best_sellers_and_categories_are_counted_by_order():
    told, rows = INSIGHT.products, inside(SOLD)
    orders = {r["order"] for r in rows}
    assert told.orders == len(orders)
    for product in told.best_sellers:
        mine = [r for r in rows if r["product"] == product.key]
        assert product.orders == len({r["order"] for r in mine})
        assert product.buyers == len({r["identity"] for r in mine})
        assert product.units == sum(r["quantity"] for r in mine)
        priced = [r for r in mine if r["unit_price"] is not None and r["currency"] == "GBP"]
        assert close(product.revenue, sum(r["quantity"] * r["unit_price"] for r in priced) / 1e6)
    assert [p.orders for p in told.best_sellers] == sorted((p.orders for p in told.best_sellers), reverse=True)
    few = describe(INSIDE, *MADE.tables(), END, Asked(time_zone=ZONE, most=2)).products
    paid = sum(r["quantity"] * r["unit_price"] for r in rows if r["unit_price"] is not None and r["currency"] == "GBP")
    assert close(few.best_sellers_share, sum(p.revenue for p in few.best_sellers) * 1e6 / paid)
    assert few.best_sellers_share < told.best_sellers_share == 1
    home = {r["order"] for r in rows if r["category"] == "home"}
    assert {p.value: p.orders for p in told.categories}["home"] == len(home)


def test_what_is_bought_together_is_more_than_chance():
    baskets = defaultdict(set)
    for row in inside(SOLD):
        baskets[row["order"]].add(row["name"])
    assert [(p.first, p.then) for p in INSIGHT.products.pairs] == [("Mug", "Plate")]
    (pair,) = INSIGHT.products.pairs
    both = sum({"Mug", "Plate"} <= b for b in baskets.values())
    mugs, plates = (sum(name in b for b in baskets.values()) for name in ("Mug", "Plate"))
    assert (pair.together, pair.support, pair.confidence) == (both, both / len(baskets), both / mugs)
    assert close(pair.lift, both * len(baskets) / mugs / plates)


def test_high_value_customers_bring_what_they_were_charged():
    (check,) = [c for c in INSIGHT.checks if c.key == "high_value"]
    rows = [r for r in inside(PURCHASES) if r["currency"] == "GBP"]
    high = [r for r in rows if "rfm_high_value" in ROWS[r["identity"]]["labels"]]
    assert close(check.found.value, sum(r["total"] for r in high) / sum(r["total"] for r in rows))
    assert check.words == f"high-value customers bring {check.found.value:.0%} of the revenue"
    assert (check.bar, check.met) == (0.4, check.found.value >= 0.4)


@pytest.mark.parametrize(
    ("ages", "core", "clear", "words"),
    [
        ([30] * 60 + [40] * 40, True, True, "the audience is clear: one age band has 60%"),
        ([30] * 59 + [40] * 41, False, True, "the audience is clear: one age band has 59%"),
        ([30] * 40 + [40] * 30 + [50] * 30, False, True, "the audience is clear: one age band has 40%"),
        ([30] * 39 + [40] * 31 + [50] * 30, False, False, "the audience is blurred: no age band has more than 39%"),
        ([None] * 9, None, None, "no age is known"),
    ],
)
def test_an_audience_has_a_core_from_60_percent_on_and_is_blurred_below_40(ages, core, clear, words):
    frame = pa.table({"identity": [f"i{n}" for n in range(len(ages))], "age": pa.array(ages, pa.int64())})
    empty = [schema.empty_table() for schema in (columns.ORDERS, columns.LINES, columns.EVENTS)]
    checks = {c.key: c for c in describe(frame["identity"], frame, *empty, END).checks}
    assert (checks["core_age"].met, checks["clear_age"].met) == (core, clear)
    assert checks["clear_age"].words == words
    if core is not None:
        assert checks["core_age"].words == f"{ages.count(30)}% are of the core age band 25–34"


@pytest.mark.parametrize(("of_five", "met"), [(70, True), (69, False)])
def test_five_regions_are_to_have_70_percent(of_five, met):
    regions = [f"r{n % 5}" for n in range(of_five)] + [f"far-{n}" for n in range(100 - of_five)]
    frame = pa.table({"identity": [f"i{n}" for n in range(100)], "region": regions})
    empty = [schema.empty_table() for schema in (columns.ORDERS, columns.LINES, columns.EVENTS)]
    (check,) = [c for c in describe(frame["identity"], frame, *empty, END).checks if c.key == "regions"]
    assert (check.found.value, check.met) == (of_five / 100, met)
    assert check.words == f"{of_five}% live in the 5 most frequent regions"


def test_the_top_five_regions_count_whose_region_is_known():
    (check,) = [c for c in INSIGHT.checks if c.key == "regions"]
    counts = Counter(ROWS[i]["region"] for i in INSIDE if ROWS[i]["region"])
    assert close(check.found.value, sum(n for _, n in counts.most_common(5)) / counts.total())
    assert check.met
    few = describe(INSIDE, *MADE.tables(), END, Asked(time_zone=ZONE, most=1))
    assert few.checks == INSIGHT.checks


def test_the_order_of_rows_changes_nothing():
    frame, orders, lines, events = MADE.tables()
    turned = [table.take(list(range(table.num_rows))[::-1]) for table in (frame, orders, lines, events)]
    assert describe(pa.array(sorted(INSIDE)), *turned, END, Asked(time_zone=ZONE)) == INSIGHT


def test_a_small_segment_is_told_with_a_warning_and_wider_intervals():
    everybody = describe(set(ROWS), *MADE.tables(), END)
    assert (everybody.confidence, everybody.warnings, everybody.share) == (0.95, (), 1.0)
    assert INSIGHT.confidence == 0.99
    (warning,) = INSIGHT.warnings
    assert warning.startswith(f"only {len(INSIDE)} customers")
    for told in INSIGHT.distributions:
        for s in told.shares:
            assert s.share == share(s.count, told.known, 0.99)
            usual = share(s.count, told.known, 0.95)
            assert s.share.low <= usual.low < usual.high <= s.share.high
            assert s.share.high - s.share.low > usual.high - usual.low
    assert {s.tgi.value for d in everybody.distributions for s in d.shares if s.tgi} == {100.0}


def test_a_segment_of_one_who_did_nothing_is_described():
    nothing = MADE.tables()
    one = describe(["i00000"], nothing[0], *(t.slice(0, 0) for t in nothing[1:]), END)
    assert (one.members, one.buying.order_value.segment, one.decision.quartiles, one.products.orders) == (
        1,
        None,
        None,
        0,
    )
    assert one.buying.buyers.whole == 0
    assert {c.key: c.met for c in one.checks}["high_value"] is None
    assert not any(s.tgi for d in one.distributions for s in d.shares)


@pytest.mark.parametrize(
    ("members", "asked", "words"),
    [
        ([], Asked(), "members: there is nobody in the segment"),
        (["i00000", "gone"], Asked(), "members: must be in the frame; 1 are not, as gone"),
        (["i00000"], Asked(time_zone="Europe/Londn"), "time_zone: there is no time zone Europe/Londn"),
        (["i00000"], Asked(age_bands=(30, 20)), "age_bands: must be rising"),
        (["i00000"], Asked(most=0), "most: must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(members, asked, words):
    with pytest.raises(InvalidInput) as raised:
        describe(members, *MADE.tables(), END, asked)
    assert words in str(raised.value)


def test_a_table_without_a_column_is_refused():
    frame, orders, lines, events = MADE.tables()
    with pytest.raises(InvalidInput, match=r"orders\.has_coupon: must be there"):
        describe(INSIDE, frame, orders.drop_columns(["has_coupon"]), lines, events, END)


@pytest.mark.parametrize(
    ("type", "is_visit"),
    [("view", True), ("page_view", True), ("shop.product_views", True), ("cart_add", True), ("search", True),
     ("review", False), ("email_open", False), ("research", False), ("order", False)],
)  # fmt: skip
def test_a_visit_is_known_by_its_type(type, is_visit):
    row = {**MADE.events[0], "identity": "a", "type": type, "at": moment(END - 1)}
    events = pa.Table.from_pylist([row], columns.EVENTS)
    frame = pa.Table.from_pylist([{"identity": "a"}], FRAME.remove(1))
    nothing = (columns.ORDERS.empty_table(), columns.LINES.empty_table())
    with relations.opened(["a"], frame, *nothing, events, END, "UTC") as found:
        (seen,) = found.rows("SELECT regexp_matches(type, $types) FROM happened", types=relations.VISITS)
    assert seen == (is_visit,)
