"""Frames in a folder, each as it was published, whoever dies meanwhile.

    FOLDER/generation-000012/part-0000.parquet ...   everybody, by identity
                             manifest.json           instant, catalogue, rows and digests of the files, notes
           update-000012-0003/                       those who changed since, whole rows, and who is gone
           CURRENT                                   {"generation": 12, "update": 3}
           TOLD                                      likewise: the last frame of which all was passed on
           NAME                                      of the folder, by chance: tells its frames from other folders'
           LOCK                                      held by whoever writes

A generation and an update are folders that appear in one rename, complete, and never change; they become current by the
rename of ``CURRENT``. A crash leaves what was current. An update holds all that changed since its generation, so that a
frame is read from a generation and at most one update. Whoever reads holds a shared lock on the manifests of the two:
pruning leaves those alone, and the kernel takes the lock from who died.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from hashlib import file_digest
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from onefold.graph.errors import Conflict, InvalidInput, NotFound, NotReady, Violation
from onefold.graph.model import Instant
from onefold.ml.prepared import literal

KEPT: Final = 2
"""So many of the newest generations are kept, so that who pages through an older frame comes to its end."""

ROWS_A_PART: Final = 100_000
"""What is handed out, and stored, together."""


class FrameId(NamedTuple):
    """Which frame: of a generation, after so many updates."""

    generation: int
    update: int = 0

    def __str__(self) -> str:
        return f"{self.generation}.{self.update}"


@dataclass(frozen=True, slots=True)
class Stored:
    """A file of a generation or an update."""

    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a generation or an update says of itself."""

    as_of: Instant
    """Nothing from this instant on was looked at."""
    catalogue: str
    """The version of the catalogue whose rules were evaluated."""
    rows: int
    files: Mapping[str, Stored]
    """By name; the parts of a generation in the order of their identities."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Whatever the publisher wants to know again, as JSON has it."""

    def to_json(self) -> str:
        """The text of the file."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def parse(cls, text: str) -> Manifest:
        """What :meth:`to_json` gave. Raises ValueError, KeyError or TypeError for any other text."""
        data = json.loads(text)
        files = {name: Stored(**stored) for name, stored in data["files"].items()}
        return cls(data["as_of"], data["catalogue"], data["rows"], files, data["notes"])


_CURRENT: Final = "CURRENT"
_TOLD: Final = "TOLD"
_NAME: Final = "NAME"
_LOCK: Final = "LOCK"
_MANIFEST: Final = "manifest.json"
_ROWS: Final = "rows.parquet"
_GONE: Final = "gone.parquet"
_INCOMING: Final = ".incoming-"
_LEFT: Final = ".POINTER-"
_FOLDER: Final = re.compile(r"(generation|update)-(?P<generation>\d{6,9})(-(?P<update>\d{4,9}))?")


class _Pinned:
    """A folder that is not removed until it is closed. Raises FileNotFoundError when it is not there, NotReady when
    it is damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _hold(self._descriptor, path)
            self.manifest = self._read()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def files(self) -> list[str]:
        """The paths of its Parquet files."""
        return [str(self.path / name) for name in self.manifest.files]

    def verify(self) -> None:
        for name, stored in self.manifest.files.items():
            if _digest(self.path / name) != stored.sha256:
                raise self._damaged(f"{name} is not what was written")

    def _read(self) -> Manifest:
        try:
            manifest = Manifest.parse((self.path / _MANIFEST).read_text("utf-8"))
            sizes = {name: (self.path / name).stat().st_size for name in manifest.files}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(str(error)) from error
        for name, stored in manifest.files.items():
            if sizes[name] != stored.bytes:
                raise self._damaged(f"{name} has {sizes[name]:,} bytes instead of {stored.bytes:,}")
        return manifest

    def _damaged(self, words: str) -> NotReady:
        return NotReady(f"frame in {self.path.name}", f"damaged: {words}; build a new one")


def _hold(descriptor: int, path: Path) -> None:
    """Lock a folder against being removed. Raises FileNotFoundError when it is being removed, or was."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise FileNotFoundError(f"{path} is being removed") from error
    if path.stat().st_ino != os.fstat(descriptor).st_ino:
        raise FileNotFoundError(f"{path} was replaced")


class Snapshot:
    """One frame, pinned: it stays readable until it is closed, whatever is published or pruned meanwhile.

    All threads may use it.
    """

    def __init__(self, id: FrameId, parts: list[_Pinned]) -> None:
        self.id = id
        self._parts = parts
        generation, *updates = parts
        newest = parts[-1].manifest
        self.as_of = newest.as_of
        """Nothing from this instant on was looked at: of the generation's rows, of an earlier one."""
        self.catalogue = newest.catalogue
        self.notes = newest.notes
        self.schema: pa.Schema = pq.read_schema(generation.files()[0])
        self._database = duckdb.connect()
        self._database.execute(f"CREATE VIEW frame AS {_relation(generation, *updates)}")

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the files go; more than once does no harm."""
        self._database.close()
        for part in self._parts:
            part.close()

    def parts(self, rows: int = ROWS_A_PART) -> Iterator[pa.Table]:
        """Everybody by identity, so many rows at a time."""
        numbered = "SELECT identity, row_number() OVER (ORDER BY identity) AS number FROM frame"
        borders = self._query(f"SELECT identity FROM ({numbered}) WHERE number % $rows = 1 % $rows", {"rows": rows})
        firsts: list[str | None] = sorted(borders["identity"].to_pylist()) or [""]
        for first, after in pairwise([*firsts, None]):
            text = "SELECT * FROM frame WHERE identity >= $first AND identity < $after ORDER BY identity"
            if after is None:
                text = "SELECT * FROM frame WHERE identity >= $first ORDER BY identity"
            bounds = {"first": first} | ({} if after is None else {"after": after})
            yield self._query(text, bounds).cast(self.schema)

    def _query(self, text: str, parameters: Mapping[str, object]) -> pa.Table:
        with self._database.cursor() as connection:
            return connection.sql(text, params=dict(parameters)).to_arrow_table()

    def changed_with(self, changed: pa.Table, gone: Collection[str]) -> tuple[pa.Table, pa.Table]:
        """The rows of an update that follows, and the identities that it takes away. Raises InvalidInput when rows
        have other columns, or somebody is there twice."""
        if not changed.schema.equals(self.schema):
            raise InvalidInput([Violation("changed", "must have the columns of the frame")])
        _, *updates = self._parts
        rows = [pq.read_table(update.path / _ROWS) for update in updates]
        away = {id for update in updates for id in pq.read_table(update.path / _GONE)["identity"].to_pylist()}
        here = set(changed["identity"].to_pylist())
        if len(here) < len(changed) or here & set(gone):
            raise InvalidInput([Violation("changed.identity", "must be there once each, and not be gone")])
        replaced = pa.array(sorted(here | set(gone)), pa.string())
        kept = [table.filter(pc.invert(pc.is_in(table["identity"], value_set=replaced))) for table in rows]
        left = pa.table({"identity": pa.array(sorted((away - here) | set(gone)), pa.string())})
        return pa.concat_tables([*kept, changed]).sort_by("identity").cast(self.schema), left

    def verify(self) -> None:
        """Read every file anew. Raises NotReady when one is not what was written."""
        for part in self._parts:
            part.verify()


class Generations:
    """The frames of one folder. Every method reads the folder anew; several processes may share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def name(self) -> str:
        """What tells frames of this folder from those of others: eight hexadecimal digits, drawn when it is new."""
        path = self._folder / _NAME
        with self._lock():
            if not path.exists():
                self._write(_NAME, secrets.token_hex(4))
            return path.read_text("utf-8").strip()

    def current(self) -> FrameId | None:
        """The newest frame; None before the first. Raises NotReady when what says so is damaged."""
        return self._pointed(_CURRENT)

    def told(self) -> FrameId | None:
        """The last frame that :meth:`mark_told` named; None where there is none."""
        return self._pointed(_TOLD)

    def mark_told(self, id: FrameId) -> None:
        """Note, for whoever starts after a crash, that all of a frame has come to where it was to be written."""
        with self._lock():
            self._point(_TOLD, id)

    def open(self, id: FrameId | None = None) -> Snapshot:
        """A frame, the current one unless another is asked for, pinned until it is closed.

        Raises NotFound when there is none such (any more), NotReady when there is none at all, or it is damaged.
        """
        while True:
            wanted = self.current() if id is None else id
            if wanted is None:
                raise NotReady("frame", "none was built yet")
            try:
                return self._pinned(wanted)
            except FileNotFoundError as error:
                if id is not None:
                    raise NotFound("frame", str(id), "it was replaced by newer ones") from error
                if self.current() == wanted:
                    raise NotReady(f"frame {wanted}", "its files are gone; build a new one") from error

    def publish(
        self,
        as_of: Instant,
        catalogue: str,
        parts: Iterable[pa.Table],
        notes: Mapping[str, Any] | None = None,
        instead_of: FrameId | None = None,
    ) -> FrameId:
        """Write everybody as a new generation, make it current, and prune.

        ``parts`` are tables of one schema, by identity, each beginning after the one before; they are asked for one by
        one, and nothing is current before all are on the disk. Raises InvalidInput when they are not so; Conflict,
        with nothing published, when ``instead_of`` is given and is not current any more.
        """
        with self._incoming() as incoming:
            files = _write_parts(incoming, parts)
            rows = sum(stored.rows for stored in files.values())
            _write_manifest(incoming, Manifest(as_of, catalogue, rows, files, notes or {}))
            with self._lock():
                if instead_of is not None and self.current() != instead_of:
                    raise Conflict(f"frame {instead_of} is not current any more")
                id = FrameId(max((n for n, _ in self._names()), default=0) + 1)
                self._place(incoming, id)
        self.prune()
        return id

    def update(
        self,
        base: FrameId,
        as_of: Instant,
        changed: pa.Table,
        gone: Collection[str],
        notes: Mapping[str, Any] | None = None,
    ) -> FrameId:
        """Put whole rows in the place of those of the current frame ``base``, or beside them, and take away ``gone``.

        Costs what all rows that changed since the generation cost. Raises Conflict when ``base`` is not current, and
        InvalidInput when the rows have other columns.
        """
        with self._incoming() as incoming, self._lock():
            if self.current() != base:
                raise Conflict(f"frame {base} is not current any more")
            with self.open(base) as before:
                rows, away = before.changed_with(changed, gone)
                files = {_ROWS: _write_table(incoming / _ROWS, rows), _GONE: _write_table(incoming / _GONE, away)}
                kept = before.notes if notes is None else notes
                _write_manifest(incoming, Manifest(as_of, before.catalogue, len(rows), files, kept))
            id = FrameId(base.generation, base.update + 1)
            self._place(incoming, id)
        self.prune()
        return id

    def compact(self, base: FrameId) -> FrameId:
        """The same frame as a generation without updates. Raises Conflict, with nothing published, when ``base`` is not
        current any more at the end."""
        with self.open(base) as before:
            return self.publish(before.as_of, before.catalogue, before.parts(), before.notes, instead_of=base)

    def prune(self) -> None:
        """Remove what nobody needs or reads any more: all but the newest :data:`KEPT` generations with their last
        updates, and what a crash left behind."""
        if not self._folder.exists():
            return
        with self._lock():
            newest = dict(sorted(self._names()))  # of each generation the last update
            kept = {folder for number in sorted(newest)[-KEPT:] for folder in _folders(FrameId(number, newest[number]))}
            if (current := self.current()) is not None:
                kept |= set(_folders(current))
            for path in self._folder.iterdir():
                if path.name.startswith(_LEFT):
                    path.unlink(missing_ok=True)
                elif path.is_dir() and path.name not in kept:
                    _remove(path)

    def _names(self) -> Iterator[FrameId]:
        """All generations and updates that are there."""
        for path in self._folder.iterdir():
            if found := _FOLDER.fullmatch(path.name):
                yield FrameId(int(found["generation"]), int(found["update"] or 0))

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Nobody else places or removes anything meanwhile."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / _LOCK).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _incoming(self) -> Iterator[Path]:
        """A folder to be filled and placed; nothing is left of it where that fails."""
        with self._lock():  # so that nobody prunes it before it is held
            path = Path(tempfile.mkdtemp(prefix=_INCOMING, dir=self._folder))
            descriptor = os.open(path, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        try:
            yield path
        finally:
            os.close(descriptor)
            shutil.rmtree(path, ignore_errors=True)

    def _place(self, incoming: Path, id: FrameId) -> None:
        """Make what was written the current frame, in two renames."""
        _sync(incoming)
        incoming.rename(self._folder / _folders(id)[-1])
        _sync(self._folder)
        self._point(_CURRENT, id)

    def _point(self, name: str, id: FrameId) -> None:
        """Have the file of this name name a frame."""
        self._write(name, json.dumps(id._asdict()))

    def _write(self, name: str, text: str) -> None:
        """A file with a line of text in the folder, in one rename."""
        descriptor, temporary = tempfile.mkstemp(prefix=_LEFT, dir=self._folder)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(descriptor)
        Path(temporary).rename(self._folder / name)
        _sync(self._folder)

    def _pointed(self, name: str) -> FrameId | None:
        try:
            return FrameId(**json.loads((self._folder / name).read_text("utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise NotReady("frame", f"{name} is damaged; build a new one") from error

    def _pinned(self, id: FrameId) -> Snapshot:
        parts: list[_Pinned] = []
        try:
            parts += (_Pinned(self._folder / name) for name in _folders(id))
            return Snapshot(id, parts)
        except BaseException:
            for part in parts:
                part.close()
            raise


def _folders(id: FrameId) -> list[str]:
    """The folders that a frame consists of."""
    generation = f"generation-{id.generation:06d}"
    return [generation, f"update-{id.generation:06d}-{id.update:04d}"] if id.update else [generation]


def _relation(generation: _Pinned, update: _Pinned | None = None) -> str:
    everybody = f"SELECT * FROM read_parquet({_listed(generation.files())})"
    if update is None:
        return everybody
    rows, gone = (f"read_parquet({_listed([str(update.path / name)])})" for name in (_ROWS, _GONE))
    return f"""
        {everybody} AS everybody
        ANTI JOIN (SELECT identity FROM {rows} UNION ALL SELECT identity FROM {gone}) AS replaced USING (identity)
        UNION ALL SELECT * FROM {rows}
    """


def _listed(paths: list[str]) -> str:
    return f"[{', '.join(literal(path) for path in paths)}]"


def _write_parts(folder: Path, parts: Iterable[pa.Table]) -> dict[str, Stored]:
    files: dict[str, Stored] = {}
    last, schema = "", None
    for table in parts:
        number = len(files)
        schema = schema or table.schema
        if not table.schema.equals(schema):
            raise InvalidInput([Violation(f"parts[{number}]", "must have the columns of the part before")])
        last = _risen(table, last, number)
        name = f"part-{number:04d}.parquet"
        files[name] = _write_table(folder / name, table)
        del table  # before the next one is made
    if not files:
        raise InvalidInput([Violation("parts", "must be one at least, if of no rows")])
    return files


def _risen(table: pa.Table, last: str, number: int) -> str:
    """The last identity of a part. Raises InvalidInput when identities do not rise."""
    if not len(table):
        return last
    column = table["identity"].combine_chunks()
    rises = pc.all(pc.less(column[:-1], column[1:]), min_count=0).as_py()
    if not rises or column[0].as_py() <= last:
        raise InvalidInput([Violation(f"parts[{number}].identity", "must rise, from part to part, too")])
    return str(column[-1].as_py())


def _write_table(path: Path, table: pa.Table) -> Stored:
    """Write a file, and come back when it is on the disk."""
    pq.write_table(table, path, row_group_size=ROWS_A_PART)
    _sync(path)
    return Stored(len(table), path.stat().st_size, _digest(path))


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    (folder / _MANIFEST).write_text(manifest.to_json(), "utf-8")
    _sync(folder / _MANIFEST)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Put a file, or a folder's entries, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """Remove a folder unless somebody reads it, or fills it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path)
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)
