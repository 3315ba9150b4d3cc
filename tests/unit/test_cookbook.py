"""The page of the cookbook is in step with the rule language, the catalogue and the command line."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from onefold.segments import catalogue
from onefold.segments.catalogue import Layer
from onefold.segments.check import check
from onefold.segments.reads import Named, reads
from onefold.segments.vocabulary import PREDICTIONS
from onefold.service.cli import rules
from tests import cookbook
from tests.cookbook import AS_OF, PAGE, Recipe, recipes

PAGE_TEXT = PAGE.read_text("utf-8")
RECIPES = recipes(PAGE_TEXT)


def test_there_are_twenty_and_each_has_its_twin() -> None:
    assert len({recipe.key for recipe in RECIPES}) == 20
    assert PAGE_TEXT.count("```rule") == PAGE_TEXT.count("```cypher") == 20
    assert cookbook.twinned(PAGE_TEXT) == PAGE_TEXT, "write it anew: python -m tests.cookbook --write"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.key)
def test_the_twin_in_the_page_is_what_rule_check_prints(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    assert rules.check_text(recipe.rule, AS_OF, as_json=True) == 0
    printed = json.loads(capsys.readouterr().out)
    twin = PAGE_TEXT.split(f"```rule\n{recipe.rule}\n```\n")[1]
    shown = re.match(r"\n```cypher\n(.+?)\n```\n\n```json\n(.+?)\n```\n", twin)
    assert shown is not None
    assert (shown[1], json.loads(shown[2])) == (printed["cypher_where"], printed["cypher_parameters"])


def test_every_rule_is_one_of_the_catalogue_that_comes_with_onefold() -> None:
    known = catalogue.load()
    before = set(known.segments)
    for recipe in RECIPES:
        check(recipe.rule, replace(known.vocabulary, segments=before))  # those that it reads come first in the page
        assert recipe.key not in before
        before.add(recipe.key)


def test_all_seven_layers_and_predictions_are_read() -> None:
    known = catalogue.load()
    read = [reads(check(recipe.rule, replace(known.vocabulary, segments=None)).tree) for recipe in RECIPES]
    layers = {known.labels[named.key].layer for each in read for named in each.named if named.kind == "label"}
    assert layers == set(Layer)
    assert {feature.key for feature in PREDICTIONS[:4]} <= {key for each in read for key in each.features}
    assert Named("segment", "cart_worth_a_reminder") in {named for each in read for named in each.named}
    assert any(each.windows for each in read)


def test_the_table_in_the_page_has_the_same_numbers_in_each_column() -> None:
    columns = cookbook.columns_of(cookbook.table_in(PAGE_TEXT))
    assert columns.pop("segment") == [f"`{recipe.key}`" for recipe in RECIPES]
    assert list(columns) == ["in process", "DuckDB", "Cypher, embedded", "Cypher, Neo4j"]
    first, *others = columns.values()
    assert others == [first] * 3
