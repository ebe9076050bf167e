"""A model as a view over a table of rows: what it is called, its text, and how it is asked with its shipped files."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from anyport.batch import Batch, Column, Outcome, rows
from anyport.bundle import Bundle
from anyport.errors import BadBundle, BadData, Impossible, Mistake
from anyport.kit.database import Session, answers, checked, create, first_line, named, outcome
from anyport.signature import Signature
from anyport.sql.compile import Compiled, scalars, selected
from anyport.sql.dialect import Dialect
from anyport.target import Artifact, Reason

VIEW = "view.json"
S = TypeVar("S")


class Chosen(Protocol):
    """Options that say what a view is called."""

    @property
    def table(self) -> str: ...
    @property
    def view(self) -> str: ...
    @property
    def keys(self) -> str: ...


class Named(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options that say it, for a target to add its own to."""

    table: str = ""
    """The table or view of rows: "" is NAME_rows."""
    view: str = ""
    """"" is NAME, that of the bundle."""
    keys: str = ""
    """Columns that the view passes on, joined by commas; "" is id."""


class View(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A view and what it reads, both in one schema."""

    table: str
    view: str
    keys: tuple[str, ...]
    """Columns of the table that it passes on, the first of which tells rows apart."""


def view_of(bundle: Bundle, options: Chosen) -> View:
    """The names that the options choose. Mistake where a key has a name that the model itself needs."""
    signature = bundle.signature
    taken = {n.lower() for n in (*columns(signature), *answers(signature))}
    keys = tuple(k.strip() for k in options.keys.split(",") if k.strip())
    for key in keys:
        if key.lower() in taken:
            raise Mistake(f"-O keys: the model itself has a column {key!r}", fix="name a column that tells rows apart")
    if len({k.lower() for k in keys}) != len(keys):
        raise Mistake(f"-O keys: {options.keys} names a column twice")
    name = bundle.name
    return View(
        table=options.table or f"{name}_rows", view=options.view or name,
        keys=keys or (("id",) if "id" not in taken else ("row_id",)),
    )  # fmt: skip


def columns(signature: Signature) -> list[str]:
    """The columns that the model takes."""
    return [name for field in signature.inputs for name in scalars(field)]


def query(model: Compiled, d: Dialect, view: View, source: str) -> str:
    """The SELECT behind the view, over `source` as the engine calls the table."""
    return selected(model, d, source, keys=view.keys)


def unfit(bundle: Bundle, written: Callable[[], Sequence[str]], d: Dialect, *, instead: str) -> Reason | None:
    """Why there is no such text: the reason of the compiler, or the engine's limit that it breaks. `instead`: where
    a bundle goes that this engine cannot hold."""
    names = [*columns(bundle.signature), *answers(bundle.signature)]
    lower: dict[str, str] = {}
    for name in names:
        other = lower.setdefault(name.lower(), name)
        if other != name:
            return Reason(f"{d.name} takes the columns {other!r} and {name!r} for the same one", instead)
    try:
        statements = written()
    except Impossible as error:
        return Reason(error.what, error.fix or instead)
    longest = max(len(s.encode()) for s in statements)
    if d.longest and longest > d.longest:
        return Reason(f"the model is {longest:,} bytes of SQL; {d.name} takes {d.longest:,} in one statement", instead)
    return None


def keep(view: View, out: Path) -> None:
    """Write the names beside the SQL."""
    (out / VIEW).write_bytes(msgspec.json.format(msgspec.json.encode(view)) + b"\n")


def kept(path: Path) -> View:
    """The names that an artefact was built with."""
    try:
        return msgspec.json.decode((path / VIEW).read_bytes(), type=View)
    except (OSError, msgspec.DecodeError) as error:
        raise BadBundle(f"{path / VIEW} cannot be read: {error}") from error


def chosen(artifact: Artifact, options: type[S]) -> S:
    """The options that an artefact was built with. BadBundle where this version of the target has no such ones."""
    try:
        return msgspec.convert(dict(artifact.options), options, strict=False)
    except msgspec.ValidationError as error:
        raise BadBundle(f"{artifact.path} was built with other options: {error}", fix="anyport build again") from error


@contextmanager
def pooled(
    fresh: Callable[[], AbstractContextManager[S]], emptied: Callable[[S], None]
) -> Iterator[Callable[[], AbstractContextManager[S]]]:
    """A way to get a session that no other caller has: a free one, else a `fresh` one, which is kept until the block
    ends. `emptied` is run after each use."""
    free: deque[S] = deque()

    @contextmanager
    def opened() -> Iterator[S]:
        try:
            session = free.popleft()
        except IndexError:
            session = stack.enter_context(fresh())
        try:
            yield session
        finally:
            emptied(session)
            free.append(session)

    with ExitStack() as stack:
        yield opened


class ViewPredictor:
    """Answers a batch by putting it into a table of the name that the shipped view reads, in a place of its own."""

    def __init__(
        self,
        signature: Signature,
        view: View,
        opened: Callable[[], AbstractContextManager[Session]],
        up: Callable[[Session], None],
    ) -> None:
        """`opened` gives a session in an empty place that no other caller has, and empties it again; `up` runs what was
        shipped."""
        self.signature, self.view = signature, view
        self.opened, self.up = opened, up

    def predict(self, inputs: Batch, /) -> Outcome:
        """Answers of every row. BadData where the table has not the columns that the model takes."""
        import numpy as np

        n, view = rows(inputs), self.view
        data: dict[str, Any] = {**inputs, **{key: Column(np.arange(n)) for key in view.keys}}
        with self.opened() as session:
            d = session.dialect
            listed = ", ".join(map(d.ident, answers(self.signature)))
            try:
                create(session, view.table, data)
                checked(session.columns(view.table), self.signature)
                self.up(session)
                found = session.ask(
                    f"select {listed} from {named(session, view.view)} order by {d.ident(view.keys[0])}"
                )
            except session.errors as error:
                raise BadData(first_line(error)) from error
        if len(found) != n:
            raise BadData(f"the database gave {len(found)} answers to {n} rows")
        return outcome(self.signature, found, d=d)


def named_once(view: View) -> None:
    """Mistake where the view would stand in the place of the table that it reads."""
    if view.table.lower() == view.view.lower():
        raise Mistake(f"the view and the table have one name, {view.view!r}", fix="choose another with -O view=NAME")


__all__ = [
    "Chosen", "Named", "View", "ViewPredictor", "chosen", "keep", "kept", "named_once", "pooled", "query", "unfit",
    "view_of",
]  # fmt: skip
