"""Data quality of tables, against what they were made from."""

import random
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from onefold.graph.model import TRAITS, to_instant
from onefold.segments.quality import LINKS, RECORDS, SAID, WEEKS, Reject, assess, samples

NOW = datetime(2023, 11, 15, 12, tzinfo=UTC)  # a Wednesday
AS_OF = to_instant(NOW)
MONDAY = datetime(2023, 11, 13, tzinfo=UTC)


def record(identity, source, **traits):
    return {"identity": identity, "source": source, "observed_at": NOW, **traits}


def found(records=(), links=(), said=(), rejects=()):
    tables = (
        pa.Table.from_pylist([dict.fromkeys(TRAITS) | row for row in records], RECORDS),
        pa.Table.from_pylist(list(links), LINKS),
        pa.Table.from_pylist(list(said), SAID),
    )
    return assess(*tables, rejects, AS_OF)


def week(back, identifiers, source="web", kind="device", each=1):
    """So many identifiers, each on so many records, so many whole weeks ago."""
    at = MONDAY - timedelta(weeks=back) + timedelta(hours=1)
    return [
        {"source": source, "kind": kind, "identifier": f"{kind}:{back}-{n}", "first_seen": at}
        for n in range(identifiers)
        for _ in range(each)
    ]


def test_completeness_is_by_source_and_of_everybody_what_any_record_knows():
    told = found(
        [
            record("a", "crm", city="Leeds", gender="f"),
            record("a", "web", city="York"),
            record("b", "web"),
            record("c", "web", city="Hull"),
        ]
    )
    assert (told.everybody.of, told.everybody.known["city"], told.everybody.known["gender"]) == (3, 2 / 3, 1 / 3)
    crm, web = told.sources
    assert (crm.source, crm.of, crm.known["city"], crm.known["gender"]) == ("crm", 1, 1.0, 1.0)
    assert (web.source, web.of, web.known["city"], web.known["gender"]) == ("web", 3, 2 / 3, 0.0)
    assert crm.mean == 2 / len(TRAITS)
    assert web.known.keys() == set(TRAITS)


def test_values_conflict_if_they_differ_in_more_than_case_and_outer_spaces():
    told = found(
        [
            record("a", "crm", city="Leeds", country="GB"),
            record("a", "web", city=" LEEDS "),
            record("b", "crm", city="Leeds", country="GB"),
            record("b", "web", city="York", country="GB"),
            record("c", "web", city="Hull"),
        ]
    )
    assert [(c.trait, c.people, c.conflicting, c.share) for c in told.conflicts] == [
        ("city", 2, 1, 0.5),
        ("country", 1, 0, 0.0),
    ]


def test_a_source_that_has_one_person_twice_has_duplicates():
    told = found([record("a", "crm"), record("a", "crm"), record("b", "crm"), record("b", "web")])
    assert [(d.source, d.records, d.people, d.share) for d in told.duplicates] == [
        ("crm", 3, 2, 1 / 3),
        ("web", 1, 1, 0.0),
    ]


def test_freshness_is_the_age_of_the_newest():
    rows = [
        {"source": "web", "what": "order", "items": 5, "recent": 0, "newest": NOW - timedelta(days=10)},
        {"source": "web", "what": "event", "items": 9, "recent": 2, "newest": NOW - timedelta(hours=6)},
    ]
    assert [(f.what, f.items, f.recent, f.age_days, f.newest) for f in found(said=rows).freshness] == [
        ("event", 9, 2, 0.25, AS_OF - 21_600_000),
        ("order", 5, 0, 10.0, AS_OF - 864_000_000),
    ]


def test_a_week_of_as_many_identifiers_as_usual_is_no_drift():
    rng = random.Random(2)
    links = [link for back in range(1, 12) for link in week(back, 100 + rng.randint(-15, 15))]
    (drift,) = found(links=links).drifts
    assert not drift.is_far
    assert [w.monday for w in drift.weeks][-1] == (MONDAY - timedelta(weeks=1)).date()
    assert len(drift.weeks) == 11
    assert 85 <= drift.usual <= 115


@pytest.mark.parametrize(("identifiers", "each", "sign"), [(1, 100, -1), (900, 1, 1), (0, 1, -1)])
def test_one_value_for_everybody_invented_values_and_silence_are_drift(identifiers, each, sign):
    links = [link for back in range(2, 12) for link in week(back, 100 + back % 3)] + week(1, identifiers, each=each)
    (drift,) = found(links=links + week(0, 500)).drifts
    assert drift.is_far
    assert drift.deviation * sign > 3
    assert (drift.weeks[-1].links, drift.weeks[-1].identifiers) == (identifiers * each, identifiers)


def test_drift_looks_at_so_many_weeks_and_needs_some_to_compare_with():
    old = [link for back in range(1, 40) for link in week(back, 10)]
    new = [link for back in range(1, 4) for link in week(back, 10, kind="email")]
    device, email = sorted(found(links=old + new).drifts, key=lambda drift: drift.kind)
    assert len(device.weeks) == WEEKS
    assert (email.usual, email.deviation, email.is_far) == (None, None, False)


def test_a_source_that_has_been_silent_for_long_has_no_week_to_compare():
    (drift,) = found(links=week(30, 5)).drifts
    assert not drift.is_far
    assert {w.identifiers for w in drift.weeks} == {0}


def test_nothing_makes_a_quality_of_nothing():
    told = found()
    assert (told.everybody.of, set(told.everybody.known.values()), told.sources, told.drifts) == (0, {0.0}, (), ())


def test_metrics_say_the_same():
    told = found(
        [record("a", "crm", city="Leeds"), record("a", "web", city="York")],
        [link for back in range(1, 12) for link in week(back, 10)],
        [{"source": "web", "what": "event", "items": 9, "recent": 2, "newest": NOW}],
        [Reject("service", "REASON_INVALID", 3), Reject("reader", "BAD_VALUE", 7)],
    )
    assert [reject.count for reject in told.rejects] == [7, 3]
    values = {(s.name, *sorted(s.labels.items())): s.value for s in samples(told)}
    assert values["onefold_quality_completeness_ratio", ("source", "crm"), ("trait", "city")] == 1.0
    assert values["onefold_quality_conflicts_ratio", ("trait", "city")] == 1.0
    assert values["onefold_quality_newest_timestamp_seconds", ("source", "web"), ("what", "event")] == AS_OF / 1000
    assert values["onefold_quality_identifier_drift_deviations", ("kind", "device"), ("source", "web")] == 0.0
    assert values["onefold_quality_rejects", ("by", "reader"), ("reason", "BAD_VALUE")] == 7
    assert values["onefold_quality_duplicates_ratio", ("source", "web")] == 0.0
