"""The commands of a first day, as processes in an empty folder: serve, import, profile, cypher, doctor."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from onefold.graph import policy as policies

EXAMPLES = Path(__file__).parents[2] / "examples" / "csv"
ONEFOLD = [sys.executable, "-m", "onefold.service.cli"]


@dataclass(frozen=True, slots=True)
class Place:
    """An empty folder, the environment of a user who has set nothing, and the service that runs there."""

    folder: Path
    environment: dict[str, str]
    service: subprocess.Popen[str]
    facts: dict[str, Any]

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """A command that finds the service and its data by the environment."""
        found = {"ONEFOLD_LISTEN": self.facts["listen"], "ONEFOLD_METRICS_PORT": "0"}
        done = subprocess.run(
            [*ONEFOLD, *arguments],
            cwd=self.folder,
            env=self.environment | found,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str) -> Any:
        """What a command printed for scripts."""
        return json.loads(self.run(*arguments, "--json").stdout)


def settings_of_nobody(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ONEFOLD_", "XDG_"))}
    return kept | {"XDG_DATA_HOME": str(home)}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("empty")
    environment = settings_of_nobody(folder / "home")
    # Without a port of its own it would meet whatever else listens on this machine.
    serve = [*ONEFOLD, "serve", "--json", "--listen", "127.0.0.1:0", "--metrics-port", "0"]
    with (folder / "log").open("w") as log:
        service = subprocess.Popen(serve, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    assert service.stdout is not None
    try:
        line = service.stdout.readline()
        assert line, (folder / "log").read_text()
        yield Place(folder, environment, service, json.loads(line))
        service.send_signal(signal.SIGTERM)
        assert service.wait(60) == 0
        assert "Traceback" not in (folder / "log").read_text()
    finally:
        service.kill()
        service.wait()
        service.stdout.close()


@pytest.fixture(scope="module")
def filled(place: Place) -> Place:
    """The place, with the example files imported."""
    for name in ("customers", "orders"):
        for suffix in ("csv", "yaml"):
            (place.folder / f"{name}.{suffix}").write_bytes((EXAMPLES / f"{name}.{suffix}").read_bytes())
        assert place.json("import", "csv", f"{name}.csv", "--mapping", f"{name}.yaml")["changed"] == 2
    return place


def test_without_any_setting_the_embedded_engine_and_the_users_data_folder_are_used(place: Place) -> None:
    assert place.facts["engine"] == "embedded"
    assert place.facts["data_folder"] == str(place.folder / "home" / "onefold")
    assert (place.folder / "home" / "onefold" / "engine").is_dir()


def test_the_same_file_twice_changes_nothing(filled: Place) -> None:
    again = filled.run("import", "csv", "customers.csv", "--mapping", "customers.yaml")
    assert again.stdout.startswith("2 items, 0 changed")
    assert not list(filled.folder.glob("*.rejects.csv*"))


def test_what_is_refused_is_in_the_rejects_file_with_its_line_and_reason(filled: Place) -> None:
    rows = (filled.folder / "customers.csv").read_text().splitlines()
    rows += [rows[1].replace("1001", "1003").replace("ann.archer@example.org", "no mail"), "too,short"]
    (filled.folder / "bad.csv").write_text("\n".join(rows) + "\n")
    facts = filled.json("import", "csv", "bad.csv", "--mapping", "customers.yaml")
    assert (facts["items"], facts["changed"], facts["rejected"]) == (3, 0, 2)
    assert facts["reasons"] == {"INVALID_INPUT": 1, "WRONG_WIDTH": 1}
    rejects = (filled.folder / "bad.csv.rejects.csv").read_text()
    assert "\n4,service,INVALID_INPUT,customer.identifiers[0].value: " in rejects
    assert "\n5,reader,WRONG_WIDTH," in rejects


def test_a_profile_is_found_by_record_and_by_any_identifier(filled: Place) -> None:
    by_record = filled.json("profile", "customer:crm:1001")
    assert filled.json("profile", "email:Ann.Archer@example.org")["identity"] == by_record["identity"]
    assert filled.json("profile", "phone:020 7946 0123", "--region", "GB") == by_record
    page = filled.run("profile", by_record["identity"]).stdout
    assert page.startswith("Ann Archer\n")
    assert "18.95 GBP in 1 order" in page


def test_a_profile_of_nobody_is_not_found(filled: Place) -> None:
    done = filled.run("profile", "customer:crm:9999", code=4)
    assert done.stderr.count("\n") == 1
    assert "crm:9999" in done.stderr


def test_cypher_answers_as_a_table_json_or_csv(filled: Place) -> None:
    statement = "MATCH (c:Customer {key: $key})-[:HAS_EMAIL]->(e) RETURN c.given_name AS name, e.key AS email"
    arguments = ("cypher", statement, "--param", "key=crm:1001")
    assert filled.json(*arguments) == {"name": "Ann", "email": "email:ann.archer@example.org"}
    assert filled.run(*arguments, "--csv").stdout == "name,email\nAnn,email:ann.archer@example.org\n"
    header, _, row = filled.run(*arguments).stdout.splitlines()
    assert (header.split(), row.split()) == (["name", "email"], ["Ann", "email:ann.archer@example.org"])


def test_cypher_keeps_nothing_unless_it_is_told_to(filled: Place) -> None:
    count = ("cypher", "MATCH (n:Note) RETURN count(n) AS n")
    done = filled.run("cypher", "CREATE (n:Note {text: 'x'}) RETURN n")
    assert "nothing of it was kept" in done.stderr
    assert filled.json(*count) == {"n": 0}
    filled.run("cypher", "CREATE (n:Note {text: 'x'})", "--write")
    assert filled.json(*count) == {"n": 1}
    filled.run("cypher", "MATCH (n:Note) DELETE n", "--write")


def test_cypher_that_is_wrong_is_an_error_of_one_line(filled: Place) -> None:
    done = filled.run("cypher", "MATCH (n RETURN n", code=2)
    assert done.stderr.startswith("error: STATEMENT: ")
    assert done.stderr.count("\n") == 1


def test_what_was_changed_behind_the_services_back_is_found_and_put_right(filled: Place) -> None:
    sound = filled.json("verify")
    assert (sound["differences"], sound["log"]["fault"]) == ([], "")
    damage = "MATCH (c:Customer {key: 'crm:1001'})-[m:MEMBER_OF]->(), (:Customer {key: 'crm:1002'})-[:MEMBER_OF]->(i)"
    filled.run("cypher", damage + " DELETE m CREATE (c)-[:MEMBER_OF]->(i)", "--write")
    found = filled.run("verify", code=1).stdout
    assert re.search(r"^differs: .*customer:crm:1001", found, re.MULTILINE)
    assert filled.json("rebuild", "--dry-run")["split"] == 1
    assert filled.json("rebuild")["decided"] == 2
    assert "Nothing differs." in filled.run("verify").stdout


def test_a_change_of_policy_is_counted_before_it_is_carried_out(filled: Place) -> None:
    policy = filled.folder / "strict.yaml"
    policy.write_text(re.sub(r"(?m)^link_threshold: .*", "link_threshold: 0.999", policies.read()))
    foreseen = filled.run("rebuild", "--policy", policy.name, "--dry-run")
    assert "The newest decision was made by policy" in foreseen.stderr
    assert re.search(r"would split", foreseen.stdout)


def test_doctor_finds_a_serving_onefold_well(filled: Place) -> None:
    done = filled.run("doctor")
    assert "a healthy Onefold answers" in done.stdout
    assert re.search(r"^ok +engine +\S+.*, schema version \d+$", done.stdout, re.MULTILINE)
    assert not [line for line in done.stdout.splitlines() if line.startswith("fail")]


def test_training_on_two_customers_says_what_is_missing(filled: Place) -> None:
    done = filled.run("train", code=1)
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_a_second_service_on_the_same_data_is_refused_in_words(place: Place) -> None:
    done = place.run("serve", "--listen", "127.0.0.1:0", "--metrics-port", "0", code=1)
    error = next(line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert f"in use by the Onefold service with process id {place.service.pid}" in error


def acknowledged(journal: Path) -> int:
    """How many items a running import has seen acknowledged."""
    if not journal.exists():
        return 0
    items: int = json.loads(journal.read_text())["position"]["items"]
    return items


def test_an_import_stopped_by_ctrl_c_goes_on_where_it_was(filled: Place) -> None:
    count = 20_000  # some seconds' work
    header = "CustomerNo,First,Last,Mail,Mobile,Country,Born,Changed,News\n"
    row = "L{0},Ann,Archer,l{0}@example.org,,England,,05/01/2024 09:30,\n"
    (filled.folder / "many.csv").write_text(header + "".join(row.format(n) for n in range(count)))
    journal = filled.folder / "many.csv.rejects.csv.resume.json"
    arguments = ("import", "csv", "many.csv", "--mapping", "customers.yaml")
    stopped = subprocess.Popen(
        [*ONEFOLD, *arguments],
        cwd=filled.folder,
        env=filled.environment | {"ONEFOLD_LISTEN": filled.facts["listen"]},
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job is born ignoring Ctrl-C, and so would be all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not acknowledged(journal) and time.monotonic() < deadline:
        time.sleep(0.01)
    stopped.send_signal(signal.SIGINT)
    _, said = stopped.communicate(timeout=60)
    assert stopped.returncode == 130, said
    assert "goes on from there" in said
    rest = filled.json(*arguments)
    assert rest["items"] == count
    assert 0 < rest["resumed_after_items"] < count
    assert not journal.exists()
    assert filled.json("cypher", "MATCH (c:Customer) WHERE c.key STARTS WITH 'crm:L' RETURN count(c) AS n") == {
        "n": count
    }
