"""Site: the models one worker serves, and which of them a request means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from anyport import bundle
from anyport.serve import holding
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
        self.host = metrics.host(0)
        """Where this worker counts what belongs to no model."""
        self.arriving: set[str] = set()
        """Names of the models that are being loaded by request."""
        self.changed: Callable[[], None] = lambda: None
        """Called when `models` is another."""

    def replace(self, models: Sequence[Served]) -> None:
        """Serve these models from now on."""
        self.models = tuple(models)
        self.changed()

    def loaded(self, name: str, folder: Path) -> Served:
        """The model in a folder, ready to answer under a name of the caller's; in the calling thread. Its counters are
        its own: the shared ones were made for the models of the start."""
        read = bundle.read(holding(folder))
        made = Served(read, Metrics([(name, read.version)], 1).slot(0, 0))
        made.name = name
        try:
            trust = None
            if read.form == "python":
                from anyport.trust import held

                trust = held()
            made.load(trust=trust, threads=self.settings.threads)
        except BaseException:
            made.close()
            raise
        return made

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
