"""All features as a page of documentation: those of models, and those that frames know beside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from onefold.ml import feature_page
from onefold.segments.person_features import PERSON_FEATURES, PersonFeature, Source

_SOURCES: Final = {
    Source.PEOPLE: "From the profile",
    Source.PURCHASES: "From purchases",
    Source.FIGURES: "From purchases, held against everybody's",
    Source.EVENTS: "From all events",
    Source.SESSIONS: "From sessions of the last 30 days",
    Source.ACTIONS: "From orders and events",
    Source.HOURS: "From hours of the day",
    Source.CHANNELS: "From channels",
    Source.CATEGORIES: "From categories",
    Source.BRANDS: "From brands",
    Source.FEATURES: "From other features of the same instant",
}


def page() -> str:
    """The page in Markdown; ends with a line break."""
    return feature_page.page() + "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield ""
    yield "# Features for rules"
    yield ""
    yield (
        f"Rules of segments and labels (`rules.md`) can ask for {len(PERSON_FEATURES)} more, which are known of"
        " everybody, whether they bought or not. They are defined in `ml/onefold/segments/person_features.py`. Of who"
        " did nothing, a count is 0 and all else is unknown. Texts are case-folded, and an empty text is unknown. Days"
        " are those before the frame's instant."
    )
    for source, title in _SOURCES.items():
        yield ""
        yield f"## {title}"
        yield ""
        yield "| key | type | unit | meaning | formula |"
        yield "|---|---|---|---|---|"
        yield from (_row(feature) for feature in PERSON_FEATURES if feature.source is source)


def _row(feature: PersonFeature) -> str:
    cells = (f"`{feature.key}`", feature.type.value, feature.unit, feature.meaning, f"`{feature.formula}`")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
