"""A catalogue's rules over everybody, over one person, and over one person of whom little changed: all the same."""

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
from onefold.segments.frame import Count, count, evaluated, members
from onefold.segments.generations import Generations
from onefold.segments.memberships import CompiledRules, Memberships
from onefold.segments.printing import text_of
from onefold.segments.reads import Named, evaluation_order
from tests import rules
from tests.rules import DAY, NOW

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


@pytest.mark.parametrize("seed", range(8))
def test_what_changes_a_little_is_asked_a_little(seed: int) -> None:
    random = Random(seed)
    of = CompiledRules(catalogue(seed, 60))
    changed_any = 0
    for before, other in zip(people(seed, 200), people(seed + 100, 200), strict=True):
        changed = random.sample(sorted(other.keys() - {"id"}), min(2, len(other) - 1))
        after = {**before, **{key: other[key] for key in changed}}
        now = NOW + random.choice((0, 0, DAY, 40 * DAY))
        held = of.all(before, NOW, ["staff"])
        assert of.again(after, now, held, changed) == of.all(after, now, ["staff"])
        changed_any += of.all(after, now, ["staff"]) != held
    assert changed_any > 20


def test_rules_that_do_not_read_what_changed_stay_as_they_were() -> None:
    of = CompiledRules(
        Catalogue(
            {
                Named("label", "many"): check("orders > 3", VOCABULARY),
                Named("label", "rich"): check("spend > 3", VOCABULARY),
                Named("segment", "both"): check('has_label("many") && has_label("rich")', VOCABULARY),
            }
        )
    )
    held = of.again({"orders": 9, "spend": 0}, NOW, Memberships(frozenset(["rich"]), frozenset()), ["orders"])
    assert held == Memberships(frozenset(["many", "rich"]), frozenset(["both"]))


def test_a_rule_is_counted_and_its_members_are_paged_in_memory_as_in_a_folder(tmp_path: Any) -> None:
    of, rows = catalogue(1), sorted(people(1, 300), key=lambda row: row["id"])
    table = evaluated(features_of(rows), of, STATIC, NOW)
    generations = Generations(tmp_path)
    generations.publish(NOW, "c", [table.slice(0, 100), table.slice(100)])
    with generations.open() as kept:
        for rule in [*of.rules.values(), check('has_label("l01") || in_segment("staff")', VOCABULARY)]:
            holds = compiled(rule)
            held = table.select(["labels", "segments"]).to_pylist()
            truths = [holds({**row, **has}, NOW) for row, has in zip(rows, held, strict=True)]
            expected = [row["id"] for row, truth in zip(rows, truths, strict=True) if truth]
            for frame in (table, kept):
                assert count(frame, rule, NOW) == Count(len(expected), truths.count(None), 300)
                assert members(frame, rule, NOW) == expected
                assert members(frame, rule, NOW, 3) == expected[:3]
                if len(expected) > 5:
                    assert members(frame, rule, NOW, 2, expected[2]) == expected[3:5]


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
