"""The command line's words: help, errors of one line, exit codes, and what it prints of results."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import grpc
import pytest
from rich.console import Console

from onefold.graph.errors import (
    Conflict,
    EngineError,
    InvalidInput,
    NotFound,
    NotReady,
    OnefoldError,
    Unavailable,
    Violation,
)
from onefold.ml.catalogue import CATALOGUE
from onefold.service.cli import app, importing, profiles, terminal
from onefold.service.cli.query import parse_parameter
from onefold.service.cli.subjects import in_words_of_the_command, parse_subject
from onefold.service.cli.watching import line
from onefold.service.convert import money_to_proto, timestamp_to_proto
from onefold.v1 import identity_service_pb2, prediction_service_pb2, profile_service_pb2, record_pb2

COMMANDS = (
    ["serve"],
    ["demo"],
    ["import", "online-retail"],
    ["import", "csv"],
    ["train"],
    ["model", "list"],
    ["model", "show"],
    ["model", "promote"],
    ["model", "rollback"],
    ["profile"],
    ["watch"],
    ["cypher"],
    ["verify"],
    ["rebuild"],
    ["quality"],
    ["doctor"],
    ["policy", "check"],
    ["policy", "schema"],
    ["policy", "explain"],
    ["features", "list"],
    ["features", "show"],
    ["features", "export"],
    ["rule", "check"],
    ["rule", "explain"],
    ["catalogue", "check"],
    ["catalogue", "diff"],
    ["catalogue", "show"],
    ["catalogue", "schema"],
)
IDENTITY = "01a20756-25fe-708c-8f06-4e68615d3aaa"


class Ran:
    """What a command printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def onefold(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Runs a command in an empty world: no settings, no service."""
    monkeypatch.setenv("ONEFOLD_LISTEN", "127.0.0.1:1")
    monkeypatch.setenv("ONEFOLD_DATA_FOLDER", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["onefold", *arguments])
        with pytest.raises(SystemExit) as ended:
            app.run()
        printed = capsys.readouterr()
        code = ended.value.code
        return Ran(code if isinstance(code, int) else int(bool(code)), printed.out, printed.err)

    return run


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(onefold, command: list[str]) -> None:
    ran = onefold(*command, "--help")
    assert ran.code == 0
    assert f"Usage: onefold {' '.join(command)}" in ran.out


def test_help_names_every_command_and_the_exit_codes(onefold) -> None:
    out = onefold("--help").out
    for command in COMMANDS:
        assert re.search(rf"^\W*{command[0]}\b", out, re.MULTILINE), command
    assert "4 not found" in " ".join(out.split())


def test_the_version_is_printed(onefold) -> None:
    assert re.fullmatch(r"onefold \d+\.\d+\.\d+\S*\n", onefold("--version").out)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInput([Violation("a", "is wrong")]), 2),
        (Unavailable("gone"), 3),
        (Conflict("lost"), 3),
        (NotFound("customer", "crm:1"), 4),
        (NotReady("model", "is not trained"), 1),
        (EngineError("no build"), 1),
        (OnefoldError("other"), 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: OnefoldError, code: int) -> None:
    assert terminal.fail(error) == code


def test_every_broken_rule_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.fail(InvalidInput([Violation("a[0]", "is [bold]wrong[/]"), Violation("b", "x" * 500)]))
    assert capsys.readouterr().err == f"error: a[0]: is [bold]wrong[/]\nerror: b: {'x' * 500}\n"


def test_a_change_is_a_line() -> None:
    merged = identity_service_pb2.IdentityChange(
        sequence=12,
        create_time=timestamp_to_proto(1_700_000_000_000),
        kind=identity_service_pb2.IDENTITY_CHANGE_KIND_MERGED,
        identity="one",
        other_identities=["two", "three"],
        move_count=1_234,
    )
    assert str(line(merged)) == "      12  2023-11-14 22:13:20  MERGED   one  from two, three  1,234 moved"


@pytest.mark.parametrize("command", [["profile", "email:a@example.org"], ["train"], ["watch"]], ids=" ".join)
def test_without_a_service_a_command_says_how_to_get_one(onefold, command: list[str]) -> None:
    ran = onefold(*command)
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == (
        "error: no Onefold answers at 127.0.0.1:1: "
        "start one with `onefold serve`, or name it with --address HOST:PORT\n"
    )


def test_without_a_service_cypher_says_how_to_get_one(onefold) -> None:
    ran = onefold("cypher", "RETURN 1")
    assert ran.code == 3
    assert "start it (onefold serve)" in ran.err
    assert ran.err.count("\n") == 1


def test_a_graph_that_could_not_be_verified_has_an_exit_code_of_its_own(
    onefold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEFOLD_GRAPH_URI", "bolt://127.0.0.1:1")
    ran = onefold("verify")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: bolt://127.0.0.1:1 does not answer")


@pytest.mark.parametrize(
    "command", [["verify"], ["verify", "--json"], ["rebuild"], ["rebuild", "--dry-run"], ["quality"]]
)
def test_where_there_is_no_graph_none_is_made_to_be_looked_at(onefold, command: list[str], tmp_path: Path) -> None:
    ran = onefold(*command, "--data-folder", str(tmp_path / "mistyped"))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"error: --data-folder: there is no graph in {tmp_path / 'mistyped'}\n"
    assert not (tmp_path / "mistyped").exists()


@pytest.mark.parametrize("statement", ["", "CREATE INDEX x FOR (n:A) ON (n.b)", "drop constraint x"])
def test_cypher_that_could_not_be_rolled_back_is_not_run(onefold, statement: str) -> None:
    ran = onefold("cypher", statement)
    assert ran.code == 2
    assert ran.err.startswith("error: STATEMENT: ")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("ann@example.org", "is email:ann@example.org meant?"),
        ("customer:17", "a record is customer:SOURCE:ID"),
        ("order:shop:", "a record is order:SOURCE:ID"),
        ("", "an identity's id"),
        ("email:", "KIND:VALUE"),
    ],
)
def test_a_subject_that_names_nobody_says_what_would(onefold, text: str, hint: str) -> None:
    ran = onefold("profile", text)
    assert ran.code == 2
    assert hint in ran.err


def test_subjects_are_identities_records_and_identifiers() -> None:
    assert parse_subject(IDENTITY).identity == IDENTITY
    customer = parse_subject("customer:crm:a:b").customer
    assert (customer.source, customer.source_id) == ("crm", "a:b")
    assert parse_subject("order:shop:A-1").order.order_id == "A-1"
    phone = parse_subject("phone:020 7946 0018", region="GB").identifier
    assert (phone.kind, phone.value, phone.region) == ("phone", "020 7946 0018", "GB")


def of_the_service(field: str, rule: str) -> InvalidInput:
    return InvalidInput([Violation(field, rule)])


def test_what_the_service_says_of_a_subject_is_told_in_the_words_of_the_command() -> None:
    national, foreign = parse_subject("phone:020 7946 0018"), parse_subject("phone:020 7946 0018", region="XX")
    path = "subject.identifier"
    told = [
        in_words_of_the_command(of_the_service(f"{path}.value", "write +… or give a region"), national),
        in_words_of_the_command(of_the_service(f"{path}.region", "'XX' is no region"), foreign),
        in_words_of_the_command(of_the_service(f"{path}.kind", "is not known"), parse_subject("shoe:42")),
    ]
    assert [violation for error in told for violation in error.violations] == [
        Violation("SUBJECT", "is not a phone number as it stands: write it with its country code: phone:+44…"),
        Violation("--region", "'XX' is no region"),
        Violation("SUBJECT", "is not known"),
    ]


@pytest.mark.parametrize("days", ["0", "366"])
def test_a_horizon_that_the_service_does_not_know_is_wrong_usage(onefold, days: str) -> None:
    ran = onefold("train", "--horizon-days", days)
    assert ran.code == 2
    assert "Invalid value for '--horizon-days'" in ran.err


def test_an_import_that_can_not_begin_promises_nothing_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "empty.csv"
    file.write_text("Not,What,Is,Expected\n1,2,3,4\n")
    with grpc.insecure_channel("127.0.0.1:1") as channel, pytest.raises(InvalidInput):
        importing.run(channel, importing.online_retail_source(file), None, restart=False, as_json=False)
    assert capsys.readouterr().err == ""
    assert [path.name for path in tmp_path.iterdir()] == ["empty.csv"]


def test_parameters_are_json_or_text() -> None:
    assert parse_parameter("n=3") == ("n", 3)
    assert parse_parameter('names=["a"]') == ("names", ["a"])
    assert parse_parameter("key=crm:1=2") == ("key", "crm:1=2")
    with pytest.raises(InvalidInput, match="name=value"):
        parse_parameter("key")


def test_a_policy_that_breaks_rules_is_told_with_lines_and_fields(onefold, tmp_path: Path) -> None:
    bad = tmp_path / "policy.yaml"
    bad.write_text("version: 1\nlink_threshold: 7\nsurprise: 1\n")
    ran = onefold("policy", "check", str(bad))
    assert ran.code == 2
    lines = ran.err.splitlines()
    assert all(line.startswith("error: ") for line in lines)
    assert any("link_threshold (line 2)" in line for line in lines)
    assert any("surprise (line 3)" in line for line in lines)


def test_the_shipped_policy_is_ok(onefold) -> None:
    assert onefold("policy", "check").out.startswith("ok ")
    assert json.loads(onefold("policy", "check", "--json").out)["version"].startswith("1")


def test_a_file_that_is_not_there_is_wrong_usage(onefold) -> None:
    ran = onefold("import", "online-retail", "nowhere.csv")
    assert ran.code == 2
    assert "'nowhere.csv' does not exist" in ran.err


def test_the_demo_asks_for_its_file_where_there_is_no_clone(
    onefold, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from onefold.service.demo import show

    monkeypatch.setattr(show, "IN_A_CLONE", tmp_path / "none")
    ran = onefold("demo")
    assert ran.code == 2
    assert ran.err.startswith("error: --file: the order file comes with a clone")


def test_bad_settings_are_told_by_their_variable(onefold, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEFOLD_LISTEN", "nonsense")
    ran = onefold("serve")
    assert ran.code == 2
    assert ran.err.startswith("error: ONEFOLD_LISTEN: should be host:port")


def test_doctor_prints_an_object_a_check_for_scripts(onefold) -> None:
    ran = onefold("doctor", "--json")
    checks = {check["name"]: check for check in map(json.loads, ran.out.splitlines())}
    assert checks["policy"]["verdict"] == "ok"
    assert checks["model"]["advice"]
    assert ran.code == (1 if any(c["verdict"] == "fail" for c in checks.values()) else 0)


def profile() -> profile_service_pb2.Profile:
    at = timestamp_to_proto(1_700_000_000_000)
    crm = record_pb2.RecordKey(customer=record_pb2.CustomerKey(source="crm", source_id="17"))
    guest = record_pb2.RecordKey(order=record_pb2.OrderKey(source="shop", order_id="G-1"))

    def trait(name: str, value: str, *others: str) -> profile_service_pb2.GoldenTrait:
        return profile_service_pb2.GoldenTrait(
            name=name,
            value=record_pb2.PropertyValue(string_value=value),
            record=crm,
            observe_time=at,
            alternatives=[
                profile_service_pb2.TraitAlternative(value=record_pb2.PropertyValue(string_value=o), record=guest)
                for o in others
            ],
        )

    order = record_pb2.Order(
        key=guest.order,
        place_time=at,
        utc_offset_minutes=60,
        status=record_pb2.ORDER_STATUS_DELIVERED,
        currency_code="GBP",
        total=money_to_proto(1_234_500_000, "GBP"),
        lines=[record_pb2.OrderLine(sku=f"S{n}", name=f"Mug {n}") for n in range(5)],
        refunds=[record_pb2.Refund(refund_id="r")],
    )
    event = record_pb2.Event(
        source="web",
        type="page_view",
        event_time=at,
        channel="web",
        device=record_pb2.Identifier(kind="cookie", value="ck.1"),
    )
    return profile_service_pb2.Profile(
        identity=IDENTITY,
        create_time=at,
        traits=[trait("family_name", "Archer"), trait("given_name", "Ann", "Annie")],
        identifiers=[
            profile_service_pb2.ProfileIdentifier(
                kind="email", value="ann@example.org", confidence=0.98, sources=["crm"]
            ),
            profile_service_pb2.ProfileIdentifier(kind="device", value="kiosk", shared=True, sources=["web"]),
        ],
        records=[crm, guest],
        activity=profile_service_pb2.Activity(
            order_count=7,
            spending=[
                profile_service_pb2.Spending(
                    currency_code="GBP",
                    order_count=7,
                    total_spent=money_to_proto(1_234_500_000, "GBP"),
                    refunded=money_to_proto(500_000, "GBP"),
                    average_order_value=money_to_proto(176_357_143, "GBP"),
                )
            ],
            first_order_time=at,
            last_order_time=at,
            event_count=1,
            event_counts={"page_view": 1},
            anonymous_event_count=1,
        ),
        recent_orders=[order],
        recent_events=[event],
        completeness=0.25,
        churn=prediction_service_pb2.ChurnScore(
            probability=0.8,
            log_odds=1.39,
            base_log_odds=0.2,
            other_contribution=0.19,
            horizon_days=90,
            model="models/churn-0001",
            as_of_time=at,
            reasons=[
                prediction_service_pb2.Reason(feature="recency", words="last order 120 days ago", contribution=1.0)
            ],
        ),
    )


CURVE = {7: 0.98, 30: 0.9, 90: 0.8}


def rendered(width: int, curve: Mapping[int, float] = CURVE) -> str:
    points = [prediction_service_pb2.CurvePoint(horizon_days=d, churn_probability=p) for d, p in curve.items()]
    console = Console(width=width, highlight=False, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    profiles.render(profile(), points, console)
    text = console.export_text()
    console.file.close()
    return text


def test_a_profile_reads_like_a_page_about_a_person() -> None:
    text = rendered(120)
    for words in (
        "Ann Archer",
        f"identity {IDENTITY}, since 2023-11-14",
        "Ann  (also Annie)",
        "crm, 2023-11-14",
        "ann@example.org  98%",
        "kiosk",
        "shared",
        "customer:crm:17",
        "as a guest: order:shop:G-1",
        "1,234.50 GBP in 7 orders, 0.50 GBP of it refunded",
        "176.36 GBP an order",
        "Mug 0, Mug 1, Mug 2, 2 more  (1 refund)",
        "and 6 orders before",
        "web on ck.1, anonymous",
        "80%",
        "no purchase within 90 days after 2023-11-14",
        "▲  +1.00  last order 120 days ago",
        "log-odds +1.39 = base +0.20",
    ):
        assert words in text


def bars(text: str) -> list[tuple[int, int, int, str]]:
    """Of each horizon that is drawn: the days, the columns that are filled and those that are not, the figure."""
    found = re.findall(r"^ +(\d+) days? +(█*)(░*) +(\d+%) *$", text, re.MULTILINE)
    return [(int(days), len(filled), len(rest), told) for days, filled, rest, told in found]


@pytest.mark.parametrize("width", [40, 120])
def test_a_profile_draws_how_the_risk_falls_with_the_days(width: int) -> None:
    drawn = [(7, 20, 0, "98%"), (30, 18, 2, "90%"), (90, 16, 4, "80%")]
    assert bars(rendered(width)) == drawn
    assert bars(rendered(width, {1: 1.0, 365: 0.0})) == [(1, 20, 0, "100%"), (365, 0, 20, "0%")]


def test_a_profile_without_a_curve_draws_the_risk_alone() -> None:
    assert bars(rendered(120, {})) == [(90, 16, 4, "80%")]


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_profile_fits_a_narrow_terminal_and_loses_no_word(width: int) -> None:
    text = rendered(width)
    assert max(map(len, text.splitlines())) <= width
    together = re.sub(r"\s+", "", text)
    for words in ("ann@example.org", "customer:crm:17", "order:shop:G-1", IDENTITY[:8]):
        assert words in together


def test_features_are_listed_and_shown_in_full(onefold) -> None:
    listed = json.loads(onefold("features", "list", "--json").out)
    assert [feature["key"] for feature in listed] == [feature.key for feature in CATALOGUE]
    table = onefold("features", "list").out
    assert all(feature.key in table for feature in CATALOGUE)
    shown = onefold("features", "show", "orders_30d").out
    for words in ("order days in the last 30 days", "whole number", "count(*) FILTER (age <= 30)", "before the cutoff"):
        assert words in shown
    assert json.loads(onefold("features", "show", "orders_30d", "--json").out) in listed


def test_an_unknown_feature_is_told_with_the_nearest(onefold, tmp_path: Path) -> None:
    for command in (["show", "days_since_orders"], ["export", "x.csv", "--feature", "days_since_orders"]):
        ran = onefold("features", *command)
        assert (ran.code, ran.out) == (4, "")
        assert ran.err.startswith("error: no feature is known as 'days_since_orders': is days_since_order or ")
    assert "`onefold features list` lists all" in onefold("features", "show", "§§").err


def test_features_go_only_to_a_file_of_a_known_kind_and_from_a_graph_that_is_there(onefold, tmp_path: Path) -> None:
    ran = onefold("features", "export", "out.xlsx")
    assert (ran.code, ran.err) == (2, "error: FILE: out.xlsx should end in one of .csv, .json, .jsonl, .parquet\n")
    ran = onefold("features", "export", str(tmp_path / "out.csv"))
    assert (ran.code, ran.err) == (2, f"error: --data-folder: there is no graph in {tmp_path / 'data'}\n")
    assert not (tmp_path / "out.csv").exists()


def test_a_rule_is_told_with_what_it_reads_and_its_twins(onefold) -> None:
    ran = onefold("rule", "check", "--json", "orders_90d>=2 && days_since(next_order_at) > 30 && !has_label('Staff')")
    assert ran.code == 0
    said = json.loads(ran.out)
    assert said["rule"] == 'orders_90d >= 2 && days_since(next_order_at) > 30 && !has_label("staff")'
    assert said["features"] == {"orders_90d": "int", "next_order_at": "instant"}
    assert (said["labels"], said["segments"]) == (["staff"], [])
    assert said["cypher_where"].startswith("(i.`f_orders_90d` >= $p0 AND i.`next_order_at`.epochMillis < $p1 AND NOT (")
    assert said["cypher_parameters"].keys() == said["duckdb_parameters"].keys() == {"p0", "p1", "p2"}


def test_a_wrong_rule_is_shown_with_a_mark_under_the_place(onefold, tmp_path: Path) -> None:
    file = tmp_path / "rule.txt"
    file.write_text("spend > 1 &&\n  order_90d >= 2", "utf-8")
    ran = onefold("rule", "check", "--file", str(file))
    assert (ran.code, ran.out) == (terminal.EXIT_INVALID, "")
    assert ran.err.splitlines() == [
        "line 2, column 3: there is no feature order_90d; did you mean orders_90d?",
        "    order_90d >= 2",
        "    ^^^^^^^^^",
    ]


def test_a_rule_is_given_once(onefold, tmp_path: Path) -> None:
    assert onefold("rule", "check").code == terminal.EXIT_INVALID
    assert onefold("rule", "check", "vip", "--file", "x").code == terminal.EXIT_INVALID
    assert "can't be read as text" in onefold("rule", "check", "--file", str(tmp_path / "none")).err


def test_a_rule_is_explained_clause_by_clause(onefold) -> None:
    row = {"orders": 3, "last_order_at": "10d ago", "labels": ["silent"]}
    rule = 'orders>=2 && days_since(last_order_at) > 9 && spend > 100 && has_label("silent")'
    ran = onefold("rule", "explain", rule, json.dumps(row), "--at", "2026-01-11", "--json")
    assert ran.code == 0
    said = json.loads(ran.out)
    assert said["truth"] == "unknown"
    assert [(clause["clause"], clause["truth"], clause["values"]) for clause in said["clauses"]] == [
        ("orders >= 2", "true", {"orders": 3}),
        ("days_since(last_order_at) > 9", "true", {"last_order_at": 1_767_225_600_000}),
        ("spend > 100", "unknown", {"spend": None}),
        ('has_label("silent")', "true", {}),
    ]
    shown = onefold("rule", "explain", rule, json.dumps(row), "--at", "2026-01-11").out.splitlines()
    assert shown[0].startswith("unknown  orders >= 2 && ")
    assert any("last_order_at is 2026-01-01T00:00:00Z" in line for line in shown)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"orders": "three"}', "error: ROW: orders must be a whole number"),
        ('{"order": 3}', "error: ROW: there is no feature order; did you mean orders?"),
        ('{"labels": ["silnt"]}', "error: ROW: there is no label silnt; did you mean silent?"),
        ("[]", "error: ROW: must be an object of values by feature"),
        ("{", "error: ROW: Expecting property name"),
    ],
)
def test_a_row_that_does_not_fit_the_features_is_told(onefold, row: str, said: str) -> None:
    ran = onefold("rule", "explain", "orders >= 2", row)
    assert (ran.code, ran.out) == (terminal.EXIT_INVALID, "")
    assert ran.err.startswith(said)


LABELS_FILE = """\
catalogue: 1
labels:
  - {key: silent, layer: life_cycle, rule: days_since(last_order_at) > 90, tests: [{given: {}, is: unknown}]}
segments:
  - {key: winback, rule: has_label("silent") && spend > 100}
"""


def test_the_shipped_catalogue_is_ok(onefold) -> None:
    ran = onefold("catalogue", "check")
    assert (ran.code, ran.out[:4]) == (0, "ok  ")
    assert all(any(line.startswith(layer) for line in ran.out.splitlines()) for layer in ("attribute", "life_cycle"))
    assert json.loads(onefold("catalogue", "check", "--json").out)["failures"] == []


def test_a_catalogue_that_breaks_rules_is_told_with_lines_and_columns(onefold, tmp_path: Path) -> None:
    bad = tmp_path / "labels.yaml"
    bad.write_text(LABELS_FILE.replace("last_order_at", "last_ordr_at").replace('"silent"', '"slent"'), "utf-8")
    ran = onefold("catalogue", "check", str(bad))
    assert ran.code == terminal.EXIT_INVALID
    assert ran.err.splitlines() == [
        "error: labels[0].rule (line 3, column 55): there is no feature last_ordr_at; did you mean last_order_at?",
        "error: segments[0].rule (line 5, column 26): there is no label slent; did you mean silent?",
    ]


def test_a_catalogue_whose_tests_fail_is_told_with_the_reason(onefold, tmp_path: Path) -> None:
    file = tmp_path / "labels.yaml"
    file.write_text(LABELS_FILE.replace("is: unknown", "is: true"), "utf-8")
    ran = onefold("catalogue", "check", str(file))
    assert ran.code == terminal.EXIT_FAILED
    assert "1 of 1 tests fail" in ran.out
    assert "label silent should be true and is unknown: days_since(last_order_at) > 90 is unknown" in ran.out


def test_two_catalogues_are_compared_in_words(onefold, tmp_path: Path) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(LABELS_FILE, "utf-8")
    new.write_text(LABELS_FILE.replace("> 90", "> 60").replace("catalogue: 1", "catalogue: 2"), "utf-8")
    assert onefold("catalogue", "diff", str(old), str(old)).out == "Both say the same.\n"
    assert onefold("catalogue", "diff", str(old), str(new)).out.splitlines() == [
        "~ label silent rule: days_since(last_order_at) > 90 → days_since(last_order_at) > 60",
        "  touches segment winback",
        "  look again  its version is still 1",
    ]
    (change,) = json.loads(onefold("catalogue", "diff", str(old), str(new), "--json").out)
    assert (change["kind"], change["touches"]) == ("changed", ["segment winback"])


def test_one_definition_is_shown_in_full_and_an_unknown_one_with_the_nearest(onefold) -> None:
    assert "purchases_30d >= 2 && order_value_ratio >= 1.5" in onefold("catalogue", "show", "rfm").out
    assert json.loads(onefold("catalogue", "show", "silent", "--json").out)["layer"] == "life_cycle"
    assert "worth_winning_back" in onefold("catalogue", "show").out
    ran = onefold("catalogue", "show", "rfn")
    assert ran.code == terminal.EXIT_NOT_FOUND
    assert "did you mean rfm?" in ran.err
