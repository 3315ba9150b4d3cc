"""Frames in a folder: published whole or not at all, readable while they are pinned, whoever dies meanwhile."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from onefold.graph.errors import Conflict, InvalidInput, NotFound, NotReady
from onefold.ml.columns import INSTANT
from onefold.segments.generations import FrameId, Generations, Snapshot

SCHEMA = pa.schema(
    [
        pa.field("identity", pa.string(), nullable=False),
        pa.field("stamp", pa.int64()),
        pa.field("at", INSTANT),
        pa.field("labels", pa.list_(pa.string()), nullable=False),
    ]
)


def rows(numbers: range | list[int], stamp: int = 0) -> pa.Table:
    made = [{"identity": f"i-{n:04d}", "stamp": stamp, "at": stamp, "labels": ["a", "b"][: n % 3]} for n in numbers]
    return pa.Table.from_pylist(made, SCHEMA)


def everybody(snapshot: Snapshot) -> pa.Table:
    return pa.concat_tables(snapshot.parts())


def stamps(snapshot: Snapshot) -> dict[str, int]:
    return {row["identity"]: row["stamp"] for row in everybody(snapshot).to_pylist()}


def test_a_generation_is_its_parts_and_says_what_it_is(tmp_path: Path) -> None:
    generations = Generations(tmp_path / "frames")
    assert generations.current() is None
    with pytest.raises(NotReady, match="none was built yet"):
        generations.open()
    id = generations.publish(7, "3-abc", [rows(range(3)), rows(range(3, 5))], {"mean": 1.5, "low": -float("inf")})
    assert str(id) == "1.0"
    assert id == generations.current()
    assert re.fullmatch("[0-9a-f]{8}", generations.name)
    assert generations.name == Generations(tmp_path / "frames").name != Generations(tmp_path / "others").name
    with generations.open() as frame:
        assert (frame.id, frame.as_of, frame.catalogue) == (id, 7, "3-abc")
        assert frame.notes == {"mean": 1.5, "low": -float("inf")}
        assert frame.schema.equals(SCHEMA)
        assert everybody(frame).equals(rows(range(5)))
        assert [len(part) for part in frame.parts(2)] == [2, 2, 1]
        frame.verify()


def test_an_update_puts_rows_in_the_place_of_others_and_takes_away_who_is_gone(tmp_path: Path) -> None:
    generations = Generations(tmp_path)
    first = generations.publish(1, "c", [rows(range(5))], {"n": 1})
    second = generations.update(first, 2, rows([1, 9], 2), ["i-0003"])
    with generations.open() as frame:
        assert (str(frame.id), frame.as_of, frame.notes) == ("1.1", 2, {"n": 1})
        assert stamps(frame) == {"i-0000": 0, "i-0001": 2, "i-0002": 0, "i-0004": 0, "i-0009": 2}
    third = generations.update(second, 3, rows([3, 1], 3).sort_by("identity"), ["i-0009", "i-0004"], {"n": 2})
    with generations.open() as frame, generations.open(first) as before:
        assert (str(frame.id), frame.notes) == ("1.2", {"n": 2})
        assert stamps(frame) == {"i-0000": 0, "i-0001": 3, "i-0002": 0, "i-0003": 3}
        assert everybody(frame).slice(3).equals(rows([3], 3))
        assert len(stamps(before)) == 5
        assert [part["identity"].to_pylist() for part in frame.parts(3)] == [
            ["i-0000", "i-0001", "i-0002"],
            ["i-0003"],
        ]
    fourth = generations.compact(third)
    with generations.open() as frame:
        assert (str(frame.id), frame.as_of, frame.catalogue, frame.notes) == ("2.0", 3, "c", {"n": 2})
        assert stamps(frame) == {"i-0000": 0, "i-0001": 3, "i-0002": 0, "i-0003": 3}
        assert frame.schema.equals(SCHEMA)
    assert generations.current() == fourth


def test_what_was_passed_on_is_known_to_whoever_comes_next(tmp_path: Path) -> None:
    first = Generations(tmp_path).publish(1, "c", [rows(range(5))])
    assert Generations(tmp_path).told() is None
    Generations(tmp_path).mark_told(first)
    second = Generations(tmp_path).update(first, 2, rows([1], 2), [])
    assert (Generations(tmp_path).told(), Generations(tmp_path).current()) == (first, second)


def test_who_was_late_changes_nothing(tmp_path: Path) -> None:
    generations = Generations(tmp_path)
    first = generations.publish(1, "c", [rows(range(5))])
    second = generations.publish(2, "c", [rows(range(6))])
    for late in (
        lambda: generations.update(first, 3, rows([1], 3), []),
        lambda: generations.publish(3, "c", [rows(range(7))], instead_of=first),
        lambda: generations.compact(first),
    ):
        with pytest.raises(Conflict, match=r"1\.0 is not current"):
            late()
    assert generations.current() == second
    with generations.open() as frame:
        assert len(stamps(frame)) == 6


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([], "one at least"),
        ([rows([1, 0])], "must rise"),
        ([rows([0, 1]), rows([1])], "from part to part"),
        ([rows([0]), rows([1]).drop_columns("at")], "columns of the part before"),
    ],
)
def test_parts_that_are_no_frame_are_refused_and_leave_nothing(
    tmp_path: Path, parts: list[pa.Table], words: str
) -> None:
    generations = Generations(tmp_path)
    with pytest.raises(InvalidInput, match=words):
        generations.publish(1, "c", parts)
    assert generations.current() is None
    assert [path.name for path in tmp_path.iterdir()] == ["LOCK"]


def test_an_update_of_other_columns_or_of_somebody_twice_is_refused(tmp_path: Path) -> None:
    generations = Generations(tmp_path)
    id = generations.publish(1, "c", [rows(range(2))])
    for changed, gone in ((rows([1]).drop_columns("at"), []), (rows([1, 1]), []), (rows([1]), ["i-0001"])):
        with pytest.raises(InvalidInput, match="changed"):
            generations.update(id, 2, changed, gone)
    assert generations.current() == id


def test_nobody_is_a_frame_too(tmp_path: Path) -> None:
    generations = Generations(tmp_path)
    id = generations.publish(1, "c", [rows([])])
    generations.update(id, 2, rows([1], 2), ["i-0007"])
    with generations.open() as frame:
        assert stamps(frame) == {"i-0001": 2}


def test_pruning_leaves_what_is_read_and_what_may_be_paged_through(tmp_path: Path) -> None:
    generations = Generations(tmp_path)
    first = generations.publish(1, "c", [rows(range(3), 1)])
    first = generations.update(first, 1, rows([1], 11), [])
    held = generations.open(first)
    for stamp in range(2, 6):
        generations.publish(stamp, "c", [rows(range(3), stamp)])
    assert stamps(held) == {"i-0000": 1, "i-0001": 11, "i-0002": 1}
    kept = {"generation-000001", "update-000001-0001", "generation-000004", "generation-000005", "CURRENT", "LOCK"}
    assert {path.name for path in tmp_path.iterdir()} == kept
    with generations.open(FrameId(4)) as before:
        assert before.as_of == 4
    with pytest.raises(NotFound, match="replaced by newer ones"):
        generations.open(FrameId(3))
    held.close()
    held.close()
    generations.prune()
    assert {path.name for path in tmp_path.iterdir()} == kept - {"generation-000001", "update-000001-0001"}


def test_what_is_damaged_is_refused(tmp_path: Path) -> None:
    generations = Generations(tmp_path)
    generations.publish(1, "c", [rows(range(3))])
    part = tmp_path / "generation-000001" / "part-0000.parquet"
    content = part.read_bytes()
    part.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    with generations.open() as frame, pytest.raises(NotReady, match="not what was written"):
        frame.verify()
    part.write_bytes(content[:-1])
    with pytest.raises(NotReady, match="bytes instead of"):
        generations.open()
    (tmp_path / "generation-000001" / "manifest.json").write_text("{}")
    with pytest.raises(NotReady, match="damaged"):
        generations.open()
    (tmp_path / "CURRENT").write_text("7")
    with pytest.raises(NotReady, match="CURRENT is damaged"):
        generations.open()


def test_instants_come_out_as_they_went_in(tmp_path: Path) -> None:
    generations = Generations(tmp_path)
    generations.publish(1, "c", [rows([1], 1_764_583_200_123)])
    with generations.open() as frame:
        assert everybody(frame)["at"][0].as_py() == datetime(2025, 12, 1, 10, 0, 0, 123_000, UTC)


WRITER = """
import sys
from pathlib import Path
from onefold.segments.generations import Generations
from tests.unit.test_generations import rows

generations = Generations(Path(sys.argv[1]))
stamp = int(sys.argv[2])
print("ready", flush=True)
while True:
    stamp += 1
    id = generations.publish(stamp, "c", (rows(range(n, n + 50), stamp) for n in range(0, 200, 50)), {"stamp": stamp})
    for n in range(3):
        stamp += 1
        everybody = rows(range(200), stamp)
        id = generations.update(id, stamp, everybody.slice(0, 199), ["i-0199"], {"stamp": stamp})
"""


@contextmanager
def publishing(folder: Path, stamp: int = 0) -> Iterator[None]:
    """Another process that publishes without end, until it is killed at the end of the ``with``, come what may."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(stamp)], stdout=subprocess.PIPE) as ran:
        try:
            assert ran.stdout is not None
            ran.stdout.readline()
            yield
        finally:
            ran.kill()


def test_whoever_is_killed_while_publishing_leaves_a_whole_frame(tmp_path: Path, proving: bool) -> None:
    generations, randomly, stamp = Generations(tmp_path), random.Random(5), 0
    for _ in range(60 if proving else 6):
        with publishing(tmp_path, stamp):
            time.sleep(randomly.random() * 0.5)
        if generations.current() is None:
            continue
        with generations.open() as frame:
            frame.verify()
            assert set(stamps(frame).values()) == {frame.notes["stamp"]} == {frame.as_of}
            assert len(stamps(frame)) == (199 if frame.id.update else 200)
            assert frame.as_of >= stamp
            stamp = frame.as_of
    generations.prune()
    left = {path.name.split("-")[0] for path in tmp_path.iterdir()}
    assert left <= {"generation", "update", "CURRENT", "LOCK"}
    assert len([path for path in tmp_path.iterdir() if path.name.startswith("generation")]) <= 3
    assert json.loads((tmp_path / "CURRENT").read_text())["generation"] == generations.open().id.generation


def test_readers_see_whole_frames_while_others_publish(tmp_path: Path) -> None:
    generations = Generations(tmp_path)
    with publishing(tmp_path):
        while generations.current() is None:
            time.sleep(0.01)
        seen = set()
        until = time.monotonic() + 3
        while time.monotonic() < until:
            with generations.open() as frame:
                assert set(stamps(frame).values()) == {frame.as_of}
                seen.add(frame.id)
    assert len(seen) > 1
