"""Features of people: each as plain Python reckons it, one person alone as among all, in any order of rows."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest

from onefold.graph.errors import InvalidInput
from onefold.ml import columns as ml_columns
from onefold.ml import features as ml_features
from onefold.ml.catalogue import CATALOGUE
from onefold.segments import columns, features, person_features, ranks
from onefold.segments.check import Rule
from onefold.segments.evaluate import compiled
from onefold.segments.folding import folded
from onefold.segments.person_features import PERSON_FEATURES
from onefold.segments.printing import text_of
from onefold.segments.vocabulary import TypedFeature
from tests.crowd import ASKED, DAY, FIELDS, NOW, WINDOWS, Asked, Crowd, crowd, window

Row = dict[str, Any]


def computed(made: Crowd, against: features.Population | None = None, asked: Asked = ASKED) -> pa.Table:
    people, orders, lines, events, predictions = made.tables()
    known = against or features.population(orders, lines, predictions, NOW)
    return features.compute(people, orders, lines, events, predictions, NOW, known, asked)


def of(rows: list[Row], identity: str, at: str) -> list[Row]:
    return [row for row in rows if row["identity"] == identity and row[at] < NOW]


def hour_of(row: Row, at: str) -> int:
    if row["utc_offset_minutes"] is None:
        return datetime.fromtimestamp(row[at] / 1000, ZoneInfo(ASKED.time_zone)).hour
    return (row[at] + row["utc_offset_minutes"] * 60_000) % DAY // 3_600_000


def most(counts: Counter[Any]) -> Any:
    return min(counts, key=lambda key: (-counts[key], key)) if counts else None


def is_a(row: Row, *names: str) -> bool:
    return bool(re.search(rf"(^|[._])({'|'.join(names)})s?$", row["type"]))


def sessions(events: list[Row]) -> list[int]:
    """How many events each session of the last 30 days has."""
    told: Counter[str] = Counter()
    apart: list[int] = []
    last = -math.inf
    for event in sorted(events, key=lambda e: e["at"]):
        if event["at"] < NOW - 30 * DAY:
            continue
        if name := dict(event["properties"]).get("session"):
            told[name] += 1
        elif event["at"] - last > 30 * 60_000:
            apart.append(1)
            last = event["at"]
        else:
            apart[-1] += 1
            last = event["at"]
    return [*told.values(), *apart]


def reckoned(made: Crowd, person: Row) -> Row:
    """The features that need more than a look at one column, in plain Python."""
    identity = person["identity"]
    orders = [o for o in of(made.orders, identity, "placed_at") if o["status"] != "cancelled"]
    lines = [line for line in of(made.lines, identity, "placed_at") if line["status"] != "cancelled"]
    events = of(made.events, identity, "at")
    said = [dict(e["properties"]) for e in events]
    actions = sorted([(e["at"], e["source"]) for e in events] + [(o["placed_at"], o["source"]) for o in orders])
    year = NOW - 365 * DAY
    channels = Counter(folded(e["channel"]) for e in events if e["at"] >= year)
    channels += Counter(folded(o["channel"]) for o in orders if o["placed_at"] >= year)
    del channels[""]
    bought = Counter(folded(line["category"]) for line in lines if line["placed_at"] >= year)
    viewed = Counter(
        folded(p.get("category", "")) for e, p in zip(events, said, strict=True) if is_a(e, "view") and e["at"] >= year
    )
    categories = sorted((bought + viewed).keys() - {""})
    brands = Counter(
        folded(p["brand"])
        for e, p in zip(events, said, strict=True)
        if is_a(e, "view", "cart") and "brand" in p and e["at"] >= year
    )
    reviews = [p for e, p in zip(events, said, strict=True) if is_a(e, "review")]
    ratings = [round(float(p["rating"]) * 1e6) for p in reviews if p.get("rating", "good") != "good"]
    recent = [e for e in events if e["at"] >= NOW - 30 * DAY]
    views = sum(is_a(e, "view") for e in recent)
    counts = sessions(events)
    birth, today = person["birth_date"], datetime.fromtimestamp(NOW / 1000, ZoneInfo(ASKED.time_zone)).date()
    return {
        "gender": person["gender"] and folded(person["gender"]),
        "city": folded(person["city"]) or None if person["city"] else None,
        "region": person["region"] and folded(person["region"]),
        "birth_year": birth and birth.year,
        "age": None
        if birth is None or birth > today
        else today.year - birth.year - ((today.month, today.day) < (birth.month, birth.day)),
        "reachable_by": sorted(person["reachable_by"]),
        "last_event_at": max((e["at"] for e in events), default=None),
        "reviews": len(reviews),
        "review_rating": sum(ratings) / (len(ratings) * 1e6) if ratings else None,
        "shares": sum(is_a(e, "share") for e in events),
        "referrals": sum(is_a(e, "referral") for e in events),
        "bounce_rate": counts.count(1) / len(counts) if counts else None,
        "first_source": actions[0][1] if actions else None,
        "last_source": actions[-1][1] if actions else None,
        "active_hour": most(
            Counter(hour_of(e, "at") for e in events) + Counter(hour_of(o, "placed_at") for o in orders)
        ),
        "preferred_channel": most(channels),
        "categories": categories or None,
        "top_category": min(categories, key=lambda c: (-bought[c], -viewed[c], c)) if categories else None,
        "top_brand": most(brands),
        "events_30d": len(recent),
        "views_30d": views,
        "cart_rate": sum(is_a(e, "cart") for e in recent) / views if views else None,
    }


@pytest.fixture(scope="module", params=range(4))
def made(request: pytest.FixtureRequest) -> Crowd:
    return crowd(request.param, 150)


def ms(value: Any) -> Any:
    return round(value.timestamp() * 1000) if isinstance(value, datetime) else value


def test_features_are_what_plain_python_reckons(made: Crowd) -> None:
    table = computed(made)
    assert table["identity"].to_pylist() == sorted(person["identity"] for person in made.people)
    known: Counter[str] = Counter()
    for person, row in zip(made.people, table.to_pylist(), strict=True):
        expected = reckoned(made, person)
        assert {key: ms(row[key]) for key in expected} == expected
        known.update(key for key, value in expected.items() if value is not None)
    assert set(known) == expected.keys()  # each of them was known of somebody


def test_who_bought_has_what_models_see_to_the_last_bit(made: Crowd) -> None:
    table = computed(made)
    _, orders, _, events, _ = made.tables()
    narrow = ml_columns.check(orders, ml_columns.ORDERS), ml_columns.check(events, ml_columns.EVENTS)
    seen = ml_features.compute(*narrow, NOW, ml_features.population(narrow[0], NOW))
    seen = seen.filter(pa.compute.not_equal(seen["identity"], "nobody"))
    assert 0 < len(seen) < len(table)
    ours = table.filter(pa.compute.is_in(table["identity"], value_set=seen["identity"].combine_chunks()))
    for feature in CATALOGUE:
        assert ours[feature.key].cast(pa.float64()).to_pylist() == seen[feature.key].to_pylist()


def test_who_did_nothing_has_counts_of_zero_and_nothing_else_is_known() -> None:
    made = crowd(1)
    alone = {**dict.fromkeys(columns.PEOPLE.names), "identity": "x", "created_at": NOW - DAY, "properties": []}
    nobody = Crowd([{**alone, "reachable_by": [], "sources": []}], [], [], [], [])
    against = features.population(*made.tables()[1:3], made.tables()[4], NOW)
    (row,) = computed(nobody, against).to_pylist()
    counts = {f.key for f in PERSON_FEATURES if f.is_count} | {text_of(w) for w in WINDOWS} | {"views_ever"}
    counts |= {f.key for f in CATALOGUE if f.type == "whole number"}
    assert {key for key, value in row.items() if value == 0} == counts
    said = {key for key, value in row.items() if value is not None} - counts
    assert said == {"identity", "created_at", "reachable_by", "sources"}


def test_one_person_alone_and_rows_in_any_order_come_out_the_same(made: Crowd) -> None:
    _, orders, lines, _, predictions = made.tables()
    against = features.population(orders, lines, predictions, NOW)
    table = computed(made, against)
    assert computed(made.shuffled(1), against).equals(table)
    shuffled = made.shuffled(2).tables()
    assert features.population(shuffled[1], shuffled[2], shuffled[4], NOW) == against
    for place in (0, 17, 149):
        identity = table["identity"][place].as_py()
        assert computed(made.only({identity}), against).equals(table.slice(place, 1))
    some = set(table["identity"].to_pylist()[20:70])
    assert computed(made.only(some), against).equals(table.slice(20, 50))


def test_a_window_counts_the_events_that_its_condition_is_true_of(made: Crowd) -> None:
    table = computed(made)
    typed = {key: TypedFeature(key, field.type) for key, field in FIELDS.items()}
    parse = {"price": float, "pieces": lambda text: None if "." in text else int(text), "is_new": lambda t: t == "true"}

    def row_of(event: Row) -> Row:
        said = dict(event["properties"])
        row: Row = {"channel": folded(event["channel"]) or None, "category": folded(said.get("category", "")) or None}
        for key, name in (("price", "price"), ("pieces", "pieces"), ("is_new", "new")):
            text = said.get(name)
            row[key] = None if text in (None, "free") else parse[key](text)
        return row

    for each in WINDOWS:
        holds = compiled(Rule(each.where, typed)) if each.where else (lambda row, now: True)
        start = -math.inf if each.hours is None else NOW - each.hours * 3_600_000
        expected = [
            sum(
                e["type"] == each.type and e["at"] >= start and holds(row_of(e), NOW) is True
                for e in of(made.events, person["identity"], "at")
            )
            for person in made.people
        ]
        assert table[text_of(each)].to_pylist() == expected
        assert any(expected) == (each.type != "never")
    assert table["views_ever"] == table[text_of(WINDOWS[0])]


def test_bands_are_fifths_of_the_population() -> None:
    made = crowd(3, 200)
    table = computed(made)
    for key, values in (("clv_score", table["predicted_spend_micros"]), ("price_band", prices(made, table))):
        numbers = np.array([np.nan if v is None else v for v in values.to_pylist()], float)
        everybody = numbers if key == "clv_score" else np.append(numbers, prices_of(made, "nobody"))
        band = ranks.bands(everybody).of(numbers)
        assert [None if math.isnan(b) else b for b in band] == table[key].to_pylist()


def prices(made: Crowd, table: pa.Table) -> pa.Array:
    return pa.array([prices_of(made, identity) for identity in table["identity"].to_pylist()])


def prices_of(made: Crowd, identity: str) -> float | None:
    home = features.population(*made.tables()[1:3], made.tables()[4], NOW).of_models.currency
    lines = [
        line
        for line in of(made.lines, identity, "placed_at")
        if line["status"] != "cancelled" and line["currency"] == home and line["quantity"] and line["unit_price"]
    ]
    pieces = sum(line["quantity"] for line in lines)
    return sum(line["quantity"] * line["unit_price"] for line in lines) / (pieces * 1e6) if pieces else None


def test_who_came_back_was_away_so_many_times_the_usual() -> None:
    made = crowd(0, 0)
    days = [200, 190, 180, 10]
    row = {**crowd(5, 60).orders[0], "identity": "a", "status": "paid", "total": 1_000_000, "currency": "GBP"}
    orders = [{**row, "order": f"o{d}", "placed_at": NOW // DAY * DAY - d * DAY, "refunds": []} for d in days]
    made = Crowd([{**crowd(5, 1).people[0], "identity": "a"}], orders, [], [], [])
    (found,) = computed(made).to_pylist()
    before = (20 + 2 * found["gap_mean"]) / 4  # as gap_expected was, after the order 180 days ago: orders + 1 = 4
    assert found["comeback"] == pytest.approx(170 / before)


def test_free_properties_are_read_as_their_features_say(made: Crowd) -> None:
    rows = {row["identity"]: row for row in computed(made).to_pylist()}
    read: dict[str, dict[str, Any]] = {}
    for person in made.people:
        for key, name in (
            ("company_size", "size"), ("tags", "tags"), ("vip", "vip"), ("plan", "plan"), ("renewal", "renewal"),
            ("score", "score"),
        ):  # fmt: skip
            text = dict(person["properties"]).get(name, "(none)")
            read.setdefault(key, {})[text] = rows[person["identity"]][key]
    noon = datetime(2026, 1, 31, 10, tzinfo=UTC)
    assert read == {
        "company_size": {"12": 12, "12.5": None, "many": None, "-0": 0, "1e400": None, "(none)": None},
        "tags": {'["B", "a", "A"]': ["a", "b"], "solo": ["solo"], "[]": [], '"quoted"': ['"quoted"'], "(none)": None},
        "vip": {"true": True, "false": False, "yes": None, "(none)": None},
        "plan": {"Gold": "gold", "": None, "ß": "ss", "(none)": None},
        "renewal": {
            "2026-01-31": noon.replace(hour=0),
            "2026-01-31T12:00:00+02:00": noon,
            "soon": None,
            "(none)": None,
        },
        "score": {"-0.0": 0.0, "0.25": 0.25, "nan": None, "(none)": None},
    }
    assert all(math.copysign(1, row["score"]) > 0 for row in rows.values() if row["score"] is not None)


@pytest.mark.parametrize(("birth", "age"), [("2000-02-29", 25), ("2025-12-01", 0), ("2025-12-02", None)])
def test_age_is_in_completed_years(birth: str, age: int | None) -> None:
    person = {**crowd(5, 1).people[0], "birth_date": date.fromisoformat(birth)}
    assert computed(Crowd([person], [], [], [], []))["age"].to_pylist() == [age]


def test_what_happens_from_the_instant_on_changes_nothing() -> None:
    made = crowd(6)
    later = crowd(7)
    for rows, at in ((later.orders, "placed_at"), (later.lines, "placed_at"), (later.events, "at")):
        rows[:] = [{**row, at: row[at] + 700 * DAY} for row in rows]
    both = Crowd(
        made.people, made.orders + later.orders, made.lines + later.lines, made.events + later.events, made.predictions
    )
    assert computed(both).equals(computed(made))


def test_what_one_is_held_against_survives_json() -> None:
    _, orders, lines, _, predictions = crowd(8).tables()
    known = features.population(orders, lines, predictions, NOW)
    assert features.Population.from_data(json.loads(json.dumps(known.to_data()))) == known


def test_nobody_at_all_has_features_of_no_rows() -> None:
    assert computed(Crowd([], [], [], [], [])).schema == features.schema(ASKED)
    assert computed(Crowd([], [], [], [], [])).num_rows == 0


def test_a_table_of_other_columns_and_somebody_twice_are_told() -> None:
    people, orders, lines, events, predictions = crowd(9).tables()
    known = features.population(orders, lines, predictions, NOW)
    with pytest.raises(InvalidInput, match="currency"):
        features.population(orders, lines.drop_columns("currency"), predictions, NOW)
    twice = pa.concat_tables([people, people])
    with pytest.raises(InvalidInput, match="once"):
        features.compute(twice, orders, lines, events, predictions, NOW, known, ASKED)


def test_the_properties_to_read_are_those_of_features_and_of_conditions() -> None:
    asked = Asked((window('count_events("view", is_new && channel == "app")'),), FIELDS)
    assert features.event_properties(asked) == ["brand", "category", "new", "rating", "session"]


def test_every_feature_has_a_meaning_and_a_key_of_its_own() -> None:
    keys = [f.key for f in PERSON_FEATURES] + [f.key for f in CATALOGUE]
    assert len(set(keys)) == len(keys)
    assert all(f.meaning for f in PERSON_FEATURES)
    assert person_features.CODES > 1000
