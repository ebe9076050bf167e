"""What every target is held to with every model of the zoo, in whichever tier of the tests it runs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import engines
import msgspec
import packed
import pytest
import zoo

from anyport import conformance, targets
from anyport.bundle import Bundle, read
from anyport.errors import Missing
from anyport.target import PROOFS, Reason

SAMPLE = ("penguin_species", "counts", "fixed_batch", "notebook_class")
"""What a slow target that needs no program answers for in the default suite: text and nulls, a regression, a tensor,
Python. The slow tests ask it the whole zoo."""


def pairs(names: Iterable[str] = (), *, tier: str = "") -> list[Any]:
    """Target × exhibit; strict xfail where the target states a gap for one of the exhibit's traits. `tier`: only the
    targets of this one."""
    found = []
    for target in targets.TABLE:
        spec = targets.get(target).SPEC
        if tier not in ("", spec.tier):
            continue
        for name, exhibit in zoo.load().items():
            if names and name not in names:
                continue
            marks: list[Any] = [getattr(pytest.mark, f"target_{target.replace('-', '_')}")]
            if exhibit.form in spec.takes:
                marks += [
                    pytest.mark.xfail(strict=True, reason=spec.gaps[t].why) for t in exhibit.traits if t in spec.gaps
                ]
            found.append(pytest.param(target, name, marks=marks, id=f"{target}-{name}"))
    return found


def sampled() -> list[Any]:
    """Slow target × SAMPLE, where nothing but this Python has to be there."""
    free = [t for t in targets.TABLE if not targets.get(t).SPEC.programs and not engines.elsewhere(t)]
    return [pair for pair in pairs(SAMPLE, tier="slow") if pair.values[0] in free]


def unfit(target: str, bundle: Bundle) -> Reason | None:
    """Why a bundle cannot go to a target, as the target says before any work."""
    module = targets.get(target)
    return targets.fits(module, bundle, targets.options(module, {}))


def fitting(target: str, shelf: packed.Shelf) -> Path:
    """A bundle that goes to the target: the example's, or else the first of a few unlike ones."""
    for name in ("penguin_species", "components", "counts", "documents"):
        if unfit(target, read(shelf.bundle(name))) is None:
            return shelf.bundle(name)
    raise AssertionError(f"none of the usual exhibits goes to {target}")


def conforms(bundle: Bundle, target: str, folder: Path, **given: str) -> conformance.Report:
    """Build the artefact in `folder`, check it, and hold the report to what a report must say."""
    module = targets.get(target)
    made = targets.build(bundle, target, folder, **given)
    try:
        with engines.shared():
            report = conformance.check_artifact(made.path)
    except Missing as error:  # what this bundle's form of the artefact needs beside the target's own engine
        engines.must(False, str(error))
        raise
    failed = [f"{c.name}: {c.says}" for c in report.cases if c.verdict == "failed"]
    assert not failed
    assert report.ok
    assert [c.name for c in report.cases] == [c.name for c in (*conformance.CASES, *getattr(module, "CASES", ()))]
    assert {c.name for c in report.cases if c.verdict == "gap"} <= set(module.SPEC.gaps)
    assert (report.target, report.bundle, report.digest) == (target, bundle.name, bundle.digest)
    assert report.proof in PROOFS
    assert all(report.engine[part] for part in ("name", "version", "process"))
    golden = next(c for c in report.cases if c.name == "golden")
    assert golden.rows >= 500
    assert json.loads((made.path / "report.json").read_text()) == json.loads(msgspec.json.encode(report))
    return report
