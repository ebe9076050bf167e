"""What may be opened: scanning, consent, and every way round them that pickles are known for."""

from __future__ import annotations

import bz2
import enum
import gzip
import importlib
import io
import json
import lzma
import os
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from anyport import inflate, trust
from anyport.errors import Missing, Mistake, Untrusted
from anyport.scan import judge, scan
from anyport.trust import Trust

X = np.random.default_rng(0).normal(size=(60, 3))
Y = (X[:, 0] > 0).astype(int)
FOREST = make_pipeline(StandardScaler(), RandomForestClassifier(4, random_state=0, n_jobs=1)).fit(X, Y)
SKLEARN = Trust(("sklearn",))


class Color(enum.Enum):
    RED = 1


class Painted:
    """A model with an enum member and a bound method among its attributes."""

    def __init__(self) -> None:
        self.color = Color.RED
        self.how = self.predict

    def predict(self, rows):
        return np.zeros(len(rows))


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ANYPORT_TRUST", raising=False)


@pytest.fixture
def canary(tmp_path):
    """A file that hostile pickles make when they run; it must not exist at the end."""
    file = tmp_path / "ran"
    yield file
    assert not file.exists(), "the hostile file ran"


def saved(tmp_path: Path, data: bytes) -> Path:
    file = tmp_path / "m.pkl"
    file.write_bytes(data)
    return file


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def name(module: str, attribute: str) -> bytes:
    return text(module) + text(attribute) + b"\x93"


def calling(module: str, attribute: str, *args: str) -> bytes:
    """A protocol 4 pickle that calls module.attribute with strings."""
    return b"\x80\x04" + name(module, attribute) + b"(" + b"".join(map(text, args)) + b"tR."


def quiet(_: str) -> None:
    """Takes the finding."""


def refusal(path: Path, held: Trust) -> str:
    with pytest.raises(Untrusted) as caught:
        trust.load(path, held, tell=quiet)
    return str(caught.value)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_of_every_protocol_opens_with_consent_and_answers_as_before(tmp_path, protocol):
    path = saved(tmp_path, pickle.dumps(FOREST, protocol=protocol))
    assert "--trust sklearn" in refusal(path, Trust())
    opened = trust.load(path, SKLEARN, tell=quiet)
    np.testing.assert_array_equal(opened.predict_proba(X), FOREST.predict_proba(X))


@pytest.mark.parametrize("compress", [0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("lzma", 3), ("xz", 3)])
def test_joblib_files_are_scanned_through_their_arrays(tmp_path, compress):
    table = np.array([["a"], ["b"], [None]], dtype=object)
    pipe = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(np.repeat(table, 5, axis=0), [0, 1, 1] * 5)
    path = tmp_path / "m.joblib"
    joblib.dump(pipe, path, compress=compress)
    with inflate.inflated(path) as file:
        finding = scan(file)
    assert finding.joblib
    assert finding.versions == {"scikit-learn": importlib.import_module("sklearn").__version__}
    assert "sklearn.linear_model._logistic.LogisticRegression" in {i.name for i in finding.imports}
    assert "--trust sklearn" in refusal(path, Trust())
    opened = trust.load(path, SKLEARN, tell=quiet)
    np.testing.assert_array_equal(opened.predict_proba(table), pipe.predict_proba(table))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4", "i2", "?", "U5", "S3", "M8[us]", "c16", "V6", "O"])
def test_arrays_of_joblib_come_back_as_joblib_itself_reads_them(tmp_path, dtype, order):
    array = np.zeros((3, 4), dtype, order=order)
    if dtype not in ("V6", "M8[us]", "?"):
        array[1, 2] = "7" if dtype in ("U5", "S3", "O") else 7
    structured = np.zeros(5, [("a", "<i4"), ("b", "<f8"), ("c", "u1", (2,))])
    structured["b"] = np.arange(5)
    path = tmp_path / "m.joblib"
    model = LogisticRegression()
    model.array_, model.structured_, model.empty_, model.scalar_ = array, structured, array[:0], np.array(3.5)
    joblib.dump(model, path)
    ours, theirs = trust.load(path, SKLEARN, tell=quiet), joblib.load(path)
    for name in ("array_", "structured_", "empty_", "scalar_"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.flags.writeable
        np.testing.assert_array_equal(a, b)


HOSTILE = {
    "os.system": lambda c: calling("os", "system", f"touch {c}"),
    "posix.system": lambda c: calling("posix", "system", f"touch {c}"),
    "eval": lambda c: calling("builtins", "eval", f"__import__('os').system('touch {c}')"),
    "exec": lambda c: calling("builtins", "exec", f"open('{c}', 'w')"),
    "subprocess": lambda c: calling("subprocess", "getoutput", f"touch {c}"),
    "dotted name in a consented module": lambda c: calling("sklearn.datasets._base", "os.system", f"touch {c}"),
    "old GLOBAL": lambda c: f"cos\nsystem\n(S'touch {c}'\ntR.".encode(),
    "a name of Python 2": lambda c: f"c__builtin__\neval\n(S'open(\"{c}\",\"w\")'\ntR.".encode(),
    "INST": lambda c: f"(S'touch {c}'\nios\nsystem\n.".encode(),
    "OBJ": lambda c: f"(cos\nsystem\nS'touch {c}'\no.".encode(),
    "memoised names": lambda c: b"\x80\x04" + text("os") + b"\x94" + text("system") + b"\x9400h\x00h\x01\x93("
    + text(f"touch {c}") + b"tR.",
    "broken after the call": lambda c: calling("os", "system", f"touch {c}")[:-1] + b"\xff\xff\xff",
    "a result dropped": lambda c: calling("os", "system", f"touch {c}")[:-1] + b"0N.",
    "a pickle in a pickle": lambda c: b"\x80\x04" + name("pickle", "loads") + b"B"
    + struct.pack("<I", len(calling("os", "system", f"touch {c}"))) + calling("os", "system", f"touch {c}") + b"\x85R.",
    "the second attribute": lambda c: b"\x80\x04" + name("builtins", "getattr") + name("sklearn.datasets._base", "os")
    + text("system") + b"\x86R(" + text(f"touch {c}") + b"tR.",
    "an attribute that is computed": lambda c: b"\x80\x04" + name("builtins", "getattr")
    + name("sklearn.base", "BaseEstimator") + text("__init__") + b"\x86R" + text("x") + b"\x85R.",
}  # fmt: skip
GENEROUS = Trust(("sklearn", "o*", "os", "builtins", "posix", "pickle"), all=True)


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("held", [Trust(), SKLEARN, Trust(all=True), GENEROUS], ids=["none", "lib", "all", "most"])
def test_hostile_pickles_never_run(tmp_path, canary, case, held):
    path = saved(tmp_path, HOSTILE[case](canary))
    with pytest.raises(Mistake) as caught:
        trust.load(path, held, tell=quiet)
    assert str(path) in str(caught.value)


def test_the_hostile_pickles_of_this_test_do_run_when_nothing_stops_them(tmp_path):
    file = tmp_path / "ran"
    pickle.loads(calling("os", "system", f"touch {file}"))
    assert file.exists()


def test_a_dangerous_name_needs_its_exact_name(tmp_path):
    path = saved(tmp_path, calling("os", "path.join", "a", "b"))
    assert judge("os.path.join").verdict == "dangerous"
    assert "--trust all,os.path.join" in refusal(path, Trust(all=True))
    with pytest.raises(Mistake, match="holds a str"):
        trust.load(path, Trust(("os.path.join", "posixpath.join")), tell=quiet)


def test_a_computed_name_is_refused_as_unresolvable(tmp_path, canary):
    joined = b"\x80\x04" + name("builtins", "str") + text("os") + b"\x85R" + text("system") + b"\x93)R."
    path = saved(tmp_path, joined)
    with pytest.raises(Mistake, match="computes the name"):
        trust.load(path, Trust(all=True), tell=quiet)


def test_a_second_pickle_after_the_first_is_refused(tmp_path):
    path = saved(tmp_path, pickle.dumps(FOREST) + calling("os", "system", "true"))
    with pytest.raises(Mistake, match="second pickle"):
        trust.load(path, SKLEARN, tell=quiet)
    with pytest.raises(Mistake, match="goes on after the end"):
        trust.load(saved(tmp_path, pickle.dumps(FOREST) + b"\0\0"), SKLEARN, tell=quiet)


def test_a_dangerous_object_inside_joblibs_object_array_is_found(tmp_path, canary):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {canary}",)

    model = LogisticRegression()
    model.array_ = np.array([Evil(), None], dtype=object)
    path = tmp_path / "m.joblib"
    joblib.dump(model, path, compress=3)
    assert "posix.system" in refusal(path, Trust(("sklearn",), all=True))


def test_the_restricted_unpickler_holds_where_the_scan_saw_nothing(canary):
    from anyport.unpickle import unpickle

    def tempting(data: bytes) -> None:
        with pytest.raises(Untrusted):
            unpickle(io.BytesIO(data), Trust(("sklearn", "builtins"), all=True).covers)

    tempting(calling("os", "system", f"touch {canary}"))
    tempting(calling("sklearn.datasets._base", "os.system", f"touch {canary}"))
    tempting(calling("sklearn.datasets._base", "os"))
    tempting(HOSTILE["an attribute that is computed"](canary))
    tempting(HOSTILE["the second attribute"](canary))


def test_enum_members_and_bound_methods_come_through_the_guarded_getattr(tmp_path):
    path = saved(tmp_path, pickle.dumps(Painted()))
    root = __name__.partition(".")[0]
    opened = trust.load(path, Trust((root, "builtins.getattr")), tell=quiet)
    assert opened.color is Color.RED
    assert opened.how([1, 2]).shape == (2,)


def test_the_finding_is_told_before_anything_is_opened(tmp_path, capsys):
    path = saved(tmp_path, calling("os", "system", "true"))
    with pytest.raises(Untrusted):
        trust.load(path, Trust())
    told = capsys.readouterr()
    assert "DANGEROUS os.system: runs programs" in told.err
    assert told.out == ""


def test_consent_reaches_all_below_a_name_and_no_neighbour():
    held = Trust(("sklearn", "lib.tree.*"))
    expected = {
        "sklearn.a.B": True, "sklearnx.a.B": False, "lib.tree.T": True, "lib.line.L": False, "numpy.dtype": True
    }  # fmt: skip
    assert {n: held.covers(judge(n)) for n in expected} == expected


def test_trust_is_held_from_option_environment_and_config(monkeypatch, tmp_path):
    assert trust.held() == Trust()
    (tmp_path / "config" / "anyport").mkdir(parents=True)
    (tmp_path / "config" / "anyport" / "config.toml").write_text('[trust]\nallow = ["lightgbm"]\n')
    monkeypatch.setenv("ANYPORT_TRUST", "xgboost")
    held = trust.held("sklearn, numpy")
    assert held.allow == ("lightgbm", "numpy", "sklearn", "xgboost")
    assert not held.all
    assert "--trust" in held.source
    assert trust.held("all").all
    with pytest.raises(Mistake, match="not a module name"):
        trust.held("sk learn")
    (tmp_path / "config" / "anyport" / "config.toml").write_text("[trust]\nallow = 3\n")
    with pytest.raises(Mistake, match="must be a list"):
        trust.held()
    (tmp_path / "config" / "anyport" / "config.toml").write_text("[trust\n")
    with pytest.raises(Mistake, match="cannot be read"):
        trust.held()


def test_a_remembered_file_opens_without_a_name(tmp_path):
    path = saved(tmp_path, pickle.dumps(FOREST))
    digest = trust.sha256(path)
    trust.remember(digest, "forest")
    trust.remember(digest, "forest")
    assert trust.held().files == {digest}
    assert trust.load(path, trust.held(), tell=quiet).predict(X[:1]) == FOREST.predict(X[:1])
    path.write_bytes(pickle.dumps(FOREST, protocol=2))
    refusal(path, trust.held())


NO_PICKLES = {
    "empty": (b"", "is empty"),
    "text": (b'{"a": 1}', "is not a pickle"),
    "noise": (bytes(range(256)), "is not a pickle"),
    "truncated": (pickle.dumps(FOREST)[:-100], "damaged"),
    "no stop": (pickle.dumps(FOREST)[:-1], "damaged"),
    "truncated gzip": (gzip.compress(pickle.dumps(FOREST))[:-40], "damaged"),
    "truncated zlib": (zlib.compress(pickle.dumps(FOREST))[:-40], "damaged"),
    "truncated bz2": (bz2.compress(pickle.dumps(FOREST))[:-40], "damaged"),
    "truncated xz": (lzma.compress(pickle.dumps(FOREST))[:-40], "damaged"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS"),
    "old joblib": (b"ZF0x12345678", "before 0.10"),
    "persistent ids": (b"\x80\x02X\x01\x00\x00\x00aQ.", "persistent ids"),
    "extension code": (b"\x80\x02\x82\x01.", "extension code"),
    "a broken zip": (b"PK\x03\x04 and nothing", "damaged zip"),
    "pops an empty stack": (b"\x80\x040000.", "damaged"),
}


@pytest.mark.parametrize("case", NO_PICKLES)
def test_what_is_no_pickle_is_a_clear_mistake(tmp_path, case):
    data, says = NO_PICKLES[case]
    path = saved(tmp_path, data)
    with pytest.raises(Mistake, match=says) as caught:
        trust.load(path, Trust(all=True), tell=quiet)
    assert str(path) in str(caught.value)


def test_a_joblib_file_cut_inside_an_array_is_a_mistake(tmp_path):
    model = LogisticRegression()
    model.array_ = np.arange(10_000.0)
    path = tmp_path / "m.joblib"
    joblib.dump(model, path)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(Mistake, match="inside an array"):
        trust.load(path, SKLEARN, tell=quiet)


def test_random_damage_never_ends_in_a_foreign_exception(tmp_path):
    whole = pickle.dumps(LogisticRegression().fit(X, Y))
    rng = np.random.default_rng(1)
    ended = set()
    for _ in range(300):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 3):
            data[at] = rng.integers(0, 256)
        try:
            trust.load(saved(tmp_path, bytes(data)), SKLEARN, tell=quiet)
        except (Mistake, Missing) as error:
            ended.add(type(error).__name__)
    assert {"Mistake", "Untrusted"} <= ended


def test_a_decompression_bomb_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(inflate, "BOMB", (1 << 20, 10))
    path = saved(tmp_path, gzip.compress(b"\0" * (8 << 20)))
    with pytest.raises(Mistake, match="decompression bomb"):
        trust.load(path, SKLEARN, tell=quiet)


@pytest.mark.parametrize(("held", "says"), [
    ({"model": FOREST}, "dict with a model under 'model'"), ([1, 2], "holds a list"), ("x", "holds a str"),
    (RandomForestClassifier, "holds the class RandomForestClassifier"), (X, "numpy.ndarray"), (None, "NoneType"),
])  # fmt: skip
def test_a_pickle_of_what_is_no_model_says_what_it_is(tmp_path, held, says):
    with pytest.raises(Mistake, match=says):
        trust.load(saved(tmp_path, pickle.dumps(held)), SKLEARN, tell=quiet)


HERE = importlib.import_module("sklearn").__version__


def test_another_scikit_learn_is_an_error_before_anything_is_opened(tmp_path, monkeypatch):
    def never(*_, **__):
        raise AssertionError("opened")

    monkeypatch.setattr(trust, "unpickle", never)
    data = pickle.dumps(LogisticRegression().fit(X, Y), protocol=2).replace(HERE.encode(), b"0.0.1")
    with pytest.raises(Missing, match=rf"scikit-learn 0\.0\.1, and here is {HERE}"):
        trust.load(saved(tmp_path, data), SKLEARN, tell=quiet)


def test_scikit_learns_own_warning_of_another_version_is_an_error(tmp_path):
    import skops.io as skops

    path = tmp_path / "m.skops"
    skops.dump(LogisticRegression().fit(X, Y), path)
    rewritten(path, lambda schema: schema.replace(HERE, "0.0.1"))
    with pytest.raises(Missing, match=rf"scikit-learn 0\.0\.1, and here is {HERE}"):
        trust.load(path, Trust(), tell=quiet)


def rewritten(path, change):
    """The skops file with another schema."""
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    members["schema.json"] = change(members["schema.json"].decode()).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)


def test_missing_libraries_are_named_with_the_line_that_installs_them(tmp_path):
    data = b"\x80\x04" + text("cv2.ml") + text("SVM") + b"\x93)R."
    with pytest.raises(Missing) as caught:
        trust.load(saved(tmp_path, data), Trust(("cv2",)), tell=quiet)
    assert "pip install opencv-python-headless" in str(caught.value)
    gone = b"\x80\x04" + text("sklearn.linear_model") + text("Nonesuch") + b"\x93)R."
    with pytest.raises(Mistake, match="Nonesuch"):
        trust.load(saved(tmp_path, gone), SKLEARN, tell=quiet)


def test_a_class_of_another_script_is_explained(tmp_path):
    data = b"\x80\x04" + text("__main__") + text("MyModel") + b"\x93)R."
    with pytest.raises(Mistake, match=r"MyModel, which was defined in the script"):
        trust.load(saved(tmp_path, data), Trust(("__main__",)), tell=quiet)


def test_skops_types_are_shown_and_the_list_is_the_loaders_own(tmp_path):
    import skops.io as skops

    path = tmp_path / "m.skops"
    plain = LogisticRegression().fit(X, Y)
    skops.dump(plain, path)
    told: list[str] = []
    opened = trust.load(path, Trust(), tell=told.append)
    np.testing.assert_array_equal(opened.predict(X), plain.predict(X))
    assert "all types are safe" in told[0]
    skops.dump(make_pipeline(StandardScaler(), Estimator()).fit(X, Y), path)
    kind = f"{Estimator.__module__}.Estimator"
    assert f"--trust {Estimator.__module__.partition('.')[0]}" in refusal(path, Trust())
    trust.load(path, Trust((Estimator.__module__,)), tell=told.append)
    assert kind in told[-1]


class Estimator(LogisticRegression):
    """A user's own subclass."""


@pytest.mark.parametrize(("data", "says"), [
    ({"a.txt": b"x"}, "a zip file, not a skops"), ({"m/data.pkl": b"x"}, "PyTorch checkpoint"),
    ({"schema.json": b"{"}, "damaged skops"), ({"schema.json": b"{}"}, "damaged skops"),
])  # fmt: skip
def test_damaged_skops_files_are_mistakes(tmp_path, data, says):
    path = tmp_path / "m.skops"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in data.items():
            archive.writestr(member, content)
    with pytest.raises(Mistake, match=says):
        trust.load(path, Trust(all=True), tell=quiet)


def test_a_hostile_skops_file_is_refused(tmp_path, canary):
    import skops.io as skops

    path = tmp_path / "m.skops"
    skops.dump(LogisticRegression().fit(X, Y), path)
    rewritten(path, lambda schema: json.dumps(json.loads(schema) | {"__class__": "system", "__module__": "os"}))
    assert "os.system" in refusal(path, Trust(("sklearn", "os"), all=True))


@pytest.mark.parametrize("protocol", range(6))
def test_the_scan_names_just_what_unpickling_imports(protocol):
    """Compared with what Python's own unpickler asks for."""
    asked = set()

    class Recorder(pickle.Unpickler):
        def find_class(self, module, attribute):
            asked.add(f"{module}.{attribute}")
            return super().find_class(module, attribute)

    things = [FOREST, Painted(), {1: {2.5}, "a": [frozenset([b"x"]), bytearray(b"y")]}, 1 << 300, -1.5, True,
              pd.DataFrame({"a": ["x", None]}), pd.Timestamp("2024-01-01", tz="UTC"), np.random.default_rng(0),
              sparse.eye(3).tocsr()]  # fmt: skip
    data = pickle.dumps([things, things], protocol=protocol)
    Recorder(io.BytesIO(data)).load()
    found = {i.name for i in scan(io.BytesIO(data)).imports}
    assert found - {f"{__name__}.Color.RED", f"{__name__}.Painted.predict"} == {
        a.replace("__builtin__", "builtins").replace("copy_reg", "copyreg") for a in asked
    }


def test_importing_trust_imports_no_library():
    code = "import sys, anyport.trust; print([m for m in ('numpy', 'sklearn', 'joblib', 'skops') if m in sys.modules])"
    env = {**os.environ, "PYTHONPATH": str(Path(trust.__file__).parents[1])}
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
