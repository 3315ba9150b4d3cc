"""The model in use, in memory."""

from __future__ import annotations

from onefold.ml.model import PredictionModel
from onefold.ml.registry import Registry


class CurrentModel:
    """The registry's current model, loaded anew whenever another is promoted. All threads may use it."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._loaded: tuple[str, PredictionModel] | None = None

    def get(self) -> tuple[str, PredictionModel]:
        """The id of the current model, and the model.

        Raises :class:`onefold.graph.errors.NotReady` when there is none yet, or when it is damaged or its features
        are no longer those of the catalogue.
        """
        model_id = self._registry.current_id()
        loaded = self._loaded
        if loaded is None or loaded[0] != model_id:
            loaded = self._loaded = (model_id, self._registry.load(model_id))
        return loaded
