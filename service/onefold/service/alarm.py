"""The alarm on large components: what hangs together too widely is told once, and again whenever it has doubled."""

from __future__ import annotations

import threading
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

_REMEMBERED: Final = 10_000

log = structlog.get_logger("onefold.components")


class ComponentAlarm:
    """Told of components that have at least as many records as the policy's ``max_component``.

    A large component costs time with each record it gains, and is nearly always a bad value that should be blocked.
    """

    def __init__(self, limit: int, registry: CollectorRegistry) -> None:
        self._limit = limit
        self._told: dict[str, int] = {}
        self._most = 0
        self._telling = threading.Lock()
        self._commits = Counter(
            "onefold_large_component_commits",
            "Commits that touched a component with at least max_component records.",
            registry=registry,
        )
        self._largest = Gauge(
            "onefold_largest_component_records",
            "Records of the largest component that was touched since the start, from max_component on.",
            registry=registry,
        )

    def __call__(self, component: str, records: int) -> None:
        """Count it, and log it unless it was logged at more than half this size."""
        self._commits.inc()
        with self._telling:
            self._most = max(self._most, records)
            self._largest.set(self._most)
            if 2 * self._told.get(component, 0) > records:
                return
            if len(self._told) >= _REMEMBERED:
                self._told.clear()
            self._told[component] = records
        log.warning("a component is large", component=component, records=records, max_component=self._limit)
