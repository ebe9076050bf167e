"""MariaDB: the shipped view answers in the real server as the original did, whatever names and texts hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import engines
import hostile
import numpy as np
import packed
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sql import HOSTILE, SOME, golden_inputs, judged

from anyport import conformance, targets
from anyport.batch import Batch, Column
from anyport.bundle import read
from anyport.errors import BadData, Impossible, Mistake, Unreachable
from anyport.kit.database import create
from anyport.kit.view import unfit
from anyport.sql.dialects import MARIADB
from anyport.target import Sql
from anyport.targets import mariadb
from anyport.targets.mariadb.session import Connection, Open, parsed, private


@pytest.fixture(scope="module")
def server() -> Iterator[Open]:
    engines.need("mariadb")
    with private() as (_, connect):
        yield connect


@pytest.fixture
def session(server: Open) -> Iterator[Connection]:
    with server() as one:
        one.enter("here")
        yield one
        one.leave()


@pytest.mark.parametrize("name", SOME)
def test_the_shipped_view_answers_as_the_original_did(
    server: Open, shelf: packed.Shelf, tmp_path: Path, name: str
) -> None:
    bundle = read(shelf.bundle(name))
    made = targets.build(bundle, "mariadb", tmp_path / "artefact")
    with mariadb.asked(made, server) as predictor:
        found = judged(bundle, predictor.predict(golden_inputs(bundle)))
    assert found.ok, found.says()


def test_one_row_by_its_key_reads_no_other_rows(session: Connection, shelf: packed.Shelf, tmp_path: Path) -> None:
    bundle = read(shelf.bundle("penguin_species"))
    made = targets.build(bundle, "mariadb", tmp_path / "artefact", table="people", keys="number", view="species")
    batch: Batch = golden_inputs(bundle)
    create(session, "people", {**batch, "number": Column(np.arange(2000))})
    session.run("alter table people add primary key (number)")
    for step in mariadb.plan(made, mariadb.Options(), None):
        assert isinstance(step.do, Sql)
        for statement in step.do.statements:
            session.run(statement)
    session.run("flush status")
    [(number, prediction)] = session.ask("select number, prediction from species where number = 77")
    reads = sum(int(row[1]) for row in session.ask("show status like 'Handler_read%'"))
    assert number == 77
    assert prediction in ("Adelie", "Chinstrap", "Gentoo")
    assert reads < 100
    for step in mariadb.plan(made, mariadb.Options(), None):
        assert isinstance(step.undo, Sql)
        for statement in step.undo.statements:
            session.run(statement)
    assert [row[0] for row in session.ask("show full tables where table_type = 'VIEW'")] == []


@settings(max_examples=60, deadline=None)
@given(st.lists(HOSTILE, min_size=1, max_size=6, unique=True), HOSTILE)
def test_no_category_or_name_breaks_out_of_the_text(server: Open, levels: list[str], name: str) -> None:
    name = "".join(c for c in name if ord(c) <= 0xFFFF).rstrip() or "x"
    with server() as session:
        session.enter("hostile")
        try:
            hostile.stays(session, levels, name)
        finally:
            session.leave()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_a_double_is_written_and_read_exactly(server: Open, values: list[float]) -> None:
    with server() as session:
        [found] = session.ask(f"select {', '.join(map(MARIADB.double, values))}")
    assert [float(v) for v in found] == values


def test_an_infinity_is_the_largest_double_and_refused_where_the_original_refuses_it(
    server: Open, shelf: packed.Shelf, tmp_path: Path
) -> None:
    bundle = read(shelf.bundle("components"))
    made = targets.build(bundle, "mariadb", tmp_path / "artefact")
    field = next(f for f in bundle.signature.inputs if f.is_float and not f.infinite)
    batch = {k: Column(c.plain().values[:3].copy()) for k, c in golden_inputs(bundle).items()}
    batch[field.name].values[1] = np.inf
    with mariadb.asked(made, server) as predictor:
        found = predictor.predict(batch)
    assert {row: [r.column for r in why] for row, why in found.refused.items()}[1] == [field.name]


def test_a_server_of_the_users_own_is_left_as_it_was(server: Open, shelf: packed.Shelf, tmp_path: Path) -> None:
    made = targets.build(read(shelf.bundle("one_label")), "mariadb", tmp_path / "artefact")
    with server() as session:
        [(socket,)] = session.ask("select @@socket")
        before = session.ask("show databases")
    report = conformance.check_artifact(made.path, live={"dsn": f"mysql://root@localhost/?socket={socket}"})
    assert report.ok
    assert report.proof == "live"
    assert report.engine["name"] == "MariaDB"
    with server() as session:
        assert session.ask("show databases") == before


def test_a_lacking_privilege_is_answered_with_the_grant(server: Open) -> None:
    with server() as session:
        [(socket,)] = session.ask("select @@socket")
        session.run("create user clerk@localhost identified by 'p@ss/word'")
    where = parsed(f"mysql://clerk:p%40ss%2Fword@localhost/?socket={socket}")
    with where() as clerk, pytest.raises(Impossible, match="may not make a database") as refused:
        clerk.enter("anyport_check_1")
    assert refused.value.fix == r"GRANT ALL ON `anyport\_check\_%`.* TO clerk@localhost"
    with server() as session:
        session.run(refused.value.fix)
    with where() as clerk:
        clerk.enter("anyport_check_1")
        clerk.leave()


def test_a_batch_that_does_not_fit_is_refused_with_the_columns_named(
    server: Open, shelf: packed.Shelf, tmp_path: Path
) -> None:
    bundle = read(shelf.bundle("penguin_species"))
    made = targets.build(bundle, "mariadb", tmp_path / "artefact")
    with mariadb.asked(made, server) as predictor, pytest.raises(BadData, match="no column 'island'"):
        predictor.predict({"x": Column(np.zeros(2))})


def test_what_is_no_dsn_or_leads_nowhere_is_said(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="mysql://"):
        parsed("postgres://here")
    with pytest.raises(Mistake, match="Port"):
        parsed("mysql://me@host:port/db")
    with pytest.raises(Unreachable, match="MariaDB"), parsed(f"mysql://me@localhost/db?socket={tmp_path / 'none'}")():
        raise AssertionError("connected to nothing")


def test_what_mariadb_cannot_name_or_hold_is_refused_before_any_work(shelf: packed.Shelf) -> None:
    bundle = read(shelf.bundle("penguin_species"))
    for name in ("ends with ", "🙂"):
        reason = mariadb.fits(bundle, mariadb.Options(table=name))
        assert reason is not None
        assert "no names that end with a space" in reason.why
    with pytest.raises(Mistake, match="one name"):
        mariadb.fits(bundle, mariadb.Options(table="A", view="a"))
    with pytest.raises(Mistake, match="has a column 'island'"):
        mariadb.fits(bundle, mariadb.Options(keys="island"))
    with pytest.raises(Mistake, match="twice"):
        mariadb.fits(bundle, mariadb.Options(keys="id, ID"))
    large = unfit(bundle, lambda: ["x" * 16_777_217], MARIADB, instead="elsewhere")
    assert large is not None
    assert large.why == "the model is 16,777,217 bytes of SQL; MariaDB takes 16,777,216 in one statement"
    words = mariadb.fits(read(shelf.bundle("documents")), mariadb.Options())
    assert words is not None
    assert "splits text into words" in words.why
    assert words.fix == mariadb.INSTEAD
