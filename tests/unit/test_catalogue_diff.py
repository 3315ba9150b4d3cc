"""What a new catalogue changes, in words, and who is touched by it."""

from __future__ import annotations

import pytest

from onefold.segments import catalogue as catalogues
from onefold.segments.catalogue.difference import Kind, diff

OLD = """\
catalogue: 1
event_fields:
  brand: {type: text, property: brand}
features:
  size: {type: int, source: property("company_size"), meaning: people}
  acme: {type: int, source: 'count_events("view", brand == "acme")'}
labels:
  - {key: silent, layer: life_cycle, owner: crm, rule: days_since(last_order_at) > 90}
  - {key: old, layer: value, status: draft, rule: orders > 9}
  - {key: fan, layer: interest, rule: acme >= 5}
tiers:
  - key: rfm
    of:
      - {key: high, rule: orders_30d >= 2}
      - {key: middle, rule: orders_30d == 1, description: one}
segments:
  - {key: winback, rule: has_label("silent") && has_label("rfm_other")}
  - {key: loud, rule: in_segment("winback") || size > 3}
  - {key: staff, static: {records: staff.csv}}
"""


def changes(old: str, new: str, base: str = OLD) -> list[tuple[Kind, str, str, list[str], str]]:
    assert base.count(old) == 1
    before = catalogues.parse(base)
    after = catalogues.parse(base.replace(old, new).replace("catalogue: 1", "catalogue: 2"))
    return [(c.kind, c.of, c.words, list(map(str, c.touches)), c.doubt) for c in diff(before, after)]


def test_what_says_the_same_does_not_differ() -> None:
    assert changes("orders > 9", "(orders > 9) // many") == []


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        (
            "> 90",
            "> 60",
            (
                Kind.CHANGED,
                "label silent",
                "rule: days_since(last_order_at) > 90 → days_since(last_order_at) > 60",
                ["segment loud", "segment winback"],
                "its version is still 1",
            ),
        ),
        ("owner: crm", "owner: bi", (Kind.DESCRIBED, "label silent", "owner: crm → bi", [], "")),
        (
            "status: draft, rule: orders > 9",
            "rule: orders > 9",
            (Kind.ACTIVATED, "label old", "status: draft → active", [], "its version is still 1"),
        ),
        (
            "  - {key: fan,",
            "  - {key: fan, version: 2, status: retired,",
            (Kind.RETIRED, "label fan", "version: 1 → 2; status: active → retired", [], ""),
        ),
        (
            "  - {key: fan, layer: interest, rule: acme >= 5}\n",
            "",
            (Kind.DROPPED, "label fan", "is gone", [], ""),
        ),
        (
            "  - {key: fan,",
            "  - {key: vip, layer: value, rule: spend > 9, status: draft}\n  - {key: fan,",
            (Kind.ADDED, "label vip", "is new: spend > 9 (draft)", [], ""),
        ),
        (
            "{key: high, rule: orders_30d >= 2}",
            "{key: top, rule: orders_30d > 2}",
            (
                Kind.CHANGED,
                "tiers rfm",
                "high is gone; top is new: orders_30d > 2",
                ["segment loud", "segment winback"],
                "its version is still 1",
            ),
        ),
        (
            "description: one}",
            "description: once}",
            (Kind.DESCRIBED, "tiers rfm", "middle is described otherwise: once", [], ""),
        ),
        (
            "{records: staff.csv}",
            "{records: all.csv}",
            (Kind.CHANGED, "segment staff", "static: staff.csv → all.csv", [], ""),
        ),
        (
            'property("company_size")',
            'property("staff")',
            (
                Kind.CHANGED,
                "feature size",
                'source: property("company_size") → property("staff")',
                ["segment loud"],
                "",
            ),
        ),
        ("meaning: people", "meaning: persons", (Kind.DESCRIBED, "feature size", "meaning: people → persons", [], "")),
        (
            "property: brand}",
            "property: make}",
            (Kind.CHANGED, "event field brand", "property: brand → make", ["label fan"], ""),
        ),
        (
            "catalogue: 1\n",
            "catalogue: 1\ntime_zone: Asia/Tokyo\n",
            (
                Kind.CHANGED,
                "time zone",
                "UTC → Asia/Tokyo: local hours of what does not say where it happened",
                [],
                "",
            ),
        ),
    ],
)
def test_a_change_is_told_in_words_with_whom_it_touches(old: str, new: str, change: tuple[object, ...]) -> None:
    assert changes(old, new) == [change]


def test_rungs_in_another_order_are_a_change() -> None:
    rungs = OLD[OLD.index("      - {key: high") : OLD.index("segments:")]
    first, second = rungs.splitlines(keepends=True)
    ((kind, _, words, _, _),) = changes(rungs, second + first)
    assert (kind, words) == (Kind.CHANGED, "in another order: middle, high")


def test_a_catalogue_that_says_something_else_under_its_old_number_is_doubted() -> None:
    last = diff(catalogues.parse(OLD), catalogues.parse(OLD.replace("> 90", "> 60")))[-1]
    assert (last.of, last.doubt) == ("catalogue", "its number is still 1")
