"""The policy: what the shipped rules decide, and what a broken file is told."""

import json
import re
from pathlib import Path

import pytest

from onefold.graph import appraisal
from onefold.graph import policy as policies
from onefold.graph.errors import InvalidInput, InvalidPolicy
from onefold.graph.model import Assurance
from onefold.graph.policy import Policy
from onefold.graph.resolve import CAP, Edges, Link, noisy_or, resolve

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


HOUSEHOLD = ("phone", "payment_token", "device", "cookie", "address", "ip")
OFFICE = (*HOUSEHOLD, "company_account")


@pytest.mark.parametrize("kind", ["address", "ip", "company_account"])
def test_a_hint_stays_a_hint_however_many_sources_say_it(retail: Policy, kind: str) -> None:
    assert CAP * retail.specificity(kind, 1) < retail.link_threshold


@pytest.mark.parametrize("d", [2, 3, 4])
@pytest.mark.parametrize("kind", OFFICE)
def test_what_a_household_shares_joins_nobody_however_often_it_is_said(retail: Policy, kind: str, d: int) -> None:
    assert CAP * retail.specificity(kind, d) < retail.link_threshold


@pytest.mark.parametrize(("kinds", "d"), [(OFFICE, 2), (("address", "ip", "company_account"), 1)])
def test_all_that_a_household_or_office_shares_does_not_add_up_to_one_person(
    retail: Policy, kinds: tuple[str, ...], d: int
) -> None:
    together = noisy_or((CAP * retail.specificity(kind, d)) ** 2 for kind in kinds)
    assert together < retail.accumulated_threshold


def test_an_account_and_guest_orders_of_one_person_share_their_email(retail: Policy) -> None:
    assert joins(retail, "email", Assurance.DECLARED, d=2)


def test_a_familys_mailbox_joins_only_those_who_verified_it(retail: Policy) -> None:
    assert joins(retail, "email", Assurance.VERIFIED, d=4)
    assert not joins(retail, "email", Assurance.DECLARED, d=4)


def test_the_unionid_joins_the_records_of_five_apps_in_one_source(retail: Policy) -> None:
    assert joins(retail, "wechat_unionid", Assurance.OBSERVED, d=5)


def test_email_and_phone_verified_on_one_side_only_do_add_up(retail: Policy) -> None:
    confidences = [retail.kind(kind).confidence for kind in ("email", "phone")]
    assert noisy_or(c.verified * c.observed for c in confidences) >= retail.accumulated_threshold


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
        "phone:138****1234",
        "email:a**@example.org",
        "address:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
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
        ("version: 3", "version: 3\nversion: 4", "version (line 2)", "given twice, first in line 1"),
        ("normalize: email", "normalize: e-mail", "kinds.email.normalize (line 7)", "'email', 'phone'"),
        ("label: Email", "label: Email\n    label: Phone", "kinds.email.label (line 7)", "first in line 6"),
        ("version: 3", "version: 3\nsurvivorship: {fullname: []}", "survivorship.fullname (line 2)", "'full_name'"),
        ("version: 3", "version: 3\nsources: {crm: {deduplicated: 1}}", "sources.crm.deduplicated (line 2)", "true"),
        ("version: 3", "version: 3\nsources: [crm]", "sources (line 2)", "mapping"),
        ("version: 3", "version: 3\nlimit: 3", "limit (line 2)", "known are accumulated_threshold, blocked,"),
        (
            "version: 3",
            "version: 3\nblocked: {values: [0]}",
            "blocked.values[0] (line 2)",
            "put it in quotes",
        ),
        (
            "version: 3",
            "version: 3\nblocked: {patterns: ['(']}",
            "blocked.patterns[0] (line 2)",
            "regular expression",
        ),
        (
            "version: 3",
            "version: 3\nblocked:\n  patterns:\n    - 'x+'\n    - '['",
            "blocked.patterns[1] (line 5)",
            "unterminated character set",
        ),
        ("version: 3", "version: [", "policy (line 3)", "expected"),
        ("    label: Email", "\tlabel: Email", "policy (line 6)", "tab"),
        ("    label: Email", "    label: Email\n   normalise: x", "policy (line 7)", "indented like its neighbours"),
        ("version: 3", "version: 3\n---\nversion: 4", "policy (line 2)", "more than one document"),
        ("version: 3", "version: 3\x07", "policy (line 1)", "U+0007"),
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


def test_all_faults_are_told_at_once_in_the_order_of_the_text() -> None:
    text = MINIMAL.replace("0.98", "2").replace("0.5}", "0}").replace("link_threshold: 0.8\n", "") + "version: 4\n"
    assert list(complaints(text)) == [
        "link_threshold (line 1)",
        "kinds.email.confidence.verified (line 7)",
        "kinds.email.confidence.observed (line 7)",
        "version (line 9)",
    ]


def test_a_merged_key_may_be_overridden() -> None:
    both = MINIMAL.replace("  email:\n", "  email: &email\n") + "  mail:\n    <<: *email\n    shared_above: 9\n"
    policy = policies.parse(both + "  third: {<<: *email, shared_above: 2}\n")
    assert [rule.shared_above for rule in policy.kinds.values()] == [5, 9, 2]


def test_a_file_that_is_missing_or_not_text_is_an_invalid_policy(tmp_path: Path) -> None:
    with pytest.raises(InvalidPolicy, match="No such file"):
        policies.load(tmp_path / "none.yaml")
    with pytest.raises(InvalidPolicy, match="Is a directory"):
        policies.load(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"version: 1\n# caf\xe9")
    with pytest.raises(InvalidPolicy, match=r"latin.yaml \(line 2\): is not valid UTF-8"):
        policies.load(tmp_path / "latin.yaml")


def test_a_file_is_read_like_its_text(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(MINIMAL, "utf-8")
    assert policies.load(tmp_path / "p.yaml") == policies.parse(MINIMAL)


# --- the published schema


SCHEMA_FILE = Path(__file__).parents[2] / "docs" / "policy.schema.json"


def test_the_committed_schema_is_that_of_the_code() -> None:
    assert json.loads(SCHEMA_FILE.read_text("utf-8")) == policies.schema()


def test_the_shipped_file_names_the_schema_for_editors() -> None:
    file = Path(policies.__file__).with_name("policies") / "retail.yaml"
    modeline = re.match(r"# yaml-language-server: \$schema=(\S+)\n", file.read_text("utf-8"))
    assert modeline
    assert (file.parent / modeline[1]).resolve() == SCHEMA_FILE


def test_the_schema_says_a_word_on_every_field() -> None:
    schema = policies.schema()
    described = [schema, *schema["$defs"].values()]
    assert [
        (each["title"], name)
        for each in described
        for name, field in each["properties"].items()
        if not field.get("description")
    ] == []


# --- how far a policy reaches, and what in it is hardly meant


def test_a_kind_reaches_as_many_customers_as_its_confidence_lasts(retail: Policy) -> None:
    reaches = {assurance: appraisal.reach(retail, "email", assurance) for assurance in Assurance}
    assert reaches == {Assurance.VERIFIED: 5, Assurance.DECLARED: 2, Assurance.OBSERVED: 0}
    for assurance, d in reaches.items():
        assert not joins(retail, "email", assurance, d + 1)
        assert d == 0 or joins(retail, "email", assurance, d)


def test_a_kind_reaches_no_further_than_it_is_shared() -> None:
    assert appraisal.reach(policies.parse(MINIMAL), "email", Assurance.VERIFIED) == 5


def test_nothing_is_doubtful_in_the_shipped_policy(retail: Policy) -> None:
    assert appraisal.doubts(retail) == []


@pytest.mark.parametrize(
    ("old", "new", "path", "words"),
    [
        ("link_threshold: 0.8", "link_threshold: 1.0", "link_threshold", "no link of any kind reaches it"),
        ("accumulated_threshold: 0.9", "accumulated_threshold: 1.0", "accumulated_threshold", "nothing reaches it"),
        ("accumulated_threshold: 0.9", "accumulated_threshold: 0.5", "accumulated_threshold", "below link_threshold"),
        ("version: 3", "version: 3\nsources: {market: {trust: 0.8}}", "sources.market.trust", "not even verified"),
        ("normalize: email", "normalize: lower", "kinds.email.normalize", "two ways to write one email"),
        ("verified: 0.98", "verified: 0.8", "kinds.email.confidence", "at least as sure as declared"),
        (
            "shared_above: 5",
            "shared_above: 5\n    limit: 1\n    specificity: [{factor: 0.7}]",
            "kinds.email.limit",
            "hints are no claims",
        ),
        (
            "shared_above: 5",
            "shared_above: 5\n    specificity: [{up_to: 5, factor: 1}, {factor: 0.7}]",
            "kinds.email.specificity.1",
            "never holds",
        ),
        (
            "shared_above: 5",
            "shared_above: 5\n    specificity: [{up_to: 2, factor: 1}, {factor: 1}]",
            "kinds.email.specificity.1",
            "the factor of the step before",
        ),
    ],
)
def test_what_is_legal_but_hardly_meant_is_doubted(old: str, new: str, path: str, words: str) -> None:
    assert appraisal.doubts(policies.parse(MINIMAL)) == []
    found = {".".join(map(str, d.path)): d.words for d in appraisal.doubts(policies.parse(MINIMAL.replace(old, new)))}
    assert words in found[path]


def test_what_is_said_to_be_a_hint_only_stays_one_however_many_say_it() -> None:
    policy = policies.parse(MINIMAL + "    specificity: [{factor: 0.8}]\n")
    sources = [f"s{number}" for number in range(50)]
    links = [Link(f"customer:crm:{n}", "email:a@example.org", s, "verified", 0) for n in (1, 2) for s in sources]
    assert appraisal.reach(policy, "email", Assurance.VERIFIED) == 0
    assert len(resolve(Edges(links), policy)[0].groups()) == 2  # 0.999 × 0.8 is the most that there is
    assert any("no link of any kind" in doubt.words for doubt in appraisal.doubts(policy))
