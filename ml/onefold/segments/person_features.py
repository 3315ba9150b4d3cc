"""What a frame knows of a person beside what models know: every feature once, with its meaning, unit and formula.

A formula is a DuckDB expression over one relation (:class:`Source`). Sums and ranks run over whole numbers, so that a
person computed alone equals the same person computed among millions, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from onefold.segments.types import Type


class Source(StrEnum):
    """The relation that a formula speaks about; each holds only what happened before the frame's instant.

    Texts stand in the relations as numbers, their places among all texts of the column sorted; ``-1`` is none. The
    answer is that number, too. Instants are milliseconds."""

    PEOPLE = "people"
    """One row per person: the columns of :data:`onefold.segments.columns.PEOPLE`, texts as texts, and ``today``."""
    PURCHASES = "purchases"
    """One row per purchase, as :data:`onefold.ml.catalogue.PURCHASES`: ``placed``."""
    EVENTS = "events"
    """One row per event: ``at``, ``viewed``, ``reviewed``, ``shared``, ``referred``, ``rating`` (millionths)."""
    SESSIONS = "sessions"
    """One row per session of the last 30 days: ``single``, whether it has one event only. Events with the same property
    ``session`` are one; of those without it, those are that no pause of more than 30 minutes parts."""
    ACTIONS = "actions"
    """One row per order that was not cancelled and per event: ``at``, ``source``."""
    HOURS = "hours"
    """One row per local hour of the day with an action: ``hour``, ``actions``. Local is by the UTC offset of the
    action, else by the catalogue's time zone."""
    CHANNELS = "channels"
    """One row per channel with an action in the last 365 days: ``channel``, ``actions``."""
    CATEGORIES = "categories"
    """One row per category in the last 365 days: ``category``, ``bought`` (lines of orders that were not cancelled)
    and ``viewed`` (views)."""
    BRANDS = "brands"
    """One row per brand in the last 365 days: ``brand``, ``viewed`` (views and additions to the cart)."""
    FIGURES = "figures"
    """One row per person with a purchase: :data:`onefold.segments.rfm.SCHEMA`."""
    FEATURES = "features"
    """One row per person: the other features, those of models and predictions included, ``price_mean`` (of a piece that
    they bought, main currency), and what the population's quintiles make of it."""


@dataclass(frozen=True, slots=True)
class PersonFeature:
    """One figure about a person as of an instant; unknown is null, never a guess."""

    key: str
    type: Type
    unit: str
    meaning: str
    source: Source
    formula: str
    is_count: bool = False
    """Whether who did nothing has 0 of it, where it would be unknown otherwise."""


VIEWED: Final = "(^|[._])views?$"
CARTED: Final = "(^|[._])carts?$"
REVIEWED: Final = "(^|[._])reviews?$"
SHARED: Final = "(^|[._])shares?$"
REFERRED: Final = "(^|[._])referrals?$"
"""What events are by their types."""


def _trait(key: str, meaning: str) -> PersonFeature:
    return PersonFeature(key, Type.TEXT, "", meaning, Source.PEOPLE, key)


def _count(key: str, unit: str, meaning: str, source: Source, formula: str) -> PersonFeature:
    return PersonFeature(key, Type.INT, unit, meaning, source, formula, is_count=True)


def _score(key: str, meaning: str) -> PersonFeature:
    return PersonFeature(key, Type.INT, "score", f"{meaning}, in fifths of all customers", Source.FIGURES, key)


def _most(count: str, code: str) -> str:
    """The code with the highest count, of several the lowest: first by name, or the earliest."""
    return f"{CODES - 1} - max({count} * {CODES} + {CODES - 1} - {code}) % {CODES}"


CODES: Final = 1 << 20
"""No column may have as many different texts."""

PERSON_FEATURES: Final[tuple[PersonFeature, ...]] = (
    _trait("gender", "gender"),
    PersonFeature(
        "birth_year", Type.INT, "year", "year of birth", Source.PEOPLE, "year(birth_date)"
    ),
    PersonFeature(
        "age", Type.INT, "years", "completed years of age", Source.PEOPLE,
        "CASE WHEN birth_date <= today THEN (strftime(today, '%Y%m%d')::INT - strftime(birth_date, '%Y%m%d')::INT)"
        " // 10000 END",
    ),
    _trait("language", "language"),
    _trait("country", "country"),
    _trait("region", "region"),
    _trait("city", "city"),
    _trait("company", "company"),
    _trait("job_title", "job title"),
    _trait("loyalty_tier", "member level"),
    PersonFeature("loyalty_points", Type.INT, "points", "loyalty points", Source.PEOPLE, "loyalty_points"),
    PersonFeature(
        "member_since", Type.INSTANT, "", "midnight UTC of the day of joining the loyalty programme", Source.PEOPLE,
        "epoch_ms(member_since::TIMESTAMP)",
    ),
    PersonFeature(
        "reachable_by", Type.TEXTS, "", "kinds of identifiers by which nobody else is known", Source.PEOPLE,
        "list_sort(reachable_by)",
    ),
    PersonFeature(
        "sources", Type.TEXTS, "", "sources that have a record of the person", Source.PEOPLE, "list_sort(sources)"
    ),
    PersonFeature(
        "created_at", Type.INSTANT, "", "since when there is an identity", Source.PEOPLE, "epoch_ms(created_at)"
    ),
    PersonFeature("first_order_at", Type.INSTANT, "", "first purchase", Source.PURCHASES, "min(placed)"),
    PersonFeature("last_order_at", Type.INSTANT, "", "last purchase", Source.PURCHASES, "max(placed)"),
    _count("purchases", "orders", "purchases, each counted", Source.FIGURES, "purchases"),
    _count("purchases_30d", "orders", "purchases in the last 30 days", Source.FIGURES, "purchases_30d"),
    PersonFeature(
        "order_value_ratio", Type.FLOAT, "ratio",
        "mean charged per purchase ÷ the mean of all purchases of all customers, main currency",
        Source.FIGURES, "order_value_ratio",
    ),
    PersonFeature(
        "repeat_share", Type.FLOAT, "share", "order days but the first ÷ order days", Source.FIGURES, "repeat_share"
    ),
    _score("recency_score", "1 to 5 for how recently the person bought"),
    _score("frequency_score", "1 to 5 for how many purchases there are"),
    _score("monetary_score", "1 to 5 for how much was spent"),
    PersonFeature("last_event_at", Type.INSTANT, "", "last event", Source.EVENTS, 'max("at")'),
    _count("events", "events", "events in all", Source.EVENTS, "count(*)"),
    _count("reviews", "reviews", "reviews written", Source.EVENTS, "count(*) FILTER (reviewed)"),
    PersonFeature(
        "review_rating", Type.FLOAT, "stars", "mean rating of the reviews that have one", Source.EVENTS,
        "sum(rating) FILTER (reviewed) / (count(rating) FILTER (reviewed) * 1e6)",
    ),
    _count("shares", "shares", "things shared with others", Source.EVENTS, "count(*) FILTER (shared)"),
    _count("referrals", "referrals", "others referred", Source.EVENTS, "count(*) FILTER (referred)"),
    PersonFeature(
        "bounce_rate", Type.FLOAT, "share", "share of sessions of the last 30 days with a single event",
        Source.SESSIONS, "count(*) FILTER (single) / count(*)",
    ),
    PersonFeature(
        "first_source", Type.TEXT, "", "source of the earliest order or event", Source.ACTIONS,
        f'min("at" * {CODES} + source) & {CODES - 1}',
    ),
    PersonFeature(
        "last_source", Type.TEXT, "", "source of the latest order or event", Source.ACTIONS,
        f'max("at" * {CODES} + source) & {CODES - 1}',
    ),
    PersonFeature(
        "active_hour", Type.INT, "hour", "local hour of the day, 0 to 23, with the most orders and events; of several"
        " the earliest", Source.HOURS, _most("actions", "hour"),
    ),
    PersonFeature(
        "preferred_channel", Type.TEXT, "", "channel of most orders and events in the last 365 days; of several the"
        " first by name", Source.CHANNELS, _most("actions", "channel"),
    ),
    PersonFeature(
        "categories", Type.TEXTS, "", "categories bought or viewed in the last 365 days", Source.CATEGORIES,
        "list_sort(list(category))",
    ),
    PersonFeature(
        "top_category", Type.TEXT, "", "category bought most in the last 365 days, of several the one viewed most, then"
        " the first by name", Source.CATEGORIES, _most("(bought * 1048576 + least(viewed, 1048575))", "category"),
    ),
    PersonFeature(
        "top_brand", Type.TEXT, "", "brand viewed and put into the cart most in the last 365 days; of several the first"
        " by name", Source.BRANDS, _most("viewed", "brand"),
    ),
    PersonFeature(
        "cart_rate", Type.FLOAT, "share", "additions to the cart ÷ product and page views, in the last 30 days",
        Source.FEATURES, "carts_30d / nullif(views_30d, 0)",
    ),
    PersonFeature(
        "comeback", Type.FLOAT, "ratio", "days between the last two order days ÷ the gap that was expected before",
        Source.FEATURES, "gap_last * orders / nullif(gap_expected * (orders + 1) - gap_last, 0)",
    ),
    PersonFeature(
        "price_band", Type.INT, "band", "1 to 5, the dearest, for the mean price of a piece bought, in fifths of all"
        " customers", Source.FEATURES, "price_band",
    ),
    PersonFeature(
        "clv_score", Type.INT, "score", "1 to 5 for the predicted spend, in fifths of all who have a prediction",
        Source.FEATURES, "clv_score",
    ),
)  # fmt: skip
"""All of them, in the order of the frame's columns."""


def of_source(source: Source) -> tuple[PersonFeature, ...]:
    """The features that speak about one relation."""
    return tuple(feature for feature in PERSON_FEATURES if feature.source is source)
