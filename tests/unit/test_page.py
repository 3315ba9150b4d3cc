"""Page tokens: opaque, and good for one list only."""

import base64

import pytest

from onefold.graph.errors import InvalidInput
from onefold.graph.page import MAX_SIZE, place_of, size_of, token_of

START = (0, "")


def test_a_token_leads_back_to_its_place() -> None:
    token = token_of(("orders", "crm:1"), (7, "shop:ü🦉"))
    assert place_of(("orders", "crm:1"), token, START) == (7, "shop:ü🦉")


def test_no_token_starts_at_the_start() -> None:
    assert place_of("orders", "", START) == START


def test_the_longest_key_makes_a_token_that_the_contract_admits() -> None:
    assert len(token_of("orders", (1 << 62, "s" * 65 + "🦉" * 256))) <= 2048


@pytest.mark.parametrize(
    "token",
    [
        token_of(("orders", "crm:2"), (7, "shop:1")),
        token_of(("orders", "crm:1"), (7,)),
        token_of(("orders", "crm:1"), ("7", "shop:1")),
        token_of(("orders", "crm:1"), (True, "shop:1")),
        base64.urlsafe_b64encode(b"[]").decode(),
        base64.urlsafe_b64encode(b"{}").decode(),
        base64.urlsafe_b64encode(b"7").decode(),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
        "a",
        "no token",
        "ünicode",
        "[" * 2000,
    ],
)
def test_a_token_of_another_list_or_of_none_is_refused(token: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        place_of(("orders", "crm:1"), token, START)
    assert [v.field for v in caught.value.violations] == ["page_token"]


def test_a_deeply_nested_token_is_refused() -> None:
    token = base64.urlsafe_b64encode(b"[" * 100_000).decode()
    with pytest.raises(InvalidInput):
        place_of("orders", token, START)


@pytest.mark.parametrize(("requested", "given"), [(0, 50), (-1, 50), (1, 1), (500, 500), (501, MAX_SIZE)])
def test_page_sizes_are_kept_within_bounds(requested: int, given: int) -> None:
    assert size_of(requested) == given
