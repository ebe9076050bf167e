"""What goes wrong with files, rows, disks and fingers: a clear error, the right exit code, nothing half-written."""

from __future__ import annotations

import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import zoo
from sandbox import Sandbox
from sklearn.linear_model import LogisticRegression, Ridge

import anyport
from anyport.errors import BadBundle, BadData, Mistake, Untrusted

PACK = ("pack", "model.joblib", "--data", "train.csv", "--label", "species", "--trust", "all", "-o", "out.anyport")


def refused(box: Sandbox, *argv: str, code: int = 2) -> str:
    """Run a command that must fail cleanly: code, no traceback, and nothing new in the folder. Gives its words."""
    before = box.left()
    done = box.inside(*argv)
    assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr
    assert "error: " in done.stderr
    assert box.left() == before, "something half-written was left"
    return done.stderr


# ---- the model's file


def truncated(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def garbled(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(4000))


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def hostile(path: Path) -> None:
    """Opening it would run a program."""
    path.write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")


def no_model(path: Path) -> None:
    joblib.dump({"a": [1, 2, 3]}, path)


def unfitted(path: Path) -> None:
    joblib.dump(LogisticRegression(), path)


def a_class(path: Path) -> None:
    joblib.dump(LogisticRegression, path)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (truncated, "model.joblib"), (garbled, "model.joblib"), (emptied, "is empty"), (hostile, "is dangerous"),
        (no_model, "which is no model"), (a_class, "holds the class LogisticRegression"), (unfitted, "not fitted"),
    ],
)  # fmt: skip
def test_a_model_file_that_is_none(box: Sandbox, spoil: Callable[[Path], None], says: str) -> None:
    spoil(box.folder / "model.joblib")
    said = refused(box, *PACK)
    assert says in said
    assert not (box.folder / "ran").exists()


RUBBISH = {"empty": b"", "noise": b"\x00\x01garbage\xff" * 40, "zip": b"PK\x03\x04rest", "json": b"{}"}
FILES = (".onnx", ".ubj", ".json", ".txt", ".cbm", ".pkl", ".skops", ".joblib", ".cloudpickle")


@pytest.mark.parametrize("suffix", FILES)
@pytest.mark.parametrize("content", RUBBISH.values(), ids=RUBBISH)
def test_no_file_form_takes_rubbish(tmp_path: Path, suffix: str, content: bytes) -> None:
    file = tmp_path / f"model{suffix}"
    file.write_bytes(content)
    with pytest.raises(Mistake) as caught:
        anyport.pack(file, pd.DataFrame({"a": [1.0, 2.0]}), out=tmp_path / "out.anyport", trust="all")
    assert file.name in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == [file.name]


@pytest.mark.parametrize("name", ["model.xyz", "model", "nowhere.joblib"])
def test_a_file_that_nobody_reads_is_said_to_be_one(box: Sandbox, name: str) -> None:
    if name != "nowhere.joblib":
        (box.folder / name).write_bytes(b"something")
    said = refused(box, "pack", name, "--data", "train.csv")
    assert name in said


def test_a_model_of_nothing_at_all() -> None:
    for thing in (3, "no such file", [1, 2], object(), None):
        with pytest.raises(Mistake):
            anyport.pack(thing, pd.DataFrame({"a": [1.0]}))


def test_consent_is_asked_before_anything_runs(tmp_path: Path) -> None:
    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps(Ridge().fit([[1.0], [2.0]], [1, 2])))
    with pytest.raises(Untrusted, match="--trust"):
        anyport.pack(file, pd.DataFrame({"x0": [1.0]}))


# ---- the data


def rows() -> pd.DataFrame:
    return pd.read_csv(zoo.PENGUINS)


def shifted(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.rename(columns={"island": "islnad"})


def renamed_twice(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame[["island"]]], axis=1)


def mixed(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(island=[1 if i % 2 else "Biscoe" for i in range(len(frame))])


def worded(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(body_mass_g="heavy")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: f, "'species' is in the data, but the model was not fitted on it"),
        (lambda f: f.drop(columns=["species", "island"]), "lacks column 'island'"),
        (lambda f: shifted(f).drop(columns="species"), "did you mean 'islnad'"),
        (lambda f: renamed_twice(f).drop(columns="species"), "'island' appears 2 times"),
        (lambda f: f.drop(columns="species").iloc[:0], "no rows"),
        (lambda f: mixed(f).drop(columns="species"), "'island' mixes"),
        (lambda f: worded(f).drop(columns="species"), "answers none of the data's first rows"),
        (lambda f: f.drop(columns="species").assign(year=[[1]] * len(f)), "'year' mixes list"),
    ],
    ids=["label", "lacking", "misspelt", "twice", "none", "mixed", "words", "lists"],
)  # fmt: skip
def test_data_that_does_not_fit(tmp_path: Path, spoil: Callable[[Any], Any], says: str) -> None:
    made = zoo.load()["penguin_species"].make()
    with pytest.raises(BadData) as caught:
        anyport.pack(made.model, spoil(rows()), out=tmp_path / "out.anyport")
    assert says in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_label_s_name_is_suggested(box: Sandbox) -> None:
    said = refused(box, *PACK[:4], "--trust", "all", "-o", "out.anyport")
    assert "next: if it is the target: --label species" in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"), ("a,b\n", "no rows"), ("island,island\nBiscoe,Dream\n", "appears 2 times"),
        ("a,b\n1,2,3,4\n5,6\n7\n", "rows.csv"), ('a,b\n"1,2\n', "rows.csv"),
    ],
    ids=["empty", "no rows", "twice", "ragged", "unclosed"],
)  # fmt: skip
def test_a_csv_that_is_none(box: Sandbox, text: str, says: str) -> None:
    (box.folder / "rows.csv").write_text(text)
    said = refused(box, "pack", "model.joblib", "--data", "rows.csv", "--trust", "all", "-o", "out.anyport")
    assert says in said


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "jsonl", "npy", "npz", "csv.gz"])
def test_a_data_file_that_is_rubbish(box: Sandbox, suffix: str) -> None:
    (box.folder / f"rows.{suffix}").write_bytes(b"\x93rubbish\x00" * 20)
    said = refused(box, "pack", "model.joblib", "--data", f"rows.{suffix}", "--trust", "all", "-o", "out.anyport")
    assert f"rows.{suffix}" in said


def test_rows_that_do_not_fit_are_named_when_predicting(penguins: Path) -> None:
    model = anyport.load(penguins)
    good = rows().drop(columns="species")
    with pytest.raises(BadData, match="unknown column 'species'"):
        model.predict(rows())
    with pytest.raises(BadData, match="missing column 'sex'"):
        model.predict(good.drop(columns="sex"))
    words = good.assign(body_mass_g=[1, 2, 3, "heavy"] * 86).iloc[:4]
    with pytest.raises(BadData, match=r"row 3: column 'body_mass_g': expected float64 or missing, got 'heavy' \(str\)"):
        model.predict(words)
    with pytest.raises(BadData, match="appears 2 times"):
        model.predict(renamed_twice(good))
    with pytest.raises(BadData, match="cannot read rows"):
        model.predict(7)


def test_no_rows_in_is_no_rows_out(penguins: Path) -> None:
    model = anyport.load(penguins)
    assert len(model.predict(rows().drop(columns="species").iloc[:0])) == 0
    assert [len(v) for v in model.predict(np.zeros((0, 7))).values()] == [0, 0]


# ---- the bundle


def test_a_bundle_with_a_member_gone_or_added_is_named(penguins: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(penguins, tmp_path / "b.anyport")
    (copy / "extra.bin").write_bytes(b"x")
    with pytest.raises(BadBundle, match=r"extra\.bin is not listed"):
        anyport.inspect(copy)
    (copy / "extra.bin").unlink()
    (copy / "golden.npz").unlink()
    with pytest.raises(BadBundle, match=r"golden\.npz is missing"):
        anyport.inspect(copy)


def test_a_bundle_that_links_out_is_refused(penguins: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(penguins, tmp_path / "b.anyport")
    (copy / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(BadBundle, match="passwd is a link"):
        anyport.inspect(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"protocol": 99}', '{"protocol": "x"}', '{"protocol": 1}', "null"])
def test_a_manifest_that_is_none(penguins: Path, tmp_path: Path, text: str) -> None:
    copy = shutil.copytree(penguins, tmp_path / "b.anyport")
    (copy / "bundle.json").write_text(text)
    with pytest.raises(BadBundle, match=r"pip install -U anyport" if "99" in text else "bundle.json|protocol"):
        anyport.inspect(copy)


# ---- the disk and the fingers


def test_a_full_disk_leaves_nothing(box: Sandbox) -> None:
    """No file may grow past 20 kB: the first member that does fails as on a full disk."""
    before = box.left()

    def small() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = subprocess.run(
        ["anyport", *PACK], cwd=box.folder, env=box.environ(), preexec_fn=small, capture_output=True, text=True,
        check=False, timeout=180,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "File too large" in done.stderr
    assert "nothing was half-written" in done.stderr
    assert "Traceback" not in done.stderr
    assert box.left() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_disk_that_really_is_full(box: Sandbox) -> None:
    disk = box.folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=False, capture_output=True
    )  # fmt: skip
    if mounted.returncode != 0:
        pytest.skip(f"this container may not mount: {mounted.stderr.decode().strip()}")
    try:
        done = box.anyport(*PACK[:-1], "disk/out.anyport")
        assert done.returncode == 2, done.stderr
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("moment", ["reading the data", "making golden rows", "proving"])
def test_ctrl_c_in_the_middle_of_packing(box: Sandbox, moment: str) -> None:
    before = box.left()
    with box.start("anyport", *PACK) as running:
        assert running.stderr is not None
        said = []
        for line in running.stderr:
            said.append(line)
            if moment in line:
                break
        time.sleep(0.2)
        running.send_signal(signal.SIGINT)
        rest = running.stderr.read()
        running.wait(timeout=60)
    assert running.returncode == 130, "".join(said) + rest
    assert "interrupted; nothing was half-written" in rest
    assert "Traceback" not in rest
    assert box.left() == before


def test_a_bundle_in_the_way_is_replaced_whole_or_not_at_all(box: Sandbox) -> None:
    shutil.copytree(box.folder / "penguins.anyport", box.folder / "out.anyport")
    with box.start("anyport", *PACK) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if "proving" in line:
                break
        running.kill()
        running.stderr.read()
    assert anyport.inspect(box.folder / "out.anyport").digest == anyport.inspect(box.folder / "penguins.anyport").digest
    assert box.anyport(*PACK).returncode == 0
    assert anyport.inspect(box.folder / "out.anyport").name == "out"


def test_what_is_not_ours_is_never_replaced(box: Sandbox) -> None:
    (box.folder / "out.anyport").mkdir()
    (box.folder / "out.anyport" / "thesis.txt").write_text("years of work")
    said = refused(box, *PACK)
    assert "is not anyport's; nothing was written" in said
    assert (box.folder / "out.anyport" / "thesis.txt").read_text() == "years of work"


def test_a_folder_that_cannot_be_written(box: Sandbox) -> None:
    said = refused(box, *PACK[:-1], "/proc/nowhere/out.anyport")
    assert "/proc" in said


def test_python_without_anyport_s_extras_says_what_to_install(tmp_path: Path) -> None:
    """A library that is not there is exit code 3 with the line that installs it."""
    code = """
import sys
sys.modules["pandas"] = None
from anyport.cli import main
sys.exit(main(["pack", "x.onnx", "--data", "rows.csv"]))
"""
    (tmp_path / "rows.csv").write_text("a\n1\n")
    import zoo_deep

    model, _ = zoo_deep.fixed_batch(1)
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "pip install 'anyport[pandas]'" in done.stderr
