"""README and the pages beside it tell the truth: what can be generated from the code is in step with it."""

import re
from pathlib import Path
from typing import Any

import pytest

from onefold.ml import features
from onefold.segments import catalogue, feature_page
from onefold.segments.catalogue import InvalidCatalogue
from onefold.segments.check import check
from onefold.segments.evaluate import compiled
from onefold.segments.problems import InvalidRule
from onefold.segments.vocabulary import EVENT_FIELDS, FEATURES, Type, TypedFeature, Vocabulary, by_key, shipped
from onefold.service import settings
from tests.bench_ml import sources
from tests.histories import NO_EVENTS

ROOT = Path(__file__).parents[2]
RULES = (ROOT / "docs" / "rules.md").read_text("utf-8")
LABELS = (ROOT / "docs" / "labels.md").read_text("utf-8")
PROOFS = (ROOT / "docs" / "proved.md").read_text("utf-8")


def test_the_settings_table_in_the_readme_is_that_of_the_code() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    shown = text.split("<!-- settings -->\n")[1].split("<!-- /settings -->")[0]
    assert shown == settings.settings_table()


def test_the_page_of_features_is_that_of_the_catalogue() -> None:
    told = "write it anew: onefold features list --markdown > docs/features.md"
    assert (ROOT / "docs" / "features.md").read_text("utf-8") == feature_page.page(), told


def test_every_rule_in_the_page_of_rules_is_one() -> None:
    for rule in re.findall(r"```rule\n(.+?)```", RULES, re.DOTALL):
        check(rule, shipped())
    of_the_page = [
        *(TypedFeature(key, Type.BOOL) for key in ("a", "b", "vip")),
        TypedFeature("home", Type.TEXT),
        TypedFeature("interests", Type.TEXTS),
    ]
    vocabulary = Vocabulary({**FEATURES, **by_key(of_the_page)}, EVENT_FIELDS)
    shown = [rule for row in _rows("| write | for |") for rule in re.findall(r"`([^`]+)`", row[0])]
    assert len(shown) > 20
    for rule in shown:
        if "…" not in rule:
            check(rule, vocabulary)


def test_every_refusal_in_the_page_of_rules_is_one() -> None:
    rows = _rows("| this is refused | because |")
    assert rows
    for rule, words in rows:
        with pytest.raises(InvalidRule, match=re.escape(words)):
            check(rule.strip("`"), shipped())


def test_the_truths_in_the_page_of_rules_are_those_of_rules() -> None:
    vocabulary = Vocabulary(by_key([TypedFeature("a", Type.BOOL), TypedFeature("b", Type.BOOL)]))
    truths = {"true": True, "false": False, "open": None}
    names, *rows = _rows("| a | b |", titled=True)
    for row in rows:
        a, b, *said = (truths[cell] for cell in row)
        found = [compiled(check(name.strip("`"), vocabulary))({"a": a, "b": b}, 0) for name in names[2:]]
        assert found == said


def test_the_python_in_the_page_of_rules_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    code, printed = re.findall(r"```python\n(.+?)```\n\n```\n(.+?)```", RULES, re.DOTALL)[0]
    exec(code, {})
    assert capsys.readouterr().out == printed


def test_the_catalogue_in_the_page_of_labels_is_one_and_its_tests_hold() -> None:
    known = catalogue.parse(_catalogue_of_the_page())
    assert [outcome.words for outcome in catalogue.outcomes(known) if not outcome.holds] == []
    assert len(known.labels) == 5


def test_the_faults_in_the_page_of_labels_are_told_so() -> None:
    wrong = _catalogue_of_the_page().replace("days_since(last_order_at)", "days_since(last_ordr_at)")
    with pytest.raises(InvalidCatalogue) as raised:
        catalogue.parse(wrong.replace('has_label("silent")', 'has_label("slent")'))
    told = [f"error: {violation.field}: {violation.rule}" for violation in raised.value.violations]
    assert "\n".join(told) in LABELS
    other = catalogue.parse(_catalogue_of_the_page().replace("1.5 * gap", "2 * gap"))
    (failed,) = [outcome for outcome in catalogue.outcomes(other) if not outcome.holds]
    assert f"fails  {failed.example.place}: {failed.words}\n" in LABELS
    change, _ = catalogue.diff(catalogue.parse(_catalogue_of_the_page()), other)
    touched = ", ".join(map(str, change.touches))
    assert f"~ {change.of} {change.words}\n  touches {touched}\n  look again  {change.doubt}\n" in LABELS


def test_the_templates_in_the_page_of_labels_are_those_of_the_catalogue() -> None:
    known = catalogue.load()
    rows = _rows("| layer | templates |", LABELS)
    assert {row[0] for row in rows} == set(catalogue.Layer)
    for layer, templates in rows:
        own = {label.ladder or key for key, label in known.labels.items() if label.layer == layer}
        assert set(re.findall(r"`(\w+)`", templates)) == own


def test_each_test_in_the_page_of_proofs_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)", PROOFS)
    assert len(named) > 100
    there = {
        file: set(re.findall(r"^def (test_\w+)\(", (ROOT / file).read_text("utf-8"), re.MULTILINE)) for file, _ in named
    }
    assert [f"{file}::{test}" for file, test in named if test not in there[file]] == []


def test_the_page_of_proofs_leaves_out_no_label_and_no_row() -> None:
    labels = {row[1].strip("`"): row for row in _rows("| layer | label |", PROOFS)}
    known = catalogue.load().labels
    assert labels.keys() == known.keys()
    for key, row in labels.items():
        assert row[0].replace(" ", "_") == known[key].layer
        assert f"tests/unit/test_templates.py::test_who_does_it_has_the_label[{key}]" in row[3]
    rows = set(re.findall(r"^\| ([SI]\d+) \|", PROOFS, re.MULTILINE))
    assert rows == {*(f"S{n}" for n in range(1, 11)), *(f"I{n}" for n in range(1, 10))}


def test_the_python_in_the_page_of_labels_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    code, printed = re.findall(r"```python\n(.+?)```\n\n```\n(.+?)```", LABELS, re.DOTALL)[0]
    exec(code, {})
    assert capsys.readouterr().out == printed


def test_the_stages_in_the_page_of_labels_are_those_of_online_retail() -> None:
    cutoff, later = 1_315_612_800_000, 60 * 86_400_000
    orders = sources.online_retail(ROOT / "examples" / "online-retail" / "online_retail.csv.gz")
    known, computed = catalogue.load(), features.compute(orders, NO_EVENTS, cutoff, features.population(orders, cutoff))
    stages = [(key, compiled(known.labels[key].rule)) for key in ("won_back", *(r[0].strip("`") for r in _stages()))]
    placed = zip(orders["identity"].to_pylist(), orders["placed_at"].cast("int64").to_pylist(), strict=True)
    times: dict[str, list[int]] = {}
    for identity, at in placed:
        times.setdefault(identity, []).append(at)
    found: dict[str, list[bool]] = {}
    for person in computed.to_pylist():
        row = _row_of_the_life_cycle(person, max(at for at in times[person["identity"]] if at < cutoff))
        for key, holds in stages:
            if holds(row, cutoff) and key not in row["labels"]:
                row["labels"].append(key)
                returned = any(cutoff <= at < cutoff + later for at in times[person["identity"]])
                found.setdefault(key, []).append(returned)
    for key, people, share in _stages():
        returned = found[key.strip("`")]
        assert (f"{len(returned):,}", f"{sum(returned) / len(returned):.0%}") == (people, share.replace(" ", ""))


def _stages() -> list[list[str]]:
    return _rows("| stage | customers | bought again |", LABELS)


def _row_of_the_life_cycle(person: dict[str, Any], last_order_at: int) -> dict[str, Any]:
    """What the rules of the life cycle read, computed by hand from what models know."""
    row = {key: value for key, value in person.items() if value is not None and value == value}
    row |= {"last_order_at": last_order_at, "labels": []}
    if "gap_last" in row:
        before = row["gap_expected"] * (row["orders"] + 1) - row["gap_last"]
        row["comeback"] = row["gap_last"] * row["orders"] / before
    return row


def _catalogue_of_the_page() -> str:
    return re.findall(r"<!-- checked -->\n```yaml\n(.+?)```", LABELS, re.DOTALL)[0]


def _rows(title: str, page: str = RULES, titled: bool = False) -> list[list[str]]:
    """The rows of the table that begins so."""
    table = title + page.split(title, 1)[1].split("\n\n", 1)[0]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()]
    cells = [[cell.strip().replace("\\|", "|") for cell in row] for row in rows]
    return cells[:1] + cells[2:] if titled else cells[2:]


def test_every_folder_and_file_that_contributing_names_exists() -> None:
    table = [line for line in (ROOT / "CONTRIBUTING.md").read_text("utf-8").splitlines() if line.startswith("| ")]
    named = {
        word.strip("`").rstrip("/*")
        for line in table
        for word in line.replace(",", " ").split()
        if word.startswith("`") and "/" in word
    }
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
