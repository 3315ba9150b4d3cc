"""The life of the process: start, serve, be told to stop, drain, close everything in reverse order.

The first SIGTERM or SIGINT asks for an orderly end, the second ends running calls at once, the third ends the
process as if nobody listened. A signal during the start ends the start, and what had been started is closed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from queue import SimpleQueue
from types import FrameType
from typing import Final

import structlog

from onefold.service.server import Server

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


log = structlog.get_logger("onefold.process")


def run(start: Callable[[ExitStack], Server], drain_seconds: float) -> None:
    """Serves until told to stop. Call it on the main thread.

    ``start`` enters what it needs into the stack, the server last, and returns the server; when the server is
    drained the stack is closed, last in first out. Raises what ``start`` raises, and :class:`SystemExit` with
    128 + signal if a signal came before it was done.
    """
    signals = _Signals()
    with ExitStack() as resources:
        signals.install(resources)
        server = start(resources)
        signals.serving()
        server.set_ready(True)
        log.info("ready", port=server.port)
        signals.wait()
        log.info("draining", seconds=drain_seconds)
        over = server.drain(drain_seconds)
        while not over.wait(0.05):
            if signals.again():
                log.warning("stopping at once")
                server.drain(0).wait()
        log.info("stopped")


class _Signals:
    """What has been asked of this process."""

    def __init__(self) -> None:
        # A handler may run while this thread holds any lock; of all queues only this one may be put to then.
        self._asked: SimpleQueue[int] = SimpleQueue()
        self._count = 0
        self._serving = False

    def install(self, resources: ExitStack) -> None:
        for number in SIGNALS:
            resources.callback(signal.signal, number, signal.signal(number, self._received))

    def serving(self) -> None:
        """From here on the first signal asks for a drain; before, it ends the start."""
        self._serving = True

    def wait(self) -> None:
        """Returns when a stop is asked for."""
        self._asked.get()

    def again(self) -> bool:
        """Whether it has been asked for once more."""
        return not self._asked.empty()

    def _received(self, number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._count > 2:
            os._exit(128 + number)
        self._asked.put(number)
        if self._count == 1 and not self._serving:
            raise SystemExit(128 + number)
