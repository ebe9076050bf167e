"""Site: the models one worker serves, and which of them a request means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anyport.serve.keys import Keys
from anyport.serve.metrics import Metrics
from anyport.serve.model import Served
from anyport.serve.reply import Problem
from anyport.serve.settings import Settings


class Site:
    """Everything that handlers share. `models` changes only as a whole."""

    def __init__(
        self, models: Sequence[Served], metrics: Metrics, settings: Settings | None = None, keys: Keys | None = None
    ) -> None:
        self.models = tuple(models)
        self.metrics = metrics
        self.settings = settings or Settings()
        self.keys = keys
        self.draining = False
        """A stop was asked for: probes are told, so that nobody new is sent here."""

    def pick(
        self, name: str | None = None, version: str | None = None, headers: Mapping[bytes, bytes] | None = None
    ) -> Served:
        """The model of a name and version; without them, the first. Problem 404 where there is none.

        `headers` are the request's, where the caller lets them choose among versions.
        """
        for model in self.models:
            if name in (None, model.name) and version in (None, model.version):
                return model
        known = ", ".join(f"{model.name} {model.version}" for model in self.models)
        asked = " version ".join(part for part in (name, version) if part is not None)
        raise Problem(404, "NotFound", f"there is no model {asked} here", f"models: {known or 'none'}")

    @property
    def ready(self) -> bool:
        """Whether every model has answered its golden row."""
        return all(model.predictor is not None for model in self.models)
