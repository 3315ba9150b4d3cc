"""The feature catalogue: every feature once, with its meaning, unit, formula and words.

A formula is a DuckDB expression over one relation (:class:`Source`). Training, scoring and whatever shows a
feature to a person all read this list; nothing else defines a feature.

Every sum runs over whole numbers (real terms are first rounded to billionths), so that a value depends
neither on the order of the rows nor on how many threads added them: one customer computed alone equals the
same customer computed among millions, bit for bit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from hashlib import sha256
from typing import Final

from onefold.graph.errors import NotFound


class Source(StrEnum):
    """The relation that a formula speaks about; each holds only what happened before the cutoff."""

    ORDER_DAYS = "order_days"
    """One row per identity and UTC day with a purchase. A cancelled order, one that was refunded in full on
    its own day, and one that charged nothing is no purchase.

    Columns: ``age`` (days from the day to the cutoff), ``day``, ``gap`` (days since the order day before;
    unknown for the first), ``latest`` (instant of the day's last purchase), ``hour``, ``weekend``, ``value``
    and ``returned`` (micros of the main currency; unknown on a day without it), ``returns`` (was anything
    refunded), ``line_count``, ``unit_count``, ``product_count``, ``coupon``, ``shop`` (the first channel)."""
    EVENTS = "events"
    """One row per event. Columns: ``age`` (days from the event to the cutoff), ``viewed``, ``carted``,
    ``channel``."""
    FEATURES = "features"
    """One row per identity: the features of the other two relations, and those listed before."""


class ValueType(StrEnum):
    """What kind of number a feature is; all of them are computed, stored and handed to models as float64."""

    WHOLE = "whole number"
    """It counts rows."""
    REAL = "real number"


@dataclass(frozen=True, slots=True)
class Feature:
    """One figure about an identity as of a cutoff; unknown is NULL (NaN to a model), never a guess."""

    key: str
    meaning: str
    unit: str
    """A noun in the plural, or ``share``, ``ratio``, ``amount`` (main currency), ``hour`` or ``number``."""
    source: Source
    formula: str
    """A DuckDB expression. Parameters: ``$mean_gap``, the population's mean days between orders."""
    topic: str
    """What the feature is about; reasons are told by topic."""
    words: str
    """How a reason says it; names features in braces."""
    otherwise: str = "not known yet"
    """How a reason says it when a feature named in ``words`` is unknown."""
    owner: str = "Onefold"
    """Who answers for the definition, and is asked before it changes."""

    @property
    def type(self) -> ValueType:
        """What kind of number it is."""
        return ValueType.WHOLE if _COUNT.fullmatch(self.formula) else ValueType.REAL

    @property
    def as_of(self) -> str:
        """The rule by which the feature knows nothing from the cutoff on."""
        return _AS_OF[self.source]

    @property
    def fingerprint(self) -> str:
        """Changes exactly when the feature may mean another number: with its formula, with the relation that
        the formula speaks about, and with the features that it names."""
        named = sorted(set(_NAME.findall(self.formula)) & BY_KEY.keys() if self.source is Source.FEATURES else ())
        beneath = [BY_KEY[key].fingerprint for key in named] or [RELATIONS[self.source]]
        return sha256("\n".join((self.key, self.formula, *beneath)).encode()).hexdigest()[:16]


_NAME: Final = re.compile(r"[a-z_0-9]+")
_COUNT: Final = re.compile(r"count\((\*|DISTINCT \w+)\)( FILTER \([^()]*\))?")

PURCHASES: Final = """
    refunded AS (
        SELECT
            *,
            epoch_ms(placed_at) AS placed,
            floor(epoch_ms(placed_at) / 86400000.0)::BIGINT AS day,
            [r.amount FOR r IN refunds IF epoch_ms(r."at") < as_of] AS amounts,
            [r.amount FOR r IN refunds
                IF epoch_ms(r."at") < as_of
                AND floor(epoch_ms(r."at") / 86400000.0) = floor(epoch_ms(placed_at) / 86400000.0)
            ] AS amounts_at_once
        FROM orders JOIN cutoffs ON epoch_ms(placed_at) < as_of
        WHERE status <> 'cancelled' AND total > 0
    ),
    purchases AS (
        SELECT
            *,
            least(coalesce(list_sum(amounts), 0), total)::BIGINT AS returned,
            currency = $currency AS home
        FROM refunded
        WHERE coalesce(list_sum(amounts_at_once), 0) < total
    )
"""
"""The orders that are purchases, as common table expressions of a DuckDB query over the table of orders: ``purchases``
has the columns of :data:`onefold.ml.columns.ORDERS` with ``placed`` (milliseconds), ``day``, ``returned`` (micros given
back before the cutoff) and ``home`` (in the main currency?) beside them, once per cutoff. Parameters as in
:data:`RELATIONS`."""

RELATIONS: Final = {
    Source.ORDER_DAYS: f"""
        WITH {PURCHASES},
        by_day AS (
            SELECT
                identity,
                as_of,
                day,
                max(placed) AS latest,
                ((min(placed) - day * 86400000) // 3600000) AS hour,
                sum(total) FILTER (home) AS value,
                sum(returned) FILTER (home) AS returned,
                bool_or(returned > 0) AS returns,
                sum(lines) AS line_count,
                sum(units) AS unit_count,
                sum(products) AS product_count,
                bool_or(has_coupon) AS coupon,
                arg_min(channel, (placed, "order")) AS shop
            FROM purchases
            GROUP BY identity, as_of, day
        )
        SELECT
            *,
            as_of / 86400000.0 - day AS age,
            isodow(make_date(day::INTEGER)) >= 6 AS weekend,
            day - lag(day) OVER (PARTITION BY identity, as_of ORDER BY day) AS gap
        FROM by_day
    """,
    Source.EVENTS: r"""
        SELECT
            identity,
            as_of,
            (as_of - epoch_ms("at")) / 86400000.0 AS age,
            regexp_matches(type, '(^|[._])views?$') AS viewed,
            regexp_matches(type, '(^|[._])carts?$') AS carted,
            channel
        FROM events JOIN cutoffs ON epoch_ms("at") < as_of
    """,
}
"""What the relations of :class:`Source` hold, as DuckDB queries over the tables of :mod:`onefold.ml.columns` and a
table ``cutoffs``, whose column ``as_of`` (milliseconds) each row carries. ``$currency`` is the population's main
currency."""

_AS_OF: Final = {
    Source.ORDER_DAYS: "orders placed, and refunds given, before the cutoff",
    Source.EVENTS: "events that happened before the cutoff",
    Source.FEATURES: "computed from other features as of the same cutoff",
}


def _mean(column: str) -> str:
    return f"avg({column})"


def _within(days: int) -> str:
    return f"count(*) FILTER (age <= {days})"


def _faded(days: int) -> str:
    return f"sum(round(exp(-age / {days}) * 1e9)::BIGINT) / 1e9"


def _orders(key: str, meaning: str, unit: str, formula: str, topic: str, words: str, *more: str) -> Feature:
    return Feature(key, meaning, unit, Source.ORDER_DAYS, formula, topic, words, *more)


def _events(key: str, meaning: str, unit: str, formula: str, words: str, *more: str) -> Feature:
    return Feature(key, meaning, unit, Source.EVENTS, formula, "engagement", words, *more)


def _derived(key: str, meaning: str, unit: str, formula: str, topic: str, words: str, *more: str) -> Feature:
    return Feature(key, meaning, unit, Source.FEATURES, formula, topic, words, *more)


_LAST_ORDER: Final = "last order {days_since_order} ago, usually every {gap_mean}"
_ONLY_ORDER: Final = "the only order was {days_since_order} ago"
_LAST_MONTH: Final = "{orders_30d} in the last 30 days, {orders} in all"
_LAST_QUARTER: Final = "{orders_90d} in the last 90 days, {orders} in all"
_LAST_HALF_YEAR: Final = "{orders_180d} in the last 180 days, {orders} in all"
_NO_RHYTHM: Final = "one order so far, so no rhythm is known"
_ENGAGED: Final = "{views_30d} and {carts_30d} in the last 30 days"

CATALOGUE: Final[tuple[Feature, ...]] = (
    _orders(
        "days_since_order",
        "days from the last order day to the cutoff",
        "days",
        "min(age)",
        "recency",
        _LAST_ORDER,
        _ONLY_ORDER,
    ),
    _orders(
        "days_since_first_order",
        "days from the first order day to the cutoff",
        "days",
        "max(age)",
        "tenure",
        "customer for {days_since_first_order}",
    ),
    _orders("orders", "order days", "orders", "count(*)", "frequency", "{orders} in all"),
    _orders("orders_30d", "order days in the last 30 days", "orders", _within(30), "frequency", _LAST_MONTH),
    _orders(
        "orders_60d",
        "order days in the last 60 days",
        "orders",
        _within(60),
        "frequency",
        "{orders_60d} in the last 60 days, {orders} in all",
    ),
    _orders("orders_90d", "order days in the last 90 days", "orders", _within(90), "frequency", _LAST_QUARTER),
    _orders("orders_180d", "order days in the last 180 days", "orders", _within(180), "frequency", _LAST_HALF_YEAR),
    _orders(
        "orders_faded_7d",
        "order days, each fading with e-fold time 7 days",
        "number",
        _faded(7),
        "frequency",
        _LAST_MONTH,
    ),
    _orders(
        "orders_faded_15d",
        "order days, each fading with e-fold time 15 days",
        "number",
        _faded(15),
        "frequency",
        _LAST_MONTH,
    ),
    _orders(
        "orders_faded_30d",
        "order days, each fading with e-fold time 30 days",
        "number",
        _faded(30),
        "frequency",
        _LAST_MONTH,
    ),
    _orders(
        "orders_faded_60d",
        "order days, each fading with e-fold time 60 days",
        "number",
        _faded(60),
        "frequency",
        _LAST_QUARTER,
    ),
    _orders(
        "orders_faded_120d",
        "order days, each fading with e-fold time 120 days",
        "number",
        _faded(120),
        "frequency",
        _LAST_HALF_YEAR,
    ),
    _orders(
        "orders_faded_240d",
        "order days, each fading with e-fold time 240 days",
        "number",
        _faded(240),
        "frequency",
        _LAST_HALF_YEAR,
    ),
    _orders(
        "gap_mean",
        "mean days between order days",
        "days",
        _mean("gap"),
        "rhythm",
        "usually orders every {gap_mean}",
        _NO_RHYTHM,
    ),
    _orders(
        "gap_median",
        "median days between order days",
        "days",
        "median(gap)",
        "rhythm",
        "usually orders every {gap_median}",
        _NO_RHYTHM,
    ),
    _orders(
        "gap_max",
        "longest days between order days",
        "days",
        "max(gap)",
        "rhythm",
        "was never away longer than {gap_max} between orders",
        _NO_RHYTHM,
    ),
    _orders(
        "gap_last",
        "days between the last two order days",
        "days",
        "arg_max(gap, day)",
        "rhythm",
        "{gap_last} between the last two orders",
        _NO_RHYTHM,
    ),
    _orders(
        "gap_variation",
        "coefficient of variation of the days between order days",
        "share",
        "sqrt((count(gap) * sum(gap * gap) - sum(gap) * sum(gap))::DOUBLE) / sum(gap)",
        "rhythm",
        "days between orders vary by {gap_variation} around their mean",
        _NO_RHYTHM,
    ),
    _orders(
        "spend",
        "charged less refunded, main currency",
        "amount",
        "sum(value - returned) / 1e6",
        "spend",
        "spent {spend} in all",
        "has not bought in the main currency",
    ),
    _orders(
        "spend_90d",
        "charged less refunded in the last 90 days, main currency",
        "amount",
        "coalesce(sum(value - returned) FILTER (age <= 90), 0) / 1e6",
        "spend",
        "spent {spend_90d} in the last 90 days",
    ),
    _orders(
        "order_value_mean",
        "mean charged per order day, main currency",
        "amount",
        "avg(value) / 1e6",
        "spend",
        "spends {order_value_mean} per order",
        "has not bought in the main currency",
    ),
    _orders(
        "order_value_typical",
        "geometric mean of what was charged per order day, main currency",
        "amount",
        "exp(sum(round(ln(value / 1e6) * 1e9)::BIGINT) / 1e9 / count(value))",
        "spend",
        "typically spends {order_value_typical} per order",
        "has not bought in the main currency",
    ),
    _orders(
        "order_value_max",
        "most charged on an order day, main currency",
        "amount",
        "max(value) / 1e6",
        "spend",
        "largest order {order_value_max}",
        "has not bought in the main currency",
    ),
    _orders(
        "order_value_last",
        "charged on the last order day, main currency",
        "amount",
        "arg_max(value, day) / 1e6",
        "spend",
        "last order {order_value_last}, usually {order_value_mean}",
        "has not bought in the main currency",
    ),
    _orders(
        "lines_mean",
        "mean lines per order day",
        "lines",
        _mean("line_count"),
        "basket",
        "{lines_mean} per order",
    ),
    _orders(
        "lines_last",
        "lines on the last order day",
        "lines",
        "arg_max(line_count, day)",
        "basket",
        "{lines_last} on the last order, usually {lines_mean}",
    ),
    _orders(
        "products_mean",
        "mean distinct products per order",
        "products",
        _mean("product_count"),
        "basket",
        "{products_mean} per order",
    ),
    _orders(
        "units_mean",
        "mean pieces per order day",
        "pieces",
        _mean("unit_count"),
        "basket",
        "{units_mean} per order",
    ),
    _orders(
        "returned_share",
        "refunded ÷ charged, main currency",
        "share",
        "sum(returned)::DOUBLE / sum(value)",
        "returns",
        "{returned_share} of what was bought came back",
        "has not bought in the main currency",
    ),
    _orders(
        "returned_orders",
        "order days with a refund",
        "orders",
        "count(*) FILTER (returns)",
        "returns",
        "{returned_orders} with something returned",
    ),
    _orders(
        "coupon_share",
        "share of order days with a coupon",
        "share",
        "count(*) FILTER (coupon) / count(*)",
        "habits",
        "uses a coupon on {coupon_share} of orders",
    ),
    _orders(
        "order_channels",
        "distinct channels bought through",
        "channels",
        "count(DISTINCT shop) FILTER (shop <> '')",
        "habits",
        "buys through {order_channels}",
    ),
    _orders(
        "order_hour",
        "mean hour of the day of orders, UTC",
        "hour",
        _mean("hour"),
        "habits",
        "orders around {order_hour} UTC",
    ),
    _orders(
        "weekend_share",
        "share of order days on Saturday or Sunday, UTC",
        "share",
        "count(*) FILTER (weekend) / count(*)",
        "habits",
        "places {weekend_share} of orders at the weekend",
    ),
    _events("events_30d", "events in the last 30 days", "events", _within(30), "{events_30d} in the last 30 days"),
    _events("events_90d", "events in the last 90 days", "events", _within(90), "{events_90d} in the last 90 days"),
    _events(
        "views_30d",
        "product and page views in the last 30 days",
        "views",
        "count(*) FILTER (viewed AND age <= 30)",
        _ENGAGED,
    ),
    _events(
        "views_90d",
        "product and page views in the last 90 days",
        "views",
        "count(*) FILTER (viewed AND age <= 90)",
        "{views_90d} in the last 90 days",
    ),
    _events(
        "carts_30d",
        "additions to the cart in the last 30 days",
        "cart additions",
        "count(*) FILTER (carted AND age <= 30)",
        _ENGAGED,
    ),
    _events(
        "carts_90d",
        "additions to the cart in the last 90 days",
        "cart additions",
        "count(*) FILTER (carted AND age <= 90)",
        "{carts_90d} in the last 90 days",
    ),
    _events(
        "days_since_event",
        "days from the last event to the cutoff",
        "days",
        "min(age)",
        "last seen {days_since_event} ago",
        "never seen apart from orders",
    ),
    _derived(
        "gap_expected",
        "mean days between order days, drawn towards the population's by two gaps",
        "days",
        "(days_since_first_order - days_since_order + 2 * $mean_gap) / (orders + 1)",
        "rhythm",
        "usually orders every {gap_mean}",
        _NO_RHYTHM,
    ),
    _derived(
        "overdue",
        "days since the last order ÷ expected gap",
        "ratio",
        "days_since_order / gap_expected",
        "recency",
        _LAST_ORDER,
        _ONLY_ORDER,
    ),
    _derived(
        "overdue_longest",
        "days since the last order ÷ longest gap",
        "ratio",
        "days_since_order / gap_max",
        "recency",
        "last order {days_since_order} ago, never away longer than {gap_max} before",
        _ONLY_ORDER,
    ),
    _derived(
        "quiet_share",
        "days since the last order ÷ days since the first",
        "share",
        "days_since_order / days_since_first_order",
        "recency",
        "no order in the last {quiet_share} of the time as a customer",
    ),
    _derived(
        "gap_last_ratio",
        "days between the last two order days ÷ mean gap",
        "ratio",
        "gap_last / gap_mean",
        "rhythm",
        "{gap_last} between the last two orders, usually {gap_mean}",
        _NO_RHYTHM,
    ),
    _derived(
        "order_trend",
        "log of the recent order rate (30 days) against the long one (240 days)",
        "number",
        "ln(orders_faded_30d / 30 + 0.002) - ln(orders_faded_240d / 240 + 0.002)",
        "trend",
        "{orders_30d} in the last 30 days against {orders_180d} in the last 180",
    ),
    _derived(
        "order_value_last_ratio",
        "charged on the last order day ÷ mean",
        "ratio",
        "order_value_last / order_value_mean",
        "spend",
        "last order {order_value_last}, usually {order_value_mean}",
        "has not bought in the main currency",
    ),
)
"""All features, in the order in which they are computed."""

BY_KEY: Final = {feature.key: feature for feature in CATALOGUE}


def fingerprint(features: Iterable[Feature] = CATALOGUE) -> str:
    """One short text that changes exactly when some feature is added, dropped or defined otherwise."""
    return sha256("\n".join(sorted(f.fingerprint for f in features)).encode()).hexdigest()[:16]


def of_source(source: Source) -> tuple[Feature, ...]:
    """The features that speak about one relation."""
    return tuple(feature for feature in CATALOGUE if feature.source is source)


def named(key: str) -> Feature:
    """The feature of this key. Raises :class:`NotFound`, which names the nearest keys there are."""
    if key in BY_KEY:
        return BY_KEY[key]
    near = get_close_matches(key, BY_KEY, n=3, cutoff=0.5)
    raise NotFound("feature", key, f"is {' or '.join(near)} meant?" if near else "`onefold features list` lists all")
