"""The encoder means the same to numpy, to compiled row code and to ONNX, bit for bit."""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec
import numpy as np
import pytest

from anyport.batch import Column
from anyport.errors import BadData, Impossible
from anyport.graph import rows as rows_module
from anyport.graph.build import Builder
from anyport.graph.emit import emit_encoder
from anyport.graph.encode import encode
from anyport.graph.encoder import (
    Add,
    Bins,
    Clip,
    Divide,
    Encoder,
    Float32,
    Impute,
    Indicator,
    Lookup,
    Multiply,
    Number,
    Subtract,
    Text,
)
from anyport.graph.rows import compile_row
from anyport.ingest import to_batch
from anyport.ort import session
from anyport.predictor import raw_input
from anyport.signature import Field, Signature

WORDS = ("", "a", "é", "001", "long name with spaces", "日本")
FIELDS = (
    Field(name="word", dtype="string", nullable=True),
    Field(name="kind", dtype="category", levels=("x", "y", "z"), closed=True),
    Field(name="grade", dtype="category", levels=(3, 1, 2), nullable=True),
    Field(name="x", dtype="float64", nullable=True),
    Field(name="f", dtype="float32"),
    Field(name="i", dtype="int64"),
    Field(name="u", dtype="uint8"),
    Field(name="n", dtype="int16", nullable=True),
    Field(name="b", dtype="bool"),
    Field(name="nb", dtype="bool", nullable=True),
)
TWO = ((0.1, -7.0), (1 / 3, 2.0), (5.0, 0.0))
ENTRIES = (
    Lookup("word", 0, 4, WORDS[1:5], None, (0.0,) * 4, (0.0,) * 4),
    Lookup("word", 4, 2, WORDS[:3], TWO, (9.0, 9.5), (-1.0, math.pi)),
    Indicator("word", 6, 0.25, -0.75),
    Lookup("kind", 7, 1, ("x", "y", "z"), ((1.0,), (2.0,), (1e-3,)), None, None),
    Lookup("grade", 9, 3, (1, 2, 3), None, (0.0,) * 3, (0.5,) * 3),
    Number("x", 12, (Impute(0.1), Subtract(0.3), Divide(0.7))),
    Indicator("x", 13, 1.0, 0.0),
    Bins("x", 14, 2, (-1.0, 0.0, 2.5), ((1.0, 0.0), (0.0, 1.0), (0.3, 0.3), (2.0, 7.0)), (Multiply(3.0),), (8.0, 8.0)),
    Number("x", 16, (Multiply(1.7), Add(0.2), Clip(-1.0, 1.5))),
    Number("f", 17, ()),
    Number("f", 18, (Subtract(0.1), Float32(), Divide(0.3), Float32())),
    Number("i", 19, (Divide(7.0),)),
    Lookup("i", 20, 2, (0, 5), None, (0.0, 0.0), None),
    Number("u", 22, ()),
    Number("n", 23, (Impute(-1.0),)),
    Lookup("n", 24, 1, (1, 2), ((10.0,), (20.0,)), (30.0,), (40.0,)),
    Number("b", 25, (Add(0.5),)),
    Lookup("nb", 26, 2, (False, True), None, (0.0, 0.0), (0.5, 0.5)),
)


def encoder(tensor: Literal["float32", "float64"]) -> Encoder:
    return Encoder(tensor=tensor, width=30, entries=ENTRIES)  # slots 8, 28 and 29 stay 0


def records(n: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)

    def some(values: tuple[Any, ...]) -> Any:
        return values[rng.integers(len(values))]

    return [
        {
            "word": some((*WORDS, "unseen", None)),
            "kind": some(("x", "y", "z")),
            "grade": some((1, 2, 3, None)),
            "x": some((float(rng.normal()), None, math.nan, 0.1, -1 / 3, 0.0, math.inf, -math.inf, 1e300, 3, 2.5 / 3)),
            "f": some((float(np.float32(rng.normal())), 0.1, -2, 1e-40, 3.4e38)),
            "i": some((0, 5, -3, 5.0, 2**53 + 1, -(2**63))),
            "u": some((0, 255, 7)),
            "n": some((1, 2, 3, None, -(2**15))),
            "b": bool(rng.integers(2)),
            "nb": some((True, False, None)),
        }
        for _ in range(n)
    ]


def onnx_tensor(made: Encoder, batch: dict[str, Column]) -> np.ndarray:
    b = Builder("float64")
    b.output(emit_encoder(b, made, Signature(inputs=FIELDS, outputs=())), "tensor", "float64", ["N", made.width])
    feed = {f.name: raw_input(batch[f.name], f) for f in FIELDS}
    return np.asarray(session(b.serialize()).run(None, feed)[0])


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    a, b = a + 0.0, b + 0.0  # zeros of either sign are equal to every model
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("tensor", ["float32", "float64"])
def test_numpy_rows_and_onnx_make_the_same_tensor(tensor: Literal["float32", "float64"]) -> None:
    made, rows = encoder(tensor), records(600)
    batch, refused = to_batch(rows, FIELDS)
    assert not refused
    expected = encode(made, batch)
    signature = Signature(inputs=FIELDS, outputs=())
    fill = compile_row(signature, made)
    by_row = np.full((len(rows), made.width), 77, dtype=tensor)
    for record, out in zip(rows, by_row, strict=True):
        assert fill(record, out) is None
    different = np.argwhere(~((expected == by_row) | (np.isnan(expected) & np.isnan(by_row))))
    assert same_bits(expected, by_row), [(rows[r], int(slot)) for r, slot in different[:3]]
    from_onnx = onnx_tensor(made, batch)
    different = np.argwhere(~((expected == from_onnx) | (np.isnan(expected) & np.isnan(from_onnx))))
    assert same_bits(expected, from_onnx.astype(tensor)), [(rows[r], int(slot)) for r, slot in different[:3]]


def test_typed_records_are_read_by_position() -> None:
    made = encoder("float32")
    row = msgspec.defstruct("Row", [(f"c{i}", Any) for i in range(len(FIELDS))])
    fill = compile_row(Signature(inputs=FIELDS, outputs=()), made, access="attribute")
    plain = compile_row(Signature(inputs=FIELDS, outputs=()), made)
    for record in records(100, seed=1):
        typed = [
            float(v) if isinstance(v, int) and f.is_float else v for f, v in zip(FIELDS, record.values(), strict=True)
        ]
        typed = [int(v) if isinstance(v, float) and f.is_int else v for f, v in zip(FIELDS, typed, strict=True)]
        one, other = np.zeros(30, np.float32), np.ones(30, np.float32)
        assert fill(row(*typed), one) is None
        assert plain(record, other) is None
        assert same_bits(one, other)


GOOD = records(1, seed=3)[0] | {"word": "a", "x": 0.5}


@pytest.mark.parametrize(
    ("column", "value", "got"),
    [
        ("word", 1, "1 (int)"),
        ("word", ["a"], "['a'] (list)"),
        ("kind", "q", "'q'"),
        ("kind", None, "a missing value"),
        ("x", "0.5", "'0.5' (str)"),
        ("x", True, "True (bool)"),
        ("f", None, "a missing value"),
        ("i", 1.5, "1.5 (float)"),
        ("i", 2**63, f"{2**63} (int)"),
        ("u", -1, "-1 (int)"),
        ("u", 256, "256 (int)"),
        ("b", 1, "1 (int)"),
        ("b", "true", "'true' (str)"),
        ("grade", True, "True (bool)"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(column: str, value: Any, got: str) -> None:
    fill = compile_row(Signature(inputs=FIELDS, outputs=()), encoder("float32"))
    refused = fill(GOOD | {column: value}, np.zeros(30, np.float32))
    assert refused is not None
    assert [(r.column, r.got) for r in refused] == [(column, got)]


def test_ordinary_records_take_the_quick_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> Any:
        return lambda record, out: pytest.fail(f"judged slowly: {record}")

    monkeypatch.setattr(rows_module, "careful_fill", never)
    fill = compile_row(Signature(inputs=FIELDS, outputs=()), encoder("float32"))
    out = np.zeros(30, np.float32)
    for change in (
        {},
        {"word": None},
        {"word": "unseen"},
        {"x": None},
        {"x": 3},
        {"grade": None},
        {"n": None},
        {"i": 5.0},
    ):
        assert fill(GOOD | {"f": 0.25} | change, out) is None


def test_every_fault_of_a_record_is_listed() -> None:
    fill = compile_row(Signature(inputs=FIELDS, outputs=()), encoder("float32"))
    bad = GOOD | {"word": 5, "kind": "q", "i": "7"}
    del bad["b"]
    refused = fill(bad, np.zeros(30, np.float32))
    assert refused is not None
    assert sorted(r.column for r in refused) == ["b", "i", "kind", "word"]


def test_bounds_and_infinities_are_refused_where_the_field_says_so() -> None:
    fields = (
        Field(name="a", dtype="float64", low=0.0, high=1.0, infinite=False),
        Field(name="b", dtype="float64", nullable=True, infinite=False),
        Field(name="c", dtype="int8", low=-1, high=1),
    )
    made = Encoder(tensor="float64", width=3, entries=(Number("a", 0), Number("b", 1), Number("c", 2)))
    fill = compile_row(Signature(inputs=fields, outputs=()), made)
    out = np.zeros(3)
    assert fill({"a": 1.0, "b": None, "c": 1}, out) is None
    assert out.tolist()[::2] == [1.0, 1.0]
    assert math.isnan(out[1])
    for column, values in {
        "a": (-0.1, 1.1, math.inf, math.nan, None),
        "b": (math.inf, -math.inf),
        "c": (2, -2),
    }.items():
        for value in values:
            refused = fill({"a": 1.0, "b": 0.0, "c": 0} | {column: value}, out)
            assert refused is not None, (column, value)
            assert refused[0].column == column


def test_dictionary_columns_encode_like_plain_ones() -> None:
    made = encoder("float64")
    batch, _ = to_batch(records(200, seed=5), FIELDS)
    plain = encode(made, batch)
    for name in ("word", "kind", "grade"):
        column = batch[name]
        levels = sorted({v for v in column.values.tolist() if v is not None}, key=str)
        codes = np.array([levels.index(v) if v is not None else 0 for v in column.values.tolist()], np.int32)
        dictionary = np.empty(len(levels), object)
        dictionary[:] = levels
        batch[name] = Column(codes, column.valid, dictionary)
    assert same_bits(plain, encode(made, batch))


def test_a_given_output_is_overwritten_and_used() -> None:
    made = encoder("float32")
    batch, _ = to_batch(records(50, seed=6), FIELDS)
    room = np.full((64, 30), 3, np.float32)
    filled = encode(made, batch, out=room)
    assert np.shares_memory(filled, room)
    assert same_bits(filled, encode(made, batch))
    assert (room[50:] == 3).all()


def test_more_rows_than_a_block_are_encoded_alike() -> None:
    from anyport.batch import take
    from anyport.graph import encode as module

    made = encoder("float32")
    batch, _ = to_batch(records(300, seed=7), FIELDS)
    many = take(batch, np.arange(3 * module.BLOCK // 2) % 300)
    assert same_bits(encode(made, many), np.tile(encode(made, batch), (21, 1))[: 3 * module.BLOCK // 2])


def test_a_large_table_gives_the_same_rows() -> None:
    levels = tuple(f"level {i}" for i in range(1200))
    fields = (Field(name="w", dtype="string", nullable=True), Field(name="v", dtype="string"))
    rng = np.random.default_rng(0)
    table = tuple(tuple(row) for row in rng.normal(size=(1200, 1000)).tolist())
    entries = (
        Lookup("w", 0, 1200, levels, None, (0.0,) * 1200, (0.5,) * 1200),
        Lookup("v", 1200, 1000, levels, table, (0.25,) * 1000, None),
    )
    made = Encoder(tensor="float32", width=2200, entries=entries)
    fill = compile_row(Signature(inputs=fields, outputs=()), made)
    out = np.ones(2200, np.float32)
    for record in ({"w": "level 7", "v": "level 1199"}, {"w": None, "v": "unseen"}, {"w": "unseen", "v": "level 0"}):
        assert fill(record, out) is None
        batch, _ = to_batch([record], fields)
        assert same_bits(encode(made, batch)[0], out)
    refused = fill({"w": "level 7", "v": None}, out)
    assert refused is not None
    assert refused[0].column == "v"


def test_a_level_that_a_table_lacks_is_never_encoded_as_another() -> None:
    made = Encoder(tensor="float64", width=2, entries=(Lookup("w", 0, 2, ("a", "b")),))
    with pytest.raises(BadData, match="row 1: an unknown level"):
        encode(made, {"w": Column(np.array(["a", "q"], dtype=object))})


def test_text_has_no_onnx_form() -> None:
    b = Builder("float64")
    made = Encoder(tensor="float64", width=1, entries=(Text("word", 0, ("a",)),))
    with pytest.raises(Impossible, match="regular expression"):
        emit_encoder(b, made, Signature(inputs=FIELDS, outputs=()))


def test_the_encoder_survives_json() -> None:
    made = encoder("float32")
    assert msgspec.json.decode(msgspec.json.encode(made), type=Encoder) == made
