"""Site: the models one worker serves, and which of them a request means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from anyport.serve import plan as plans
from anyport.serve.choice import Choice
from anyport.serve.keys import Keys
from anyport.serve.metrics import Metrics
from anyport.serve.mirror import Mirror
from anyport.serve.model import Served
from anyport.serve.plan import Plan
from anyport.serve.record import Record
from anyport.serve.reply import Problem
from anyport.serve.settings import Settings

if TYPE_CHECKING:
    from anyport.serve.control import Control


class Site:
    """Everything that handlers share. Plan, models and choices change only as a whole, between two requests."""

    def __init__(
        self,
        models: Sequence[Served],
        metrics: Metrics,
        settings: Settings | None = None,
        keys: Keys | None = None,
        *,
        plan: Plan | None = None,
        admin: Keys | None = None,
    ) -> None:
        self.metrics = metrics
        self.settings = settings or Settings()
        self.keys = keys
        self.host = metrics.host(0)
        """Where this worker counts what belongs to no model."""
        self.draining = False
        """A stop was asked for: probes are told, so that nobody new is sent here."""
        self.admin = admin
        """Who may change the plan; None: nobody over HTTP."""
        self.control: Control | None = None
        """How the plan is changed: see control.py."""
        self.record: Record | None = None
        """This worker's prediction log: see `keep`."""
        self.mirrors: dict[str, tuple[Mirror, float, list[Served]]] = {}
        """Name → where its answers are compared, of what share of them, and who offers them."""
        self.show(plan or Plan(tuple(plans.entry(str(m.bundle.path), m.bundle) for m in models)), models)

    def show(self, plan: Plan, models: Sequence[Served]) -> None:
        """Serve these models by this plan from now on. Both are in the same order."""
        self.plan = plan
        self.models = tuple(models)
        self.choices: dict[str, Choice] = {}
        for model in self.models:
            if model.name not in self.choices:
                versions = [one for one in self.models if one.name == model.name]
                self.choices[model.name] = Choice(versions, plan.weights(model.name))
        for choice in self.choices.values():
            choice.label()
        self._mirror()
        if self.record is not None:
            self.keep(self.record)
            self.record.turn()

    def keep(self, record: Record) -> None:
        """Log what the models answer, and those that come after them."""
        self.record = record
        for model in self.models:
            model.record = record

    def _mirror(self) -> None:
        """Have every version of a name with a shadow offer what it answers; begin to compare anew where that is new."""
        wanted: dict[str, tuple[Served, float, list[Served]]] = {}
        for model in self.models:
            model.mirror = None
        for name, shadow in self.plan.shadow.items():
            versions = self.choices[name].versions
            others = [model for model in versions.values() if model.version != shadow.version]
            wanted[name] = (versions[shadow.version], shadow.share, others)
        before, self.mirrors = self.mirrors, {}
        for name, (shadow_model, share, others) in wanted.items():
            kept = before.get(name)
            if kept is not None and kept[1:] == (share, others) and kept[0].shadow is shadow_model:
                del before[name]
                self.mirrors[name] = kept
            else:
                shadow_model.slot.compare_anew()
                self.mirrors[name] = (Mirror(shadow_model, share), share, others)
            for model in others:
                model.mirror = self.mirrors[name][0]
        for mirror, _, _ in before.values():
            mirror.close()

    def pick(
        self, name: str | None = None, version: str | None = None, headers: Mapping[bytes, bytes] | None = None
    ) -> Served:
        """The model of a name and version; without a name, the first one's. Problem 404 where there is none.

        Without a version, the header `anyport-version` names it (percent-encoded, as in a path), and without that
        header it is drawn by the plan's weights. `headers` are the request's, where the caller lets them choose.
        """
        if name is None and self.models:
            name = self.models[0].name
        choice = self.choices.get(name) if name is not None else None
        if choice is not None:
            found = choice.pick(headers or {}) if version is None else choice.versions.get(version)
            if found is not None:
                return found
            if version is None and headers is not None:
                version = headers[b"anyport-version"].decode("latin-1")
        listed = ", ".join(f"{model.name} {model.version}" for model in self.models)
        asked = " version ".join(part for part in (name, version) if part is not None)
        raise Problem(404, "NotFound", f"there is no model {asked} here", f"models: {listed or 'none'}")

    @property
    def ready(self) -> bool:
        """Whether every model has answered its golden row."""
        return all(model.predictor is not None for model in self.models)
