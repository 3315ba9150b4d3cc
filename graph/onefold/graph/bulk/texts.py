"""Texts that come one by one, by the million, and are numbered once all are there."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_AT_ONCE = 1 << 15


class Texts:
    """A column in the making. Costs about what its texts have bytes; equal neighbours cost next to nothing."""

    def __init__(self) -> None:
        self._pending: list[str | None] = []
        self._chunks: list[pa.Array] = []

    def __len__(self) -> int:
        return sum(map(len, self._chunks)) + len(self._pending)

    def add(self, texts: Iterable[str | None]) -> None:
        """Append texts; None where there is none."""
        self._pending.extend(texts)
        if len(self._pending) >= _AT_ONCE:
            self._set_aside()

    def numbered(self) -> tuple[NDArray[np.int32], pa.Array]:
        """The code of each text in the order in which they came, -1 where there is none; and the distinct texts, by
        code. Leaves nothing behind."""
        self._set_aside()
        chunks, self._chunks = self._chunks, []
        column = pa.chunked_array(chunks, pa.dictionary(pa.int32(), pa.string()))
        del chunks
        column = column.unify_dictionaries()
        if not column.num_chunks:
            return np.empty(0, np.int32), pa.array([], pa.string())
        codes = np.concatenate([chunk.indices.fill_null(-1).to_numpy() for chunk in column.chunks])
        return codes, column.chunk(0).dictionary

    def _set_aside(self) -> None:
        if self._pending:
            self._chunks.append(pa.array(self._pending, pa.string()).dictionary_encode())
            self._pending = []
