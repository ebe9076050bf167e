"""engine=python without SQL Server: what up.sql itself says, run by DuckDB and by the driver in another process."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from anyport.errors import BadBundle, BadData
from anyport.kit.inside import RUNTIME
from anyport.kit.process import Held, popen
from anyport.kit.runtime import view as interpreter
from anyport.kit.standin import stand_ins
from anyport.kit.view import View, ViewPredictor
from anyport.signature import Signature
from anyport.sql.dialect import DUCKDB
from anyport.sql.dialects import LARGEST
from anyport.targets.sqlserver.rules import in_duckdb, lawful

TEXT = r"N'((?:[^']|'')*)'"
NAME = r"\[((?:[^\]]|\]\])*)\]"
CALL = re.compile(
    rf"declare @given nvarchar\(max\) = {TEXT} \+ coalesce\(N'\(' \+ @rows \+ N'\)', {TEXT}\) \+ {TEXT};\n"
    rf"execute sp_execute_external_script @language = {TEXT}, @script = {TEXT},\n.*?"
    r"with result sets \(\((.*)\)\);\nend$", re.S,
)  # fmt: skip


@dataclass(frozen=True)
class Called:
    """A call of sp_execute_external_script."""

    rows: str
    """The query of its rows, in T-SQL."""
    language: str
    script: str
    results: tuple[tuple[str, str], ...]
    """Name and type of each column that WITH RESULT SETS declares."""
    model: bytes


def called(statements: Sequence[str]) -> Called:
    """What the statements of an up.sql call, and with which model."""
    found = CALL.search(statements[-1])
    if found is None:
        raise BadBundle("up.sql makes no procedure that calls sp_execute_external_script", fix="anyport build again")
    head, source, tail, language, script = (plain(found[i]) for i in range(1, 6))
    results = re.findall(rf"{NAME} ([a-z ]+(?:\([a-z0-9, ]+\))?)(?:, |$)", found[6])
    pieces = re.findall(r"bytes\.write\(0x([0-9a-f]*), null, 0\)", "\n".join(statements[:-1]))
    listed = tuple((name.replace("]]", "]"), kind) for name, kind in results)
    return Called(head + source + tail, language, script, listed, bytes.fromhex("".join(pieces)))


def plain(literal: str) -> str:
    """What a literal of T-SQL says."""
    return literal.replace("''", "'")


class Satellite:
    """The driver, which holds one script; one caller at a time."""

    def __init__(self, held: Held, call: Called) -> None:
        self.held = held
        self.first: dict[str, Any] = {"script": call.script, "model": call.model}
        self.lock = threading.Lock()

    def ask(self, columns: dict[str, tuple[str, list[Any]]]) -> list[list[Any]]:
        """The columns of OutputDataSet. BadData with the script's own error."""
        with self.lock:
            data = msgspec.msgpack.encode({**self.first, "columns": columns})
            self.held.stdin.write(len(data).to_bytes(8, "big") + data)
            self.held.stdin.flush()
            size = self.held.stdout.read(8)
            if len(size) < 8:
                raise self.held.died()
            answer = msgspec.msgpack.decode(self.held.stdout.read(int.from_bytes(size, "big")))
            self.first = {}
        if "error" in answer:
            raise BadData(answer["error"])
        found: list[list[Any]] = answer["columns"]
        return found


@contextmanager
def satellite(call: Called) -> Iterator[Satellite]:
    """A process whose Python has what the server's has to have, and nothing else."""
    argv = [interpreter(*RUNTIME, "pandas"), Path(__file__).with_name("driver.py")]
    with popen(argv, pipes=True) as held:
        yield Satellite(held, call)


RESULTS = "anyport_answers"
"""The table that the procedure's answers go into."""
TYPES = {"double precision": "DOUBLE", "bigint": "BIGINT", "decimal(20)": "DECIMAL(20)", "bit": "BOOLEAN",
         "nvarchar(max)": "VARCHAR"}  # fmt: skip
"""What the answers are declared as, in DuckDB."""


@contextmanager
def answering(
    signature: Signature, view: View, schema: str, statements: Sequence[str]
) -> Iterator[tuple[ViewPredictor, Satellite]]:
    """A predictor of the procedure: the batch in a table, the query of its rows, the script, the declared results. The
    key, which is declared as a text, is taken into a column of its own type, as INSERT … EXECUTE takes it."""
    call = called(statements)
    lawful(call.rows)
    [query] = in_duckdb(call.rows)
    wanted = [(n, TYPES[k] if n not in view.keys else "BIGINT") for n, k in call.results]
    listed = ", ".join(f"{DUCKDB.ident(n)} {k}" for n, k in wanted)

    def up(session: Any) -> None:
        asked = session.raw.execute(query)
        kinds = {"DOUBLE": "float", "VARCHAR": "nvarchar"}
        heads = [(d[0], kinds[str(d[1])]) for d in asked.description]
        rows = asked.fetchall()
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(heads)
        found = host.ask({n: (k, list(cells)) for (n, k), cells in zip(heads, columns, strict=True)})
        if len(found) != len(wanted):
            raise BadData(f"OutputDataSet has {len(found)} columns; WITH RESULT SETS declares {len(wanted)}")
        name = DUCKDB.ident(RESULTS)
        session.raw.execute(f"create table if not exists {name} ({listed})")
        session.raw.execute(f"delete from {name}")
        if rows:
            session.fill(RESULTS, [n for n, _ in wanted], zip(*found, strict=True))

    with stand_ins(schema, largest=float(LARGEST)) as opened, satellite(call) as host:
        yield ViewPredictor(signature, View(view.table, RESULTS, view.keys), opened, up), host


__all__ = ["RESULTS", "Called", "Satellite", "answering", "called", "satellite"]
