"""The target azure_functions: what the package holds, how the app answers what is wrong, and how it is deployed."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_azure
import packed
import pytest

from anyport import conformance, deployment, targets
from anyport.bundle import read
from anyport.deployment import plan
from anyport.errors import Impossible, Mistake, NotThere, ServerError
from anyport.functions import messages, table
from anyport.functions.azure import events, storage, web
from anyport.functions.front import Front
from anyport.kit import lock
from anyport.serve.settings import Settings
from anyport.targets import azure_functions as azure
from anyport.targets.azure_functions import cases, cloud, facts, local

pytestmark = pytest.mark.target_azure_functions


@pytest.fixture(scope="module")
def artefact(penguins: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("azure") / "penguins"
    return targets.build(penguins, "azure_functions", folder, prefix="api").path


@pytest.fixture(scope="module")
def app(artefact: Path) -> Iterator[cases.FunctionPredictor]:
    """The app, below Azure's default prefix."""
    with azure.run(targets.artifact(artefact)) as running:
        assert isinstance(running.predictor, cases.FunctionPredictor)
        assert running.engine.proof == ("emulated" if "runtime" in running.engine.process else "stand-in")
        yield running.predictor


@pytest.fixture(scope="module")
def front(artefact: Path) -> Front:
    found = Front(artefact / "bundle")
    found.load()
    return found


@pytest.fixture(scope="module")
def row(front: Front) -> dict[str, Any]:
    found = front.model.example()
    assert found is not None
    return found


class Out:
    """An output binding."""

    value: Any = None

    def set(self, value: Any) -> None:
        self.value = value


def queued(body: Any, key: str = "7") -> Any:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return SimpleNamespace(id=key, get_body=lambda: text)


def test_the_package_is_what_azure_builds(artefact: Path) -> None:
    with zipfile.ZipFile(artefact / "function.zip") as archive:
        names = archive.namelist()
        pinned = {name for name, _, _ in lock.pins(archive.read("requirements.txt").decode())}
        host = json.loads(archive.read("host.json"))
        app = archive.read("function_app.py")
    assert {name.partition("/")[0] for name in names} == {
        "function_app.py", "host.json", "requirements.txt", "runtime", "config", "bundle",
    }  # fmt: skip
    assert {"azure-functions", "onnxruntime", "numpy", "msgspec"} <= pinned
    assert app == (Path(azure.__file__).parent / "project" / "function_app.py").read_bytes()
    assert host["extensions"]["http"]["routePrefix"] == "api"
    assert host["functionTimeout"] == "00:03:50"
    assert not [n for n in names if n.startswith(("runtime/anyport/targets", "runtime/anyport/cli/"))]
    assert {p.name for p in artefact.iterdir()} == {
        "bundle", "function.zip", "function.json", "main.bicep", "main.parameters.json", "local.settings.json",
        ".funcignore", "README.md", "anyport.json",
    }  # fmt: skip


def test_a_python_model_brings_its_own_versions_and_its_own_python(shelf: packed.Shelf, tmp_path: Path) -> None:
    bundle = read(shelf.bundle("notebook_class"))
    made = targets.build(bundle, "azure_functions", tmp_path / "a")
    with zipfile.ZipFile(made.path / "function.zip") as archive:
        pinned = {pin[:2] for pin in lock.pins(archive.read("requirements.txt").decode())}
    own = {pin[:2] for pin in lock.pins((bundle.path / "requirements.lock").read_text())}
    assert own <= pinned
    assert "azure-functions" in {name for name, _ in pinned}
    assert "onnxruntime" not in {name for name, _ in pinned}, "a Python model needs none"
    said = facts.facts_of(made.path)
    assert (said.python, said.concurrency) == (bundle.manifest.python, 1)
    other = "3.13" if bundle.manifest.python != "3.13" else "3.12"
    with pytest.raises(Impossible, match=rf"packed on Python {bundle.manifest.python} and runs on no other"):
        targets.build(bundle, "azure_functions", tmp_path / "b", python=other)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"instances": "3"}, "instances: 3"), ({"timeout": "0"}, "0 s"), ({"concurrency": "2000"}, "2000"),
        ({"memory": "512"}, "Invalid enum value"), ({"prefix": "/api"}, "'/api' is none"),
        ({"trigger": "queue:rows"}, "have no place"), ({"output": "s3://x"}, "names no place"),
        ({"trigger": "queue:Rows", "output": "queue:out"}, "names no place"),
        ({"trigger": "blob:rows", "output": "queue:out"}, "cannot go to a queue"),
        ({"trigger": "blob:rows", "output": "blob:rows/out"}, "in turn, for ever"),
        ({"trigger": "queue:rows", "output": "queue:rows"}, "in turn, for ever"),
        ({"python": "3.14"}, "Invalid enum value"), ({"model": "s3://models"}, "-O model: s3://models names no place"),
        ({"model": "queue:models"}, "holds no files"),
        ({"trigger": "blob:rows", "output": "blob:out", "model": "blob:rows/models"}, "is watched"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_refused_before(
    penguins: Path, tmp_path: Path, given: dict[str, str], says: str
) -> None:
    with pytest.raises(Mistake, match=says):
        targets.build(penguins, "azure_functions", tmp_path / "a", **given)
    assert not (tmp_path / "a").exists()


@pytest.fixture(scope="module")
def apart(penguins: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its bundle is in the app's storage account."""
    folder = tmp_path_factory.mktemp("azure") / "apart"
    return targets.build(penguins, "azure_functions", folder, prefix="api", model="blob:models/zoo").path


def test_a_model_apart_is_fetched_when_the_app_starts(apart: Path) -> None:
    said = facts.facts_of(apart)
    with zipfile.ZipFile(apart / "function.zip") as archive:
        assert not [name for name in archive.namelist() if name.startswith("bundle/")]
        assert "runtime/anyport/functions/azure/storage.py" in archive.namelist()
    assert said.environment["ANYPORT_BUNDLE"] == f"blob:models/zoo/penguin_species-{said.digest[:24]}.tar.gz"
    with azure.run(targets.artifact(apart)) as running:
        cases_ = conformance.run_cases(read(apart / "bundle"), running, azure)
    assert [c.name for c in cases_ if c.verdict == "failed"] == []


@pytest.fixture
def identity() -> Iterator[tuple[dict[str, str], list[tuple[str, str | None, str | None]]]]:
    """What an app with an identity finds in its environment, and what it asked: path, Authorization, secret."""
    asked: list[tuple[str, str | None, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Authorization"], self.headers["X-IDENTITY-HEADER"]))
            path = self.path.partition("?")[0]
            body = {"/token": b'{"access_token": "t0"}', "/models/zoo/a%20b.tar.gz": b"bytes"}.get(path)
            if body is not None and path != "/token" and self.headers["Authorization"] != "Bearer t0":
                body = None
            self.send_response(404 if body is None else 200)
            if body is None:
                self.send_header("x-ms-error-code", "BlobNotFound")
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        yield {"AzureWebJobsStorage__blobServiceUri": url, "IDENTITY_ENDPOINT": f"{url}/token",
               "IDENTITY_HEADER": "h"}, asked  # fmt: skip
        server.shutdown()
        thread.join()


def test_the_app_reads_its_storage_as_itself(
    tmp_path: Path, identity: tuple[dict[str, str], list[tuple[str, str | None, str | None]]]
) -> None:
    """https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference"""
    environ, asked = identity
    storage.download("models", "zoo/a b.tar.gz", tmp_path / "found", environ)
    assert (tmp_path / "found").read_bytes() == b"bytes"
    assert asked == [
        ("/token?resource=https%3A%2F%2Fstorage.azure.com%2F&api-version=2019-08-01", None, "h"),
        ("/models/zoo/a%20b.tar.gz", "Bearer t0", None),
    ]
    with pytest.raises(NotThere, match="404: BlobNotFound"):
        storage.download("models", "other", tmp_path / "other", environ)
    assert not (tmp_path / "other").exists()
    with pytest.raises(Mistake, match="AzureWebJobsStorage is not set"):
        storage.download("models", "other", tmp_path / "other", {})
    with pytest.raises(Mistake, match="no identity"):
        storage.download("models", "other", tmp_path / "other", {"AzureWebJobsStorage__accountName": "a"})
    with pytest.raises(Mistake, match="without AccountName and AccountKey"):
        storage.download("models", "x", tmp_path / "other", {"AzureWebJobsStorage": "BlobEndpoint=https://a.b;"})


def test_a_model_apart_is_put_first_and_goes_with_the_app_only(
    apart: Path, artefact: Path, shelf: packed.Shelf, arm: fake_azure.Fake, tmp_path: Path
) -> None:
    deployment.deploy(apart, live=live(arm))
    said = facts.facts_of(apart)
    [(path, body)] = [(path, body) for path, body in arm.blobs.items() if path.startswith("/models/")]
    assert (path, body) == (f"/{said.model.removeprefix('blob:')}", (apart / "model.tar.gz").read_bytes())
    assert arm.settings["ANYPORT_BUNDLE"] == said.model
    deployment.deploy(artefact, live=live(arm))  # its bundle is in the package: no setting may name another
    assert "ANYPORT_BUNDLE" not in arm.settings
    other = targets.build(
        shelf.bundle("counts"), "azure_functions", tmp_path / "other", prefix="api", model="blob:models"
    ).path  # the app that runs here answers for penguins
    theirs = f"/{facts.facts_of(other).model.removeprefix('blob:')}"
    with pytest.raises(plan.PlanFailed, match="does not serve counts"):
        deployment.deploy(other, live=live(arm))
    assert "ANYPORT_BUNDLE" not in arm.settings
    assert theirs in arm.blobs, "an earlier deployment may be served from it"
    arm.resources.clear()
    arm.blobs.clear()
    with pytest.raises(plan.PlanFailed, match="everything was undone"):
        deployment.deploy(other, live=live(arm))
    assert arm.blobs.keys() <= {"/packages/released-package.zip"}


def test_a_model_that_no_instance_has_memory_for_goes_elsewhere(
    penguins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure.function, "memory", lambda bundle: 3000)
    with pytest.raises(Impossible, match="about 3,000 MB of memory; an instance has 2,048") as found:
        targets.build(penguins, "azure_functions", tmp_path / "a", memory="2048")
    assert found.value.fix == "-O memory=4096"
    assert facts.facts_of(targets.build(penguins, "azure_functions", tmp_path / "b").path).memory == 4096
    monkeypatch.setattr(azure.function, "memory", lambda bundle: 40_000)
    with pytest.raises(Impossible, match="about 40,000 MB") as found:
        targets.build(penguins, "azure_functions", tmp_path / "c")
    assert "--to docker" in found.value.fix


def test_bicep_parses_and_its_names_are_those_that_azure_knows(artefact: Path) -> None:
    """By a parser that is not Microsoft's: its compiler is no package of PyPI."""
    import pycep

    tree = pycep.BicepParser().parse(file_path=artefact / "main.bicep")
    values = json.loads((artefact / "main.parameters.json").read_text())["parameters"]
    assert set(values) <= set(tree["parameters"])
    without = {name for name, said in tree["parameters"].items() if said["default"] is None}
    assert without <= set(values)
    for name, said in tree["parameters"].items():
        for one in said["decorators"]:
            if one["type"] == "allowed" and name in values:
                assert values[name]["value"] in one["argument"]
    site = tree["resources"]["app"]["config"]
    fake_azure.unknown(site["properties"]["functionAppConfig"])
    kinds = {one["type"] for one in tree["resources"].values()}
    assert {"Microsoft.Web/sites", "Microsoft.Web/serverfarms", "Microsoft.Storage/storageAccounts"} <= kinds


def asked(app: cases.FunctionPredictor, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
    host = app.url.removeprefix("http://").partition("/")[0]
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        said = reply.read()
        return reply.status, json.loads(said) if reply.headers.get("content-type", "").endswith("json") else said
    finally:
        connection.close()


def test_routes_lie_below_the_prefix_and_mistakes_are_answered_in_the_server_s_words(
    app: cases.FunctionPredictor, row: dict[str, Any]
) -> None:
    assert asked(app, "GET", "/predict")[0] == 404, "nothing is there but what lies below the prefix"
    assert asked(app, "GET", "/api/readyz")[0] == 200
    assert asked(app, "GET", "/api/no/such/route")[0] == 404
    assert asked(app, "GET", "/api/predict")[0] == 405
    status, said = asked(app, "POST", "/api/predict", b'{"x": NaN}')
    assert (status, said["error"]) == (400, "BadBody")
    status, said = asked(app, "POST", "/api/predict?partial=true", json.dumps([{**row, next(iter(row)): {}}]).encode())
    assert said[0]["errors"][0]["column"] == next(iter(row))
    assert asked(app, "POST", "/api/admin/functions/none", b"{}")[0] == 404


def test_a_body_that_is_too_large_is_named(artefact: Path) -> None:
    import azure.functions as func

    front = Front(artefact / "bundle", settings=Settings(max_body=1000))
    request = func.HttpRequest("POST", "http://x/predict", headers={"content-length": "1"}, body=b" " * 1001)
    said = asyncio.run(web.answer(front, request, ""))
    assert said.status_code == 413
    assert b"more than 1000 bytes" in said.get_body()


def test_the_prefix_is_the_host_s_own(tmp_path: Path) -> None:
    file = tmp_path / "host.json"
    assert web.prefix(file) == "/api"
    for text, found in (("{}", "/api"), ('{"extensions":{"http":{"routePrefix":""}}}', ""),
                        ('{"extensions":{"http":{"routePrefix":"a/b"}}}', "/a/b")):  # fmt: skip
        file.write_text(text)
        assert web.prefix(file) == found
    for text, seconds in (("00:03:50", 230), ("1.00:00:01", 86401), ("-1", float("inf"))):
        file.write_text(json.dumps({"functionTimeout": text}))
        assert events.seconds(file) == seconds


def test_rows_in_a_message_are_answered_each_on_its_own(front: Front, row: dict[str, Any]) -> None:
    out = Out()
    asyncio.run(events.message(front, queued([row, {**row, next(iter(row)): {}}]), out))
    said = json.loads(out.value)
    assert (said["id"], said["version"]) == ("7", front.bundle.version)
    assert "prediction" in said["answer"][0]
    assert said["answer"][1]["errors"][0]["column"] == next(iter(row))


def test_messages_that_get_no_answer(artefact: Path, row: dict[str, Any]) -> None:
    for body in (b"{", b"\xff", b'{"x": NaN}'):
        out = Out()
        asyncio.run(events.message_to_queue(Front(artefact / "bundle"), queued(body), out))
        assert "is not JSON" in json.loads(out.value)["error"]["what"]
    slow = Front(artefact / "bundle", settings=Settings(timeout=1e-6))
    slow.load()
    slow.model.off = True
    with pytest.raises(messages.Again, match="message 7"):
        asyncio.run(events.message(slow, queued(row), Out()))


def test_an_answer_that_no_message_can_hold_is_told_instead(artefact: Path, row: dict[str, Any]) -> None:
    out = Out()
    asyncio.run(events.message_to_queue(Front(artefact / "bundle"), queued([row] * 2000), out))
    said = json.loads(out.value)
    assert said["error"]["error"] == "TooLarge"
    assert f"holds {events.LARGEST:,}" in said["error"]["what"]


def blob(body: bytes, name: str = "rows/a.jsonl") -> Any:
    return SimpleNamespace(name=name, read=lambda: body)


def test_a_blob_is_answered_with_its_refused_rows_beside_it(artefact: Path, row: dict[str, Any]) -> None:
    front = Front(artefact / "bundle")
    answers, rejects, failed = Out(), Out(), Out()
    body = b"".join(json.dumps(r).encode() + b"\n" for r in (row, {**row, next(iter(row)): {}}))
    asyncio.run(events.blob(front, blob(body), answers, rejects, failed, most=60))
    assert len(answers.value.splitlines()) == 2
    assert json.loads(rejects.value)["row"] == 1
    assert failed.value is None
    answers, failed = Out(), Out()
    asyncio.run(events.blob(front, blob(b"a,b\n1,2\n", "rows/odd.csv"), answers, Out(), failed, most=60))
    assert answers.value is None
    assert json.loads(failed.value)["error"]["blob"] == "rows/odd.csv"
    with pytest.raises(table.OutOfTime, match=r"rows/a\.jsonl: only .* rows in time"):
        asyncio.run(events.blob(front, blob(body), answers, Out(), Out(), most=events.MARGIN))


def test_a_message_goes_through_the_app_s_own_bindings(app: cases.FunctionPredictor, row: dict[str, Any]) -> None:
    out = app.told("queue:rows", "queue:answers", "message", json.dumps(row).encode(), **cases.queued("9"))
    assert json.loads(out["answers"])["id"] == "9"
    with pytest.raises(ServerError, match="message failed"):
        app.told("queue:rows", "queue:answers", "message", b"x", Id="7", DequeueCount="many")


@pytest.fixture
def arm(app: cases.FunctionPredictor, monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_azure.Fake]:
    """A subscription where the app answers that runs here."""
    monkeypatch.setattr(cloud, "PAUSE", 0.01)
    with fake_azure.fake() as found:
        found.address = app.url.removeprefix("http://").removesuffix("/api")
        yield found


def live(arm: fake_azure.Fake, **more: str) -> dict[str, str]:
    return {"function": "zoo", "group": "g", "subscription": "s", "location": "here", "endpoint_url": arm.url, **more}


def kinds(arm: fake_azure.Fake) -> set[str]:
    return {re.sub(r"anyport[0-9a-f]{17}", "STORE", name) for name in arm.resources}


def taken_back(artefact: Path, given: dict[str, str]) -> None:
    """anyport deploy --undo."""
    found = deployment.planned(artefact, live=given)
    deployment.undone(found, deployment.way_back(found), say=lambda _: None)


def test_the_first_is_made_asked_and_taken_away(artefact: Path, arm: fake_azure.Fake) -> None:
    report = deployment.deploy(artefact, live=live(arm))
    assert report is not None
    assert (report.ok, report.proof) == (True, "stand-in")
    assert kinds(arm) == {
        "Microsoft.Storage/storageAccounts/STORE", "Microsoft.Web/serverfarms/zoo-plan", "Microsoft.Web/sites/zoo",
        "Microsoft.Storage/storageAccounts/STORE/blobServices/default/containers/packages",
    }  # fmt: skip
    assert arm.published == [(artefact / "function.zip").read_bytes()]
    assert arm.settings["AzureWebJobsStorage"].endswith(";AccountKey=c2VjcmV0;EndpointSuffix=core.windows.net")
    assert arm.settings["ANYPORT_MAX_BODY"] == str(facts.MOST)
    said = plan.shown(deployment.planned(artefact, live=live(arm, function="other")).steps)
    assert "c2VjcmV0" not in said
    taken_back(artefact, live(arm))
    assert kinds(arm) == {"Microsoft.Storage/storageAccounts/STORE/blobServices/default/containers/packages"}


def test_a_package_that_answers_for_another_model_is_taken_back(
    artefact: Path, shelf: packed.Shelf, arm: fake_azure.Fake, tmp_path: Path
) -> None:
    deployment.deploy(artefact, live=live(arm))
    arm.settings["MINE"] = "kept"
    before = dict(arm.settings)
    other = targets.build(shelf.bundle("counts"), "azure_functions", tmp_path / "other", prefix="api", memory="4096")
    with pytest.raises(plan.PlanFailed, match=r"does not serve counts .*; everything was undone"):
        deployment.deploy(other.path, live=live(arm))
    first = (artefact / "function.zip").read_bytes()
    assert arm.published == [first, (other.path / "function.zip").read_bytes(), first]
    assert arm.settings == before
    config = arm.resources["Microsoft.Web/sites/zoo"]["properties"]["functionAppConfig"]
    assert config["scaleAndConcurrency"]["instanceMemoryMB"] == 2048


def test_event_grid_tells_the_app_of_new_blobs(
    penguins: Path, artefact: Path, arm: fake_azure.Fake, tmp_path: Path
) -> None:
    made = targets.build(penguins, "azure_functions", tmp_path / "made", prefix="api", trigger="blob:rows/new",
                         output="blob:answers")  # fmt: skip
    deployment.deploy(made.path, live=live(arm))
    containers = {name.rpartition("/")[2] for name in arm.resources if "/containers/" in name}
    assert containers == {"packages", "rows"}
    [told] = [held for name, held in arm.resources.items() if name.endswith("/eventSubscriptions/anyport-zoo")]
    assert told["properties"]["filter"] == {
        "includedEventTypes": ["Microsoft.Storage.BlobCreated"],
        "subjectBeginsWith": "/blobServices/default/containers/rows/blobs/new/",
    }
    # https://learn.microsoft.com/azure/azure-functions/functions-event-grid-blob-trigger#build-the-endpoint-url
    assert told["properties"]["destination"]["properties"]["endpointUrl"] == (
        f"http://{arm.address}/runtime/webhooks/blobs?functionName=Host.Functions.blob&code=b%3D%2F%3D"
    )
    with zipfile.ZipFile(made.path / "function.zip") as archive:
        assert f'@app.function_name("{cloud.BLOB}")' in archive.read("function_app.py").decode()
    deployment.deploy(artefact, live=live(arm))  # which has no trigger
    assert not [name for name in arm.resources if "EventGrid" in name]
    assert not {"ANYPORT_TRIGGER", "ANYPORT_OUTPUT"} & arm.settings.keys()


def test_an_app_that_never_begins_to_listen_is_taken_back(
    penguins: Path, arm: fake_azure.Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"prefix": "api", "output": "blob:answers"}
    first = targets.build(penguins, "azure_functions", tmp_path / "queue", trigger="queue:rows", **given)
    deployment.deploy(first.path, live=live(arm))
    assert "Microsoft.Storage/storageAccounts/STORE/queueServices/default/queues/rows" in kinds(arm)
    second = targets.build(penguins, "azure_functions", tmp_path / "blobs", trigger="blob:rows", **given)
    arm.keys = {}
    monkeypatch.setattr(cloud, "BEGUN", 0.05)
    with pytest.raises(plan.PlanFailed, match=r"zoo has no key blobs_extension: its host has not begun"):
        deployment.deploy(second.path, live=live(arm))
    assert arm.settings["ANYPORT_TRIGGER"] == "queue:rows"


def test_the_way_back_publishes_the_package_before(artefact: Path, arm: fake_azure.Fake) -> None:
    deployment.deploy(artefact, live=live(arm))
    arm.blobs["/packages/released-package.zip"] = b"an older one"
    deployment.deploy(artefact, live=live(arm))
    taken_back(artefact, live(arm))
    assert arm.published[-1] == b"an older one"


def test_what_azure_refuses_is_said_in_its_words(artefact: Path, arm: fake_azure.Fake) -> None:
    arm.status = 3
    with pytest.raises(plan.PlanFailed, match=r"no matching distribution; what was done before is undone"):
        deployment.deploy(artefact, live=live(arm))
    assert not [name for name in arm.resources if "sites" in name]
    arm.denied = True
    with pytest.raises(plan.PlanFailed, match="does not have authorization"):
        deployment.deploy(artefact, live=live(arm))
    made = targets.artifact(artefact)
    with pytest.raises(NotThere, match="there is no function app zoo"), azure.connect(made, azure.Live(**live(arm))):
        pass
    with pytest.raises(Mistake, match="in which group"):
        deployment.planned(artefact, live={"function": "zoo", "subscription": "s", "endpoint_url": arm.url})


def test_a_url_is_asked_with_the_key_of_a_file(artefact: Path, app: cases.FunctionPredictor, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret\n")
    made = targets.artifact(artefact)
    with azure.connect(made, azure.Live(url=app.url, key_file=str(tmp_path / "key"))) as running:
        assert running.engine.proof == "live"
        assert getattr(running.predictor, "headers")["x-functions-key"] == "secret"  # noqa: B009
    with pytest.raises(Mistake, match="the key cannot be read"), azure.connect(
        made, azure.Live(url=app.url, key_file=str(tmp_path / "none"))
    ):  # fmt: skip
        pass


def test_the_worker_is_locked_for_the_pythons_that_have_it() -> None:
    text = local.with_worker(lock.shipped("graph", "on-azure"))
    assert "azure-functions-runtime" in {name for name, _, _ in lock.pins(text)}
    names = [name for name, _, marker in lock.pins(text) if not marker]
    assert len(names) == len(set(names))
