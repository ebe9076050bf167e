"""pack: a trained model goes in, a proven Bundle comes out."""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib.metadata
import platform
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from anyport import baseline, infer
from anyport import data as datafiles
from anyport.batch import rows, take
from anyport.bundle import PROTOCOL, Bundle, Form, Manifest, Tolerance, Tried, check_name, read, seal, writing
from anyport.errors import BadData, Impossible, Missing, Mistake
from anyport.frameworks import Framework, Original, get, of_model, of_path
from anyport.golden.ask import answer, one_thread, raw
from anyport.golden.rows import Golden, make
from anyport.golden.rules import base_row, find_rules
from anyport.golden.store import write as write_golden
from anyport.graph.encoder import write as write_encoder
from anyport.graph.prove import Kept, exam, prove
from anyport.ingest import to_batch
from anyport.signature import Signature

if TYPE_CHECKING:
    from anyport.trust import Trust


def pack(
    model: Any,
    data: Any,
    *,
    name: str | None = None,
    out: str | Path | None = None,
    label: str | None = None,
    version: str = "",
    trust: Trust | str | None = None,
    form: Literal["auto", "graph", "python"] = "auto",
    golden: Literal["synthesised", "real"] = "synthesised",
    tolerance: Tolerance | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Bundle:
    """Pack a model with rows that prove it; gives the verified Bundle written to `out` (default NAME.anyport).

    `model` is a live object or a path; `data` a table, an array, tensors, or a path (`label`: its target column,
    which is dropped). `trust` consents to opening files that can execute code (names, or "all").
    `form` "graph" fails with Impossible where no graph is proven; "python" does not try one.
    Raises BadData, Mistake, Untrusted, Missing, Impossible; nothing is half-written.
    """
    model, framework, path = opened(model, trust)
    out = Path(out) if out is not None else Path(f"{name or default_name(model, path)}.anyport")
    name = check_name(name or out.name.removesuffix(".tar.gz").removesuffix(".anyport").lower())
    say(f"reading the data for a {framework.NAME} model")
    with one_thread():
        hints = framework.hints(model, None if isinstance(data, str | Path) else data)
        original = described(model, framework, datafiles.read(data, label=label, hints=hints))
        say("asking the original what it refuses")
        base = base_row(original)
        if base is None:
            raise BadData(f"the model answers none of the first rows of the data: {why_not(original)}")
        original = Original(model, original.framework, find_rules(original, base), original.data)
        boundaries = framework.boundaries(original)
        say("making golden rows")
        rows_golden = make(original, boundaries, real=golden == "real")
        stated = tolerance or Tolerance(atol=max(Tolerance().atol, 2 * rows_golden.noise))
        kept: Kept | None = None
        tried: tuple[Tried, ...] = ()
        why = "form python was asked for"
        if form != "python":
            kept, tried, why = search(original, framework, rows_golden, boundaries, stated, say=say)
            if kept is None and form == "graph":
                raise Impossible(f"no proven graph: {why}", fix="drop --form graph: the Python form packs every model")
        manifest = Manifest(
            protocol=PROTOCOL, name=name, framework=framework.NAME, form="graph" if kept else "python",
            signature=original.signature, tolerance=stated, files={}, tried=tried, why_no_graph="" if kept else why,
            kept=kept.candidate.name if kept else "",
            requirements=pins(framework.requirements(model)),
            python=".".join(platform.python_version_tuple()[:2]), version=version, noise=rows_golden.noise,
            golden=golden,
        )  # fmt: skip
        return written(out, manifest, original, rows_golden, kept, say=say)


def opened(model: Any, trust: Trust | str | None) -> tuple[Any, Framework, Path | None]:
    """The live model, its framework, and the file it came from."""
    if not isinstance(model, str | Path):
        return model, get(of_model(model)), None
    path = Path(model)
    if not path.exists():
        raise Mistake(f"{path}: no such file")
    if path.is_file() and path.stat().st_size == 0:
        raise Mistake(f"{path} is empty; it holds no model")
    from anyport.trust import Trust as Held
    from anyport.trust import held

    loaded = get(of_path(path)).load(path, trust if isinstance(trust, Held) else held(trust))
    return loaded, get(of_model(loaded)), path


def default_name(model: Any, path: Path | None) -> str:
    """A bundle name from the file's name, or from the model's class."""
    text = path.name.split(".")[0] if path is not None else type(model).__name__
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._") or "model"


def described(model: Any, framework: Framework, data: Any) -> Original:
    """The original with its signature, as far as model and data tell; rules come later."""
    hints = framework.hints(model, data)
    fields, container, data = infer.inputs(data, hints)
    batch, refused = to_batch(data, fields)
    if refused:
        row, why = next(iter(refused.items()))
        raise BadData(f"row {row} of the data: {why[0]}")
    if rows(batch) == 0:
        raise BadData("the data has no rows; anyport proves a model on real ones")
    original = Original(model, framework.NAME, Signature(inputs=fields, outputs=(), container=container), batch)
    answered = first_answers(original)
    outputs = infer.outputs(answered, hints)
    return Original(model, framework.NAME, msgspec.structs.replace(original.signature, outputs=outputs), batch)


def first_answers(original: Original) -> dict[str, Any]:
    """The model's answers to the first rows that it answers."""
    n = rows(original.data)
    error: Exception | None = None
    for start, stop in ((0, min(n, 64)), *((i, i + 1) for i in range(min(n, 50)))):
        try:
            return raw(original, take(original.data, slice(start, stop)))
        except Exception as failure:  # the next row may be answered
            error = error or failure
    raise BadData(f"the model answers none of the data's first rows: {type(error).__name__}: {error}") from error


def why_not(original: Original) -> str:
    """The original's words on its first row."""
    outcome = answer(original, take(original.data, slice(0, 1)))
    return str(next(iter(outcome.refused.values()))[0]) if outcome.refused else "unknown"


def search(
    original: Original,
    framework: Framework,
    golden: Golden,
    boundaries: Any,
    tolerance: Tolerance,
    *,
    say: Callable[[str], None],
) -> tuple[Kept | None, tuple[Tried, ...], str]:
    """The proven graph if there is one, every candidate tried, and otherwise why there is none."""
    if golden.unexplained:
        return (
            None,
            (),
            f"the original refuses {golden.unexplained} golden rows for reasons that no column rule explains",
        )
    try:
        paper = exam(original, golden, boundaries, tolerance)
        kept, tried = prove(framework.candidates(original), paper, say=say)
    except Impossible as error:
        return None, (), error.what
    if kept is None:
        return None, tried, "; ".join(f"{t.name}: {t.rejected}" for t in tried) or "no candidate"
    return kept, tried, ""


def pins(names: tuple[str, ...]) -> tuple[str, ...]:
    """Distributions as name==version, as installed here."""
    return tuple(sorted(f"{name}=={importlib.metadata.version(name)}" for name in names))


def written(
    out: Path, manifest: Manifest, original: Original, golden: Golden, kept: Kept | None, *, say: Callable[[str], None]
) -> Bundle:
    """Write every member to a temporary folder, seal it, prove the Python form, then rename."""
    import numpy as np

    archive = out.name.endswith((".tar.gz", ".tgz"))
    folder = out.with_name(out.name.removesuffix(".gz").removesuffix(".tar").removesuffix(".tgz")) if archive else out
    with writing(folder) as work:
        write_golden(golden, original.signature, work / "golden.npz")
        distribution = baseline.make(original.data, answer(original, original.data), original.signature)
        (work / "baseline.json").write_bytes(msgspec.json.format(msgspec.json.encode(distribution)) + b"\n")
        if kept is not None:
            (work / "fast.onnx").write_bytes(kept.candidate.fast)
            if kept.candidate.encoder is not None:
                (work / "encoder.json").write_bytes(write_encoder(kept.candidate.encoder))
            if kept.exact is not None:
                (work / "exact.onnx").write_bytes(kept.exact)
            if kept.candidate.trees:
                with (work / "trees.npz").open("wb") as file:
                    np.savez_compressed(file, **kept.candidate.trees)  # type: ignore[arg-type]
        else:
            from anyport import pyform

            say("writing the Python form and locking its environment")
            manifest = pyform.save(original, work, manifest)
        seal(work, manifest)
        (work / "meta.json").write_bytes(msgspec.json.format(msgspec.json.encode(meta(original))) + b"\n")
        if kept is None:
            say("proving the Python form in a clean interpreter")
            pyform.prove(work, golden)
    if archive:
        from anyport.kit.archive import tar_gz

        tar_gz(folder, out)
        import shutil

        shutil.rmtree(folder)
    return read(out)


def meta(original: Original) -> dict[str, Any]:
    """What may differ between two equal bundles: when, from what commit, on what data, by which anyport."""
    digest = hashlib.sha256()
    for name, column in sorted(original.data.items()):
        digest.update(name.encode())
        plain = column.plain().values
        digest.update(repr(plain.tolist()).encode() if plain.dtype == object else plain.tobytes())
    return {
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "git_commit": commit(), "data_sha256": digest.hexdigest(), "rows": rows(original.data),
        "python": platform.python_version(), "platform": f"{sys.platform}-{platform.machine()}",
        "anyport": importlib.metadata.version("anyport"),
    }  # fmt: skip


def commit() -> str:
    """The git commit of the current folder; "" where there is no repository, or no git."""
    from anyport.kit.process import Failed, run

    try:
        done = run(["git", "rev-parse", "HEAD"], timeout=5)
    except (Missing, Failed):
        return ""
    return done.stdout.decode().strip() if done.code == 0 else ""


__all__ = ["Form", "pack"]
