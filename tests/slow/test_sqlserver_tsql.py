"""SQL Server's text under Microsoft's own parser and binder of T-SQL: its grammar, names, functions and arguments.

Needs Mono, and the libraries: make .envs/tsql/.ready.
"""

from __future__ import annotations

from pathlib import Path

import engines
import packed
import pytest
import zoo
from conforming import conforms

from anyport import targets
from anyport.bundle import read
from anyport.errors import Impossible
from anyport.kit import tsql
from anyport.kit.view import view_of
from anyport.sql.dialects import TSQL
from anyport.targets import sqlserver

pytestmark = [pytest.mark.slow, pytest.mark.target_sqlserver]
TOOLS = Path(__file__).parents[2] / ".envs" / "tsql"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    engines.program("mono", "mono-devel")
    engines.must((TOOLS / ".ready").is_file(), "make .envs/tsql/.ready")
    monkeypatch.setenv(tsql.VARIABLE, str(TOOLS))


GRAPHS = [n for n, e in zoo.load().items() if e.form == "graph"]


@pytest.mark.parametrize("name", GRAPHS)
def test_microsoft_takes_every_text_of_the_zoo(shelf: packed.Shelf, name: str) -> None:
    """Of each form that fits, what makes it and what takes it away."""
    bundle, asked = read(shelf.bundle(name)), []
    for given in ({}, {"form": "joins"}, {"engine": "python"}):
        options = targets.options(sqlserver, given)
        if sqlserver.fits(bundle, options) is None:
            asked += sqlserver.held_to(sqlserver.up(bundle, options), options) + sqlserver.down(bundle, options)
    assert any("sp_execute_external_script" in text for text in asked)
    view = view_of(bundle, sqlserver.Options())
    tsql.bound(TOOLS, bundle.signature, view, TSQL, schema="dbo", statements=asked)


def test_a_check_asks_microsoft_too_and_says_so(shelf: packed.Shelf, tmp_path: Path) -> None:
    report = conforms(read(shelf.bundle("penguin_species")), "sqlserver", tmp_path / "artefact")
    assert report.proof == "stand-in", "the values are DuckDB's"
    assert "Microsoft's SqlParser of mssql-scripter 1.0.0a23" in report.engine["process"]


BILL = "[bill_length_mm]"


@pytest.mark.parametrize(("before", "after", "says"), [
    (" exp(", " expo(", "'expo' is not a recognized built-in function name"),
    (BILL, "[bill_length]", "Invalid column name 'bill_length'"),
    ("[penguin_species_rows]", "[penguins]", "Invalid column name 'id'"),
    (" then ", " than ", "Incorrect syntax near 'than'"),
    (" exp(", " exp(1, ", "The exp function requires 1 argument"),
], ids=["function", "column", "table", "grammar", "arguments"])  # fmt: skip
def test_what_microsoft_refuses_is_refused_in_its_words(
    shelf: packed.Shelf, tmp_path: Path, before: str, after: str, says: str
) -> None:
    made = targets.build(read(shelf.bundle("penguin_species")), "sqlserver", tmp_path / "artefact")
    text = (made.path / "up.sql").read_text()
    assert before in text
    (made.path / "up.sql").write_text(text.replace(before, after, 1))
    with pytest.raises(Impossible, match=f"refuses the shipped text: {says}"), sqlserver.run(made):
        pass


def test_a_query_in_a_text_is_held_to_it_as_well(shelf: packed.Shelf, tmp_path: Path) -> None:
    made = targets.build(read(shelf.bundle("documents")), "sqlserver", tmp_path / "artefact", engine="python")
    text = (made.path / "up.sql").read_text()
    changed = text.replace("N'select cast(", "N'select castle(", 1)
    assert changed != text
    (made.path / "up.sql").write_text(changed)
    with pytest.raises(Impossible, match="refuses the shipped text: "), sqlserver.run(made):
        pass


def test_a_table_that_one_statement_makes_has_its_columns_for_the_next() -> None:
    made = ["create schema [a]]b]", "create table [a]]b].[é'x] ([ß] nvarchar(max), n int not null primary key)"]
    asked = "select [ß], n from [a]]b].[é'x] where n < 3"
    assert tsql.refused(TOOLS, [*made, asked]) == []
    [found] = tsql.refused(TOOLS, [*made, f"-- one\n{asked.replace('n <', 'm <')}"])
    assert found.startswith("Invalid column name 'm'. (line 2, column 39 of ")
