"""The target gcf: what the source holds, how a function answers what is asked of it wrongly, and how it is deployed."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_google
import packed
import pytest

from anyport import deployment, targets
from anyport.bundle import read
from anyport.client import HttpPredictor
from anyport.deployment import plan
from anyport.errors import Impossible, Mistake, ServerError, Unreachable
from anyport.functions import messages
from anyport.functions.front import Front
from anyport.functions.google import api, events, limits
from anyport.functions.google.outputs import output
from anyport.kit import lock
from anyport.serve.settings import Settings
from anyport.targets import gcf
from anyport.targets.gcf import facts, standin

pytestmark = pytest.mark.target_gcf
OUT = "gs://answers/out"


@pytest.fixture(scope="module")
def artefact(penguins: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gcf") / "penguins"
    return targets.build(penguins, "gcf", folder, trigger="storage:rows", output=OUT).path


@pytest.fixture(scope="module")
def function(artefact: Path) -> Iterator[HttpPredictor]:
    """The function of HTTP, under functions-framework."""
    with gcf.run(targets.artifact(artefact)) as running:
        assert isinstance(running.predictor, HttpPredictor)
        yield running.predictor


@pytest.fixture(scope="module")
def row(artefact: Path) -> dict[str, Any]:
    front = Front(artefact / "bundle")
    front.load()
    found = front.model.example()
    assert found is not None
    return found


@pytest.fixture
def place() -> Iterator[standin.Place]:
    with standin.google() as found:
        yield found


@pytest.fixture
def listener(artefact: Path, place: standin.Place) -> events.Listener:
    return listening(artefact, place, OUT)


def listening(artefact: Path, place: standin.Place, out: str, settings: Settings | None = None) -> events.Listener:
    environ = {"ANYPORT_OUTPUT": out, "STORAGE_EMULATOR_HOST": place.url,
               "PUBSUB_EMULATOR_HOST": place.url.removeprefix("http://"), "GOOGLE_CLOUD_PROJECT": "mine"}  # fmt: skip
    return events.Listener(Front(artefact / "bundle", settings=settings), environ)


def event(kind: str, data: Any, key: str = "7") -> Any:
    """A CloudEvent as functions-framework hands it over."""

    class Event(SimpleNamespace):
        def __getitem__(self, name: str) -> str:
            return {"id": key, "type": kind}[name]

    return Event(data=data)


def published(body: Any, key: str = "7") -> Any:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return event(limits.PUBLISHED, {"message": {"data": base64.b64encode(text).decode(), "messageId": key}}, key)


def finalized(name: str, bucket: str = "rows") -> Any:
    return event(limits.FINALIZED, {"bucket": bucket, "name": name, "generation": "3"})


def left(place: standin.Place, name: str = "7.json") -> Any:
    return json.loads(place.objects[f"{OUT}/{name}"])


def test_the_source_is_what_google_builds(artefact: Path) -> None:
    with zipfile.ZipFile(artefact / "function.zip") as archive:
        names = archive.namelist()
        requirements = archive.read("requirements.txt").decode()
        main = archive.read("main.py")
    assert {name.partition("/")[0] for name in names} == {"main.py", "requirements.txt", "runtime", "config", "bundle"}
    pinned = {name for name, _, _ in lock.pins(requirements)}  # which refuses a line without a hash
    assert {"functions-framework", "onnxruntime", "numpy", "msgspec"} <= pinned
    assert main == (Path(gcf.__file__).parent / "project" / "main.py").read_bytes()
    assert not [n for n in names if n.startswith(("runtime/anyport/targets", "runtime/anyport/cli/"))]


def test_a_python_model_brings_its_own_versions_and_its_own_python(shelf: packed.Shelf, tmp_path: Path) -> None:
    bundle = read(shelf.bundle("notebook_class"))
    made = targets.build(bundle, "gcf", tmp_path / "a")
    with zipfile.ZipFile(made.path / "function.zip") as archive:
        pinned = dict(pin[:2] for pin in lock.pins(archive.read("requirements.txt").decode()))
    own = {name: version for name, version, _ in lock.pins((bundle.path / "requirements.lock").read_text())}
    assert own.items() <= pinned.items()
    assert "functions-framework" in pinned
    assert "onnxruntime" not in pinned, "a Python model needs none"
    said = facts.facts_of(made.path)
    assert (said.python, said.concurrency) == (bundle.manifest.python, 1)
    other = "3.13" if bundle.manifest.python != "3.13" else "3.12"
    with pytest.raises(Impossible, match=rf"packed on Python {bundle.manifest.python} and runs on no other"):
        targets.build(bundle, "gcf", tmp_path / "b", python=other)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"memory": "100"}, "100 MiB"), ({"timeout": "4000"}, "4000 s"), ({"concurrency": "2000"}, "2000"),
        ({"output": "s3://x"}, "names no place"), ({"trigger": "queue:x"}, "is none"),
        ({"trigger": "pubsub:rows"}, "have no place"),
        ({"trigger": "storage:rows", "output": "pubsub:answers"}, "cannot be published"),
        ({"trigger": "storage:rows", "output": "gs://rows"}, "answered in turn, for ever"),
        ({"model": "s3://x"}, "not in Storage"), ({"python": "3.10"}, "Invalid enum value"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_refused_before(
    penguins: Path, tmp_path: Path, given: dict[str, str], says: str
) -> None:
    with pytest.raises(Mistake, match=says):
        targets.build(penguins, "gcf", tmp_path / "a", **given)
    assert not (tmp_path / "a").exists()


def test_a_model_that_no_instance_has_memory_for_goes_elsewhere(
    penguins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcf.function, "memory", lambda bundle: 40_000)
    with pytest.raises(Impossible, match=r"about 40,000 MiB of memory; an instance has 32,768") as found:
        targets.build(penguins, "gcf", tmp_path / "a")
    assert "--to docker" in found.value.fix


def test_as_many_at_once_as_the_measured_model_answers_soon(penguins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = read(penguins)
    for took, at_once in ((None, 1), (0.02, 1), (0.009, 5), (0.0001, 80)):
        monkeypatch.setattr(gcf.function, "seconds", lambda _, took=took: took)
        assert gcf.function.concurrency(bundle) == at_once
    assert [facts.cpus(memory) for memory in (512, 4096, 4097, 20_000, 32_768)] == [1, 1, 2, 6, 8]


def test_terraform_and_gcloud_say_the_same(artefact: Path) -> None:
    import hcl2

    tree = hcl2.loads((artefact / "main.tf").read_text())
    plain = json.loads(json.dumps(tree).replace('\\"', ""))
    declared = {name for block in plain["variable"] for name in block}
    values = json.loads((artefact / "terraform.tfvars.json").read_text())
    asked = {name for block in plain["variable"] for name, said in block.items() if "default" not in said}
    assert set(values) <= declared
    assert asked - set(values) == {"project", "region", "source_bucket"}
    flags = json.loads((artefact / "gcloud.json").read_text())
    assert flags["--memory"] == values["memory"] == "512Mi"
    assert flags["--set-env-vars"] == values["environment"]
    assert (flags["--concurrency"], flags["--runtime"]) == (values["concurrency"], values["runtime"])
    if shutil.which("terraform"):
        done = subprocess.run(["terraform", "fmt", "-check", artefact / "main.tf"], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def asked(
    function: HttpPredictor, method: str, path: str, body: bytes | None = None, *, encoding: str = ""
) -> tuple[int, Any]:
    host = function.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json", "Content-Encoding": encoding})
        reply = connection.getresponse()
        said = reply.read()
        return reply.status, json.loads(said) if reply.headers.get("content-type", "").endswith("json") else said
    finally:
        connection.close()


def test_what_is_asked_wrongly_is_answered_in_the_server_s_words(function: HttpPredictor, row: dict[str, Any]) -> None:
    assert asked(function, "GET", "/no/such/route")[0] == 404
    assert asked(function, "GET", "/predict")[0] == 405
    status, said = asked(function, "POST", "/predict", b'{"x": NaN}')
    assert (status, said["error"]) == (400, "BadBody")
    assert "is not JSON" in said["what"]
    status, said = asked(function, "POST", "/predict", json.dumps({**row, next(iter(row)): {}}).encode())
    assert (status, next(iter(row))) == (422, said["errors"][0]["column"])
    status, said = asked(function, "POST", "/predict", gzip.compress(json.dumps(row).encode()), encoding="gzip")
    assert status == 200
    assert asked(function, "POST", "/v2/models/penguin%5Fspecies/infer", b"{}")[0] == 400, (
        "the path is not decoded twice"
    )


def test_a_body_that_cloud_run_would_not_carry_is_named(function: HttpPredictor) -> None:
    status, said = asked(function, "POST", "/predict", b" " * (limits.MOST + 1))
    assert (status, said["error"]) == (413, "TooLarge")
    assert str(limits.MOST) in said["what"]


def test_an_answer_that_cloud_run_would_not_carry_is_named(
    artefact: Path, row: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import flask

    from anyport.functions.google import web

    front = Front(artefact / "bundle")
    app = flask.Flask("x")
    with app.test_request_context("/predict", method="POST", json=row):
        assert web.answer(front, flask.request)[1] == 200
        monkeypatch.setattr(web, "MOST", 10)
        body, status, _ = web.answer(front, flask.request)
    assert status == 413
    assert b"Cloud Run carries 10" in body


def test_rows_in_a_message_are_answered_each_on_its_own(
    listener: events.Listener, place: standin.Place, row: dict[str, Any]
) -> None:
    listener(published([row, {**row, next(iter(row)): {}}]))
    said = left(place)
    assert (said["id"], said["version"]) == ("7", listener.front.bundle.version)
    assert "prediction" in said["answer"][0]
    assert said["answer"][1]["errors"][0]["column"] == next(iter(row))


def test_answers_can_be_published(artefact: Path, place: standin.Place, row: dict[str, Any]) -> None:
    listening(artefact, place, "pubsub:answers")(published(row))
    ((body, attributes),) = place.published["projects/mine/topics/answers"]
    assert attributes == {"id": "7"}
    assert "prediction" in json.loads(body)["answer"]


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (event(limits.PUBLISHED, {"message": {"data": "?"}}), "message.data is no base64"),
        (event(limits.PUBLISHED, {"message": {"attributes": {}}}), "has no message.data"),
        (event(limits.PUBLISHED, {}), "has no message"),
        (event(limits.PUBLISHED, b"text"), "has no message"),
        (event(limits.FINALIZED, {"bucket": "rows"}), "has no name"),
        (event("com.example.x", {}), "events of type com.example.x are not taken"),
        (published(b'{"x": NaN}'), "is not JSON"),
        (published(b"\xff"), "is not JSON"),
    ],
)  # fmt: skip
def test_what_can_never_be_answered_is_taken_and_told_to_the_output(
    listener: events.Listener, place: standin.Place, sent: Any, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    listener(sent)
    assert says in left(place)["error"]["what"]
    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (line["severity"], says in line["message"]) == ("ERROR", True)


def test_what_may_pass_comes_again(artefact: Path, place: standin.Place, row: dict[str, Any]) -> None:
    listener = listening(artefact, place, OUT)
    place.closed = True
    with pytest.raises(ServerError, match="503: Service Unavailable"):
        listener(published(row))
    slow = listening(artefact, place, OUT, Settings(timeout=1e-6))
    slow.front.load()
    slow.front.model.off = True
    with pytest.raises(messages.Again, match="message 7"):
        slow(published(row))
    with pytest.raises(Mistake, match="ANYPORT_OUTPUT is not set"):
        listening(artefact, place, "")(published(row))


def test_a_table_that_arrives_is_answered_with_its_refused_rows_beside_it(
    listener: events.Listener, place: standin.Place, row: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    broken = {**row, next(iter(row)): {}}
    place.objects["gs://rows/in/day one.jsonl"] = b"".join(json.dumps(r).encode() + b"\n" for r in (row, broken))
    listener(finalized("in/day one.jsonl"))
    assert len(place.objects[f"{OUT}/in/day one.jsonl"].splitlines()) == 2
    (rejected,) = place.objects[f"{OUT}/in/day one.jsonl.rejects.jsonl"].splitlines()
    assert json.loads(rejected)["row"] == 1
    assert "2 rows answered, 1 refused" in capsys.readouterr().err


def test_objects_that_are_no_rows(
    listener: events.Listener, artefact: Path, place: standin.Place, row: dict[str, Any]
) -> None:
    place.objects[f"{OUT}/in.jsonl"] = json.dumps(row).encode()
    listener(finalized("folder/"))
    listener(finalized("out/in.jsonl", bucket="answers"))
    listener(finalized("gone.csv"))
    assert set(place.objects) == {f"{OUT}/in.jsonl"}, "an answer was answered"
    place.objects["gs://rows/odd.csv"] = b"a,b\n1,2\n"
    listener(finalized("odd.csv"))
    assert left(place)["error"]["object"] == "gs://rows/odd.csv"
    listening(artefact, place, "pubsub:answers")(finalized("odd.csv"))
    assert "cannot be published" in place.published["projects/mine/topics/answers"][0][0].decode()
    watched = listening(artefact, place, "gs://rows")
    watched(finalized("odd.csv"))
    assert "for ever" in place.objects["gs://rows/7.json"].decode()


def test_a_table_that_takes_too_long_is_given_up_in_time(
    artefact: Path, place: standin.Place, row: dict[str, Any]
) -> None:
    place.objects["gs://rows/a.jsonl"] = json.dumps(row).encode() + b"\n"
    late = listening(artefact, place, OUT, Settings(timeout=events.MARGIN))
    with pytest.raises(events.table.OutOfTime, match=r"gs://rows/a.jsonl: only .* rows in time"):
        late(finalized("a.jsonl"))
    assert set(place.objects) == {"gs://rows/a.jsonl"}


def test_google_is_asked_as_the_function_s_own_account(place: standin.Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_google.fake() as cloud:
        tokens = iter([{"access_token": "abc", "expires_in": 3600}])
        cloud.answer = lambda method, target, body: (200, next(tokens))  # type: ignore[method-assign]
        monkeypatch.setattr(api, "METADATA", f"{cloud.url}/token")
        google = api.Google({})
        assert [google.token(), google.token()] == ["abc", "abc"], "asked once"
    monkeypatch.setattr(api, "METADATA", "http://127.0.0.1:9/token")
    with pytest.raises(Unreachable):
        api.Google({}).token()
    with pytest.raises(Mistake, match="No such object"):
        api.Google({"STORAGE_EMULATOR_HOST": place.url}).download("b", "n", Path("x"))
    assert output("gs://b", project="p") == ("b", "", "")


@pytest.fixture
def cloud(function: HttpPredictor) -> Iterator[fake_google.Fake]:
    """A project where functions answer as the one does that runs here."""
    with fake_google.fake() as found:
        found.address = function.url
        yield found


def live(cloud: fake_google.Fake, **more: str) -> dict[str, str]:
    return {"function": "zoo", "project": "mine", "region": "here", "endpoint_url": cloud.url, **more}


def taken_back(artefact: Path, given: dict[str, str]) -> None:
    """anyport deploy --undo."""
    found = deployment.planned(artefact, live=given)
    deployment.undone(found, deployment.way_back(found), say=lambda _: None)


def test_the_first_is_made_asked_and_taken_away(artefact: Path, cloud: fake_google.Fake) -> None:
    report = deployment.deploy(artefact, live=live(cloud))
    assert report is not None
    assert (report.ok, report.proof) == (True, "stand-in")
    made = cloud.functions["projects/mine/locations/here/functions/zoo"]
    assert made["serviceConfig"]["availableMemory"] == "512Mi"
    assert cloud.uploads["/upload/0"] == (artefact / "function.zip").read_bytes()
    beside = cloud.functions["projects/mine/locations/here/functions/zoo-event"]
    assert beside["eventTrigger"]["eventFilters"] == [{"attribute": "bucket", "value": "rows"}]
    assert beside["buildConfig"]["source"] == made["buildConfig"]["source"]
    taken_back(artefact, live(cloud))
    assert not cloud.functions


def test_a_new_revision_gets_its_traffic_once_it_is_proven(artefact: Path, cloud: fake_google.Fake) -> None:
    deployment.deploy(artefact, live=live(cloud))
    said: list[str] = []
    found = deployment.planned(artefact, live=live(cloud, weight="30"))
    deployment.done(found, say=lambda line: said.append(f"{line} | {cloud.shares('zoo')}"))
    first = next(i for i, line in enumerate(said) if line.startswith("make a revision"))
    last = next(i for i, line in enumerate(said) if line.startswith("give it 30 %"))
    assert [line for line in said[first : last + 1] if line.startswith("replaying")]
    for line in said[first : last + 1]:
        assert line.endswith("{'zoo-00001': 100}"), "the old one answers until the new one is proven"
    assert cloud.shares("zoo") == {"zoo-00003": 30, "zoo-00001": 70}
    taken_back(artefact, live(cloud))
    assert cloud.shares("zoo") == {"zoo-00001": 100}


def test_a_revision_that_answers_for_another_model_is_undone(
    artefact: Path, shelf: packed.Shelf, cloud: fake_google.Fake, tmp_path: Path
) -> None:
    deployment.deploy(artefact, live=live(cloud))
    before = json.dumps(cloud.functions["projects/mine/locations/here/functions/zoo"]["buildConfig"]["source"])
    other = targets.build(shelf.bundle("counts"), "gcf", tmp_path / "other")
    with pytest.raises(plan.PlanFailed, match=r"does not serve counts .*; everything was undone"):
        deployment.deploy(other.path, live=live(cloud))
    assert cloud.shares("zoo") == {"zoo-00001": 100}
    after = json.dumps(cloud.functions["projects/mine/locations/here/functions/zoo"]["buildConfig"]["source"])
    assert before == after


def test_what_google_refuses_is_said_in_its_words(artefact: Path, cloud: fake_google.Fake) -> None:
    cloud.denied = "/v2/projects/mine/locations/here/functions"
    with pytest.raises(plan.PlanFailed, match=r"functions.update' denied"):
        deployment.deploy(artefact, live=live(cloud))
    with pytest.raises(Mistake, match="in which region"):
        deployment.deploy(artefact, live={"function": "zoo", "project": "p", "endpoint_url": cloud.url})
    with pytest.raises(Mistake, match="there is no function"), gcf.connect(
        targets.artifact(artefact), gcf.Live(**live(cloud))
    ):  # fmt: skip
        pass


def test_a_url_is_asked_with_the_token_of_a_file(artefact: Path, function: HttpPredictor, tmp_path: Path) -> None:
    made = targets.artifact(artefact)
    with gcf.connect(made, gcf.Live(url=function.url)) as running:
        assert running.engine.proof == "live"
    (tmp_path / "token").write_text("secret\n")
    with gcf.connect(made, gcf.Live(url=function.url, token_file=str(tmp_path / "token"))) as running:
        assert isinstance(running.predictor, HttpPredictor)
        assert running.predictor.headers["Authorization"] == "Bearer secret"
    with pytest.raises(Mistake, match="the token cannot be read"), gcf.connect(
        made, gcf.Live(url=function.url, token_file=str(tmp_path / "none"))
    ):  # fmt: skip
        pass
