"""The made world: the same every time, valid, hard where shops are hard, and resolvable."""

from collections import Counter, defaultdict

import phonenumbers
import protovalidate
import pytest

from onefold.graph import policy as policies
from onefold.graph.evidence import Evidence
from onefold.graph.model import customer_name, order_name
from onefold.graph.resolve import Partition, Refusal, RefusalReason, resolve
from onefold.service.convert import parse_item, parse_timestamp
from onefold.service.demo.people import ROLE_MAILBOX, TEAM_MAILBOX, Shopper
from onefold.service.demo.score import score
from onefold.service.demo.story import DAY
from onefold.service.demo.world import World, shoppers, world
from onefold.v1 import record_pb2 as pb

POLICY = policies.load()
BEGIN = 1_300_000_000_000
SHOPPERS = [
    Shopper("online_retail", str(12_000 + n), tuple(BEGIN + (n * 7 % 90 + 11 * k) * DAY for k in range(1 + n % 9)))
    for n in range(400)
]


@pytest.fixture(scope="module")
def made() -> World:
    return world(SHOPPERS, seed=7, persons=300)


@pytest.fixture(scope="module")
def resolved(made: World) -> tuple[Partition, list[Refusal]]:
    evidence = Evidence()
    for item in made.items:
        evidence.add(parse_item(item, POLICY))
    return resolve(evidence.edges(), POLICY, evidence.bans.values())


def customers(made: World) -> list[pb.Customer]:
    return [item.customer for item in made.items if item.HasField("customer")]


def test_the_same_seed_makes_the_same_world_and_another_seed_another(made: World) -> None:
    again = world(SHOPPERS, seed=7, persons=300)
    assert again == made
    assert world(SHOPPERS, seed=8, persons=300).items != made.items


def test_every_item_obeys_the_contract_and_parses(made: World) -> None:
    faults = [v.proto for item in made.items for v in protovalidate.collect_violations(item)]
    assert not faults
    assert len([parse_item(item, POLICY) for item in made.items]) == len(made.items)


def test_everybody_real_and_made_has_a_truth(made: World) -> None:
    assert {shopper.name for shopper in SHOPPERS} <= set(made.truth)
    records = {customer_name(c.key.source, c.key.source_id) for c in customers(made)}
    records |= {
        order_name(item.order.key.source, item.order.key.order_id) for item in made.items if item.HasField("order")
    }
    assert records <= set(made.truth)
    assert set(made.truth.values()) == {shopper.name for shopper in SHOPPERS}
    sizes = Counter(made.truth.values())
    people = [size for size in sizes.values() if size > 1]
    assert len(people) == 300
    assert 3 <= sum(people) / len(people) <= 5


def test_nobody_real_can_be_reached(made: World) -> None:
    identifiers = [i for c in customers(made) for i in c.identifiers]
    emails = {i.value.lower() for i in identifiers if i.kind == "email" and i.value != "n/a"}
    assert all(email.rpartition("@")[2].split(".")[-2] == "example" for email in emails)
    numbers = [phonenumbers.parse(i.value, "GB") for i in identifiers if i.kind == "phone" and i.value.strip("0")]
    assert all(str(number.national_number)[-7:-3] in {"4960", "4980", "9460"} for number in numbers)


def test_what_happens_lies_in_the_time_of_the_orders_and_comes_in_its_order(made: World) -> None:
    end = max(shopper.ordered_at[-1] for shopper in SHOPPERS)
    seen = [
        parse_timestamp(getattr(item, kind).observe_time)
        for item in made.items
        for kind in (item.WhichOneof("item"),)
        if kind in {"customer", "link"}
    ]
    assert seen == sorted(seen)
    events = [parse_timestamp(item.event.event_time) for item in made.items if item.HasField("event")]
    assert events == sorted(events)
    assert max(*seen, *events) <= end


def test_guest_orders_are_placed_on_days_on_which_their_person_bought_anyway(made: World) -> None:
    bought = {s.name: {at // DAY for at in s.ordered_at} for s in SHOPPERS}
    for item in made.items:
        if item.HasField("order"):
            person = made.truth[order_name(item.order.key.source, item.order.key.order_id)]
            placed = parse_timestamp(item.order.place_time)
            assert {placed // DAY, (placed - DAY // 16) // DAY} & bought[person]
            assert not item.order.HasField("customer")


def test_anonymous_events_are_counted_on_devices_of_exactly_one_person(made: World) -> None:
    users, anonymous = defaultdict(set), Counter()
    for item in made.items:
        if item.HasField("event"):
            event, device = item.event, item.event.device.value.lower()
            if event.HasField("customer"):
                users[device].add(made.truth[customer_name(event.customer.source, event.customer.source_id)])
            else:
                anonymous[device] += 1
    assert made.anonymous_events == sum(n for device, n in anonymous.items() if len(users[device]) == 1)
    assert made.anonymous_events > 500
    assert sum(n for device, n in anonymous.items() if not users[device]) > 50
    assert len(users[made.cast.kiosk.partition(":")[2]]) > 20


def test_the_shipped_policy_finds_nearly_everybody_and_hardly_ever_the_wrong_one(
    made: World, resolved: tuple[Partition, list[Refusal]]
) -> None:
    measured = score(made.truth, resolved[0].root)
    assert measured.precision > 0.98
    assert measured.recall > 0.85


def test_the_kiosk_and_the_team_mailbox_are_shared_and_the_role_mailbox_blocked(
    made: World, resolved: tuple[Partition, list[Refusal]]
) -> None:
    assert {made.cast.kiosk, f"email:{TEAM_MAILBOX}"} <= resolved[0].shared
    assert POLICY.is_blocked(f"email:{ROLE_MAILBOX}")


def test_the_cast_plays_its_parts(made: World, resolved: tuple[Partition, list[Refusal]]) -> None:
    partition, refusals = resolved
    for a, b in (made.cast.couple, made.cast.banned):
        assert made.truth[a] != made.truth[b]
        assert partition.root[a] != partition.root[b]
    a, b = made.cast.matched
    assert made.truth[a] == made.truth[b]
    assert partition.root[a] == partition.root[b]
    reasons = {(refusal.reason, refusal.kind) for refusal in refusals}
    assert {(RefusalReason.BAN, ""), (RefusalReason.LIMIT, "member")} <= reasons
    star = [r for r, person in made.truth.items() if person == made.cast.star]
    assert len(star) == 6
    assert max(Counter(partition.root.get(r, r) for r in star).values()) >= 5


def test_without_the_operators_the_banned_would_be_one_and_the_matched_two(made: World) -> None:
    evidence = Evidence()
    for item in made.items:
        if not (item.HasField("ban") or item.HasField("match")):
            evidence.add(parse_item(item, POLICY))
    partition, _ = resolve(evidence.edges(), POLICY)
    mother, daughter = made.cast.banned
    assert partition.root[mother] == partition.root[daughter]
    a, b = made.cast.matched
    assert partition.root[a] != partition.root.get(b, b)


def test_shoppers_are_the_customers_with_orders_in_the_order_of_their_keys() -> None:
    def order(number: str, customer: str, seconds: int) -> pb.Item:
        made = pb.Order(key=pb.OrderKey(source="s", order_id=number))
        made.customer.source, made.customer.source_id = "s", customer
        made.place_time.seconds = seconds
        return pb.Item(order=made)

    guest = pb.Item(order=pb.Order(key=pb.OrderKey(source="s", order_id="9")))
    found = shoppers([order("1", "b", 30), order("2", "a", 20), order("3", "b", 10), guest])
    assert found == [Shopper("s", "a", (20_000,)), Shopper("s", "b", (10_000, 30_000))]


def test_a_world_without_enough_people_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 60"):
        world(SHOPPERS[:59])


def test_a_small_world_still_has_its_whole_cast() -> None:
    assert len(set(world(SHOPPERS[:60]).cast.couple)) == 2


def test_a_score_counts_pairs() -> None:
    truth = {"a": 1, "b": 1, "c": 1, "d": 2, "e": 2}
    measured = score(truth, {"a": "x", "b": "x", "c": "y", "d": "y", "stranger": "y"})
    assert (measured.right, measured.joined, measured.true) == (1, 2, 4)
    assert (measured.precision, measured.recall) == (0.5, 0.25)
    assert measured.f1 == pytest.approx(1 / 3)


def test_a_score_of_nothing_joined_is_precise_and_of_nothing_true_complete() -> None:
    assert score({"a": 1, "b": 1}, {}).precision == 1.0
    assert score({"a": 1, "b": 1}, {}).f1 == 0.0
    assert score({"a": 1, "b": 2}, {}).recall == 1.0
