"""BigQuery's imported models: the shipped graph and query under ML.PREDICT's contract, and Google's own clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import google_fake
import onnx
import packed
import pytest
from tampering import resealed
from test_sql import golden_inputs, judged

from anyport import conformance, deployment, targets
from anyport.bundle import read
from anyport.errors import BadBundle, BadData, Impossible, Mistake, ParityFailed
from anyport.golden import store
from anyport.target import Call, Sql
from anyport.targets import bigquery
from anyport.targets.bigquery import model
from anyport.targets.bigquery.predicted import Model, parted
from anyport.targets.bigquery.session import written

GIVEN = {"engine": "onnx", "bucket": "models", "dataset": "zoo", "table": "people", "view": "answers"}


@pytest.fixture(autouse=True)
def clients() -> None:
    pytest.importorskip("google.cloud.bigquery")
    pytest.importorskip("google.cloud.storage")


@pytest.fixture
def there(tmp_path: Path) -> Iterator[google_fake.Google]:
    (tmp_path / "google").mkdir()
    with google_fake.google(tmp_path / "google") as one:
        one.data.raw.execute("create schema zoo")
        one.data.raw.execute("create table zoo.people as select 7 as id, 0.5 as x0, null::double as x1")
        yield one


@pytest.mark.parametrize("name", ["penguin_species", "lightgbm_categories", "two_answers", "fixed_batch"])
def test_the_imported_model_answers_as_the_original_did(shelf: packed.Shelf, tmp_path: Path, name: str) -> None:
    bundle = read(shelf.bundle(name))
    made = targets.build(bundle, "bigquery", tmp_path / "artefact", engine="onnx", bucket="models")
    with bigquery.run(made) as running:
        found = judged(bundle, running.predictor.predict(golden_inputs(bundle)))
        assert running.engine.proof == "stand-in"
    assert found.ok, found.says()


def test_the_graph_is_one_that_bigquery_imports(shelf: packed.Shelf) -> None:
    loaded = onnx.load_from_string(model.graph(read(shelf.bundle("penguin_species"))))
    assert loaded.ir_version == 8
    assert {o.domain: o.version for o in loaded.opset_import} == {"": 17, "ai.onnx.ml": 3}
    shapes = {i.name: [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim] for i in loaded.graph.input}
    assert set(map(tuple, shapes.values())) == {("N", 1)}
    assert {"c0", "m0", "c6", "m6"} <= set(shapes)
    assert [o.name for o in loaded.graph.output] == ["a0", "a1"]


def test_the_query_names_every_input_and_gives_none_a_null(shelf: packed.Shelf, tmp_path: Path) -> None:
    made = targets.build(shelf.bundle("one_label"), "bigquery", tmp_path / "artefact", **GIVEN)
    create, view = (made.path / "up.sql").read_text().removesuffix(";\n").split(";\n")
    asked, [_], _ = parted(view)
    assert asked == "`zoo`.`answers_model`"
    place = bigquery.plan(made, bigquery.Options(), None)[0].do
    assert isinstance(place, Call)
    assert create == (
        "create or replace model `zoo`.`answers_model` options(model_type = 'ONNX', "
        f"model_path = '{place.params['to']}')"
    )
    graph = Model(made.path / "model.onnx")
    assert graph.inputs == {"c0": "FLOAT64", "m0": "BOOL", "c1": "FLOAT64", "m1": "BOOL"}
    with pytest.raises(BadData, match="the input c1 has a NULL"):
        graph.predict(["c0", "m0", "c1", "m1"], [(0.5, False, None, True)])
    with pytest.raises(BadData, match=r"has not the columns \['m1'\]"):
        graph.predict(["c0", "m0", "c1"], [(0.5, False, 0.5)])


def test_what_bigquery_does_not_import_is_refused_before_any_work(
    shelf: packed.Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = read(shelf.bundle("one_label"))
    for bucket in ("", "Up", "gs://x"):
        with pytest.raises(Mistake, match="a bucket of Cloud Storage"):
            bigquery.fits(small, bigquery.Options(engine="onnx", bucket=bucket))
    options = bigquery.Options(engine="onnx", bucket="models")
    words = bigquery.fits(read(shelf.bundle("documents")), options)
    assert words is not None
    assert "splits text into words" in words.why
    monkeypatch.setattr(model, "MOST_MB", 0.0001)
    large = bigquery.fits(small, options)
    assert large is not None
    assert "BigQuery takes 0.0001 MB" in large.why


def test_a_model_is_deployed_asked_there_and_taken_back(
    there: google_fake.Google, shelf: packed.Shelf, tmp_path: Path
) -> None:
    """Through google-cloud-bigquery and google-cloud-storage, over HTTP."""
    made = targets.build(shelf.bundle("one_label"), "bigquery", tmp_path / "artefact", **GIVEN)
    live = {"project": "shop", "location": "EU", "endpoint": there.url}
    found = deployment.planned(made.path, live=live)
    assert [type(s.do) for s in found.steps] == [Call, Sql, Sql]
    assert deployment.done(found, say=str, check=False) is None
    assert list(there.models) == ["`zoo`.`answers_model`"]
    [(place, data)] = there.files.items()
    assert place.startswith("gs://models/anyport/one_label/")
    assert data == (made.path / "model.onnx").read_bytes()
    asked = "select id, prediction, probability_0, refusal from zoo.answers"
    with bigquery.connected(bigquery.Live(**live)) as session:
        assert session.ask(asked) == [(7, "only", 1.0, None)]
        there.files[place] = b"another"
        with pytest.raises(Mistake, match="is there, and is not this model"):
            session.upload(made.path / "model.onnx", place)
    deployment.undone(found, None, say=str)
    assert (there.models, there.files) == ({}, {})
    missing = targets.build(shelf.bundle("one_label"), "bigquery", tmp_path / "b", **{**GIVEN, "table": "nowhere"})
    with pytest.raises(deployment.plan.PlanFailed, match=r"Table.*nowhere.*what was done before is undone"):
        deployment.deploy(missing.path, live=live)
    assert (there.models, there.files) == ({}, {})


@pytest.mark.parametrize("engine", ["onnx", "sql"])
def test_a_check_in_a_project_leaves_nothing_behind(
    there: google_fake.Google, shelf: packed.Shelf, tmp_path: Path, engine: str
) -> None:
    bundle = read(shelf.bundle("penguin_species" if engine == "onnx" else "one_label"))
    made = targets.build(bundle, "bigquery", tmp_path / "artefact", **{**GIVEN, "engine": engine})
    live = bigquery.Live(project="shop", endpoint=there.url)
    with bigquery.connect(made, live) as running:
        for _ in range(2):
            found = judged(bundle, running.predictor.predict(golden_inputs(bundle)))
            assert found.ok, found.says()
        assert running.engine.proof == "stand-in"  # whoever answers, it is not Google
        assert len(there.files) == (engine == "onnx")
        with pytest.raises(BadData, match="there is no column"):
            running.predictor.predict({"x": golden_inputs(bundle)[bundle.signature.inputs[0].name]})
    assert there.datasets == ["zoo"]
    assert (there.models, there.files) == ({}, {})


def test_what_answers_differently_there_is_undone(
    there: google_fake.Google, shelf: packed.Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conformance, "CASES", tuple(c for c in conformance.CASES if c.name == "golden"))
    made = targets.build(shelf.bundle("one_label"), "bigquery", tmp_path / "artefact", **GIVEN)
    live = {"project": "shop", "endpoint": there.url}
    report = deployment.deploy(made.path, live=live)
    assert report is not None
    assert report.ok
    assert list(there.models) == ["`zoo`.`answers_model`"]
    inside = read(made.path / "bundle")
    golden = store.read(inside.path / "golden.npz", inside.signature)
    golden.outcome.outputs["probability"].values[7] += 0.25
    store.write(golden, inside.signature, inside.path / "golden.npz")
    resealed(made.path)
    with pytest.raises(ParityFailed, match=r"golden: 1 of .* rows differ.*; everything was undone"):
        deployment.deploy(made.path, live=live)
    assert (there.models, there.files) == ({}, {})


def test_an_artefact_that_was_changed_is_not_checked(
    there: google_fake.Google, shelf: packed.Shelf, tmp_path: Path
) -> None:
    made = targets.build(shelf.bundle("one_label"), "bigquery", tmp_path / "artefact", **GIVEN)
    (made.path / "query.sql").write_text("select 1;\n")
    with pytest.raises(BadBundle, match="not what this anyport writes"):
        bigquery.connect(made, bigquery.Live(project="shop", endpoint=there.url)).__enter__()
    with pytest.raises(Impossible, match="cannot read"):
        parted("select from ml.predict(")


def test_values_are_written_as_bigquery_loads_them() -> None:
    values = [float("nan"), float("-inf"), 2**63 - 1, 0.1, True, None, "NaN"]
    assert [written(v) for v in values] == ["NaN", "-Infinity", "9223372036854775807", 0.1, True, None, "NaN"]
