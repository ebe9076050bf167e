"""The Open Inference Protocol v2: Triton's own clients get the original's answers; what is malformed is a 4xx."""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import packed
import pytest
import served
import tritonclient.grpc as over_grpc
import tritonclient.grpc.aio as over_grpc_aio
import tritonclient.http as over_http
import tritonclient.http.aio as over_http_aio
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from serving import Process, process
from test_serve import SRC, Up, up
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException, deserialize_bytes_tensor, triton_to_np_dtype

from anyport import bundle, codec
from anyport.errors import Mistake
from anyport.serve import tabular, tensors
from anyport.serve.contracts import oip
from anyport.serve.rpc.messages import TABLE, messages
from anyport.serve.tensors import Tensor
from anyport.signature import Field, Signature

MODEL = served.fitted()
ROWS = served.rows(60, seed=11)
ANSWERS = served.ask(MODEL, ROWS)
CHANCES = np.array([list(answer["probability"].values()) for answer in ANSWERS])
LABELS = [answer["prediction"].encode() for answer in ANSWERS]
KINDS = {"age": "FP64", "rooms": "INT64", "home city": "BYTES", "plan": "BYTES", "owner": "BOOL"}
GONE = "\x00none"
"""What stands for a missing text where nothing else can."""


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served.bundle(tmp_path_factory.mktemp("oip") / "homes", MODEL)


@pytest.fixture(scope="module")
def live(homes: Path) -> Iterator[Up]:
    """Over HTTP, in a thread of this process."""
    with up(homes) as running:
        yield running


@pytest.fixture(scope="module")
def both(homes: Path) -> Iterator[Process]:
    with process(homes) as running:
        yield running
        running.child.terminate()
        assert running.child.wait(10) == 0
        running.log.seek(0)
        assert running.log.read() == ""


def columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The rows as one array a column: NaN for a missing number, GONE for a missing text."""
    made: dict[str, Any] = {}
    for name, kind in KINDS.items():
        cells = [row[name] for row in rows]
        if kind == "BYTES":
            made[name] = np.array([GONE if cell is None else cell for cell in cells], object)
        elif kind == "FP64":
            made[name] = np.array([math.nan if cell is None else cell for cell in cells], np.float64)
        else:
            made[name] = np.array(cells, triton_to_np_dtype(kind))
    return made


def inputs(client: Any, rows: Sequence[Mapping[str, Any]], **options: Any) -> list[Any]:
    """The rows as tritonclient's inputs."""
    made = []
    for name, values in columns(rows).items():
        one = client.InferInput(name, list(values.shape), KINDS[name])
        one.set_data_from_numpy(values, **options)
        made.append(one)
    return made


def same(result: Any, start: int = 0, stop: int | None = None) -> None:
    """Whether a result of tritonclient's is the original's."""
    assert result.as_numpy("prediction").tolist() in (
        LABELS[start:stop], [label.decode() for label in LABELS[start:stop]]
    )  # fmt: skip
    np.testing.assert_allclose(result.as_numpy("probability"), CHANCES[start:stop], rtol=0, atol=1e-9)


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[1]", b"nul"])
def test_an_index_of_no_json_is_the_callers_fault(live: Up, body: bytes) -> None:
    status, _, said = live.ask(body, "/v2/repository/index")
    assert (status, list(said)) == (400, ["error"])


def test_a_triton_client_sees_the_models_own_columns(live: Up, homes: Path) -> None:
    version = bundle.read(homes).version
    with over_http.InferenceServerClient(f"127.0.0.1:{live.port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("homes")
        assert client.is_model_ready("homes", version)
        assert not client.is_model_ready("flats")
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
        said = client.get_model_metadata("homes")
        assert said["versions"] == [version]
        assert {one["name"]: one["datatype"] for one in said["inputs"]} == KINDS
        assert [(one["name"], one["datatype"], one["shape"]) for one in said["outputs"]] == [
            ("prediction", "BYTES", [-1]), ("probability", "FP64", [-1, 3])
        ]  # fmt: skip
        assert said["outputs"][1]["parameters"] == {"labels": list(served.LABELS)}
        config = client.get_model_config("homes", version)
        assert [(one["name"], one["data_type"]) for one in config["input"]] == [
            ("age", "TYPE_FP64"), ("rooms", "TYPE_INT64"), ("home city", "TYPE_STRING"), ("plan", "TYPE_STRING"),
            ("owner", "TYPE_BOOL"),
        ]  # fmt: skip
        assert client.get_model_repository_index() == [
            {"name": "homes", "version": version, "state": "READY", "reason": ""}
        ]
        with pytest.raises(InferenceServerException, match="there is no model flats here"):
            client.get_model_metadata("flats")


@pytest.mark.parametrize("sent", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("wanted", [None, True, False], ids=["all", "binary", "json"])
def test_a_triton_client_gets_the_originals_answers(live: Up, sent: bool, wanted: bool | None) -> None:
    asked = None
    if wanted is not None:
        asked = [over_http.InferRequestedOutput(name, binary_data=wanted) for name in ("probability", "prediction")]
    with over_http.InferenceServerClient(f"127.0.0.1:{live.port}") as client:
        result = client.infer(
            "homes", inputs(over_http, ROWS, binary_data=sent), outputs=asked, request_id="a 1",
            parameters={"missing": GONE},
        )  # fmt: skip
    same(result)
    said = result.get_response()
    assert (said["model_name"], said["id"]) == ("homes", "a 1")
    assert [one["name"] for one in said["outputs"]] == (
        ["prediction", "probability"] if wanted is None else ["probability", "prediction"]
    )


def test_outputs_are_chosen_and_mixed(live: Up) -> None:
    one = [over_http.InferRequestedOutput("probability", binary_data=False)]
    two = [over_http.InferRequestedOutput("prediction", binary_data=True), *one]
    with over_http.InferenceServerClient(f"127.0.0.1:{live.port}") as client:
        given = inputs(over_http, ROWS)
        result = client.infer("homes", given, outputs=one, parameters={"missing": GONE})
        assert result.as_numpy("prediction") is None
        np.testing.assert_allclose(result.as_numpy("probability"), CHANCES, rtol=0, atol=1e-9)
        same(client.infer("homes", given, outputs=two, parameters={"missing": GONE}))
        for name in ("nothing", "probability_0"):
            with pytest.raises(InferenceServerException, match=f"there is no output '{name}'; the model gives"):
                client.infer("homes", given, outputs=[over_http.InferRequestedOutput(name)])


def test_the_async_client_is_answered_side_by_side(live: Up) -> None:
    async def ask() -> None:
        async with over_http_aio.InferenceServerClient(f"127.0.0.1:{live.port}") as client:
            calls = [
                client.infer("homes", inputs(over_http_aio, ROWS[i : i + 3]), parameters={"missing": GONE})
                for i in range(30)
            ]
            for i, result in enumerate(await asyncio.gather(*calls)):
                same(result, i, i + 3)

    asyncio.run(ask())


@pytest.mark.parametrize("count", [0, 1, 4000])
def test_any_number_of_rows_is_answered(live: Up, count: int) -> None:
    rows = [ROWS[i % len(ROWS)] for i in range(count)]
    with over_http.InferenceServerClient(f"127.0.0.1:{live.port}", network_timeout=60) as client:
        result = client.infer("homes", inputs(over_http, rows), parameters={"missing": GONE})
    index = np.arange(count) % len(ROWS)
    assert result.as_numpy("prediction").tolist() == [LABELS[i] for i in index]
    np.testing.assert_allclose(result.as_numpy("probability"), CHANCES[index].reshape(count, 3), rtol=0, atol=1e-9)


def plain(rows: Sequence[Mapping[str, Any]], **changes: Any) -> list[dict[str, Any]]:
    """The rows as $request_input in JSON, null for missing; `changes`: name → keys of its input that are otherwise."""
    return [
        {"name": name, "shape": [len(rows)], "datatype": kind, "data": [row[name] for row in rows]}
        | changes.get(name.replace(" ", "_"), {})
        for name, kind in KINDS.items()
    ]


def test_null_is_missing_and_columns_may_be_tall(live: Up) -> None:
    status, _, said = live.ask({"inputs": plain(ROWS)}, "/v2/models/homes/infer")
    assert status == 200
    assert said["outputs"][0]["data"] == [label.decode() for label in LABELS]
    tall = [{**one, "shape": [60, 1], "data": [[cell] for cell in one["data"]]} for one in plain(ROWS)]
    assert live.ask({"inputs": tall}, "/v2/models/homes/infer")[2] == said
    # any other number will do for a number: here integers as doubles, NaN where nothing is missing
    assert live.ask({"inputs": plain(ROWS, rooms={"datatype": "FP64", "data": [float(r["rooms"]) for r in ROWS]})},
                    "/v2/models/homes/infer")[2] == said  # fmt: skip


def test_refused_rows_are_named(live: Up) -> None:
    rows = [ROWS[0], {**ROWS[1], "plan": "silver"}, ROWS[2], {**ROWS[3], "age": 2e6}]
    status, _, said = live.ask({"inputs": plain(rows)}, "/v2/models/homes/infer")
    assert status == 422
    assert "row 1, column 'plan': expected one of 'basic', 'gold', got 'silver'" in said["error"]
    assert [(one["row"], one["column"]) for one in said["errors"]] == [(1, "plan"), (3, "age")]
    assert "partial" not in said["error"]
    with over_http.InferenceServerClient(f"127.0.0.1:{live.port}") as client:
        with pytest.raises(InferenceServerException, match="row 1, column 'plan'") as failed:
            client.infer("homes", inputs(over_http, rows), parameters={"missing": GONE})
        assert "422" in str(failed.value.status())


def test_the_matrix_of_all_columns(shelf: packed.Shelf) -> None:
    """A model of numbers takes them as one tensor, in order, under any name, and as columns of their own."""
    made = zoo.load()["forest_behind_scaler"].make()
    rows = np.asarray(made.fresh, np.float64)[:50]
    expected = made.model.predict(rows)
    with up(shelf.bundle("forest_behind_scaler")) as running, \
            over_http.InferenceServerClient(f"127.0.0.1:{running.port}") as client:  # fmt: skip
        names = [one["name"] for one in client.get_model_metadata("forest_behind_scaler")["inputs"]]
        for name in ("input", "predict", "X"):
            for binary in (True, False):
                one = over_http.InferInput(name, list(rows.shape), "FP64")
                one.set_data_from_numpy(rows, binary_data=binary)
                got = client.infer("forest_behind_scaler", [one])
                assert got.as_numpy("prediction").tolist() == expected.tolist()
                np.testing.assert_allclose(got.as_numpy("probability"), made.model.predict_proba(rows), atol=1e-6)
        apart = []
        for i, name in enumerate(names):
            apart.append(over_http.InferInput(name, [50, 1], "FP64"))
            apart[-1].set_data_from_numpy(np.ascontiguousarray(rows[:, i : i + 1]))
        assert client.infer("forest_behind_scaler", apart).as_numpy("prediction").tolist() == expected.tolist()
        wide = over_http.InferInput("input", [50, len(names) + 1], "FP64")
        wide.set_data_from_numpy(np.c_[rows, rows[:, :1]])
        with pytest.raises(InferenceServerException, match="unknown input 'input'"):
            client.infer("forest_behind_scaler", [wide])


# malformed requests


def edit(**changes: Any) -> dict[str, Any]:
    return {"inputs": plain(ROWS[:2], **changes)}


BAD: dict[str, tuple[Any, str]] = {
    "no JSON": (b"{", "is not JSON"),
    "empty": (b"", "it is empty"),
    "a list": ([], "no inference request"),
    "no inputs": ({}, "inputs"),
    "inputs are text": ({"inputs": "age"}, "inputs"),
    "no shape": ({"inputs": [{"name": "age", "datatype": "FP64", "data": []}]}, "shape"),
    "shape of floats": (edit(age={"shape": [2.5]}), "int"),
    "id is a number": ({"id": 3, "inputs": plain(ROWS[:2])}, "id"),
    "missing input": ({"inputs": plain(ROWS[:2])[1:]}, "input 'age' is missing"),
    "unknown input": ({"inputs": [*plain(ROWS[:2]), {**plain(ROWS[:2])[0], "name": "agee"}]}, "unknown input 'agee'"),
    "misspelt input": (edit(age={"name": "agee"}), "did you mean 'age'"),
    "twice": ({"inputs": plain(ROWS[:2]) * 2}, "twice"),
    "count": (edit(age={"data": [1.0]}), "expected 2 elements"),
    "nested count": (edit(age={"shape": [2, 1], "data": [[1.0], []]}), "expected 2 elements"),
    "nested otherwise": (edit(age={"shape": [2, 1], "data": [[1.0, 2.0]]}), "nested as [1, 2]"),
    "ragged": (edit(age={"data": [1.0, [2.0]]}), "no FP64"),
    "data is text": (edit(age={"data": "1, 2"}), "expected 2 elements"),
    "no data": ({"inputs": [{"name": "age", "shape": [2], "datatype": "FP64"}]}, "has no data"),
    "rows differ": (edit(age={"shape": [3], "data": [1, 2, 3]}), "differ in their number of rows"),
    "scalar": (edit(age={"shape": [], "data": [1]}), "expected the shape of a batch"),
    "negative": (edit(age={"shape": [-2]}), "expected the shape of a batch"),
    "both negative": (edit(age={"shape": [-2, -1]}), "expected the shape of a batch"),
    "nine axes": (edit(age={"shape": [2] + [1] * 8}), "expected the shape of a batch"),
    "wide": (edit(age={"shape": [2, 2], "data": [1, 2, 3, 4]}), "[n] or [n, 1]"),
    "rows of nothing": (edit(age={"shape": [9_000_000_000_000_000_000, 0], "data": []}), "have no elements"),
    "huge": (edit(age={"shape": [9_000_000_000_000_000_000]}), "elements"),
    "no datatype": (edit(age={"datatype": "FLOAT"}), "there is no datatype 'FLOAT'"),
    "text for a number": (edit(age={"datatype": "BYTES", "data": ["1", "2"]}), "expected FP64"),
    "number for text": (edit(plan={"datatype": "INT64", "data": [1, 2]}), "expected BYTES"),
    "bool for a number": (edit(age={"datatype": "BOOL", "data": [True, False]}), "expected FP64"),
    "word among numbers": (edit(age={"data": [1.0, "old"]}), 'element 1 is "old", which is no FP64'),
    "bool among numbers": (edit(age={"data": [1.0, True]}), "element 1 is true"),
    "float among integers": (edit(rooms={"data": [1, 2.5]}), "element 1 is 2.5, which is no INT64"),
    "number among texts": (edit(plan={"data": ["gold", 1]}), "element 1 is 1, which is no BYTES"),
    "beyond int64": (edit(rooms={"data": [1, 1 << 63]}), "which is no INT64"),
    "beyond int8": (edit(rooms={"datatype": "INT8", "data": [1, 200]}), "element 1 is 200, which is no INT8"),
    "beyond float32": (edit(age={"datatype": "FP32", "data": [1.0, 1e39]}), "which is no FP32"),
    "beyond float64": (b'{"inputs":[{"name":"age","shape":[1],"datatype":"FP64","data":[1e999]}]}', "no FP64"),
    "beyond any": ({"inputs": [{"name": "age", "shape": [1], "datatype": "FP64", "data": [10**400]}]}, "no FP64"),
    "output twice": ({"inputs": plain(ROWS[:2]), "outputs": [{"name": "prediction"}] * 2}, "twice"),
    "unknown output": ({"inputs": plain(ROWS[:2]), "outputs": [{"name": "chance"}]}, "there is no output 'chance'"),
    "shared memory": (edit(age={"parameters": {"shared_memory_region": "a"}}), "is not taken here"),
    "classes": ({"inputs": plain(ROWS[:2]), "outputs": [{"name": "probability", "parameters": {"classification": 2}}]},
                "classification is not taken"),
    "binary is text": ({"inputs": plain(ROWS[:2]), "parameters": {"binary_data_output": "yes"}}, "true or false"),
    "missing is a number": ({"inputs": plain(ROWS[:2]), "parameters": {"missing": 3}}, "text of a missing value"),
    "bytes that are not there": (edit(age={"parameters": {"binary_data_size": 16}}), "0 bytes are left"),
    "lone surrogate": (b'{"inputs":[{"name":"\\ud800","shape":[1],"datatype":"FP64","data":[1]}]}', ""),
    "deep": (b"[" * 100_000, "nested too deeply"),
    "NaN and more": (b'{"inputs": [NaN}', "is not JSON"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_malformed_request_is_a_400_that_says_what(live: Up, name: str) -> None:
    body, says = BAD[name]
    status, _, said = live.ask(body, "/v2/models/homes/infer")
    assert status == 400, said
    assert set(said) == {"error"}
    assert says in said["error"]


def behind(head: Mapping[str, Any], *parts: bytes, length: int | str | None = None) -> tuple[bytes, dict[str, str]]:
    """A body of JSON and bytes, and its header."""
    text = json.dumps(head).encode()
    said = str(len(text) if length is None else length)
    return b"".join([text, *parts]), {"Inference_Header_Content_Length": said}


def binary(sizes: Mapping[str, Any], data: bytes, length: Any = None, **changes: Any) -> tuple[bytes, dict[str, str]]:
    """Two rows, of which these inputs are bytes of this size."""
    head = edit(**changes)
    for one in head["inputs"]:
        if one["name"] in sizes:
            del one["data"]
            one["parameters"] = {"binary_data_size": sizes[one["name"]]}
    return behind(head, data, length=length)


AGES = np.array([31.5, 40.0]).tobytes()
BAD_BYTES: dict[str, tuple[tuple[bytes, dict[str, str]], str]] = {
    "short": (binary({"age": 16}, AGES[:-1]), "15 bytes are left"),
    "short and said so": (binary({"age": 15}, AGES[:-1]), "FP64 of shape [2] is 16 bytes, got 15"),
    "long": (binary({"age": 17}, AGES + b"x"), "is 16 bytes, got 17"),
    "left over": (binary({"age": 16}, AGES + b"x"), "1 bytes behind the JSON are no input's"),
    "negative size": (binary({"age": -16}, AGES), "binary_data_size is -16"),
    "size is text": (binary({"age": "16"}, AGES), 'binary_data_size is "16"'),
    "size is true": (binary({"age": True}, AGES), "binary_data_size is true"),
    "header inside the JSON": (binary({"age": 16}, AGES, length=40), "is not JSON"),
    "header beyond the body": (binary({"age": 16}, AGES, length=100_000), "Inference-Header-Content-Length"),
    "header over the bytes": (binary({"age": 16}, AGES, length=len(binary({"age": 16}, b"")[0]) + 3), ""),
    "header 0": (binary({"age": 16}, AGES, length=0), "it is empty"),
    "negative header": (binary({"age": 16}, AGES, length=-1), "Inference-Header-Content-Length"),
    "header is a word": (binary({"age": 16}, AGES, length="ten"), "Inference-Header-Content-Length"),
    "header of 5000 digits": (binary({"age": 16}, AGES, length="9" * 5000), "Inference-Header-Content-Length"),
    "no bool": (binary({"owner": 2}, b"\x01\x02"), "is the byte 2, which is no BOOL"),
    "text ends early": (binary({"plan": 11}, b"\x04\0\0\0gold\x04\0\0"), "the bytes end before element 1"),
    "text too long": (binary({"plan": 15}, b"\x04\0\0\0gold\x04\0\0\0gol"), "element 1 is 4 bytes long, only 3"),
    "length of 4 GB": (binary({"plan": 16}, b"\xff\xff\xff\xffgold\x04\0\0\0gold"), "element 0 is 4294967295 bytes"),
    "texts left": (binary({"plan": 17}, b"\x04\0\0\0gold\x04\0\0\0goldx"), "1 bytes are left after 2 elements"),
    "too few texts": (binary({"plan": 8}, b"\x04\0\0\0gold"), "the bytes end before element 1"),
    "many texts of nothing": (binary({"plan": 8}, b"\x04\0\0\0gold", plan={"shape": [1 << 40]}), "at least"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_BYTES)
def test_malformed_bytes_are_a_400_that_says_what(live: Up, name: str) -> None:
    (body, headers), says = BAD_BYTES[name]
    status, _, said = live.ask(body, "/v2/models/homes/infer", **headers)
    assert status == 400, said
    assert says in said["error"]


def test_text_that_is_no_utf8_is_refused_as_a_cell(live: Up) -> None:
    body, headers = binary({"plan": 16}, b"\x04\0\0\0gold\x04\0\0\0g\xff\xffd")
    status, _, said = live.ask(body, "/v2/models/homes/infer", **headers)
    assert status == 422
    assert [(one["row"], one["column"]) for one in said["errors"]] == [(1, "plan")]


class Stub:
    """As much of a model as the wire looks at."""

    name, version = "homes", "1"


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_no_body_and_no_header_makes_a_500(data: st.DataObject) -> None:
    """A good binary request with bytes changed, cut, doubled, and any header: read, or refused as the caller's."""
    body, headers = binary({"age": 16, "plan": 16}, AGES + b"\x04\0\0\0gold\x04\0\0\0gold")
    right = int(headers["Inference_Header_Content_Length"])
    changed = bytearray(body)
    for _ in range(data.draw(st.integers(0, 6))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    start, stop = sorted((data.draw(st.integers(0, len(body))), data.draw(st.integers(0, len(body)))))
    cut = data.draw(st.sampled_from([bytes(changed), bytes(changed[:stop]), bytes(changed + changed[start:stop])]))
    near = st.integers(right - 3, right + 3).map(lambda n: str(n).encode())
    length = data.draw(st.one_of(near, st.binary(max_size=9), st.just(str(right).encode()), st.none()))
    wire = oip.Infer(Stub(), length)  # type: ignore[arg-type]
    with suppress(Mistake):  # anything else would be a 500
        assert set(wire.decode(cut, served.SIGNATURE).batch) == set(KINDS)


JSONS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(list(KINDS)), st.sampled_from(["shape", "datatype", "data", "parameters", "name"]), JSONS)
def test_any_value_of_any_key_is_read_or_refused(name: str, key: str, value: Any) -> None:
    request = edit(**{name.replace(" ", "_"): {key: value}})
    wire = oip.Infer(Stub(), None)  # type: ignore[arg-type]
    with suppress(Mistake):  # anything else would be a 500
        read = wire.decode(json.dumps(request).encode(), served.SIGNATURE)
        assert {len(column) for column in read.batch.values()} == {2}


# tensors


NUMBERS = [name for name in tensors.DTYPES if name not in ("BYTES", "BF16")]
SHAPES = arrays.array_shapes(min_dims=1, max_dims=4, max_side=4)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(NUMBERS).flatmap(
    lambda kind: st.tuples(st.just(kind), arrays.arrays(np.dtype(triton_to_np_dtype(kind)), SHAPES))))  # fmt: skip
def test_numbers_survive_every_form(made: tuple[str, Any]) -> None:
    """Against what numpy and tritonclient make of them."""
    kind, values = made
    one = over_http.InferInput("x", list(values.shape), kind)
    one.set_data_from_numpy(values)
    raw = one._get_binary_data()
    tensor = tensors.from_raw("x", kind, values.shape, raw)
    np.testing.assert_array_equal(tensor.values, values)
    assert tensor.values.dtype == values.dtype
    assert tensors.to_raw(tensor) == raw
    text = json.loads(json.dumps(tensors.to_json(tensor)))
    for nested in (text, np.array(text, object).reshape(values.shape).tolist()):
        back = tensors.from_json("x", kind, values.shape, nested)
        np.testing.assert_array_equal(back.values, values)
    if kind in tensors.CONTENTS:
        contents = service_pb2.InferTensorContents(**{tensors.CONTENTS[kind]: tensors.to_list(tensor)})
        again = tensors.from_list("x", kind, values.shape, list(getattr(contents, tensors.CONTENTS[kind])))
        np.testing.assert_array_equal(again.values, values)


@settings(max_examples=200, deadline=None)
@given(arrays.arrays(object, SHAPES, elements=st.text(max_size=6)))
def test_texts_survive_every_form(values: Any) -> None:
    one = over_http.InferInput("x", list(values.shape), "BYTES")
    one.set_data_from_numpy(values)
    raw = one._get_binary_data()
    tensor = tensors.from_raw("x", "BYTES", values.shape, raw)
    assert [cell.decode() for cell in tensor.values.ravel()] == values.ravel().tolist()
    assert tensors.to_raw(tensor) == raw
    assert deserialize_bytes_tensor(tensors.to_raw(Tensor("x", "BYTES", values))).tolist() == tensors.to_list(tensor)
    assert tensors.from_json("x", "BYTES", values.shape, tensors.to_json(tensor)).values.tolist() == values.tolist()


@settings(max_examples=100, deadline=None)
@given(arrays.arrays(np.uint16, SHAPES))
def test_bfloat16_is_the_upper_half_of_a_float32(bits: Any) -> None:
    tensor = tensors.from_raw("x", "BF16", bits.shape, bits.astype("<u2").tobytes())
    np.testing.assert_array_equal(tensor.values, (bits.astype(np.uint32) << 16).view(np.float32))
    if not np.isnan(tensor.values).any():
        assert tensors.to_raw(tensor) == bits.astype("<u2").tobytes()


WIDE = Signature(
    inputs=(
        Field(name="flag", dtype="bool", nullable=True),
        Field(name="small", dtype="uint8"),
        Field(name="count", dtype="int32", nullable=True),
        Field(name="single", dtype="float32", nullable=True),
        Field(name="level", dtype="category", levels=(3, 5), closed=True, nullable=True),
        Field(name="rate", dtype="category", levels=(0.5, 1.5)),
        Field(name="when", dtype="datetime", nullable=True),
        Field(name="name", dtype="string", nullable=True),
        Field(name="image", dtype="int16", shape=(2, None)),
        Field(name="vector", dtype="float64", shape=(3,), nullable=True),
        Field(name="words", dtype="string", shape=(2,)),
    ),
    outputs=(Field(name="prediction", dtype="float64"),),
)  # fmt: skip
CELLS: dict[str, Any] = {
    "flag": st.booleans() | st.none(), "small": st.integers(0, 255), "count": st.integers(-9, 9) | st.none(),
    "single": st.floats(width=32, allow_nan=False) | st.none(), "level": st.sampled_from([3, 5, 7, None]),
    "rate": st.sampled_from([0.5, 1.5, 2.5]), "when": st.sampled_from(["2024-02-29T12:00:00", "1999-01-01", None, "x"]),
    "name": st.text(max_size=4) | st.none(),
    "image": arrays.arrays(np.int16, (2, 2)).map(lambda a: a.tolist()),
    "vector": st.lists(st.floats(allow_nan=False), min_size=3, max_size=3),
    "words": st.lists(st.text(max_size=3), min_size=2, max_size=2),
}  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.fixed_dictionaries(CELLS), min_size=1, max_size=4))
def test_tensors_hold_the_rows_that_our_own_json_holds(rows: list[dict[str, Any]]) -> None:
    """The same Batch and the same refusals, whichever way the rows have come."""

    def finite(value: Any) -> Any:
        return [finite(v) for v in value] if isinstance(value, list) else codec.finite(value) \
            if isinstance(value, float) else value  # fmt: skip

    names = {f.name: f for f in WIDE.inputs}
    listed = {name: [finite(row[name]) for row in rows] for name in names}
    expected = codec.decode(json.dumps({"columns": listed}).encode(), WIDE)
    given = [
        {"name": name, "datatype": tabular.datatype(f), "data": listed[name],
         "shape": [len(rows), *np.shape(rows[0][name])] if f.shape else [len(rows)]}
        for name, f in names.items()
    ]  # fmt: skip
    wire = oip.Infer(Stub(), None)  # type: ignore[arg-type]
    read = wire.decode(json.dumps({"inputs": given[::-1]}).encode(), WIDE)
    assert set(read.refused) == set(expected.refused)
    for row in expected.refused:
        assert {r.column for r in read.refused[row]} == {r.column for r in expected.refused[row]}
    good = [row for row in range(len(rows)) if row not in expected.refused]
    for name in names:
        got, wanted = read.batch[name].plain(), expected.batch[name].plain()
        assert got.values.dtype == wanted.values.dtype
        np.testing.assert_array_equal(got.values[good], wanted.values[good])
        np.testing.assert_array_equal(got.missing()[good], wanted.missing()[good])


@pytest.mark.parametrize(
    ("name", "kind", "values", "bad"),
    [
        ("flag", "FP64", [0.0, 1.0, math.nan, 2.0], [3]),
        ("flag", "INT8", [0, 1, 1, -1], [3]),
        ("small", "INT64", [0, 255, 256, -1], [2, 3]),
        ("small", "FP32", [0.0, 255.0, 1.5, math.nan], [2, 3]),
        ("count", "FP64", [math.nan, 7.0, 2.0**40, math.inf], [2, 3]),
        ("single", "FP64", [math.nan, math.inf, 1e39, 1.0], [2]),
        ("level", "FP64", [3.0, math.nan, 5.0, 4.0], [3]),
    ],
)
def test_any_number_is_taken_where_it_is_one_of_the_column(
    name: str, kind: str, values: list[Any], bad: list[int]
) -> None:
    signature = Signature(inputs=(WIDE.input(name),), outputs=WIDE.outputs)
    array = np.array(values, triton_to_np_dtype(kind))
    read = tabular.body([tensors.from_raw(name, kind, array.shape, array.tobytes())], signature)
    assert sorted(read.refused) == bad
    assert all(refusal.column == name for said in read.refused.values() for refusal in said)


def test_an_integer_tensor_does_not_wrap() -> None:
    signature = Signature(inputs=(WIDE.input("image"),), outputs=WIDE.outputs)
    array = np.array([[[1, 2], [3, 4]], [[1, 2], [3, 1 << 20]]], np.int64)
    read = tabular.body([tensors.from_raw("image", "INT64", array.shape, array.tobytes())], signature)
    assert list(read.refused) == [1]
    with pytest.raises(Mistake, match=r"expected the shape \[n, 2, any\], got \[2, 4\]"):
        tabular.body([tensors.from_raw("image", "INT64", (2, 4), array.tobytes())], signature)


def test_one_column_is_not_taken_under_another_name() -> None:
    signature = Signature(inputs=(Field(name="age", dtype="float64"),), outputs=WIDE.outputs)
    for name in ("input", "age"):
        assert len(tabular.body([Tensor(name, "FP64", np.ones((2, 1)))], signature).batch["age"]) == 2
    with pytest.raises(Mistake, match="unknown input 'agee'"):
        tabular.body([Tensor("agee", "FP64", np.ones((2, 1)))], signature)


# gRPC


def test_a_triton_client_is_answered_over_grpc(both: Process, homes: Path) -> None:
    version = bundle.read(homes).version
    with over_grpc.InferenceServerClient(both.grpc) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("homes", version)
        assert client.get_server_metadata().name == "anyport"
        said = client.get_model_metadata("homes")
        assert {one.name: one.datatype for one in said.inputs} == KINDS
        assert [(one.name, list(one.shape)) for one in said.outputs] == [("prediction", [-1]), ("probability", [-1, 3])]
        assert [one.state for one in client.get_model_repository_index().models] == ["READY"]
        result = client.infer("homes", inputs(over_grpc, ROWS), request_id="a 1", parameters={"missing": GONE})
        same(result)
        assert (result.get_response().id, result.get_response().model_version) == ("a 1", version)
        one = [over_grpc.InferRequestedOutput("probability")]
        only = client.infer("homes", inputs(over_grpc, ROWS), outputs=one, parameters={"missing": GONE})
        assert only.as_numpy("prediction") is None
        np.testing.assert_allclose(only.as_numpy("probability"), CHANCES, rtol=0, atol=1e-9)
        none = client.infer("homes", inputs(over_grpc, []))
        assert none.as_numpy("probability").shape == (0, 3)
        packed = client.infer(
            "homes", inputs(over_grpc, ROWS * 100), parameters={"missing": GONE}, compression_algorithm="gzip"
        )
        assert packed.as_numpy("prediction").tolist() == LABELS * 100


def test_the_async_grpc_client_is_answered_side_by_side(both: Process) -> None:
    async def ask() -> None:
        async with over_grpc_aio.InferenceServerClient(both.grpc) as client:
            calls = [
                client.infer("homes", inputs(over_grpc_aio, ROWS[i : i + 3]), parameters={"missing": GONE})
                for i in range(30)
            ]
            for i, result in enumerate(await asyncio.gather(*calls)):
                same(result, i, i + 3)

    asyncio.run(ask())


def test_a_stream_answers_each_request_in_order_and_goes_on_after_an_error(both: Process) -> None:
    found: list[tuple[Any, Any]] = []
    done = threading.Event()

    def answered(result: Any, error: Any) -> None:
        found.append((result, error))
        if len(found) == 3:
            done.set()

    with over_grpc.InferenceServerClient(both.grpc) as client:
        client.start_stream(answered)
        client.async_stream_infer("homes", inputs(over_grpc, ROWS[:2]), parameters={"missing": GONE})
        client.async_stream_infer("flats", inputs(over_grpc, ROWS[:2]))
        client.async_stream_infer("homes", inputs(over_grpc, ROWS[2:5]), parameters={"missing": GONE})
        assert done.wait(20)
        client.stop_stream()
    same(found[0][0], 0, 2)
    assert "there is no model flats" in str(found[1][1])
    same(found[2][0], 2, 5)


def message(**changes: Any) -> Any:
    """A request with its values in `contents`."""
    made = service_pb2.ModelInferRequest(model_name="homes")
    for name, values in columns(ROWS[:2]).items():
        kind = KINDS[name]
        listed = [cell.encode() for cell in values] if kind == "BYTES" else values.tolist()
        made.inputs.add(
            name=name, datatype=kind, shape=[2],
            contents=service_pb2.InferTensorContents(**{tensors.CONTENTS[kind]: listed}),
        )  # fmt: skip
    made.parameters["missing"].string_param = GONE
    for key, value in changes.items():
        setattr(made, key, value)
    return made


def called(both: Process, request: Any, method: str = "ModelInfer", **metadata: str) -> Any:
    """The response's bytes; grpc.RpcError where there is none."""
    body = request if isinstance(request, bytes) else request.SerializeToString()
    with grpc.insecure_channel(both.grpc, options=[("grpc.max_send_message_length", -1)]) as channel:
        ask = channel.unary_unary(method if "/" in method else f"/inference.GRPCInferenceService/{method}")
        return ask(body, timeout=20, metadata=tuple((k.replace("_", "-"), v) for k, v in metadata.items()))


def test_contents_are_answered_in_contents(both: Process) -> None:
    said = service_pb2.ModelInferResponse.FromString(called(both, message()))
    assert not said.raw_output_contents
    assert list(said.outputs[0].contents.bytes_contents) == LABELS[:2]
    np.testing.assert_allclose(said.outputs[1].contents.fp64_contents, CHANCES[:2].ravel(), rtol=0, atol=1e-9)


def bad_message(number: int, **changes: Any) -> Any:
    made = message()
    for key, value in changes.items():
        if key == "shape":
            made.inputs[number].shape[:] = value
        elif key == "contents":
            made.inputs[number].contents.CopyFrom(service_pb2.InferTensorContents(**value))
        else:
            setattr(made.inputs[number], key, value)
    return made


def raw(*parts: bytes) -> Any:
    made = message()
    for one in made.inputs:
        one.ClearField("contents")
    made.raw_input_contents.extend(parts)
    return made


def with_both() -> Any:
    made = message()
    made.raw_input_contents.extend([b""] * 5)
    return made


REFUSED: dict[str, tuple[Any, str, str]] = {
    "no message": (b"\xff\xff\xff", "INVALID_ARGUMENT", "is no ModelInferRequest"),
    "unknown model": (message(model_name="flats"), "NOT_FOUND", "there is no model flats"),
    "no model": (message(model_name=""), "NOT_FOUND", "there is no model"),
    "unknown version": (message(model_version="9"), "NOT_FOUND", "version 9"),
    "no inputs": (service_pb2.ModelInferRequest(model_name="homes"), "INVALID_ARGUMENT", "'age' is missing"),
    "negative": (bad_message(0, shape=[-2]), "INVALID_ARGUMENT", "the shape of a batch"),
    "count": (bad_message(0, shape=[3]), "INVALID_ARGUMENT", "shape [3] has 3 elements, got 2"),
    "another list": (bad_message(0, contents={"fp32_contents": [1, 2]}), "INVALID_ARGUMENT", "got fp32_contents"),
    "no such list": (bad_message(0, datatype="FP16"), "INVALID_ARGUMENT", "FP16 has no list"),
    "beyond int8": (bad_message(1, datatype="INT8", contents={"int_contents": [1, 200]}), "INVALID_ARGUMENT", "INT8"),
    "unknown input": (bad_message(0, name="agee"), "INVALID_ARGUMENT", "did you mean 'age'"),
    "too few raw": (raw(AGES), "INVALID_ARGUMENT", "one for each of 5 inputs, got 1"),
    "short raw": (raw(AGES[:-1], AGES, b"", b"", b""), "INVALID_ARGUMENT", "is 16 bytes, got 15"),
    "both": (with_both(), "INVALID_ARGUMENT", "has contents and raw_input_contents"),
    "refused row": (bad_message(3, contents={"bytes_contents": [b"gold", b"silver"]}), "INVALID_ARGUMENT",
                    "row 1, column 'plan': expected one of 'basic', 'gold', got 'silver'"),
    "two long refusals": (bad_message(3, contents={"bytes_contents": [b"silver", b"x" * 10_000]}),
                               "INVALID_ARGUMENT", "2 of 2 rows"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_call_has_its_status_and_its_words(both: Process, name: str) -> None:
    request, code, says = REFUSED[name]
    with pytest.raises(grpc.RpcError) as failed:
        called(both, request)
    assert (failed.value.code().name, says in failed.value.details()) == (code, True), failed.value.details()


def test_metadata_that_speaks_of_bodies_means_nothing(both: Process) -> None:
    assert called(both, message(), content_length="ten", content_encoding="br", expect="100-continue")


def test_a_message_larger_than_a_body_may_be_is_refused(homes: Path) -> None:
    """And so is a small one that only unpacks to such a size."""
    with process(homes, "--max-body", "100000") as small:
        assert called(small, message())
        big = raw(b"\0" * 200_000, b"", b"", b"", b"")
        for algorithm in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
            with grpc.insecure_channel(small.grpc, compression=algorithm) as channel:
                ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
                with pytest.raises(grpc.RpcError) as failed:
                    ask(big.SerializeToString(), timeout=20)
            assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert called(small, message())


def test_keys_are_asked_for_over_grpc_too(homes: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("secret\n")
    with process(homes, "--api-key-file", tmp_path / "keys") as running:
        for metadata in ({}, {"authorization": "Bearer wrong"}):
            with pytest.raises(grpc.RpcError) as failed:
                called(running, message(), **metadata)
            assert failed.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert called(running, message(), authorization="Bearer secret")
        assert called(running, message(), x_api_key="secret")
        with over_grpc.InferenceServerClient(running.grpc) as client:
            assert client.is_server_ready(), "probes need no key"


def test_the_health_check_of_grpc(both: Process) -> None:
    """grpc.health.v1.HealthCheckResponse: status (1) is SERVING (1), written as protobuf writes an enum."""
    service = b"inference.GRPCInferenceService"
    for body in (b"", b"\x0a" + bytes([len(service)]) + service):
        assert called(both, body, "/grpc.health.v1.Health/Check") == b"\x08\x01"
    with pytest.raises(grpc.RpcError) as failed:
        called(both, b"\x0a\x01x", "/grpc.health.v1.Health/Check")
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.RpcError) as failed:
        called(both, b"", "ModelUnload")
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_workers_share_the_grpc_port_and_a_stop_ends_idle_streams(homes: Path) -> None:
    with process(homes, "--workers", "2") as running:
        for _ in range(12):  # a connection each
            same(over_grpc.InferResult(service_pb2.ModelInferResponse.FromString(
                called(running, raw_rows(ROWS[:2])))), 0, 2)  # fmt: skip
        listed = Path("/proc/net/tcp6").read_text() + Path("/proc/net/tcp").read_text()
        port = f":{int(running.grpc.rsplit(':', 1)[1]):04X} "
        assert sum(port in line and " 0A " in line for line in listed.splitlines()) == 2, "both workers listen"
        ended: list[Any] = []
        with over_grpc.InferenceServerClient(running.grpc) as client:
            said = threading.Event()
            client.start_stream(lambda result, error: (ended.append(error), said.set()))
            client.async_stream_infer("homes", inputs(over_grpc, ROWS[:2]), parameters={"missing": GONE})
            assert said.wait(20)
            running.child.terminate()
            assert running.child.wait(10) == 0
            client.stop_stream()
        assert ended[0] is None
        running.log.seek(0)
        assert running.log.read() == ""


def raw_rows(rows: Sequence[Mapping[str, Any]]) -> Any:
    """A request as tritonclient makes it."""
    made = service_pb2.ModelInferRequest(model_name="homes")
    for one in inputs(over_grpc, rows):
        made.inputs.append(one._get_tensor())
        made.raw_input_contents.append(one._get_content())
    made.parameters["missing"].string_param = GONE
    return made


def test_a_taken_grpc_port_ends_the_start(both: Process, homes: Path) -> None:
    port = both.grpc.rsplit(":", 1)[1]
    done = started(homes, "--grpc-port", port)
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in done.stderr
    assert "--grpc-port" in done.stderr


@pytest.mark.parametrize("absent", ["grpc", "google"])
def test_without_grpcio_the_port_is_missing_with_its_line_and_all_else_serves(
    homes: Path, tmp_path: Path, absent: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules[{absent!r}] = None\n")
    done = started(homes, "--grpc-port", "0", path=tmp_path)
    assert done.returncode == 3
    assert "pip install 'anyport[grpc]'" in done.stderr
    assert "Traceback" not in done.stderr
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{SRC}"}
    command = [sys.executable, "-m", "anyport.serve", str(homes), "--port", "0", "--json"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            url = json.loads(child.stdout.readline())["url"]
            with over_http.InferenceServerClient(url.removeprefix("http://")) as client:
                same(client.infer("homes", inputs(over_http, ROWS), parameters={"missing": GONE}))
        finally:
            child.terminate()


def started(homes: Path, *argv: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A server that should not start."""
    env = {**os.environ, "PYTHONPATH": f"{path}{os.pathsep}{SRC}" if path else str(SRC)}
    command = [sys.executable, "-m", "anyport.serve", str(homes), "--port", "0", *argv]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)


def test_our_messages_are_those_of_tritons_own_client() -> None:
    """Every field's name, number, type, and whether it is repeated, held to NVIDIA's descriptors."""
    pool = service_pb2.DESCRIPTOR.pool

    def fields(descriptor: Any) -> set[tuple[Any, ...]]:
        return {
            (f.name, f.number, f.type, f.is_repeated, f.message_type and f.message_type.full_name,
             f.containing_oneof and f.containing_oneof.name)
            for f in descriptor.fields
        }  # fmt: skip

    made = messages()
    assert made.keys() == TABLE.keys()
    for name, kind in made.items():
        if name.startswith("HealthCheck"):
            continue
        assert fields(kind.DESCRIPTOR) == fields(pool.FindMessageTypeByName(f"inference.{name}")), name
