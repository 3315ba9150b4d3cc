"""``onefold segment``, ``onefold catalogue apply|labels`` and ``onefold rule check --in-force``, as processes."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.service import ONEFOLD, ServiceProcess

EXAMPLES = Path(__file__).parents[2] / "examples" / "csv"
BUYERS = "purchases >= 1"

CATALOGUE = """
catalogue: 7
labels:
  - {key: bought, layer: behaviour, description: Has bought., rule: purchases >= 1, owner: crm, version: 1}
segments:
  - {key: welcome, rule: has_label("bought"), owner: crm}
  - {key: staff, static: {records: staff.csv}}
"""


@dataclass(frozen=True, slots=True)
class Shop:
    """A service in a folder, with the example files imported."""

    service: ServiceProcess
    folder: Path

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """A command that is told where the service is."""
        done = self.service.run(*arguments, "--address", self.service.address)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str) -> Any:
        """What a command printed for scripts."""
        return json.loads(self.run(*arguments, "--json").stdout)

    def members(self, key: str) -> list[str]:
        """Who is in by what the frame has."""
        return self.run("segment", "members", "--rule", f'in_segment("{key}")').stdout.split()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    with ServiceProcess(folder / "data", frame_minutes="60") as service:
        made = Shop(service, folder)
        for name in ("customers", "orders"):
            for suffix in ("csv", "yaml"):
                (folder / f"{name}.{suffix}").write_bytes((EXAMPLES / f"{name}.{suffix}").read_bytes())
            made.run("import", "csv", str(folder / f"{name}.csv"), "--mapping", str(folder / f"{name}.yaml"))
        made.run("segment", "create", "buyers", "--rule", BUYERS, "--owner", "crm", "--description", "who bought")
        until(lambda: service.run("segment", "members", "buyers", "--address", service.address).stdout.count("\n") == 2)
        yield made


def test_a_segment_is_listed_shown_previewed_and_explained(shop: Shop) -> None:
    listed = shop.run("segment", "list").stdout
    assert [line.split()[:2] for line in listed.splitlines() if line.startswith("buyers ")] == [["buyers", "2"]]
    shown = shop.json("segment", "show", "buyers")
    assert (shown["rule"], shown["owner"], int(shown["member_count"])) == (BUYERS, "crm", 2)
    preview = shop.run("segment", "preview", "buyers").stdout
    assert preview.startswith("2 of 3 people are in (66.7%), 0 are left open")
    same = shop.json("segment", "preview", "--rule", BUYERS)
    assert (int(same["member_count"]), len(same["examples"])) == (2, 2)
    said = shop.run("segment", "check", "email:ann.archer@example.org", "buyers").stdout
    identity = shop.json("profile", "customer:crm:1001")["identity"]
    assert said.splitlines()[0].split()[:2] == ["true", identity]
    assert "purchases >= 1" in said
    assert "purchases = 1" in said
    ben = shop.json("segment", "check", "customer:crm:1002", "buyers")
    assert (ben["truth"], ben["clauses"][0]["values"]) == ("TRUTH_FALSE", {"purchases": 0})


def test_a_segment_is_shown_with_its_members_over_time(shop: Shop) -> None:
    shop.run("segment", "create", "counted", "--rule", BUYERS)
    until(lambda: "history" in shop.json("segment", "show", "counted", "--history", "9"))
    assert [
        count["member_count"] for count in shop.json("segment", "show", "counted", "--history", "1")["history"]
    ] == ["2"]
    assert shop.run("segment", "show", "counted", "--history", "1").stdout.split()[-1] == "2"
    shop.run("segment", "delete", "counted")


def test_members_are_printed_and_exported_in_each_format(shop: Shop) -> None:
    ids = shop.run("segment", "members", "buyers").stdout.split()
    assert (len(ids), ids) == (2, sorted(ids))
    rows = {}
    for suffix in ("csv", "jsonl", "parquet"):
        file = shop.folder / f"buyers.{suffix}"
        shop.run("segment", "export", str(file), "buyers", "--feature", "purchases", "--on", "email")
        rows[suffix] = file
    assert [row["identity"] for row in csv.DictReader(io.StringIO(rows["csv"].read_text()))] == ids
    assert [json.loads(line)["purchases"] for line in rows["jsonl"].read_text().splitlines()] == [1, 1]
    assert pq.read_table(rows["parquet"])["identity"].to_pylist() == ids
    before = rows["csv"].read_text()
    wrong = shop.run("segment", "export", str(rows["csv"]), "buyers", "--feature", "purchses", code=2)
    assert "did you mean purchases?" in wrong.stderr
    assert rows["csv"].read_text() == before
    assert not list(shop.folder.glob("*.part"))
    assert "must end in" in shop.run("segment", "export", str(shop.folder / "x.txt"), "buyers", code=2).stderr


def test_a_list_is_made_of_a_file_and_a_snapshot_of_a_rule(shop: Shop) -> None:
    names = shop.folder / "names.txt"
    names.write_text("customer:crm:1002\n\n")
    made = shop.json("segment", "create", "friends", "--records", str(names))
    assert int(made["record_count"]) == 1
    shop.run("segment", "snapshot", "first_buyers", "buyers")
    until(lambda: len(shop.members("friends")) == 1 and len(shop.members("first_buyers")) == 2)
    for key in ("friends", "first_buyers"):
        shop.run("segment", "delete", key)


def test_of_a_segment_only_what_is_given_changes(shop: Shop) -> None:
    made = shop.json("segment", "create", "changing", "--rule", BUYERS, "--owner", "crm", "--description", "who bought")
    said = shop.json("segment", "update", "changing", "--rule", "purchases >= 2", "--etag", made["etag"])
    assert (said["rule"], said["owner"], said["description"]) == ("purchases >= 2", "crm", "who bought")
    assert "etag" in shop.run("segment", "update", "changing", "--owner", "me", "--etag", made["etag"], code=3).stderr
    names = shop.folder / "changing.txt"
    names.write_text("customer:crm:1001\ncustomer:crm:1002\n")
    said = shop.json("segment", "update", "changing", "--records", str(names), "--description", "")
    assert (int(said["record_count"]), said["owner"], said.get("description", "")) == (2, "crm", "")
    assert "rule" not in said
    shop.run("segment", "delete", "changing")


def test_what_cannot_be_done_is_one_line_and_an_exit_code(shop: Shop) -> None:
    for code, words, arguments in (
        (4, "did you mean buyers?", ("segment", "show", "buyer")),
        (2, "give a segment's key, or a --rule", ("segment", "preview")),
        (2, "give a --rule, or --records", ("segment", "create", "empty")),
        (2, "give what changes", ("segment", "update", "buyers")),
        (2, "did you mean purchases?", ("segment", "preview", "--rule", "purchases_ > 1")),
        (2, "there is no segment nothing", ("segment", "create", "x", "--rule", 'in_segment("nothing")')),
        (2, "nobody is in it", ("segment", "snapshot", "none", "--rule", "purchases > 99")),
        (4, "crm:9", ("segment", "check", "customer:crm:9", "buyers")),
    ):
        done = shop.run(*arguments, code=code)
        assert words in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1, done.stderr


def test_a_segment_that_is_read_is_not_deleted(shop: Shop) -> None:
    shop.run("segment", "create", "reader", "--rule", '!in_segment("buyers")')
    assert "segment reader" in shop.run("segment", "delete", "buyers", code=1).stderr
    shop.run("segment", "delete", "reader")


def test_who_comes_is_watched(shop: Shop) -> None:
    watching = subprocess.Popen(
        [*ONEFOLD, "segment", "watch", "buyers", "--after", "0", "--json", "--address", shop.service.address],
        env={name: value for name, value in os.environ.items() if not name.startswith("ONEFOLD_")},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    try:
        changes = [json.loads(watching.stdout.readline()) for _ in range(2)]
    finally:
        watching.terminate()
        watching.wait(30)
        watching.stdout.close()
    assert {change["segment"] for change in changes} == {"buyers"}
    assert {change["kind"] for change in changes} == {"SEGMENT_CHANGE_KIND_ENTERED"}
    assert sorted(change["identity"] for change in changes) == shop.members("buyers")


def test_a_rule_is_checked_by_what_there_is(shop: Shop) -> None:
    told = shop.json("rule", "check", 'in_segment("buyers")&&purchases>2', "--in-force")
    assert told["rule"] == 'in_segment("buyers") && purchases > 2'
    assert (told["features"], told["segments"]) == (["purchases"], ["buyers"])
    assert "i.`f_purchases` > $p" in told["cypher_where"]
    wrong = shop.run("rule", "check", 'in_segment("buyer")', "--in-force", code=2)
    assert "there is no segment buyer; did you mean buyers?" in wrong.stderr
    assert "^^^^" in wrong.stderr


def test_a_catalogue_is_tried_applied_and_its_labels_listed(shop: Shop) -> None:
    file = shop.folder / "labels.yaml"
    file.write_text(CATALOGUE)
    (shop.folder / "staff.csv").write_text("record\ncustomer:crm:1002\n")
    dry = shop.run("catalogue", "apply", str(file), "--dry-run").stdout
    assert "catalogue 7 would be in force" in dry
    assert "label bought" in dry
    assert shop.run("rule", "check", 'has_label("bought")', "--in-force", code=2).stderr
    assert "catalogue 7 is in force" in shop.run("catalogue", "apply", str(file)).stdout
    assert shop.json("rule", "check", 'has_label("bought")', "--in-force")["labels"] == ["bought"]
    until(lambda: len(shop.members("staff")) == 1 and len(shop.members("welcome")) == 2)
    labels = shop.run("catalogue", "labels").stdout
    assert [line.split()[:3] for line in labels.splitlines() if line.startswith("bought")] == [
        ["bought", "behaviour", "2"]
    ]
    (shop.folder / "torn.yaml").write_text(CATALOGUE.replace("purchases >= 1", "purchses >= 1"))
    wrong = shop.run("catalogue", "apply", str(shop.folder / "torn.yaml"), code=2).stderr
    assert "did you mean purchases?" in wrong
    assert "line 4" in wrong
