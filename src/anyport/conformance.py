"""The conformance suite: the same cases through any Predictor, whatever stands behind it, and their Report."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from anyport import targets
from anyport.batch import Batch, Column, Outcome, rows, take
from anyport.bundle import Bundle, Tolerance, read
from anyport.errors import AnyportError, BadData, Mistake
from anyport.golden.compare import Comparison, Difference, compare
from anyport.golden.rows import Golden
from anyport.golden.store import read as read_golden
from anyport.predictor import Predictor
from anyport.signature import Signature
from anyport.target import Artifact, Engine, Running, Target

Verdict = Literal["ok", "failed", "gap", "none"]
"""'gap': fails, and the target says so in its SPEC; 'none': the bundle has no rows of this kind."""
SINGLE = 40
"""Rows asked one at a time."""


class CaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one case found."""

    name: str
    verdict: Verdict
    says: str
    rows: int = 0
    worst: float = 0.0
    seconds: float = 0.0
    differences: tuple[dict[str, Any], ...] = ()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One artefact's parity, as observed."""

    target: str
    bundle: str
    digest: str
    artifact: str
    engine: dict[str, str]
    proof: str
    ok: bool
    cases: tuple[CaseResult, ...]

    def write(self, path: Path) -> None:
        """report.json."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self)) + b"\n")


@dataclass(frozen=True)
class Setting:
    """What a case works with."""

    signature: Signature
    golden: Golden
    tolerance: Tolerance
    predictor: Predictor

    def judge(self, index: Any, got: Outcome) -> Comparison:
        """Compare answers to golden rows at `index` (integers) with the original's."""
        keep = [int(i) for i in index]
        outcome = self.golden.outcome
        expected = Outcome(
            take(outcome.outputs, keep),
            {new: outcome.refused[old] for new, old in enumerate(keep) if old in outcome.refused},
        )
        excluded = {new for new, old in enumerate(keep) if old in set(self.golden.excluded)}
        return compare(expected, got, self.signature, tolerance=self.tolerance, excluded=excluded)


@dataclass(frozen=True)
class Case:
    """A named question to a running artefact. `ask` gives a Comparison, or a text that says what went wrong
    ("" when nothing did); None when the bundle has nothing to ask."""

    name: str
    title: str
    ask: Callable[[Setting], Comparison | str | None]


def replay(*why: str) -> Callable[[Setting], Comparison | None]:
    """The golden rows there for these reasons, in one batch."""

    def ask(s: Setting) -> Comparison | None:
        index = [i for i, w in enumerate(s.golden.why) if not why or w in why]
        if not index:
            return None
        return s.judge(index, s.predictor.predict(take(s.golden.inputs, index)))

    return ask


def one_by_one(s: Setting) -> Comparison | str:
    """A spread of golden rows, each asked alone."""
    n = rows(s.golden.inputs)
    index = sorted({round(i * (n - 1) / max(SINGLE - 1, 1)) for i in range(SINGLE)})
    worst = 0.0
    for row in index:
        found = s.judge([row], s.predictor.predict(take(s.golden.inputs, [row])))
        if not found.ok:
            return found
        worst = max(worst, found.worst)
    return Comparison(len(index), (), 0, 0, worst)


def reversed_batch(s: Setting) -> Comparison:
    """All golden rows in reverse order: answers stay with their rows."""
    index = list(range(rows(s.golden.inputs)))[::-1]
    return s.judge(index, s.predictor.predict(take(s.golden.inputs, index)))


def empty(s: Setting) -> str:
    """No rows in, no rows out, whatever the original does."""
    got = s.predictor.predict(take(s.golden.inputs, slice(0, 0)))
    sizes = {name: len(c) for name, c in got.outputs.items()}
    return "" if not any(sizes.values()) and not got.refused else f"an empty batch gave {sizes} rows"


def absent_column(s: Setting) -> str | None:
    """A batch without its first column is refused as a whole, naming it."""
    if len(s.signature.inputs) == 1:
        return None  # a batch without any column has no rows to refuse
    gone = s.signature.inputs[0].name
    batch = {k: v for k, v in take(s.golden.inputs, slice(0, 2)).items() if k != gone}
    return must_refuse(s, batch, gone, "without its first column")


def unknown_column(s: Setting) -> str:
    """A column under another name is refused, never taken by position."""
    first = s.signature.inputs[0].name
    batch = {(f"{k} x" if k == first else k): v for k, v in take(s.golden.inputs, slice(0, 2)).items()}
    return must_refuse(s, batch, first, "with its first column renamed")


def wrong_type(s: Setting) -> str | None:
    """Text in a column of numbers, or numbers in a column of text, is refused naming the column."""
    import numpy as np

    field = next((f for f in s.signature.inputs if not f.shape and f.dtype != "datetime"), None)
    if field is None:
        return None
    two = dict(take(s.golden.inputs, slice(0, 2)))
    words = np.empty(2, object)
    words[:] = ["not a number", "nor this"]
    two[field.name] = Column(np.array([1.5, 2.5])) if field.is_text else Column(words)
    return must_refuse(s, two, field.name, f"of another type ({field.says()} expected)")


def must_refuse(s: Setting, batch: Batch, column: str, what: str) -> str:
    """ "" if the batch is refused with words that name the column."""
    try:
        got = s.predictor.predict(batch)
    except BadData as error:
        return "" if column in error.what else f"a batch {what} is refused without naming {column!r}: {error.what}"
    named = all(any(column == r.column for r in got.refused.get(row, ())) for row in range(2))
    return "" if named else f"a batch {what} was answered"


def concurrent(s: Setting) -> Comparison | str:
    """Eight callers at once, each with its own rows, get their own answers."""
    n = rows(s.golden.inputs)
    shares = [[i % n for i in range(k, k + 24)] for k in range(0, 8 * 24, 24)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: s.judge(i, s.predictor.predict(take(s.golden.inputs, i))), shares))
    bad = next((f for f in found if not f.ok), None)
    return bad if bad is not None else Comparison(sum(f.rows for f in found), (), 0, 0, max(f.worst for f in found))


def repeated(s: Setting) -> str:
    """The same rows asked twice give the same bytes."""
    some = take(s.golden.inputs, slice(0, 200))
    first, second = s.predictor.predict(some), s.predictor.predict(some)
    for name, column in first.outputs.items():
        a, b = column.plain(), second.outputs[name].plain()
        same = (
            a.values.tolist() == b.values.tolist()
            if a.values.dtype == object
            else a.values.tobytes() == b.values.tobytes()
        )
        if not same:
            return f"output {name!r} changed between two calls with the same rows"
    return ""


CASES: tuple[Case, ...] = (
    Case("golden", "all golden rows in one batch", replay()),
    Case("single", "rows asked one at a time", one_by_one),
    Case("order", "the batch in reverse order", reversed_batch),
    Case("boundaries", "on the model's own splits", replay("boundary")),
    Case("nulls", "missing values", replay("missing")),
    Case("unseen", "unseen categories", replay("unseen")),
    Case("extremes", "huge, tiny, infinite", replay("extreme")),
    Case("unicode", "unicode and quoting", replay("unicode")),
    Case("refused", "rows the original refuses", replay("refused")),
    Case("empty", "an empty batch", empty),
    Case("absent-column", "a missing column", absent_column),
    Case("unknown-column", "a renamed column", unknown_column),
    Case("wrong-type", "a column of another type", wrong_type),
    Case("concurrency", "eight callers at once", concurrent),
    Case("repeat", "the same call twice", repeated),
)


def run_cases(bundle: Bundle, running: Running, target: Target) -> tuple[CaseResult, ...]:
    """Every case through one running artefact."""
    file = bundle.member("golden.npz")
    if file is None:
        raise Mistake(f"{bundle.path} carries no golden rows")
    golden = read_golden(file, bundle.signature)
    tolerance = looser(bundle.manifest.tolerance, target.SPEC.tolerance)
    setting = Setting(bundle.signature, golden, tolerance, running.predictor)
    extra: Sequence[Case] = getattr(target, "CASES", ())
    return tuple(judged(case, setting, target) for case in (*CASES, *extra))


def looser(a: Tolerance, b: Tolerance | None) -> Tolerance:
    """The wider of two tolerances, part by part."""
    if b is None:
        return a
    return Tolerance(rtol=max(a.rtol, b.rtol), atol=max(a.atol, b.atol), flips=max(a.flips, b.flips))


def judged(case: Case, setting: Setting, target: Target) -> CaseResult:
    """One case, timed; an exception that is not a refusal is a failure with its words."""
    start = time.perf_counter()
    found: Comparison | str | None
    try:
        found = case.ask(setting)
    except AnyportError as error:
        found = f"{type(error).__name__}: {error.what}"
    except Exception as error:  # a target's engine may raise anything: that is a failed case
        found = f"{type(error).__name__}: {error}"
    took = round(time.perf_counter() - start, 4)
    if found is None:
        return CaseResult(name=case.name, verdict="none", says="no such rows in this bundle", seconds=took)
    good = found == "" if isinstance(found, str) else found.ok
    gap = target.SPEC.gaps.get(case.name)
    verdict: Verdict = "ok" if good else ("gap" if gap else "failed")
    says = (found or "ok") if isinstance(found, str) else found.says()
    if gap is not None:
        says = f"the gap has closed: remove it from SPEC.gaps ({gap.why})" if good else f"{gap.why}: {says}"
        verdict = "failed" if good else "gap"
    if isinstance(found, str):
        return CaseResult(name=case.name, verdict=verdict, says=says, seconds=took)
    listed = tuple(shown(d) for d in found.differences)
    return CaseResult(
        name=case.name, verdict=verdict, says=says, rows=found.rows, worst=found.worst, seconds=took, differences=listed
    )


def shown(difference: Difference) -> dict[str, Any]:
    """A difference as JSON-ready data; numbers that JSON lacks become text."""

    def plain(value: Any) -> Any:
        if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
            return str(value)
        return [plain(v) for v in value] if isinstance(value, list) else value

    return {
        "row": difference.row, "output": difference.output,
        "expected": plain(difference.expected), "got": plain(difference.got),
    }  # fmt: skip


def check_artifact(path: Path | str, *, live: Mapping[str, str] | None = None) -> Report:
    """Check an artefact on disk in its own engine, or the user's endpoint with `live`. Writes report.json beside it."""
    path = Path(path)
    made = targets.artifact(path)
    target = targets.get(made.target)
    bundle = read(path / "bundle")
    running: AbstractContextManager[Running]
    if live:
        running = target.connect(made, targets.options(target, live, live=True))
    else:
        running = target.run(made)
    with running as engine:
        cases = run_cases(bundle, engine, target)
        report = reported(bundle, made, engine.engine, cases)
    report.write(path / "report.json")
    return report


def reported(bundle: Bundle, made: Artifact, engine: Engine, cases: tuple[CaseResult, ...]) -> Report:
    """Cases as a Report."""
    return Report(
        target=made.target, bundle=bundle.name, digest=bundle.digest, artifact=made.path.name,
        engine={"name": engine.name, "version": engine.version, "process": engine.process}, proof=engine.proof,
        ok=all(c.verdict != "failed" for c in cases), cases=cases,
    )  # fmt: skip


def check(
    what: str | Path | Bundle, *, to: Sequence[str] = (), live: Mapping[str, str] | None = None, **given: str
) -> list[Report]:
    """Check a bundle through targets (default: every quick one it fits), or one artefact. Never raises for a
    mismatch: see `Report.ok`. Impossible or Missing when a target named cannot be run."""
    if not isinstance(what, Bundle):
        path = Path(what)
        if (path / "anyport.json").is_file():
            return [check_artifact(path, live=live)]
        what = read(path)
    chosen = list(to) or [
        n for n in targets.names()
        if targets.get(n).SPEC.tier == "quick"
        and targets.fits(targets.get(n), what, targets.options(targets.get(n), {})) is None
    ]  # fmt: skip
    if live and len(chosen) != 1:
        raise Mistake("--live needs exactly one --to TARGET")
    reports = []
    for name in chosen:
        with tempfile.TemporaryDirectory(prefix="anyport-check-") as folder:
            made = targets.build(what, name, Path(folder) / name, **given)
            reports.append(check_artifact(made.path, live=live))
    return reports


__all__ = ["CASES", "Case", "CaseResult", "Report", "check", "check_artifact"]
