"""A catalogue's rules over everybody, and over one person: the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from onefold.segments import frame as frames
from onefold.segments.check import Rule, check
from onefold.segments.evaluate import compiled
from onefold.segments.frame import evaluated, members
from onefold.segments.memberships import CompiledRules, Memberships
from onefold.segments.printing import text_of
from onefold.segments.reads import Named, evaluation_order
from tests import rules
from tests.rules import NOW

VOCABULARY = replace(rules.VOCABULARY, labels=None, segments=None)
STATIC = {"staff": {"i-0", "i-3", "i-7", "nobody"}, "none": set[str]()}


@dataclass(frozen=True)
class Catalogue:
    rules: Mapping[Named, Rule]

    @property
    def order(self) -> Sequence[Named]:
        return evaluation_order({named: rule.tree for named, rule in self.rules.items()})


def catalogue(seed: int, many: int = 30) -> Catalogue:
    """Random rules, half of which read labels and segments that come before, or that there are not."""
    random = Random(seed)
    made: dict[Named, Rule] = {}
    for number in range(many):
        text = text_of(rules.condition(random, random.randrange(3)))
        if random.random() < 0.5:
            other = random.choice([*made, Named("segment", "staff"), Named("label", "missing")])
            asked = f'has_label("{other.key}")' if other.kind == "label" else f'in_segment("{other.key}")'
            text = f"({text}) {random.choice(('&&', '||'))} {random.choice(('', '!'))}{asked}"
        kind, prefix = random.choice((("label", "l"), ("segment", "s")))
        made[Named(kind, f"{prefix}{number:02d}")] = check(text, VOCABULARY)  # type: ignore[arg-type]
    return Catalogue(dict(random.sample(list(made.items()), len(made))))


def people(seed: int, many: int) -> list[dict[str, Any]]:
    found = rules.people(seed, many)
    return [{key: value for key, value in row.items() if key not in ("labels", "segments")} for row in found]


def features_of(rows: list[dict[str, Any]]) -> pa.Table:
    found = rules.frame(rows).drop_columns(["id", "labels", "segments"])
    return found.add_column(0, "identity", pa.array([row["id"] for row in rows], pa.string()))


def one_by_one(of: Catalogue, row: dict[str, Any]) -> Memberships:
    held = {"label": set[str](), "segment": {key for key, those in STATIC.items() if row["id"] in those}}
    for named in of.order:
        truth = compiled(of.rules[named])({**row, "labels": held["label"], "segments": held["segment"]}, NOW)
        if truth is True:
            held[named.kind].add(named.key)
    return Memberships(frozenset(held["label"]), frozenset(held["segment"]))


@pytest.mark.parametrize("seed", range(8))
def test_everybody_at_once_is_each_one_alone(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_AT_ONCE", 64)
    of, rows = catalogue(seed), people(seed, 200)
    table = evaluated(features_of(rows), of, STATIC, NOW)
    compiled_rules = CompiledRules(of)
    assert compiled_rules.evaluated(features_of(rows), STATIC, NOW).equals(table.combine_chunks())
    assert table["identity"].to_pylist() == [row["id"] for row in rows]
    for row, labels, segments in zip(rows, table["labels"].to_pylist(), table["segments"].to_pylist(), strict=True):
        expected = one_by_one(of, row)
        assert labels == sorted(expected.labels)
        assert segments == sorted(expected.segments)
        static = [key for key, those in STATIC.items() if row["id"] in those]
        assert compiled_rules.all(row, NOW, static) == expected
    assert {"staff"} < {key for keys in table["segments"].to_pylist() for key in keys}


def test_the_members_of_a_rule_are_whom_it_is_true_of() -> None:
    of, rows = catalogue(1), sorted(people(1, 300), key=lambda row: row["id"])
    table = evaluated(features_of(rows), of, STATIC, NOW)
    for rule in [*of.rules.values(), check('has_label("l01") || in_segment("staff")', VOCABULARY)]:
        holds = compiled(rule)
        held = table.select(["labels", "segments"]).to_pylist()
        truths = [holds({**row, **has}, NOW) for row, has in zip(rows, held, strict=True)]
        assert members(table, rule, NOW) == [row["id"] for row, truth in zip(rows, truths, strict=True) if truth]


def test_nobody_has_no_labels() -> None:
    table = evaluated(features_of([]), catalogue(1), STATIC, NOW)
    assert table.num_rows == 0
    assert table.schema.field("labels").type == frames.KEYS
    assert evaluated(features_of(people(1, 3)), Catalogue({}), {}, NOW)["labels"].to_pylist() == [[], [], []]


def test_rules_about_other_rules_alone_need_no_features_and_nobody_has_what_there_is_not() -> None:
    vocabulary = replace(VOCABULARY, features={})
    of = Catalogue(
        {
            Named("label", key): check(text, vocabulary)
            for key, text in {
                "a": 'in_segment("staff")',
                "b": '!has_label("a")',
                "c": 'has_label("missing")',
                "d": '!(has_label("a") && in_segment("missing")) && (has_label("b") || in_segment("staff"))',
            }.items()
        }
    )
    table = evaluated(pa.table({"identity": ["i-0", "i-1"]}), of, STATIC, NOW)
    assert table["labels"].to_pylist() == [["a", "d"], ["b", "d"]]
    assert table["segments"].to_pylist() == [["staff"], []]
