"""The feature catalogue as a page of documentation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from onefold.ml.catalogue import CATALOGUE, Feature, Source

_SOURCES: Final = {
    Source.ORDER_DAYS: "From order days",
    Source.EVENTS: "From events",
    Source.FEATURES: "From other features",
}


def page() -> str:
    """The catalogue in Markdown, by the relation that formulas speak about; ends with a line break."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Features"
    yield ""
    yield "<!-- written by `onefold features list --markdown > docs/features.md`; a test holds it to the catalogue -->"
    yield ""
    yield (
        f"The {len(CATALOGUE)} figures that models and exports know about a person, each as of an instant. They are"
        " defined in `ml/onefold/ml/catalogue.py` and nowhere else. A formula is a DuckDB expression over one relation;"
        " `$mean_gap` is the mean days between order days over all customers. What is unknown is empty, never a guess."
    )
    for source, title in _SOURCES.items():
        features = [feature for feature in CATALOGUE if feature.source is source]
        yield ""
        yield f"## {title}"
        yield ""
        yield f"As-of rule: {features[0].as_of}."
        yield ""
        yield "| key | meaning | unit | type | topic | formula | words | owner |"
        yield "|---|---|---|---|---|---|---|---|"
        yield from map(_row, features)


def _row(feature: Feature) -> str:
    cells = (
        f"`{feature.key}`",
        feature.meaning,
        feature.unit,
        feature.type,
        feature.topic,
        f"`{feature.formula}`",
        feature.words,
        feature.owner,
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
