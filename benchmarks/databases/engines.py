"""SQLite, DuckDB and PostgreSQL as sessions of anyport.kit.database, each on one thread: those that the targets use."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import cache
from multiprocessing.util import Finalize

from anyport.kit.database import Session


@contextmanager
def lite() -> Iterator[Session]:
    """SQLite, in memory."""
    from anyport.targets.sqlite import Connected

    with closing(sqlite3.connect(":memory:")) as connection:
        yield Connected(connection)


@contextmanager
def duck() -> Iterator[Session]:
    """DuckDB, in memory."""
    import duckdb

    from anyport.targets.duckdb.session import Connected

    with duckdb.connect(config={"threads": 1}) as connection:
        yield Connected(connection)


@cache
def server() -> str:
    """The connection string of a PostgreSQL of this process, stopped with it."""
    from anyport.kit import postgres

    stack = ExitStack()
    Finalize(None, stack.close, exitpriority=10)  # atexit is not heard in a pool's processes
    return stack.enter_context(postgres.server())[0]


@contextmanager
def elephant() -> Iterator[Session]:
    """PostgreSQL, without parallel workers."""
    from anyport.kit import postgres

    with postgres.connected(server()) as session:
        session.run("set max_parallel_workers_per_gather = 0")
        yield session


ENGINES: Mapping[str, Callable[[], AbstractContextManager[Session]]] = {
    "SQLite": lite, "DuckDB": duck, "PostgreSQL": elephant,
}  # fmt: skip
