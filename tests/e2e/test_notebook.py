"""The example notebooks, run in a fresh kernel against a service and an engine of their own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from nbformat import NotebookNode

from tests import notebook

PNG = "iVBORw0KGgo"
"""How one begins in base 64."""

FIGURE = re.compile(r"([+-]?\d+(?:\.\d+|(?=%)))(%?)")
"""A decimal fraction or a percentage; whole numbers are words."""

REFRESH = "write it anew: make notebook"


@dataclass(frozen=True)
class Run:
    """A notebook as it is in the repository, and as it was run."""

    stored: NotebookNode
    now: NotebookNode
    scratch: Path
    """The folder that it had for what is temporary."""


@pytest.fixture(scope="module", params=notebook.NAMES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    scratch = tmp_path_factory.mktemp("scratch")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TMPDIR", str(scratch))
        # A user's settings must not lead it to a graph that is in use.
        environment.setenv("ONEFOLD_GRAPH_URI", "neo4j://production.example.org")
        return Run(notebook.stored(request.param), notebook.executed(request.param), scratch)


def only(name: str) -> pytest.MarkDecorator:
    """For a test of one notebook."""
    return pytest.mark.parametrize("run", [name], indirect=True)


def code(of: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in of.cells if cell.cell_type == "code"]


def cell(of: NotebookNode, id: str) -> NotebookNode:
    (found,) = [each for each in code(of) if each.id == id]
    return found


def shown(cell: NotebookNode, kind: str) -> list[str]:
    """What a cell shows of a kind, ``text/plain`` including what it prints."""
    return [
        output.text if output.output_type == "stream" else output.data.get(kind, "")
        for output in cell.outputs
        if output.output_type == "display_data" or (output.get("name") == "stdout" and kind == "text/plain")
    ]


def texts(of: NotebookNode) -> str:
    """All that is shown as text."""
    return "\n".join(
        text for cell in code(of) for kind in ("text/plain", "text/markdown") for text in shown(cell, kind)
    )


def test_what_the_notebook_shows_is_what_it_says_when_it_is_run(run: Run) -> None:
    said, now = texts(run.stored), texts(run.now)
    assert FIGURE.sub("…", now) == FIGURE.sub("…", said), REFRESH
    for unit, rounding in (("%", 1.01), ("", 0.005)):  # of another processor
        found, stored = ([float(f) for f, u in FIGURE.findall(text) if u == unit] for text in (now, said))
        assert len(stored) >= 10
        assert found == pytest.approx(stored, abs=rounding), REFRESH


@only("churn")
def test_onefold_ranks_the_held_out_people_better_than_chance_in_it(run: Run) -> None:
    (table,) = shown(cell(run.now, "comparison"), "text/markdown")
    found = {
        name: (float(value), float(low), float(high))
        for name, value, low, high in re.findall(
            r"^\| ([\w ]+) \| \d+% \| (\S+) \((\S+) … (\S+)\)", table, re.MULTILINE
        )
    }
    assert list(found) == ["Onefold", "ours", "RFM logistic"]
    for value, low, high in found.values():
        assert 0.6 < low < value < high < 0.8
        assert high - low > 0.03  # so few people tell no more


@only("churn")
def test_the_lift_chart_is_drawn_and_stored(run: Run) -> None:
    for of in (run.now, run.stored):
        (drawn,) = shown(cell(of, "chart"), "image/png")
        assert_drawn(drawn)


@only("insight")
def test_charts_of_a_segments_insight_are_drawn_and_stored(run: Run) -> None:
    for of in (run.now, run.stored):
        drawn = [picture for picture in shown(cell(of, "charts"), "image/png") if picture]
        assert len(drawn) == 3
        for picture in drawn:
            assert_drawn(picture)
        told = "".join(shown(cell(of, "charts"), "text/markdown"))
        assert re.findall("index against everybody|weekday and hour|Best sellers", told) == [
            "index against everybody", "weekday and hour", "Best sellers",
        ]  # fmt: skip


def assert_drawn(picture: str) -> None:
    assert picture.startswith(PNG)
    assert len(picture) > 10_000


def test_the_notebook_leaves_nothing_behind(run: Run) -> None:
    assert not list(run.scratch.iterdir())


@pytest.mark.parametrize("name", notebook.NAMES)
def test_the_stored_notebook_was_run_from_top_to_bottom_without_a_complaint(name: str) -> None:
    cells = code(notebook.stored(name))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), REFRESH
    assert {output.get("name", "stdout") for cell in cells for output in cell.outputs} == {"stdout"}, REFRESH
