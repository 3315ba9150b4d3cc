"""``onefold profile``: one person, as a person would like to read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Final

import grpc
from google.protobuf.json_format import MessageToJson
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from onefold.graph.errors import NotFound, NotReady
from onefold.service.cli import predicting, risk, terminal
from onefold.service.client import error_of
from onefold.v1 import (
    identity_pb2,
    prediction_service_pb2,
    profile_service_pb2,
    profile_service_pb2_grpc,
    record_pb2,
)

ORDERS: Final = 5
EVENTS: Final = 8
LINES_NAMED: Final = 3


def show(channel: grpc.Channel, subject: identity_pb2.Subject, as_json: bool, as_of: datetime | None = None) -> None:
    """Prints the profile, as of now or of an instant. Raises NotFound, and what else the service says."""
    profile = get(channel, subject, as_of)
    if as_json:
        print(MessageToJson(profile, preserving_proto_field_name=True, always_print_fields_with_no_presence=False))
        return
    render(profile, curve(channel, profile), terminal.out())


def get(
    channel: grpc.Channel, subject: identity_pb2.Subject, as_of: datetime | None = None
) -> profile_service_pb2.Profile:
    """The full profile of who is named."""
    stub = profile_service_pb2_grpc.ProfileServiceStub(channel)
    request = profile_service_pb2.GetProfileRequest(subject=subject)
    if as_of is not None:
        request.as_of.FromDatetime(as_of)
    try:
        profile: profile_service_pb2.Profile = stub.GetProfile(request, timeout=30)
    except grpc.RpcError as error:
        raise error_of(error) from error
    return profile


def curve(channel: grpc.Channel, profile: profile_service_pb2.Profile) -> Sequence[prediction_service_pb2.CurvePoint]:
    """How the risk of churn falls with the days ahead; empty where the profile has no score, or has one by another
    model or from another instant than what is predicted by now."""
    scored, found = profile.churn, prediction_service_pb2.Predictions()
    if profile.HasField("churn"):
        asked = prediction_service_pb2.GetPredictionsRequest(
            subject=identity_pb2.Subject(identity=profile.identity), max_reasons=0, max_products=0
        )
        with suppress(NotFound, NotReady):  # a profile is no less good for want of a curve
            found = predicting.get(channel, asked)
    same = (found.churn.model, found.churn.as_of_time) == (scored.model, scored.as_of_time)
    return found.curve if same else ()


def render(
    profile: profile_service_pb2.Profile, curve: Sequence[prediction_service_pb2.CurvePoint], console: Console
) -> None:
    """Prints a profile, section by section, with the ``curve`` of its risk; what is empty is left out."""
    console.print(Text(display_name(profile), style="bold"))
    console.print(f"[dim]identity {profile.identity}, since {_day(profile.create_time)}[/]")
    sections = (
        ("Who", _traits(profile)),
        ("Reached by", _identifiers(profile)),
        ("Known to", _records(profile)),
        ("In short", _activity(profile)),
        ("Latest orders", _orders(profile)),
        ("Timeline", _timeline(profile)),
        ("Risk of churn", _churn(profile, curve)),
    )
    for title, body in sections:
        if body is not None:
            console.print()
            console.print(
                Rule(Text(title, style="bold cyan"), align="left", style="dim") if console.is_terminal else Text(title)
            )
            console.print(Padding(body, (0, 0, 0, 2), expand=False))


def display_name(profile: profile_service_pb2.Profile) -> str:
    """What to call the person: their name, else the first thing that names them."""
    traits = {trait.name: trait.value.string_value for trait in profile.traits}
    parts = " ".join(filter(None, (traits.get("given_name"), traits.get("family_name"))))
    # Somebody's "full name" is at times "A Lane".
    if name := max(traits.get("full_name", ""), parts, key=len) or traits.get("company"):
        return name
    if profile.records:
        return record_name(profile.records[0])
    return next((f"{i.kind}:{i.value}" for i in profile.identifiers), "An unknown person")


def record_name(key: record_pb2.RecordKey) -> str:
    """The record's name, as ``customer:crm:17``."""
    if key.HasField("customer"):
        return f"customer:{key.customer.source}:{key.customer.source_id}"
    return f"order:{key.order.source}:{key.order.order_id}"


def money(amount: Any) -> str:
    """An amount as people write it, as ``1,234.50 GBP``: to the hundredth."""
    value = Decimal(amount.units) + Decimal(amount.nanos) / 1_000_000_000
    return f"{value:,.2f} {amount.currency_code}"


def value_of(value: record_pb2.PropertyValue) -> str:
    """A trait or property in words."""
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "int_value":
            return f"{value.int_value:,}"
        case "double_value":
            return f"{value.double_value:g}"
        case "bool_value":
            return "yes" if value.bool_value else "no"
        case "date_value":
            day = value.date_value
            return f"{day.year:04d}-{day.month:02d}-{day.day:02d}"
        case "string_list_value":
            return ", ".join(value.string_list_value.values)
    return ""


def _traits(profile: profile_service_pb2.Profile) -> RenderableType | None:
    if not profile.traits and not profile.properties:
        return None
    table = terminal.table()
    for trait in profile.traits:
        others = ", ".join(dict.fromkeys(value_of(other.value) for other in trait.alternatives))
        said = Text(value_of(trait.value))
        if others:
            said.append(f"  (also {others})", style="dim")
        origin = Text(f"{_source(trait.record)}, {_day(trait.observe_time)}", style="dim")
        table.add_row(Text(trait.name.replace("_", " "), style="dim"), said, origin)
    for name, value in sorted(profile.properties.items()):
        table.add_row(Text(name.replace("_", " "), style="dim"), Text(value_of(value)), Text(""))
    return table


def _identifiers(profile: profile_service_pb2.Profile) -> RenderableType | None:
    if not profile.identifiers:
        return None
    table = terminal.table()
    for identifier in sorted(profile.identifiers, key=lambda i: (-i.confidence, i.kind, i.value)):
        if identifier.shared:
            sure = Text("shared", style="yellow")
        elif identifier.confidence:
            sure = Text(f"{identifier.confidence:.0%}", style="green" if identifier.confidence >= 0.8 else "yellow")
        else:
            sure = Text("anonymous", style="dim")
        last = f", last {_day(identifier.last_seen_time)}" if identifier.HasField("last_seen_time") else ""
        seen = Text(f"{', '.join(identifier.sources)}{last}".lstrip(", "), style="dim")
        table.add_row(Text(identifier.kind, style="dim"), Text(identifier.value), sure, seen)
    return table


def _records(profile: profile_service_pb2.Profile) -> RenderableType | None:
    if not profile.records:
        return None
    customers = [record_name(key) for key in profile.records if key.HasField("customer")]
    guests = [record_name(key) for key in profile.records if key.HasField("order")]
    lines = [Text(", ".join(customers), overflow="fold")] if customers else []
    if guests:
        lines.append(Text(f"as a guest: {', '.join(guests)}", overflow="fold"))
    return Group(*lines)


def _activity(profile: profile_service_pb2.Profile) -> RenderableType | None:
    activity = profile.activity
    if not activity.order_count and not activity.event_count:
        return None
    table = terminal.table()

    def row(name: str, words: str) -> None:
        table.add_row(Text(name, style="dim"), Text(words))

    for spent in activity.spending:
        refunded = f", {money(spent.refunded)} of it refunded" if spent.refunded.units or spent.refunded.nanos else ""
        row("spent", f"{money(spent.total_spent)} in {_many(spent.order_count, 'order')}{refunded}")
        row("on average", f"{money(spent.average_order_value)} an order")
    if activity.order_count:
        row("orders", f"{_day(activity.first_order_time)} to {_day(activity.last_order_time)}")
    if activity.event_count:
        row("events", f"{activity.event_count:,}: {_counts(activity.event_counts)}")
    if activity.anonymous_event_count:
        row("before log-in", f"{_many(activity.anonymous_event_count, 'event')} on their devices, without a name")
    if activity.channel_counts:
        row("channels", _counts(activity.channel_counts))
    row("completeness", f"{profile.completeness:.0%} of the common traits are known")
    return table


def _orders(profile: profile_service_pb2.Profile) -> RenderableType | None:
    if not profile.recent_orders:
        return None
    table = terminal.table()
    for order in profile.recent_orders[:ORDERS]:
        status = record_pb2.OrderStatus.Name(order.status).removeprefix("ORDER_STATUS_").lower()
        names = [line.name or line.sku for line in order.lines[:LINES_NAMED]]
        if len(order.lines) > LINES_NAMED:
            names.append(f"{len(order.lines) - LINES_NAMED} more")
        about = Text(", ".join(names), style="dim")
        if order.refunds:
            about.append(f"  ({_many(len(order.refunds), 'refund')})", style="yellow")
        table.add_row(
            Text(_day(order.place_time, order.utc_offset_minutes)),
            Text(money(order.total), justify="right"),
            Text(status, style="green" if status == "delivered" else "yellow"),
            about,
        )
    return _with_rest(table, profile.activity.order_count - len(profile.recent_orders[:ORDERS]), "order")


def _timeline(profile: profile_service_pb2.Profile) -> RenderableType | None:
    if not profile.recent_events:
        return None
    table = terminal.table()
    for event in profile.recent_events[:EVENTS]:
        details = ", ".join(f"{name} {value_of(value)}" for name, value in sorted(event.properties.items()))
        where = " on " + event.device.value if event.HasField("device") else ""
        who = "" if event.HasField("customer") else ", anonymous"
        about = Text(f"{event.channel or event.source}{where}{who}", style="dim")
        if details:
            about.append(f"  {details}")
        table.add_row(Text(_minute(event.event_time, event.utc_offset_minutes)), Text(event.type), about)
    return _with_rest(table, profile.activity.event_count - len(profile.recent_events[:EVENTS]), "event")


def _churn(
    profile: profile_service_pb2.Profile, curve: Sequence[prediction_service_pb2.CurvePoint]
) -> RenderableType | None:
    if not profile.HasField("churn"):
        return None
    churn = profile.churn
    head = Text.assemble(
        (f"{churn.probability:.0%}", f"bold {risk.style(churn.probability)}"),
        f"  no purchase within {churn.horizon_days} days after {_day(churn.as_of_time)}",
    )
    known = curve or [
        prediction_service_pb2.CurvePoint(horizon_days=churn.horizon_days, churn_probability=churn.probability)
    ]
    return Group(head, risk.curve(known), *_reasons(churn), Text(f"by {churn.model}", style="dim"))


def _reasons(churn: prediction_service_pb2.ChurnScore) -> Iterator[RenderableType]:
    """What speaks for and against, in odds: a factor is what e to the contribution is."""
    table = terminal.table()
    for reason in churn.reasons:
        up = reason.contribution > 0
        table.add_row(
            Text("▲" if up else "▼", style="red" if up else "green"),
            Text(f"{reason.contribution:+.2f}", style="dim"),
            Text(reason.words),
        )
    if churn.reasons:
        yield table
        yield Text(
            f"log-odds {churn.log_odds:+.2f} = base {churn.base_log_odds:+.2f}, the reasons above, "
            f"and {churn.other_contribution:+.2f} of all other features",
            style="dim",
        )


def _with_rest(table: RenderableType, rest: int, noun: str) -> RenderableType:
    if rest <= 0:
        return table
    return Group(table, Text(f"and {_many(rest, noun)} before", style="dim"))


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _counts(counts: Any) -> str:
    ordered: Iterable[tuple[str, int]] = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{name} {count:,}" for name, count in ordered)


def _source(key: record_pb2.RecordKey) -> str:
    return key.customer.source if key.HasField("customer") else key.order.source


def _moment(timestamp: Any, offset_minutes: int = 0) -> datetime:
    """The instant on the clock of where it was."""
    return datetime.fromtimestamp(timestamp.seconds, UTC).astimezone(timezone(timedelta(minutes=offset_minutes)))


def _day(timestamp: Any, offset_minutes: int = 0) -> str:
    return f"{_moment(timestamp, offset_minutes):%Y-%m-%d}"


def _minute(timestamp: Any, offset_minutes: int = 0) -> str:
    return f"{_moment(timestamp, offset_minutes):%Y-%m-%d %H:%M}"
