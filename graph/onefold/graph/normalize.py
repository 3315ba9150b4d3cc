"""One form for each identifier, so that equal means equal.

:func:`identifier` is the only door: whatever way sources write a value, its key comes out the same, and
giving a key's own value again changes nothing. What it deliberately leaves alone:

* **An email is taken as written**, in lower case. Dots and ``+tags`` stay, even where a provider ignores
  them: those are the provider's rules, not the address's; people use tags to hold accounts apart on purpose;
  and a key should be what a person sees in a mail or types into a query.
* **A phone number's extension stays**: the people behind one switchboard are not one person.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import phonenumbers
from email_validator import EmailNotValidError, validate_email

from onefold.graph.errors import InvalidInput, Violation
from onefold.graph.model import IdentifierKey
from onefold.graph.policy import Normalizer, Policy

MAX_LENGTH: Final = 256
"""The longest value that an identifier may have, in characters, before and after normalisation."""


@lru_cache(maxsize=1 << 16)  # 20 to 100 µs each, and the same values come again and again
def identifier(kind: str, value: str, *, region: str | None = None, policy: Policy) -> IdentifierKey:
    """The key ``kind:value`` of a value as some source wrote it.

    ``region`` (ISO 3166-1 alpha-2) says where a phone number without country code is from; without it the
    policy's default counts. A value that the policy blocks, such as ``n/a`` for an email, need not be
    well-formed: its key comes back as it is, for :meth:`Policy.is_blocked` to recognise.

    Raises InvalidInput with field ``kind``, ``value`` or ``region``.
    """
    rule = policy.kind(kind)
    cleaned = _visible(value).strip()
    if not cleaned:
        raise _invalid("must not be empty")
    if len(cleaned) > MAX_LENGTH:
        raise _invalid(f"must be at most {MAX_LENGTH} characters long")
    as_written = f"{kind}:{cleaned.casefold()}"
    if policy.is_blocked(as_written):
        return as_written
    if rule.normalize == "phone":
        normal = _phone(cleaned, region or policy.default_region)
    else:
        normal = _NORMALIZERS[rule.normalize](cleaned)
    if len(normal) > MAX_LENGTH:
        raise _invalid(f"must be at most {MAX_LENGTH} characters long")
    return f"{kind}:{normal}"


def _visible(value: str) -> str:
    """The value in Unicode's composed form, without the characters that nobody sees or types.

    Numbers copied from an address book carry direction marks, cells of a spreadsheet a byte order mark.
    """
    if value.isascii() and value.isprintable():
        return value
    composed = unicodedata.normalize("NFC", "".join(c for c in value if unicodedata.category(c) != "Cf"))
    if any(unicodedata.category(c) in {"Cc", "Cs", "Cn"} for c in composed.strip()):
        raise _invalid("must not hold control characters or unassigned code points")
    return composed


def _email(value: str) -> str:
    local, at, domain = value.partition("@")
    if at and len(value) <= _LONGEST_PLAIN and value.isascii() and _PLAIN_LOCAL.fullmatch(local):
        return f"{local.lower()}@{_domain(domain)}"
    return _validated(value)


_PLAIN_LOCAL: Final = re.compile(r"[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*")
_LONGEST_PLAIN: Final = 64
"""No part of a shorter address is too long, so that nothing but its domain can be wrong with it."""


@lru_cache(maxsize=1 << 14)  # 100 µs each, and most addresses have one of a few domains
def _domain(domain: str) -> str:
    return _validated(f"a@{domain}").removeprefix("a@")


def _validated(value: str) -> str:
    try:
        address = validate_email(value, check_deliverability=False).normalized
    except EmailNotValidError as err:
        raise _invalid(f"is not an email address: {_clause(str(err))}") from err
    return _lower(address)


def _phone(value: str, region: str | None) -> str:
    if region is not None and region not in phonenumbers.SUPPORTED_REGIONS:
        raise InvalidInput(
            [Violation("region", f"{region!r} is no region with phone numbers (ISO 3166-1 alpha-2, upper case)")]
        )
    try:
        number = phonenumbers.parse(value, region)
    except phonenumbers.NumberParseException as err:
        if err.error_type == err.INVALID_COUNTRY_CODE and region is None and not value.startswith("+"):
            raise _invalid("is a phone number without country code: write +… or give a region") from err
        raise _invalid("is not a phone number") from err
    if not phonenumbers.is_valid_number(number):
        raise _invalid("is not a phone number that can exist in its country")
    normal: str = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return f"{normal};ext={number.extension}" if number.extension else normal


def _ip(value: str) -> str:
    try:
        address = ipaddress.ip_address(value)
    except ValueError as err:
        raise _invalid("is not an IPv4 or IPv6 address") from err
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise _invalid("must not name a network interface (%)")
        address = address.ipv4_mapped or address
    return str(address)


def _exact(value: str) -> str:
    return value


def _lower(value: str) -> str:
    return unicodedata.normalize("NFC", value.lower())


def _code(value: str) -> str:
    """Upper case, without the spaces and dashes that people write into numbers."""
    # NFKC: a Chinese input method writes full-width digits.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", value).upper())
    bare = "".join(c for c in folded if c not in "-.·/" and unicodedata.category(c) not in {"Zs", "Pd"})
    if not bare:
        raise _invalid("must hold a letter or digit")
    return bare


_NORMALIZERS: Final[dict[Normalizer, Callable[[str], str]]] = {
    "email": _email,
    "ip": _ip,
    "exact": _exact,
    "lower": _lower,
    "code": _code,
}


def _clause(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:].rstrip(".")


def _invalid(rule: str) -> InvalidInput:
    return InvalidInput([Violation("value", rule)])
