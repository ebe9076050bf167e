"""How each engine is asked: our artefact as it is shipped, and orbital's statement, over one table on one thread."""

from __future__ import annotations

import sqlite3
import statistics
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd

COLUMNS = ("age", "income", "balance", "tenure", "city", "plan")
WORST: Mapping[str, float] = {"anyport, Arrow UDF": 1e-6}
"""Where an answer may be further from the original's than 1e-12: the bundle's own tolerance, in ONNX Runtime."""
Ask = Callable[[], Any]


class Side(ABC):
    """One engine, its table filled."""

    def __init__(
        self, artefacts: Mapping[str, Any], rows: pd.DataFrame, folder: Path, theirs: Mapping[str, Any]
    ) -> None:
        self.artefacts, self.rows, self.folder = artefacts, rows, folder
        self.theirs = "" if "missing" in theirs else (folder / f"{self.dialect}.sql").read_text()
        self.failed: dict[str, str] = {}
        self.stack = ExitStack()
        self.version = self.open()
        self.bytes = {"anyport": self.size()} | ({"orbital": len(self.theirs)} if self.theirs else {})

    dialect = ""

    @abstractmethod
    def open(self) -> str:
        """Start it and fill the table; gives its version."""

    def size(self) -> int:
        """Bytes of the SQL that we ship."""
        folder: Path = self.artefacts[type(self).__name__.lower()].path
        return sum(f.stat().st_size for f in folder.glob("*.sql") if f.name != "down.sql")

    @abstractmethod
    def bulk(self) -> dict[str, str]:
        """Statements that give the probability of every row, in the table's order."""

    @abstractmethod
    def single(self) -> dict[str, str]:
        """Statements that answer one row."""

    @abstractmethod
    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""

    def answers(self) -> dict[str, Ask]:
        """The probability of every row."""
        return {way: lambda sql=sql: [r[0] for r in self.ask(sql)] for way, sql in self.running().items()}

    def running(self) -> dict[str, str]:
        """The statements that the engine takes; why it does not take another is kept."""
        found = {}
        for way, sql in self.bulk().items():
            try:
                self.ask(f"select count(*) from ({sql}) as tried where false")
            except Exception as error:  # the engine's own refusal, which is a result
                self.failed[way] = str(error).strip().splitlines()[0]
                continue
            found[way] = sql
        return found

    def calls(self) -> dict[str, Ask]:
        """What is timed: a sum over all rows, so that no time goes into fetching them; and one row."""
        bulk = {way: f"select sum(p) from ({sql}) as every_row(p)" for way, sql in self.running().items()}
        return {
            way: lambda sql=sql: self.ask(sql)
            for way, sql in (bulk | {f"one row, {w}": s for w, s in self.single().items()}).items()
        }

    def close(self) -> None:
        self.stack.close()


def literal(value: Any) -> str:
    return repr(float(value)) if not isinstance(value, str) else f"'{value}'"


class Postgres(Side):
    """A private server, no parallel workers."""

    dialect = "postgres"

    def open(self) -> str:
        from anyport.kit import postgres as pg

        dsn, _held = self.stack.enter_context(pg.server())
        self.session = self.stack.enter_context(pg.connected(dsn))
        self.session.run("set max_parallel_workers_per_gather = 0; set jit = off")
        self.session.run("create table people (id bigint, age float8, income float8, balance float8, tenure float8, "
                         "city text, plan text)")  # fmt: skip
        self.session.fill("people", ["id", *COLUMNS], self.rows[list(COLUMNS)].itertuples(name=None))
        self.session.run("analyze people")
        self.session.run((self.artefacts["postgres"].path / "up.sql").read_text())
        return pg.version(self.session)

    def bulk(self) -> dict[str, str]:
        passed = ", ".join(f"t.{name}" for name in COLUMNS)
        ours = {"anyport": f"select p.probability_1 from people t cross join lateral anyport.churn({passed}) p"}
        return ours | (
            {"orbital": f'select "output_probability.1" from ({self.theirs}) as theirs'} if self.theirs else {}
        )

    def single(self) -> dict[str, str]:
        row = ", ".join(literal(self.rows[name].iloc[7]) for name in COLUMNS)
        return {"anyport": f"select probability_1 from anyport.churn({row})"}

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return self.session.ask(sql)


class Duckdb(Side):
    """In this process, one thread."""

    dialect = "duckdb"

    def open(self) -> str:
        import importlib.util

        import duckdb

        self.connection = self.stack.enter_context(duckdb.connect(config={"threads": 1}))
        people = self.rows[list(COLUMNS)]
        self.connection.register("given", people)
        self.connection.execute("create table people as select * from given")
        self.connection.execute((self.artefacts["duckdb"].path / "model.sql").read_text())
        self.udf = self.stack.enter_context(duckdb.connect(config={"threads": 1}))
        self.udf.register("given", people)
        self.udf.execute("create table people as select * from given")
        spec = importlib.util.spec_from_file_location("connect", self.artefacts["udf"].path / "connect.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.register(self.udf)
        return str(duckdb.__version__)

    def bulk(self) -> dict[str, str]:
        ours = "select probability_1 from churn_predict('people')"
        theirs = {"orbital": f'select "output_probability.1" from ({self.theirs})'} if self.theirs else {}
        return {"anyport": ours, "anyport, Arrow UDF": ours} | theirs

    def single(self) -> dict[str, str]:
        row = ", ".join(f"'{name}': {literal(self.rows[name].iloc[7])}" for name in COLUMNS)
        return {"anyport": f"select (churn_row({{{row}}})).probability_1"}

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql).fetchall()

    def answers(self) -> dict[str, Ask]:
        return super().answers() | {"anyport, Arrow UDF": lambda: [
            r[0] for r in self.udf.execute(self.bulk()["anyport, Arrow UDF"]).fetchall()]}  # fmt: skip

    def calls(self) -> dict[str, Ask]:
        sql = "select sum(probability_1) from churn_predict('people')"
        return super().calls() | {"anyport, Arrow UDF": lambda: self.udf.execute(sql).fetchall()}


class Sqlite(Side):
    """Python's own."""

    dialect = "sqlite"

    def open(self) -> str:
        self.connection = sqlite3.connect(":memory:")
        self.stack.callback(self.connection.close)
        self.connection.execute(
            "create table people (age real, income real, balance real, tenure real, city text, plan text)"
        )
        self.connection.executemany("insert into people values (?, ?, ?, ?, ?, ?)",
                                    self.rows[list(COLUMNS)].itertuples(index=False, name=None))  # fmt: skip
        self.connection.executescript((self.artefacts["sqlite"].path / "model.sql").read_text())
        return sqlite3.sqlite_version

    def bulk(self) -> dict[str, str]:
        theirs = {"orbital": f'select "output_probability.1" as p from ({self.theirs})'} if self.theirs else {}
        return {"anyport": "select probability_1 as p from churn"} | theirs

    def single(self) -> dict[str, str]:
        return {}

    def calls(self) -> dict[str, Ask]:
        return {way: lambda sql=sql: self.ask(f"select sum(p) from ({sql})") for way, sql in self.running().items()}

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql).fetchall()


ENGINES: Mapping[str, type[Side]] = {"postgres": Postgres, "duckdb": Duckdb, "sqlite": Sqlite}


def reached(found: Mapping[str, Any]) -> dict[str, float | None]:
    """What was promised, as measured; None where orbital does not run."""
    rows = found["rows"]

    def seconds(engine: str, way: str) -> float | None:
        took = found[engine]["seconds"].get(way)
        return None if took is None else statistics.median(took)

    def faster(engine: str, way: str) -> float | None:
        ours, theirs = found[engine]["seconds"].get(way), found[engine]["seconds"].get("orbital")
        if ours is None or theirs is None:
            return None
        return round(statistics.median(t / o for o, t in zip(ours, theirs, strict=True)), 2)

    def rate(engine: str, way: str) -> float | None:
        took = seconds(engine, way)
        return None if took is None else round(rows / took)

    one = seconds("postgres", "one row, anyport")
    theirs = found["orbital"]
    compiles = [found["compile_s"][ours] / theirs[name]["seconds"]
                for ours, name in (("DuckDB", "duckdb"), ("PostgreSQL", "postgres"), ("SQLite", "sqlite"))
                if name in theirs]  # fmt: skip
    sizes = [b["anyport"] / b["orbital"] for b in (found[e]["bytes"] for e in ENGINES) if "orbital" in b]
    ours = [p for e in ENGINES for way, p in found[e]["parity"].items() if way == "anyport"]
    return {
        "postgres_over_orbital": faster("postgres", "anyport"),
        "postgres_rows_s": rate("postgres", "anyport"),
        "postgres_one_row_ms": None if one is None else round(one * 1e3, 3),
        "duckdb_over_orbital": faster("duckdb", "anyport"),
        "duckdb_rows_s": rate("duckdb", "anyport"),
        "udf_over_orbital": faster("duckdb", "anyport, Arrow UDF"),
        "sqlite_over_orbital": faster("sqlite", "anyport"),
        "compile_share": round(max(compiles), 3) if compiles else None,
        "size_share": round(max(sizes), 3) if sizes else None,
        "worst": max(p["worst"] for p in ours),
        "flips": sum(p["flips"] for p in ours),
    }
