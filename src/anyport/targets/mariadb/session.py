"""MariaDB and MySQL through PyMySQL: a connection, where a DSN leads, and a private server on this machine."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from anyport.errors import Impossible, Mistake, Unreachable, need
from anyport.kit.process import Held, popen, run
from anyport.sql.dialect import Dialect
from anyport.sql.dialects import LARGEST, MARIADB

Open = Callable[[], AbstractContextManager["Connection"]]
DENIED = (1044, 1142, 1227)
"""Error codes of a privilege that the user lacks (https://mariadb.com/kb/en/mariadb-error-code-reference/)."""


class Connection:
    """A database.Session. Infinities are stored as the largest double, which the view takes for one."""

    dialect: Dialect = MARIADB

    def __init__(self, raw: Any, errors: tuple[type[Exception], ...]) -> None:
        self.raw, self.errors = raw, errors
        self.database = ""

    def run(self, sql: str) -> None:
        with self.raw.cursor() as cursor:
            cursor.execute(sql)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        with self.raw.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def fill(self, table: str, columns: Sequence[str], values: Iterable[tuple[Any, ...]]) -> None:
        largest, names = float(LARGEST), ", ".join(map(self.dialect.ident, columns))
        infinite = {float("inf"): largest, float("-inf"): -largest}
        rows = [tuple(infinite.get(v, v) if isinstance(v, float) else v for v in row) for row in values]
        marks = ", ".join(["%s"] * len(columns))
        text = f"insert into {self.dialect.ident(table)} ({names.replace('%', '%%')}) values ({marks})"
        with self.raw.cursor() as cursor:
            cursor.executemany(text, rows)

    def columns(self, table: str) -> Mapping[str, str]:
        return {row[0]: row[1] for row in self.ask(f"show columns from {self.dialect.ident(table)}")}

    def enter(self, database: str) -> None:
        """Make a database and go there. Impossible with the GRANT that is lacking."""
        try:
            self.run(f"create database {self.dialect.ident(database)} character set utf8mb4")
        except self.errors as error:
            if error.args[0] not in DENIED:
                raise
            grant = r"GRANT ALL ON `anyport\_check\_%`.* TO " + str(self.ask("select current_user()")[0][0])
            raise Impossible(f"the user may not make a database to check in: {error.args[1]}", fix=grant) from error
        self.database = database
        self.run(f"use {self.dialect.ident(database)}")

    def leave(self) -> None:
        """Take away the database that it is in."""
        self.run(f"drop database {self.dialect.ident(self.database)}")


@contextmanager
def opened(*, path: str = "", **where: Any) -> Iterator[Connection]:
    """A connection, through the socket at `path` where one is given. Unreachable where no server answers, or it does
    not let us in."""
    pymysql = need("pymysql")
    fix = "mysql://USER:PASSWORD@HOST:PORT/DATABASE"
    try:
        raw = pymysql.connect(charset="utf8mb4", autocommit=True, defer_connect=True, **where)
        raw.connect(reached(path) if path else None)
    except pymysql.Error as error:
        raise Unreachable(f"MariaDB: {error.args[-1]}", fix=fix) from error
    except OSError as error:
        raise Unreachable(f"MariaDB: no server answers at {path}: {error.strerror}", fix=fix) from error
    try:
        yield Connection(raw, (pymysql.Error,))
    finally:
        raw.close()


def reached(path: str) -> socket.socket:
    """A connection to a socket; PyMySQL's own way leaves it open where nobody answers."""
    found = socket.socket(socket.AF_UNIX)
    try:
        found.connect(path)
    except OSError:
        found.close()
        raise
    return found


def parsed(dsn: str) -> Open:
    """How to connect to a DSN. Mistake where it is none."""
    parts = urlsplit(dsn)
    if parts.scheme not in ("mysql", "mariadb"):
        raise Mistake("--live dsn: not of the form mysql://…", fix="dsn=mysql://USER:PASSWORD@HOST:PORT/DATABASE")
    where: dict[str, Any] = {"user": unquote(parts.username or ""), "password": unquote(parts.password or "")}
    path = parse_qs(parts.query).get("socket")
    try:
        where |= {"path": path[0]} if path else {"host": parts.hostname or "", "port": parts.port or 3306}
    except ValueError as error:
        raise Mistake(f"--live dsn: {error}", fix="dsn=mysql://USER:PASSWORD@HOST:PORT/DATABASE") from error
    if parts.path.strip("/"):
        where["database"] = unquote(parts.path.strip("/"))
    return lambda: opened(**where)


@contextmanager
def private() -> Iterator[tuple[Held, Open]]:
    """A server of our own in a temporary folder, without a network; gone when the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="anyport-mariadb-"))
    data, path = folder / "data", folder / "s"
    data.mkdir()
    # servers that share a place for temporary tables delete each other's
    common = ["--no-defaults", f"--datadir={data}", f"--tmpdir={folder}", "--innodb-log-file-size=8M",
              "--skip-name-resolve"]  # fmt: skip
    try:
        if os.name == "posix" and os.geteuid() == 0:  # mariadbd does not run as root
            for place in (folder, data):
                shutil.chown(place, "mysql")
            common.append("--user=mysql")
        install = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        run(["mariadb-install-db", *common, *install], timeout=120).checked()
        argv = ["mariadbd", *common, f"--socket={path}", f"--pid-file={folder / 'pid'}", "--skip-networking"]
        where = {"path": str(path), "user": "root"}
        with popen(argv, ready=lambda held: path.exists() and answers(where)) as held:
            yield held, lambda: opened(**where)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def answers(where: Mapping[str, Any]) -> bool:
    """Whether the server lets us in."""
    try:
        with opened(**where):
            return True
    except Unreachable:
        return False
