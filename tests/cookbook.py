"""The cookbook of segments (``docs/cookbook.md``): its recipes, their twins in Cypher, and who is found by each.

``python -m tests.cookbook`` counts every segment in process, in DuckDB and in Cypher on each engine, and prints the
table; ``--write`` writes the twins and the table into the page.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import neo4j
import pyarrow as pa
import structlog

from onefold.graph.endpoint import Endpoint
from onefold.graph.model import Instant
from onefold.ml.columns import INSTANT
from onefold.segments import statement
from onefold.segments.check import Rule, check
from onefold.segments.evaluate import compiled
from onefold.segments.vocabulary import shipped
from onefold.service.defined import Definer
from onefold.service.framing import Framing
from tests import items as make
from tests import shop
from tests.engines import ENGINES, driver_of, empty, open_engine

PAGE: Final = Path(__file__).parents[1] / "docs" / "cookbook.md"
AS_OF: Final[Instant] = 1_764_547_200_000
"""Of the parameters in the page: 1 December 2025."""

TITLES: Final = {"embedded": "embedded", "neo4j": "Neo4j"}
"""What engines are called in the table."""

_RECIPE: Final = re.compile(r"### `(?P<key>\w+)`\n\n(?P<purpose>.+?)\n\n```rule\n(?P<rule>.+?)\n```\n", re.DOTALL)
_TWINNED: Final = re.compile(
    r"(```rule\n(?P<rule>.+?)\n```\n)(\n```cypher\n.+?\n```\n\n```json\n.+?\n```\n)?", re.DOTALL
)
_TABLE: Final = re.compile(r"(?<=<!-- counts -->\n).*(?=<!-- /counts -->)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Recipe:
    """One segment of the page."""

    key: str
    purpose: str
    rule: str


@dataclass(frozen=True, slots=True)
class Found:
    """Whom a rule is true of, and of how many it is left open."""

    members: frozenset[str]
    unknown: int

    def __str__(self) -> str:
        return f"{len(self.members)} + {self.unknown}"


@dataclass(frozen=True, slots=True)
class Counted:
    """All recipes asked in three ways on one engine, by the recipes' keys."""

    people: int
    """In the frame."""
    process: Mapping[str, Found]
    duckdb: Mapping[str, Found]
    cypher: Mapping[str, Found]


def recipes(page: str) -> list[Recipe]:
    """The segments of the page, in its order."""
    return [Recipe(m["key"], m["purpose"].replace("\n", " "), m["rule"]) for m in _RECIPE.finditer(page)]


def twinned(page: str) -> str:
    """The page with its twin below each rule."""
    return _TWINNED.sub(lambda match: match[1] + _twin(match["rule"]), page)


def _twin(rule: str) -> str:
    said = statement.cypher(check(rule, shipped()), AS_OF)
    return f"\n```cypher\n{said.text}\n```\n\n```json\n{json.dumps(said.parameters, ensure_ascii=False)}\n```\n"


def with_table(page: str, table: str) -> str:
    """The page with this table in the place of its own."""
    return _TABLE.sub(lambda _: table, page)


def table_in(page: str) -> str:
    """The table of the page."""
    (table,) = _TABLE.findall(page)
    return str(table)


def table(known: Sequence[Recipe], engines: Mapping[str, Counted]) -> str:
    """Members, and how many are left open, in every way on every engine: in Markdown, a row a segment.

    What is asked in process and in DuckDB is of the first engine's frame.
    """
    first = next(iter(engines.values()))
    ways = {"in process": first.process, "DuckDB": first.duckdb}
    ways |= {f"Cypher, {TITLES[name]}": counted.cypher for name, counted in engines.items()}
    lines = [f"| segment | {' | '.join(ways)} |", f"|---|{'---:|' * len(ways)}"]
    lines += [f"| `{r.key}` | {' | '.join(str(found[r.key]) for found in ways.values())} |" for r in known]
    return "\n".join(lines) + "\n"


def columns_of(table: str) -> dict[str, list[str]]:
    """The cells of a table in Markdown, by the titles of their columns."""
    titles, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    return {title: [row[place] for row in rows] for place, title in enumerate(titles)}


def count(driver: neo4j.Driver, endpoint: Endpoint, known: Sequence[Recipe], folder: Path) -> Counted:
    """Whom each segment finds of the people of :mod:`tests.shop`, who are ingested into the engine's empty database.

    The frame is kept in ``folder``, and written to the graph as the service does.
    """
    writer = make.writer(endpoint, driver)
    shop.fill(writer)
    definer = Definer(make.reader(writer), writer)
    for recipe in known:
        definer.create(recipe.key, recipe.purpose, "crm", recipe.rule, ())
    framing = Framing(make.reader(writer), writer, definer, folder)
    framing.build()
    rules = {recipe.key: definer.current.check(recipe.rule) for recipe in known}
    with framing.current.asked() as asked:
        people, as_of = asked.people(), asked.about.as_of
        in_duckdb = {
            key: Found(frozenset(asked.page(r, "", len(people))), asked.count(r)[1]) for key, r in rules.items()
        }
    with driver.session(database=endpoint.database) as session:
        return Counted(
            len(people),
            _in_process(people, rules, as_of),
            in_duckdb,
            {key: _in_cypher(session, rule, as_of) for key, rule in rules.items()},
        )


def _in_process(people: pa.Table, rules: Mapping[str, Rule], as_of: Instant) -> dict[str, Found]:
    instants = [field.name for field in people.schema if field.type == INSTANT]
    for name in instants:
        people = people.set_column(people.column_names.index(name), name, people[name].cast(pa.int64()))
    rows, found = people.to_pylist(), {}
    for key, rule in rules.items():
        holds = compiled(rule)
        truths = {row["identity"]: holds(row, as_of) for row in rows}
        members = frozenset(id for id, truth in truths.items() if truth)
        found[key] = Found(members, sum(truth is None for truth in truths.values()))
    return found


def _in_cypher(session: neo4j.Session, rule: Rule, as_of: Instant) -> Found:
    said = statement.cypher(rule, as_of)
    framed = "MATCH (i:Identity) WHERE i.frame IS NOT NULL"
    members = session.run(f"{framed} AND {said.text} RETURN i.id", dict(said.parameters)).value()
    unknown = session.run(f"{framed} AND ({said.text}) IS NULL RETURN count(i)", dict(said.parameters)).value()
    return Found(frozenset(members), *unknown)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.cookbook", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the twins and the table into docs/cookbook.md")
    write = parser.parse_args().write
    logging.getLogger("neo4j").setLevel(logging.ERROR)  # it warns of names that the database has not met yet
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    page = PAGE.read_text("utf-8")
    known = recipes(page)
    engines = {}
    for name in ENGINES:
        with open_engine(name) as endpoint, driver_of(endpoint) as driver, tempfile.TemporaryDirectory() as folder:
            empty(driver, endpoint.database)
            engines[name] = count(driver, endpoint, known, Path(folder))
    said = table(known, engines)
    print(f"{engines[ENGINES[0]].people} people; members + those of whom it is left open\n")
    print(said, end="")
    if write:
        PAGE.write_text(with_table(twinned(page), said), "utf-8")


if __name__ == "__main__":
    main()
