"""The twenty segments of the cookbook, on each engine: whoever counts them finds the same people."""

from __future__ import annotations

import pytest

from tests import cookbook, shop
from tests.conftest import Engine
from tests.cookbook import PAGE, Counted, recipes
from tests.engines import empty

PAGE_TEXT = PAGE.read_text("utf-8")
KEYS = [recipe.key for recipe in recipes(PAGE_TEXT)]


@pytest.fixture(scope="module")
def counted(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Counted:
    """Counted once an engine; the graph stays as it is."""
    empty(engine.driver, engine.endpoint.database)
    return cookbook.count(engine.driver, engine.endpoint, recipes(PAGE_TEXT), tmp_path_factory.mktemp("frames"))


@pytest.mark.parametrize("key", KEYS)
def test_the_process_duckdb_and_cypher_find_the_same_people(counted: Counted, key: str) -> None:
    found = counted.process[key]
    assert counted.duckdb[key] == found
    assert counted.cypher[key] == found
    assert 0 < len(found.members) < counted.people - found.unknown, "somebody must be in, and somebody out"


def test_some_segments_leave_it_open_of_some(counted: Counted) -> None:
    assert sum(found.unknown > 0 for found in counted.process.values()) >= 3


def test_both_engines_find_what_the_page_says(engine: Engine, counted: Counted) -> None:
    columns = cookbook.columns_of(cookbook.table_in(PAGE_TEXT))
    told = "write it anew: python -m tests.cookbook --write"
    for title, found in (
        ("in process", counted.process),
        ("DuckDB", counted.duckdb),
        (f"Cypher, {cookbook.TITLES[engine.name]}", counted.cypher),
    ):
        assert columns[title] == [str(found[key]) for key in KEYS], told


def test_identities_have_the_segments_that_their_twins_find(engine: Engine, counted: Counted) -> None:
    asked = "MATCH (i:Identity) WHERE $key IN i.segments RETURN i.id"
    with engine.driver.session(database=engine.endpoint.database) as session:
        for key in KEYS:
            assert set(session.run(asked, key=key).value()) == counted.process[key].members


def test_there_are_identities_that_no_frame_knows(engine: Engine, counted: Counted) -> None:
    asked = "MATCH (i:Identity) RETURN count(i), count(i.frame), count(i.merged_into)"
    with engine.driver.session(database=engine.endpoint.database) as session:
        identities, framed, retired = session.run(asked).single(strict=True)
    assert framed == counted.people
    assert retired > 0
    assert identities >= framed + retired + shop.VISITORS
