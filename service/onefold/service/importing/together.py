"""A file's entries in another order: items that hang together one after the other.

A graph that grows in the order of a file decides a person anew with each record that comes along, and reads for it all
that came before. Sent together, a person's records are decided once. What they are decided to be is the same.
"""

from __future__ import annotations

import mmap
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from typing import IO, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from onefold.service.importing.entries import Entry, Parsed, Reject
from onefold.v1 import record_pb2 as pb

ORDER: Final = "together 1"
"""The name of the order: another one when the order of the same entries would be another."""

_CROWD: Final = 50
"""An identifier that more items have than this holds nothing together: a till's device would hold the whole file."""


class Together:
    """Entries with those that hang together one after the other; rejects, which hang on nothing, before all items.

    The first entry comes when all were read. Items wait in a temporary file about as large as they are; memory is taken
    for their keys only, some dozens of bytes an item. ``on_read`` is told the line that was reached.
    """

    def __init__(self, entries: Iterable[Entry], on_read: Callable[[int], None] = lambda line: None) -> None:
        self._entries = entries
        self._on_read = on_read
        self.count = 0
        """How many entries there are, as far as they were read."""

    def __iter__(self) -> Iterator[Entry]:
        with tempfile.TemporaryFile() as file:
            spool, keys = _Spool(file), _Keys()
            for entry in self._entries:
                self.count += 1
                self._on_read(entry.line)
                if isinstance(entry, Reject):
                    yield entry
                    continue
                keys.add(spool.append(entry), entry.item)
            order = keys.order(len(spool))
            yield from spool.read(order)


class _Spool:
    """Items set aside in a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._ends = array("q", [0])
        self._lines = array("q")

    def __len__(self) -> int:
        return len(self._lines)

    def append(self, parsed: Parsed) -> int:
        """Sets an item aside; its number."""
        content = parsed.item.SerializeToString()
        self._file.write(content)
        self._ends.append(self._ends[-1] + len(content))
        self._lines.append(parsed.line)
        return len(self._lines) - 1

    def read(self, numbers: NDArray[np.int64]) -> Iterator[Parsed]:
        """The items of these numbers."""
        if not len(numbers):
            return
        self._file.flush()
        with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for number in numbers:
                start, end = self._ends[number], self._ends[number + 1]
                yield Parsed(self._lines[number], pb.Item.FromString(content[start:end]))


class _Keys:
    """What items name, each name as 64 bits of a hash that is the same in every run."""

    def __init__(self) -> None:
        self._records = _Rows()
        self._identifiers = _Rows()

    def add(self, number: int, item: pb.Item) -> None:
        """Notes what an item names."""
        for name in _records(item):
            self._records.add(number, name)
        for identifier in _identifiers(item):
            # As it is written, but for case and space: the service knows better what is the same, and what is taken
            # for two here only costs time.
            self._identifiers.add(number, f"{identifier.kind}:{''.join(identifier.value.split()).casefold()}")

    def order(self, items: int) -> NDArray[np.int64]:
        """The items' numbers, those that hang together by their first one's place, each of these in its own."""
        by_record, records = self._records.numbered()
        by_identifier, identifiers = self._identifiers.numbered()
        many = np.bincount(identifiers) > _CROWD
        binding = ~many[identifiers]
        ends = (
            np.concatenate((by_record, by_identifier[binding])),
            items + np.concatenate((records, identifiers[binding] + records.max(initial=-1) + 1)),
        )
        nodes = max(items, int(ends[1].max(initial=-1)) + 1)
        tied = coo_array((np.ones(len(ends[0]), np.int8), ends), shape=(nodes, nodes))
        label = connected_components(tied, directed=False)[1][:items]
        first = np.unique(label, return_index=True)[1]
        place: NDArray[np.int64] = np.argsort(first[label], kind="stable")
        return place


class _Rows:
    """Pairs of an item and a name."""

    def __init__(self) -> None:
        self._items = array("q")
        self._hashes = array("Q")

    def add(self, number: int, name: str) -> None:
        self._items.append(number)
        self._hashes.append(int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little"))

    def numbered(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The items, and a number for each one's name."""
        names = np.unique(np.frombuffer(self._hashes, np.uint64), return_inverse=True)[1]
        return np.frombuffer(self._items, np.int64), names.astype(np.int64)


def _records(item: pb.Item) -> Iterator[str]:
    match item.WhichOneof("item"):
        case "customer":
            yield _customer(item.customer.key)
        case "order":
            yield f"order:{item.order.key.source}:{item.order.key.order_id}"
            if item.order.HasField("customer"):
                yield _customer(item.order.customer)
        case "event" if item.event.HasField("customer"):
            yield _customer(item.event.customer)
        case "link":
            yield _customer(item.link.customer)
        case "match":
            yield from map(_customer, (item.match.a, item.match.b))
        case "ban":
            yield from map(_customer, (item.ban.a, item.ban.b))
        case "withdrawal":
            yield _customer(item.withdrawal.customer)
        case "deletion":
            record = item.deletion.record
            if record.WhichOneof("record") == "order":
                yield f"order:{record.order.source}:{record.order.order_id}"
            else:
                yield _customer(record.customer)


def _identifiers(item: pb.Item) -> Iterator[pb.Identifier]:
    match item.WhichOneof("item"):
        case "customer":
            yield from item.customer.identifiers
        case "order":
            yield from item.order.identifiers
        case "event" if item.event.HasField("device"):
            yield item.event.device
        case "link":
            yield item.link.identifier
        case "withdrawal":
            yield item.withdrawal.identifier


def _customer(key: pb.CustomerKey) -> str:
    return f"customer:{key.source}:{key.source_id}"
