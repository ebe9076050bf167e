"""Groups of servers that are up at once and measured in turn, each answer compared with the original's before."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.models import folder, linear_rows, mixed_rows, original, packed
from benchmarks.serving import peers
from benchmarks.serving.load import SERVER_CORE, Server, free_port, started, wrk
from benchmarks.serving.ours import CONSTANT
from benchmarks.serving.peers import Peer, Wire, encoded

HERE = Path(__file__).parent
ASKED = 100
"""Rows that every server must answer as the original does."""
NEAR = 1e-5
"""How far a probability may be from the original's."""
ROWS: Mapping[str, Callable[..., pd.DataFrame]] = {"linear": linear_rows, "mixed": mixed_rows}


@dataclass(frozen=True)
class Entry:
    """One server of a group: its command, where {port} stands for its port."""

    argv: tuple[str, ...]
    wire: Wire = peers.PLAIN
    env: Mapping[str, str] = field(default_factory=dict)
    checked: bool = True
    """Not where it answers the same to everything."""
    seconds: int = 2


@dataclass(frozen=True)
class Measured:
    """Medians and rounds of each server, and why others have none."""

    servers: Mapping[str, dict[str, Any]]
    missing: Mapping[str, str]

    def ratio(self, server: str, base: str, key: str) -> float | None:
        """`server` over `base`: the median of the rounds' ratios; None where one of them was not measured."""
        if server in self.missing or base in self.missing:
            return None
        pairs = zip(self.servers[server]["rounds"], self.servers[base]["rounds"], strict=True)
        return statistics.median(a[key] / b[key] for a, b in pairs)


def measured(model: str, entries: Mapping[str, Entry], *, rounds: int, quick: bool = False) -> Measured:
    """Load every server in every round. One that does not start, or answers wrongly, is missing with the reason."""
    rows = [{str(k): v for k, v in row.items()} for row in ROWS[model](ASKED, seed=9).to_dict("records")]
    expected = original(model).predict_proba(pd.DataFrame(rows))[:, 1].tolist()
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        up: dict[str, Server] = {}
        for name, entry in entries.items():
            try:
                up[name] = stack.enter_context(begin(name, entry, encoded(entry.wire, rows[0])))
            except OSError as error:
                missing[name] = f"cannot be started: {error}"
        for name, server in list(up.items()):
            try:
                server.wait()
                if entries[name].checked:
                    check(server, entries[name].wire, rows, expected)
                wrk(server, seconds=1)
            except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
                missing[name] = str(error)
                del up[name]
                print(f"{name} is not measured: {error}", flush=True)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in up}
        for _ in range(rounds):
            for name, server in up.items():
                found[name].append(wrk(server, seconds=1 if quick else entries[name].seconds))
    for name in [name for name, each in found.items() if not all(one["requests"] for one in each)]:
        missing[name] = "it answered nothing in a whole round"
        del found[name]
    return Measured({name: {**middle(each), "rounds": each} for name, each in found.items()}, missing)


def begin(name: str, entry: Entry, body: str, *, cores: str = SERVER_CORE) -> AbstractContextManager[Server]:
    """The server of an entry, being started."""
    home = folder() / name
    words = {f"port{i}": str(free_port()) for i in ("", 2, 3)} | {"home": str(home), "here": str(peers.HERE)}

    def filled(word: str) -> str:
        for key, value in words.items():
            word = word.replace("{" + key + "}", value)
        return word

    url = f"http://127.0.0.1:{words['port']}{entry.wire.path}"
    argv, env = [filled(w) for w in entry.argv], {k: filled(v) for k, v in entry.env.items()}
    return started(name, argv, url=url, body=body, home=home, env=env, cores=cores)


def check(server: Server, wire: Wire, rows: list[dict[str, Any]], expected: list[float]) -> None:
    """RuntimeError unless every row is answered as the original answers it."""
    for row, probability in zip(rows, expected, strict=True):
        answer = server.ask(encoded(wire, row))
        try:
            got = wire.probability(answer)
        except (LookupError, TypeError, ValueError) as error:
            raise RuntimeError(f"{server.name} answers {answer} to {row}") from error
        if not abs(got - probability) <= NEAR:
            raise RuntimeError(f"{server.name} answers {got} to {row}; the original {probability}")


def middle(found: list[dict[str, float]]) -> dict[str, float]:
    """Medians of a server's rounds; errors are added up."""
    kept = {key: round(statistics.median(one[key] for one in found), 3) for key in found[0]}
    return {**kept, "errors": sum(one["errors"] for one in found)}


def anyport(model: str, *more: str) -> Entry:
    """Our server as users start it, with every default."""
    return Entry((sys.executable, "-m", "anyport.serve", str(packed(model)), "--port", "{port}", *more))


def limits(model: str) -> Mapping[str, Entry]:
    """Our server between the same server answering a constant, a careful author's uvicorn, and C++."""
    ours = (sys.executable, "-m", "benchmarks.serving.ours")
    here = {"PYTHONPATH": str(HERE.parents[1])}
    bundle, epoll = str(packed(model)), program()
    found = {
        "anyport": anyport(model),
        "constant": Entry((*ours, "constant", bundle, "{port}"), env=here, checked=False),
        "uvicorn": Entry((*ours, "raw", bundle, "{port}"), env=here),
        "epoll": Entry((epoll, "{port}", CONSTANT.decode()), checked=False),
    }
    return {**found, "epoll_model": Entry((epoll, "{port}", "", weights()))} if model == "linear" else found


@cache
def program() -> str:
    """epoll.cpp, compiled."""
    subprocess.run(["g++", "-O2", "-o", folder() / "epoll.bin", HERE / "epoll.cpp"], check=True)
    return str(folder() / "epoll.bin")


@cache
def weights() -> str:
    """The linear model for epoll.cpp."""
    scaler, logistic = (step for _, step in original("linear").steps)
    columns = zip(scaler.mean_, scaler.scale_, logistic.coef_[0], strict=True)
    lines = [" ".join(repr(float(value)) for value in column) for column in columns]
    out = folder() / "weights.txt"
    out.write_text("\n".join([*lines, f"0 1 {float(logistic.intercept_[0])!r}", ""]))
    return str(out)


@cache
def graph() -> str:
    """The linear model as everybody converts it."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    width = linear_rows(1).shape[1]
    made = to_onnx(
        original("linear"), initial_types=[("X", FloatTensorType([None, width]))], options={"zipmap": False}
    )  # fmt: skip
    out = folder() / "linear.onnx"
    out.write_bytes(made.SerializeToString())
    return str(out)


def beside(model: str, others: Mapping[str, Peer]) -> Mapping[str, Entry]:
    """Our server and peers that answer the same model: as a graph where they run ONNX Runtime, else the original."""
    packed(model)
    file = graph() if others is peers.GRAPH else str(folder() / f"{model}.joblib")
    found = {"anyport": anyport(model)}
    for name, peer in others.items():
        # {model} first: the others are the server's own
        argv = (str(peer.program()), *(word.replace("{model}", file) for word in peer.argv[1:]))
        env = {key: value.replace("{model}", file) for key, value in peer.env.items()}
        found[name] = Entry(argv, peer.wire, env, seconds=3)
    return found
