"""Archives: equal files give equal bytes, and nothing hostile is unpacked; and programs that are run or held."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
import time
import zipfile

import pytest

from anyport.bundle import members
from anyport.errors import BadBundle, Missing
from anyport.kit import archive, process


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def folder(where, *, reverse=False):
    files = {"b.txt": b"b", "a/x.txt": b"x" * 5000, "a/ž.txt": b"", "z.sh": b"#!/bin/sh\n", "long/" + "n" * 150: b"1"}
    for name in sorted(files, reverse=reverse):
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        (where / name).write_bytes(files[name])
    (where / "z.sh").chmod(0o755)
    return files


@pytest.mark.parametrize("make", [archive.tar_gz, archive.zip_folder])
def test_equal_files_give_equal_bytes_whatever_the_clock_and_the_order(tmp_path, make, monkeypatch):
    folder(tmp_path / "one")
    folder(tmp_path / "two", reverse=True)
    for file in (tmp_path / "two").rglob("*"):
        os.utime(file, (1, 1))
    one = make(tmp_path / "one", tmp_path / "1.x")
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: 1e9)
        two = make(tmp_path / "two", tmp_path / "sub" / "other.x")
    assert one.read_bytes() == two.read_bytes()
    (tmp_path / "two" / "b.txt").write_bytes(b"c")
    assert one.read_bytes() != make(tmp_path / "two", two).read_bytes()
    assert [p.name for p in two.parent.iterdir()] == ["other.x"]


def test_an_unpacked_archive_is_the_folder_it_was_made_of(tmp_path):
    files = folder(tmp_path / "one")
    path = archive.tar_gz(tmp_path / "one", tmp_path / "one.tar.gz")
    out = archive.unpacked(path)
    assert {name: (out / name).read_bytes() for name in members(out)} == files
    assert os.access(out / "z.sh", os.X_OK)
    assert not os.access(out / "b.txt", os.X_OK)
    assert archive.unpacked(path) == out


def test_a_zip_holds_the_files_with_their_modes(tmp_path):
    files = folder(tmp_path / "one")
    with zipfile.ZipFile(archive.zip_folder(tmp_path / "one", tmp_path / "one.zip")) as made:
        assert {name: made.read(name) for name in made.namelist()} == files
        assert made.getinfo("z.sh").external_attr >> 16 == 0o100755


def test_an_archive_of_one_folder_gives_that_folder(tmp_path):
    folder(tmp_path / "outer" / "churn.anyport")
    assert archive.unpacked(archive.tar_gz(tmp_path / "outer", tmp_path / "o.tar.gz")).name == "churn.anyport"


def tarball(path, *entries, mode="w:gz"):
    with tarfile.open(path, mode) as tar:
        for name, kind, extra in entries:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = extra
            data = extra if isinstance(extra, bytes) else b""
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


FILE = tarfile.REGTYPE
HOSTILE = {
    "outside": ([("../evil", FILE, b"x")], "outside the folder"),
    "outside, hidden": ([("a/../../evil", FILE, b"x")], "outside the folder"),
    "absolute": ([("/tmp/evil", FILE, b"x")], "absolute path"),
    "symlink": ([("evil", tarfile.SYMTYPE, "/etc/passwd")], "link to '/etc/passwd'"),
    "hard link": ([("evil", tarfile.LNKTYPE, "../secret")], "link to"),
    "through a link": ([("a", tarfile.SYMTYPE, ".."), ("a/evil", FILE, b"x")], "link to"),
    "device": ([("evil", tarfile.CHRTYPE, b"")], "device"),
    "pipe": ([("evil", tarfile.FIFOTYPE, b"")], "device, a pipe"),
    "sparse": ([("evil", tarfile.GNUTYPE_SPARSE, b"")], "sparse|damaged"),
    "twice": ([("evil", FILE, b"x"), ("evil", FILE, b"y")], "comes twice"),
    "twice, in disguise": ([("evil", FILE, b"x"), ("./evil", FILE, b"y")], "comes twice"),
    "a file and a folder": ([("evil", FILE, b"x"), ("evil/x", FILE, b"y")], "comes twice"),
    "a folder over a file": ([("evil", FILE, b"x"), ("evil", tarfile.DIRTYPE, b"")], "comes twice"),
    "a Windows drive": ([("C:evil", FILE, b"x")], "not a plain path"),
    "a Windows path": ([("..\\evil", FILE, b"x")], "not a plain path"),
    "no name": ([(".", FILE, b"x")], "no name"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_members_are_refused_by_name_and_nothing_is_left(tmp_path, case):
    entries, says = HOSTILE[case]
    path = tarball(tmp_path / "in" / "h.tar.gz", *entries) if (tmp_path / "in").mkdir() is None else None
    before = sorted(p for p in tmp_path.rglob("*") if "cache" not in p.parts)
    with pytest.raises(BadBundle, match=says) as caught:
        archive.unpacked(path)
    assert "h.tar.gz" in str(caught.value)
    assert list((tmp_path / "cache" / "anyport" / "unpacked").iterdir()) == []
    assert sorted(p for p in tmp_path.rglob("*") if "cache" not in p.parts) == before


def test_oversized_members_and_bombs_are_refused(tmp_path, monkeypatch):
    path = tarball(tmp_path / "b.tar.gz", ("zeros", FILE, bytes(8 << 20)))
    archive.unpacked(path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    monkeypatch.setattr(archive, "BOMB", (1 << 20, 10))
    with pytest.raises(BadBundle, match="decompression bomb"):
        archive.unpacked(path)
    monkeypatch.setattr(archive, "MAX_MEMBER", 1000)
    with pytest.raises(BadBundle, match="'zeros' is 8388608 bytes; the most is 1000"):
        archive.unpacked(path)
    monkeypatch.setattr(archive, "MAX_MEMBERS", 2)
    with pytest.raises(BadBundle, match="more than 2 members"):
        archive.unpacked(tarball(tmp_path / "n.tar.gz", *((f"{i}", FILE, b"") for i in range(5))))


def test_a_header_that_claims_gigabytes_is_not_read_into_memory(tmp_path):
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 8 << 30
    path = tmp_path / "h.tar.gz"
    path.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048)))
    with pytest.raises(BadBundle, match="claims to be larger"):
        archive.unpacked(path)


def test_damaged_archives_are_bad_bundles(tmp_path):
    folder(tmp_path / "one")
    (tmp_path / "one" / "noise").write_bytes(os.urandom(20_000))
    whole = archive.tar_gz(tmp_path / "one", tmp_path / "one.tar.gz").read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    cut = [whole[:size] for size in (0, 5, len(whole) // 2, len(whole) - 50, len(whole) - 1)]
    for data in (*cut, b"no archive", bytes(flipped), gzip.compress(b"x")):
        path = tmp_path / "damaged.tar.gz"
        path.write_bytes(data)
        with pytest.raises(BadBundle, match="damaged"):
            archive.unpacked(path)
    assert list((tmp_path / "cache" / "anyport" / "unpacked").iterdir()) == []


def test_links_are_not_packed(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "l").symlink_to("/etc/passwd")
    with pytest.raises(BadBundle, match="link"):
        archive.tar_gz(tmp_path / "one", tmp_path / "one.tar.gz")
    assert not (tmp_path / "one.tar.gz").exists()


PYTHON = sys.executable


def test_a_child_gets_no_python_path_and_never_telemetry(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    code = "import os; print(os.environ.get('PYTHONPATH'), os.environ['ORT_DISABLE_TELEMETRY'], os.environ['MINE'])"
    assert process.run([PYTHON, "-c", code], env={"MINE": "1"}).checked().stdout.split() == [b"None", b"1", b"1"]


def test_a_missing_program_is_missing(tmp_path):
    with pytest.raises(Missing, match="no-such-program is not installed"):
        process.run(["no-such-program"])
    (tmp_path / "text").write_text("x")
    with pytest.raises(Missing, match="cannot be executed"):
        process.run([tmp_path / "text"])


def test_a_bad_exit_shows_the_end_of_what_was_said():
    done = process.run([PYTHON, "-c", "import sys; sys.stderr.write('x' * 100_000 + 'the end'); sys.exit(3)"])
    assert done.code == 3
    assert len(done.stderr) == process.TAIL
    with pytest.raises(process.Failed, match="the end"):
        done.checked()
    assert process.run([PYTHON, "-c", "print(input())"], input=b"hello\n").stdout == b"hello\n"


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


GRANDCHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


def gone(pid: int) -> bool:
    until = time.monotonic() + 5
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not alive(pid)


def test_a_program_that_takes_too_long_is_stopped_with_its_children(tmp_path):
    file = str(tmp_path / "pid")
    code = GRANDCHILD.replace("print(child.pid, flush=True)", f"open({file!r}, 'w').write(str(child.pid))")
    with pytest.raises(process.Failed, match=r"after 1\.5 seconds"):
        process.run([PYTHON, "-c", code], timeout=1.5)
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_held_program_ends_with_its_block_and_takes_its_children_along():
    with process.popen([PYTHON, "-c", GRANDCHILD], ready=lambda held: bool(held.tail())) as held:
        child = int(held.tail())
        assert alive(held.pid)
        assert alive(child)
    assert gone(held.pid)
    assert gone(child)


def test_a_held_program_that_dies_or_dawdles_says_why():
    with (
        pytest.raises(process.Failed, match="ended with 1: boom"),
        process.popen([PYTHON, "-c", "raise SystemExit('boom')"], ready=lambda held: False),
    ):
        raise AssertionError("never ready")
    with (
        pytest.raises(process.Failed, match=r"not ready after 0\.3 seconds"),
        process.popen([PYTHON, "-c", "import time; time.sleep(60)"], ready=lambda held: False, timeout=0.3),
    ):
        raise AssertionError("never ready")


def test_pipes_talk_to_a_held_program():
    with process.popen([PYTHON, "-c", "print(input()[::-1], flush=True); input()"], pipes=True) as held:
        held.stdin.write(b"abc\n")
        held.stdin.flush()
        assert held.stdout.readline() == b"cba\n"
    assert held.process.returncode is not None
    assert isinstance(held.process, subprocess.Popen)
