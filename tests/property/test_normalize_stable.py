"""Normalising what is normal changes nothing, whatever the input."""

import phonenumbers
import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given
from hypothesis import strategies as st

from onefold.graph import policy as policies
from onefold.graph.errors import InvalidInput
from onefold.graph.normalize import MAX_LENGTH, identifier

RETAIL = policies.load()
KINDS = st.sampled_from(sorted(RETAIL.kinds))
REGIONS = st.sampled_from(sorted(phonenumbers.SUPPORTED_REGIONS))


def again(key: str, region: str | None = None) -> str:
    kind, _, value = key.partition(":")
    return identifier(kind, value, region=region, policy=RETAIL)


@given(KINDS, st.text(max_size=40), st.none() | REGIONS)
def test_any_text_is_refused_or_has_a_stable_key(kind: str, value: str, region: str | None) -> None:
    try:
        key = identifier(kind, value, region=region, policy=RETAIL)
    except InvalidInput:
        return
    assert again(key, region) == key
    assert 0 < len(key.partition(":")[2]) <= MAX_LENGTH
    key.encode("utf-8")


@given(st.emails())
def test_an_email_has_a_stable_key(address: str) -> None:
    try:
        key = identifier("email", address, policy=RETAIL)
    except InvalidInput:
        return
    assert again(key) == key
    assert identifier("email", f" {address} ", policy=RETAIL) == key


LOCALS = st.text("aZ0.+-_'@ \"", max_size=70)
DOMAINS = st.text("aZ0.-@_[]", max_size=70) | st.sampled_from(
    [
        "x.org",
        "X.ORG",
        "x.local",
        "münchen.de",
        "xn--mnchen-3ya.de",
        "x.org.",
        "",
        "localhost",
        "1.2.3.4",
        "a" * 64 + ".org",
    ]
)


@given(st.emails() | st.builds("{}@{}".format, LOCALS, DOMAINS) | st.builds("{}x.org".format, LOCALS))
@example(f"{'a' * 60}@{'b' * 60}.org")
@example("a@b@x.org")
def test_an_email_is_what_the_library_for_emails_says(address: str) -> None:
    try:
        expected = validate_email(address.strip(), check_deliverability=False).normalized.lower()
    except EmailNotValidError:
        expected = None
    try:
        key = identifier("email", address, policy=RETAIL)
    except InvalidInput:
        key = None
    if key is None or not RETAIL.is_blocked(key):
        assert key == (None if expected is None else f"email:{expected}")


@pytest.mark.parametrize("region", sorted(phonenumbers.SUPPORTED_REGIONS))
def test_a_number_has_one_key_in_national_and_international_form(region: str) -> None:
    number = phonenumbers.example_number(region)
    forms = phonenumbers.PhoneNumberFormat
    keys = {
        identifier("phone", phonenumbers.format_number(number, form), region=region, policy=RETAIL)
        for form in (forms.E164, forms.INTERNATIONAL, forms.NATIONAL, forms.RFC3966)
    }
    assert len(keys) == 1
    (key,) = keys
    assert again(key) == again(key, region) == key
