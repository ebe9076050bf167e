"""ClickHouse: what is written, what is set before it, what is refused before any work, and what deploying means. That
it answers is asked of ClickHouse itself in tests/slow/test_clickhouse.py, in .envs/clickhouse."""

from __future__ import annotations

import re
from pathlib import Path

import engines
import packed
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_sql import HOSTILE

from anyport import targets
from anyport.bundle import read
from anyport.errors import Impossible, Missing, Mistake
from anyport.kit import warehouse
from anyport.kit.view import unfit
from anyport.kit.warehouse import Options
from anyport.sql.clickhouse import CLICKHOUSE
from anyport.sql.expr import Pool
from anyport.sql.fold import Folder
from anyport.sql.write import Value, Writer
from anyport.target import Command
from anyport.targets import clickhouse


@pytest.fixture
def text(shelf: packed.Shelf, tmp_path: Path) -> str:
    made = targets.build(read(shelf.bundle("penguin_species")), "clickhouse", tmp_path / "artefact", keys="id,zoo")
    return (made.path / "up.sql").read_text(encoding="utf-8")


def test_a_model_is_one_view_of_nested_choices(text: str) -> None:
    assert text.startswith("create or replace view `penguin_species` as\nwith layer0 as (")
    assert "`id` as k0, `zoo` as k1" in text
    assert re.search(r"multiIf\(x\d<=[\d.]+,multiIf\(", text)
    assert re.search(r",x\d<=[\d.]+,-?\d+\.\d+,x\d>[\d.]+,", text), "choices after choices are one"
    assert "multiIf(isNaN(toFloat64(`bill_length_mm`)),null,`bill_length_mm`) as x0" in text
    assert text.count("case when ignore(") == 4


def backslashed(text: str) -> str:
    """A text or name as ClickHouse reads it (https://clickhouse.com/docs/sql-reference/syntax#string)."""
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "r": "\r"}.get(m[1], m[1]), text, flags=re.S)


@given(HOSTILE)
@example("\\")
@example("\\'")
@example("`\\`")
def test_texts_and_names_are_read_back_by_the_documented_rules(text: str) -> None:
    written = CLICKHOUSE.literal(text)
    assert re.fullmatch(r"'(?:[^'\\]|\\.)*'", written, re.S)
    assert backslashed(written[1:-1]) == text
    if text:
        name = CLICKHOUSE.ident(text)
        assert re.fullmatch(r"`(?:[^`\\]|\\.|``)*`", name, re.S)
        assert backslashed(name[1:-1].replace("``", "`")) == text
    assert "\n" not in written + CLICKHOUSE.ident(text or "x"), "statements of a file are told apart by their ends"


def test_single_precision_is_rounded_at_each_addition() -> None:
    pool = Pool()
    names = [pool.node("column", (), (name, False), "f") for name in "abc"]
    writer = Writer(CLICKHOUSE, Folder([]), str, str)
    made = writer.text(pool.node("sum32", names, None, "f"))
    inner = "toFloat64(toFloat32(toFloat64(toFloat32(a))+toFloat64(toFloat32(b))))"
    assert made == f"toFloat64(toFloat32({inner}+toFloat64(toFloat32(c))))"


def test_conditions_after_a_condition_are_one_choice() -> None:
    writer = Writer(CLICKHOUSE, Folder([]), str, str)
    made = writer.closed([("a", Value("1.0", 1.0)), ("b", Value("multiIf(d,4.0,5.0)"))], Value("3.0", 3.0))
    assert made.text == "multiIf(a,1.0,b,multiIf(d,4.0,5.0),3.0)"


def test_what_is_set_before_a_large_statement() -> None:
    assert clickhouse.settings("x" * 262_144) == ""
    assert clickhouse.settings("x" * 262_145) == "set max_query_size = 524290;\n"
    assert clickhouse.settings("x " * 50_000) == ""
    assert clickhouse.settings("x " * 50_001) == "set max_ast_elements = 100002;\n"
    file = clickhouse.settings("x " * 200_000) + "create view a as select ';';\n"
    assert file.count(";\n") == 3


def test_the_statements_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "up.sql").write_text(
        "set a = 1;\nset b = 2;\ncreate view `;\\n` as\nselect ';\\n';\n", encoding="utf-8"
    )
    assert clickhouse.statements(tmp_path / "up.sql") == [
        "set a = 1", "set b = 2", "create view `;\\n` as\nselect ';\\n'",
    ]  # fmt: skip


def test_elements_are_counted_outside_texts() -> None:
    assert clickhouse.elements("select 1") == 2
    assert clickhouse.elements("'it\\'s a + b'") == 1
    assert clickhouse.elements("`a + ``b`") == 1
    assert clickhouse.elements("multiIf(x0<=.5,1.0,2.0)") == 8


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x " * 500_001, "up to 500,001 elements; ClickHouse takes 500,000"),
        ("a as b " * 500 + "select *, " * 1000, "up to 50"),
        ("\n  from layer" * 99, "100 layers; ClickHouse takes 100"),
    ],
)
def test_what_every_query_of_a_view_would_break_is_refused(text: str, says: str) -> None:
    reason = clickhouse.large(text)
    assert reason is not None
    assert says in reason.why
    assert reason.fix == warehouse.INSTEAD
    assert clickhouse.large(text[: len(text) // 3]) is None


def test_a_statement_beyond_the_limit_is_refused(shelf: packed.Shelf) -> None:
    bundle = read(shelf.bundle("one_label"))
    assert unfit(bundle, lambda: ["x" * 1_000_000], CLICKHOUSE, instead="") is None
    long = unfit(bundle, lambda: ["x" * 1_000_001], CLICKHOUSE, instead="elsewhere")
    assert long is not None
    assert long.why == "the model is 1,000,001 bytes of SQL; ClickHouse takes 1,000,000 in one statement"


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        ({"view": "v" * 151}, "a name of 151 characters; ClickHouse takes 150"),
        ({"table": "ü" * 26}, "156 characters"),
        ({"schema": "s" * 64}, "ClickHouse takes 63"),
        ({"schema": "a.b"}, "no schemas in a database"), ({"keys": "a\nb"}, "no column 'a\\nb'"),
    ],
)  # fmt: skip
def test_names_that_clickhouse_has_not_are_refused_before_any_work(
    shelf: packed.Shelf, tmp_path: Path, given_: dict[str, str], says: str
) -> None:
    bundle = read(shelf.bundle("one_label"))
    with pytest.raises(Impossible, match=re.escape(says)):
        targets.build(bundle, "clickhouse", tmp_path / "artefact", **given_)
    assert not list(tmp_path.iterdir())
    assert clickhouse.fits(bundle, Options(view="v" * 150, table="ü" * 25, schema="s" * 63)) is None
    with pytest.raises(Mistake, match="one name"):
        clickhouse.fits(bundle, Options(table="A", view="a"))


def test_words_are_refused_with_the_reason(shelf: packed.Shelf) -> None:
    reason = clickhouse.fits(read(shelf.bundle("documents")), Options())
    assert reason is not None
    assert "splits text into words" in reason.why


def test_the_plan_is_clickhouses_own_client(shelf: packed.Shelf, tmp_path: Path) -> None:
    made = targets.build(read(shelf.bundle("one_label")), "clickhouse", tmp_path / "a", schema="ml", view="wi\\ne`s")
    [step] = clickhouse.plan(made, Options(), None)
    assert isinstance(step.do, Command)
    assert isinstance(step.undo, Command)
    assert step.do.argv == ("clickhouse-client", "--queries-file", str(made.path / "up.sql"))
    assert step.undo.argv == ("clickhouse-client", "--queries-file", str(made.path / "down.sql"))
    assert (made.path / "down.sql").read_text() == "drop view if exists `ml`.`wi\\\\ne``s`;\n"
    with (
        pytest.raises(Impossible, match="does not ask ClickHouse itself yet") as refused,
        clickhouse.connect(made, None),
    ):
        pass
    assert refused.value.fix == "clickhouse-client --queries-file up.sql, and compare"


def test_without_chdb_the_line_that_installs_it_is_named(shelf: packed.Shelf, tmp_path: Path) -> None:
    if not engines.elsewhere("clickhouse"):
        assert "chdb" in str(clickhouse.session.__doc__)
        return
    made = targets.build(read(shelf.bundle("one_label")), "clickhouse", tmp_path / "a")
    with pytest.raises(Missing, match="chdb is not installed") as missing, clickhouse.run(made):
        pass
    assert missing.value.fix == "pip install 'anyport[clickhouse]'"


def test_an_engine_of_another_environment_is_known_by_its_extra() -> None:
    assert not engines.elsewhere("mariadb"), "what the group dev has is asked here, or skipped with a line"
    assert not engines.elsewhere("local"), "nor what needs no extra"


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(0.1234567890123456789)
@example(-5e-324)
def test_a_number_has_a_digit_before_its_point_and_is_a_double(value: float) -> None:
    written = CLICKHOUSE.alone(value)
    assert re.fullmatch(r"-?\d+(\.\d+|(\.\d+)?e[-+]?\d+)", written)
    assert float(written) == value
