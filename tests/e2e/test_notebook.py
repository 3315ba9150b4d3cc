"""The example notebook, run in a fresh kernel against a service and an engine of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from nbformat import NotebookNode

from tests import notebook

STORED = notebook.stored()
PNG = "iVBORw0KGgo"
"""How one begins in base 64."""

FIGURE = re.compile(r"([+-]?\d+(?:\.\d+|(?=%)))(%?)")
"""A decimal fraction or a percentage; whole numbers are words."""

REFRESH = "write it anew: make notebook"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[NotebookNode, Path]:
    """The notebook as it was run, and the folder that it had for what is temporary."""
    scratch = tmp_path_factory.mktemp("scratch")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TMPDIR", str(scratch))
        # A user's settings must not lead it to a graph that is in use.
        environment.setenv("ONEFOLD_GRAPH_URI", "neo4j://production.example.org")
        return notebook.executed(), scratch


def code(of: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in of.cells if cell.cell_type == "code"]


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


def test_what_the_notebook_shows_is_what_it_says_when_it_is_run(run: tuple[NotebookNode, Path]) -> None:
    said, now = texts(STORED), texts(run[0])
    assert FIGURE.sub("…", now) == FIGURE.sub("…", said), REFRESH
    for unit, least, rounding in (("%", 10, 1.01), ("", 20, 0.005)):  # of another processor
        found, stored = ([float(f) for f, u in FIGURE.findall(text) if u == unit] for text in (now, said))
        assert len(stored) >= least
        assert found == pytest.approx(stored, abs=rounding), REFRESH


def test_onefold_ranks_the_held_out_people_better_than_chance_in_it(run: tuple[NotebookNode, Path]) -> None:
    (comparison,) = [cell for cell in code(run[0]) if cell.id == "comparison"]
    (table,) = shown(comparison, "text/markdown")
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


def test_the_lift_chart_is_drawn_and_stored(run: tuple[NotebookNode, Path]) -> None:
    for of in (run[0], STORED):
        (chart,) = [cell for cell in code(of) if cell.id == "chart"]
        (drawn,) = shown(chart, "image/png")
        assert drawn.startswith(PNG)
        assert len(drawn) > 10_000


def test_the_notebook_leaves_nothing_behind(run: tuple[NotebookNode, Path]) -> None:
    assert not list(run[1].iterdir())


def test_the_stored_notebook_was_run_from_top_to_bottom_without_a_complaint() -> None:
    assert [cell.execution_count for cell in code(STORED)] == list(range(1, len(code(STORED)) + 1)), REFRESH
    assert {output.get("name", "stdout") for cell in code(STORED) for output in cell.outputs} == {"stdout"}, REFRESH
