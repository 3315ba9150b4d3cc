"""How a risk of churn is drawn: a bar from none to certain, and a line of them over the days ahead."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rich.text import Text

from onefold.v1 import prediction_service_pb2 as pb

_BAR: Final = 20
"""Columns of a bar."""


def style(probability: float) -> str:
    """The colour of a risk."""
    return "red" if probability >= 0.66 else "yellow" if probability >= 0.33 else "green"


def curve(points: Iterable[pb.CurvePoint]) -> Text:
    """A bar for each horizon, a line each: ``  30 days ██████████████░░░░░░  71%``."""
    return Text("\n").join(_line(point) for point in points)


def _line(point: pb.CurvePoint) -> Text:
    risk = point.churn_probability
    filled = round(risk * _BAR)
    return Text.assemble(
        (f"{point.horizon_days:>4} {'day ' if point.horizon_days == 1 else 'days'} ", "dim"),
        ("█" * filled, style(risk)),
        ("░" * (_BAR - filled), "dim"),
        f" {risk:>4.0%}",
    )
