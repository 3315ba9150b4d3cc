"""Protobuf to domain values and back: the only package that knows both.

Pairs are symmetric: ``parse_x`` takes a message that already obeys the contract and gives a domain value, or raises
:class:`InvalidInput` with paths that begin at the message; ``x_to_proto`` gives the message.
"""

from onefold.service.convert.decisions import (
    decision_to_proto,
    explanation_to_proto,
    parse_change_kinds,
    stretch_to_proto,
)
from onefold.service.convert.fingerprint import fingerprint
from onefold.service.convert.groups import clusters_to_proto, lookalikes_to_proto
from onefold.service.convert.identities import (
    found_to_proto,
    graph_to_proto,
    outcome_to_proto,
    parse_as_of,
    parse_subject,
)
from onefold.service.convert.insight import effect_to_proto, insight_to_proto, parse_insight
from onefold.service.convert.items import (
    event_to_proto,
    order_to_proto,
    parse_item,
)
from onefold.service.convert.predictions import (
    block_to_proto,
    churn_to_proto,
    model_to_proto,
    outlook_to_proto,
    parse_model_name,
    parse_moved,
)
from onefold.service.convert.profiles import parse_event_filter, profile_to_proto
from onefold.service.convert.segments import (
    frame_to_proto,
    membership_to_proto,
    parse_tree,
    rule_to_proto,
    segment_stretch_to_proto,
    segment_to_proto,
)
from onefold.service.convert.values import (
    date_to_proto,
    money_to_proto,
    parse_money,
    parse_timestamp,
    timestamp_to_proto,
    value_to_proto,
)

__all__ = [
    "block_to_proto",
    "churn_to_proto",
    "clusters_to_proto",
    "date_to_proto",
    "decision_to_proto",
    "effect_to_proto",
    "event_to_proto",
    "explanation_to_proto",
    "fingerprint",
    "found_to_proto",
    "frame_to_proto",
    "graph_to_proto",
    "insight_to_proto",
    "lookalikes_to_proto",
    "membership_to_proto",
    "model_to_proto",
    "money_to_proto",
    "order_to_proto",
    "outcome_to_proto",
    "outlook_to_proto",
    "parse_as_of",
    "parse_change_kinds",
    "parse_event_filter",
    "parse_insight",
    "parse_item",
    "parse_model_name",
    "parse_money",
    "parse_moved",
    "parse_subject",
    "parse_timestamp",
    "parse_tree",
    "profile_to_proto",
    "rule_to_proto",
    "segment_stretch_to_proto",
    "segment_to_proto",
    "stretch_to_proto",
    "timestamp_to_proto",
    "value_to_proto",
]
