"""What a catalogue asks of features, as far as they are concerned."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from onefold.segments.tree import CountEvents
from onefold.segments.types import Type


class EventField(Protocol):
    """What ``count_events`` may ask of an event."""

    @property
    def type(self) -> Type:
        """Text, whole number, number, days, or true or false."""

    @property
    def property(self) -> str:
        """The free property that it is; empty for ``channel``."""


class Custom(Protocol):
    """A feature of a catalogue's own."""

    @property
    def type(self) -> Type:
        """Of its values."""

    @property
    def source(self) -> Any:
        """A :class:`CountEvents`, or what has the ``name`` of a free property of the profile."""


class Asked(Protocol):
    """What is asked for beside the features that come with Onefold: a catalogue is one."""

    @property
    def windows(self) -> Collection[CountEvents]:
        """The counts of events, in an order; each becomes a column under its canonical text."""

    @property
    def event_fields(self) -> Mapping[str, EventField]:
        """What their conditions may read, by key."""

    @property
    def features(self) -> Mapping[str, Custom]:
        """Custom features, by key."""

    @property
    def time_zone(self) -> str:
        """Of what happened without a UTC offset; an IANA name."""
