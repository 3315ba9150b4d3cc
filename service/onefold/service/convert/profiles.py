"""Profiles: what is known about a person."""

from __future__ import annotations

from onefold.graph.profile import Activity, Profile, ProfileIdentifier, Spending
from onefold.graph.resolve import PPM
from onefold.graph.survivorship import GoldenTrait, TraitValue
from onefold.graph.timeline import EventFilter
from onefold.service.convert.items import event_to_proto, order_to_proto, record_to_proto
from onefold.service.convert.values import (
    maybe_timestamp_to_proto,
    money_to_proto,
    parse_timestamp,
    properties_to_proto,
    timestamp_to_proto,
    value_to_proto,
)
from onefold.v1 import profile_service_pb2


def parse_event_filter(message: profile_service_pb2.ListEventsRequest) -> EventFilter:
    """Which events are asked for."""
    return EventFilter(
        types=frozenset(message.types),
        channels=frozenset(message.channels),
        start=parse_timestamp(message.start_time) if message.HasField("start_time") else None,
        end=parse_timestamp(message.end_time) if message.HasField("end_time") else None,
    )


def profile_to_proto(profile: Profile) -> profile_service_pb2.Profile:
    """All that is known about a person, without a score."""
    return profile_service_pb2.Profile(
        identity=profile.identity,
        create_time=timestamp_to_proto(profile.created_at),
        traits=[_trait_to_proto(trait) for trait in profile.traits],
        properties=properties_to_proto(profile.properties),
        identifiers=[_identifier_to_proto(identifier) for identifier in profile.identifiers],
        records=[record_to_proto(name) for name in profile.records],
        activity=_activity_to_proto(profile.activity),
        recent_orders=[order_to_proto(order) for order in profile.recent_orders],
        recent_events=[event_to_proto(event) for event in profile.recent_events],
        completeness=profile.completeness,
    )


def _trait_to_proto(trait: GoldenTrait) -> profile_service_pb2.GoldenTrait:
    return profile_service_pb2.GoldenTrait(
        name=trait.name,
        value=value_to_proto(trait.chosen.value),
        record=record_to_proto(trait.chosen.record),
        observe_time=timestamp_to_proto(trait.chosen.observed_at),
        alternatives=[_alternative_to_proto(value) for value in trait.alternatives],
    )


def _alternative_to_proto(value: TraitValue) -> profile_service_pb2.TraitAlternative:
    return profile_service_pb2.TraitAlternative(
        value=value_to_proto(value.value),
        record=record_to_proto(value.record),
        observe_time=timestamp_to_proto(value.observed_at),
    )


def _identifier_to_proto(identifier: ProfileIdentifier) -> profile_service_pb2.ProfileIdentifier:
    kind, _, value = identifier.key.partition(":")
    return profile_service_pb2.ProfileIdentifier(
        kind=kind,
        value=value,
        shared=identifier.shared,
        sources=identifier.sources,
        first_seen_time=maybe_timestamp_to_proto(identifier.first_seen),
        last_seen_time=maybe_timestamp_to_proto(identifier.last_seen),
        confidence=identifier.confidence / PPM,
    )


def _activity_to_proto(activity: Activity) -> profile_service_pb2.Activity:
    return profile_service_pb2.Activity(
        order_count=activity.order_count,
        spending=[_spending_to_proto(spending) for spending in activity.spending],
        first_order_time=maybe_timestamp_to_proto(activity.first_order_at),
        last_order_time=maybe_timestamp_to_proto(activity.last_order_at),
        event_count=activity.event_count,
        event_counts=activity.event_counts,
        channel_counts=activity.channel_counts,
        first_event_time=maybe_timestamp_to_proto(activity.first_event_at),
        last_event_time=maybe_timestamp_to_proto(activity.last_event_at),
        anonymous_event_count=activity.anonymous_event_count,
    )


def _spending_to_proto(spending: Spending) -> profile_service_pb2.Spending:
    return profile_service_pb2.Spending(
        currency_code=spending.currency,
        order_count=spending.orders,
        total_spent=money_to_proto(spending.total, spending.currency),
        refunded=money_to_proto(spending.refunded, spending.currency),
        average_order_value=money_to_proto(spending.average, spending.currency),
    )
