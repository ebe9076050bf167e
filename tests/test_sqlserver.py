"""SQL Server: the shipped T-SQL keeps the engine's rules and, executed by DuckDB, answers as the original did."""

from __future__ import annotations

from pathlib import Path

import hostile
import packed
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sql import HOSTILE, SOME, golden_inputs, judged

from anyport import targets
from anyport.bundle import read
from anyport.errors import Impossible, Missing, Mistake
from anyport.kit import tsql
from anyport.kit.standin import StandIn
from anyport.sql.dialects import TSQL
from anyport.target import Sql
from anyport.targets import sqlserver
from anyport.targets.sqlserver.rules import in_duckdb, lawful


@pytest.mark.parametrize("name", SOME)
def test_the_shipped_view_answers_as_the_original_did(shelf: packed.Shelf, tmp_path: Path, name: str) -> None:
    bundle = read(shelf.bundle(name))
    made = targets.build(bundle, "sqlserver", tmp_path / "artefact")
    with sqlserver.run(made) as running:
        found = judged(bundle, running.predictor.predict(golden_inputs(bundle)))
        assert running.engine.proof == "stand-in"
    assert found.ok, found.says()


def nested(levels: int) -> str:
    return "select " + "case when 1 = 1 then " * levels + "1" + " end" * levels + " as x"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (nested(11), "nests deeper"),
        ("select case when (x > 1 or y) then 1 end as z from t", "a value where a condition"),
        ("select (x > 1) as z from t", "a condition where a value"),
        ("select case when x > 1 then y > 2 end as z from t", "a condition where a value"),
        ("select case when x then 1 end as z from t", "a value where a condition"),
        ("select case when not y then 1 end as z from t", "a value where a condition"),
    ],
)
def test_what_sql_server_would_not_take_is_found(text: str, says: str) -> None:
    with pytest.raises(Impossible, match=says):
        lawful(text)


def test_what_sql_server_takes_passes() -> None:
    lawful(nested(10))
    lawful("select case when (x = 1) and not (y in (1, 2) or z is null) then 1 else 0 end as z from t")
    lawful("select case x when 1 then 2 else 3 end as z from t")


@settings(max_examples=100, deadline=None)
@given(st.lists(HOSTILE, min_size=1, max_size=6, unique=True), HOSTILE)
def test_no_category_or_name_breaks_out_of_the_text(levels: list[str], name: str) -> None:
    def in_its_stead(query: str) -> str:
        lawful(query)
        [text] = in_duckdb(query)
        return text

    session = StandIn("dbo")
    hostile.stays(session, levels, name or "x", written=in_its_stead, dialect=TSQL)
    session.raw.close()


def test_the_plan_makes_the_view_and_takes_it_away(shelf: packed.Shelf, tmp_path: Path) -> None:
    bundle = read(shelf.bundle("one_label"))
    made = targets.build(bundle, "sqlserver", tmp_path / "artefact", schema="ml", view="a]b", keys="id")
    [step] = sqlserver.plan(made, sqlserver.Options(), None)
    assert isinstance(step.do, Sql)
    assert step.do.statements[0].startswith("create or alter view [ml].[a]]b] as\nwith layer0 as (")
    assert step.undo == Sql(("drop view if exists [ml].[a]]b]",))


def test_what_sql_server_cannot_name_is_refused_before_any_work(shelf: packed.Shelf) -> None:
    bundle = read(shelf.bundle("one_label"))
    reason = sqlserver.fits(bundle, sqlserver.Options(table="t" * 129))
    assert reason is not None
    assert "128 characters" in reason.why
    assert sqlserver.fits(bundle, sqlserver.Options(table="t" * 128)) is None
    with pytest.raises(Mistake, match="one name"):
        sqlserver.fits(bundle, sqlserver.Options(table="x", view="X"))
    words = sqlserver.fits(read(shelf.bundle("documents")), sqlserver.Options())
    assert words is not None
    assert words.fix == sqlserver.INSTEAD


def test_microsoft_s_parser_is_asked_where_a_folder_is_named_and_what_lacks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(tsql.VARIABLE, raising=False)
    assert tsql.folder() is None
    monkeypatch.setenv(tsql.VARIABLE, str(tmp_path))
    with pytest.raises(Missing, match=r"lacks Microsoft\.SqlServer\.SqlParser\.dll") as lacking:
        tsql.folder()
    assert lacking.value.fix == f"python -m anyport.kit.tsql {tmp_path}"
    for name in (*tsql.LIBRARIES, tsql.program()):
        (tmp_path / name).touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match="mono is not here") as mono:
        tsql.folder()
    assert mono.value.fix == "apt-get install mono-devel, or unset ANYPORT_TSQL"
    with pytest.raises(Missing, match="mono is not here"):
        tsql.fetch(tmp_path)
    for name in tsql.MONO:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert tsql.folder() == tmp_path


def test_a_driver_of_another_source_is_not_taken_for_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, source = tsql.program(), tmp_path / "Driver.cs"
    source.write_bytes(tsql.SOURCE.read_bytes() + b"// more\n")
    monkeypatch.setattr(tsql, "SOURCE", source)
    assert tsql.program() != before
