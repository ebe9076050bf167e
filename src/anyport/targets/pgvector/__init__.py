"""pgvector: embeddings beside the rows of a PostgreSQL table, filled by the model from outside and searched by SQL."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from anyport.bundle import Bundle, Tolerance
from anyport.errors import Impossible, Mistake
from anyport.kit.runtime import carry as carry_runtime
from anyport.kit.runtime import closure
from anyport.kit.vectors.command import load
from anyport.kit.vectors.spec import Distance, Filling
from anyport.target import Artifact, Command, Reason, Running, Spec, Sql, Step
from anyport.targets import carry
from anyport.targets.pgvector import proof
from anyport.targets.pgvector.scripts import script, statements

SPEC = Spec(
    name="pgvector", title="embedding search in PostgreSQL (pgvector)", kind="database", takes=("graph", "python"),
    extra="postgres", tier="slow", limits={"dimensions": 4000}, tolerance=Tolerance(rtol=1e-6, atol=1e-6),
)  # fmt: skip
"""Vectors are float4. The limit is of HNSW on halfvec: https://github.com/pgvector/pgvector#hnsw (0.8.5, 2026-10)."""
CASES = proof.CASES


class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Where the rows are, and how their vectors are searched."""

    table: str = ""
    """Of the rows; the bundle's name, lower case and _, where nothing is given."""
    key: str = "id"
    columns: str = ""
    """INPUT=COLUMN,… or a JSON object; an input that is not named is in the column of its own name."""
    table_schema: str = "public"
    schema: str = "public"
    """Of everything that is made."""
    name: str = ""
    """What everything that is made begins with; the bundle's name, lower case and _, where nothing is given."""
    distance: Distance = "cosine"
    m: int = 16
    ef_construction: int = 64
    ef_search: int = 100
    iterative: Literal["relaxed_order", "strict_order", "off"] = "relaxed_order"
    reader: str = ""
    """A role that may search."""


class Live(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The user's own server."""

    dsn: str


def fits(bundle: Bundle, options: Options) -> Reason | None:
    """Only a model whose one output is a vector, of as many numbers as can be indexed, under names that are kept."""
    outputs = bundle.signature.outputs
    vectors = [f for f in outputs if f.is_float and len(f.shape) == 1 and f.levels is None and f.shape[0]]
    if len(outputs) != 1 or len(vectors) != 1:
        gives = ", ".join(f"{f.name} ({f.says()})" for f in outputs)
        return Reason(
            f"pgvector holds the vectors of a model whose one output is a vector of numbers; this one gives {gives}",
            fix="--to postgres for answers in SQL, or --to rest",
        )
    width = vectors[0].shape[0] or 0
    if width > SPEC.limits["dimensions"]:
        return Reason(
            f"the vectors have {width:,} dimensions; pgvector's HNSW index takes 2,000 (vector) or 4,000 (halfvec), "
            "see https://github.com/pgvector/pgvector#hnsw",
            fix="reduce them (PCA, TruncatedSVD) before packing, or --to rest",
        )
    try:
        spec = filling(bundle, options)
        for suffix in ("_vectors_hnsw", "_vectors_key", "_search", "_like"):
            spec.own(suffix)
        assert spec.rows, "a quoted name is not empty"
    except Impossible as error:
        return Reason(error.what, fix="-O name=SHORTER, or -O table=…, -O schema=…")
    return None


def filling(bundle: Bundle, options: Options) -> Filling:
    """What fill.json says. Mistake for options that contradict the model or pgvector's limits."""
    inputs = {f.name: f.name for f in bundle.signature.inputs}
    columns = inputs | mapped(options.columns, tuple(inputs))
    for name, value, low, high in (
        ("m", options.m, 2, 100), ("ef_construction", options.ef_construction, max(4, 2 * options.m), 1000),
        ("ef_search", options.ef_search, 1, 1000),
    ):  # fmt: skip
        if not low <= value <= high:
            raise Mistake(f"-O {name}={value}: pgvector takes {low} to {high}")
    version = bundle.version
    called = re.sub(r"\W+", "_", bundle.name.lower())  # so that nobody has to write quotes
    return Filling(
        name=options.name or called, table_schema=options.table_schema, table=options.table or called,
        # a version that was given may stand for two bundles; what they embed is not the same
        model=version if bundle.digest.startswith(version) else f"{version}+{bundle.digest[:12]}",
        key=options.key, columns=columns, schema=options.schema, width=bundle.signature.outputs[0].shape[0] or 0,
        distance=options.distance, m=options.m, ef_construction=options.ef_construction, ef_search=options.ef_search,
        iterative=options.iterative, reader=options.reader,
    )  # fmt: skip


def mapped(text: str, inputs: tuple[str, ...]) -> dict[str, str]:
    """-O columns as input → column."""
    if text.lstrip().startswith("{"):
        try:
            found = msgspec.json.decode(text, type=dict[str, str])
        except msgspec.DecodeError as error:
            raise Mistake(f"-O columns is no JSON object of texts: {error}") from error
    else:
        pairs = [part.partition("=") for part in text.split(",") if part]
        found = {name.strip(): column.strip() for name, _, column in pairs}
    unknown = [name for name in found if name not in inputs]
    empty = [name for name, column in found.items() if not column]
    if unknown or empty:
        raise Mistake(
            f"-O columns: {'the model takes no ' + repr(unknown[0]) if unknown else 'no column for ' + repr(empty[0])}",
            fix=f"-O columns=INPUT=COLUMN,… with inputs {', '.join(inputs)}",
        )
    return found


def build(bundle: Bundle, out: Path, options: Options) -> Artifact:
    """bundle/, up.sql, down.sql, fill.py with fill.json, runtime/ and requirements.txt that it runs on, README.md."""
    spec = filling(bundle, options)
    carry(bundle, out)
    roots = ["anyport.kit.vectors.command"]
    if bundle.form == "python":
        roots += ["anyport.pyworker", f"anyport.frameworks.{bundle.manifest.framework}"]
    carry_runtime(out / "runtime", *roots)
    for name in ("fill.py", "README.md"):
        shutil.copyfile(Path(__file__).with_name(name), out / name)
    (out / "up.sql").write_text(script("up.sql", spec), encoding="utf-8")
    (out / "down.sql").write_text(script("down.sql", spec), encoding="utf-8")
    (out / "fill.json").write_bytes(msgspec.json.format(msgspec.json.encode(spec)) + b"\n")
    pins = "".join(f"{name}=={version}\n" for name, version in closure(*proof.needed(bundle)).items())
    (out / "requirements.txt").write_text(pins)
    return Artifact("pgvector", out, bundle.form, bundle.digest)


@contextmanager
def run(artifact: Artifact) -> Iterator[Running]:
    """up.sql and fill.py, as shipped, on a PostgreSQL of our own."""
    with proof.private(artifact) as running:
        yield running


@contextmanager
def connect(artifact: Artifact, live: Live) -> Iterator[Running]:
    """The same on the user's server, in a schema that is removed afterwards."""
    with proof.live(artifact, live.dsn) as running:
        yield running


def plan(artifact: Artifact, options: Any, live: Any) -> Sequence[Step]:
    """The schema in one transaction, and then the first fill, which may be repeated whenever rows have changed."""
    spec = load(artifact.path / "fill.json")
    return (
        Step(f"make {spec.vectors}, its index and the functions that search it", Sql(statements("up.sql", spec)),
             Sql(statements("down.sql", spec))),
        Step(f"embed the rows of {spec.rows}; DATABASE_URL says where", Command(("python", "fill.py"))),
    )  # fmt: skip


__all__ = ["CASES", "SPEC", "Live", "Options", "build", "connect", "fits", "plan", "run"]
