"""Form python: code that travels by value, an environment that is locked, and a clean interpreter that answers."""

from __future__ import annotations

import hashlib
import http.server
import os
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from anyport import byvalue, frames, pyform
from anyport.batch import Column, Outcome, Refusal
from anyport.bundle import Manifest, Tolerance, read, seal
from anyport.errors import BadBundle, BadData, Impossible, Missing, Mistake, Offline, ParityFailed, Untrusted
from anyport.frameworks import Original
from anyport.frameworks import python as framework
from anyport.golden.ask import answer
from anyport.golden.rows import Golden
from anyport.ingest import to_batch
from anyport.kit import lock as locks
from anyport.kit import process, runtime
from anyport.signature import Field, Signature
from anyport.trust import Trust, held

HERE = Path(__file__).parent


class Scorer:
    """A user's own class, in a module that no distribution brings."""

    def __init__(self, weights=(1.0, 2.0)) -> None:
        self.weights = np.array(weights)

    def predict(self, rows):
        print("a model that talks")
        os.write(1, b"and one that talks past Python\n")
        if (rows[:, 0] > 90).any():
            os._exit(7)
        if (rows[:, 0] > 50).any():
            raise ValueError("more than fifty")
        return scaled(rows @ self.weights)


def scaled(values):
    return values * 3


NUMBERS = Signature(
    inputs=(Field(name="a", dtype="float64"), Field(name="b", dtype="float64")),
    outputs=(Field(name="prediction", dtype="float64", nullable=True),), container="array",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def own_home(tmp_path_factory):
    """One cache for the whole module, so that one environment is made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.setenv("UV_CACHE_DIR", os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache" / "uv")))
        for name in ("ANYPORT_TRUST", "ANYPORT_WHEELHOUSE"):
            patch.delenv(name, raising=False)
        yield


def batch(n=40):
    values = np.random.default_rng(0).normal(size=(n, 2))
    return {"a": Column(values[:, 0].copy()), "b": Column(values[:, 1].copy())}


def predictions(outcome):
    return outcome.outputs["prediction"].values


def golden_of(original, inputs):
    return Golden(inputs, answer(original, inputs), ("typical",) * len(inputs["a"]), 0.0, ())


def sealed(folder, original):
    folder.mkdir(exist_ok=True)
    manifest = Manifest(protocol=1, name="scorer", framework="python", form="python", signature=original.signature,
                        tolerance=Tolerance(), files={})  # fmt: skip
    try:
        seal(folder, pyform.save(original, folder, manifest))
    except Offline as error:
        pytest.skip(f"no package registry: {error}")
    return read(folder)


@pytest.fixture(scope="module")
def original():
    return Original(Scorer(), "python", NUMBERS, batch())


@pytest.fixture(scope="module")
def packed(tmp_path_factory, original):
    """A sealed bundle, not yet remembered as trusted."""
    return sealed(tmp_path_factory.mktemp("packed") / "scorer.anyport", original)


CONSENT = Trust(all=True)


def test_the_lock_holds_what_the_object_needs_with_hashes_and_nothing_else(packed):
    text = (packed.path / "requirements.lock").read_text()
    pinned = {name: version for name, version, _ in locks.pins(text)}
    assert set(pinned) == {"numpy", "msgspec", "cloudpickle"}
    assert pinned["numpy"] == np.__version__
    assert text.count("--hash=sha256:") > 3
    assert str(packed.path) not in text
    assert packed.manifest.requirements == tuple(sorted(f"{n}=={v}" for n, v in pinned.items()))
    assert packed.manifest.python == f"{sys.version_info.major}.{sys.version_info.minor}"


def test_a_clean_interpreter_answers_as_the_original_without_this_module(packed, original):
    rows = batch(100)
    with pyform.apart(packed, trust=CONSENT) as clean:
        np.testing.assert_array_equal(predictions(clean.predict(rows)), predictions(answer(original, rows)))
        code = (
            "import importlib.util as i, sys\n"
            "print(sys.prefix, [m for m in ('pandas', 'sklearn', 'pytest', 'onnxruntime') if i.find_spec(m)])"
        )
        prefix, found = process.run([clean.worker.argv[0], "-I", "-c", code]).checked().stdout.decode().split(" ", 1)
        assert prefix != sys.prefix
        assert found.strip() == "[]"


def test_proof_passes_and_remembers_and_a_wrong_answer_fails_it(packed, original):
    golden = golden_of(original, batch())
    wrong = golden.outcome.outputs["prediction"].values.copy()
    wrong[17] += 1e-3
    spoilt = replace(golden, outcome=Outcome({"prediction": Column(wrong)}, {}))
    with pytest.raises(ParityFailed, match="1 of 40 rows differ; row 17 prediction"):
        pyform.prove(packed.path, spoilt)
    assert packed.digest not in held().files
    pyform.prove(packed.path, golden)
    assert packed.digest in held().files
    assert len(pyform.predictor(packed).predict(batch()).outputs["prediction"]) == 40


def test_nothing_is_opened_or_installed_without_consent(packed, monkeypatch):
    def never(*_, **__):
        raise AssertionError("installed before consent")

    monkeypatch.setattr(pyform, "environment", never)
    with pytest.raises(Untrusted, match="--trust"):
        pyform.predictor(packed, trust=Trust())
    with pytest.raises(Untrusted, match="--trust"), pyform.apart(packed, trust=Trust()):
        raise AssertionError("opened")


def test_refusals_and_failures_keep_to_their_row(packed):
    rows = batch(5)
    rows["a"].values[1] = 60.0
    rows["b"].values[3] = np.nan
    with pyform.apart(packed, trust=CONSENT) as clean:
        there = clean.predict(rows)
    here = pyform.predictor(packed, trust=CONSENT).predict(rows)
    for outcome in (there, here):
        assert set(outcome.refused) == {1, 3}
        assert outcome.refused[1][0].got == "ValueError: more than fifty"
        assert outcome.refused[3][0].column == "b"
        assert outcome.outputs["prediction"].missing().tolist() == [False, True, False, True, False]
    np.testing.assert_array_equal(predictions(there)[[0, 2, 4]], predictions(here)[[0, 2, 4]])


def test_a_model_that_kills_its_process_is_reported_with_its_last_words(packed):
    rows = batch(2)
    rows["a"].values[0] = 99.0
    says = r"(?s)ended with 7.*a model that talks"
    with pytest.raises(Impossible, match=says), pyform.apart(packed, trust=CONSENT) as clean:
        clean.predict(rows)


def test_an_empty_batch_has_an_empty_answer(packed):
    with pyform.apart(packed, trust=CONSENT) as clean:
        assert len(clean.predict(batch(0)).outputs["prediction"]) == 0


def changed(packed, folder, *, lock=None, **facts):
    """The bundle with another lock or manifest, sealed again."""
    folder.mkdir()
    for name in packed.manifest.files:
        (folder / name).write_bytes((packed.path / name).read_bytes())
    if lock is not None:
        text = (folder / "requirements.lock").read_text()
        assert lock[0] in text
        (folder / "requirements.lock").write_text(text.replace(*lock))
    import msgspec

    seal(folder, msgspec.structs.replace(packed.manifest, **facts))
    return read(folder)


def test_another_version_is_an_error_that_names_both(packed, tmp_path):
    here = np.__version__
    other = changed(packed, tmp_path / "numpy", lock=(f"numpy=={here}", "numpy==1.0.0"))
    with pytest.raises(Missing, match=rf"numpy 1\.0\.0 \(here is {here}\)"):
        pyform.predictor(other, trust=CONSENT)
    other = changed(packed, tmp_path / "python", python="3.8")
    with pytest.raises(Missing, match=rf"Python 3\.8 \(here is 3\.{sys.version_info.minor}\)"):
        pyform.predictor(other, trust=CONSENT)
    other = changed(packed, tmp_path / "absent", lock=("cloudpickle==", "no-such-package=="))
    with pytest.raises(Missing, match=r"no-such-package \S+ \(here is none\)"):
        pyform.predictor(other, trust=CONSENT)
    pyform.predictor(changed(packed, tmp_path / "same"), trust=CONSENT)


def test_a_python_that_is_not_here_is_missing():
    with pytest.raises(Missing, match=r"Python 3\.99"):
        locks.environment("x==1 --hash=sha256:" + "0" * 64, python="3.99")


MAIN = """
import sys
import numpy as np
from anyport.batch import Column
from anyport.bundle import Manifest, Tolerance, seal
from anyport.frameworks import Original
from anyport.signature import Field, Signature
from anyport import pyform

FACTOR = 5

def times(v):
    import fractions
    return v * float(fractions.Fraction(FACTOR))

class Local:
    def predict(self, rows):
        return times(rows[:, 0])

if __name__ == "__main__":
    from pathlib import Path
    signature = Signature(inputs=(Field(name="a", dtype="float64"),), container="array",
                          outputs=(Field(name="prediction", dtype="float64", nullable=True),))
    folder = Path(sys.argv[1])
    manifest = Manifest(protocol=1, name="l", framework="python", form="python", signature=signature,
                        tolerance=Tolerance(), files={})
    data = {"a": Column(np.arange(3.0))}
    seal(folder, pyform.save(Original(Local(), "python", signature, data), folder, manifest))
"""


def test_a_class_of_main_comes_along_with_its_functions_and_constants(tmp_path, packed):
    (tmp_path / "script.py").write_text(MAIN)
    (tmp_path / "out").mkdir()
    env = {**os.environ, "PYTHONPATH": str(HERE.parent / "src")}
    subprocess.run([sys.executable, tmp_path / "script.py", tmp_path / "out"], env=env, check=True)
    with pyform.apart(read(tmp_path / "out"), trust=CONSENT) as clean:
        got = clean.predict({"a": Column(np.array([1.0, 2.0]))})
    assert got.outputs["prediction"].values.tolist() == [5.0, 10.0]


PROJECT = {
    "mylib/__init__.py": """
from mylib.parts import Base
class Model(Base):
    def predict(self, X): return self.twice(X)
""",
    "mylib/parts.py": """
import json
class Base:
    def twice(self, X): return [2 * float(json.dumps(1)) for _ in X]
""",
    "lazy.py": """
class Lazy:
    def predict(self, X):
        import mylib
        return mylib.Model().predict(X)
""",
    "libs.py": """
class Libs:
    def predict(self, X):
        import sklearn.base
        return X
    def other(self):
        import json
""",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("mylib", "mylib.parts", "lazy", "libs"):
        sys.modules.pop(name, None)


def test_modules_of_the_users_project_travel_by_value(project, tmp_path):
    import mylib

    data = byvalue.dumps(mylib.Model())
    assert byvalue.distributions(data) == ("cloudpickle",)
    (tmp_path / "m").write_bytes(data)
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).predict([0, 0]))"
    done = process.run([sys.executable, "-I", "-c", code, tmp_path / "m"], cwd=HERE)
    assert done.checked().stdout.strip() == b"[2.0, 2.0]"
    import cloudpickle

    assert cloudpickle.list_registry_pickle_by_value() == set()


def test_imports_inside_functions_are_found_or_refused(project):
    import lazy
    import libs
    import mylib

    assert mylib.Model().predict([0]) == [2.0]
    assert byvalue.distributions(byvalue.dumps(libs.Libs())) == ("cloudpickle", "scikit-learn")
    with pytest.raises(Mistake, match="imports mylib only when it runs"):
        byvalue.distributions(byvalue.dumps(lazy.Lazy()))


def test_what_cannot_be_saved_says_why():
    model = Scorer()
    model.lock = threading.Lock()
    with pytest.raises(Impossible, match=r"cannot be saved: TypeError: cannot pickle '_thread.lock'"):
        byvalue.dumps(model)


# --- the lock, without a registry


def tiny(house, version="1.0", requires="", body="VALUE = 1\n"):
    """A wheel of one module, made by hand."""
    house.mkdir(exist_ok=True)
    path = house / f"tinymodel-{version}-py3-none-any.whl"
    info = f"tinymodel-{version}.dist-info"
    meta = f"Metadata-Version: 2.1\nName: tinymodel\nVersion: {version}\n"
    meta += f"Requires-Dist: {requires}\n" if requires else ""
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("tinymodel.py", body)
        wheel.writestr(f"{info}/METADATA", meta)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"tinymodel.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


def test_a_wheelhouse_stands_for_the_registry(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    wheel = tiny(tmp_path / "house")
    text = locks.lock(["tinymodel"], constraints=["tinymodel==1.0", "absent==3"], wheelhouse=tmp_path / "house")
    assert list(locks.pins(text)) == [("tinymodel", "1.0", "")]
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() in text
    python = locks.environment(text, wheelhouse=tmp_path / "house")
    code = "import tinymodel, importlib.metadata as m; print(tinymodel.VALUE, [d.name for d in m.distributions()])"
    assert process.run([python, "-I", "-c", code]).checked().stdout.split(b" ", 1) == [b"1", b"['tinymodel']\n"]
    assert locks.environment(text) == python, "made once"
    assert [p.name for p in python.parents[2].iterdir()] == [python.parents[1].name]
    tiny(tmp_path / "house", body="VALUE = 2\n")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache2"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv2"))
    with pytest.raises(BadBundle, match=r"(?i)hash mismatch"):
        locks.environment(text, wheelhouse=tmp_path / "house")


def test_a_conflict_is_impossible_with_uvs_reason(tmp_path):
    tiny(tmp_path / "house", requires="absent>=2")
    with pytest.raises(Impossible, match=r"absent.*unsatisfiable"):
        locks.lock(["tinymodel"], wheelhouse=tmp_path / "house")
    with pytest.raises(Impossible, match=r"tinymodel==9"):
        locks.lock(["tinymodel==9"], wheelhouse=tmp_path / "house")
    with pytest.raises(Mistake, match="not a folder"):
        locks.lock(["tinymodel"], wheelhouse=tmp_path / "nowhere")


@pytest.fixture
def registry(monkeypatch, tmp_path):
    """A registry on this machine that answers every request with one status."""

    class Handler(http.server.BaseHTTPRequestHandler):
        status = 503

        def do_GET(self):
            self.send_response(self.status)
            self.end_headers()

        def log_message(self, *_): ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{server.server_port}/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    yield Handler
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("status", "error", "says"), [
    (503, Offline, "could not be reached"), (401, Mistake, "credentials"), (404, Impossible, "not found"),
])  # fmt: skip
def test_a_registrys_failures_are_told_apart(registry, status, error, says):
    registry.status = status
    with pytest.raises(error, match=says) as caught:
        locks.lock(["tinymodel==1.0"])
    assert type(caught.value) is error


@pytest.mark.parametrize("where", ["http://127.0.0.1:9/simple", "https://registry.invalid/simple"])
def test_no_network_is_offline_and_never_impossible(monkeypatch, tmp_path, where):
    monkeypatch.setenv("UV_DEFAULT_INDEX", where)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    with pytest.raises(Offline, match="says nothing about the packages"):
        locks.lock(["tinymodel==1.0"])
    with pytest.raises(Offline):
        locks.environment("tinymodel==1.0 --hash=sha256:" + "0" * 64)
    monkeypatch.setenv("UV_OFFLINE", "1")
    with pytest.raises(Offline):
        locks.lock(["tinymodel==1.0"])


@pytest.mark.parametrize("line", [
    "--index-url https://evil.example/simple", "-e .", "-r other.txt", "numpy==1.0",
    "numpy>=1 --hash=sha256:" + "0" * 64, "numpy==1.0 --hash=md5:00",
    "evil @ https://evil.example/x.whl --hash=sha256:" + "0" * 64,
    "numpy==1.0 --hash=sha256:" + "0" * 64 + " --index-url https://evil.example",
])  # fmt: skip
def test_a_lock_that_is_more_than_pins_is_refused(line):
    with pytest.raises(BadBundle, match="no hashed pin"):
        locks.environment(line + "\n")


def test_pins_know_markers_and_continuation_lines():
    hashes = "".join(f" \\\n    --hash=sha256:{digit * 64}" for digit in "01")
    text = f"# c\nA.b_C==1.0+x ; python_version >= '3.8'{hashes}\n"
    assert list(locks.pins(text)) == [("a-b-c", "1.0+x", "python_version >= '3.8'")]


def test_modules_are_traced_to_their_distributions():
    assert locks.distribution("sklearn.tree") == "scikit-learn"
    assert locks.distribution("json") is None
    assert locks.distribution(__name__) is None
    assert locks.distribution("anyport") is None, "installed from a folder, or not at all"


# --- frames, runtime, the framework


def test_frames_carry_every_dtype_and_missing_values():
    fields = tuple(Field(name=n, dtype=d, nullable=True) for n, d in [
        ("a/b", "int64"), ("ü", "string"), ("c", "category"), ("d", "datetime"), ("e", "bool"), ("f", "float32")
    ])  # fmt: skip
    valid = np.array([True, False, True])
    text = np.array(["x\0y", None, "日本"], object)
    sent = {
        "a/b": Column(np.array([1, 0, -(2**62)]), valid), "ü": Column(text, valid),
        "c": Column(np.array([1, 0, 0], np.int32), np.array([True, True, False]), np.array(["u", "v"], object)),
        "d": Column(np.array(["2024-01-01", "NaT", "1900-01-01"], "M8[us]")),
        "e": Column(np.array([True, False, True]), valid),
        "f": Column(np.array([1.5, np.nan, -np.inf], np.float32)),
    }  # fmt: skip
    got, facts = frames.to_batch(frames.of_batch(sent, fields, x=[1]), fields)
    assert facts == {"x": [1]}
    for name, column in sent.items():
        plain = column.plain()
        assert got[name].values.dtype == plain.values.dtype
        np.testing.assert_array_equal(got[name].values, plain.values)
        np.testing.assert_array_equal(got[name].missing(), plain.missing())
    outcome = Outcome({"f": sent["f"]}, {1: (Refusal("a", "b", "c"),)})
    assert frames.to_outcome(frames.of_outcome(outcome, fields[-1:]), fields[-1:]).refused == outcome.refused


def test_a_frame_cut_short_is_an_error_and_an_end_is_none(tmp_path):
    with (tmp_path / "f").open("w+b") as file:
        frames.send(file, b"hello")
        file.seek(0)
        assert frames.receive(file) == b"hello"
        assert frames.receive(file) is None
        for size in (3, 10):
            file.truncate(size)
            file.seek(0)
            with pytest.raises(BadData, match="in the middle"):
                frames.receive(file)


def test_the_runtime_holds_anyport_alone():
    source = runtime.source()
    assert [p.name for p in source.iterdir()] == ["anyport"]
    assert (source / "anyport" / "pickle_names.toml").is_file()
    assert runtime.source() == source


class Table:
    def predict(self, rows):
        return pd.DataFrame({"low": np.zeros(len(rows)), "name": ["x"] * len(rows)})


class Chance(Scorer):
    classes_ = np.array(["no", "yes"])

    def predict(self, rows):
        return np.where(rows[:, 0] > 0, "yes", "no")

    def predict_proba(self, rows):
        return np.stack([1 - rows[:, 0], rows[:, 0]], axis=1)


class Turned:
    def transform(self, rows):
        return rows.T.T


def test_any_object_that_answers_is_asked_for_all_it_says():
    rows = np.array([[0.25, 1.0], [0.75, 2.0]])
    assert set(framework.ask(Table(), rows)) == {"low", "name"}
    both = framework.ask(Chance(), rows)
    assert both["prediction"].tolist() == ["yes", "yes"]
    np.testing.assert_array_equal(both["probability"], Chance().predict_proba(rows))
    assert framework.hints(Chance(), None).labels == {"prediction": ("no", "yes")}
    np.testing.assert_array_equal(framework.ask(Turned(), rows)["transform"], rows)
    assert framework.ask(lambda r: {"n": list(range(len(r)))}, rows)["n"].tolist() == [0, 1]
    assert framework.ask(lambda r: (v for v in "ab"), rows)["prediction"].tolist() == ["a", "b"]
    with pytest.raises(BadData, match="single float"):
        framework.ask(lambda r: 1.0, rows)
    with pytest.raises(BadData, match="differ in shape"):
        framework.ask(lambda r: [[1], [1, 2]], rows)
    assert framework.owns(Turned())
    assert not framework.owns(Turned)
    assert not framework.owns({"model": Turned()})


def test_python_code_has_no_graph(original):
    with pytest.raises(Impossible, match="Scorer is Python code"):
        list(framework.candidates(original))


def test_a_table_model_gets_a_table(tmp_path):
    text = Field(name="x", dtype="string", native="object", nullable=True, missing="none")
    fields = (text, Field(name="y", dtype="int64"))
    outputs = (Field(name="low", dtype="float64"), Field(name="name", dtype="string"))
    signature = Signature(inputs=fields, outputs=outputs)
    data, _ = to_batch(pd.DataFrame({"x": ["a", None], "y": [1, 2]}), fields)
    outcome = pyform.PythonPredictor(Table(), "python", signature).predict(data)
    assert outcome.outputs["name"].values.tolist() == ["x", "x"]
