"""Every target with every model of the zoo: the artefact answers like the original, and is built the same twice."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import engines
import packed
import pytest
from conforming import conforms, fitting, pairs, sampled, unfit

from anyport import conformance, targets
from anyport.bundle import read
from anyport.errors import Impossible, Mistake
from anyport.target import Artifact, Gap, Spec


@pytest.mark.parametrize(("target", "name"), [*pairs(tier="quick"), *sampled()])
def test_an_artefact_answers_as_the_original_did(shelf: packed.Shelf, tmp_path: Path, target: str, name: str) -> None:
    engines.need(target)
    bundle = read(shelf.bundle(name))
    if (reason := unfit(target, bundle)) is not None:
        with pytest.raises(Impossible, match=re.escape(reason.why)):
            targets.build(bundle, target, tmp_path / "artefact")
        assert not list(tmp_path.iterdir())
        assert bundle.form in targets.get(target).SPEC.takes or f"form {bundle.form}" in reason.why
        return
    module = targets.get(target)
    reason = targets.fits(module, bundle, targets.options(module, {}))
    if reason is not None:
        with pytest.raises(Impossible, match=re.escape(reason.why)):
            targets.build(bundle, target, tmp_path / "artefact")
        assert not (tmp_path / "artefact").exists()
        return
    conforms(bundle, target, tmp_path / "artefact")


@pytest.mark.parametrize(("target", "name"), pairs(["penguin_species", "fixed_batch", "notebook_class"]))
def test_the_same_bundle_gives_the_same_bytes(shelf: packed.Shelf, tmp_path: Path, target: str, name: str) -> None:
    bundle = read(shelf.bundle(name))
    if unfit(target, bundle) is not None:
        with pytest.raises(Impossible):
            targets.build(bundle, target, tmp_path / "first")
        return
    first, second = (targets.build(bundle, target, tmp_path / which) for which in ("first", "second"))
    assert content(first) == content(second)
    assert content(first)["anyport.json"]


def content(made: Artifact) -> dict[str, str]:
    """Every file of an artefact, with its mode and the hash of its bytes."""
    return {
        str(p.relative_to(made.path)): f"{p.stat().st_mode:o} {hashlib.sha256(p.read_bytes()).hexdigest()}"
        for p in sorted(made.path.rglob("*")) if p.is_file()
    }  # fmt: skip


@pytest.mark.parametrize("target", [pytest.param(t, marks=getattr(pytest.mark, f"target_{t}")) for t in targets.TABLE])
def test_an_artefact_carries_its_bundle_and_who_built_it(shelf: packed.Shelf, tmp_path: Path, target: str) -> None:
    packed_ = fitting(target, shelf)
    made = targets.build(packed_, target, tmp_path / "artefact")
    inside, outside = read(made.path / "bundle"), read(packed_)
    assert inside.digest == outside.digest == made.digest
    assert targets.artifact(made.path) == made
    # meta.json holds the clock, the commit and the hash of the data; it is nobody's business at the other end
    assert not (made.path / "bundle" / "meta.json").exists()
    assert not any(p.is_symlink() for p in made.path.rglob("*"))


@pytest.mark.parametrize("target", [pytest.param(t, marks=getattr(pytest.mark, f"target_{t}")) for t in targets.TABLE])
def test_an_option_that_a_target_lacks_is_named(penguins: Path, tmp_path: Path, target: str) -> None:
    with pytest.raises(Mistake, match=r"-O colour: .* has no such option"):
        targets.build(penguins, target, tmp_path / "artefact", colour="red")
    assert not list(tmp_path.iterdir())


def test_a_target_that_is_not_there_is_answered_with_the_nearest() -> None:
    with pytest.raises(Mistake, match="did you mean 'local'"):
        targets.get("locall")


def with_gaps(**gaps: Gap) -> Any:
    """A target like any other, but for its gaps."""
    spec = Spec(name="odd", title="odd", kind="runtime", takes=("graph",), gaps=gaps)
    return SimpleNamespace(SPEC=spec)


def asked(ask: Any, **gaps: Gap) -> conformance.CaseResult:
    setting: Any = None
    return conformance.judged(conformance.Case("nulls", "", ask), setting, with_gaps(**gaps))


def test_a_closed_gap_turns_red() -> None:
    gap = Gap("it cannot say NULL", "never")
    assert asked(lambda _: "", nulls=gap).verdict == "failed"
    assert "gap has closed" in asked(lambda _: "", nulls=gap).says
    assert asked(lambda _: "wrong", nulls=gap).verdict == "gap"
    assert asked(lambda _: "wrong").verdict == "failed"
    assert asked(lambda _: "").verdict == "ok"
    assert asked(lambda _: None).verdict == "none"


def test_an_engine_that_breaks_is_a_failed_case() -> None:
    def broken(_: Any) -> str:
        raise RuntimeError("the connection went away")

    found = asked(broken)
    assert found.verdict == "failed"
    assert "RuntimeError: the connection went away" in found.says


def test_a_lacking_engine_skips_with_a_line_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "engine_of", lambda spec: "needs postgres")
    monkeypatch.delenv("ENGINES", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs postgres"):
        engines.need("local")
    monkeypatch.setenv("ENGINES", "required")
    with pytest.raises(pytest.fail.Exception, match="needs postgres"):
        engines.need("local")
