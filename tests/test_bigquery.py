"""BigQuery: the shipped text, parsed strictly and executed by DuckDB in its stead, answers as the original did."""

from __future__ import annotations

from pathlib import Path

import packed
import pytest
from test_sql import SOME, golden_inputs, judged

from anyport import targets
from anyport.bundle import read, sha256
from anyport.errors import BadBundle, Impossible, Missing, Mistake, Offline
from anyport.kit import zetasql
from anyport.kit.standin import transpiled
from anyport.kit.view import unfit
from anyport.sql.dialects import BIGQUERY
from anyport.target import Sql
from anyport.targets import bigquery

NAMED = [n for n in SOME if n != "odd_names"]


@pytest.mark.parametrize("name", NAMED)
def test_the_shipped_query_answers_as_the_original_did(shelf: packed.Shelf, tmp_path: Path, name: str) -> None:
    bundle = read(shelf.bundle(name))
    made = targets.build(bundle, "bigquery", tmp_path / "artefact")
    with bigquery.run(made) as running:
        found = judged(bundle, running.predictor.predict(golden_inputs(bundle)))
        assert running.engine.proof == "stand-in"
        assert "ANYPORT_ZETASQL names no ZetaSQL" in running.engine.process
    assert found.ok, found.says()


def test_a_query_too_long_for_a_view_is_a_query_alone(shelf: packed.Shelf, tmp_path: Path) -> None:
    long = targets.build(read(shelf.bundle("float32_forest")), "bigquery", tmp_path / "long")
    short = targets.build(read(shelf.bundle("one_label")), "bigquery", tmp_path / "short", dataset="zoo", table="rows")
    assert len((long.path / "query.sql").read_text()) > 256_000
    assert not (long.path / "up.sql").exists()
    assert bigquery.plan(long, bigquery.Options(), None) == ()
    assert (short.path / "up.sql").read_text().startswith("create or replace view `zoo`.`one_label` as\n")
    [step] = bigquery.plan(short, bigquery.Options(), None)
    assert isinstance(step.do, Sql)
    assert step.do.statements == ((short.path / "up.sql").read_text().removesuffix(";\n"),)
    assert step.undo == Sql(("drop view if exists `zoo`.`one_label`",))
    assert step.why == "make the view zoo.one_label over zoo.rows"


def test_names_that_bigquery_has_not_are_refused_before_any_work(shelf: packed.Shelf) -> None:
    reason = bigquery.fits(read(shelf.bundle("odd_names")), bigquery.Options())
    assert reason is not None
    assert "BigQuery has no column" in reason.why
    small = read(shelf.bundle("one_label"))
    for options, says in (
        (bigquery.Options(keys="_PARTITIONTIME"), "no column"), (bigquery.Options(keys="9th"), "no column"),
        (bigquery.Options(dataset="a`b"), "no table or data"), (bigquery.Options(table="a.b"), "no table or data"),
    ):  # fmt: skip
        reason = bigquery.fits(small, options)
        assert reason is not None
        assert says in reason.why
    with pytest.raises(Mistake, match="one name"):
        bigquery.fits(small, bigquery.Options(table="x", view="X"))
    long = unfit(small, lambda: ["x" * 1_024_001], BIGQUERY, instead="elsewhere")
    assert long is not None
    assert "1,024,001 bytes of SQL; BigQuery takes 1,024,000" in long.why


@pytest.mark.parametrize(
    ("text", "says"),
    [("select from where", "cannot carry"), ("select never_heard_of(x) from t", "does not know"),
     ("execute immediate 'select 1'", "does not know")],
)  # fmt: skip
def test_what_sqlglot_cannot_carry_is_refused_and_not_guessed(text: str, says: str) -> None:
    with pytest.raises(Impossible, match=says):
        transpiled(text, "bigquery")


def test_texts_keep_their_quotes_and_backslashes() -> None:
    duckdb = pytest.importorskip("duckdb")
    for text in ("it's", "a\\b", "\\'", "two\nlines\r", '"', "`", "${x}", "Übergröße 🙂"):
        [query] = transpiled(f"select {BIGQUERY.literal(text)}", "bigquery")
        assert duckdb.connect().execute(query).fetchone() == (text,)


def test_the_jars_of_zetasql_come_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "jars"
    with pytest.raises(Offline, match=r"zetasql-client-2025\.09\.1\.jar cannot be fetched"):
        zetasql.fetch(place, repository=(tmp_path / "nowhere").as_uri())
    path = next(iter(zetasql.JARS))
    file = tmp_path / "repository" / path / zetasql.jar(path)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"another")
    with pytest.raises(BadBundle, match="is not the file whose hash anyport knows"):
        zetasql.fetch(place, repository=(tmp_path / "repository").as_uri())
    assert list(place.iterdir()) == []
    monkeypatch.setattr(zetasql, "JARS", {path: sha256(file)})
    zetasql.fetch(place, repository=(tmp_path / "repository").as_uri())
    assert [p.name for p in place.iterdir()] == [zetasql.jar(path)]
    file.unlink()
    zetasql.fetch(place, repository=(tmp_path / "repository").as_uri())  # it is there


def test_zetasql_is_asked_where_a_folder_is_named_and_what_lacks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert zetasql.folder() is None
    monkeypatch.setenv(zetasql.VARIABLE, str(tmp_path))
    with pytest.raises(Missing, match=r"lacks zetasql-client-2025\.09\.1\.jar") as lacking:
        zetasql.folder()
    assert lacking.value.fix == f"python -m anyport.kit.zetasql {tmp_path}"
    for path in zetasql.JARS:
        (tmp_path / zetasql.jar(path)).touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match="there is no JDK here"):
        zetasql.folder()
