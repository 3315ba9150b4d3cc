"""Why two subjects are one person, or are not, in words that an operator reads."""

from __future__ import annotations

from onefold.graph.component import Component, Word
from onefold.graph.evidence import Evidence, IdentifierState, LinkState, RecordState
from onefold.graph.explain import Explanation, explain
from onefold.graph.network import network
from onefold.graph.resolve import PPM, Ban, RefusalReason, resolve
from onefold.graph.subject import Subject
from tests.worlds import rules

NOW = 1_700_000_000_000
POLICY = rules()


def component(
    a: str,
    b: str,
    links: list[tuple[str, str, str]],
    words: list[Word] | None = None,
    degrees: dict[str, int] | None = None,
) -> Component:
    """Records with (record, identifier, assurance) links, placed as the policy has it; an identity is named by its
    first record."""
    evidence = Evidence()
    for record in sorted({r for r, _, _ in links}):
        evidence.records[record] = RecordState(record, spoken_for=True)
    for record, identifier, assurance in links:
        evidence.records[record].links[identifier, record.split(":")[1], assurance] = LinkState(
            NOW, NOW, sighted_at=NOW, stored=True
        )
        evidence.identifiers[identifier] = IdentifierState(identifier)
    for word in words or ():
        if word.same:
            evidence.matches[word.a, word.b] = word.at
        else:
            evidence.bans[word.a, word.b] = Ban(word.a, word.b, word.at, word.expires_at)
            if word.lapsed:
                evidence.lapsed.add((word.a, word.b))
    for identifier in degrees or ():
        evidence.identifiers[identifier].shared = True
    partition, _ = resolve(evidence.edges(), POLICY, evidence.standing_bans())
    for record in evidence.records.values():
        record.identity = partition.root[record.name]
    for key, owner in partition.owner.items():
        evidence.identifiers[key].identity = partition.root[owner]
    subjects = tuple(Subject.record(name) for name in (a, b))
    identities = tuple(evidence.records[name].identity or "" for name in (a, b))
    return Component(subjects, identities, evidence, tuple(words or ()), {}, {}, degrees or {})


def explained(*args: object, **kwargs: object) -> Explanation:
    return explain(component(*args, **kwargs), POLICY)  # type: ignore[arg-type]


A, B, C = "customer:shop:a", "customer:shop:b", "customer:shop:c"


def test_one_person_is_told_with_the_surest_path() -> None:
    links = [(r, "email:1", "verified") for r in (A, B)] + [(r, "phone:1", "declared") for r in (A, B)]
    said = explained(A, B, links)
    assert said.same_identity
    assert said.connected
    assert [(s.start, s.end) for s in said.path] == [(A, "email:1"), ("email:1", B)]
    assert abs(said.path_confidence - 0.98 * 0.98) < 1e-9
    assert said.refusals == ()
    assert said.summary == (f"{A} and {B} are one person: they are joined by email:1, with confidence 0.960.")


def test_the_path_of_one_person_goes_by_what_joined_them_even_if_another_is_surer() -> None:
    # The two links to the device make 0.9 × 0.7, the four to the phones (0.95 × 0.9)⁴ = 0.53.
    links = [(A, "phone:1", "verified"), (C, "phone:1", "verified"), (C, "phone:2", "verified")]
    links += [(B, "phone:2", "verified"), (A, "device:1", "verified"), (B, "device:1", "declared")]
    said = explained(A, B, links)
    assert said.same_identity
    assert [s.end for s in said.path] == ["phone:1", C, "phone:2", B]
    assert all(s.edge.eligible for s in said.path)
    assert "joined by phone:1 and phone:2" in said.summary


def test_an_operators_word_is_a_step_of_the_path() -> None:
    word = Word(True, A, B, "ann", "called both", NOW)
    said = explained(A, B, [(A, "email:1", "verified"), (B, "email:2", "verified")], [word])
    assert said.same_identity
    assert said.path_confidence == 1.0
    assert [s.edge.sources for s in said.path] == [("ann",)]
    assert f"ann's word that {A} and {B} are one" in said.summary


def test_identifiers_that_join_only_together_are_told_as_one_step() -> None:
    weak = [
        (r, v, "observed")
        for r in (A, B)
        for v in ("device:1", "device:2", "device:3", "device:4", "device:5", "device:6")
    ]
    said = explained(A, B, weak)
    assert said.same_identity
    assert [(s.edge.type, s.edge.sources) for s in said.path] == [("SAME_AS", ("policy",))]
    assert "in common" in said.summary


def test_the_same_node_is_no_path_of_full_confidence() -> None:
    said = explained(A, A, [(A, "email:1", "verified")])
    assert said.same_identity
    assert said.connected
    assert said.path == ()
    assert said.path_confidence == 1.0


def test_a_link_that_is_too_weak_is_named_with_the_threshold() -> None:
    said = explained(A, B, [(A, "device:1", "verified"), (B, "device:1", "observed")])
    assert not said.same_identity
    assert said.connected
    assert abs(said.path_confidence - 0.9 * 0.5) < 1e-9
    assert said.summary == (
        f"{A} and {B} are two persons: they hang together by device:1, but the link of {B} to device:1 has "
        "confidence 0.500, and it takes 0.800."
    )


def test_a_ban_is_told_with_its_author_reason_and_end() -> None:
    links = [(A, "email:1", "verified"), (B, "email:1", "verified")]
    said = explained(A, B, links, [Word(False, A, B, "ann", "father and son", NOW, NOW + 86_400_000)])
    assert not said.same_identity
    assert [r.refusal.reason for r in said.refusals] == [RefusalReason.BAN]
    assert {said.refusals[0].identity, said.refusals[0].other_identity} == {A, B}
    assert said.summary == (
        f"{A} and {B} are two persons: ann said that {A} and {B} are never one, until 2023-11-15 22:13 UTC "
        "(father and son)."
    )


def test_a_ban_is_told_until_the_service_has_ended_it() -> None:
    links = [(A, "email:1", "verified"), (B, "email:2", "verified")]
    due = explained(A, B, links, [Word(False, A, B, "ann", "", 5, 9)])
    assert f"ann said that {A} and {B} are never one" in due.summary
    over = explained(A, B, links, [Word(False, A, B, "ann", "", 5, 9, lapsed=True)])
    assert over.summary.endswith("are two persons: nothing that is known connects them.")


def test_a_limit_that_kept_two_apart_is_told_with_its_kind_and_number() -> None:
    links = [(r, "email:1", "verified") for r in (A, B)] + [(A, "member:1", "verified"), (B, "member:2", "verified")]
    said = explained(A, B, links)
    assert [r.refusal.reason for r in said.refusals] == [RefusalReason.LIMIT]
    assert "refused to join" in said.summary
    assert "by email:1, since together they would have more than 1 identifiers of kind member" in said.summary
    assert {s.edge.refusal for s in said.path} == {None, RefusalReason.LIMIT}


def test_a_source_that_keeps_one_record_per_person_is_named() -> None:
    one, two = "customer:crm:1", "customer:crm:2"
    said = explained(one, two, [(one, "email:1", "verified"), (two, "email:1", "verified")])
    assert f"since crm keeps one record per person and has {one} and {two}" in said.summary


def test_a_refusal_on_the_way_between_two_others_is_told() -> None:
    links = [
        (A, "email:1", "verified"), (C, "email:1", "verified"), (C, "phone:1", "verified"), (B, "phone:1", "verified"),
        (A, "member:1", "verified"), (C, "member:2", "verified"), (B, "member:3", "verified"),
    ]  # fmt: skip
    said = explained(A, B, links)
    assert not said.same_identity
    assert said.refusals == ()
    assert "leads through" in said.summary
    assert "(LIMIT)" in said.summary


def test_a_shared_identifier_in_common_is_told_with_its_links_and_limit() -> None:
    said = explained(A, B, [(A, "phone:1", "verified"), (B, "phone:1", "verified")], degrees={"phone:1": 812})
    assert not said.connected
    assert said.path_confidence == 0.0
    assert said.summary == (
        f"{A} and {B} are two persons: nothing connects them but phone:1, which is shared: 812 links lead to it, and "
        "over 2 people it says nothing."
    )


def test_a_blocked_identifier_in_common_is_told() -> None:
    said = explained(A, B, [(A, "email:n/a", "verified"), (B, "email:n/a", "verified")])
    assert said.summary.endswith("nothing connects them but email:n/a, which the policy blocks.")


def test_the_network_around_an_identity_ends_at_the_far_ends_of_refused_joins() -> None:
    links = [(r, "email:1", "verified") for r in (A, B)] + [(A, "member:1", "verified"), (B, "member:2", "verified")]
    links += [(B, "device:1", "verified"), (C, "device:1", "observed")]
    found = component(A, B, links)
    net = network(found, POLICY).around(A)
    assert sorted(net.nodes) == [A, B, "email:1", "member:1"]
    edges = {(e.start, e.end): e for e in net.edges}
    assert sorted(edges) == [(A, "email:1"), (A, "member:1"), (B, "email:1")]
    refused = [e for e in net.edges if e.refusal is RefusalReason.LIMIT]
    assert len(refused) == 1
    assert refused[0].eligible
    assert edges[A, "member:1"].confidence == round(0.99 * PPM)
