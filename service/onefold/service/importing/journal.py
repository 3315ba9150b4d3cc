"""How far an import has come: a small file that lets the next run skip what was acknowledged.

Deleting it is harmless: the import then begins again, and what is known changes nothing.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from onefold.graph.errors import InvalidInput, Violation
from onefold.service.importing.rows import GZIP_MAGIC


@dataclass(frozen=True, slots=True)
class Survey:
    """What is known of a file before it is read."""

    fingerprint: str
    lines: int


def survey(path: Path) -> Survey:
    """The file's fingerprint (of its content, unzipped) and how many lines it has. Raises InvalidInput."""
    digest = hashlib.sha256()
    lines = 0
    try:
        with path.open("rb") as raw:
            source = gzip.GzipFile(fileobj=raw) if raw.peek(2).startswith(GZIP_MAGIC) else raw
            while block := source.read(1 << 20):
                digest.update(block)
                lines += block.count(b"\n")
    except OSError as error:
        raise InvalidInput([Violation(str(path), f"can't be read: {error.strerror or error}")]) from error
    except EOFError as error:
        raise InvalidInput([Violation(str(path), "can't be read: it is cut off")]) from error
    return Survey(digest.hexdigest(), lines)


@dataclass(frozen=True, slots=True)
class Position:
    """How far an import had come when its last message was acknowledged."""

    entries: int = 0
    """Entries of the reader, items and rejects, that are done."""
    items: int = 0
    changed: int = 0
    rejected: int = 0
    rejects_bytes: int = 0
    """How much of the rejects file they fill."""
    witness: str = ""
    """A record among them; a service that does not know it is not the one that acknowledged them."""
    stream_id: str = ""
    """The stream that all runs of the import have sent."""
    messages: int = 0
    """How many messages of it are done."""


class Journal:
    """The positions of one import (a file's content, a reader, a service), the last of them in a file."""

    def __init__(self, path: Path, subject: str) -> None:
        """``subject`` names the import; positions of another in the same file are not its own."""
        self._path = path
        self._subject = subject

    def load(self) -> Position:
        """Where to go on; the beginning, if this import is not there or nothing of it can be read."""
        try:
            kept = json.loads(self._path.read_text("utf-8"))
            return Position(**kept["position"]) if kept["subject"] == self._subject else Position()
        except (OSError, ValueError, KeyError, TypeError):
            return Position()

    def save(self, position: Position) -> None:
        """Keeps the position, all of it or the one before."""
        part = self._path.with_name(f"{self._path.name}.part")
        part.write_text(json.dumps({"subject": self._subject, "position": asdict(position)}), "utf-8")
        part.replace(self._path)

    def forget(self) -> None:
        """Removes the file: the import is done."""
        self._path.unlink(missing_ok=True)
