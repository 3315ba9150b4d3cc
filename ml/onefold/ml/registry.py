"""Models in a folder.

    FOLDER/churn-0001/model.json     the card
                      *.json, *.txt  the parameters: numbers as JSON, trees in LightGBM's text format
                      SHA256SUMS     of all of them; `sha256sum -c SHA256SUMS` checks them by hand
    FOLDER/CURRENT                   the id of the model in use

A model appears in one rename and becomes current in one rename, so a crash leaves the old state or the new
one. What is damaged, or was made for features that the catalogue no longer defines so, is refused.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from lightgbm.basic import LightGBMError
from pydantic import TypeAdapter, ValidationError

from onefold.graph.errors import NotFound, NotReady
from onefold.ml import model as models
from onefold.ml import next_products
from onefold.ml.inputs import ALL_KEYS
from onefold.ml.model import PRODUCTS, ModelCard, PredictionModel, Rehearsal
from onefold.ml.panel import KEYS
from onefold.ml.recipe import Parts


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the registry."""

    id: str
    card: ModelCard | None
    """None when it can't be read."""
    refusal: str
    """Why it can't be used, in words; empty when it can."""
    is_current: bool


class Registry:
    """The models of one folder. Every method reads the folder anew; several processes may share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, model: PredictionModel) -> str:
        """Store a model under the next free id, and give the id. It is not current before :meth:`promote`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        incoming = Path(tempfile.mkdtemp(prefix=".incoming-", dir=self._folder))
        try:
            _write_model(incoming, model)
            return self._place(incoming)
        except BaseException:
            shutil.rmtree(incoming, ignore_errors=True)
            raise

    def promote(self, model_id: str) -> None:
        """Make a model the current one. Raises as :meth:`load` does, and then the current one stays."""
        self.load(model_id)
        incoming = self._folder / f".current-{os.getpid()}"
        _write(incoming, f"{model_id}\n".encode())
        incoming.replace(self._folder / _CURRENT)
        _sync(self._folder)

    def load(self, model_id: str) -> PredictionModel:
        """A model, whole and fit for this catalogue.

        Raises :class:`NotFound` for an unknown id, and :class:`NotReady` saying what is wrong with a model
        that is half-written or damaged, or naming its features that differ.
        """
        card, files = self._read(model_id)
        differing = card.differing_features()
        if differing:
            raise NotReady(f"model {model_id}", _other_features(differing))
        try:
            texts = {name: content.decode() for name, content in files.items()}
            parts, rehearsal = models.read(texts), models.read_rehearsal(texts)
        except (LightGBMError, UnicodeDecodeError) as err:
            raise NotReady(f"model {model_id}", "some of its trees are no LightGBM model; train again") from err
        except (KeyError, TypeError, ValueError) as err:
            raise NotReady(f"model {model_id}", f"its parameters are of another version: {err}; train again") from err
        if card.features.keys() != set(KEYS) or any(names != list(ALL_KEYS) for names in _names(parts, rehearsal)):
            raise NotReady(f"model {model_id}", "its trees and its card name other features; train again")
        products = next_products.parse(texts[PRODUCTS]) if PRODUCTS in texts else None
        return PredictionModel(card, parts, rehearsal, products)

    def current_id(self) -> str:
        """The id of the model in use. Raises :class:`NotReady` when there is none yet."""
        try:
            return (self._folder / _CURRENT).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            raise NotReady("churn model", "none has been trained yet; train one first") from None

    def current(self) -> tuple[str, PredictionModel] | None:
        """The model in use and its id; None where there is none that could be used."""
        try:
            model_id = self.current_id()
            return model_id, self.load(model_id)
        except (NotFound, NotReady):
            return None

    def entries(self) -> list[Entry]:
        """All models, oldest first, those that would be refused included."""
        current = self.current_id() if (self._folder / _CURRENT).exists() else ""
        return [self._entry(model_id, current) for model_id in sorted(self._ids(), key=_number)]

    def _entry(self, model_id: str, current: str) -> Entry:
        try:
            card, _ = self._read(model_id)
        except NotReady as err:
            return Entry(model_id, None, err.missing, model_id == current)
        differing = card.differing_features()
        refusal = _other_features(differing) if differing else ""
        return Entry(model_id, card, refusal, model_id == current)

    def _read(self, model_id: str) -> tuple[ModelCard, dict[str, bytes]]:
        """The card, and the other files by name, of a model whose files are what was written."""
        folder = self._folder / model_id
        if not _ID.fullmatch(model_id) or not folder.is_dir():
            raise NotFound("model", model_id)
        try:
            sums = (folder / _SUMS).read_text(encoding="utf-8")
            named = {name for line in sums.splitlines() if _FILE.fullmatch(name := line[66:])} | {_CARD}
            files = {name: (folder / name).read_bytes() for name in sorted(named)}
        except (OSError, UnicodeDecodeError) as err:
            raise NotReady(f"model {model_id}", f"half-written: {err}; train again") from err
        if sums != _sums(files):
            raise NotReady(f"model {model_id}", f"damaged: its files do not match {_SUMS}; train again")
        try:
            return _CARDS.validate_json(files.pop(_CARD)), files
        except ValidationError as err:
            raise NotReady(f"model {model_id}", f"{_CARD} is of another version; train again") from err

    def _ids(self) -> Iterator[str]:
        if self._folder.is_dir():
            yield from (path.name for path in self._folder.iterdir() if _ID.fullmatch(path.name))

    def _place(self, incoming: Path) -> str:
        number = max(map(_number, self._ids()), default=0)
        while True:
            number += 1
            model_id = f"churn-{number:04d}"
            try:
                # Renaming onto a folder that holds something fails: a racing save took the number.
                incoming.rename(self._folder / model_id)
            except OSError:
                if (self._folder / model_id).exists():
                    continue
                raise
            _sync(self._folder)
            return model_id


_CARD: Final = "model.json"
_SUMS: Final = "SHA256SUMS"
_CURRENT: Final = "CURRENT"
_FILE: Final = re.compile(r"[a-z0-9_]+\.(json|txt)")
_ID: Final = re.compile(r"churn-\d{4,9}")
_CARDS: Final = TypeAdapter(ModelCard)


def _number(model_id: str) -> int:
    return int(model_id.removeprefix("churn-"))


def _other_features(differing: list[str]) -> str:
    return f"made for other definitions of {', '.join(differing)}; train again"


def _names(parts: Parts, rehearsal: Rehearsal) -> Iterator[list[str]]:
    """The inputs of each booster."""
    blends = (parts.churn, parts.spend, rehearsal.churn)
    boosters = (booster for blend in blends for booster in blend.boosters)
    for booster in (*boosters, parts.typical, *parts.next_order.values()):
        yield booster.feature_name()


def _sums(files: dict[str, bytes]) -> str:
    return "".join(f"{sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items()))


def _write_model(folder: Path, model: PredictionModel) -> None:
    files = {name: text.encode() for name, text in model.files().items()}
    files[_CARD] = _CARDS.dump_json(model.card, indent=2)
    for name, content in files.items():
        _write(folder / name, content)
    _write(folder / _SUMS, _sums(files).encode())
    _sync(folder)


def _write(path: Path, content: bytes) -> None:
    """Write a file and do not return before it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Put a folder's entries on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
