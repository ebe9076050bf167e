"""Deployment: the plan that one process serves, the one before it, and the one that is being prepared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from anyport import bundle
from anyport.bundle import Bundle
from anyport.errors import BadBundle, Mistake
from anyport.serve import keys
from anyport.serve import plan as plans
from anyport.serve.keys import Keys
from anyport.serve.model import Served
from anyport.serve.plan import Entry, Plan

if TYPE_CHECKING:
    from anyport.serve.site import Site
    from anyport.trust import Trust

Places = Sequence[tuple[str, str]]
"""Name and version at each place of the metrics."""


class Next(NamedTuple):
    """A plan whose models are loaded, and which nobody sees yet."""

    plan: Plan
    models: tuple[Served, ...]
    made: tuple[Served, ...]
    """Those of them that were made for it."""
    places: Places
    keys: tuple[Keys | None, Keys | None] | None
    """Callers' and administrators' keys, where they were read again."""


class Deployment:
    """One process's half of every change. `prepare` may run in any thread; `commit` belongs to the event loop.

    The models of the plan before stay loaded, so that going back to it neither takes time nor reads the disk.
    """

    def __init__(
        self,
        site: Site,
        *,
        trust: Trust | None = None,
        worker: int = 0,
        loads: Callable[[Served], bool] = lambda _: True,
    ) -> None:
        self.site = site
        self.trust = trust
        self.worker = worker
        self.loads = loads
        """Which models are loaded in this process: the parent of several workers leaves some to them."""
        self.before: tuple[Plan, tuple[Served, ...]] | None = None
        self.next: Next | None = None

    def held(self) -> tuple[Served, ...]:
        """Every model of the plan and of the one before, once."""
        return tuple(dict.fromkeys((*self.site.models, *(self.before[1] if self.before else ()))))

    def load(self, models: Sequence[Served]) -> None:
        """Load those that are not loaded and that this process loads."""
        for model in models:
            if model.predictor is None and self.loads(model):
                model.load(trust=self.trusted(model), threads=self.site.settings.threads)

    def trusted(self, model: Served) -> Trust | None:
        """Whose Python models may be read: what the server was told, or what this machine holds."""
        if self.trust is None and model.bundle.form == "python":
            from anyport.trust import held

            self.trust = held()
        return self.trust

    def forked(self, worker: int) -> None:
        """In a forked worker: count in its own slots, and check what is still to be read from the disk."""
        self.worker = worker
        self.loads = lambda _: True
        for model in self.held():
            place = self.site.metrics.models.index((model.name, model.version))
            model.slot = self.site.metrics.slot(place, worker)
        for entry, model in zip(self.site.plan.models, self.site.models, strict=True):
            if model.predictor is None:
                read(entry)

    def prepare(
        self, plan: Plan, places: Places | None = None, *, reload: bool = False, again: bool = False
    ) -> tuple[Plan, Places]:
        """Read and warm a plan's models. Returns the plan with what was found, and where its models will count.

        `places` are given where another process has placed the models. A `reload` is of the present plan: its traffic
        and shadow then mean the versions that lie at its paths by now. With `again`, and in a reload, the files of keys
        are read again too. AnyportError, or whatever a model's library raises: then nothing has changed and nothing
        is left behind.
        """
        self.abort()
        held = {(model.bundle.digest, model.name): model for model in self.held()}
        known = {model.bundle.digest: model.bundle for model in held.values()}
        bundles = [known[one.digest] if one.digest in known else read(one) for one in plan.models]
        found = tuple(plans.entry(one.path, got, one.alias) for one, got in zip(plan.models, bundles, strict=True))
        if reload:
            old = ((one.name, one.version) for one in self.site.plan.models)
            plan = plan.renamed(dict(zip(old, (one.version for one in found), strict=True)))
        plan = Plan(found, plan.traffic, plan.shadow, plan.generation)
        before = self.site.plan
        served = {model.bundle.digest: model.signature for model in self.site.models}
        plans.check(plan, {one.digest: one.signature for one in bundles}, before, served)
        read_again = self.keys() if reload or again else None
        if places is None:
            places = self.placed(plan)
        made: list[Served] = []
        try:
            models: list[Served] = []
            for one, got in zip(found, bundles, strict=True):
                model = held.get((one.digest, one.name))
                if model is None:
                    slot = self.site.metrics.slot(places.index((one.name, one.version)), self.worker)
                    model = Served(got, slot, one.name)
                    made.append(model)
                elif model.predictor is None and self.loads(model):
                    read(one)
                models.append(model)
            self.load(models)
        except BaseException:
            for model in made:
                model.close()
            raise
        self.next = Next(plan, tuple(models), tuple(made), places, read_again)
        return plan, places

    def placed(self, plan: Plan) -> Places:
        """The metrics' places with room for every model of a plan."""
        metrics = self.site.metrics
        places = list(metrics.models)
        wanted = [(one.name, one.version) for one in plan.models]
        keep = {*wanted, *((model.name, model.version) for model in self.held())}
        for name, version in wanted:
            metrics.place(places, name, version, keep)
        return places

    def keys(self) -> tuple[Keys | None, Keys | None]:
        """Callers' and administrators' keys, as their files are now."""
        settings = self.site.settings
        files = (settings.api_key_file, settings.admin_key_file)
        callers, admins = (keys.read(file) if file is not None else None for file in files)
        return callers, admins

    def abort(self) -> None:
        """Forget what was prepared."""
        if self.next is not None:
            for model in self.next.made:
                model.close()
            self.next = None

    def commit(self) -> tuple[Served, ...]:
        """Serve what was prepared. Returns the models that neither this plan nor the one before it has."""
        assert self.next is not None, "committed before it was prepared"
        held, site = self.held(), self.site
        # SageMaker unloads models to make room, and never goes back
        self.before = None if site.settings.contract == "sagemaker" else (site.plan, site.models)
        site.metrics.models = list(self.next.places)
        if self.next.keys is not None:
            site.keys, site.admin = self.next.keys
        site.show(self.next.plan, self.next.models)
        self.next = None
        kept = set(self.held())
        return tuple(model for model in held if model not in kept)

    def close(self) -> None:
        """Let go of every model."""
        self.abort()
        for mirror, _, _ in self.site.mirrors.values():
            mirror.close()
        for model in self.held():
            model.close()


def holding(path: Path) -> Path:
    """The bundle that `path` is or, as an artefact, holds."""
    return path / "bundle" if (path / "anyport.json").is_file() and (path / "bundle").is_dir() else path


def read(entry: Entry) -> Bundle:
    """The bundle at an entry's path. BadBundle where there is none; Mistake where it is not the one that was meant."""
    found = bundle.read(holding(Path(entry.path)))
    for what, wanted, got in (
        ("name", "" if entry.alias else entry.name, found.name),
        ("version", entry.version, found.version),
        ("digest", entry.digest, found.digest),
    ):
        if wanted and wanted != got:
            kind = BadBundle if what == "digest" else Mistake
            raise kind(
                f"{entry.path} is another bundle: expected {what} {wanted}, got {got}",
                fix="leave it out to take what is there, or say the path of the one that is meant",
            )
    return found
