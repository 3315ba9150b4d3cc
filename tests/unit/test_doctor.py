"""The doctor: what each check sees, and what it says to do."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from onefold.graph import schema
from onefold.graph.errors import EngineError, NotReady, Unavailable
from onefold.graph.probe import EngineFacts
from onefold.service import doctor
from onefold.service.doctor import Verdict, diagnose
from onefold.service.metrics import Exposition
from onefold.service.settings import Settings


def healthy() -> EngineFacts:
    return EngineFacts("Neo4j/5.26.12", schema.VERSION)


def test_a_fresh_machine_lacks_only_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {})
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = Settings(data_folder=tmp_path / "data", listen=f"127.0.0.1:{port}", metrics_port=0)
    found = {check.name: check for check in diagnose(settings, healthy)}
    assert {name for name, check in found.items() if check.verdict is not Verdict.OK} == {"model"}
    assert found["model"].advice == "train one: onefold train"
    assert not (tmp_path / "data").exists()


def test_a_check_that_breaks_is_a_failed_check_and_the_others_go_on(tmp_path: Path) -> None:
    def broken() -> EngineFacts:
        raise ZeroDivisionError

    found = list(diagnose(Settings(data_folder=tmp_path, listen="127.0.0.1:0"), broken))
    assert [check.verdict for check in found if check.name == "engine"] == [Verdict.FAIL]
    assert len(found) == 9


def test_a_port_that_another_program_holds_fails_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        check = doctor.check_port(listen, serving=False)
    assert check.verdict is Verdict.FAIL
    assert "ONEFOLD_LISTEN" in check.advice


def test_a_metrics_port_that_another_program_holds_fails_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(data_folder=tmp_path, listen="127.0.0.1:0", metrics_port=taken.getsockname()[1])
        [check] = [check for check in diagnose(settings, healthy) if check.name == "metrics port"]
    assert check.verdict is Verdict.FAIL
    assert "ONEFOLD_METRICS_PORT" in check.advice


def test_a_metrics_port_that_a_serving_onefold_holds_is_fine() -> None:
    with Exposition("127.0.0.1", 0, CollectorRegistry(), lambda: True) as metrics:
        here = doctor.check_metrics_port("127.0.0.1", metrics.port, serving=True)
        elsewhere = doctor.check_metrics_port("127.0.0.1", metrics.port, serving=False)
    assert (here.verdict, elsewhere.verdict) == (Verdict.OK, Verdict.FAIL)


def test_a_misspelt_variable_is_told_with_the_one_meant() -> None:
    check = doctor.check_variables({"ONEFOLD_GRAPH_URL": "x"})
    assert check.verdict is Verdict.WARN
    assert "ONEFOLD_GRAPH_URL (is ONEFOLD_GRAPH_URI meant?)" in check.seen


def test_a_data_folder_where_a_file_stands_fails(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check = doctor.check_data_folder(tmp_path / "file")
    assert check.verdict is Verdict.FAIL
    assert "ONEFOLD_DATA_FOLDER" in check.advice


def test_a_full_disk_fails_and_a_nearly_full_one_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def verdict(needed: int, wished: int) -> Verdict:
        monkeypatch.setattr(doctor, "NO_SPACE", needed)
        monkeypatch.setattr(doctor, "LITTLE_SPACE", wished)
        return doctor.check_space(tmp_path).verdict

    far_too_much = 1 << 62
    assert verdict(0, 0) is Verdict.OK
    assert verdict(0, far_too_much) is Verdict.WARN
    assert verdict(far_too_much, far_too_much) is Verdict.FAIL


def test_a_policy_with_a_mistake_is_named_by_line(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("version: 1\nlink_treshold: 0.8\n")
    check = doctor.check_policy(file)
    assert check.verdict is Verdict.FAIL
    assert "link_treshold" in check.seen
    assert doctor.check_policy(None).verdict is Verdict.OK


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (NotReady("user 'neo4j'", "password is not right"), "ONEFOLD_GRAPH_PASSWORD"),
        (Unavailable("no answer"), "ONEFOLD_GRAPH_URI"),
        (EngineError("no wheel here; use a Neo4j"), "use a Neo4j"),
    ],
)
def test_an_engine_that_does_not_answer_fails_with_what_to_do(error: Exception, advice: str) -> None:
    def probe() -> EngineFacts:
        raise error

    check = doctor.check_engine(probe)
    assert check.verdict is Verdict.FAIL
    assert advice in check.advice


def test_a_graph_of_a_newer_onefold_fails_and_an_older_one_is_fine() -> None:
    newer = doctor.check_engine(lambda: EngineFacts("x", schema.VERSION + 1))
    older = doctor.check_engine(lambda: EngineFacts("x", 0))
    assert (newer.verdict, older.verdict) == (Verdict.FAIL, Verdict.OK)
    assert "no graph in it yet" in older.seen
