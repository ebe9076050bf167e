"""ZetaSQL, Google's own implementation of GoogleSQL, which BigQuery speaks: it analyses a text, and evaluates it.

    python -m anyport.kit.zetasql FOLDER      # fetches its jars, 72 MB, each by its hash; then
    export ANYPORT_ZETASQL=FOLDER

Needs a JDK of version 11 or later, on Linux on x86-64. https://github.com/google/zetasql
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from anyport.batch import Batch, Column, Outcome, rows
from anyport.errors import BadBundle, BadData, Impossible, Missing, Offline
from anyport.kit.database import answers, checked, outcome, plain, split
from anyport.kit.process import Held, popen
from anyport.kit.view import View, columns
from anyport.signature import Signature
from anyport.sql.dialect import Dialect

VARIABLE = "ANYPORT_ZETASQL"
VERSION = "2025.09.1"
"""The jar of 2025.12.1 lacks parts of gRPC that it needs."""
CENTRAL = "https://repo1.maven.org/maven2"
JARS = {
    f"com/google/zetasql/zetasql-client/{VERSION}": "797c2b969531dad524f05b7a6e1638ee113f968d30bd26969d81571d67909e81",
    f"com/google/zetasql/zetasql-types/{VERSION}": "4c5373096415532021969d5327b693829255c1e71a44e677465650d03b96ce67",
    f"com/google/zetasql/zetasql-jni-channel/{VERSION}":
        "2940131d5e68a731e121e1d4cf55ec7f857a68eef3d32c9df88943224e23e73e",
    f"com/google/zetasql/zetasql-jni-channel-linux/{VERSION}":
        "c8a1d1118d97abd71cf529f49541a3919c3ca8d4bc2f512e5a76e4fa590d27c9",
    "com/google/protobuf/protobuf-java/4.27.5": "0794eb42800cf637eebb2c8143cdc1bda3ac6a6d4adf246603f88dc2d3a240de",
    "com/google/api/grpc/proto-google-common-protos/2.29.0":
        "ee9c751f06b112e92b37f75e4f73a17d03ef2c3302c6e8d986adbcc721b63cb0",
    "com/google/guava/guava/33.2.1-android": "6b55fbe6ffee621454c03df7bea720d189789e136391a524e29506ff40654180",
    "com/google/guava/failureaccess/1.0.2": "8a8f81cf9b359e3f6dfa691a1e776985c061ef2f223c9b2c80753e1b458e8064",
    "com/google/code/gson/gson/2.10.1": "4241c14a7727c34feea6507ec801318a3d4a90f070e4525681079fb94ee4c593",
    "io/netty/netty-buffer/4.1.100.Final": "462874b44ee782fbefec64078cda6eb8e7bf9f0e0af71a928ef4c1f2d564f7ee",
    "io/netty/netty-codec/4.1.100.Final": "180a01ed67af399602e24ff1c32864e7f57f57c4a0fa5e9ab3fe9b0e5e9cf051",
    "io/netty/netty-codec-http/4.1.100.Final": "326811d249cb0e5555e78e026e877834e792261c38f0666d80464426695d9590",
    "io/netty/netty-codec-http2/4.1.100.Final": "23b4a74350f4cf8d41b93fb93d52b5050667d8d53fffc385672c86eab83b8749",
    "io/netty/netty-common/4.1.100.Final": "d2908301f1ac6f2910900742473c15d701765d3d4467acdb1eebb9df3aa82885",
    "io/netty/netty-handler/4.1.100.Final": "0e10e584c2e7fdf7f4804e14760ed987003f1b62ab982f62eaf13a9892793d3a",
    "io/netty/netty-transport/4.1.100.Final": "b1deeceedab3734cdb959c55f4be5ab4a667a8aed59121ff93763f49470f5470",
    "io/perfmark/perfmark-api/0.26.0": "b7d23e93a34537ce332708269a0d1404788a5b5e1949e82f5535fce51b3ea95b",
}  # fmt: skip
"""Path below a Maven repository → SHA-256. The client's own list names a protobuf that it does not run with."""
SECONDS = 300
"""The longest that a jar may take to come."""
TOO_LARGE = re.compile(r"message (larger than max|exceeds maximum size)|Out of memory for MemoryAccountant")
"""What gRPC, its server or its client, says of more than 4 MiB, and the evaluator of more than 128 MB between its
steps; none of them can be told to take more."""
FILLED = 1_500_000
"""Characters of the statements that fill a table of nodes, the rows of which go with each question in a message."""
FILLS = re.compile(
    r"(?P<what>create or replace table|insert into|drop table) `[^`]+`\.`(?P<name>[^`]+)`(?: \((?P<columns>[^()]+)\))?"
    r"(?:(?: as)? (?P<query>select .+))?",
    re.S,
)
"""The statements that fill a table."""
Tables = dict[str, dict[str, Any]]
"""Name → columns and rows, as the driver takes them."""
JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""It lives for seconds, most of them spent in Google's library, which is no Java."""


def jar(path: str) -> str:
    """The file name of a jar."""
    _, name, version = path.rsplit("/", 2)
    return f"{name}-{version}.jar"


def fetch(folder: Path, *, repository: str = CENTRAL) -> None:
    """Put the jars into a folder, each whole and of the hash that is written here, or not at all. Offline where one
    cannot be had, BadBundle where it is another."""
    from urllib.request import urlopen

    from anyport.bundle import sha256

    folder.mkdir(parents=True, exist_ok=True)
    for path, wanted in JARS.items():
        to = folder / jar(path)
        if to.is_file() and sha256(to) == wanted:
            continue
        part = to.with_suffix(".part")
        url = f"{repository.rstrip('/')}/{path}/{jar(path)}"
        try:
            with urlopen(url, timeout=SECONDS) as source, part.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise Offline(
                f"{url} cannot be fetched: {error}", fix="name another repository: --repository URL"
            ) from error
        if sha256(part) != wanted:
            part.unlink()
            raise BadBundle(f"{url} is not the file whose hash anyport knows", fix=f"fetch it from {CENTRAL}")
        part.rename(to)


def folder() -> Path | None:
    """Where its jars are; None where the user has named no folder. Missing where they, or a JDK, are not there."""
    said = os.environ.get(VARIABLE, "")
    if not said:
        return None
    found = Path(said)
    lacking = [jar(path) for path in JARS if not (found / jar(path)).is_file()]
    if lacking:
        raise Missing(f"{VARIABLE}={said} lacks {lacking[0]}", fix=f"python -m anyport.kit.zetasql {said}")
    if shutil.which("javac") is None:
        raise Missing("there is no JDK here, which ZetaSQL runs in", fix=f"install one, or unset {VARIABLE}")
    return found


class ZetaSql:
    """A process that analyses and evaluates, one question at a time."""

    def __init__(self, held: Held) -> None:
        self.held = held
        self._lock = Lock()

    def ask(self, **asked: Any) -> dict[str, Any]:
        """What it says. Failed where the process has ended."""
        with self._lock:
            self.held.stdin.write(json.dumps(asked).encode() + b"\n")
            self.held.stdin.flush()
            line = self.held.stdout.readline()
        if not line:
            raise self.held.died()
        said: dict[str, Any] = json.loads(line)
        return said


@contextmanager
def started(jars: Path) -> Iterator[ZetaSql]:
    """Such a process, until the block ends."""
    paths = os.pathsep.join(str(jars / jar(path)) for path in JARS)
    argv = ["java", *JVM, "-cp", paths, str(Path(__file__).with_name("Driver.java"))]
    with popen(argv, pipes=True) as held:
        yield ZetaSql(held)


class GooglePredictor:
    """Answers a batch by the shipped query over a table of the batch's own types."""

    def __init__(
        self, signature: Signature, view: View, d: Dialect, query: str, *, dataset: str, tables: Tables, zeta: ZetaSql
    ) -> None:
        """`query` reads the table in the dataset, and maybe those of `tables`; dataset "": by their names alone."""
        self.signature, self.view, self.dialect, self.dataset, self.zeta = signature, view, d, dataset, zeta
        self.tables = tables
        named, ident = ", ".join(map(d.ident, answers(signature))), d.ident(view.view)
        self.sql = f"with {ident} as (\n{query}\n)\nselect {named} from {ident} order by {d.ident(view.keys[0])}"

    def predict(self, inputs: Batch, /) -> Outcome:
        """Answers of every row. BadData where the table has not the model's columns, or the query fails."""
        import numpy as np

        n, kinds, listed = rows(inputs), {}, []
        data = {**inputs, **{key: Column(np.arange(n)) for key in self.view.keys}}
        for name, column in data.items():
            for label, flat, field in split(name, column):
                kinds[label] = self.dialect.type_of(field)
                listed.append([cell(v) for v in plain(flat, column, field)])
        checked(kinds, self.signature)
        found = self.asked(list(kinds.items()), list(zip(*listed, strict=True)))
        if len(found) != n:
            raise BadData(f"ZetaSQL gave {len(found)} answers to {n} rows")
        return outcome(self.signature, found)

    def asked(self, kinds: Sequence[Sequence[str]], listed: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Rows of answers; in halves where the rows or their answers are too many for one message."""
        tables = {**self.tables, self.view.table: {"columns": kinds, "rows": listed}}
        said = self.zeta.ask(op="answer", sql=self.sql, dataset=self.dataset, tables=tables)
        if "refused" not in said:
            answered: list[Any] = said["rows"]
            return answered
        if len(listed) < 2 or not TOO_LARGE.search(said["refused"]):
            raise BadData(said["refused"])
        middle = len(listed) // 2
        return self.asked(kinds, listed[:middle]) + self.asked(kinds, listed[middle:])


def cell(value: Any) -> Any:
    """A value as the driver takes it."""
    import datetime as dt

    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else "NaN" if value != value else f"{'-' * (value < 0)}Infinity"
    if isinstance(value, dt.datetime):
        return (value - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    return value


@contextmanager
def answering(
    jars: Path,
    signature: Signature,
    view: View,
    d: Dialect,
    *,
    dataset: str,
    statement: str,
    before: Sequence[str] = (),
) -> Iterator[tuple[GooglePredictor, int]]:
    """A predictor of a shipped statement, CREATE VIEW or the query alone, and the process that evaluates it; `before`
    are the statements that fill the tables beside the rows.

    Each is analysed as it is shipped, and its query evaluated. Impossible where Google refuses one.
    """
    types = {name: d.type_of(f) for f in signature.inputs for name in columns(Signature(inputs=(f,), outputs=()))}
    kinds = [*types.items(), *((key, d.types["bigint"]) for key in view.keys)]
    query = statement.partition(" as\n")[2] if statement.startswith("create ") else statement
    with started(jars) as zeta:
        tables: Tables = {}
        for text in before:
            fill(zeta, text, dataset, tables)
        taken(zeta.ask(op="analyze", sql=statement, dataset=dataset,
                       tables={**tables, view.table: {"columns": kinds, "rows": []}}))  # fmt: skip
        if tables:  # as arrays of one row they would be counted again with each row that is joined
            query, dataset = query.replace(f"{d.ident(dataset)}.", ""), ""
        yield GooglePredictor(signature, view, d, query, dataset=dataset, tables=tables, zeta=zeta), zeta.held.pid


def fill(zeta: ZetaSql, statement: str, dataset: str, tables: Tables) -> None:
    """What a statement, analysed by Google, makes of the tables: the rows that it puts there are those of its query."""
    taken(zeta.ask(op="analyze", sql=statement, dataset=dataset, tables=tables))
    found = FILLS.fullmatch(statement)
    if found is None:
        raise BadBundle(f"no table is filled by {statement[:80]!r}", fix="anyport build again")
    name, listed, query = found["name"], found["columns"], found["query"]
    if found["what"] == "drop table":
        del tables[name]
    elif query is None:
        tables[name] = {"columns": [column.split(" ") for column in listed.split(", ")], "rows": []}
    else:
        said = taken(zeta.ask(op="answer", sql=query.replace(f"`{dataset}`.", ""), dataset="", tables=tables))
        if found["what"] == "insert into":
            into = tables[name]
            if [c for c, _ in into["columns"]] != listed.split(", "):
                raise BadBundle(f"{name} is not filled in the order of its columns", fix="anyport build again")
            tables[name] = {**into, "rows": [*into["rows"], *said["rows"]]}
        else:
            tables[name] = {"columns": said["columns"], "rows": said["rows"]}


def taken(said: dict[str, Any]) -> dict[str, Any]:
    """An answer. Impossible with the words of Google that there is none."""
    if "refused" in said:
        raise Impossible(f"Google's own analyzer refuses the shipped text: {said['refused']}")
    return said
