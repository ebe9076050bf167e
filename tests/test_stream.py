"""predict_file: every format in and out, one row for each row, in order, whole or not at all, and resumable."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streaming import SIGNATURE, Ruled, Ruling, records, rule, values

import anyport.stream.answer
from anyport.batch import Column, Outcome
from anyport.errors import BadData, Missing, Mistake
from anyport.signature import Field, Signature
from anyport.stream import TooManyRejects, partial, predict_file, text, writers
from anyport.stream.formats import Opened

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet", ".arrow", ".arrows")
KINDS = pa.schema([
    ("id", pa.string()), ("x", pa.float64()), ("n", pa.int64()), ("city", pa.string()), ("ok", pa.bool_()),
    ("at", pa.timestamp("us")),
])  # fmt: skip


def spelt(value: Any) -> str:
    """One CSV cell; a missing value is nothing at all, an empty string is quoted."""
    if value is None:
        return ""
    if isinstance(value, str):
        return '"' + value.replace('"', '""') + '"' if value == "" or set(value) & set('",\n\t') else value
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def put(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows as a file of the format that its name says."""
    table = pa.Table.from_pylist(rows, KINDS)
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        pq.write_table(table, path, row_group_size=400)
    elif name.endswith(".arrow"):
        with pa.ipc.new_file(path, KINDS) as file:
            file.write_table(table, max_chunksize=300)
    elif name.endswith(".arrows"):
        with pa.ipc.new_stream(path, KINDS) as file:
            file.write_table(table, max_chunksize=300)
    else:
        mark = "\t" if name.endswith(".tsv") else ","
        if name.endswith(".jsonl"):
            words = {math.inf: "Infinity", -math.inf: "-Infinity"}
            lines = [
                json.dumps({k: words.get(v, v) if k == "x" else v for k, v in r.items()}, default=str) for r in rows
            ]
        else:
            lines = [mark.join(KINDS.names), *(mark.join(spelt(v) for v in r.values()) for r in rows)]
        raw = "".join(line + "\n" for line in lines).encode()
        path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def get(path: Path) -> list[dict[str, Any]]:
    """The rows of an output: id, prediction, and the probability of yes."""
    name = path.name.removesuffix(".gz")
    raw = path.read_bytes()
    raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
    if name.endswith(".parquet"):
        rows = pq.read_table(path).to_pylist()
    elif name.endswith(".arrow"):
        rows = pa.ipc.open_file(path).read_all().to_pylist()
    elif name.endswith(".arrows"):
        rows = pa.ipc.open_stream(path).read_all().to_pylist()
    elif name.endswith(".jsonl"):
        rows = [json.loads(line) for line in raw.splitlines()]
        return [{**r, "probability": r["probability"] and r["probability"]["yes"]} for r in rows]
    else:
        reader = csv.DictReader(io.StringIO(raw.decode()), delimiter="\t" if name.endswith(".tsv") else ",")
        rows = [{k: v or None for k, v in r.items()} for r in reader]
    return [
        {"id": r["id"], "prediction": r["prediction"], "probability": r["probability_1"] and float(r["probability_1"])}
        for r in rows
    ]


def expected(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    answers = [rule(r) for r in rows]
    return [
        {"id": r["id"], "prediction": "yes" if p > 0.5 else "no", "probability": p}
        for r, p in zip(rows, answers, strict=True)
    ]


def run(source: Path | str, out: Path | str, predictor: Any = None, **options: Any) -> Any:
    options = {"signature": SIGNATURE, "ids": ["id"], "workers": 2, "batch_rows": 256} | options
    return predict_file(predictor or Ruled(), source, out, **options)


def rejects(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.with_name(out.name + ".rejects.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_in_gives_the_same_answers(suffix: str, tmp_path: Path) -> None:
    rows = records(1500)
    summary = run(put(tmp_path / f"in{suffix}", rows), tmp_path / "out.jsonl")
    assert get(tmp_path / "out.jsonl") == expected(rows)
    assert (summary.rows, summary.rejected, summary.rejects_path) == (1500, 0, None)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([f"in{suffix}", "out.jsonl"])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_out_holds_the_same_answers(suffix: str, tmp_path: Path) -> None:
    rows = records(1500)
    run(put(tmp_path / "in.parquet", rows), tmp_path / f"out{suffix}")
    assert get(tmp_path / f"out{suffix}") == expected(rows)


def test_order_holds_however_long_each_chunk_takes(tmp_path: Path) -> None:
    rows = records(2000)
    source = put(tmp_path / "in.csv", rows)
    run(source, tmp_path / "out.csv", Ruled(seconds=0.02), workers=5, batch_rows=64)
    assert get(tmp_path / "out.csv") == expected(rows)


def test_a_name_that_says_nothing_is_found_out_from_the_bytes(tmp_path: Path) -> None:
    rows = records(20)
    for suffix in SUFFIXES:
        if suffix != ".tsv":
            source = put(tmp_path / f"in{suffix}", rows).rename(tmp_path / "data")
            run(source, tmp_path / "out.csv")
            assert get(tmp_path / "out.csv") == expected(rows)


@pytest.mark.parametrize("mark", [";", "|", "\t"])
def test_other_delimiters_are_seen_in_the_header(mark: str, tmp_path: Path) -> None:
    rows = [r for r in records(50) if not set(r["city"] or "") & set(';|\t,\n"')]
    lines = [mark.join(KINDS.names), *(mark.join(spelt(v) for v in r.values()) for r in rows)]
    (tmp_path / "in.csv").write_text("\n".join(lines))
    run(tmp_path / "in.csv", tmp_path / "out.csv")
    assert get(tmp_path / "out.csv") == expected(rows)


BAD = """id,n,x,city,ok,at
001,1,0.5,"",true,2020-01-01
002,2,,,FALSE,2020-01-01T00:00:00Z
NA,3,abc,NA,true,
"a,b",4.0,1e3,"x ""q"" y
z",true,2020-01-01 00:00:00+02:00
5,5

6,,Infinity,Oslo,maybe,2020-13-01
7,1,,,true,,8
8,0x1F,nan(1),NULL,1,
"""


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("arrow", [True, False])
def test_every_refused_cell_is_named_and_its_row_stays_empty(
    suffix: str, arrow: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "arrow_here", lambda: arrow)
    (tmp_path / "in.csv").write_text(BAD)
    out = tmp_path / f"out{suffix}"
    with pytest.raises(TooManyRejects, match=r"6 of 8 rows refused.*rejects\.jsonl") as caught:
        run(tmp_path / "in.csv", out, max_rejects=5)
    assert (caught.value.exit_code, caught.value.summary.rows, caught.value.summary.rejected) == (2, 8, 6)
    told = [(r["row"], r["column"], r["expected"].split()[0], r["got"]) for r in rejects(out)]
    assert sorted(told) == sorted([
        (2, "x", "float64", "'abc'"), (3, "n", "int64", "'4.0'"), (4, "", "6", "2 cells"), (5, "ok", "bool", "'maybe'"),
        (5, "at", "datetime", "'2020-13-01'"), (5, "n", "int64", "a missing value"), (6, "", "6", "7 cells"),
        (7, "n", "int64", "'0x1F'"), (7, "x", "float64", "'nan(1)'"), (7, "ok", "bool", "'1'"),
    ])  # fmt: skip
    answers = get(out)
    assert [r["prediction"] is None for r in answers] == [False, False, True, True, True, True, True, True]
    assert [r["id"] for r in answers] == ["001", "002", "NA", "a,b", None, "6", None, "8"]


def test_rows_refused_for_several_reasons_are_counted_each_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anyport.stream.answer, "RUN_CELLS", 1)
    rows = records(2000)
    for row in (3, 700, 701, 1999):
        rows[row]["n"] = -5000
    lines = [",".join(spelt(v) for v in r.values()) for r in rows]
    for row in (0, 1, 650, 702, 1500):
        lines[row] = ",".join(spelt(v) for v in {**rows[row], "ok": "maybe"}.values())
    (tmp_path / "in.csv").write_text("\n".join([",".join(KINDS.names), *lines]))
    run(tmp_path / "in.csv", tmp_path / "out.csv", batch_rows=900, max_rejects=-1)
    told = [(r["row"], r["column"]) for r in rejects(tmp_path / "out.csv")]
    assert told == sorted([(r, "n") for r in (3, 700, 701, 1999)] + [(r, "ok") for r in (0, 1, 650, 702, 1500)])
    none = {"prediction": None, "probability": None}
    want = [{"id": r["id"], **none} if i in dict(told) else expected([r])[0] for i, r in enumerate(rows)]
    assert get(tmp_path / "out.csv") == want


def test_infinite_and_absent_answers_are_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signature = Signature(
        inputs=(Field(name="v", dtype="float64"),),
        outputs=(Field(name="y", dtype="float64"), Field(name="t", dtype="string")),
    )

    class Odd:
        def predict(self, inputs: Any, /) -> Outcome:
            with np.errstate(all="ignore"):
                y = np.log(inputs["v"].values)
            return Outcome({"y": Column(y), "t": Column(np.array(["inf", "nan", ""] * 2, object)[: len(y)])}, {})

    (tmp_path / "in.csv").write_text("v\n0\n-1\nInfinity\n1\n")
    for arrow in (True, False):
        monkeypatch.setattr(writers, "arrow_here", lambda arrow=arrow: arrow)
        predict_file(Odd(), tmp_path / "in.csv", tmp_path / "out.csv", signature=signature)
        cells = [line.split(",") for line in (tmp_path / "out.csv").read_text().splitlines()]
        assert [c[0] for c in cells[:-1]] == ["y", "-inf", "nan", "inf"]
        assert float(cells[-1][0]) == 0
        assert [c[1] for c in cells] == ["t", '"inf"', '"nan"', '""', '"inf"']
    predict_file(Odd(), tmp_path / "in.csv", tmp_path / "out.jsonl", signature=signature)
    assert [json.loads(x)["y"] for x in (tmp_path / "out.jsonl").read_text().splitlines()] == [
        "-Infinity",
        None,
        "Infinity",
        0,
    ]


def test_rejects_within_the_allowance_are_no_error(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(BAD)
    for allowed in (6, -1):
        summary = run(tmp_path / "in.csv", tmp_path / "out.csv", max_rejects=allowed)
        assert (summary.rejected, summary.rejects_path) == (6, tmp_path / "out.csv.rejects.jsonl")


def test_a_clean_run_removes_the_rejects_of_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(BAD)
    run(tmp_path / "in.csv", tmp_path / "out.csv", max_rejects=-1)
    run(put(tmp_path / "in.csv", records(3)), tmp_path / "out.csv")
    assert not (tmp_path / "out.csv.rejects.jsonl").exists()


@pytest.mark.parametrize("arrow", [True, False])
def test_ragged_rows_keep_their_place_in_a_long_file(
    arrow: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "arrow_here", lambda: arrow)
    monkeypatch.setattr(text, "BLOCK", 1500)
    rows = records(700)
    lines = [",".join(spelt(v) for v in r.values()) for r in rows]
    ragged = {*range(3, 700, 31), 0, 1, 698, 699}
    lines = ["1,2,3" if i in ragged else line for i, line in enumerate(lines)]
    (tmp_path / "in.csv").write_text("\n".join([",".join(KINDS.names), *lines]))
    summary = run(tmp_path / "in.csv", tmp_path / "out.csv", max_rejects=-1, batch_rows=7)
    assert summary.rows == 700
    assert {r["row"] for r in rejects(tmp_path / "out.csv")} == ragged
    none = {"id": None, "prediction": None, "probability": None}
    want = [none if i in ragged else row for i, row in enumerate(expected(rows))]
    assert get(tmp_path / "out.csv") == want


CELLS = st.text(alphabet="01.eE+-aNif nyx(_:TZ2\u0663", max_size=8) | st.sampled_from(
    ["nan", "NaN", "-inf", "Infinity", "+1", "007", "1_000", "0x1F", "true", "FALSE", "2024-01-01", "-0", "1e-400", "",
     "2024-01-01T01:02:03Z", "2024-01-01 01:02:03.5", "99999999999999999999", "1e400", "20240101", "2024-W01-1"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.none(), CELLS), max_size=12))
def test_both_csv_readers_read_every_cell_alike(cells: list[str | None]) -> None:
    fields = [
        Field(name="f", dtype="float64"), Field(name="s", dtype="float32"), Field(name="i", dtype="int64"),
        Field(name="u", dtype="uint8"), Field(name="b", dtype="bool"), Field(name="t", dtype="string"),
        Field(name="d", dtype="datetime"), Field(name="k", dtype="category", levels=(1, 2)),
        Field(name="l", dtype="category", levels=(0.5, 1.0)), Field(name="c", dtype="category", levels=("a",)),
    ]  # fmt: skip
    lines = [",".join(f.name for f in fields)]
    for cell in cells:
        lines.append(",".join(["" if cell is None else '"' + cell + '"'] * len(fields)))
    raw = "".join(line + "\n" for line in lines).encode()
    seen = []
    for arrow in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(text, "arrow_here", lambda arrow=arrow: arrow)
            file = io.BufferedReader(io.BytesIO(raw))  # type: ignore[arg-type]
            source = text.csv(Opened(file, "csv", None, file), [f.name for f in fields])
            read = [source.decode(chunk, fields, []) for chunk in source.read([f.name for f in fields], 1000)]
            columns = [{n: [repr(v) for v in values(c)] for n, c in part.batch.items()} for part in read]
            seen.append((columns, [part.refused for part in read]))
    assert seen[0][0] == seen[1][0]
    for one, two in zip(seen[0][1], seen[1][1], strict=True):
        assert {r: {w.column for w in why} for r, why in one.items()} == {
            r: {w.column for w in why} for r, why in two.items()
        }


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.text(alphabet='a",\n\r ', max_size=5), min_size=2, max_size=2), max_size=6), st.booleans())
def test_both_csv_readers_split_records_alike(rows: list[list[str]], crlf: bool) -> None:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n" if crlf else "\n", quoting=csv.QUOTE_ALL)
    writer.writerows([["p", "q"], *rows])
    fields = [Field(name="p", dtype="string"), Field(name="q", dtype="string")]
    for arrow in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(text, "arrow_here", lambda arrow=arrow: arrow)
            raw = io.BufferedReader(io.BytesIO(file.getvalue().encode()))  # type: ignore[arg-type]
            source = text.csv(Opened(raw, "csv", None, raw), ["p", "q"])
            read = [source.decode(chunk, fields, []).batch for chunk in source.read(["p", "q"], 1000)]
            assert [list(r) for b in read for r in zip(values(b["p"]), values(b["q"]), strict=True)] == rows


@pytest.mark.parametrize("arrow", [True, False])
@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is empty"),
        (b'id,x,n,city,ok,at\n1,2,3,"cut off', "ends inside a quoted cell"),
        (b"id,x,n,city,ok,at\n1,2,3,\xff\xfe,true,\n", "not UTF-8"),
        (b"id,x,n,city,ok,at\n1,2\n3,\xff\n" * 40, "not UTF-8"),
        (b"id,x,n,city,ok,at\n1,2,3,\xc5", "not UTF-8"),
        ("id,x,n,city,ok,at\n".encode("utf-16"), "UTF-16"),
        (b"id,x,n,city,ok\n", "missing column 'at'"),
        (b"id,x,n,City,ok,at\n", "did you mean 'City'"),
        (b"id,x,n,city,ok,at,target\n", "unknown column 'target'"),
        (b"id,x,n,city,ok,at,x\n", "'x' appears 2 times"),
        (b"key,x,n,city,ok,at\n", "--id id: the input has no such column"),
        (gzip.compress(b"id,x,n,city,ok,at\n" * 1000, mtime=0)[:-20], "damaged|cannot be read"),
        (b"PAR1 this is no parquet PAR1", "Parquet file is damaged"),
        (b'{"id": "1"\n', "first line is no record"),
    ],
)
def test_bad_files_are_one_clear_error_and_leave_nothing(
    raw: bytes, message: str, arrow: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "arrow_here", lambda: arrow)
    (tmp_path / "in").write_bytes(raw)
    with pytest.raises(BadData, match=message):
        run(tmp_path / "in", tmp_path / "out.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_columns_may_stand_in_any_order_and_more_may_be_ignored(tmp_path: Path) -> None:
    rows = records(30)
    swapped = (
        pa.Table.from_pylist(rows, KINDS)
        .select(["at", "city", "id", "ok", "n", "x"])
        .append_column("y", [list(range(30))])
    )
    pq.write_table(swapped, tmp_path / "in.parquet")
    run(tmp_path / "in.parquet", tmp_path / "out.csv", extra="ignore")
    assert get(tmp_path / "out.csv") == expected(rows)


def test_a_column_of_another_type_is_one_error_before_any_work(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(records(30), KINDS)
    table = table.set_column(1, "x", table["x"].cast("string")).set_column(3, "city", table["n"])
    pq.write_table(table, tmp_path / "in.parquet")
    asked = Ruled()
    with pytest.raises(BadData, match="'x' is string, not float64 or missing; 'city' is int64, not string"):
        run(tmp_path / "in.parquet", tmp_path / "out.csv", asked)
    assert asked.calls == 0
    assert [p.name for p in tmp_path.iterdir()] == ["in.parquet"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_rows_in_is_no_rows_out(suffix: str, tmp_path: Path) -> None:
    for source in (".csv", ".parquet", ".arrow", ".arrows"):
        summary = run(put(tmp_path / f"in{source}", []), tmp_path / f"out{suffix}")
        assert summary.rows == 0
        assert get(tmp_path / f"out{suffix}") == []


def test_json_lines_are_held_to_the_first_record(tmp_path: Path) -> None:
    rows = records(6)
    good = [
        json.dumps(r, default=str).replace("-Infinity", '"-Infinity"').replace(" Infinity", ' "Infinity"') for r in rows
    ]
    changed = [
        good[0],
        "",
        json.dumps({**json.loads(good[1]), "n": 1.5, "x": "1"}),
        good[2][:-5],
        json.dumps({k: v for k, v in json.loads(good[3]).items() if k != "city"}),
        json.dumps({**json.loads(good[4]), "zip": 1}),
        "[1]",
        good[5].replace('"n": ', '"n": 1000000000000000000000'),
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(changed))
    run(tmp_path / "in.jsonl", tmp_path / "out.jsonl", max_rejects=-1)
    told = [(r["row"], r["column"]) for r in rejects(tmp_path / "out.jsonl")]
    assert sorted(told) == [(1, "n"), (1, "x"), (2, ""), (3, "city"), (4, "zip"), (5, ""), (6, "n")]
    assert [r["prediction"] is None for r in get(tmp_path / "out.jsonl")] == [False, *[True] * 6]


def test_ids_pass_through_with_their_type(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(records(4), KINDS).set_column(0, "id", pa.array([3, None, 1, 2], "int32"))
    table = table.append_column("tag", pa.array(["a", "b", None, "a"]).dictionary_encode())
    pq.write_table(table, tmp_path / "in.parquet")
    run(tmp_path / "in.parquet", tmp_path / "out.parquet", ids=["tag", "id", "n"])
    made = pq.read_table(tmp_path / "out.parquet")
    assert made.column_names == ["tag", "id", "n", "prediction", "probability_0", "probability_1"]
    assert made.schema.types[:3] == [pa.string(), pa.int32(), pa.int64()]
    assert made.select(["tag", "id", "n"]).to_pylist() == table.select(["tag", "id", "n"]).to_pylist()
    assert made.schema.field("probability_1").metadata[b"label"] == b'"yes"'


def test_an_id_may_not_be_called_like_an_answer(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(records(4), KINDS).append_column("prediction", [["x"] * 4])
    pq.write_table(table, tmp_path / "in.parquet")
    with pytest.raises(Mistake, match="--id prediction: the answers have a column of that name"):
        run(tmp_path / "in.parquet", tmp_path / "out.csv", ids=["prediction"])


def test_a_tensor_may_come_as_one_column_or_in_pieces(tmp_path: Path) -> None:
    signature = Signature(
        inputs=(Field(name="v", dtype="float64", shape=(3,)),), outputs=(Field(name="sum", dtype="float64"),)
    )

    class Sum:
        def predict(self, inputs: Any, /) -> Any:
            return Outcome({"sum": Column(inputs["v"].values.sum(axis=1))}, {})

    (tmp_path / "a.csv").write_text("v_1,v_0,v_2\n20,1,300\n5,4,6\n")
    (tmp_path / "a.jsonl").write_text('{"v": [1, 20, 300]}\n{"v": [4, 5, 6]}\n')
    pq.write_table(pa.table({"v": [[1.0, 20, 300], [4, 5, 6]]}), tmp_path / "a.parquet")
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        predict_file(Sum(), tmp_path / name, tmp_path / "out.csv", signature=signature)
        assert [float(v) for v in (tmp_path / "out.csv").read_text().split()[1:]] == [321, 15]
    (tmp_path / "a.csv").write_text("v_1,v_0\n20,1\n")
    with pytest.raises(BadData, match="missing column 'v_2'"):
        predict_file(Sum(), tmp_path / "a.csv", tmp_path / "out.csv", signature=signature)


def test_tensors_of_free_size_are_answered_by_runs_of_one_size(tmp_path: Path) -> None:
    signature = Signature(
        inputs=(Field(name="v", dtype="float64", shape=(None,)), Field(name="k", dtype="int64")),
        outputs=(Field(name="sum", dtype="float64"), Field(name="scaled", dtype="float64", shape=(None,))),
    )

    class Scale:
        def predict(self, inputs: Any, /) -> Outcome:
            v, k = inputs["v"].values, inputs["k"].values
            return Outcome({"sum": Column(v.sum(axis=1)), "scaled": Column(v * k[:, None])}, {})

    rows: list[dict[str, Any]] = [{"id": str(i), "v": [float(j) for j in range(i * i % 7)], "k": i} for i in range(600)]
    rows[5]["v"], rows[300]["v"], rows[301]["k"] = None, "none", None
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    rows[300]["v"] = None
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    want = [None if r["v"] is None or r["k"] is None else [v * r["k"] for v in r["v"]] for r in rows]
    for source in ("in.jsonl", "in.parquet"):
        for out in ("out.jsonl", "out.parquet"):
            made = tmp_path / out
            predict_file(
                Ruling(Scale(), signature), tmp_path / source, made, signature=signature, ids=["id"], max_rejects=-1
            )
            got = (
                pq.read_table(made).to_pylist()
                if out == "out.parquet"
                else [json.loads(line) for line in made.read_text().splitlines()]
            )
            assert [r["id"] for r in got] == [r["id"] for r in rows]
            assert [r["scaled"] for r in got] == want
            assert [r["sum"] for r in got] == [w if w is None else sum(r["v"]) for w, r in zip(want, rows, strict=True)]
            assert [r["row"] for r in rejects(made)] == [5, 300, 301]


def test_what_fails_in_the_middle_leaves_the_old_output(tmp_path: Path) -> None:
    class Failing(Ruled):
        def predict(self, inputs: Any, /) -> Any:
            if self.calls > 500:
                raise BadData("no more")
            return super().predict(inputs)

    (tmp_path / "out.csv").write_text("before")
    with pytest.raises(BadData, match="no more"):
        run(put(tmp_path / "in.csv", records(2000)), tmp_path / "out.csv", Failing(), batch_rows=100)
    assert (tmp_path / "out.csv").read_text() == "before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.csv", "out.csv"]


def test_the_input_is_never_the_output(tmp_path: Path) -> None:
    source = put(tmp_path / "in.csv", records(2))
    (tmp_path / "link.csv").symlink_to(source)
    for out in (source, tmp_path / "link.csv"):
        with pytest.raises(Mistake, match="is the input itself"):
            run(source, out)


SCRIPT = """
import resource, sys
sys.path.insert(0, {root!r})
from streaming import SIGNATURE, Ruled
from anyport.errors import AnyportError
from anyport.stream import predict_file
limit = {limit}
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    predict_file(Ruled(seconds={seconds}), {source!r}, {out!r}, signature=SIGNATURE, ids=["id"], workers=2,
                 batch_rows={rows}, resume={resume}, progress=lambda *a: print(a[0], flush=True, file=sys.stderr))
except AnyportError as error:
    print(error)
    sys.exit(error.exit_code)
except KeyboardInterrupt:
    sys.exit(130)
"""


def script(source: str | Path, out: str | Path, **options: Any) -> list[str]:
    settled = {"limit": 0, "seconds": 0.0, "rows": 100, "resume": False} | options
    root = str(Path(__file__).parent)
    return [sys.executable, "-c", SCRIPT.format(root=root, source=str(source), out=str(out), **settled)]


def started(command: list[str]) -> subprocess.Popen[bytes]:
    """The process, once it has answered a few chunks."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    for _ in range(4):
        assert process.stderr.readline().strip().isdigit()
    return process


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(blow: signal.Signals, tmp_path: Path) -> None:
    source = put(tmp_path / "in.parquet", records(3000))
    with started(script(source, tmp_path / "out.csv", seconds=0.1)) as process:
        process.send_signal(blow)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert [p.name for p in tmp_path.iterdir()] == ["in.parquet"]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl.gz", ".parquet", ".arrow"])
def test_a_killed_run_goes_on_to_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    rows = records(3000)
    rows[1700]["n"] = -5000
    source, out = put(tmp_path / "in.csv", rows), tmp_path / f"out{suffix}"
    run(source, tmp_path / f"whole{suffix}", batch_rows=100, max_rejects=1)
    with started(script(source, out, seconds=0.1, resume=True)) as process:
        process.kill()
        process.communicate(timeout=30)
    assert not out.exists()
    torn = tmp_path / f"out{suffix}.partial"
    torn.write_bytes(torn.read_bytes()[:-7])
    asked = Ruled()
    summary = run(source, out, asked, batch_rows=100, resume=True, max_rejects=1)
    assert 0 < asked.calls < 3000
    assert (summary.rows, summary.rejected) == (3000, 1)
    assert out.read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()
    assert [r["row"] for r in rejects(out)] == [1700]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["in.csv", f"whole{suffix}", f"whole{suffix}.rejects.jsonl", out.name, out.name + ".rejects.jsonl"]
    )


def test_a_partial_that_is_torn_anywhere_is_read_to_its_last_whole_chunk(tmp_path: Path) -> None:
    path = tmp_path / "p"
    frames = [partial.Frame(10 + i, i, b"payload" * i, b"said") for i in range(5)]
    with partial.begin(path, {"a": 1})[0] as file:
        for frame in frames:
            partial.add(file, frame)
    raw = path.read_bytes()
    seen = set()
    for end in range(len(raw) + 1):
        path.write_bytes(raw[:end])
        file, held = partial.begin(path, {"a": 1})
        file.close()
        assert held == [(f.rows, f.rejected) for f in frames[: len(held)]]
        seen.add(len(held))
    assert seen == {0, 1, 2, 3, 4, 5}
    path.write_bytes(raw[:-30] + b"\0" + raw[-29:])
    with partial.begin(path, {"a": 1})[0] as file:
        file.seek(0)
        file.readline()
        assert len(list(partial.frames(file))) == 4


@pytest.mark.parametrize("changed", ["input", "ids", "model"])
def test_a_partial_of_another_run_is_not_gone_on_with(changed: str, tmp_path: Path) -> None:
    class Stopping(Ruled):
        def predict(self, inputs: Any, /) -> Any:
            if self.calls > 500:
                raise KeyboardInterrupt
            return super().predict(inputs)

    source = put(tmp_path / "in.csv", records(2000))
    with pytest.raises(KeyboardInterrupt):
        run(source, tmp_path / "out.csv", Stopping(), resume=True, batch_rows=50, model="one")
    assert (tmp_path / "out.csv.partial").exists()
    if changed == "input":
        put(source, records(2000, seed=1))
    options = {"ids": ["id", "n"] if changed == "ids" else ["id"], "model": "two" if changed == "model" else "one"}
    with pytest.raises(Mistake, match=f"of another run: .*{changed}.* differs"):
        run(source, tmp_path / "out.csv", resume=True, batch_rows=50, extra="refuse", **options)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_full_disk_is_a_clear_error_and_leaves_nothing(suffix: str, tmp_path: Path) -> None:
    source = put(tmp_path / "in.parquet", records(3000))
    done = subprocess.run(script(source, tmp_path / f"out{suffix}", limit=20_000), capture_output=True, check=False)
    assert done.returncode == 2, done.stderr.decode()
    assert b"cannot write" in done.stdout
    assert b"free some space" in done.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["in.parquet"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_standard_input_and_output(suffix: str, tmp_path: Path) -> None:
    rows = records(1000)
    raw = put(tmp_path / f"in{suffix}", rows).read_bytes()
    done = subprocess.run(script("-", "-"), input=raw, capture_output=True, check=True)
    lines = ".jsonl" if "jsonl" in suffix else ".csv"
    (tmp_path / f"piped{lines}").write_bytes(done.stdout)
    assert get(tmp_path / f"piped{lines}") == expected(rows)


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    source = put(tmp_path / "in.csv", records(5000))
    process = subprocess.Popen(script(source, "-", seconds=0.01), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(100)
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=30) == 2
    assert b"Traceback" not in said
    assert b"Exception" not in said


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    code = """
import sys
import numpy as np
from anyport.batch import Column, Outcome, rows
from anyport.signature import Field, Signature
from anyport.stream import predict_file
signature = Signature(inputs=(Field(name="x", dtype="float64"), Field(name="t", dtype="string")),
                      outputs=(Field(name="prediction", dtype="float64"),))
class Twice:
    def predict(self, batch):
        return Outcome({"prediction": Column(batch["x"].values * 2)}, {})
predict_file(Twice(), sys.argv[1], sys.argv[2], signature=signature, workers=2)
# not ru_maxrss, which a child inherits from its parent
print(next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
    peaks = {}
    for suffix in (".csv", ".parquet"):
        for count in (200_000, 1_600_000):
            table = pa.table({"x": range(count), "t": [f"text {i} " * 12 for i in range(1000)] * (count // 1000)})
            source = tmp_path / f"in{suffix}"
            if suffix == ".csv":
                pa.csv.write_csv(table, source)
            else:
                pq.write_table(table, source, row_group_size=count)
            command = [sys.executable, "-c", code, str(source), str(tmp_path / f"out{suffix}")]
            peaks[suffix, count] = int(subprocess.run(command, capture_output=True, check=True).stdout)
        assert peaks[suffix, 1_600_000] < peaks[suffix, 200_000] + 60, peaks


def test_without_pyarrow_csv_and_json_lines_still_work(tmp_path: Path) -> None:
    rows = records(300)
    prefix = "import sys; sys.modules['pyarrow'] = None; "
    for suffix in (".csv", ".csv.gz", ".jsonl"):
        for out in (".csv", ".jsonl"):
            command = script(put(tmp_path / f"in{suffix}", rows), tmp_path / f"out{out}")
            command[-1] = prefix + command[-1]
            subprocess.run(command, capture_output=True, check=True)
            assert get(tmp_path / f"out{out}") == expected(rows)
    command = script(put(tmp_path / "in.parquet", rows), tmp_path / "out.csv")
    command[-1] = prefix + command[-1]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == Missing.exit_code
    assert b"pip install 'anyport[arrow]'" in done.stdout


def test_progress_says_rows_rate_and_share(tmp_path: Path) -> None:
    told: list[tuple[int, float, float | None]] = []
    run(put(tmp_path / "in.parquet", records(1000)), tmp_path / "out.csv", progress=lambda *a: told.append(a))
    assert [t[0] for t in told] == sorted(t[0] for t in told)
    assert (told[-1][0], told[-1][2]) == (1000, 1.0)
    assert all(rate > 0 for _, rate, _ in told)


def test_links_are_followed_and_pipes_are_written(tmp_path: Path) -> None:
    source = put(tmp_path / "in.csv", records(10))
    (tmp_path / "real.csv").write_text("old")
    os.chmod(tmp_path / "real.csv", 0o640)
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    run(source, tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert get(tmp_path / "real.csv") == expected(records(10))
    assert (tmp_path / "real.csv").stat().st_mode & 0o777 == 0o640
    assert run(source, "/dev/null", output_format="csv").rows == 10
    assert not Path("/dev/null").is_file()
