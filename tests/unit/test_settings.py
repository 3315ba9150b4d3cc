"""Settings: where they come from, which comes first, and what is said of a bad one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onefold.graph.errors import InvalidInput
from onefold.service.settings import Settings, load, settings_table, unknown_variables, variable


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("ONEFOLD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)


def broken(**overrides: object) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        load(**overrides)
    return {violation.field: violation.rule for violation in caught.value.violations}


def test_without_any_setting_the_embedded_engine_is_used_on_loopback(tmp_path: Path) -> None:
    settings = load()
    assert settings.embedded
    assert settings.listen == "127.0.0.1:50051"
    assert settings.data_folder == tmp_path / ".local/share/onefold"


def test_the_command_line_beats_the_environment_beats_the_secrets_beat_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "onefold.toml").write_text('workers = 1\ngraph_user = "file"\nlog_level = "error"\nqueue_items = 600')
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/onefold_graph_user").write_text("secret\n")
    (tmp_path / "secrets/onefold_log_level").write_text("warning")
    monkeypatch.setenv("ONEFOLD_SETTINGS_FILE", str(tmp_path / "onefold.toml"))
    monkeypatch.setenv("ONEFOLD_SECRETS_FOLDER", str(tmp_path / "secrets"))
    monkeypatch.setenv("ONEFOLD_WORKERS", "2")
    monkeypatch.setenv("ONEFOLD_LOG_LEVEL", "debug")
    settings = load(workers=3, listen=None)
    found = (settings.workers, settings.log_level, settings.graph_user, settings.queue_items)
    assert found == (3, "debug", "secret", 600)


def test_every_bad_setting_is_named_by_its_variable_with_its_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEFOLD_LISTEN", "50051")
    monkeypatch.setenv("ONEFOLD_WORKERS", "0")
    monkeypatch.setenv("ONEFOLD_METRICS_PORT", "http")
    found = broken()
    assert set(found) == {"ONEFOLD_LISTEN", "ONEFOLD_WORKERS", "ONEFOLD_METRICS_PORT"}
    assert "host:port" in found["ONEFOLD_LISTEN"]
    assert found["ONEFOLD_WORKERS"] == "should be greater than or equal to 1"


@pytest.mark.parametrize(
    "listen", ["127.0.0.1", "127.0.0.1:70000", ":50051", "a b:1", "::1:50051", "http://localhost:1"]
)
def test_an_address_that_is_none_is_refused(listen: str) -> None:
    assert list(broken(listen=listen)) == ["ONEFOLD_LISTEN"]


@pytest.mark.parametrize("listen", ["0.0.0.0:50051", "[::1]:50051", "localhost:0"])
def test_an_address_is_taken_as_it_is(listen: str) -> None:
    assert load(listen=listen).listen == listen


@pytest.mark.parametrize("uri", ["http://localhost:7474", "neo4j://", "neo4j://ann:secret@localhost"])
def test_a_graph_address_has_a_bolt_scheme_a_host_and_no_password(uri: str) -> None:
    found = broken(graph_uri=uri)
    assert list(found) == ["ONEFOLD_GRAPH_URI"]
    assert "secret" not in str(found)


def test_a_password_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEFOLD_GRAPH_PASSWORD", "hunter2")
    assert "hunter2" not in str(broken())
    settings = load(graph_uri="neo4j://localhost:7687")
    assert "hunter2" not in repr(settings)
    assert settings.graph_password is not None
    assert settings.graph_password.get_secret_value() == "hunter2"


def test_settings_that_need_each_other_are_asked_for_by_name(tmp_path: Path) -> None:
    pem = tmp_path / "tls.pem"
    pem.touch()
    assert list(broken(tls_certificate_file=pem)) == ["ONEFOLD_TLS_KEY_FILE"]
    assert list(broken(tls_key_file=pem)) == ["ONEFOLD_TLS_CERTIFICATE_FILE"]
    assert list(broken(batch_items=1_000, queue_items=500)) == ["ONEFOLD_QUEUE_ITEMS"]


def test_reflection_is_off_with_tls_unless_it_is_asked_for(tmp_path: Path) -> None:
    pem = tmp_path / "tls.pem"
    pem.touch()
    assert load().reflects
    assert not load(tls_certificate_file=pem, tls_key_file=pem).reflects
    assert load(tls_certificate_file=pem, tls_key_file=pem, reflection=True).reflects


@pytest.mark.parametrize("text", ["workers = ", "workers == 1", "\xff"])
def test_a_settings_file_that_is_no_toml_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    (tmp_path / "onefold.toml").write_bytes(text.encode("latin-1"))
    monkeypatch.setenv("ONEFOLD_SETTINGS_FILE", str(tmp_path / "onefold.toml"))
    assert list(broken()) == ["ONEFOLD_SETTINGS_FILE"]


def test_a_missing_file_or_folder_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert list(broken(policy_file=tmp_path / "none.yaml")) == ["ONEFOLD_POLICY_FILE"]
    monkeypatch.setenv("ONEFOLD_SETTINGS_FILE", str(tmp_path / "none.toml"))
    assert list(broken()) == ["ONEFOLD_SETTINGS_FILE"]
    monkeypatch.delenv("ONEFOLD_SETTINGS_FILE")
    monkeypatch.setenv("ONEFOLD_SECRETS_FOLDER", str(tmp_path / "none"))
    assert list(broken()) == ["ONEFOLD_SECRETS_FOLDER"]


def test_a_misspelt_setting_in_the_file_is_refused_with_the_one_meant(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "onefold.toml").write_text("worker = 4")
    monkeypatch.setenv("ONEFOLD_SETTINGS_FILE", str(tmp_path / "onefold.toml"))
    assert broken() == {"ONEFOLD_WORKER": "is no setting; workers is one"}


def test_a_misspelt_variable_is_found_and_what_platforms_define_starts_nothing() -> None:
    environ = {
        "ONEFOLD_GRAPH_URL": "x",
        "ONEFOLD_LISTEN": "x",
        "ONEFOLD_TEST_NEO4J_URI": "x",
        "ONEFOLD_PORT": "x",
    }
    assert unknown_variables(environ) == {"ONEFOLD_GRAPH_URL": "ONEFOLD_GRAPH_URI", "ONEFOLD_PORT": None}


def test_the_table_has_a_row_for_every_setting_and_names_no_machine(tmp_path: Path) -> None:
    table = settings_table()
    for name, info in Settings.model_fields.items():
        [row] = [line for line in table.splitlines() if line.startswith(f"| `{variable(name)}` |")]
        assert info.description
        assert info.description in row
        assert row.count("|") == 4
    assert str(tmp_path) not in table
    assert "| `ONEFOLD_DATA_FOLDER` | `~/.local/share/onefold` |" in table
