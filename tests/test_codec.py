"""JSON in, JSON out: forms, missing values, infinities, and every wrong cell named."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
import served
from hypothesis import given, settings
from hypothesis import strategies as st

from anyport import client, codec
from anyport.batch import Column, Outcome, Refusal
from anyport.errors import BadData, Mistake
from anyport.graph.encode import encode
from anyport.graph.rows import compile_row
from anyport.serve.hot import row_type
from anyport.signature import Field, Signature

KINDS = Signature(
    inputs=(
        Field(name="f", dtype="float64", nullable=True),
        Field(name="g", dtype="float32", nullable=True, infinite=False),
        Field(name="i", dtype="int64", nullable=True),
        Field(name="u", dtype="uint64"),
        Field(name="b", dtype="bool", nullable=True),
        Field(name="s", dtype="string", nullable=True),
        Field(name="c", dtype="category", levels=(1, 2, 30), nullable=True),
        Field(name="d", dtype="datetime", nullable=True),
        Field(name="t", dtype="float32", shape=(2, None)),
    ),
    outputs=(Field(name="prediction", dtype="float64"),),
)
GOOD = {"f": 1.5, "g": 2, "i": 3, "u": 4, "b": True, "s": "x", "c": 30, "d": "2026-01-02T03:04:05", "t": [[1], [2]]}


def decode(value: Any, signature: Signature = KINDS) -> codec.Body:
    return codec.decode(json.dumps(value).encode(), signature)


def wrong(cell: str, value: Any) -> list[Refusal]:
    """What is said of one row with one cell changed."""
    return [r for said in decode({**GOOD, cell: value}).refused.values() for r in said]


def test_a_row_records_and_columns_hold_the_same_batch() -> None:
    row, records = decode(GOOD), decode([GOOD])
    columns = decode({"columns": {name: [cell] for name, cell in GOOD.items()}})
    assert [row.form, records.form, columns.form] == ["row", "records", "columns"]
    assert not row.refused
    for name, column in row.batch.items():
        for other in (records, columns):
            assert column.values.tolist() == other.batch[name].values.tolist()
            assert column.values.dtype == other.batch[name].values.dtype


@pytest.mark.parametrize("name", ["f", "g", "i", "b", "s", "c", "d"])
def test_null_is_missing_where_the_field_allows_it(name: str) -> None:
    body = decode({**GOOD, name: None})
    assert not body.refused
    assert body.batch[name].missing().tolist() == [True]


def test_null_is_refused_where_the_original_refuses_a_missing_value() -> None:
    assert wrong("u", None) == [Refusal("u", "uint64", "a missing value")]


@pytest.mark.parametrize(
    ("name", "value", "got"),
    [
        ("f", "3", '"3"'),
        ("f", True, "true"),
        ("f", "NaN", '"NaN"'),
        ("g", 1e39, "1e39"),
        ("g", "Infinity", "inf"),
        ("i", 3.5, "3.5"),
        ("i", 2**63, "9223372036854775808"),
        ("i", "Infinity", '"Infinity"'),
        ("u", -1, "-1"),
        ("b", 1, "1"),
        ("s", 7, "7"),
        ("c", "30", '"30"'),
        ("d", "tomorrow", '"tomorrow"'),
        ("t", [[1], [2, 3]], "[[1],[2,3]]"),
        ("t", [1, 2], "[1,2]"),
        ("t", [[1], ["x"]], '[[1],["x"]]'),
        ("t", 5, "5"),
        ("s", {"a": [1]}, '{"a":[1]}'),
    ],
)
def test_a_wrong_cell_is_named_with_what_came(name: str, value: Any, got: str) -> None:
    said = wrong(name, value)
    assert [(r.column, r.got) for r in said] == [(name, got)]
    assert said[0].expected == KINDS.input(name).says()


def test_every_wrong_cell_of_every_row_is_listed() -> None:
    lost = {k: v for k, v in GOOD.items() if k != "s"}
    body = decode([{**GOOD, "f": "a", "i": "b"}, GOOD, 7, {**lost, "S": "x"}])
    listed = [(p["row"], p["column"]) for p in codec.problems(body.refused)]
    assert listed == [(0, "f"), (0, "i"), (2, ""), (3, "S"), (3, "s")]
    near = decode({**{k: v for k, v in GOOD.items() if k != "f"}, "ff": 1})
    assert "did you mean 'f'" in near.refused[0][0].expected


def test_whole_floats_are_integers_and_a_literal_beyond_doubles_is_not_infinity() -> None:
    assert decode({**GOOD, "i": 3.0}).batch["i"].values.tolist() == [3]
    assert decode({**GOOD, "f": "-Infinity"}).batch["f"].values.tolist() == [-math.inf]
    body = json.dumps({**GOOD, "f": 0}).replace('"f": 0', '"f": 1e999')
    assert [r.got for r in codec.decode(body.encode(), KINDS).refused[0]] == ["1e999"]


def test_datetimes_are_read_as_utc() -> None:
    body = decode([{**GOOD, "d": "2026-01-02T03:04:05+02:00"}, {**GOOD, "d": "2026-01-02"}])
    expected = np.array(["2026-01-02T01:04:05", "2026-01-02T00:00:00"], "datetime64[us]")
    assert (body.batch["d"].values == expected).all()


def test_integers_beyond_doubles_keep_every_digit() -> None:
    body = decode([{**GOOD, "i": 2**53 + 1, "u": 2**64 - 1}, {**GOOD, "i": None}])
    assert body.batch["i"].values.tolist() == [2**53 + 1, 0]
    assert body.batch["u"].values.tolist()[0] == 2**64 - 1


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"f": 1,}', "byte 8"),
        (b'{"f": 1', "ends too early (byte 7)"),
        (b"", "empty"),
        (b"[1] x", "trailing characters"),
        (b'{"f": NaN}', "byte 6"),
        (b'{"f": "\xff"}', "UTF-8: byte 7"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_text_that_is_no_json_is_refused_with_its_place(body: bytes, says: str) -> None:
    with pytest.raises(Mistake) as found:
        codec.decode(body, KINDS)
    assert not isinstance(found.value, BadData)
    assert says in found.value.what


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("x", "expected a row"),
        ({"columns": {**{k: [v] for k, v in GOOD.items()}, "f": [1, 2]}}, "differ in length"),
        ({"columns": {**{k: [v] for k, v in GOOD.items()}, "f": 1}}, "column 'f': expected a list"),
        ({"columns": {"f": [1]}}, "missing columns"),
        ({"columns": {**{k: [v] for k, v in GOOD.items()}, "z": [1]}}, "unknown column 'z'"),
    ],
)
def test_json_that_holds_no_rows_is_bad_data(value: Any, says: str) -> None:
    with pytest.raises(BadData) as found:
        decode(value)
    assert says in found.value.what


def test_a_column_called_columns_is_still_a_column() -> None:
    one = Signature(inputs=(Field(name="columns", dtype="float64"),), outputs=KINDS.outputs)
    assert decode({"columns": 3}, one).batch["columns"].values.tolist() == [3.0]
    assert decode({"columns": {"columns": [3, 4]}}, one).batch["columns"].values.tolist() == [3.0, 4.0]


@pytest.mark.parametrize("form", ["[]", json.dumps({"columns": {name: [] for name in GOOD}})])
def test_no_rows_are_an_empty_batch(form: str) -> None:
    body = codec.decode(form.encode(), KINDS)
    assert {len(c) for c in body.batch.values()} == {0}


OUT = Signature(
    inputs=(),
    outputs=(
        Field(name="prediction", dtype="int64", levels=(1, 2)),
        Field(name="probability", dtype="float64", shape=(2,), levels=(1, 2)),
        Field(name="score", dtype="float64"),
    ),
)


def outcome(**refused: Any) -> Outcome:
    outputs = {
        "prediction": Column(np.array([1, 2])),
        "probability": Column(np.array([[0.25, 0.75], [1.0, 0.0]])),
        "score": Column(np.array([math.inf, math.nan])),
    }
    return Outcome(outputs, {1: (Refusal("a", "b", "c"),)} if refused else {})


def test_answers_have_the_form_of_the_question_and_no_nan() -> None:
    records = json.loads(codec.answer(outcome(), "records", OUT))
    assert records == [
        {"prediction": 1, "probability": {"1": 0.25, "2": 0.75}, "score": "Infinity"},
        {"prediction": 2, "probability": {"1": 1.0, "2": 0.0}, "score": None},
    ]
    columns = json.loads(codec.answer(outcome(), "columns", OUT))["columns"]
    assert columns == {"prediction": [1, 2], "probability": [[0.25, 0.75], [1.0, 0.0]], "score": ["Infinity", None]}


def test_refused_rows_are_null_and_say_why() -> None:
    why = {"column": "a", "expected": "b", "got": "c"}
    records = json.loads(codec.answer(outcome(refused=True), "records", OUT))
    assert records[1] == {"prediction": None, "probability": None, "score": None, "errors": [why]}
    assert "errors" not in records[0]
    columns = json.loads(codec.answer(outcome(refused=True), "columns", OUT))
    assert columns["columns"]["prediction"] == [1, None]
    assert columns["errors"] == [{"row": 1, **why}]


def test_a_client_reads_back_exactly_what_was_answered() -> None:
    said = outcome(refused=True)
    got = client.decode_answers(json.loads(codec.answer(said, "records", OUT)), OUT)
    assert got.refused == said.refused
    assert got.outputs["score"].values[0] == math.inf
    for name in ("prediction", "probability"):
        column = got.outputs[name]
        assert column.values[0].tolist() == said.outputs[name].values[0].tolist()
        assert column.valid is not None
        assert column.valid.tolist() == [True, False]


ROWS = st.fixed_dictionaries(
    {
        "f": st.none() | st.floats(allow_nan=False),
        "g": st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
        "i": st.none() | st.integers(-(2**63), 2**63 - 1),
        "u": st.integers(0, 2**64 - 1),
        "b": st.none() | st.booleans(),
        "s": st.none() | st.text(st.characters(exclude_categories=["Cs"])),
        "c": st.sampled_from([None, 1, 2, 30, 99]),
        "d": st.none() | st.datetimes().map(lambda d: d.isoformat()),
        "t": st.lists(st.floats(width=32, allow_nan=False), min_size=4, max_size=4).map(lambda v: [v[:2], v[2:]]),
    }
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=4))
def test_a_batch_survives_the_wire_bit_for_bit(asked: list[dict[str, Any]]) -> None:
    fields = {f.name: f for f in KINDS.inputs}
    plain = [
        {k: ({math.inf: "Infinity", -math.inf: "-Infinity"}.get(v, v) if k == "f" else v) for k, v in row.items()}
        for row in asked
    ]
    for row in plain:
        row["t"] = [[{math.inf: "Infinity", -math.inf: "-Infinity"}.get(v, v) for v in part] for part in row["t"]]
    first = decode(plain)
    assert not first.refused
    bodies = list(client.bodies(first.batch, KINDS))
    second = codec.decode(bodies[0][0], KINDS)
    assert not second.refused
    for name, column in first.batch.items():
        other = second.batch[name]
        if fields[name].is_text:
            assert column.plain().values.tolist() == other.plain().values.tolist()
        else:
            assert column.values.tobytes() == other.values.tobytes()
        assert column.missing().tolist() == other.missing().tolist()


CELL = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([*served.CITIES, *served.PLANS, "", "Infinity", 0, 1, 3.0, -0.0, 1e6, 1e7, [], [1], {}])
)  # fmt: skip
MODEL_ROW = st.fixed_dictionaries({f.name: CELL for f in served.SIGNATURE.inputs})
NEAR = st.builds(
    lambda row, name, cell: {**row, name: cell},
    st.sampled_from(served.rows(30)), st.sampled_from(["extra", *(f.name for f in served.SIGNATURE.inputs)]), CELL,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(NEAR | MODEL_ROW)
def test_the_short_cut_takes_only_what_the_codec_takes_and_means_the_same(row: dict[str, Any]) -> None:
    encoder = HOMES
    body = json.dumps(row).encode()
    kind = row_type(served.SIGNATURE)
    out = np.full(encoder.width, 7.0, encoder.tensor)
    try:
        record = msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError:
        return
    if FILL(record, out) is not None:
        return
    read = codec.decode(body, served.SIGNATURE)
    assert not read.refused
    assert encode(encoder, read.batch)[0].tobytes() == out.tobytes()


HOMES = served.encoder(served.fitted())
FILL = compile_row(served.SIGNATURE, HOMES, access="attribute")


def test_the_short_cut_takes_the_ordinary_row() -> None:
    kind = row_type(served.SIGNATURE)
    for row in served.rows(50):
        record = msgspec.json.decode(json.dumps(row).encode(), type=kind)
        assert FILL(record, np.zeros(HOMES.width)) is None
