"""Arrow tables become Batches: every Arrow type a value may come in, and every cell that is none refused by name."""

from __future__ import annotations

import datetime as dt
import decimal
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from anyport.arrow import from_arrow, mistyped
from anyport.arrow_out import schema, to_arrow
from anyport.batch import Column, Outcome, Refusal
from anyport.signature import Field


def one(array: Any, field: Field) -> tuple[Column, dict[int, tuple[Refusal, ...]]]:
    # a table of one Array copies it, a RecordBatch keeps its offset
    make = pa.table if isinstance(array, pa.ChunkedArray) else pa.record_batch
    batch, refused = from_arrow(make({field.name: array}), [field])
    return batch[field.name], refused


def listed(column: Column) -> list[Any]:
    plain = column.plain()
    missing = plain.missing().tolist()
    return [None if gone else v for v, gone in zip(plain.values.tolist(), missing, strict=True)]


@pytest.mark.parametrize(
    "array",
    [
        pa.array([1, None, 3], "int8"),
        pa.array([1, None, 3], "uint64"),
        pa.array([1, None, 3], "float32"),
        pa.array([1, None, 3], "float16"),
        pa.array([decimal.Decimal("1.00"), None, decimal.Decimal("3.00")]),
        pa.array([1.0, float("nan"), 3.0]),
        pa.chunked_array([[1.0], [None, 3.0]]),
        pa.array([9.0, 1.0, None, 3.0, 9.0]).slice(1, 3),
        pa.array([1, None, 3]).dictionary_encode(),
    ],
)
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int16", "uint8"])
def test_numbers_come_in_any_number_type(array: Any, dtype: Any) -> None:
    column, refused = one(array, Field(name="x", dtype=dtype, nullable=True))
    assert not refused
    assert listed(column) == [1, None, 3]
    assert column.values.dtype == dtype
    if dtype.startswith("float"):
        assert column.valid is None
    else:
        assert column.values[1] == 0


@pytest.mark.parametrize(
    ("array", "dtype", "wrong"),
    [
        (pa.array([1.5, 2.0, float("inf"), 1e300]), "int64", [0, 2, 3]),
        (pa.array([1.5, 1e300, float("inf"), None]), "float32", [1]),
        (pa.array([9.3e18, -9.3e18, 4.0, 2.0**63]), "int64", [0, 1, 3]),
        (pa.array([300, -129, 127, None]), "int8", [0, 1]),
        (pa.array([-1, 5]), "uint64", [0]),
        (pa.array([2**63, 5], "uint64"), "int64", [0]),
        (pa.array(["1", None, "x"]), "float64", [0, 2]),
        (pa.array([True, None]), "float64", [0]),
        (pa.array([1, 0, None]), "bool", [0, 1]),
        (pa.array([1, None]), "string", [0]),
        (pa.array([{"a": 1}, None]), "string", [0]),
        (pa.array(["2024-01-01", "soon"]), "datetime", [1]),
    ],
)
def test_cells_of_another_type_are_refused_by_row(array: Any, dtype: Any, wrong: list[int]) -> None:
    column, refused = one(array, Field(name="x", dtype=dtype, nullable=True))
    assert sorted(refused) == wrong
    assert len(column) == len(array)
    for row in wrong:
        (why,) = refused[row]
        assert why.column == "x"
        assert why.expected.startswith(dtype)
        assert repr(array[row].as_py())[:20] in why.got


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
@pytest.mark.parametrize("repeated", [1, 200])
def test_text_keeps_its_zeros_and_its_empty_strings(kind: Any, repeated: int) -> None:
    values = ["001", "", None, "NA", "ü"] * repeated
    column, refused = one(pa.array(values, kind), Field(name="t", dtype="string", nullable=True))
    assert not refused
    assert listed(column) == values


def test_repeated_text_stays_codes_and_distinct_text_does_not() -> None:
    field = Field(name="t", dtype="string")
    assert one(pa.array(["a", "b"] * 500), field)[0].dictionary is not None
    assert one(pa.array([str(i) for i in range(1000)]), field)[0].dictionary is None


def test_dictionaries_of_all_kinds() -> None:
    field = Field(name="t", dtype="category", nullable=True)
    for index in ("int8", "uint32", "int64"):
        array = pa.DictionaryArray.from_arrays(pa.array([1, None, 0, 2], index), pa.array(["a", "b", None]))
        column, refused = one(array, field)
        assert listed(column) == ["b", None, "a", None]
        assert not refused
    chunks = pa.chunked_array([pa.array(["x", "y"]).dictionary_encode(), pa.array(["y", "z"]).dictionary_encode()])
    assert listed(one(chunks, field)[0]) == ["x", "y", "y", "z"]


def test_levels_that_are_numbers_keep_their_type() -> None:
    field = Field(name="k", dtype="category", levels=(1, 2, 3), nullable=True)
    assert listed(one(pa.array([3, None, 1], "int8"), field)[0]) == [3, None, 1]
    assert listed(one(pa.array([3.0, float("nan"), 1.0]), field)[0]) == [3, None, 1]
    column, refused = one(pa.array([3.0, 1.5]), field)
    assert sorted(refused) == [1]
    assert listed(column) == [3, None]


def test_times_of_any_unit_and_zone_are_utc_microseconds() -> None:
    field = Field(name="at", dtype="datetime", nullable=True)
    oslo = dt.datetime(2024, 7, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    expected = [dt.datetime(2024, 7, 1, 10), None]
    for unit in ("s", "ms", "us", "ns"):
        assert listed(one(pa.array([oslo, None], pa.timestamp(unit, "Europe/Oslo")), field)[0]) == expected
    finer = pa.array([1_719_828_000_000_001_999, None], pa.timestamp("ns"))
    assert one(finer, field)[0].values[0] == np.datetime64("2024-07-01T10:00:00.000001", "us")
    assert listed(one(pa.array([dt.date(2024, 7, 1), None]), field)[0]) == [dt.datetime(2024, 7, 1), None]
    assert listed(one(pa.array(["2024-07-01T12:00:00+02:00", None]), field)[0]) == expected


def test_tensors_from_lists_of_any_kind() -> None:
    field = Field(name="x", dtype="float32", shape=(2, 3))
    rows = np.arange(12).reshape(2, 2, 3)
    nested = pa.array(rows.tolist(), pa.list_(pa.list_(pa.float64())))
    fixed = pa.array(rows.tolist(), pa.list_(pa.list_(pa.float64(), 3), 2))
    for array in (nested, fixed, pa.chunked_array([nested.slice(0, 1), nested.slice(1, 1)])):
        column, refused = one(array, field)
        assert not refused
        assert column.values.dtype == np.float32
        np.testing.assert_array_equal(column.values, rows)


def test_a_tensor_of_another_shape_is_refused_and_moves_no_other() -> None:
    field = Field(name="x", dtype="int64", shape=(2,))
    fixed, refused = one(pa.array([[1, 2], None, [4, 5]], pa.list_(pa.int8(), 2)), field)
    assert not refused
    np.testing.assert_array_equal(fixed.values[[0, 2]], [[1, 2], [4, 5]])
    column, refused = one(pa.array([[1, 2], [3], None, [4, 5], [6, None]]), field)
    assert sorted(refused) == [1, 4]
    np.testing.assert_array_equal(column.values[[0, 3]], [[1, 2], [4, 5]])
    assert column.missing().tolist() == [False, True, True, False, True]


def test_a_column_of_nulls_is_missing_whatever_its_field() -> None:
    for dtype in ("float64", "int64", "bool", "string", "category", "datetime"):
        column, refused = one(pa.nulls(3), Field(name="x", dtype=dtype, nullable=True))  # type: ignore[arg-type]
        assert not refused
        assert column.missing().all()


def test_no_rows() -> None:
    fields = [Field(name=d, dtype=d) for d in ("float64", "int64", "bool", "string", "category", "datetime")]  # type: ignore[arg-type]
    kinds = [pa.float64(), pa.int64(), pa.bool_(), pa.string(), pa.dictionary("int32", "string"), pa.timestamp("us")]
    empty = pa.schema([pa.field(f.name, k) for f, k in zip(fields, kinds, strict=True)]).empty_table()
    batch, refused = from_arrow(empty, fields)
    assert not refused
    assert {len(c) for c in batch.values()} == {0}


def test_mistyped_names_only_columns_that_can_hold_nothing_right() -> None:
    fields = [Field(name="x", dtype="float64"), Field(name="t", dtype="string"), Field(name="n", dtype="int8")]
    right = pa.schema([("x", pa.int32()), ("t", pa.dictionary("int8", "string")), ("n", pa.float64())])
    assert mistyped(right, fields) == []
    wrong = pa.schema([("x", pa.string()), ("t", pa.int64()), ("n", pa.null())])
    assert [f.name for f, _ in mistyped(wrong, fields)] == ["x", "t"]


def test_answers_are_null_where_refused_and_nan_where_the_model_says_nan() -> None:
    fields = (
        Field(name="prediction", dtype="string", levels=("no", "yes")),
        Field(name="probability", dtype="float64", shape=(2,), levels=("no", "yes")),
        Field(name="flag", dtype="bool"),
        Field(name="at", dtype="datetime"),
        Field(name="grade", dtype="category", levels=(1, 2)),
    )
    outputs = {
        "prediction": Column(np.array(["no", None, "yes"], object), np.array([True, False, True])),
        "probability": Column(np.array([[0.9, 0.1], [0, 0], [np.nan, 1.0]])),
        "flag": Column(np.array([True, True, False])),
        "at": Column(np.array(["2024-01-01", "NaT", "2024-01-02"], "datetime64[us]")),
        "grade": Column(np.array([2, None, 1], object)),
    }
    made = to_arrow(Outcome(outputs, {1: (Refusal("x", "a", "b"),)}), fields)
    assert made.schema == schema(fields)
    made.validate(full=True)
    data = made.to_pydict()
    assert list(data) == ["prediction", "probability_0", "probability_1", "flag", "at", "grade"]
    assert [data[n][1] for n in data] == [None] * 6
    assert data["prediction"] == ["no", None, "yes"]
    assert data["probability_0"][2] != data["probability_0"][2]
    assert data["flag"] == [True, None, False]
    assert data["grade"] == [2, None, 1]
    assert made.schema.field("probability_1").metadata == {b"label": b'"yes"'}
    assert made.schema.field("prediction").metadata == {b"labels": b'["no", "yes"]'}


def test_reading_and_writing_arrow_imports_no_pandas() -> None:
    code = """
import sys, numpy as np, pyarrow as pa
from anyport.arrow import from_arrow
from anyport.arrow_out import to_arrow
from anyport.batch import Column, Outcome
from anyport.signature import Field
table = pa.ipc.open_stream(sys.stdin.buffer).read_all()
fields = [Field(name="x", dtype="float64"), Field(name="n", dtype="int64"), Field(name="t", dtype="string")]
batch, _ = from_arrow(table, fields)
to_arrow(Outcome(batch, {}), fields)
print("pandas" in sys.modules)
"""
    sink = pa.BufferOutputStream()
    table = pa.table({"x": [1.0, None], "n": [1, None], "t": ["a", None]})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    run = subprocess.run(
        [sys.executable, "-c", code], input=sink.getvalue().to_pybytes(), capture_output=True, check=False
    )
    assert run.stdout == b"False\n", run.stderr.decode()
