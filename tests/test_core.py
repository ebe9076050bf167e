"""What everything stands on: batches, what goes in, refusals, golden rows, comparing, proving, the bundle."""

from __future__ import annotations

import datetime as dt
import json
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeClassifier

import anyport
from anyport import baseline, bundle, infer
from anyport.batch import Batch, Column, Outcome, Refusal, concat, rows, take
from anyport.bundle import Tolerance
from anyport.errors import BadData, Impossible, Mistake
from anyport.frameworks import Candidate, Hints, Original, get
from anyport.golden import compare, find_rules, store
from anyport.golden.ask import answer, single
from anyport.golden.rows import Golden, around, make
from anyport.golden.rules import base_row, order, value_at
from anyport.golden.synth import FREQUENT, synthesise
from anyport.graph import encoder
from anyport.graph.build import Builder
from anyport.graph.prove import Exam, prove
from anyport.ingest import to_batch
from anyport.native import native
from anyport.packing import described
from anyport.signature import Field, Signature, refusals

# ---- batches


def text(*values: Any) -> Any:
    out = np.empty(len(values), object)
    out[:] = list(values)
    return out


def test_a_dictionary_is_the_same_column_as_its_plain_form() -> None:
    column = Column(np.array([0, 2, 0, 1], np.int32), np.array([True, True, False, True]), text("a", "b", "c"))
    assert column.plain().values.tolist() == ["a", "c", None, "b"]
    assert column.missing().tolist() == [False, False, True, False]
    assert Column(np.zeros(2, np.int32), np.zeros(2, bool), text()).plain().values.tolist() == [None, None]


def test_missing_is_said_by_every_dtype() -> None:
    assert Column(np.array([1.0, np.nan])).missing().tolist() == [False, True]
    assert Column(np.array(["2024-01-01", "NaT"], "datetime64[us]")).missing().tolist() == [False, True]
    assert Column(np.array([1, 0]), np.array([True, False])).missing().tolist() == [False, True]
    assert Column(np.array([[1.0, 2.0], [3.0, np.nan]])).missing().tolist() == [False, True]


def test_take_and_concat_undo_each_other() -> None:
    words = Column(text("a", None, "b", "c", "d"), np.array([1, 0, 1, 1, 1], bool))
    batch: Batch = {"n": Column(np.arange(5), np.array([1, 1, 0, 1, 1], bool)), "t": words}
    again = concat([take(batch, slice(0, 2)), take(batch, [2, 3, 4]), take(batch, np.zeros(5, bool))])
    for name, column in batch.items():
        assert again[name].values.tolist() == column.values.tolist()
    assert again["n"].missing().tolist() == batch["n"].missing().tolist()
    assert rows({}) == 0
    assert concat([]) == {}


# ---- what goes in

FIELDS = (
    Field(name="size", dtype="float64"),
    Field(name="count", dtype="int32", nullable=True),
    Field(name="ok", dtype="bool"),
    Field(name="id", dtype="string"),
    Field(name="when", dtype="datetime", tz="Europe/Prague"),
)
RECORDS: list[dict[str, Any]] = [
    {"size": 1.5, "count": 3, "ok": True, "id": "001", "when": dt.datetime(2024, 3, 31, 1, 30, tzinfo=dt.UTC)},
    {"size": None, "count": None, "ok": False, "id": None, "when": None},
]


def containers() -> dict[str, Any]:
    """The same two rows in everything they may come in."""
    frame = pd.DataFrame(RECORDS)
    return {
        "records": RECORDS,
        "columns": {k: [r[k] for r in RECORDS] for k in RECORDS[0]},
        "pandas": frame,
        "pandas nullable": frame.astype({"count": "Int32", "id": "string"}),
        "pandas reordered": frame[frame.columns[::-1]],
        "pandas other index": frame.set_axis([7, 7]),
        "polars": pl.DataFrame(RECORDS, schema_overrides={"count": pl.Int32}),
        "pyarrow": pa.Table.from_pylist(RECORDS),
        "pyarrow dictionary": pa.Table.from_pylist(RECORDS).set_column(
            3, "id", pa.array(["001", None]).dictionary_encode()
        ),
    }  # fmt: skip


@pytest.mark.parametrize("kind", containers())
def test_every_container_is_one_batch(kind: str) -> None:
    batch, refused = to_batch(containers()[kind], FIELDS)
    assert refused == {}
    assert batch["size"].values.dtype == np.float64
    np.testing.assert_array_equal(batch["size"].values, [1.5, np.nan])
    assert batch["count"].values.dtype == np.int32
    assert batch["count"].values[0] == 3
    assert batch["ok"].values.tolist() == [True, False]
    assert batch["id"].plain().values.tolist() == ["001", None]
    assert batch["when"].values[0] == np.datetime64("2024-03-31T01:30", "us")
    for name in ("size", "count", "id", "when"):
        assert batch[name].missing().tolist() == [False, True], name


@pytest.mark.parametrize("mark", [None, math.nan, pd.NA, pd.NaT, np.float32("nan"), np.datetime64("NaT")], ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "string", "datetime"])
def test_every_way_of_saying_missing_is_one(mark: Any, dtype: Any) -> None:
    batch, refused = to_batch([{"a": mark}], (Field(name="a", dtype=dtype),))
    assert refused == {}
    assert batch["a"].missing().tolist() == [True]


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("int64", 1.5), ("int64", "1"), ("int64", True), ("int64", math.inf), ("int8", 128), ("uint8", -1),
        ("float64", "1"), ("float64", True), ("bool", 1), ("bool", "true"), ("string", 1), ("string", b"x"),
        ("datetime", "yesterday"), ("datetime", 5),
    ],
)  # fmt: skip
def test_a_cell_of_another_type_is_refused_with_what_came(dtype: Any, value: Any) -> None:
    field = Field(name="a", dtype=dtype)
    batch, refused = to_batch([{"a": None}, {"a": value}], (field,))
    assert list(refused) == [1]
    (why,) = refused[1]
    assert (why.column, why.expected) == ("a", field.says())
    assert type(value).__name__ in why.got
    assert len(batch["a"]) == 2


def test_whole_floats_are_ints_and_ints_are_floats() -> None:
    whole, refused = to_batch(pd.DataFrame({"a": [1.0, np.nan, -3.0]}), (Field(name="a", dtype="int16"),))
    assert refused == {}
    assert whole["a"].values.tolist() == [1, 0, -3]
    assert whole["a"].missing().tolist() == [False, True, False]
    floats, refused = to_batch([{"a": 2**60}], (Field(name="a", dtype="float64"),))
    assert (floats["a"].values[0], refused) == (2.0**60, {})


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ([{"a": 1, "b": 2}], "unknown column 'b'"), ([{"b": 1}], "row 0 lacks column 'a'"),
        ({"a": [1], "c": [2]}, "unknown column 'c'"), ([{"a": 1}, {}], "row 1 lacks column 'a'"),
        (np.zeros((3, 2)), "does not fit 1 columns"), ("text", "cannot read rows"), (object(), "cannot read rows"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "appears 2 times"),
    ],
)  # fmt: skip
def test_columns_that_do_not_fit_are_named(data: Any, says: str) -> None:
    with pytest.raises(BadData, match=says.replace("(", r"\(")):
        to_batch(data, (Field(name="a", dtype="int64"),))


def test_columns_of_unequal_length_are_an_error() -> None:
    with pytest.raises(BadData, match="size 2, count 1"):
        to_batch({"size": [1.0, 2.0], "count": [1]}, FIELDS[:2])


def test_tensors_keep_their_shape_and_say_when_it_is_wrong() -> None:
    field = Field(name="x", dtype="float32", shape=(None, 2))
    batch, _ = to_batch(np.ones((3, 5, 2)), (field,))
    assert (batch["x"].values.shape, batch["x"].values.dtype) == ((3, 5, 2), np.float32)
    with pytest.raises(BadData, match=r"expected rows of float32\[\?, 2\]"):
        to_batch(np.ones((3, 5, 3)), (field,))
    with pytest.raises(BadData, match="differ in shape"):
        to_batch({"x": [np.ones((1, 2)), np.ones((2, 2))]}, (field,))


# ---- fields from data, and back


def frame() -> pd.DataFrame:
    """A column of every kind that pandas has."""
    levels = pd.CategoricalDtype(["lo", "hi"], ordered=True)
    return pd.DataFrame({
        "i8": np.array([1, -2, 3], np.int8), "u64": np.array([1, 2, 2**63], np.uint64),
        "f32": np.array([0.1, 2, np.nan], np.float32), "f64": [0.1, np.inf, np.nan], "b": [True, False, True],
        "s": ["001", "", None], "o": pd.Series(["x", None, "y"], dtype=object), "n": pd.array([1, None, 3], "Int64"),
        "nb": pd.array([True, None, False], "boolean"), "ns": pd.array(["a", None, "b"], "string"),
        "c": pd.Categorical(["hi", None, "lo"], dtype=levels), "ci": pd.Categorical([10, 20, 10]),
        "t": pd.to_datetime(["2024-01-01", None, "1969-12-31 23:59:59.999999"], format="ISO8601"),
        "tz": pd.to_datetime(["2024-10-27 00:30", "2024-10-27 01:30", None], utc=True).tz_convert("Europe/Prague"),
    })  # fmt: skip


def test_a_frame_goes_in_and_comes_back_as_it_was() -> None:
    """What the original is asked with is what its user would have asked it with, dtype by dtype."""
    data = frame()
    fields, container, held = infer.inputs(data, Hints(container="dataframe"))
    batch, refused = to_batch(held, fields)
    assert (container, refused) == ("dataframe", {})
    again = native(batch, Signature(inputs=fields, outputs=()))
    for name in data.columns:
        assert str(again[name].dtype).replace("[us", "[ns") == str(data[name].dtype).replace("[us", "[ns"), name
        assert again[name].isna().tolist() == data[name].isna().tolist(), name
        pairs = [(a, b) for a, b, gone in zip(again[name], data[name], data[name].isna(), strict=True) if not gone]
        assert all(a == b for a, b in pairs), name


def test_a_column_that_nothing_can_carry_is_named() -> None:
    for column in ([1, "a"], [[1], [2]], [{"a": 1}, {}], [1 + 2j, 0j]):
        with pytest.raises(BadData, match="'mess'"):
            infer.inputs(pd.DataFrame({"mess": column}), Hints(container="dataframe"))


@given(st.lists(st.one_of(st.none(), st.text(max_size=8)), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_any_text_survives_golden_rows(tmp_path_factory: pytest.TempPathFactory, values: list[str | None]) -> None:
    answers = (Field(name="prediction", dtype="float64"),)
    signature = Signature(inputs=(Field(name="t", dtype="string"),), outputs=answers)
    column = Column(text(*values), np.array([v is not None for v in values]))
    outcome = Outcome({"prediction": Column(np.arange(len(values)) / 3)}, {0: (Refusal("t", "x", "ž'\"\n"),)})
    golden = Golden({"t": column}, outcome, ("typical",) * len(values), 1e-9, (0,), 0)
    file = tmp_path_factory.mktemp("golden") / "golden.npz"
    store.write(golden, signature, file)
    first = file.read_bytes()
    read = store.read(file, signature)
    assert read.inputs["t"].plain().values.tolist() == values
    assert read.outcome.outputs["prediction"].values.tolist() == outcome.outputs["prediction"].values.tolist()
    assert (read.outcome.refused, read.why, read.noise, read.excluded) == (outcome.refused, golden.why, 1e-9, (0,))
    store.write(read, signature, file)
    assert file.read_bytes() == first, "same rows, same bytes"


# ---- refusals, found by asking


class Picky:
    """Answers a number between -3 and 1000, one of two words, and nothing else."""

    def predict(self, data: Any) -> Any:
        x = data["x"].to_numpy()
        if not ((x >= -3.0) & (x <= 1000.0)).all() or not data["w"].isin(["in", "out"]).all():
            raise ValueError("no")
        return x * 2


def picky() -> Original:
    data = pd.DataFrame({"x": np.linspace(-3, 500, 40), "w": ["in", "out"] * 20})
    return described(Picky(), get("python"), data)


def test_bounds_levels_and_nulls_are_those_of_the_original() -> None:
    original = picky()
    base = base_row(original)
    assert base is not None
    x, w = find_rules(original, base).inputs
    assert (x.low, x.high, x.nullable, x.infinite) == (-3.0, 1000.0, False, False)
    assert (w.closed, w.levels, w.nullable) == (True, ("in", "out"), False)


def test_a_refusal_and_an_exception_are_the_same_thing() -> None:
    """On any rows, what the rules refuse is what the original raises on."""
    original = picky()
    signature = find_rules(original, base_row(original))  # type: ignore[arg-type]
    values = [-3.0, math.nextafter(-3, -math.inf), 1000.0, math.nextafter(1000, math.inf), math.inf, math.nan, 0.0]
    words = ["in", "out", "IN", None]
    cells = [(v, w) for v in values for w in words]
    batch: Batch = {"x": Column(np.array([c[0] for c in cells])), "w": Column(text(*(c[1] for c in cells)),
                    np.array([c[1] is not None for c in cells]))}  # fmt: skip
    assert set(refusals(batch, signature)) == set(single(original, batch).refused)
    assert set(refusals(batch, signature)) == set(answer(original, batch).refused)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
@settings(deadline=None)
def test_doubles_are_ordered_as_their_numbers(a: float, b: float) -> None:
    assert (order(a) < order(b)) == (a < b)
    assert value_at(order(a), Field(name="x", dtype="float64")) == a


# ---- golden rows


@pytest.fixture(scope="module")
def tree() -> Original:
    made = zoo.load()["bool_labels"].make()
    original = described(made.model, get("sklearn"), made.data)
    signature = find_rules(original, base_row(original))  # type: ignore[arg-type]
    return Original(original.model, original.framework, signature, original.data)


def test_golden_rows_are_deterministic_and_hold_the_original_s_answers(tree: Original) -> None:
    boundaries = get("sklearn").boundaries(tree)
    golden = make(tree, boundaries)
    again = make(tree, boundaries)
    for name, column in golden.inputs.items():
        np.testing.assert_array_equal(column.values, again.inputs[name].values)
    assert golden.why == again.why
    assert {"typical", "boundary", "missing", "extreme"} <= set(golden.why)
    assert len(golden.why) <= 2000
    kept = [i for i in range(len(golden.why)) if i not in golden.outcome.refused]
    x = np.stack([golden.inputs[f.name].values for f in tree.signature.inputs], axis=1)[kept]
    assert golden.outcome.outputs["prediction"].values[kept].tolist() == tree.model.predict(x).tolist()


def test_boundaries_are_the_model_s_thresholds_and_a_step_to_each_side(tree: Original) -> None:
    model = tree.model.tree_
    boundaries = get("sklearn").boundaries(tree)
    for index, field in enumerate(tree.signature.inputs):
        splits = np.unique(model.threshold[model.feature == index])
        if len(splits) == 0:
            continue
        values = around(boundaries[field.name], field)
        left = values.astype(np.float32)[:, None] <= splits
        assert left.any(axis=0).all()
        assert (~left).any(axis=0).all(), "each split has rows on both sides"
        for column, found in enumerate(boundaries[field.name]):
            step = np.nextafter(found, np.inf)
            assert (np.float32(found) <= splits[column]) != (np.float32(step) <= splits[column])


def test_rows_of_the_user_are_not_stored() -> None:
    data = pd.DataFrame({
        "name": [f"Person {i}" for i in range(100)], "city": ["Brno", "Oslo"] * 50,
        "iban": np.arange(100) * 7919.125 + 1e9,
    })  # fmt: skip
    fields, _, _ = infer.inputs(data, Hints(container="dataframe"))
    batch, _ = to_batch(data, fields)
    made = synthesise(batch, fields, 500, np.random.default_rng(0))
    assert not set(made["name"].plain().values.tolist()) & set(data["name"])
    assert set(made["city"].plain().values.tolist()) == {"Brno", "Oslo"}
    assert not set(made["iban"].values.tolist()) & set(data["iban"])
    summary = json.dumps(baseline.make(batch, Outcome({}, {}), Signature(inputs=fields, outputs=())))
    assert "Person" not in summary
    assert "Brno" in summary


@pytest.mark.parametrize(("times", "copied"), [(FREQUENT - 1, False), (FREQUENT, True)])
def test_text_seen_seldom_is_never_copied(times: int, copied: bool) -> None:
    values = ["common"] * 90 + ["secret"] * times
    column = Column(text(*values))
    made = synthesise({"t": column}, (Field(name="t", dtype="string"),), 2000, np.random.default_rng(0))
    assert ("secret" in made["t"].values.tolist()) is copied


def test_nothing_of_the_user_s_is_in_a_bundle_s_bytes(tmp_path: Path) -> None:
    """Looked for in every member, as text and as numbers."""
    random = np.random.default_rng(3)
    data = pd.DataFrame({"who": [f"patient-{i:04d}" for i in range(200)], "value": random.normal(size=200) * 1e5})
    x = data["value"].to_numpy()[:, None]
    model = LinearRegression().fit(x, x[:, 0] * 2)
    made = anyport.pack(model, x, out=tmp_path / "m.anyport")
    golden = store.read(made.path / "golden.npz", made.signature)
    extremes = {x.min(), x.max()}
    assert set(golden.inputs["x0"].values.tolist()) & set(x[:, 0].tolist()) <= extremes
    for member in made.manifest.files:
        assert b"patient-" not in (made.path / member).read_bytes()


# ---- comparing

SIGNATURE = Signature(
    inputs=(), outputs=(Field(name="prediction", dtype="string", levels=("a", "b")),
                        Field(name="probability", dtype="float64", shape=(2,), levels=("a", "b"))),
)  # fmt: skip


def outcome(labels: list[Any], chances: list[list[float]], refused: tuple[int, ...] = ()) -> Outcome:
    valid = np.array([i not in refused for i in range(len(labels))])
    columns = {"prediction": Column(text(*labels), valid), "probability": Column(np.array(chances), valid)}
    return Outcome(columns, {i: (Refusal("x", "e", "g"),) for i in refused})


def judged(expected: Outcome, got: Outcome, **more: Any) -> Any:
    return compare(expected, got, SIGNATURE, tolerance=more.pop("tolerance", Tolerance()), **more)


def test_a_flipped_label_a_moved_number_and_a_lost_refusal_are_differences() -> None:
    right = outcome(["a", "b", "a"], [[1, 0], [0, 1], [0.6, 0.4]])
    assert judged(right, right).ok
    flipped = judged(right, outcome(["a", "a", "a"], [[1, 0], [0, 1], [0.6, 0.4]]))
    assert (flipped.ok, flipped.flips, flipped.wrong, flipped.differences[0].row) == (False, 1, 1, 1)
    moved = judged(right, outcome(["a", "b", "a"], [[1, 0], [0, 1], [0.6, 0.4001]]))
    assert (moved.ok, moved.differences[0].output) == (False, "probability")
    assert moved.worst == pytest.approx(1e-4)
    assert judged(right, outcome(["a", "b", "a"], [[1, 0], [0, 1], [0.6, 0.4001]]), tolerance=Tolerance(atol=1e-3)).ok
    answered = judged(outcome(["a", None], [[1, 0], [0, 0]], (1,)), outcome(["a", "b"], [[1, 0], [0, 1]]))
    assert answered.differences[0].expected == "refused"
    assert not judged(outcome(["a"], [[1, 0]]), outcome([None], [[0, 0]], (0,))).ok


def test_nan_equals_nan_and_nothing_else() -> None:
    nan = outcome(["a"], [[math.nan, 1]])
    assert judged(nan, nan).ok
    assert not judged(nan, outcome(["a"], [[0.0, 1]])).ok
    assert not judged(outcome(["a"], [[math.inf, 1]]), outcome(["a"], [[1e308, 1]])).ok
    assert not judged(outcome(["a"], [[math.inf, 1]]), outcome(["a"], [[-math.inf, 1]])).ok
    assert judged(outcome(["a"], [[math.inf, 1]]), outcome(["a"], [[math.inf, 1]])).ok


def test_an_output_that_is_lacking_or_short_is_a_difference() -> None:
    right = outcome(["a", "b"], [[1, 0], [0, 1]])
    assert not judged(right, Outcome({"prediction": right.outputs["prediction"]}, {})).ok
    assert not judged(right, outcome(["a"], [[1, 0]])).ok


def test_labels_the_original_contradicts_are_not_compared_but_their_numbers_are() -> None:
    right, other = outcome(["a"], [[0.5, 0.5]]), outcome(["b"], [[0.5, 0.5]])
    assert not judged(right, other).ok
    assert judged(right, other, excluded=(0,)).ok
    assert not judged(right, outcome(["b"], [[0.9, 0.1]]), excluded=(0,)).ok


# ---- proving


def graph(slope: float) -> Candidate:
    """prediction = slope * x, with an encoder."""
    b = Builder("float64")
    x = b.input("X", "float64", ["N", 1])
    b.output(b.add("Mul", [x, b.constant([slope], "float64")]), "prediction", "float64", ["N"])
    one = encoder.Encoder(tensor="float64", width=1, entries=(encoder.Number("x0", 0),))
    return Candidate(f"slope {slope}", "a test", b.serialize(), one)


def doubling() -> tuple[Original, Exam]:
    x = np.linspace(-5, 5, 60)[:, None]
    original = described(LinearRegression(fit_intercept=False).fit(x, 2 * x[:, 0]), get("sklearn"), x)
    original = Original(original.model, "sklearn", find_rules(original, base_row(original)), original.data)  # type: ignore[arg-type]
    golden = make(original, {}, limit=200)
    return original, Exam(original.signature, Tolerance(), original.data, answer(original, original.data), golden)


def test_only_what_is_right_everywhere_is_kept_and_the_rest_says_why() -> None:
    _, paper = doubling()
    broken = Candidate("broken", "not a graph", b"nonsense")
    kept, tried = prove([graph(2.0001), broken, graph(2.0), graph(-2.0)], paper, say=lambda _: None)
    assert kept is not None
    assert kept.candidate.name == "slope 2.0"
    found = {t.name: t for t in tried}
    assert "rows differ" in found["slope 2.0001"].rejected
    assert "does not load" in found["broken"].rejected
    assert not found["slope 2.0"].rejected
    assert found["slope 2.0"].rows >= 200
    assert found["slope 2.0"].microseconds is not None


def test_nothing_right_is_nothing_kept() -> None:
    _, paper = doubling()
    kept, tried = prove([graph(3.0)], paper, say=lambda _: None)
    assert kept is None
    assert len(tried) == 1


def test_a_converter_that_gives_up_in_the_middle_keeps_what_it_gave() -> None:
    def some() -> Any:
        yield graph(2.0)
        raise Impossible("no more")

    _, paper = doubling()
    kept, tried = prove(some(), paper, say=lambda _: None)
    assert kept is not None
    assert tried[-1].rejected == "no more"

    def none() -> Any:
        raise Impossible("nothing at all")
        yield

    with pytest.raises(Impossible, match="nothing at all"):
        prove(none(), paper, say=lambda _: None)


# ---- the encoder's file


def test_numbers_that_json_lacks_survive_the_encoder_s_file() -> None:
    held = encoder.Encoder(
        tensor="float64", width=4,
        entries=(
            encoder.Lookup("c", 0, 1, ("NaN", "001"), ((math.inf,), (-math.inf,)), (math.nan,), (2.0,)),
            encoder.Number("x", 1, (encoder.Clip(-math.inf, 3.0), encoder.Impute(math.nan))),
            encoder.Bins("y", 2, 1, (0.0, math.inf), ((1.0,), (2.0,), (math.nan,))),
            encoder.Text("t", 3, ("NaN",)),
        ),
    )  # fmt: skip
    data = encoder.write(held)
    json.loads(data, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert repr(encoder.read(data)) == repr(held)
    with pytest.raises(msgspec.DecodeError):
        encoder.read(b'{"tensor": "float16"}')


# ---- the bundle on disk


def test_the_same_model_gives_the_same_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # how many rows are asked alone depends on how long the original takes, which is all that a clock decides
    monkeypatch.setattr("anyport.golden.rows.budget", lambda *_: (600, 128))
    made = zoo.load()["components"].make()
    first = anyport.pack(made.model, made.data, name="same", out=tmp_path / "a.anyport")
    second = anyport.pack(made.model, made.data, name="same", out=tmp_path / "b.anyport")
    # times are measured anew, and which of the right candidates is fastest may change: nothing else may
    timeless = [msgspec.structs.replace(t, microseconds=None) for t in first.manifest.tried]
    assert timeless == [msgspec.structs.replace(t, microseconds=None) for t in second.manifest.tried]
    same = {m for m in first.manifest.files if first.manifest.files[m] == second.manifest.files.get(m)}
    assert {"golden.npz", "baseline.json", "exact.onnx"} <= same


def test_a_version_stands_for_the_digest_unless_one_is_given(tmp_path: Path) -> None:
    made = zoo.load()["components"].make()
    bare = anyport.pack(made.model, made.data, out=tmp_path / "m.anyport")
    assert bare.version == bare.digest[:12]
    assert anyport.pack(made.model, made.data, out=tmp_path / "m.anyport", version="2.1").version == "2.1"


@pytest.mark.parametrize("name", ["Penguins", "a b", "../x", "", "-x", "x" * 64, "ž"])
def test_a_name_that_no_target_could_use_is_a_mistake(name: str) -> None:
    with pytest.raises(Mistake, match="cannot be a bundle name"):
        bundle.check_name(name)


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "m.anyport"

    def broken() -> None:
        with bundle.writing(target) as work:
            (work / "half").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert list(target.parent.iterdir()) == []
    with bundle.writing(target) as work:
        (work / "bundle.json").write_text("1")
    with bundle.writing(target) as work:
        (work / "bundle.json").write_text("2")
    assert [p.name for p in target.parent.iterdir()] == ["m.anyport"]
    assert (target / "bundle.json").read_text() == "2"


def test_the_real_rows_are_stored_only_when_asked_for(tmp_path: Path) -> None:
    made = zoo.load()["bool_labels"].make()
    real = anyport.pack(made.model, made.data, out=tmp_path / "m.anyport", golden="real", form="graph")
    golden = store.read(real.path / "golden.npz", real.signature)
    assert real.manifest.golden == "real"
    typical = [i for i, w in enumerate(golden.why) if w == "typical"]
    kept = set(golden.inputs["x0"].values[typical].tolist())
    assert kept <= set(made.data[:, 0].tolist())
    assert isinstance(made.model, DecisionTreeClassifier)
