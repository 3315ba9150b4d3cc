"""Looks closely at groups of people: what they are like, what they did beside others, who looks like them.

Each study goes through everybody, which takes seconds and memory where a question to a frame takes milliseconds. So one
is made at a time, and who asks for another waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from onefold.graph import columns
from onefold.graph.errors import DeadlineExceeded, InvalidInput, Violation
from onefold.graph.model import Instant
from onefold.graph.reader import Reader
from onefold.ml.panel import DAY
from onefold.segments import clusters, effect, features
from onefold.segments.check import Rule
from onefold.segments.clusters import Clustering
from onefold.segments.defining import defining
from onefold.segments.effect import Effect
from onefold.segments.frame import members
from onefold.segments.insight import describe
from onefold.segments.insight.describe import Insight
from onefold.segments.lookalike import Lookalikes, lookalikes
from onefold.segments.problems import did_you_mean
from onefold.segments.tree import HasLabel
from onefold.service.defined import Definer
from onefold.service.live_frame import IDENTITY, About, LiveFrame, check_columns
from onefold.service.past import frame_as_of

_FIRST: Final = -2_208_988_800_000
"""The first instant of 1900."""

LOST: Final = "lost"
"""The label of those who were lost."""


class Studies:
    """Makes them, one at a time."""

    def __init__(self, reader: Reader, definer: Definer, clock: Callable[[], Instant]) -> None:
        self._reader = reader
        self._definer = definer
        self._clock = clock
        self._one = threading.Lock()

    def describe(self, rule: Rule, live: LiveFrame, most: int, seconds: float | None) -> tuple[Insight, About]:
        """What those are like of whom a rule is true in a frame.

        Raises InvalidInput where that is nobody, NotReady, DeadlineExceeded, Unavailable.
        """
        with self._alone(seconds) as reader:
            with live.asked(reader.left()) as asking:
                about = asking.about
                frame = asking.people(columns=sorted(describe.COLUMNS & live.columns))
                inside = asking.rows(rule).read_all()["identity"]
            if not len(inside):
                raise InvalidInput([Violation("group", "nobody is in it: there is nothing to describe")])
            did = (
                columns.wide_orders(reader, about.as_of),
                columns.wide_lines(reader, about.as_of),
                columns.wide_events(reader, about.as_of, properties=describe.EVENT_PROPERTIES),
            )
            reader.left()
            zone = self._definer.current.catalogue.time_zone
            asked = describe.Asked(time_zone=zone, most=most)
            return describe.describe(inside, frame, *did, about.as_of, asked), about

    def measure(self, rule: Rule, outside: Rule | None, start: Instant, days: int, seconds: float | None) -> Effect:
        """What those did within ``days`` from ``start`` of whom a rule was true then, beside comparable people: all
        others, or those of whom ``outside`` was true.

        Raises InvalidInput for a window that is not over, NotReady where there are too few, DeadlineExceeded,
        Unavailable.
        """
        end = start + days * DAY
        if end > self._clock():
            raise InvalidInput([Violation("start_time", f"{days} days from then are not over yet")])
        if start < _FIRST:
            raise InvalidInput([Violation("start_time", "must be of 1900 or later, as orders and events are")])
        defined = self._definer.current
        for asked in (rule, outside) if outside else (rule,):
            check_columns(asked, features.schema(defined.catalogue).names)
        with self._alone(seconds) as reader:
            frame = frame_as_of(reader, defined, start)
            orders = columns.orders(reader, end)
            reader.left()
            return effect.measure(
                set(members(frame, rule, start)),
                frame,
                orders,
                start,
                days,
                defining=defining(rule, defined.catalogue.rules).features,
                lost=set(members(frame, Rule(HasLabel(LOST), {}), start)),
                outside=None if outside is None else set(members(frame, outside, start)),
            )

    def lookalikes(self, rule: Rule, live: LiveFrame, size: int, seconds: float | None) -> tuple[Lookalikes, About]:
        """The ``size`` people outside who are most like those of whom a rule is true in a frame.

        Raises NotReady where there are too few, DeadlineExceeded.
        """
        rules = self._definer.current.catalogue.rules
        with self._alone(seconds) as reader:
            with live.asked(reader.left()) as asking:
                about = asking.about
                frame = asking.people()
                inside = set(asking.rows(rule).read_all()["identity"].to_pylist())
            return lookalikes(inside, frame, about.as_of, defining(rule, rules), size), about

    def clusters(
        self, keys: Sequence[str], previous: Clustering | None, live: LiveFrame, seconds: float | None
    ) -> tuple[Clustering, About]:
        """The clusters of a frame by these features, after those of the last time.

        Raises InvalidInput for features that are not there or no numbers, NotReady where there are too few people,
        DeadlineExceeded.
        """
        if odd := sorted(set(keys) - live.columns):
            rule = f"there is no {odd[0]}{did_you_mean(odd[0], live.columns)}"
            raise InvalidInput([Violation("features", rule)])
        with self._alone(seconds) as reader:
            with live.asked(reader.left()) as asking:
                about = asking.about
                frame = asking.people(columns=sorted({IDENTITY, *keys}))
            return clusters.fit(frame, about.as_of, keys, previous), about

    @contextmanager
    def _alone(self, seconds: float | None) -> Iterator[Reader]:
        """A reader for as long as the caller waits, once nobody else makes a study."""
        reader = self._reader.within(seconds)
        if not self._one.acquire(timeout=-1 if seconds is None else seconds):
            raise DeadlineExceeded("the deadline ran out while another group was looked at")
        try:
            yield reader
        finally:
            self._one.release()
