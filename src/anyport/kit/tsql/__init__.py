"""Microsoft's own parser and binder of T-SQL: whether a text's grammar, names, functions and arguments are a server's.

    python -m anyport.kit.tsql FOLDER      # fetches them, 38 MB, by their hash, and compiles the driver; then
    export ANYPORT_TSQL=FOLDER

They are those of SQL Server Management Objects, in the wheel of https://github.com/microsoft/mssql-scripter, and know
the T-SQL of SQL Server 2016. They answer nothing: values are not computed. Needs Mono and its compiler (mono-devel).
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from anyport.errors import Impossible, Missing
from anyport.kit import lock
from anyport.kit.process import run
from anyport.kit.view import View, columns
from anyport.signature import Signature
from anyport.sql.dialect import Dialect

VARIABLE = "ANYPORT_TSQL"
VERSION = "1.0.0a23"
WHEEL = f"mssql-scripter=={VERSION} --hash=sha256:5119d148a9750d2cfa9820835da32d5140ebc85807e7ed5403a521052782dd6e\n"
WITHIN = "mssqlscripter/mssqltoolsservice/bin"
LIBRARIES = (
    "Microsoft.SqlServer.SqlParser.dll", "Microsoft.SqlServer.Management.SmoMetadataProvider.dll",
    "Microsoft.SqlServer.Smo.dll", "Microsoft.SqlServer.SqlEnum.dll", "Microsoft.SqlServer.ConnectionInfo.dll",
    "Microsoft.SqlServer.Management.Sdk.Sfc.dll", "NetCoreGlobalization.dll",
)  # fmt: skip
PLATFORM = ("System.Data.dll", "Facades/netstandard.dll")
"""What the libraries are written against, which Mono has."""
SOURCE = Path(__file__).with_name("Driver.cs")
MONO = ("mono", "mcs")
UNKNOWN = "Could not find stored procedure 'sp_execute_external_script'."
"""Procedures of the system are in no database that exists in memory alone."""
SECONDS = 300
"""The longest that a text may take."""


def program() -> str:
    """The name of the compiled driver: another where its source is another."""
    return f"driver-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]}.exe"


def fetch(folder: Path) -> None:
    """Put the libraries and the driver into a folder. Offline where they cannot be had, Missing without Mono, BadBundle
    where they are others."""
    needed()
    if not lacking(folder):
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
    try:
        (work / "wheel.lock").write_text(WHEEL)
        argv = ("--target", "wheel", "--no-deps", "--require-hashes", "--only-binary", ":all:")
        machine = ("--python-platform", "x86_64-manylinux_2_28")
        done = lock.uv("pip", "install", *argv, *machine, "-r", "wheel.lock", cwd=work)
        if done.code:
            raise lock.why(done, f"mssql-scripter {VERSION} cannot be had")
        new = work / "new"
        new.mkdir()
        for name in LIBRARIES:
            shutil.copyfile(work / "wheel" / WITHIN / name, new / name)
        uses = [f"-r:{name}" for name in (*LIBRARIES, *PLATFORM)]
        run(["mcs", f"-out:{new / program()}", f"-lib:{new}", *uses, SOURCE], timeout=SECONDS).checked()
        folder.mkdir(exist_ok=True)
        for name in (*LIBRARIES, program()):
            (new / name).replace(folder / name)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def lacking(folder: Path) -> list[str]:
    """Files that a folder has not."""
    return [name for name in (*LIBRARIES, program()) if not (folder / name).is_file()]


def needed() -> None:
    """Missing where Mono is not there."""
    absent = [name for name in MONO if shutil.which(name) is None]
    if absent:
        raise Missing(f"{absent[0]} is not here, which Microsoft's parser of T-SQL runs in",
                      fix=f"apt-get install mono-devel, or unset {VARIABLE}")  # fmt: skip


def folder() -> Path | None:
    """Where it is; None where the user has named no folder. Missing where it, or Mono, is not there."""
    said = os.environ.get(VARIABLE, "")
    if not said:
        return None
    found = Path(said)
    if names := lacking(found):
        raise Missing(f"{VARIABLE}={said} lacks {names[0]}", fix=f"python -m anyport.kit.tsql {said}")
    needed()
    return found


def refused(tools: Path, batches: Sequence[str]) -> list[str]:
    """What Microsoft says against each of these batches, in order; what one makes is there for the next ones."""
    lines = b"\n".join(base64.b64encode(batch.encode()) for batch in batches)
    done = run(["mono", tools / program()], input=lines + b"\n", timeout=SECONDS).checked()
    found = []
    for line in done.stdout.decode().splitlines():
        number, row, column, message = line.split("\t")
        if message == UNKNOWN:
            continue
        text = batches[int(number)].split("\n")[int(row) - 1][max(0, int(column) - 1) :][:60]
        found.append(f"{message} (line {row}, column {column} of {batches[int(number)][:40]!r}…: {text!r})")
    return found


def bound(tools: Path, signature: Signature, view: View, d: Dialect, *, schema: str, statements: Sequence[str]) -> None:
    """Hold the shipped statements to it, over a table of the model's own columns. Impossible with Microsoft's words."""
    kinds = [f"{d.ident(name)} {d.type_of(field)}" for field in signature.inputs
             for name in columns(Signature(inputs=(field,), outputs=()))]  # fmt: skip
    keys = [f"{d.ident(key)} {d.types['bigint']}" for key in view.keys]
    first = [
        f"create schema {d.ident(schema)}",
        f"create table {d.ident(schema)}.{d.ident(view.table)} ({', '.join([*kinds, *keys])})",
    ]
    found = refused(tools, [*first, *statements])
    if found:
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise Impossible(f"Microsoft's own binder refuses the shipped text: {found[0]}{more}")


__all__ = ["VARIABLE", "VERSION", "bound", "fetch", "folder", "refused"]
