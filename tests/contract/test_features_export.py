"""``onefold features export`` on a real engine: a row for everyone who has bought, the same in every format."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from onefold.graph.errors import InvalidInput, NotReady
from onefold.graph.identity import find
from onefold.graph.ingest import Batch, ingest
from onefold.graph.subject import Subject
from onefold.ml.features import SCHEMA
from onefold.service import settings
from onefold.service.cli import features
from onefold.service.settings import Settings
from tests import items as make
from tests.conftest import Engine

NOW, DAY = make.NOW, make.DAY


@pytest.fixture
def known(engine: Engine, endpoint: object) -> Settings:
    writer = make.writer(engine.endpoint, engine.driver)
    items = [
        make.customer("web:1", "email:1"),
        make.order("shop:1", of="web:1", at=NOW - 9 * DAY),
        make.order("shop:2", "email:1", at=NOW),
        make.order("shop:3", "email:2", at=NOW - 3 * DAY),
        make.customer("web:2"),
    ]
    ingest(writer, [Batch(items)])
    at = engine.endpoint
    return settings.load(
        graph_uri=at.uri, graph_user=at.user, graph_password=at.password or None, graph_database=at.database or None
    )


def test_everyone_who_has_bought_is_a_row_with_every_feature(known: Settings, engine: Engine, tmp_path: Path) -> None:
    features.export(known, tmp_path / "all.parquet", None, [])
    table = pyarrow.parquet.read_table(tmp_path / "all.parquet")
    assert table.schema.equals(SCHEMA)
    reader = make.reader(make.writer(engine.endpoint, engine.driver))
    ann = find(reader, Subject.record("customer:web:1")).identity.id
    rows = {row["identity"]: row for row in table.to_pylist()}
    assert len(rows) == 2
    assert (rows[ann]["orders"], rows[ann]["gap_mean"]) == (2, 9)


def test_the_formats_hold_the_same_values(known: Settings, tmp_path: Path) -> None:
    keys = ["orders", "gap_mean"]
    for suffix in ("csv", "json", "jsonl", "parquet"):
        features.export(known, tmp_path / f"some.{suffix}", None, keys)
    table = pyarrow.parquet.read_table(tmp_path / "some.parquet")
    assert table.schema.names == ["identity", *keys]
    rows = table.to_pylist()
    assert {row["gap_mean"] for row in rows} == {9.0, None}
    assert json.loads((tmp_path / "some.json").read_text()) == rows
    assert list(map(json.loads, (tmp_path / "some.jsonl").read_text().splitlines())) == rows
    read = pyarrow.csv.read_csv(
        tmp_path / "some.csv", convert_options=pyarrow.csv.ConvertOptions(column_types={"orders": pa.float64()})
    )
    assert read.to_pylist() == rows


def test_nothing_of_the_instant_or_after_it_counts(known: Settings, tmp_path: Path) -> None:
    features.export(known, tmp_path / "then.json", NOW, ["orders"])
    assert [row["orders"] for row in json.loads((tmp_path / "then.json").read_text())] == [1, 1]
    with pytest.raises(NotReady, match="nobody had bought anything before 2020-01-01T00:00:00"):
        features.export(known, tmp_path / "before.csv", 1_577_836_800_000, [])
    assert not (tmp_path / "before.csv").exists()


def test_a_file_that_cannot_be_written_is_told(known: Settings, tmp_path: Path) -> None:
    for name in ("a.csv", "a.json", "a.parquet"):
        with pytest.raises(InvalidInput, match="can't be written"):
            features.export(known, tmp_path / "missing" / name, None, [])
