"""Wire contracts: every one gives the original's answers, and says in its own words what is wrong with a request."""

from __future__ import annotations

import base64
import csv
import io
import json
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pytest
import served
from up import Up, same, up

from anyport import bundle
from anyport.errors import Mistake
from anyport.serve import arguments, keys
from anyport.serve.settings import Settings

MODEL = served.fitted()
ROWS = served.rows(60, seed=5)
ANSWERS = served.ask(MODEL, ROWS)
NAMES = [field.name for field in served.SIGNATURE.inputs]
LISTS = [[row[name] for name in NAMES] for row in ROWS]
LABELS = [answer["prediction"] for answer in ANSWERS]
COLUMNS = {name: [row[name] for row in ROWS] for name in NAMES}
FLAT = ["prediction", *(f"probability_{i}" for i in range(3))]
STREAM = "application/vnd.apache.arrow.stream"
FILE = "application/vnd.apache.arrow.file"
LINES = "application/x-ndjson"
VERTEX = "/v1/endpoints/7/deployedModels/8:predict"
SPLIT = {"columns": NAMES, "index": list(range(len(ROWS))), "data": LISTS}


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served.bundle(tmp_path_factory.mktemp("contracts") / "homes", MODEL)


@pytest.fixture(scope="module")
def live(homes: Path) -> Iterator[Up]:
    with up(homes, predict_route="/vertex", health_route="/vertex/health") as running:
        yield running


def listed(rows: list[dict[str, Any]], *, header: bool = True) -> bytes:
    """CSV by the standard library's writer."""
    text = io.StringIO()
    writer = csv.writer(text)
    if header:
        writer.writerow(NAMES)
    writer.writerows([["" if row[n] is None else row[n] for n in NAMES] for row in rows])
    return text.getvalue().encode()


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=pa.schema([
        ("age", pa.float64()), ("rooms", pa.int64()), ("home city", pa.string()), ("plan", pa.string()),
        ("owner", pa.bool_()),
    ]))  # fmt: skip


def ipc(data: pa.Table, kind: str = STREAM) -> bytes:
    sink = io.BytesIO()
    with (pa.ipc.new_stream if kind == STREAM else pa.ipc.new_file)(sink, data.schema) as writer:
        writer.write_table(data)
    return sink.getvalue()


def body(kind: str, rows: list[dict[str, Any]]) -> bytes:
    """Rows in a media type, written by libraries that are not ours."""
    if kind == "text/csv":
        return listed(rows)
    if "arrow" in kind:
        return ipc(table(rows), kind)
    if kind == "application/json":
        return json.dumps(rows).encode()
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def flat(kind: str, data: bytes) -> list[dict[str, Any]]:
    """The answers in a reply, one dict a row, as tables have them (probability_0 …)."""
    if kind.startswith("text/csv"):
        return list(csv.DictReader(io.StringIO(data.decode())))
    if "arrow" in kind:
        return list((pa.ipc.open_stream if kind == STREAM else pa.ipc.open_file)(data).read_all().to_pylist())
    rows = json.loads(data) if kind == "application/json" else [json.loads(line) for line in data.splitlines()]
    return [
        {"prediction": row["prediction"], **({"errors": row["errors"]} if "errors" in row else {}),
         **{f"probability_{i}": (row["probability"] or {}).get(label) for i, label in enumerate(served.LABELS)}}
        for row in rows
    ]  # fmt: skip


def equal(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    """Whether flattened answers are the original's."""
    labels = [row["prediction"] for row in found] == [answer["prediction"] for answer in expected]
    got = np.array([[float(row[f"probability_{i}"]) for i in range(3)] for row in found]).reshape(-1, 3)
    return labels and np.allclose(got, [list(a["probability"].values()) for a in expected], rtol=0, atol=1e-9)


KINDS = ["application/json", "text/csv", LINES, "application/jsonlines", "application/jsonl", STREAM, FILE]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["/predict", "/models/homes/predict", "/invocations"])
def test_an_answer_has_the_format_of_the_question(live: Up, kind: str, path: str) -> None:
    status, headers, data = live.raw(body(kind, ROWS), path, Content_Type=kind)
    assert status == 200, data
    assert headers["content-type"].partition(";")[0] == kind
    assert equal(flat(kind, data), ANSWERS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wanted", KINDS)
def test_accept_chooses_another_format(live: Up, kind: str, wanted: str) -> None:
    status, headers, data = live.raw(body(kind, ROWS[:4]), Content_Type=kind, Accept=wanted)
    assert status == 200, data
    assert headers["content-type"].partition(";")[0] == wanted
    assert equal(flat(wanted, data), ANSWERS[:4])


@pytest.mark.parametrize(
    ("accept", "got"),
    [
        ("*/*", "application/json"),
        ("text/html, */*;q=0.1", "application/json"),
        ("text/csv;q=0.9, application/json;q=0.8", "text/csv"),
        ("text/csv, application/json", "application/json"),
        ("text/*", "text/csv"),
        ("application/*;q=0.4, text/*;q=0.5", "text/csv"),
        ("application/json;q=0, */*", "text/csv"),
        (f"{STREAM}; q=1.000 , text/csv;q=0.999", STREAM),
        ("TEXT/CSV", "text/csv"),
        ("text/html", 406),
        ("application/json;q=0", 406),
        ("text/csv;q=2", 400),
        ("text/csv;q=high", 400),
    ],
)
def test_accept_is_read_with_its_weights(live: Up, accept: str, got: str | int) -> None:
    status, headers, data = live.raw(json.dumps(ROWS[0]).encode(), Accept=accept)
    if isinstance(got, int):
        assert status == got
        assert json.loads(data)["fix"]
    else:
        assert (status, headers["content-type"].partition(";")[0]) == (200, got)


@pytest.mark.parametrize("kind", KINDS)
def test_partial_answers_say_row_by_row_what_is_wrong(live: Up, kind: str) -> None:
    asked = [ROWS[0], {**ROWS[1], "plan": "silver"}, {**ROWS[2], "age": 2e6}, ROWS[3]]
    status, _, data = live.raw(body(kind, asked), Content_Type=kind)
    assert status == 422
    assert [(e["row"], e["column"]) for e in json.loads(data)["errors"]] == [(1, "plan"), (2, "age")]
    status, _, data = live.raw(body(kind, asked), "/predict?partial=true", Content_Type=kind)
    assert status == 200
    found = flat(kind, data)
    assert equal([found[0], found[3]], [ANSWERS[0], ANSWERS[3]])
    assert not any(found[row].get(name) for row in (1, 2) for name in FLAT)
    said = [row.get("errors") for row in found]
    told = [json.loads(one) if isinstance(one, str) and one else one or [] for one in said]
    assert [[e["column"] for e in one] for one in told] == [[], ["plan"], ["age"], []]


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_are_answered_with_none(live: Up, kind: str) -> None:
    status, _, data = live.raw(body(kind, []), Content_Type=kind)
    assert status == 200, data
    assert flat(kind, data) == []


def test_only_an_empty_unquoted_cell_is_missing(live: Up) -> None:
    lines = [b'"home city",owner,plan,rooms,age', b'NA,true,gold,2,""', b",true,gold,2,", b'"",TRUE,gold,2,']
    status, _, data = live.raw(b"\r\n".join(lines), "/predict?partial=true", Content_Type="text/csv")
    assert status == 200
    found = flat("text/csv", data)
    assert [e["column"] for e in json.loads(found[0]["errors"])] == ["age"]
    row = {"owner": True, "plan": "gold", "rooms": 2, "age": None}
    assert equal(found[1:], served.ask(MODEL, [{**row, "home city": None}, {**row, "home city": ""}]))


def test_csv_works_without_pyarrow_and_arrow_says_what_to_install(live: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("serve.formats", "stream.text", "stream.writers"):
        monkeypatch.setattr(f"anyport.{module}.arrow_here", lambda: False)
    status, _, data = live.raw(listed(ROWS), Content_Type="text/csv")
    assert status == 200
    assert equal(flat("text/csv", data), ANSWERS)
    status, _, data = live.raw(ipc(table(ROWS)), Content_Type=STREAM)
    assert (status, "pip install 'anyport[arrow]'" in json.loads(data)["fix"]) == (415, True)
    assert live.raw(listed(ROWS), Content_Type="text/csv", Accept=STREAM)[0] == 406


def huge() -> bytes:
    """A stream of 2**31 - 1 rows that cost no bytes."""
    schema = pa.schema([(name, pa.null()) for name in NAMES])
    nothing = pa.Array.from_buffers(pa.null(), (1 << 31) - 1, [None])
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays([nothing] * len(NAMES), schema=schema))
    return sink.getvalue()


def crooked() -> bytes:
    """A stream whose text column points outside its own bytes."""
    honest = np.arange(9, dtype=np.int32) * 11
    lying = np.array([0, *[1 << 28] * 8], np.int32)
    data = ipc(table([{**row, "home city": "eleven text"} for row in ROWS[:8]]))
    assert data.count(honest.tobytes()) == 1
    return data.replace(honest.tobytes(), lying.tobytes())


@pytest.mark.parametrize(
    ("status", "kind", "asked"),
    [
        (400, "text/csv", b""),
        (400, "text/csv", listed(ROWS)[:-1] + b'"'),
        (400, "text/csv", b'"age\n'),
        (400, "text/csv", listed(ROWS).replace(b"gold", b"g\xffld")),
        (422, "text/csv", b"age,rooms\n1,2\n"),
        (422, "text/csv", b"age," + listed(ROWS)),
        (422, "text/csv", listed(ROWS) + b"1,2\n"),
        (415, "text/csv; charset=latin-1", listed(ROWS)),
        (422, LINES, b"{}\n[]\n{"),
        (422, LINES, b"\xff\n"),
        (400, STREAM, b""),
        (400, STREAM, listed(ROWS)),
        (400, STREAM, ipc(table(ROWS))[:-400]),
        (400, STREAM, huge()),
        (400, STREAM, crooked()),
        (400, FILE, ipc(table(ROWS), FILE)[:-20]),
        (422, STREAM, ipc(table(ROWS).drop_columns("age"))),
        (422, STREAM, ipc(table(ROWS).set_column(0, "age", pa.array(["x"] * len(ROWS))))),
    ],
)
def test_damaged_tables_are_the_callers_fault(live: Up, status: int, kind: str, asked: bytes) -> None:
    got, _, data = live.raw(asked, Content_Type=kind)
    assert got == status, data
    assert json.loads(data)["what"]
    assert live.raw(listed(ROWS[:1]), Content_Type="text/csv")[0] == 200


def test_each_bad_line_is_told(live: Up) -> None:
    lines = b"\n".join([json.dumps(ROWS[0]).encode(), b"{", b"", b"3", json.dumps(ROWS[1]).encode()])
    status, _, data = live.raw(lines, "/predict?partial=true", Content_Type=LINES)
    assert status == 200
    found = flat(LINES, data)
    assert equal([found[0], found[3]], ANSWERS[:2])
    assert [e["expected"][:13] for row in found[1:3] for e in row["errors"]] == ["a JSON object", "an object wit"]


# SageMaker


def test_sagemaker_probes(live: Up, homes: Path) -> None:
    assert live.raw(None, "/ping", method="GET")[::2] == (200, b"")
    found = live.ask(None, "/execution-parameters", method="GET")[2]
    assert found == {"MaxConcurrentTransforms": 1, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 16}
    with up(homes, load=False) as asleep:
        assert asleep.raw(None, "/ping", method="GET")[::2] == (503, b"")
        assert asleep.raw(None, "/health", method="GET")[0] == 503


def test_csv_on_invocations_has_a_header_where_the_question_has_one(live: Up) -> None:
    for header in (False, True):
        status, _, data = live.raw(listed(ROWS, header=header), "/invocations", Content_Type="text/csv")
        assert status == 200, data
        lines = data.splitlines()
        assert len(lines) == len(ROWS) + header  # batch transforms join records by line
        assert (lines[0] == b",".join(map(str.encode, FLAT))) == header or lines[0].startswith(b'"prediction"')
        found = [dict(zip(FLAT, row, strict=True)) for row in csv.reader(io.StringIO(data.decode()))][header:]
        assert equal(found, ANSWERS)


def test_a_header_on_invocations_may_be_in_any_order(live: Up) -> None:
    order = NAMES[::-1]
    text = io.StringIO()
    writer = csv.DictWriter(text, order)
    writer.writeheader()
    writer.writerows(ROWS)
    data = text.getvalue().encode()
    assert equal(flat("text/csv", live.raw(data, "/invocations", Content_Type="text/csv")[2]), ANSWERS)


def test_json_rows_on_invocations_are_answered_as_on_predict(live: Up) -> None:
    for asked in (ROWS[0], ROWS[:3], {"columns": COLUMNS}):
        assert live.ask(asked, "/invocations")[2] == live.ask(asked)[2]
    status, _, data = live.raw(json.dumps(ROWS).encode(), "/invocations", Accept="text/csv")
    assert status == 200
    assert len(data.splitlines()) == len(ROWS)


def test_models_come_and_go_through_the_multi_model_api(homes: Path, tmp_path: Path) -> None:
    other = served.bundle(tmp_path / "other", MODEL, name="flats")
    with up(homes, contract="sagemaker") as running:
        assert running.ask(None, "/models/a%2Fb", method="GET")[0] == 404
        assert running.ask(ROWS[0], "/models/a%2Fb/invoke")[0] == 404
        asked = {"model_name": "a/b", "url": str(other)}
        assert running.ask(asked, "/models")[::2] == (200, {"modelName": "a/b", "modelUrl": str(other)})
        assert running.ask(asked, "/models")[0] == 409
        names = [m["modelName"] for m in running.ask(None, "/models", method="GET")[2]["models"]]
        assert names == ["homes", "a/b"]
        page = running.ask(None, "/models?limit=1", method="GET")[2]
        assert (len(page["models"]), page["nextPageToken"]) == (1, "1")
        page = running.ask(None, "/models?limit=1&next_page_token=1", method="GET")[2]
        assert ([m["modelName"] for m in page["models"]], "nextPageToken" in page) == (["a/b"], False)
        status, _, data = running.raw(
            listed(ROWS, header=False), "/models/a%2Fb/invoke", Content_Type="text/csv",
            X_Amzn_SageMaker_Target_Model="b.tar.gz",
        )  # fmt: skip
        assert status == 200
        assert [line.split(b",")[0].strip(b'"').decode() for line in data.splitlines()] == LABELS
        assert same(running.ask(ROWS[0], "/models/a%2Fb/predict")[2], ANSWERS[0])
        for name in ("a%2Fb", "homes"):
            assert running.ask(None, f"/models/{name}", method="DELETE")[0] == 200
            assert running.ask(None, f"/models/{name}", method="DELETE")[0] == 404
        assert running.ask(ROWS[0])[0] == 404  # the short cut of the model of the start is closed, too
        assert running.ask(None, "/models", method="GET")[2] == {"models": []}
        assert running.raw(None, "/ping", method="GET")[0] == 200
        assert running.ask({"model_name": "homes", "url": str(homes)}, "/models")[0] == 200
        assert same(running.ask(ROWS[0])[2], ANSWERS[0])


def test_models_that_cannot_be_loaded(homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anyport.serve.model import Served

    with up(homes, contract="sagemaker") as running:
        status, _, said = running.ask({"model_name": "a", "url": str(tmp_path)}, "/models")
        assert (status, said["error"]) == (400, "BadBundle")
        for asked in (b"{", b"[]", {"model_name": "a"}, {"model_name": "", "url": "/"}, {"model_name": 3, "url": "/"}):
            assert running.ask(asked, "/models")[0] == 400
        assert running.ask(None, "/models?limit=-1", method="GET")[0] == 400
        with monkeypatch.context() as patch:
            for error in (MemoryError(), RuntimeError("std::bad_alloc")):
                patch.setattr(Served, "load", raising(error))
                assert running.ask({"model_name": "a", "url": str(homes)}, "/models")[0] == 507
            patch.setattr(Served, "load", raising(RuntimeError("our fault")))
            assert running.ask({"model_name": "a", "url": str(homes)}, "/models")[0] == 500
        assert running.ask({"model_name": "a", "url": str(homes)}, "/models")[0] == 200


def raising(error: Exception) -> Any:
    def load(*args: Any, **named: Any) -> None:
        raise error

    return load


def test_models_is_nothing_without_the_contract(live: Up) -> None:
    assert live.ask(None, "/models", method="GET")[0] == 404
    assert live.ask({}, "/models/homes/invoke")[0] == 404


# MLflow


@pytest.mark.parametrize(
    "asked",
    [
        {"dataframe_split": SPLIT},
        {"dataframe_split": {"columns": NAMES[::-1], "data": [row[::-1] for row in LISTS]}},
        {"dataframe_records": ROWS},
        {"instances": ROWS},
        {"instances": LISTS, "params": {"ignored": True}},
        {"inputs": COLUMNS, "params": None},
        {"inputs": LISTS},
        {"inputs": ROWS},
    ],
)
def test_mlflows_keys_get_mlflows_reply(live: Up, asked: dict[str, Any]) -> None:
    assert live.ask(asked, "/invocations")[2] == {"predictions": LABELS}


def test_mlflow_probes(live: Up) -> None:
    import anyport

    assert live.raw(None, "/health", method="GET")[::2] == (200, b"\n")
    assert live.raw(None, "/version", method="GET")[2].decode() == anyport.__version__


# Vertex AI


@pytest.mark.parametrize("path", ["/vertex", VERTEX])
def test_vertex(live: Up, path: str) -> None:
    for instances in (ROWS, LISTS, [*ROWS[:30], *LISTS[30:]]):
        found = live.ask({"instances": instances, "parameters": {}}, path)[2]
        assert list(found) == ["predictions"]
        assert all(same(g, e) for g, e in zip(found["predictions"], ANSWERS, strict=True))
    assert live.ask(None, "/vertex/health", method="GET")[0] == 200
    found = live.ask({"instances": [ROWS[0], {**ROWS[1], "age": "old"}]}, path)
    assert found[0] == 400
    violation = found[2]["error"]["details"][0]["fieldViolations"][0]
    assert violation["field"] == "instances[1].age"


def test_vertexs_route_may_be_one_of_ours(homes: Path) -> None:
    with up(homes, predict_route="/predict", health_route="/ping") as running:
        found = running.ask({"instances": ROWS}, "/predict")[2]["predictions"]
        assert all(same(g, e) for g, e in zip(found, ANSWERS, strict=True))
        assert running.ask(None, "/ping", method="GET")[0] == 200


# Azure ML


def test_azure(live: Up) -> None:
    for asked in (ROWS, {"data": ROWS}, {"data": LISTS}):
        found = live.ask(asked, "/score")[2]
        assert all(same(g, e) for g, e in zip(found, ANSWERS, strict=True))
    for data in (SPLIT, LISTS, COLUMNS, {"data": LISTS}):
        assert live.ask({"input_data": data}, "/score")[2] == LABELS
    for row, answer in zip(ROWS[:10], ANSWERS[:10], strict=True):
        query = urlencode({n: v if isinstance(v, str) else json.dumps(v) for n, v in row.items()})
        assert same(live.ask(None, f"/score?{query}", method="GET")[2], answer)
    assert live.raw(None, "/score", method="OPTIONS")[::2] == (200, b"")


def test_azures_swagger_names_the_columns(live: Up) -> None:
    for version, at in (("", "definitions"), ("?version=2.0", "definitions"), ("?version=3", "components")):
        found = live.ask(None, f"/swagger.json{version}", method="GET")[2]
        row = (found[at] if at == "definitions" else found[at]["schemas"])["Row"]
        assert list(row["properties"]) == NAMES
        assert live.ask([row["example"]], "/score")[0] == 200
        assert found["paths"]["/score"]["post"]["operationId"] == "RunMLService"
        null = "x-nullable" if at == "definitions" else "nullable"
        assert [n for n, cell in row["properties"].items() if null in cell] == ["age", "home city"]
        resolved(found)
    assert live.ask(None, "/swagger.json?version=4", method="GET")[0] == 404


def resolved(document: Any) -> int:
    """How many references a document holds; all of them lead somewhere."""

    def walk(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                yield value["$ref"]
            for one in value.values():
                yield from walk(one)
        elif isinstance(value, list):
            for one in value:
                yield from walk(one)

    count = 0
    for ref in walk(document):
        found = document
        for part in ref.removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/")]
        count += 1
    assert count
    return count


# TensorFlow Serving, KServe v1


@pytest.mark.parametrize("path", ["/v1/models/homes", "/v1/models/homes/versions/{version}"])
def test_tensorflow_serving(live: Up, homes: Path, path: str) -> None:
    version = bundle.read(homes).version
    path = path.format(version=version)
    for instances in (ROWS, LISTS):
        found = live.ask({"instances": instances, "signature_name": "serving_default"}, f"{path}:predict")[2]
        assert [one["prediction"] for one in found["predictions"]] == LABELS
        got = [one["probability"] for one in found["predictions"]]
        assert np.allclose(got, [list(a["probability"].values()) for a in ANSWERS], rtol=0, atol=1e-9)
    found = live.ask({"inputs": COLUMNS}, f"{path}:predict")[2]["outputs"]
    assert found["prediction"] == LABELS
    assert np.allclose(found["probability"], [list(a["probability"].values()) for a in ANSWERS], rtol=0, atol=1e-9)
    assert live.ask(None, path, method="GET")[2] == {
        "model_version_status": [
            {"version": version, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ],
        "name": "homes", "ready": True,
    }  # fmt: skip
    said = live.ask(None, f"{path}/metadata", method="GET")[2]
    made = said["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert [made["inputs"][n]["dtype"] for n in NAMES] == ["DT_DOUBLE", "DT_INT64", "DT_STRING", "DT_STRING", "DT_BOOL"]
    assert [dim["size"] for dim in made["outputs"]["probability"]["tensor_shape"]["dim"]] == ["-1", "3"]


def test_tensorflow_serving_takes_bytes_and_any_content_type(live: Up) -> None:
    city = {"b64": base64.b64encode("東京".encode()).decode()}
    row = {**ROWS[0], "home city": "東京"}
    status, _, found = live.ask(
        {"instances": [{**row, "home city": city}]}, "/v1/models/homes:predict",
        Content_Type="application/x-www-form-urlencoded",
    )  # fmt: skip
    assert status == 200
    assert found["predictions"][0]["prediction"] == served.ask(MODEL, [row])[0]["prediction"]


def test_kserve_lists_names(live: Up) -> None:
    assert live.ask(None, "/v1/models", method="GET")[2] == {"models": ["homes"]}


# errors

SHAPES = {
    "/invocations": lambda said: isinstance(said["error_code"], str) and said["message"] and said["what"],
    "/vertex": lambda said: said["error"]["message"] and said["error"]["status"] and said["error"]["code"],
    VERTEX: lambda said: said["error"]["message"] and said["error"]["status"] and said["error"]["code"],
    "/score": lambda said: said["message"],
    "/v1/models/homes:predict": lambda said: list(said) == ["error"] and said["error"],
}
BAD: list[tuple[str, Any, int]] = [
    ("*", b"{", 400),
    ("*", b"", 400),
    ("*", b"\xff", 400),
    ("*", b"[" * 5000, 400),
    ("*", b"3", 400),
    ("*", b"null", 400),
    ("*", b'"text"', 400),
    ("*", b"[3]", 400),
    ("*", {}, 400),
    ("*", {"instances": 3}, 400),
    ("*", {"instances": None}, 400),
    ("*", {"instances": "rows"}, 400),
    ("*", {"instances": [3, None, "a", [], {}, [[1]]]}, 400),
    ("*", {"instances": [{**ROWS[0], "more": 1}]}, 400),
    ("*", {"instances": [{**ROWS[0], "age": {"b64": 3}}]}, 400),
    ("*", {"instances": [[*LISTS[0], 1]]}, 400),
    ("*", {"instances": ROWS, "what": 1}, 400),
    ("*", b'{"instances": [{"age": NaN}]}', 400),
    ("/invocations", {"instances": ROWS, "inputs": COLUMNS}, 400),
    ("/invocations", {"dataframe_split": {"columns": NAMES}}, 400),
    ("/invocations", {"dataframe_split": {"columns": [*NAMES, "age"], "data": []}}, 400),
    ("/invocations", {"dataframe_split": {"columns": [1, {}], "data": []}}, 400),
    ("/invocations", {"dataframe_split": {"columns": NAMES, "data": [[1]]}}, 400),
    ("/invocations", {"dataframe_split": {"columns": NAMES, "data": [], "orient": 1}}, 400),
    ("/invocations", {"dataframe_records": {"age": 1}}, 400),
    ("/invocations", {"inputs": {"age": [1]}}, 400),
    ("/invocations", {"inputs": {**COLUMNS, "age": [1]}}, 400),
    ("/invocations", {"inputs": dict.fromkeys(NAMES, 1)}, 400),
    ("/invocations", {"inputs": LISTS, "params": 3}, 400),
    ("/vertex", {"instances": ROWS, "parameters": {"top": 3}}, 400),
    ("/vertex", ROWS, 400),
    ("/score", {"data": 3}, 400),
    ("/score", {"data": ROWS, "input_data": ROWS}, 400),
    ("/score", {"input_data": {"columns": NAMES[:2], "data": []}}, 400),
    ("/score", {"input_data": {"index": []}}, 400),
    ("/score?partial=perhaps", ROWS, 400),
    ("/v1/models/homes:predict", {"instances": ROWS, "inputs": COLUMNS}, 400),
    ("/v1/models/homes:predict", {"instances": ROWS, "signature_name": "other"}, 400),
    ("/v1/models/homes:predict", {"instances": [{"b64": "not base64"}]}, 400),
    ("/v1/models/homes:predict", {"instances": [{**ROWS[0], "home city": {"b64": "/w=="}}]}, 400),
    ("/v1/models/homes:classify", {"examples": []}, 400),
    ("/v1/models/homes/versions/9:regress", {"examples": []}, 404),
    ("/v1/models/other:predict", {"instances": ROWS}, 404),
    ("/v1/models/homes/versions/9:predict", {"instances": ROWS}, 404),
]


@pytest.mark.parametrize(("path", "asked", "status"), BAD)
def test_malformed_input_is_refused_in_the_contracts_own_words(live: Up, path: str, asked: Any, status: int) -> None:
    for one in SHAPES if path == "*" else [path]:
        got, headers, said = live.ask(asked, one)
        assert got == status, (one, said)
        assert headers["content-type"] == "application/json"
        shape = SHAPES.get(one.partition("?")[0]) or SHAPES["/v1/models/homes:predict"]
        assert shape(said), (one, said)
        if got == 400 and one == "/vertex":
            assert said["error"]["code"] == 400


@pytest.mark.parametrize("path", SHAPES)
def test_every_wrong_cell_is_named(live: Up, path: str) -> None:
    said = live.raw(json.dumps({"instances": [ROWS[0], {**ROWS[1], "age": "old", "plan": "silver"}]}).encode(), path)
    if path == "/score":
        said = live.raw(json.dumps([ROWS[0], {**ROWS[1], "age": "old", "plan": "silver"}]).encode(), path)
    assert said[0] == 400
    text = json.loads(said[2])
    assert all(word in json.dumps(text) for word in ("row 1", "age", "plan", "one of 'basic', 'gold'", "silver"))


@pytest.mark.parametrize("path", SHAPES)
def test_other_refusals_have_the_contracts_shape_too(homes: Path, tmp_path: Path, path: str) -> None:
    file = tmp_path / "keys"
    file.write_text("secret\n")
    with up(homes, keys=keys.read(file), predict_route="/vertex", max_body=100) as running:
        status, headers, said = running.ask({}, path)
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        assert SHAPES[path](said)
        allowed = {"Authorization": "Bearer secret"}
        status, _, said = running.ask(b" " * 101, path, **allowed)
        assert status == 413
        assert SHAPES[path](said)
        status, _, said = running.ask(b"{}", path, Content_Encoding="br", **allowed)
        assert status == 415
        assert SHAPES[path](said)


def test_a_model_that_fails_is_a_500_in_every_contract(live: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live.app.site.models[0].predictor, "predict", raising(RuntimeError("secret reason")))
    for path, shape in SHAPES.items():
        status, _, said = live.ask(ROWS if path == "/score" else {"instances": ROWS}, path)
        assert status == 500
        assert shape(said)
        assert "secret" not in json.dumps(said)


# settings and description


def test_what_clouds_say_in_variables_is_heard() -> None:
    parser = ArgumentParser()
    arguments.add(parser)

    def found(environ: dict[str, str], *argv: str) -> Settings:
        return arguments.settings(parser.parse_args(argv), environ)

    vertex = {"AIP_HTTP_PORT": "9090", "AIP_PREDICT_ROUTE": "/v1/e:predict", "AIP_HEALTH_ROUTE": "/v1/e"}
    said = found(vertex)
    assert (said.host, said.port, said.predict_route, said.health_route) == ("0.0.0.0", 9090, "/v1/e:predict", "/v1/e")
    assert found({**vertex, "ANYPORT_PORT": "5", "ANYPORT_HOST": "::1"}).port == 5
    assert found(vertex, "--port", "6").port == 6
    batch = {"SAGEMAKER_BATCH": "true", "SAGEMAKER_BIND_TO_PORT": "8081", "SAGEMAKER_MAX_PAYLOAD_IN_MB": "100"}
    assert (found(batch).port, found(batch).max_body) == (8081, 100 << 20)
    assert found({"SAGEMAKER_MAX_PAYLOAD_IN_MB": "0"}).max_body > 1 << 39
    assert found({}).host == "127.0.0.1"
    for wrong in ({"AIP_HTTP_PORT": "x"}, {"AIP_PREDICT_ROUTE": "e{x}"}, {"SAGEMAKER_MAX_PAYLOAD_IN_MB": "6MB"}):
        with pytest.raises(Mistake, match=next(iter(wrong))):
            found(wrong)


def test_the_openapi_document_lists_the_contracts_routes(live: Up, homes: Path) -> None:
    version = bundle.read(homes).version
    document = live.ask(None, "/openapi.json", method="GET")[2]
    paths = {"/invocations", "/vertex", "/score", "/v1/models/homes:predict"}
    assert paths | {f"/v1/models/homes/versions/{version}:predict", "/predict"} <= set(document["paths"])
    assert resolved(document) > 20
    for path in paths:
        operation = document["paths"][path]["post"]
        assert {"200", "400", "404", "408", "413", "414", "415", "429", "431", "500", "503", "504"} <= set(
            operation["responses"]
        )
        assert "401" not in operation["responses"]
        assert operation["requestBody"]["content"]["application/json"]["schema"]
    assert set(KINDS) <= set(document["paths"]["/predict"]["post"]["requestBody"]["content"])


def test_the_openapi_document_asks_for_keys_where_the_server_does(homes: Path) -> None:
    with up(homes, keys=keys.Keys(["k"])) as server:
        status, _, document = server.ask(None, "/openapi.json", method="GET", Authorization="Bearer k")
        assert status == 200
        for path, item in document["paths"].items():
            for method, operation in item.items():
                needs = bool(operation["security"])
                answered = server.raw([], path, method=method.upper())[0]
                assert (answered == 401) == needs == ("401" in operation["responses"]), (method, path)
        assert set(document["components"]["securitySchemes"]) == {"key", "header"}


def test_the_openapi_document_tells_the_headers(live: Up, homes: Path) -> None:
    document = live.ask(None, "/openapi.json", method="GET")[2]
    version = bundle.read(homes).version
    asked = {one["name"]: one for one in document["paths"]["/predict"]["post"]["parameters"]}
    assert asked["anyport-version"]["schema"]["enum"] == [version]
    assert {"x-request-id", "partial"} <= set(asked)
    names = [
        one["name"] for one in document["paths"][f"/models/homes/versions/{version}/predict"]["post"]["parameters"]
    ]
    assert "anyport-version" not in names, "the path says it"
    assert live.raw(ROWS, **{"anyport-version": version})[0] == 200
    assert live.raw(ROWS, **{"anyport-version": "other"})[0] == 404
    assert "/v2/models/homes/infer" in document["paths"]


def test_nan_is_missing_in_mlflows_form_alone(live: Up) -> None:
    """Its client writes missing numbers so (mlflow.utils.proto_json_utils.dump_input_data)."""
    rows = [{**ROWS[0], "age": float("nan")}, {**ROWS[1], "age": 3.5}]
    expected = [a["prediction"] for a in served.ask(MODEL, [{**rows[0], "age": None}, rows[1]])]
    split = {"columns": NAMES, "data": [[row[name] for name in NAMES] for row in rows]}
    for asked in ({"dataframe_split": split}, {"dataframe_records": rows}):
        assert live.ask(asked, "/invocations")[2] == {"predictions": expected}
    assert live.ask(rows, "/invocations")[0] == 400
    assert live.ask(rows)[0] == 400
    twice = b'{"dataframe_records": [{"age": NaN, "age": 1}]}'
    assert live.raw(twice, "/invocations")[0] == 400
    infinite = {"dataframe_records": [{**ROWS[0], "age": float("inf")}]}
    status, _, said = live.ask(infinite, "/invocations")
    assert (status, said["errors"][0]["column"]) == (400, "age")
