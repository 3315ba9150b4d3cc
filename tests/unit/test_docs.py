"""README and the pages beside it tell the truth: what can be generated from the code is in step with it."""

import re
from pathlib import Path

import pytest

from onefold.segments import feature_page
from onefold.segments.check import check
from onefold.segments.evaluate import compiled
from onefold.segments.problems import InvalidRule
from onefold.segments.vocabulary import EVENT_FIELDS, FEATURES, Type, TypedFeature, Vocabulary, by_key, shipped
from onefold.service import settings

ROOT = Path(__file__).parents[2]
RULES = (ROOT / "docs" / "rules.md").read_text("utf-8")


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


def _rows(title: str, titled: bool = False) -> list[list[str]]:
    """The rows of the table that begins so."""
    table = title + RULES.split(title, 1)[1].split("\n\n", 1)[0]
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
