"""Coverage-guided fuzzing (atheris, libFuzzer): python -m endurance.fuzz TARGET [--runs N] [--seconds S] [--seed N]

- `decode`: any bytes as a JSON body. codec.py refuses with Mistake or BadData and nothing else; whatever the hot path
  takes, codec.py takes too, and both give the same answer to the byte.
- `rows`: JSON that is nearly right: rows of the signature with hostile names and values. As `decode`.
- `http`: any bytes on a connection, cut into any pieces. The protocol never raises, writes only whole HTTP/1.1 replies
  with documented statuses, none of them 5xx, and closes or goes on.
- `contracts`: any body to every wire contract: answered, or refused as the caller's fault.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

with atheris.instrument_imports(include=["anyport", "uvicorn", "endurance"]):
    import served

    from anyport import bundle, codec, predictor
    from anyport.errors import Mistake
    from endurance.wire import Connection

FOLDER = Path(tempfile.mkdtemp(prefix="anyport-fuzz-"))
BUNDLE = bundle.read(served.bundle(FOLDER / "homes", served.fitted()))
GRAPH = predictor.of(BUNDLE)
SIGNATURE = BUNDLE.signature
CONNECTION = Connection(BUNDLE)
TICK = CONNECTION.app.site.models[0].tick
assert TICK is not None


class Ear:
    """Hears one answer of the hot path."""

    said: bytes | None = None

    def answered(self, body: bytes, now: float, keep: bool) -> None:
        self.said = body

    def failed(self, error: Exception, now: float, keep: bool) -> None:
        raise error


def decode(data: bytes) -> None:
    """One body through the hot path, and through the codec and the predictor: nothing is taken that codec.py refuses,
    and what is taken gets the same answer to the byte."""
    read = None
    with contextlib.suppress(Mistake):  # BadData is one; anything else is what we look for
        read = codec.decode(data, SIGNATURE)
    ear = Ear()
    if not data or not TICK.take(ear, data, True):
        return
    TICK.flush()
    assert read is not None, f"the hot path takes what codec.py refuses: {data!r}"
    assert not read.refused, f"the hot path takes refused rows: {data!r} {read.refused}"
    wanted = codec.answer(GRAPH.predict(read.batch), read.form, SIGNATURE)
    assert ear.said == wanted, f"{data!r}: {ear.said!r}, and codec.py {wanted!r}"


ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63, -(2**63), 10**400, 0.5, -0.0, 1e308, 5e-324, 1e6, -1e6,
    1000000.1, "", "Oslo", "oslo", "nowhere", "Québec", "東京", "\ud7ff\U0010ffff", "basic", "gold", "Gold", "Infinity",
    "-Infinity", "NaN", "\x00", [], [1], {}, {"a": 1},
)  # fmt: skip
LITERALS = ("NaN", "Infinity", "1e999", "-1e999", "01", "1.", "+1", "0x1", "1e-400", "nul", "'a'", "[" * 40, "{" * 40)


def rows(data: bytes) -> None:
    """A body that is nearly right."""
    given = atheris.FuzzedDataProvider(data)
    made = [row(given) for _ in range(given.ConsumeIntInRange(0, 4))]
    form = given.ConsumeIntInRange(0, 3)
    if form == 0 and made:
        text = made[0]
    elif form == 3:
        columns = ",".join(
            f"{json.dumps(f.name)}:[{','.join(cell(given) for _ in range(given.ConsumeIntInRange(0, 3)))}]"
            for f in SIGNATURE.inputs
        )
        text = f'{{"columns":{{{columns}}}}}'
    else:
        text = f"[{','.join(made)}]"
    if given.ConsumeProbability() < 0.1:
        text = text[: given.ConsumeIntInRange(0, len(text))]
    decode(text.encode("utf-8", "surrogatepass"))


def row(given: Any) -> str:
    """One row as JSON text, most cells right."""
    cells = [(json.dumps(f.name), good(given, f)) for f in SIGNATURE.inputs]
    for _ in range(given.ConsumeIntInRange(0, 2)):
        at = given.ConsumeIntInRange(0, len(cells) - 1)
        kind = given.ConsumeIntInRange(0, 4)
        if kind == 0:
            cells[at] = (cells[at][0], cell(given))
        elif kind == 1 and len(cells) > 1:
            del cells[at]
        elif kind == 2:
            cells.append(cells[at])
        elif kind == 3:
            cells.append((json.dumps(given.ConsumeUnicode(8)), cell(given)))
        else:
            cells[at] = (json.dumps(given.ConsumeUnicodeNoSurrogates(4)), cells[at][1])
    space = given.PickValueInList(["", " ", "\n", "\t"])
    return "{" + ",".join(f"{name}{space}:{value}" for name, value in cells) + "}"


def good(given: Any, field: Any) -> str:
    """A cell that the field takes."""
    if field.dtype == "float64":
        return json.dumps(given.PickValueInList([None, 40, 41.5, -1e6, 1e6, given.ConsumeIntInRange(-1000, 1000) / 7]))
    if field.is_int:
        return str(given.ConsumeIntInRange(-(2**63), 2**63 - 1))
    if field.dtype == "bool":
        return given.PickValueInList(["true", "false"])  # type: ignore[no-any-return]
    return json.dumps(given.PickValueInList([*served.CITIES, None] if field.dtype == "string" else list(served.PLANS)))


def cell(given: Any) -> str:
    """Any value, JSON or nearly."""
    kind = given.ConsumeIntInRange(0, 3)
    if kind == 0:
        return json.dumps(given.PickValueInList(list(ODD)))
    if kind == 1:
        return str(given.PickValueInList(list(LITERALS)))
    if kind == 2:
        number = given.ConsumeFloat()
        return repr(number) if math.isfinite(number) else "null"
    return json.dumps(given.ConsumeUnicode(12))


def http() -> Callable[[bytes], None]:
    """Any bytes on a connection."""

    def one(data: bytes) -> None:
        given = atheris.FuzzedDataProvider(data)
        cuts = [given.ConsumeIntInRange(0, 64) for _ in range(given.ConsumeIntInRange(0, 3))]
        CONNECTION.say(given.ConsumeBytes(len(data)), cuts)

    return one


ROUTES: tuple[tuple[str, str], ...] = (
    ("/predict", "application/json"), ("/predict?partial=true", "text/csv"), ("/predict", "application/jsonlines"),
    ("/models/homes/predict", "application/vnd.apache.arrow.stream"), ("/predict", "application/vnd.apache.arrow.file"),
    ("/invocations", "application/json"), ("/invocations", "text/csv"), ("/score", "application/json"),
    ("/v1/models/homes:predict", "application/json"), ("/v2/models/homes/infer", "application/json"),
    ("/v2/models/homes/infer", "application/octet-stream"),
)  # fmt: skip


def contracts() -> Callable[[bytes], None]:
    """Any body to every wire contract."""
    # what the first CSV or Arrow body imports takes longer, on a cold disk, than any answer may
    import pyarrow.csv
    import pyarrow.ipc  # noqa: F401

    def one(data: bytes) -> None:
        given = atheris.FuzzedDataProvider(data)
        path, kind = ROUTES[given.ConsumeIntInRange(0, len(ROUTES) - 1)]
        length = given.ConsumeIntInRange(0, 2048)
        body = given.ConsumeBytes(len(data))
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        if kind == "application/octet-stream":
            head += f"Inference-Header-Content-Length: {length}\r\n"
        (status,) = CONNECTION.say(head.encode() + b"\r\n" + body, ())
        assert status in (200, 400, 413, 422), f"{status} to {path} {kind} {body!r}"

    return one


TARGETS: dict[str, Callable[[], Callable[[bytes], None]]] = {
    "decode": lambda: decode, "rows": lambda: rows, "http": http, "contracts": contracts,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--runs", type=int, default=-1)
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    corpus = FOLDER / "corpus"
    corpus.mkdir()
    flags = [
        f"-runs={given.runs}", f"-seed={given.seed}", "-max_len=2048", "-timeout=10", "-rss_limit_mb=2048",
        "-print_final_stats=1", f"-artifact_prefix={FOLDER}/",
    ]  # fmt: skip
    words = HERE / "corpus" / f"{given.target}.dict"
    if words.is_file():
        flags.append(f"-dict={words}")
    if given.seconds:
        flags.append(f"-max_total_time={given.seconds}")
    atheris.Setup([sys.argv[0], *flags, str(corpus), str(HERE / "corpus" / given.target)], TARGETS[given.target]())
    atheris.Fuzz()


if __name__ == "__main__":
    main()
