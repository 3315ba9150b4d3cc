"""The policy: what the shipped rules decide, and what a broken file is told."""

import re
from pathlib import Path

import pytest
import yaml

from onefold.graph import policy as policies
from onefold.graph.errors import InvalidInput, InvalidPolicy
from onefold.graph.model import Assurance
from onefold.graph.policy import Policy

MINIMAL = """\
version: 3
link_threshold: 0.8
accumulated_threshold: 0.9
kinds:
  email:
    label: Email
    normalize: email
    confidence: {verified: 0.98, declared: 0.9, observed: 0.5}
    shared_above: 5
"""


@pytest.fixture(scope="module")
def retail() -> Policy:
    return policies.load()


def complaints(text: str) -> dict[str, str]:
    with pytest.raises(InvalidPolicy) as caught:
        policies.parse(text)
    return {violation.field: violation.rule for violation in caught.value.violations}


def joins(policy: Policy, kind: str, assurance: Assurance, d: int) -> bool:
    return policy.base_confidence(kind, assurance, "crm") * policy.specificity(kind, d) >= policy.link_threshold


def test_a_minimal_file_gives_everything_else_its_default() -> None:
    policy = policies.parse(MINIMAL)
    assert policy.specificity("email", 1000) == 1.0
    assert policy.kind("email").limit is None
    assert policy.trust("anything") == 1.0
    assert not policy.is_deduplicated("anything")
    assert policy.preferred_sources("city") == ()


def test_the_version_names_the_meaning_of_a_file_not_its_spelling() -> None:
    policy = policies.parse(MINIMAL)
    respelled = policies.parse("# a comment\n" + MINIMAL.replace("0.98", "0.980"))
    changed = policies.parse(MINIMAL.replace("0.98", "0.97"))
    assert re.fullmatch(r"3-[0-9a-f]{12}", policy.version)
    assert respelled.version == policy.version
    assert changed.version != policy.version


def test_sources_scale_confidence_by_their_trust() -> None:
    policy = policies.parse(MINIMAL + "sources: {market: {trust: 0.5}, crm: {deduplicated: true}}\n")
    assert policy.base_confidence("email", Assurance.DECLARED, "market") == pytest.approx(0.45)
    assert policy.base_confidence("email", Assurance.DECLARED, "crm") == pytest.approx(0.9)
    assert policy.is_deduplicated("crm")


def test_a_trait_without_its_own_preference_has_the_default_one() -> None:
    policy = policies.parse(MINIMAL + "survivorship: {full_name: [store, crm], default: [crm]}\n")
    assert policy.preferred_sources("full_name") == ("store", "crm")
    assert policy.preferred_sources("city") == ("crm",)


def test_an_unknown_kind_is_refused_with_the_kind_that_was_meant(retail: Policy) -> None:
    with pytest.raises(InvalidInput, match="did you mean 'email'"):
        retail.kind("emial")
    assert retail.is_blocked("emial:ann@example.org")


def test_each_kind_says_how_customers_and_guest_orders_are_linked(retail: Policy) -> None:
    seen = {kind: (rule.link_type, rule.order_link_type) for kind, rule in retail.kinds.items()}
    assert seen["email"] == ("HAS_EMAIL", "WITH_EMAIL")
    assert seen["phone"] == ("HAS_PHONE", "WITH_PHONE")
    assert seen["cookie"] == ("USES_DEVICE", "FROM_DEVICE")
    assert seen["member"] == ("HAS_ID", "WITH_ID")


# --- what the shipped rules decide


@pytest.mark.parametrize("kind", ["email", "phone", "member", "tmall", "wechat_openid", "wechat_unionid"])
def test_what_one_person_declares_joins_their_records(retail: Policy, kind: str) -> None:
    assert joins(retail, kind, Assurance.DECLARED, d=1)


@pytest.mark.parametrize("kind", ["device", "cookie"])
def test_a_device_joins_only_by_log_in(retail: Policy, kind: str) -> None:
    assert joins(retail, kind, Assurance.VERIFIED, d=1)
    assert not joins(retail, kind, Assurance.DECLARED, d=1)
    assert not joins(retail, kind, Assurance.OBSERVED, d=1)


@pytest.mark.parametrize("kind", ["address", "ip", "company_account"])
def test_what_a_household_or_firm_has_in_common_never_joins(retail: Policy, kind: str) -> None:
    assert not any(joins(retail, kind, assurance, d=1) for assurance in Assurance)


@pytest.mark.parametrize("d", [2, 3, 4])
@pytest.mark.parametrize("kind", ["phone", "device", "payment_token"])
def test_what_a_family_shares_joins_nobody_however_often_it_is_said(retail: Policy, kind: str, d: int) -> None:
    assert 0.999 * retail.specificity(kind, d) < retail.link_threshold


def test_an_account_and_guest_orders_of_one_person_share_their_email(retail: Policy) -> None:
    assert joins(retail, "email", Assurance.DECLARED, d=2)


def test_a_familys_mailbox_joins_only_those_who_verified_it(retail: Policy) -> None:
    assert joins(retail, "email", Assurance.VERIFIED, d=4)
    assert not joins(retail, "email", Assurance.DECLARED, d=4)


def test_all_that_a_couple_has_in_common_does_not_add_up_to_one_person(retail: Policy) -> None:
    doubt = 1.0
    for kind in ("phone", "payment_token", "device", "address"):
        link = retail.base_confidence(kind, Assurance.DECLARED, "shop") * retail.specificity(kind, 2)
        doubt *= 1 - link * link
    assert 1 - doubt < retail.accumulated_threshold


def test_email_and_phone_verified_on_one_side_only_do_add_up(retail: Policy) -> None:
    doubt = 1.0
    for kind in ("email", "phone"):
        confidence = retail.kind(kind).confidence
        doubt *= 1 - confidence.verified * confidence.observed
    assert 1 - doubt >= retail.accumulated_threshold


@pytest.mark.parametrize(
    "identifier",
    [
        "email:null",
        "email:N/A",
        "email:info@shop.example",
        "email:no-reply@shop.example",
        "email:noreply+123@shop.example",
        "email:anonymous@example.org",
        "email:me@nomail.com",
        "phone:0000000000",
        "phone:+447777777777",
        "phone:+11234567890",
        "device:00000000-0000-0000-0000-000000000000",
        "device:9774d56d682e549c",
        "cookie:undefined",
        "member:99999999",
        "ip:192.168.1.20",
        "ip:::1",
        "wechat_openid:(not set)",
    ],
)
def test_placeholders_and_role_mailboxes_are_blocked(retail: Policy, identifier: str) -> None:
    assert retail.is_blocked(identifier)


@pytest.mark.parametrize(
    "identifier",
    [
        "email:ann@example.org",
        "email:infante@example.org",
        "email:ann.support@example.org",
        "email:o.reilly@test-drive.example.com",
        "phone:+447400123456",
        "phone:+12025550123",
        "device:0f1e2d3c-0000-0000-0000-000000000000",
        "member:100000",
        "ip:81.2.69.142",
        "ip:2001:db8::1",
    ],
)
def test_what_only_looks_alike_is_not_blocked(retail: Policy, identifier: str) -> None:
    assert not retail.is_blocked(identifier)


# --- what a broken file is told


@pytest.mark.parametrize(
    ("old", "new", "field", "rule"),
    [
        ("0.98", "1.2", "kinds.email.confidence.verified (line 8)", "less than or equal to 1"),
        ("0.98", ".nan", "kinds.email.confidence.verified (line 8)", "finite"),
        ("0.98", "'0.98'", "kinds.email.confidence.verified (line 8)", "number"),
        (
            "shared_above: 5",
            "shared_above: 0",
            "kinds.email.shared_above (line 9)",
            "greater than or equal to 1",
        ),
        ("shared_above: 5", "shared_above: yes", "kinds.email.shared_above (line 9)", "integer"),
        ("shared_above: 5", "shared_abov: 5", "kinds.email.shared_above (line 5)", "is missing"),
        (
            "shared_above: 5",
            "shared_abov: 5",
            "kinds.email.shared_abov (line 9)",
            "did you mean 'shared_above'",
        ),
        ("label: Email", "label: Mail", "kinds.email.label (line 6)", "'Email', 'Phone'"),
        ("version: 3", "version: three", "version (line 1)", "integer"),
        ("  email:\n", "  E-Mail:\n", "kinds.E-Mail (line 5)", "must match"),
        ("version: 3", "version: 3\ndefault_region: NO", "default_region (line 2)", "put it in quotes"),
        ("version: 3", "version: 3\ndefault_region: XX", "default_region (line 2)", "no region"),
        ("version: 3", "version: 3\nversion: 4", "policy (line 2)", "given twice"),
        ("version: 3", "version: 3\nsurvivorship: {fullname: []}", "survivorship (line 2)", "'full_name'"),
        (
            "version: 3",
            "version: 3\nblocked: {values: [0]}",
            "blocked.values[0] (line 2)",
            "put it in quotes",
        ),
        (
            "version: 3",
            "version: 3\nblocked: {patterns: ['(']}",
            "blocked.patterns (line 2)",
            "regular expression",
        ),
        ("version: 3", "version: [", "policy (line 3)", "expected"),
    ],
)
def test_every_complaint_names_field_line_and_rule(old: str, new: str, field: str, rule: str) -> None:
    assert rule in complaints(MINIMAL.replace(old, new))[field]


@pytest.mark.parametrize(
    ("steps", "rule"),
    [
        ("[]", "last step must leave out up_to"),
        ("[{up_to: 2, factor: 1}]", "last step must leave out up_to"),
        ("[{factor: 1}, {factor: 0.5}]", "only the last step"),
        ("[{up_to: 3, factor: 1}, {up_to: 3, factor: 0.9}, {factor: 0.5}]", "greater than the one before"),
        ("[{up_to: 3, factor: 0.5}, {factor: 0.9}]", "may not rise"),
    ],
)
def test_a_specificity_table_covers_every_count_and_never_rises(steps: str, rule: str) -> None:
    assert rule in complaints(f"{MINIMAL}    specificity: {steps}\n")["kinds.email.specificity (line 10)"]


@pytest.mark.parametrize("text", ["", "- a\n", "just words", "version: !!python/name:os.system ''", "a: *b", "\x00"])
def test_what_is_no_policy_at_all_is_an_invalid_policy(text: str) -> None:
    assert complaints(text)


def test_all_faults_are_told_at_once() -> None:
    text = MINIMAL.replace("0.98", "2").replace("0.5}", "0}").replace("link_threshold: 0.8\n", "")
    assert set(complaints(text)) == {
        "link_threshold (line 1)",
        "kinds.email.confidence.verified (line 7)",
        "kinds.email.confidence.observed (line 7)",
    }


def test_a_file_that_is_missing_or_not_text_is_an_invalid_policy(tmp_path: Path) -> None:
    with pytest.raises(InvalidPolicy, match="No such file"):
        policies.load(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"version: \xe9")
    with pytest.raises(InvalidPolicy, match="not valid UTF-8"):
        policies.load(tmp_path / "latin.yaml")


def test_a_file_is_read_like_its_text(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(MINIMAL, "utf-8")
    assert policies.load(tmp_path / "p.yaml") == policies.parse(MINIMAL)


def test_the_schema_describes_every_field_of_the_shipped_file(retail: Policy) -> None:
    schema = Policy.model_json_schema()
    shipped = yaml.safe_load(Path(policies.__file__).with_name("policies").joinpath("retail.yaml").read_text("utf-8"))
    assert set(shipped) <= set(schema["properties"])
