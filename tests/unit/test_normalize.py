"""Normalisation: many spellings, one key; and what is refused, in words."""

from importlib import resources

import pytest

from onefold.graph import policy as policies
from onefold.graph.errors import InvalidInput
from onefold.graph.normalize import identifier

RETAIL = policies.load()
GERMAN = policies.parse(
    resources.files(policies.__package__)
    .joinpath("policies/retail.yaml")
    .read_text("utf-8")
    .replace("default_region: null", "default_region: DE")
)


@pytest.mark.parametrize(
    ("kind", "spellings", "key"),
    [
        ("email", ["ann@example.org", " Ann@EXAMPLE.org ", "ann@example.org\u200b"], "email:ann@example.org"),
        ("email", ["ann@xn--bcher-kva.de", "ann@Bücher.de", "ann@bu\u0308cher.de"], "email:ann@bücher.de"),
        (
            "phone",
            [
                "+44 20 7946 0123",
                "020 7946 0123",
                "(020) 7946-0123",
                "\u202a+442079460123\u202c",
                "00442079460123",
            ],
            "phone:+442079460123",
        ),
        ("device", ["AB-12", "ab-12"], "device:ab-12"),
        ("member", ["12 345-a", "12345A", "１２３４５Ａ"], "member:12345A"),
        ("ip", ["2001:DB8:0:0::1", "2001:db8::1"], "ip:2001:db8::1"),
        ("ip", ["::ffff:81.2.69.142", "81.2.69.142"], "ip:81.2.69.142"),
    ],
)
def test_every_spelling_has_one_key(kind: str, spellings: list[str], key: str) -> None:
    assert {identifier(kind, s, region="GB", policy=RETAIL) for s in spellings} == {key}


@pytest.mark.parametrize(
    ("kind", "a", "b"),
    [
        ("email", "ann@gmail.com", "a.nn@gmail.com"),
        ("email", "ann@example.org", "ann+shop@example.org"),
        ("phone", "+44 20 7946 0123", "+44 20 7946 0123 ext. 12"),
        ("wechat_openid", "app/oA", "app/oa"),
        ("cookie", "GA1.x", "ga1.x"),
    ],
)
def test_what_may_be_somebody_else_stays_apart(kind: str, a: str, b: str) -> None:
    assert identifier(kind, a, policy=RETAIL) != identifier(kind, b, policy=RETAIL)


def test_a_national_number_is_of_the_records_region_before_the_policys() -> None:
    assert identifier("phone", "020 7946 0123", region="GB", policy=GERMAN) == "phone:+442079460123"
    assert identifier("phone", "0151 23456789", policy=GERMAN) == "phone:+4915123456789"


@pytest.mark.parametrize("kind", sorted(RETAIL.kinds))
@pytest.mark.parametrize("value", ["null", "N/A", " undefined ", "00000000", "XXXXXX"])
def test_a_placeholder_needs_no_form_and_is_blocked(kind: str, value: str) -> None:
    assert RETAIL.is_blocked(identifier(kind, value, policy=RETAIL))


@pytest.mark.parametrize(
    ("kind", "value", "rule"),
    [
        ("email", "ann", "must have an @-sign"),
        ("email", "ann@@example.org", "is not an email address"),
        ("email", "Ann <ann@example.org>", "is not an email address"),
        ("email", "ann@example", "should have a period"),
        ("phone", "020 7946 0123", "without country code"),
        ("phone", "+44 12", "can exist in its country"),
        ("phone", "+999 1234567", "is not a phone number"),
        ("phone", "call me", "is not a phone number"),
        ("ip", "81.2.69", "is not an IPv4 or IPv6 address"),
        ("ip", "2001:db8::1%eth0", "network interface"),
        ("cookie", "a\x00b", "control characters"),
        ("cookie", "   ", "must not be empty"),
        ("cookie", "\u200b\ufeff", "must not be empty"),
        ("cookie", "ab" * 200, "at most 256"),
        ("member", "···", "letter or digit"),
    ],
)
def test_what_has_no_form_is_refused_in_words(kind: str, value: str, rule: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        identifier(kind, value, policy=RETAIL)
    (violation,) = caught.value.violations
    assert violation.field == "value"
    assert rule in violation.rule


def test_an_unknown_region_or_kind_is_refused_by_its_own_field() -> None:
    with pytest.raises(InvalidInput, match=r"^region: 'ZZ' is no region"):
        identifier("phone", "020 7946 0123", region="ZZ", policy=RETAIL)
    with pytest.raises(InvalidInput, match=r"^kind: 'mail' is no kind"):
        identifier("mail", "ann@example.org", policy=RETAIL)
