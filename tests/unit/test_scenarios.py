"""The stories of ``tests/scenarios`` decided by the pure function, their format, and how they are told."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from onefold.graph import policy
from onefold.graph.errors import InvalidInput
from onefold.service.cli import policies
from onefold.service.ending import checks, rules, tell
from onefold.service.scenario import BanItem, MatchItem, Scenario, load, messages, parse
from onefold.v1 import record_pb2

FILES = sorted((Path(__file__).parents[1] / "scenarios").glob("*.yaml"))
POLICY = policy.load()
DOCUMENTATION = (Path(__file__).parents[2] / "docs" / "policy.md").read_text("utf-8")

COUPLE = """\
title: A couple
items:
  - {customer: crm:ann, verified: [member:1001], declared: [email:home@example.org]}
  - {customer: crm:ben, verified: [member:1002], declared: [email:home@example.org], day: 1}
people:
  - [customer:crm:ann]
  - [customer:crm:ben]
apart:
  - {who: [customer:crm:ann, customer:crm:ben], reason: LIMIT, kind: member}
"""


def shuffled(scenario: Scenario) -> Scenario:
    items = random.Random(7).sample(scenario.items, len(scenario.items))
    items.sort(key=lambda item: isinstance(item, MatchItem | BanItem))  # they name what must be known
    return scenario.model_copy(update={"items": tuple(items)})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_story_ends_as_told_whatever_came_first(path: Path) -> None:
    scenario = load(path)
    for told in (scenario, shuffled(scenario)):
        ending = tell(told, POLICY)
        assert ending.partition.groups() == scenario.groups
        assert ending.partition.shared == set(scenario.shared)
        assert {
            (frozenset(map(ending.identity, (r.record, r.owner))), r.reason.value, r.kind) for r in ending.refusals
        } == {(frozenset(map(ending.identity, a.who)), a.reason, a.kind) for a in scenario.apart}
        assert [check for check in checks(told, ending) if not check.holds] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_story_of_ours_tells_its_whole_end(path: Path) -> None:
    scenario = load(path)
    assert scenario.story
    assert scenario.people


# --- expectations


@pytest.mark.parametrize(
    ("old", "new", "expected", "found"),
    [
        (
            "  - [customer:crm:ann]\n  - [customer:crm:ben]\n",
            "  - [customer:crm:ann, customer:crm:ben]\n",
            "one person: customer:crm:ann, customer:crm:ben",
            "customer:crm:ann | customer:crm:ben",
        ),
        ("  - [customer:crm:ben]\n", "", "nobody else", "customer:crm:ben"),
        ("[customer:crm:ann]", "[customer:crm:anne]", "one person: customer:crm:anne", "customer:crm:anne is not in"),
        ("kind: member", "kind: email", "kept apart: LIMIT email", "not refused so"),
        (
            "kind: member",
            "kind: email",
            "nobody else kept apart",
            "customer:crm:ben and customer:crm:ann: LIMIT member",
        ),
        ("apart:", "shared: [email:home@example.org]\napart:", "email:home@example.org shared", "not shared"),
        ("apart:", "anonymous_events: {customer:crm:ann: 2}\napart:", "anonymous events of customer:crm:ann: 2", "0"),
    ],
)
def test_an_end_that_was_not_expected_is_told_with_what_there_is(old: str, new: str, expected: str, found: str) -> None:
    scenario = parse(COUPLE.replace(old, new))
    failed = [check for check in checks(scenario, tell(scenario, POLICY)) if not check.holds]
    assert any(expected in check.expected and found in check.found for check in failed), failed


def test_what_is_shared_and_not_expected_to_be_is_told() -> None:
    nine = "\n".join(f"  - {{customer: store:{n}, verified: [device:kiosk]}}" for n in range(9))
    people = "\n".join(f"  - [customer:store:{n}]" for n in range(9))
    scenario = parse(f"title: A kiosk\nitems:\n{nine}\npeople:\n{people}\n")
    (failed,) = [check for check in checks(scenario, tell(scenario, POLICY)) if not check.holds]
    assert (failed.expected, failed.found) == ("nothing else shared", "device:kiosk")


def test_a_story_without_an_end_expects_nothing() -> None:
    scenario = parse(COUPLE[: COUPLE.index("people:")])
    assert checks(scenario, tell(scenario, POLICY)) == []


# --- the format


@pytest.mark.parametrize(
    ("old", "new", "field", "rule"),
    [
        ("title: A couple\n", "", "title (line 1)", "is missing"),
        ("verified: [member:1001]", "verifed: [member:1001]", "items[0].verifed (line 3)", "did you mean 'verified'"),
        ("verified: [member:1001]", "verified: [1001]", "items[0].verified[0] (line 3)", "must be text"),
        ("member:1001", "1001x", "items[0].verified[0] (line 3)", "kind:value, such as"),
        ("customer: crm:ben", "customer: ben", "items[1].customer (line 4)", "source:id, such as crm:17"),
        ("customer: crm:ben", "costumer: crm:ben", "items[1] (line 4)", "must say what it is: ban, customer, delete"),
        ("day: 1", "day: -1", "items[1].day (line 4)", "greater than or equal to 0"),
        ("reason: LIMIT", "reason: LIMITS", "apart[0].reason (line 9)", "'BAN', 'SOURCE' or 'LIMIT'"),
        ("[customer:crm:ben]", "[crm:ben]", "people[1][0] (line 7)", "must match"),
        ("[customer:crm:ben]", "[customer:crm:ann]", "the whole (line 1)", "once only"),
        ("people:", "folk:", "folk (line 5)", "is not known here"),
    ],
)
def test_a_fault_of_a_scenario_is_told_with_line_and_field(old: str, new: str, field: str, rule: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(COUPLE.replace(old, new))
    assert rule in {v.field: v.rule for v in caught.value.violations}[field]


def test_an_end_without_its_people_is_refused() -> None:
    with pytest.raises(InvalidInput, match="people must be told, too"):
        parse(COUPLE[: COUPLE.index("people:")] + "shared: [email:home@example.org]\n")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("email:home@example.org], day: 1", "email:home at home], day: 1", r"items\[1\] \(line 4\): .*not an email"),
        ("member:1001", "membre:1001", r"items\[0\] \(line 3\): .*did you mean 'member'"),
        ("crm:ben", "Crm:ben", r"items\[1\] \(line 4\): .*lower-case"),
        (
            "people:",
            "  - {ban: [crm:ann, crm:cem], by: eve, why: a call}\npeople:",
            r"items\[2\] \(line 5\): ban.b .*customer:crm:cem is not known",
        ),
    ],
)
def test_an_item_that_the_service_would_refuse_is_told_with_its_line(old: str, new: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        tell(parse(COUPLE.replace(old, new)), POLICY)


def test_a_storys_word_on_its_sources_stands_beside_the_policys() -> None:
    known = policy.parse(policy.read().replace("sources: {}", "sources: {web: {trust: 0.5}, crm: {trust: 0.5}}"))
    scenario = parse(COUPLE + "sources: {crm: {deduplicated: true}}\n")
    theirs = rules(scenario, known)
    assert theirs.is_deduplicated("crm")
    assert (theirs.trust("crm"), theirs.trust("web")) == (1.0, 0.5)
    assert theirs.version != known.version
    assert rules(parse(COUPLE), known) is known


def test_a_withdrawal_is_the_customers_own_sources_unless_it_says_otherwise() -> None:
    scenario = parse(
        "title: t\nitems:\n"
        "  - {withdraw: crm:1, identifiers: [email:a@example.org, phone:+442079460018], day: 2}\n"
        "  - {withdraw: crm:1, identifiers: [email:a@example.org], source: calls}\n"
        "  - {delete: order:web:9, day: 3}\n"
    )
    own, also_own, calls, deletion = messages(scenario)
    assert [m.withdrawal.source for m in (own, also_own, calls)] == ["crm", "crm", "calls"]
    assert (also_own.withdrawal.identifier.kind, also_own.withdrawal.identifier.value) == ("phone", "+442079460018")
    assert deletion.deletion.record.order == record_pb2.OrderKey(source="web", order_id="9")
    assert deletion.deletion.delete_time.seconds - own.withdrawal.withdraw_time.seconds == 86_400


# --- as it is told


def write(tmp_path: Path, text: str, name: str = "couple.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return path


def test_a_refusal_is_told_with_both_sides_and_what_each_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert policies.explain([write(tmp_path, COUPLE)], None, as_json=False) == 0
    told = capsys.readouterr().out
    assert "customer:crm:ben (0.92) and customer:crm:ann (0.92) have email:home@example.org" in told
    assert (
        "LIMIT member: a person has at most 1; "
        "1 has member:1001 (customer:crm:ann), 2 has member:1002 (customer:crm:ben)" in told
    )
    assert "As expected" in told


def test_a_story_that_ends_otherwise_fails_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path, COUPLE)
    bad = write(tmp_path, COUPLE.replace("kind: member", "kind: email"), "bad.yaml")
    assert policies.explain([good, bad], None, as_json=False) == 1
    told = capsys.readouterr().out
    assert "no  customer:crm:ann and customer:crm:ben kept apart: LIMIT email; there is: not refused so" in told
    assert f"2 stories were told with their end; 1 ended otherwise\n  {bad}\n" in told


def test_a_story_is_told_under_the_policy_that_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lenient = write(tmp_path, policy.read().replace("limit: 1\n", "limit: 2\n"), "policy.yaml")
    assert policies.explain([write(tmp_path, COUPLE)], lenient, as_json=True) == 1
    (told,) = json.loads(capsys.readouterr().out)
    assert [person["records"] for person in told["people"]] == [["customer:crm:ann", "customer:crm:ben"]]
    assert told["refusals"] == []
    assert [check["holds"] for check in told["checks"]] == [False, False, False]


def test_a_broken_scenario_is_named_before_anything_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = write(tmp_path, COUPLE.replace("day: 1", "day: x"), "bad.yaml")
    with pytest.raises(InvalidInput, match=r"bad.yaml: items\[1\].day \(line 4\): must be a valid integer"):
        policies.explain([write(tmp_path, COUPLE), bad], None, as_json=False)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_story_can_be_told(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert policies.explain([path], None, as_json=False) == 0
    told = capsys.readouterr().out
    assert all(record in told for person in load(path).people or () for record in person)


def test_hints_shared_and_blocked_values_are_told_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nine = "\n".join(f"  - {{customer: store:{n}, verified: [device:kiosk]}}" for n in range(9))
    text = (
        f"title: A kiosk\nitems:\n{nine}\n"
        "  - {customer: crm:1, declared: [email:info@example.org], observed: [phone:+442079460018]}\n"
        "  - {event: web:1, device: device:kiosk}\n"
    )
    assert policies.explain([write(tmp_path, text)], None, as_json=False) == 0
    told = capsys.readouterr().out
    assert "email:info@example.org (blocked), phone:+442079460018 (0.7, a hint)" in told
    assert "device:kiosk: more than 8 customers of one source have it" in told
    assert "Nobody's\n    1 event on device:kiosk" in told
    assert "expected" not in told


def test_the_policy_check_says_what_to_look_at_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = policy.read().replace("accumulated_threshold: 0.90", "accumulated_threshold: 0.50")
    line = 1 + text[: text.index("accumulated_threshold: 0.50")].count("\n")
    doubtful = write(tmp_path, text)
    policies.check(doubtful, as_json=False)
    told = capsys.readouterr().out
    assert f"look again  accumulated_threshold (line {line}): is below link_threshold" in told
    policies.check(doubtful, as_json=True)
    checked = json.loads(capsys.readouterr().out)
    assert checked["kinds"]["email"]["verified_joins_up_to"] == 5
    assert [doubt["field"] for doubt in checked["doubts"]] == [f"accumulated_threshold (line {line})"]


def test_the_printed_schema_is_the_committed_one(capsys: pytest.CaptureFixture[str]) -> None:
    policies.schema()
    assert capsys.readouterr().out == (Path(__file__).parents[2] / "docs" / "policy.schema.json").read_text("utf-8")


def documented(name: str) -> str:
    """What stands in the fence of that name."""
    fenced = DOCUMENTATION.split(f"<!-- {name} -->\n")[1].split(f"<!-- /{name} -->")[0]
    return fenced.split("\n", 1)[1].removesuffix("```\n")


def test_the_documented_story_is_told_as_documented(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert policies.explain([write(tmp_path, documented("scenario"))], None, as_json=False) == 0
    told = re.sub(r"\(policy 1-[0-9a-f]{12}\)", "(policy 1-…)", capsys.readouterr().out)
    assert told.rstrip("\n") + "\n" == documented("told")


def test_the_documented_kinds_reach_as_far_as_documented(capsys: pytest.CaptureFixture[str]) -> None:
    policies.check(None, as_json=False)
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in documented("checked").splitlines() if line.split() not in printed] == []


def test_every_item_and_field_of_a_scenario_is_documented() -> None:
    schema = Scenario.model_json_schema()
    described = [schema, *schema["$defs"].values()]
    fields = {name for each in described for name in each["properties"]}
    assert {name for name in fields if f"`{name}" not in DOCUMENTATION and f"{name}:" not in DOCUMENTATION} == set()
