"""A bundle in the user's own FastAPI, Flask and Django applications: byte for byte what our server answers."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import served
from up import Up, up

from anyport.errors import BadData
from anyport.integrations.mounted import Mounted

MODEL = served.fitted()
Ask = Callable[..., tuple[int, str, bytes]]
"""ask(path, body, content type, method) → status, content type, body."""
JSON = "application/json"
ROW = served.rows(1, seed=5)[0]
DOCS = Path(__file__).parents[1] / "docs" / "serve" / "integrations.md"


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served.bundle(tmp_path_factory.mktemp("integrations") / "homes", MODEL)


@pytest.fixture(scope="module")
def live(homes: Path) -> Iterator[Up]:
    with up(homes, max_body=100_000) as running:
        yield running


def in_fastapi(model: Mounted) -> Ask:
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    from anyport.integrations.fastapi import router

    app = FastAPI()
    app.include_router(router(model, prefix="/homes"))
    app.include_router(router(Mounted(model.bundle), prefix="/other"))

    @app.get("/own")
    def own() -> str:
        return "mine"

    client = TestClient(app)

    def ask(path: str, body: bytes = b"", kind: str = JSON, method: str = "POST", **headers: str) -> Any:
        reply = client.request(method, path, content=body, headers={"content-type": kind, **headers})
        return reply.status_code, reply.headers["content-type"], reply.content

    return ask


def in_flask(model: Mounted) -> Ask:
    from flask import Flask

    from anyport.integrations.flask import blueprint

    app = Flask(__name__)
    app.register_blueprint(blueprint(model), url_prefix="/homes")
    app.register_blueprint(blueprint(model.bundle, name="other"), url_prefix="/other")
    app.add_url_rule("/own", view_func=lambda: '"mine"', endpoint="own")

    def ask(path: str, body: bytes = b"", kind: str = JSON, method: str = "POST", **headers: str) -> Any:
        reply = app.test_client().open(path, method=method, data=body, content_type=kind, headers=headers)
        return reply.status_code, reply.headers["content-type"], reply.data

    return ask


def configured() -> None:
    """Django of this process, once; each application brings URLs of its own."""
    import django
    from django.conf import settings

    if not settings.configured:
        settings.configure(
            SECRET_KEY="of the tests", ALLOWED_HOSTS=["testserver"], INSTALLED_APPS=["rest_framework"], DATABASES={},
            REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": [], "DEFAULT_PERMISSION_CLASSES": [],
                            "UNAUTHENTICATED_USER": None},
        )  # fmt: skip
        django.setup()


def urlconf(patterns: list[Any]) -> Any:
    """A module of URL patterns."""
    made: Any = types.ModuleType("anyport_test_urls")
    made.urlpatterns = patterns
    return made


def in_django(model: Mounted) -> Ask:
    configured()
    from django.http import HttpResponse
    from django.test import Client, override_settings
    from django.urls import include, path

    from anyport.integrations.django import urls

    patterns = urlconf(
        [
            path("homes/", include(urls(model))),
            path("other/", include(urls(model.bundle))),
            path("own", lambda request: HttpResponse('"mine"')),
        ]
    )

    def ask(path: str, body: bytes = b"", kind: str = JSON, method: str = "POST", **headers: str) -> Any:
        with override_settings(ROOT_URLCONF=patterns):
            reply = Client().generic(method, path, body, content_type=kind, headers=headers)
        return reply.status_code, reply.headers["content-type"], reply.content

    return ask


MADE = {"fastapi": in_fastapi, "flask": in_flask, "django": in_django}


@pytest.fixture(scope="module", params=MADE)
def ask(request: pytest.FixtureRequest, homes: Path) -> Ask:
    return MADE[request.param](Mounted(homes, max_body=100_000))


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_a_row_rows_and_columns_are_answered_as_the_original_does(ask: Ask) -> None:
    rows = served.rows(40, seed=3)
    expected = served.ask(MODEL, rows)
    status, kind, said = ask("/homes/predict", body(rows))
    assert (status, kind) == (200, JSON)
    found = json.loads(said)
    one = json.loads(ask("/homes/predict", body(rows[0]))[2])
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    listed = json.loads(ask("/other/predict", body({"columns": columns}))[2])["columns"]
    assert [row["prediction"] for row in found] == [row["prediction"] for row in expected] == listed["prediction"]
    probabilities = [list(row["probability"].values()) for row in expected]
    np.testing.assert_allclose([list(row["probability"].values()) for row in found], probabilities, atol=1e-12)
    np.testing.assert_allclose(listed["probability"], probabilities, atol=1e-12)
    np.testing.assert_allclose(list(one["probability"].values()), probabilities[0], atol=1e-12)
    assert ask("/own", method="GET")[2] == b'"mine"'


ASKED: dict[str, tuple[str, bytes, str]] = {
    "row": ("", body(ROW), JSON),
    "no-type": ("", body(ROW), ""),
    "vendor": ("", body(ROW), "application/vnd.homes+json; charset=utf-8"),
    "empty-list": ("", b"[]", JSON),
    "no-json": ("", b'{"age": 3,', JSON),
    "nothing": ("", b"", JSON),
    "no-utf-8": ("", b'{"age": "\xff"}', JSON),
    "deep": ("", b"[" * 5000, JSON),
    "a-number": ("", b"3", JSON),
    "no-object": ("", body([ROW, 3]), JSON),
    "absent": ("", body({}), JSON),
    "unknown": ("", body({**ROW, "agee": 3}), JSON),
    "type": ("", body({**ROW, "age": "old", "rooms": 1.5, "owner": 1}), JSON),
    "bound": ("", body({**ROW, "age": 1e9}), JSON),
    "infinite": ("", body({**ROW, "age": "Infinity"}), JSON),
    "beyond": ("", body(ROW).replace(b'"rooms"', b'"age": 1e999, "rooms"'), JSON),
    "level": ("", body({**ROW, "plan": "silver"}), JSON),
    "null": ("", body({**ROW, "rooms": None}), JSON),
    "second-of-three": ("", body([ROW, {**ROW, "plan": "silver"}, ROW]), JSON),
    "partial": ("?partial=true", body([ROW, {**ROW, "plan": "silver"}, ROW]), JSON),
    "partial-none": ("?partial=true", body({**ROW, "plan": "silver"}), JSON),
    "unlike-columns": ("", body({"columns": {"age": [1]}}), JSON),
    "uneven-columns": ("", body({"columns": {**{name: [v] for name, v in ROW.items()}, "age": []}}), JSON),
    "query": ("?partial=maybe", body(ROW), JSON),
    "media": ("", b"<row/>", "application/xml"),
    "charset": ("", body(ROW), "application/json; charset=latin-1"),
    "csv": ("", b"age,rooms,home city,plan,owner\n31.5,4,Oslo,gold,true\n", "text/csv"),
    "jsonl": ("", body(ROW) + b"\n{\n", "application/jsonlines"),
    "arrow": ("", b"no arrow", "application/vnd.apache.arrow.stream"),
    "large": ("", body(ROW) + b" " * 100_000, JSON),
}
STATUS = {"no-json": 400, "nothing": 400, "deep": 400, "query": 400, "media": 415, "charset": 415, "large": 413}
GOOD = ("row", "no-type", "vendor", "empty-list", "partial", "partial-none", "csv")


@pytest.mark.parametrize("name", ASKED)
def test_good_and_bad_bodies_get_the_bytes_that_our_server_gives(ask: Ask, live: Up, name: str) -> None:
    query, asked, kind = ASKED[name]
    status, sort, said = ask(f"/homes/predict{query}", asked, kind)
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=30)
    connection.request("POST", f"/predict{query}", asked, {"content-type": kind} if kind else {})
    reply = connection.getresponse()
    assert (status, sort, said) == (reply.status, reply.getheader("content-type"), reply.read())
    connection.close()
    assert (status == 200) == (name in GOOD)
    assert status == STATUS.get(name, status)


def test_a_compressed_body_is_inflated_within_the_limit(ask: Ask, live: Up) -> None:
    def asked(sent: bytes, coding: str) -> tuple[int, bytes]:
        return ask("/homes/predict", sent, **{"content-encoding": coding})[::2]

    packed = gzip.compress(body(ROW))
    assert asked(packed, "gzip") == ask("/homes/predict", body(ROW))[::2]
    for sent, coding, status in (
        (packed, "br", 415), (packed[:-9], "gzip", 400), (gzip.compress(b" " * 100_001), "gzip", 413)
    ):  # fmt: skip
        reply = live.raw(sent, Content_Encoding=coding)
        assert asked(sent, coding) == (reply[0], reply[2])
        assert reply[0] == status


def test_the_answer_is_in_the_format_that_is_asked_for(ask: Ask, live: Up) -> None:
    rows = body(served.rows(5, seed=8))
    for accept in ("text/csv", "application/vnd.apache.arrow.stream", "application/x-ndjson", "image/png"):
        status, kind, said = ask("/homes/predict", rows, accept=accept)
        expected, headers, reply = live.raw(rows, Accept=accept)
        assert (status, kind, said) == (expected, headers["content-type"], reply)
        assert status == (406 if accept == "image/png" else 200)


def test_probes_and_the_signature(ask: Ask, live: Up, homes: Path) -> None:
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{live.port}/signature", timeout=30) as reply:
        assert ask("/homes/signature", method="GET")[2] == reply.read()
    assert ask("/homes/livez", method="GET")[::2] == (200, b'{"live":true}')
    status, _, said = ask("/homes/readyz", method="GET")
    assert status == 200
    assert json.loads(said)["models"][0]["digest"] == Mounted(homes).bundle.digest
    assert json.loads(said)["pid"] == os.getpid()


def test_callers_in_threads_get_their_own_answers(ask: Ask) -> None:
    rows = served.rows(48, seed=9)
    expected = [answer["prediction"] for answer in served.ask(MODEL, rows)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: json.loads(ask("/homes/predict", body(row))[2])["prediction"], rows))
    assert found == expected


@pytest.mark.parametrize("framework", MADE)
def test_a_model_that_fails_is_a_500_and_one_that_cannot_be_loaded_is_not_ready(
    homes: Path, framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Mounted(homes)
    ask = MADE[framework](model)
    assert ask("/homes/predict", body(ROW))[0] == 200

    def broken(batch: Any) -> Any:
        raise ZeroDivisionError("the model is broken")

    monkeypatch.setattr(model, "predict", broken)
    status, _, said = ask("/homes/predict", body(ROW))
    assert status == 500
    assert json.loads(said)["id"]
    assert b"broken" not in said
    monkeypatch.setattr(model, "load", broken)
    monkeypatch.setattr(model, "load", lambda: broken(None))
    assert ask("/homes/readyz", method="GET")[0] == 503


CELLS: dict[str, list[Any]] = {
    "age": [3, 3.5, None, -1e6, 1e6, 1.1e6, "3", "Infinity", True, [], {}],
    "rooms": [3, 3.0, 3.5, None, True, "3", 2**63, -(2**63)],
    "home city": ["Oslo", "", "東京", None, 3, True],
    "plan": ["basic", "gold", "silver", "", None, 1],
    "owner": [True, False, 1, 0, None, "true"],
}


@pytest.mark.parametrize(("column", "cell"), [(name, cell) for name, cells in CELLS.items() for cell in cells])
def test_pydantic_and_the_serializer_refuse_exactly_what_the_route_refuses(homes: Path, column: str, cell: Any) -> None:
    configured()
    from pydantic import ValidationError

    from anyport.integrations.django import row_serializer
    from anyport.integrations.fastapi import row_model

    model = Mounted(homes)
    row = {**ROW, column: cell}
    try:
        model.ask([row])
        taken = True
    except BadData as error:
        taken = False
        assert f"column {column!r}" in str(error)  # noqa: PT017 - one test for both outcomes
    serializer = row_serializer(model.signature)(data=row)
    assert serializer.is_valid() == taken
    assert set(serializer.errors) == (set() if taken else {column})
    try:
        made = row_model(model.signature).model_validate(row)
    except ValidationError as error:
        assert not taken
        assert [found["loc"] for found in error.errors()] == [(column,)]  # noqa: PT017
    else:
        assert taken
        assert model.ask([made.model_dump(mode="json")]) == model.ask([row])


def test_names_that_are_no_attributes_are_aliases() -> None:
    from anyport.integrations.pydantic import row
    from anyport.signature import Field, Signature

    names = ["home city", "class", "_hidden", "model_dump", "1st", "a-b", "a b", "copy", "日本"]
    made = row(Signature(inputs=tuple(Field(name=name, dtype="float64") for name in names), outputs=()))
    values = {name: float(number) for number, name in enumerate(names)}
    assert made.model_validate(values).model_dump() == values
    assert list(made.model_json_schema()["properties"]) == names


def test_datetimes_tensors_and_infinities_are_python_values() -> None:
    import datetime

    from anyport.integrations.pydantic import row
    from anyport.signature import Field, Signature

    made = row(Signature(outputs=(), inputs=(
        Field(name="at", dtype="datetime", nullable=True), Field(name="x", dtype="float64"),
        Field(name="image", dtype="float32", shape=(2, 2)),
    )))  # fmt: skip
    found: Any = made.model_validate({"at": "2024-02-29T12:00:00Z", "x": "-Infinity", "image": [[1, 2], [3, 4.5]]})
    assert found.at == datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC)
    assert (found.x, found.image) == (-np.inf, [[1.0, 2.0], [3.0, 4.5]])
    assert json.loads(found.model_dump_json())["x"] == "-Infinity"
    with pytest.raises(ValueError, match="image"):
        made.model_validate({"at": None, "x": 1, "image": [[1, 2], [3]]})


def test_the_openapi_page_names_the_columns_with_a_golden_row(homes: Path) -> None:
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    from anyport.integrations.fastapi import router

    app = FastAPI()
    model = Mounted(homes)
    app.include_router(router(model, prefix="/one"))
    app.include_router(router(homes, prefix="/two"))
    paths = app.openapi()["paths"]
    assert {"/one/predict", "/one/signature", "/one/livez", "/one/readyz", "/two/predict"} <= set(paths)
    said = paths["/one/predict"]["post"]["requestBody"]["content"][JSON]
    schema = said["schema"]["oneOf"][0]
    assert list(schema["properties"]) == [field.name for field in model.signature.inputs] == schema["required"]
    assert schema["properties"]["plan"]["enum"] == list(served.PLANS)
    assert schema["additionalProperties"] is False
    row, records, columns = (said["examples"][form]["value"] for form in ("row", "records", "columns"))
    assert model.ask([row]) == model.ask(records)
    client = TestClient(app)
    answers = [client.post("/one/predict", json=value) for value in (row, records, columns)]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert [answers[0].json()] == answers[1].json() == model.ask([row])
    assert answers[2].json()["columns"]["prediction"] == [answers[0].json()["prediction"]]
    assert {"400", "413", "415", "422", "500"} < {str(status) for status in paths["/one/predict"]["post"]["responses"]}


def test_an_example_that_must_hold_a_null_is_shown_whole(homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastapi import FastAPI

    from anyport.integrations.fastapi import router

    model = Mounted(homes)
    row = {**ROW, "age": None}
    assert len(model.ask([row])) == 1
    monkeypatch.setattr(model, "example", lambda: row)
    app = FastAPI()
    app.include_router(router(model))
    examples = app.openapi()["paths"]["/predict"]["post"]["requestBody"]["content"][JSON]["examples"]
    assert examples == {"columns": {"value": {"columns": {name: [cell] for name, cell in row.items()}}}}


def test_a_lifespan_loads_the_model_and_lets_it_go(homes: Path) -> None:
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    from anyport.integrations.fastapi import router

    model = Mounted(homes)
    app = FastAPI()
    app.include_router(router(model))
    for _ in range(2):
        with TestClient(app) as client:
            assert model._predictor is not None
            assert client.post("/predict", json=ROW).status_code == 200
        assert model._predictor is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize(("threads", "shared"), [(1, True), (2, False)])
def test_a_fork_shares_a_graph_on_one_thread_and_loads_others_anew(homes: Path, threads: int, shared: bool) -> None:
    code = f"""
import os
from anyport.integrations.mounted import Mounted
model = Mounted({str(homes)!r}, threads={threads})
before = model.load()
model._lock.acquire()  # as if another thread were loading
child = os.fork()
if child == 0:
    good = (model._predictor is before) is {shared} and len(model.ask([{ROW!r}])) == 1
    os._exit(0 if good else 1)
print(os.waitpid(child, 0)[1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.returncode) == ("0", 0), done.stderr


def test_a_fork_does_not_end_its_parents_programs(tmp_path: Path) -> None:
    code = """
import os, sys
from anyport.kit.process import popen
with popen(["cat"], pipes=True) as held:
    child = os.fork()
    if child == 0:
        sys.exit(0)
    os.waitpid(child, 0)
    held.stdin.write(b"still here")
    held.stdin.close()
    print(held.stdout.read().decode(), held.log.exists())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "still here True", done.stderr


EXAMPLES = dict(zip(MADE, re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.S), strict=True))


@pytest.mark.parametrize("framework", MADE)
def test_the_documentations_examples_run(
    framework: str, penguins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured()
    (tmp_path / "penguins.anyport").symlink_to(penguins)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "example"}
    exec(EXAMPLES[framework], names)  # noqa: S102 - our own documentation
    row = names["model"].example()
    expected = names["model"].ask([row])[0]
    if framework == "fastapi":
        from fastapi.testclient import TestClient

        client = TestClient(names["app"])
        found = [client.post(path, json=row).json() for path in ("/species", "/penguins/predict")]
    elif framework == "flask":
        found = [names["app"].test_client().post(path, json=row).json for path in ("/species", "/penguins/predict")]
    else:
        from django.test import Client, override_settings

        with override_settings(ROOT_URLCONF=urlconf(names["urlpatterns"])):
            found = [Client().post(path, row, content_type=JSON).json() for path in ("/species", "/penguins/predict")]
    assert found == [expected["prediction"], expected]
