"""Texts and names that would break out of a statement, asked of an engine; what is true of the answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from test_sql import answer

from anyport.batch import Column
from anyport.kit.database import KEY, Session, answers, create, outcome
from anyport.signature import Field, Signature
from anyport.sql.compile import Compiled, selected
from anyport.sql.expr import Pool
from anyport.sql.fold import Folder


def stays(
    session: Session, levels: list[str], name: str, *, written: Callable[[str], str] = str, dialect: Any = None
) -> None:
    """Every level of a lookup is known, others are not, whatever it and the column hold; `written` makes of the query
    in `dialect` (the session's own) what the session takes."""
    pool, dialect = Pool(), dialect or session.dialect
    column = pool.node("column", (), (name, True), "s")
    made = pool.lookup(column, [(v, float(i + 1)) for i, v in enumerate(levels)], -1.0, -2.0)
    field = Field(name=name, dtype="string", nullable=True)
    signature = Signature(inputs=(field,), outputs=(Field(name="prediction", dtype="float64"),))
    model = Compiled(signature, (answer(signature, made),), (), Folder([]))
    texts: list[Any] = [*levels, *(v + " " for v in levels), *(v.swapcase() for v in levels), None]
    values = np.empty(len(texts), object)
    values[:] = texts
    create(session, "t", {name: Column(values, np.array([v is not None for v in texts], bool))})
    query = written(selected(model, dialect, dialect.ident("t"), keys=[KEY]))
    listed = ", ".join(map(session.dialect.ident, answers(signature)))
    found = session.ask(f"select {listed} from ({query}) as q order by {KEY}")
    known = {v: float(i + 1) for i, v in enumerate(levels)}
    expected = [known.get(v, -1.0) for v in texts[:-1]]
    assert outcome(signature, found).outputs["prediction"].values.tolist() == [*expected, -2.0]
