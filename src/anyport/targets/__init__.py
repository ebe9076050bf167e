"""Every destination: one folder and one line in TABLE each; others join by the entry point group `anyport.targets`."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import msgspec

from anyport.bundle import Bundle, Form, read, writing
from anyport.errors import BadBundle, Impossible, Missing, Mistake
from anyport.target import Artifact, Reason, Target

TABLE: Mapping[str, str] = {
    "azure_functions": "anyport.targets.azure_functions",
    "bigquery": "anyport.targets.bigquery",
    "clickhouse": "anyport.targets.clickhouse",
    "databricks": "anyport.targets.databricks",
    "django": "anyport.targets.django",
    "docker": "anyport.targets.docker",
    "duckdb": "anyport.targets.duckdb",
    "fastapi": "anyport.targets.fastapi",
    "flask": "anyport.targets.flask",
    "gcf": "anyport.targets.gcf",
    "lambda": "anyport.targets.aws_lambda",
    "local": "anyport.targets.local",
    "mariadb": "anyport.targets.mariadb",
    "pgvector": "anyport.targets.pgvector",
    "postgres": "anyport.targets.postgres",
    "redshift": "anyport.targets.redshift",
    "rest": "anyport.targets.rest",
    "snowflake": "anyport.targets.snowflake",
    "sqlite": "anyport.targets.sqlite",
    "sqlserver": "anyport.targets.sqlserver",
    "trino": "anyport.targets.trino",
}
"""Name → module, sorted."""


def names() -> list[str]:
    """Names of all targets, plugins too, sorted."""
    return sorted({*TABLE, *plugins()})


def plugins() -> dict[str, str]:
    """Targets of installed packages: entry points of the group `anyport.targets`, each naming a module."""
    return {e.name: e.value for e in importlib.metadata.entry_points(group="anyport.targets")}


def get(name: str) -> Target:
    """The target's module. Mistake with the nearest name for an unknown one, Missing for a plug-in that is broken."""
    module = TABLE.get(name) or plugins().get(name)
    if module is None:
        close = difflib.get_close_matches(name, names(), n=1)
        raise Mistake(
            f"there is no target {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""), fix="anyport targets"
        )
    try:
        return cast(Target, importlib.import_module(module))
    except ImportError as error:
        if name in TABLE:
            raise
        raise Missing(
            f"target {name!r} is the module {module} of another package, and cannot be imported: {error}",
            fix="reinstall or remove that package",
        ) from error


def options(target: Target, given: Mapping[str, str], *, live: bool = False) -> Any:
    """The target's Options (or Live) from key=value texts; Mistake naming the key that does not fit."""
    kind = target.Live if live else target.Options
    flag = "--live" if live else "-O"
    known = {f.name: f for f in msgspec.structs.fields(kind)}
    for key in given:
        if key not in known:
            raise Mistake(
                f"{flag} {key}: {target.SPEC.name} has no such option", fix=f"options: {', '.join(known) or 'none'}"
            )
    try:
        return msgspec.convert(dict(given), kind, strict=False)
    except msgspec.ValidationError as error:
        raise Mistake(f"{flag} of {target.SPEC.name}: {error}") from error


def fits(target: Target, bundle: Bundle, chosen: Any) -> Reason | None:
    """Why the bundle cannot go to the target: its form, its size, or what the target itself says; None if it can."""
    spec = target.SPEC
    if bundle.form not in spec.takes:
        why = f"{spec.title} takes form {' or '.join(spec.takes)}; this bundle is in form {bundle.form}"
        return Reason(f"{why} ({bundle.manifest.why_no_graph})" if bundle.manifest.why_no_graph else why)
    limit = spec.limits.get("bundle_mb")
    size = sum((bundle.path / name).stat().st_size for name in bundle.manifest.files) / 1e6
    if limit is not None and size > limit:
        return Reason(f"the bundle has {size:.0f} MB; {spec.title} takes {limit:.0f} MB")
    return target.fits(bundle, chosen)


def build(bundle: Bundle | str | Path, to: str, out: str | Path, **given: str) -> Artifact:
    """Build the artefact of one target into `out`. Impossible with the reason before any work."""
    if not isinstance(bundle, Bundle):
        bundle = read(bundle)
    target = get(to)
    chosen = options(target, given)
    reason = fits(target, bundle, chosen)
    if reason is not None:
        raise Impossible(reason.why, fix=reason.fix)
    with writing(Path(out)) as work:
        made = replace(target.build(bundle, work, chosen), options=given)
        note(made)
    return replace(made, path=Path(out))


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """anyport.json, by which `anyport check` knows an artefact."""

    target: str
    form: Form
    bundle: str
    """Digest of the bundle inside."""
    options: Mapping[str, str] = {}


def note(artifact: Artifact) -> None:
    """Write anyport.json."""
    facts = Note(artifact.target, artifact.form, artifact.digest, dict(sorted(artifact.options.items())))
    (artifact.path / "anyport.json").write_bytes(msgspec.json.format(msgspec.json.encode(facts)) + b"\n")


def artifact(path: Path) -> Artifact:
    """The artefact in a folder, as its anyport.json says."""
    file = path / "anyport.json"
    try:
        facts = msgspec.json.decode(file.read_bytes(), type=Note)
        return Artifact(facts.target, path, facts.form, facts.bundle, facts.options)
    except (OSError, msgspec.DecodeError) as error:
        raise BadBundle(f"{path} is neither a bundle nor an artefact: {file.name} cannot be read") from error


def carry(bundle: Bundle, out: Path) -> Path:
    """Copy the bundle's listed members (and bundle.json, and its signature) to `out`/bundle."""
    folder = out / "bundle"
    for name in ("bundle.json", "bundle.sig", *bundle.manifest.files):
        source = bundle.path / name
        if source.is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / name)
    return folder
