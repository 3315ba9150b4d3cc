"""The catalogue: what its file may say, where it is wrong, and that its templates do what they say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random

import duckdb
import pyarrow as pa
import pytest

from onefold.graph.errors import NotFound
from onefold.ml.columns import INSTANT
from onefold.segments import catalogue as catalogues
from onefold.segments import statement
from onefold.segments.catalogue import Catalogue, InvalidCatalogue, Layer, Property, Segment, Status, static
from onefold.segments.check import check
from onefold.segments.evaluate import compiled
from onefold.segments.printing import text_of
from onefold.segments.reads import Named
from onefold.segments.tree import CountEvents
from onefold.segments.vocabulary import LABELS, SEGMENTS, Type

NOW = 1_764_583_200_000
DAY = 86_400_000

SMALL = """\
catalogue: 3
time_zone: Europe/London
event_fields:
  brand: {type: text, property: marke}
features:
  fitness: {type: int, source: 'count_events("view", category == "fitness", 30d)', null_means: never}
  company_size: {type: int, source: property("company_size")}
labels:
  - key: silent
    layer: life_cycle
    version: 2
    owner: crm
    refresh: 1h
    rule: days_since(last_order_at) > 90
    tests: [{given: {}, is: unknown}, {given: {last_order_at: 91d ago}, is: true}]
  - key: fit
    layer: interest
    rule: |
      fitness >= 5  // of late
        && !in_segment("staff")
    tests:
      - {given: {fitness: 5, segments: [staff]}, is: false}
tiers:
  - key: rfm
    unknown: needs_data
    otherwise: unclassified
    of:
      - {key: high, rule: orders_30d >= 2 && spend > 10}
      - {key: low, rule: orders_30d == 0}
    tests:
      - {given: {orders_30d: 2}, is: needs_data}
      - {given: {orders_30d: 1}, is: unclassified}
segments:
  - {key: winback, rule: has_label("silent") && !in_segment("staff") && has_label("rfm_low")}
  - {key: staff, static: {records: staff.csv}}
"""


@pytest.fixture(scope="module")
def small() -> Catalogue:
    return catalogues.parse(SMALL)


@pytest.fixture(scope="module")
def retail() -> Catalogue:
    return catalogues.load()


def refused(text: str) -> list[str]:
    with pytest.raises(InvalidCatalogue) as raised:
        catalogues.parse(text)
    return [f"{v.field}: {v.rule}" for v in raised.value.violations]


# -- what a file comes to --------------------------------------------------------------------------------------------


def test_a_file_becomes_labels_tiers_segments_and_features(small: Catalogue) -> None:
    silent = small.labels["silent"]
    assert (silent.layer, silent.version, silent.owner, silent.status, silent.refresh_hours) == (
        Layer.LIFE_CYCLE, 2, "crm", Status.ACTIVE, 1,
    )  # fmt: skip
    assert small.features["company_size"].source == Property("company_size")
    assert small.features["fitness"].source == CountEvents("view", small.windows[0].where, 720)
    assert small.features["fitness"].null_means == "never"
    assert {key: field.property for key, field in small.event_fields.items()} == {
        "channel": "",
        "category": "category",
        "brand": "marke",
    }
    assert (small.number, small.time_zone) == (3, "Europe/London")
    assert small.segments["staff"].rule is None
    assert small.segments["staff"].records_file == "staff.csv"


def test_everything_is_evaluated_after_what_it_reads(small: Catalogue) -> None:
    assert set(small.order) == set(small.rules)
    assert Named("segment", "staff") not in small.rules
    place = {name: number for number, name in enumerate(small.order)}
    winback = place[Named("segment", "winback")]
    assert winback > max(place[Named("label", "silent")], place[Named("label", "rfm_low")])


def test_windows_are_those_of_rules_and_of_features_once_each(retail: Catalogue) -> None:
    assert list(map(text_of, retail.windows)) == [
        'count_events("product_view", 180d)',
        'count_events("product_view", brand == "acme", 180d)',
        'count_events("product_view", category == "fitness", 30d)',
        'count_events("product_view", is_new, 30d)',
    ]


def test_rules_may_speak_of_all_that_is_defined(small: Catalogue) -> None:
    text = 'company_size > 3 && has_label("rfm_high") && in_segment("staff") && count_events("view", brand == "x") > 1'
    rule = check(text, small.vocabulary)
    assert rule.features["company_size"].property == "f_company_size"


def test_the_version_names_what_is_said_and_not_how(small: Catalogue) -> None:
    assert re.fullmatch(r"3-[0-9a-f]{12}", small.version)
    respelt = SMALL.replace("orders_30d == 0", "(orders_30d==0)").replace("// of late", "// recently")
    assert catalogues.parse(respelt).version == small.version
    assert catalogues.parse(SMALL.replace("> 90", "> 91")).version != small.version
    swapped = SMALL.replace("of:\n      - {key: high, rule: orders_30d >= 2 && spend > 10}\n", "of:\n").replace(
        "orders_30d == 0}\n", "orders_30d == 0}\n      - {key: high, rule: orders_30d >= 2 && spend > 10}\n"
    )
    assert catalogues.parse(swapped).version != small.version


# -- ladders ---------------------------------------------------------------------------------------------------------


def test_a_tier_is_the_first_whose_rule_is_true_and_unknown_where_an_earlier_one_is_open(small: Catalogue) -> None:
    ladder = small.ladders["rfm"]
    rows = {
        "high": {"orders_30d": 2, "spend": 11.0},
        "low": {"orders_30d": 0},
        "unclassified": {"orders_30d": 1, "spend": 5.0},
        "needs_data": {"orders_30d": 2},
    }
    for tier, row in rows.items():
        assert labels_of(small, row) & {ladder.label(key) for key in rows} == {ladder.label(tier)}


def test_everybody_is_in_one_tier_of_each_ladder(retail: Catalogue) -> None:
    for row in people(21, 500, retail):
        had = labels_of(retail, row)
        for ladder in retail.ladders.values():
            tiers = [label.key for label in retail.labels.values() if label.ladder == ladder.key]
            assert len(had & set(tiers)) == 1, (ladder.key, row)


def test_a_ladder_without_end_is_refused_at_the_rung_that_is_too_much() -> None:
    rule = " || ".join(f"orders == {number}" for number in range(60))
    rungs = "".join(f"      - {{key: t{n}, rule: {rule}}}\n" for n in range(4))
    said = refused(f"catalogue: 1\ntiers:\n  - key: long\n    of:\n{rungs}")
    assert said[0] == (
        "tiers[0].of[2].key (line 7, column 10): with the rungs above it this is too much: a rule may have 150 clauses"
    )


# -- where a file is wrong -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("days_since(last_order_at)", "days_since(last_orde_at)",
         "labels[0].rule (line 14, column 22): there is no feature last_orde_at; did you mean last_order_at?"),
        ('!in_segment("staff")\n', '!in_segment("stuff")\n',
         "labels[1].rule (line 20, column 13): there is no segment stuff; did you mean staff?"),
        ("orders_30d == 0", "orders_30d = 0", "tiers[0].of[1].rule (line 29, column 37): write == to compare"),
        ('has_label("rfm_low")', 'has_label("rfm_lo")',
         "segments[0].rule (line 34, column 73): there is no label rfm_lo; did you mean rfm_low?"),
        ('category == "fitness"', 'categry == "fitness"', "features.fitness.source (line 6, column 54): there is no"),
        ('property("company_size")', 'property(company_size)', "features.company_size.source (line 7, column 37): th"),
        ('property("company_size")', "orders", 'features.company_size.source (line 7, column 29): must be a count_eve'),
        ("fitness: {type: int", "fitness: {type: float", "features.fitness.type (line 6, column 13): must be int"),
        ("  company_size: {", "  orders: {", "features.orders (line 7, column 3): comes with Onefold: call yours othe"),
        ("  company_size: {", "  known: {", "features.known (line 7, column 3): known is a word of the rule language"),
        ("  brand: {", "  channel: {", "event_fields.channel (line 4, column 3): every event has it"),
        ("key: fit\n", "key: silent\n", "labels[1].key (line 16, column 5): there is another label silent, in line 9"),
        ("key: fit\n", "key: rfm_low\n", "tiers[0].of[1].key (line 29, column 10): there is another label rfm_low, in"),
        ("key: high", "key: needs_data", "tiers[0].unknown (line 25, column 5): there is another label rfm_needs_data"),
        ("key: high", "key: " + "h" * 60, "tiers[0].of[0].key (line 28, column 10): its label would be called rfm_hhh"),
        ("> 90", '> 90 && has_label("fit") && has_label("silent")',
         "labels[0].key (line 9, column 5): its rule comes back to itself: label silent reads label silent"),
        ("layer: interest", "layer: interests", "labels[1].layer (line 17, column 5): must be 'attribute', 'behaviou"),
        ("Europe/London", "London", "time_zone (line 2, column 1): 'London' is no IANA time zone"),
        ("refresh: 1h", "refresh: 1w", "labels[0].refresh (line 13, column 5): must match"),
        ("owner: crm", "ownr: crm", "labels[0].ownr (line 12, column 5): is not known here; did you mean 'owner'?"),
        ("static: {records: staff.csv}", "rule: orders == 1, static: {records: a}",
         "segments[1] (line 35, column 5): must have either a rule or a static list"),
        ("last_order_at: 91d ago", "last_order_at: yesterday",
         "labels[0].tests[1].given.last_order_at (line 15, column 48): last_order_at must be a day, an instant with"),
        ("{fitness: 5,", "{fitness: many,", "labels[1].tests[0].given.fitness (line 22, column 18): fitness must be a"),
        ("segments: [staff]}", "segments: [stuff]}", "labels[1].tests[0].given.segments (line 22, column 30): there"),
        ("is: needs_data", "is: need_data", "tiers[0].tests[0].is (line 31, column 34): must be high, low, unclassified"
         " or needs_data; did you mean needs_data?"),
        ("is: unknown}", "is: maybe}", "labels[0].tests[0].is (line 15, column 25): must be true, false or unknown"),
    ],
)  # fmt: skip
def test_a_fault_is_told_at_its_place_in_the_file(old: str, new: str, said: str) -> None:
    assert SMALL.count(old) == 1
    assert [each[: len(said)] for each in refused(SMALL.replace(old, new))] == [said]


def test_all_faults_are_told_at_once_in_the_order_of_the_text() -> None:
    text = SMALL.replace("> 90", "> nine").replace("orders_30d == 0", "order_30d == 0").replace('"silent"', '"slent"')
    assert [each.split(" (")[0] for each in refused(text)] == [
        "labels[0].rule",
        "tiers[0].of[1].rule",
        "segments[0].rule",
    ]


def test_a_circle_is_told_with_the_way_around() -> None:
    text = SMALL.replace("> 90", '> 90 || in_segment("winback")')
    assert refused(text)[0].endswith(
        "its rule comes back to itself: segment winback reads label silent reads segment winback"
    )


@pytest.mark.parametrize(
    ("status", "words"), [("draft", "a draft: nobody has it yet"), ("retired", "retired: nobody has it any more")]
)
def test_a_rule_may_not_read_a_label_that_nobody_has(status: str, words: str) -> None:
    text = SMALL.replace("    version: 2\n", f"    status: {status}\n")
    assert refused(text) == [f"segments[0].rule (line 34, column 26): label silent is {words}"]
    alone = text.replace('has_label("silent")', "known(spend)")
    assert Named("label", "silent") not in catalogues.parse(alone).rules
    assert len(catalogues.outcomes(catalogues.parse(alone))) == 5


@pytest.mark.parametrize(
    ("rule", "marked"),
    [
        ("'city == ''a'' && nowhere > 1'", "nowhere"),
        (r'"city == \"a\" && nowhere > 1"', "nowhere"),
        (r'"city == \"\u00e9\" && nowhere > 1"', "nowhere"),
        (">\n      city == 'a'\n      && nowhere > 1", "nowhere"),
        ("|2\n        city == 'a'\n\n        && nowhere > 1", "nowhere"),
        ("city == 'a'\n      && nowhere > 1", "nowhere"),
    ],
)
def test_the_place_in_a_rule_is_found_however_yaml_writes_it(rule: str, marked: str) -> None:
    text = f"catalogue: 1\nlabels:\n  - key: a\n    layer: value\n    rule: {rule}\n"
    (said,) = refused(text)
    line, column = map(int, re.findall(r"line (\d+), column (\d+)", said)[0])
    assert text.splitlines()[line - 1][column - 1 :].startswith(marked)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "catalogue: 1\nlabels: [",
        "[]",
        "catalogue: 1\n\tlabels: []",
        "catalogue: 1\n---\n",
        "a: \0",
        "catalogue:",
        "catalogue: !!int ''",
        "catalogue: {[a]: b}",
        "catalogue: !!bool x",
        "catalogue: !!timestamp x",
        "catalogue: 1\nlabels: &a [*a]",
        "catalogue: 1\nevent_fields: &a {b: *a}",
    ],
)
def test_what_is_no_catalogue_at_all_is_an_invalid_one(text: str) -> None:
    assert refused(text)


def test_a_rule_that_begins_with_a_not_is_to_be_quoted() -> None:
    (said,) = refused('catalogue: 1\nsegments:\n  - {key: a, rule: !in_segment("b")}\n')
    assert said == (
        "catalogue (line 3, column 32): begins with !, which means something else in YAML: put it in quotes"
    )


def test_a_catalogue_of_ten_megabytes_is_refused_without_reading_it() -> None:
    text = f"catalogue: 1\nlabels:\n  - {{key: a, layer: value, rule: '{'orders == 1 || ' * 700_000}'}}\n"
    assert len(text) > 10_000_000
    assert refused(text) == ["catalogue: must be at most 1048576 characters long"]


def test_a_file_changed_anywhere_is_a_catalogue_or_a_clear_error(proving: bool) -> None:
    random = Random(17)
    lines = SMALL.splitlines()
    pieces = [
        "{",
        "}",
        "[",
        "]",
        ":",
        "'",
        '"',
        "|",
        "&a",
        "*a",
        "!!int",
        "\t",
        "key",
        "rule",
        "~",
        "true",
        "1e9",
        "é",
        "\n",
    ]
    valid = 0
    for _ in range(5_000 if proving else 150):
        changed = list(lines)
        for _ in range(random.randrange(1, 3)):
            place = random.randrange(len(changed))
            start = random.randrange(len(changed[place]) + 1)
            end = min(len(changed[place]), start + random.choice((0, 1, 3, 9)))
            changed[place] = changed[place][:start] + random.choice(pieces) + changed[place][end:]
        try:
            catalogues.outcomes(catalogues.parse("\n".join(changed)))
        except InvalidCatalogue as error:
            told = error.violations
        else:
            told = []
            valid += 1
        assert all(violation.field and violation.rule for violation in told)
    assert valid > 0


# -- examples --------------------------------------------------------------------------------------------------------


def test_an_example_that_comes_to_something_else_is_told_with_the_reason() -> None:
    (failed,) = [o for o in catalogues.outcomes(catalogues.parse(SMALL.replace("> 90", "> 95"))) if not o.holds]
    assert failed.example.place == "labels[0].tests[1] (line 15, column 39)"
    assert failed.words == (
        "label silent should be true and is false: "
        "days_since(last_order_at) > 95 is false (last_order_at is 2025-10-02T00:00:00Z)"
    )


def test_values_of_examples_are_taken_as_rows_have_them() -> None:
    text = """\
catalogue: 1
labels:
  - key: all
    layer: attribute
    rule: >
      city == "straße" && "Yoga" in categories && known(gap_mean) && last_order_at < timestamp("2026-03-01")
      && count_events("view", 30d) == 2 && !known(spend)
    tests:
      - given:
          city: STRASSE
          categories: [YOGA, run]
          gap_mean: 3
          last_order_at: 2026-02-28
          spend: null
          count_events('View', 720h): 2
        at: 2026-03-01T12:00:00+02:00
        is: true
"""
    (outcome,) = catalogues.outcomes(catalogues.parse(text))
    assert outcome.holds, outcome.words
    assert outcome.example.at == 1_772_359_200_000
    assert outcome.example.given["categories"] == ("run", "yoga")


# -- who reads what, and segments from elsewhere ---------------------------------------------------------------------


def test_dependents_are_those_who_read_and_those_who_read_them(retail: Catalogue) -> None:
    assert retail.dependents([Named("label", "won_back")]) == (Named("label", "active"),)
    assert retail.dependents([Named("label", "clv_top")]) == (
        Named("label", "clv_needs_a_prediction"),
        Named("segment", "worth_winning_back"),
    )


def test_segments_from_elsewhere_join_the_catalogue(small: Catalogue) -> None:
    more = Segment("loyal", check('!in_segment("winback")', small.vocabulary))
    combined = small.with_segments([more])
    assert combined.order[-1] == Named("segment", "loyal")
    assert combined.readers(Named("segment", "winback")) == (Named("segment", "loyal"),)
    assert combined.version != small.version
    with pytest.raises(InvalidCatalogue, match="segment loyal reads segment winback reads segment loyal"):
        combined.with_segments([Segment("winback", check('in_segment("loyal")', combined.vocabulary))])


def test_nothing_of_a_name_is_told_with_the_nearest(small: Catalogue) -> None:
    assert catalogues.named(small, "rfm") is small.ladders["rfm"]
    with pytest.raises(NotFound, match="'slent': did you mean silent"):
        catalogues.named(small, "slent")


def test_a_static_list_names_records(small: Catalogue, tmp_path: Path) -> None:
    file = tmp_path / "staff.csv"
    file.write_text("record,name\ncustomer:crm:2,Ann\ncustomer:crm:1,Ben\ncustomer:crm:2,Ann\n", "utf-8")
    assert static.records(small, tmp_path) == {"staff": ("customer:crm:1", "customer:crm:2")}
    file.write_text("record\ncustomer:crm:1\ncrm:2\n", "utf-8")
    with pytest.raises(InvalidCatalogue, match=r"staff.csv \(line 3\): 'crm:2' is no record"):
        static.records(small, tmp_path)
    file.write_text("name\nAnn\n", "utf-8")
    with pytest.raises(InvalidCatalogue, match="must have a column record"):
        static.records(small, tmp_path)
    file.unlink()
    with pytest.raises(InvalidCatalogue, match="can't be read"):
        static.records(small, tmp_path)


# -- the shipped catalogue -------------------------------------------------------------------------------------------


def test_the_shipped_catalogue_holds_what_it_says_of_its_people(retail: Catalogue) -> None:
    outcomes = catalogues.outcomes(retail)
    assert [outcome.words for outcome in outcomes if not outcome.holds] == []
    tested = {outcome.of for outcome in outcomes}
    assert {str(label.named) for label in retail.labels.values() if not label.ladder} <= tested
    assert {f"tiers {key}" for key in retail.ladders} <= tested
    assert {str(segment.named) for segment in retail.segments.values()} <= tested


def test_every_template_is_tested_on_somebody_who_has_it_and_somebody_who_has_not(retail: Catalogue) -> None:
    for label in retail.labels.values():
        expected = {example.expected for example in label.examples}
        assert label.ladder or ("true" in expected and expected & {"false", "unknown"}), label.key
    for ladder in retail.ladders.values():
        tiers = {*(tier.key for tier in ladder.tiers), ladder.otherwise, ladder.unknown}
        assert {example.expected for example in ladder.examples} == tiers


@pytest.mark.parametrize(
    ("layer", "templates"),
    [
        (Layer.ATTRIBUTE, "woman_of_the_nineties londoner gold_member large_company"),
        (Layer.BEHAVIOUR, "looks_for_news left_the_cart returns_a_lot hours_evening"),
        (Layer.VALUE, "large_baskets rfm_high_value rfm_potential rfm_ordinary rfm_low clv_top"),
        (Layer.INTEREST, "into_fitness prefers_acme promotion_sensitive price_premium"),
        (Layer.SOCIAL, "enthusiast tells_others brings_friends"),
        (Layer.LIFE_CYCLE, "new active silent at_risk lost won_back"),
        (Layer.CHANNEL, "came_by_the_store last_seen_on_the_web prefers_the_app"),
    ],
)
def test_every_layer_has_its_templates(retail: Catalogue, layer: Layer, templates: str) -> None:
    active = {k for k, label in retail.labels.items() if label.layer is layer and label.status is Status.ACTIVE}
    assert set(templates.split()) <= active


def test_nobody_is_in_two_stages_of_the_life_cycle_and_whose_rhythm_is_known_in_one(retail: Catalogue) -> None:
    stages = {key for key, label in retail.labels.items() if label.layer is Layer.LIFE_CYCLE}
    seen: set[str] = set()
    for row in map(coherent, people(22, 3_000, retail)):
        had = labels_of(retail, row) & stages
        assert len(had) <= 1, (had, row)
        if row.get("orders", 0) == 1 or "comeback" in row:
            known = {"last_order_at", "gap_expected"} <= row.keys()
            assert len(had) == known, row
        seen |= had
    assert seen == stages


def test_time_alone_makes_a_customer_silent_then_at_risk_then_lost_by_the_own_rhythm(retail: Catalogue) -> None:
    def stage(days: float, gap: float) -> set[str]:
        row = {"orders": 9, "last_order_at": NOW - round(days * DAY), "gap_expected": gap, "comeback": 1.0}
        return labels_of(retail, row) & {"new", "active", "silent", "at_risk", "lost", "won_back"}

    for gap in (7.0, 30.0, 365.0):
        assert [stage(times * gap, gap) for times in (1.4, 1.6, 2.6, 4.1)] == [
            {"active"},
            {"silent"},
            {"at_risk"},
            {"lost"},
        ]


def test_in_duckdb_the_shipped_rules_find_whom_the_process_finds(retail: Catalogue) -> None:
    rows = people(23, 400, retail)
    for row in rows:
        row[LABELS] = sorted(labels_of(retail, row))
    features = {key: feature for rule in retail.rules.values() for key, feature in rule.features.items()}
    columns = {key: pa.array([row.get(key) for row in rows], COLUMNS[each.type]) for key, each in features.items()}
    lists = {key: pa.array([row.get(key) for row in rows], COLUMNS[Type.TEXTS]) for key in (LABELS, SEGMENTS)}
    with duckdb.connect() as connection:
        connection.register("frame", pa.table({**columns, **lists}))
        for name, rule in retail.rules.items():
            said = statement.duckdb(rule, NOW)
            found = connection.execute(f"SELECT {said.text} FROM frame", dict(said.parameters)).fetchall()
            holds = compiled(rule)
            assert [truth for (truth,) in found] == [holds(row, NOW) for row in rows], name


# -- the published schema --------------------------------------------------------------------------------------------

SCHEMA_FILE = Path(__file__).parents[2] / "docs" / "catalogue.schema.json"


def test_the_committed_schema_is_that_of_the_code() -> None:
    assert json.loads(SCHEMA_FILE.read_text("utf-8")) == catalogues.schema()


def test_the_shipped_file_names_the_schema_for_editors() -> None:
    file = Path(catalogues.__file__).parents[1] / "catalogues" / "retail.yaml"
    modeline = re.match(r"# yaml-language-server: \$schema=(\S+)\n", file.read_text("utf-8"))
    assert modeline
    assert (file.parent / modeline[1]).resolve() == SCHEMA_FILE


def test_the_schema_says_a_word_on_every_field() -> None:
    schema = catalogues.schema()
    described = [schema, *(each for each in schema["$defs"].values() if "properties" in each)]
    missing = [name for each in described for name, f in each["properties"].items() if not f.get("description")]
    assert missing == []


# -- people ----------------------------------------------------------------------------------------------------------


COLUMNS = {
    Type.INT: pa.int64(),
    Type.FLOAT: pa.float64(),
    Type.DAYS: pa.float64(),
    Type.TEXT: pa.string(),
    Type.BOOL: pa.bool_(),
    Type.INSTANT: INSTANT,
    Type.TEXTS: pa.list_(pa.string()),
}


def people(seed: int, count: int, catalogue: Catalogue) -> list[dict[str, object]]:
    """Random people, of many of whom little is known."""
    random = Random(seed)
    values = {
        Type.INT: lambda: random.choice((0, 0, 1, 1, 2, 3, 4, 5, 12, 23)),
        Type.FLOAT: lambda: random.choice((0.0, 0.05, 0.1, 0.5, 0.9, 1.0, 1.5, 4.5)),
        Type.DAYS: lambda: random.choice((1.0, 7.0, 30.0, 90.0)),
        Type.TEXT: lambda: random.choice(("gold", "web", "app", "london", "gb", "f")),
        Type.BOOL: lambda: random.random() < 0.5,
        Type.INSTANT: lambda: NOW - random.choice((1, 10, 45, 80, 200)) * DAY,
        Type.TEXTS: lambda: ["email"],
    }
    features = {key: feature for rule in catalogue.rules.values() for key, feature in rule.features.items()}
    return [
        {key: values[features[key].type]() for key in sorted(features) if random.random() < share}
        for share in random.choices((0.3, 0.8, 1.0), k=count)
    ]


def coherent(person: dict[str, object]) -> dict[str, object]:
    """Without what nobody can have: a last order with no order, a gap between two with one."""
    orders = person.get("orders") or 0
    impossible = {"last_order_at", "gap_expected"} if not orders else set()
    return {key: value for key, value in person.items() if key not in impossible and (orders > 1 or key != "comeback")}


def labels_of(catalogue: Catalogue, person: dict[str, object]) -> set[str]:
    """The labels that somebody has, each evaluated after those that it reads."""
    row = {**person, LABELS: set(), SEGMENTS: set()}
    for name in catalogue.order:
        if compiled(catalogue.rules[name])(row, NOW):
            row[LABELS if name.kind == "label" else SEGMENTS].add(name.key)
    return row[LABELS]
