"""The catalogue: labels in their layers, ladders of tiers, segments, and the features of one's own that they read.

A YAML file, read once, checked as a whole and never changed afterwards; :attr:`Catalogue.version` names it.
"""

from onefold.segments.catalogue.definitions import (
    Catalogue,
    CustomFeature,
    EventField,
    InvalidCatalogue,
    Label,
    Ladder,
    Layer,
    Property,
    Segment,
    Status,
    as_data,
    definition,
    named,
)
from onefold.segments.catalogue.difference import Change, diff
from onefold.segments.catalogue.examples import Outcome, outcomes
from onefold.segments.catalogue.file import schema
from onefold.segments.catalogue.reading import load, parse, read

__all__ = [
    "Catalogue",
    "Change",
    "CustomFeature",
    "EventField",
    "InvalidCatalogue",
    "Label",
    "Ladder",
    "Layer",
    "Outcome",
    "Property",
    "Segment",
    "Status",
    "as_data",
    "definition",
    "diff",
    "load",
    "named",
    "outcomes",
    "parse",
    "read",
    "schema",
]
