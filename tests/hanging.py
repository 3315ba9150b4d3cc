"""A wire to an engine that can be made to hang: connections stay, nothing arrives."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Self
from urllib.parse import urlsplit

import pytest

from onefold.graph.endpoint import Endpoint
from onefold.graph.errors import DeadlineExceeded


class Wire:
    """Passes bytes on between clients and an engine. A context manager."""

    def __init__(self, engine: Endpoint) -> None:
        self._engine = urlsplit(engine.uri)
        self._listener = socket.create_server(("127.0.0.1", 0))
        # bolt, not neo4j: a routing table would lead past it
        self.endpoint = replace(engine, uri=f"bolt://127.0.0.1:{self._listener.getsockname()[1]}")
        """Where clients reach the engine by it."""
        self.delay = 0.0
        """Seconds that an answer takes on its way."""
        self.connections = 0
        """How many have been made by it."""
        self._flows = threading.Event()
        self._flows.set()
        self._ends: list[socket.socket] = []

    def hang(self) -> None:
        """From now on nothing arrives, in either direction."""
        self._flows.clear()

    def go_on(self) -> None:
        """All that was sent arrives after all."""
        self._flows.set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on()
        for end in (self._listener, *self._ends):
            _cut(end)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                engine = socket.create_connection((self._engine.hostname or "", self._engine.port or 0))
                self._ends += (client, engine)
                self.connections += 1
                threading.Thread(target=self._pass_on, args=(client, engine, False), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(engine, client, True), daemon=True).start()

    def _pass_on(self, origin: socket.socket, to: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := origin.recv(1 << 16):
                if answers:
                    time.sleep(self.delay)
                self._flows.wait()
                to.sendall(data)
        _cut(to)


def _cut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


def ends_at_its_deadline(call: Callable[[], object], within: float = 10.0) -> None:
    """Asserts that the call raises DeadlineExceeded, and not long after its time."""
    raised: list[BaseException | None] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)
        else:
            raised.append(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(within)
    assert raised, "it still waits"
    if not isinstance(raised[0], DeadlineExceeded):
        pytest.fail(f"it ended with {raised[0]!r}")
