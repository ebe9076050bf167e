"""Arrow bodies that are small as sent and huge as read: refused from their metadata, before memory is taken."""

from __future__ import annotations

import io
import json
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import served
from up import Up, up

from anyport.serve import ipc

MODEL = served.fitted()
ROWS = served.rows(60, seed=8)
STREAM, FILE = "application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.file"
SIZE = {STREAM: ipc.stream_size, FILE: ipc.file_size}
BOMB = 100 << 20
"""Bytes of zeros in the bombs."""
LIMITED = """
import resource, sys
from pathlib import Path
sys.path[:0] = {paths!r}
from up import up
with up(Path({folder!r})) as server:
    def ask(body, kind):
        return server.raw(body, Content_Type=kind)[0]
    good, bomb = Path({good!r}).read_bytes(), Path({bomb!r}).read_bytes()
    assert ask(good, {kind!r}) == 200
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = ask(bomb, {kind!r})
    print(status, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served.bundle(tmp_path_factory.mktemp("bombs") / "homes", MODEL)


@pytest.fixture(scope="module")
def live(homes: Path) -> Iterator[Up]:
    with up(homes, max_body=1 << 20) as server:
        yield server


def table(rows: Sequence[Any]) -> Any:
    kinds = {"float64": pa.float64(), "int64": pa.int64(), "bool": pa.bool_()}
    fields = served.SIGNATURE.inputs
    return pa.table({f.name: pa.array([r[f.name] for r in rows], kinds.get(f.dtype, pa.string())) for f in fields})


def packed(data: Any, kind: str, codec: str | None) -> bytes:
    """A table as Arrow IPC, its buffers compressed."""
    sink = io.BytesIO()
    make = pa.ipc.new_stream if kind == STREAM else pa.ipc.new_file
    with make(sink, data.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as out:
        out.write_table(data)
    return sink.getvalue()


def zeros(size: int) -> Any:
    """A table of the model's columns in which `age` alone has so many bytes, and all of it is zero."""
    count = size // 8
    codes = pa.array(np.zeros(count, np.int8))
    city, plan = (pa.DictionaryArray.from_arrays(codes, pa.array([text])) for text in ("Oslo", "gold"))
    numbers = {"age": pa.array(np.zeros(count)), "rooms": pa.array(np.zeros(count, np.int8))}
    return pa.table({**numbers, "home city": city, "plan": plan, "owner": pa.array(np.zeros(count, bool))})


@pytest.mark.parametrize("kind", [STREAM, FILE])
@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_a_bomb_is_413_and_takes_no_memory(homes: Path, tmp_path: Path, kind: str, codec: str) -> None:
    """In a process of its own, whose peak is told by the system."""
    (tmp_path / "good").write_bytes(packed(table(ROWS), kind, codec))
    bomb = packed(zeros(BOMB), kind, codec)
    assert len(bomb) < BOMB / 50, "it is small as sent"
    (tmp_path / "bomb").write_bytes(bomb)
    paths = [str(Path(__file__).parent)]
    code = LIMITED.format(
        paths=paths, folder=str(homes), good=str(tmp_path / "good"), bomb=str(tmp_path / "bomb"), kind=kind
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    status, grown = map(int, done.stdout.split())
    assert status == 413
    assert grown * 1024 < len(bomb) * 4 + (4 << 20), "it holds the body a few times at most"


@pytest.mark.parametrize("kind", [STREAM, FILE])
@pytest.mark.parametrize("codec", ["zstd", "lz4", None])
def test_what_is_compressed_honestly_is_answered(live: Up, kind: str, codec: str | None) -> None:
    rows = [ROWS[0]] * 5000
    status, headers, data = live.raw(packed(table(rows), kind, codec), Content_Type=kind, Accept="application/json")
    assert (status, headers["content-type"]) == (200, "application/json"), data
    labels = [answer["prediction"] for answer in json.loads(data)]
    assert labels == [served.ask(MODEL, ROWS[:1])[0]["prediction"]] * 5000


@pytest.mark.parametrize("kind", [STREAM, FILE])
@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_the_size_told_is_the_size_that_pyarrow_makes(kind: str, codec: str) -> None:
    data = table(ROWS * 100)
    plain = SIZE[kind](packed(data, kind, None))
    told = SIZE[kind](packed(data, kind, codec))
    assert 0.9 * data.nbytes < told <= plain < 1.2 * data.nbytes + 1000


def test_dictionaries_count(live: Up) -> None:
    """The zeros are in a dictionary of one text."""
    data = table(ROWS[:4])
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 4, "int8"), pa.array(["0" * (2 << 20)]))
    bomb = packed(data.set_column(2, "home city", text), STREAM, "zstd")
    assert len(bomb) < 5000
    assert live.raw(bomb, Content_Type=STREAM)[0] == 413


def test_a_file_that_lists_one_batch_often_is_as_large_as_all_of_them(live: Up) -> None:
    """Its footer is made by hand: pyarrow writes none like that."""
    honest = packed(table(ROWS * 100), FILE, "zstd")
    length = int.from_bytes(honest[-10:-6], "little")
    footer = honest[-10 - length : -10]
    blocks = SIZE[FILE](honest)
    # the one block (offset, metadata, body) is found by its offset, and put into a longer vector at the footer's end
    at = next(i for i in range(0, len(footer) - 28, 4) if footer[i : i + 4] == b"\1\0\0\0" and plausible(footer, i))
    pointer = next(
        i for i in range(0, len(footer) - 4, 4) if i + int.from_bytes(footer[i : i + 4], "little") == at and i < at
    )
    count = 1000
    start = -(-(len(footer) + 4) // 8) * 8 - 4
    grown = bytearray(footer.ljust(start, b"\0") + count.to_bytes(4, "little") + footer[at + 4 : at + 28] * count)
    grown[pointer : pointer + 4] = (start - pointer).to_bytes(4, "little")
    bomb = honest[: -10 - length] + bytes(grown) + len(grown).to_bytes(4, "little") + b"ARROW1"
    assert pa.ipc.open_file(pa.BufferReader(bomb)).num_record_batches == count, "pyarrow would read all of them"
    assert ipc.file_size(bomb) == count * blocks
    assert live.raw(bomb, Content_Type=FILE)[0] == 413


def plausible(footer: bytes, at: int) -> bool:
    """Whether a vector of one block lies there: behind the schema, so some hundred bytes from the start."""
    return 0 < int.from_bytes(footer[at + 4 : at + 12], "little") < 5000 and footer[at + 16 : at + 20] == b"\0" * 4


def test_views_of_one_text_count_each(live: Up) -> None:
    long = "x" * 10_000
    count = 10_000
    views = pa.array([long], pa.string_view())
    view = views.buffers()[1].to_pybytes()
    text = pa.Array.from_buffers(pa.string_view(), count, [None, pa.py_buffer(view * count), *views.buffers()[2:]])
    data = pa.table({**{n: table([ROWS[0]] * count).column(n) for n in table(ROWS).column_names}, "home city": text})
    body = packed(data, STREAM, None)
    assert len(body) < 1 << 20
    status, _, said = live.raw(body, Content_Type=STREAM)
    assert (status, "more text than" in json.loads(said)["what"]) == (400, True)


def test_one_long_entry_of_a_dictionary_is_shown_once(homes: Path) -> None:
    """100,000 rows share a wrong level of half a megabyte: to spell it out for each took an hour."""
    count = 100_000
    data = table([ROWS[0]]).take(pa.array(np.zeros(count, np.int64)))
    plan = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int8)), pa.array(["x" * (1 << 19)]))
    body = packed(data.set_column(3, "plan", plan), STREAM, "zstd")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    with up(homes, max_body=16 << 20) as server:
        status, _, said = server.raw(body, Content_Type=STREAM)
    assert status == 422
    assert len(json.loads(said)["errors"]) > 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 10


@pytest.mark.parametrize("kind", [STREAM, FILE])
def test_damage_anywhere_is_the_callers_fault(live: Up, kind: str) -> None:
    """Every byte of the metadata and of the lengths, one at a time: 200, 4xx, but never 5xx, and never a long wait."""
    whole = packed(table(ROWS[:3]), kind, "zstd")
    rng = np.random.default_rng(4)
    statuses = set()
    for at in rng.permutation(len(whole))[:150]:
        body = bytearray(whole)
        body[at] ^= int(rng.choice([0xFF, 0x80, 0x01, 0x7F]))
        statuses.add(live.raw(bytes(body), Content_Type=kind)[0])
    assert 400 in statuses
    assert statuses <= {200, 400, 413, 422}


def test_pyarrow_is_imported_off_the_loop(homes: Path) -> None:
    """Where no table came yet it is not there, and the thread that brings it is not the loop's."""
    code = f"""
import sys, threading
sys.path[:0] = {[str(Path(__file__).parent)]!r}
from pathlib import Path
from up import up
from anyport.serve import formats
was, bring = [], formats.bring
def noted():
    was.append(threading.current_thread().name)
    bring()
formats.bring = noted
with up(Path({str(homes)!r})) as server:
    assert "pyarrow" not in sys.modules
    assert server.raw(b"age", Content_Type="text/csv")[0] == 422
    assert "pyarrow.csv" in sys.modules
    server.raw(b"age", Content_Type="text/csv")
assert len(was) == 1 and not was[0].startswith("Thread-"), was
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
