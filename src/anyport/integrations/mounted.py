"""Mounted: one bundle in an application of the user's own, loaded once a process; what every framework's routes ask."""

from __future__ import annotations

import atexit
import importlib.metadata
import logging
import os
import sys
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

import anyport
from anyport import codec, predictor
from anyport.batch import Batch, Outcome, rows
from anyport.bundle import Bundle, read
from anyport.errors import BadData
from anyport.serve import coding, formats, wire
from anyport.serve.deployment import holding
from anyport.serve.hot import SMALL
from anyport.serve.model import SLOW, golden_row, opened, quickest
from anyport.serve.reply import Problem, Reply, fault
from anyport.serve.reply import plain as worded
from anyport.serve.request import Request
from anyport.serve.settings import Settings

if TYPE_CHECKING:
    from anyport.predictor import Predictor
    from anyport.signature import Signature
    from anyport.trust import Trust

log = logging.getLogger("anyport.integrations")
LIVE = Reply(200, b'{"live":true}')
PARTS = (
    "fastapi", "starlette", "flask", "werkzeug", "django", "rest_framework", "uvicorn", "uvicorn_worker", "gunicorn",
    "hypercorn",
)  # fmt: skip
"""Modules that an application is made of and run by; GET /readyz says which of them this process has imported."""
DISTRIBUTIONS = {"rest_framework": "djangorestframework"}


class Mounted:
    """A bundle in this application. Thread-safe; a Predictor of its own, and a FastAPI dependency: Depends(mounted).

    The model is loaded when it is first asked, or by `load`, once in each process. A graph on one thread, loaded
    before a fork, is shared by the children; anything else they load anew. `trust` says who may be unpickled, for
    form python. A body of more than `max_body` bytes is answered 413.
    """

    def __init__(
        self, bundle: Bundle | Path | str, *, trust: Trust | None = None, threads: int = 1,
        max_body: int = Settings().max_body,
    ) -> None:  # fmt: skip
        self.bundle = bundle if isinstance(bundle, Bundle) else read(holding(Path(bundle)))
        self.signature: Signature = self.bundle.signature
        self.trust = trust
        self.threads = threads
        self.max_body = max_body
        self.golden = golden_row(self.bundle)
        self.slow = True
        """Whether a row may hold up an event loop; known once it is loaded."""
        self._predictor: Predictor | None = None
        self._closing = ExitStack()
        self._lock = threading.Lock()
        _mounted.add(self)

    def __call__(self) -> Mounted:
        """Itself: what a dependency gives."""
        return self

    @property
    def name(self) -> str:
        return self.bundle.name

    @property
    def version(self) -> str:
        return self.bundle.version

    def load(self) -> Predictor:
        """The predictor, loaded and asked a golden row if it has not been in this process.

        Raises Missing, Untrusted or BadBundle, as loading it anywhere does.
        """
        if self._predictor is None:
            with self._lock:
                if self._predictor is None:
                    self._predictor = self._opened()
        return self._predictor

    def _opened(self) -> Predictor:
        made = opened(self.bundle, self._closing, trust=self.trust, threads=self.threads)
        warm = self.golden
        if warm is not None:
            made.predict(warm)
            self.slow = self.bundle.form == "python" or quickest(lambda: made.predict(warm)) > SLOW
        return made

    def close(self) -> None:
        """Let go of the model and of a process of its own; the next question loads it again."""
        with self._lock:
            self._predictor = None
            self._closing.close()

    def _forked(self) -> None:
        """In a child: a lock that nobody holds, and no thread or pipe that the parent goes on using."""
        self._lock = threading.Lock()
        if self.bundle.form == "python" or self.threads > 1:
            self._predictor = None
            self._closing = ExitStack()

    def predict(self, inputs: Batch, /) -> Outcome:
        """Answers to a Batch, one a row; rows that the original refuses are listed."""
        made = self.load()
        if rows(inputs) == 0:
            return Outcome(predictor.blank(self.signature, 0), {})
        return made.predict(inputs)

    def ask(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """JSON-ready answers to JSON-ready rows, as a list of rows to POST /predict has them.

        BadData where any row is refused, naming every cell.
        """
        body = codec.read([dict(record) for record in records], self.signature)
        refused = dict(body.refused)
        found = None if refused else self.predict(body.batch)
        if found is None or found.refused:
            refused |= {} if found is None else dict(found.refused)
            said = [f"row {row}, {refusal}" for row in sorted(refused) for refusal in refused[row]]
            raise BadData("; ".join(said), fix="GET /signature says what each column takes")
        answers: list[dict[str, Any]] = msgspec.json.decode(codec.answer(found, "records", self.signature))
        return answers

    def quick(self, body: bytes) -> bool:
        """Whether the answer to this body will not hold up an event loop."""
        return not self.slow and len(body) <= SMALL

    def answer(self, request: Request, body: bytes | None) -> Reply:
        """The reply to POST /predict, all of it in this thread; None stands for a body of more than `max_body`."""
        try:
            asked = formats.negotiated(request, most=self.max_body)
            partial = request.flag("partial")
            coded = coding.coding(request.headers.get(b"content-encoding", b""))
            if body is None:
                what = f"the body has more than {self.max_body} bytes"
                raise Problem(413, "TooLarge", what, "send fewer rows at a time")
            if coded:
                body = coding.inflate(body, coded, self.max_body)
            try:
                self.load()
            except Exception as error:
                raise fault(error) from error
            return wire.answer(self.predict, body, asked, self.signature, partial=partial)
        except Problem as problem:
            return worded(problem)

    def described(self) -> Reply:
        """The reply to GET /signature."""
        said = {**self._named(), "signature": self.signature}
        return Reply(200, msgspec.json.encode(said))

    def ready(self) -> Reply:
        """The reply to GET /readyz: loads the model if nothing has; 503 where it cannot be loaded.

        It says what our server says, and under `application` what this process is made of.
        """
        try:
            self.load()
            ready = True
        except Exception:
            log.exception("%s cannot be loaded", self.name)
            ready = False
        said = {
            "ready": ready, "server": "anyport", "version": anyport.__version__, "pid": os.getpid(),
            "models": [self._named()], "application": dict(parts()),
        }  # fmt: skip
        return Reply(200 if ready else 503, msgspec.json.encode(said))

    def _named(self) -> dict[str, str]:
        bundle = self.bundle
        return {"name": bundle.name, "version": bundle.version, "digest": bundle.digest, "form": bundle.form}

    def example(self) -> dict[str, Any] | None:
        """A golden row that the model answers, JSON-ready: one without nulls, if there is one. None where the bundle
        carries none."""
        found = golden_row(self.bundle, whole=True)
        if found is None:
            return None
        return {field.name: codec.cells(found[field.name], field)[0] for field in self.signature.inputs}


_mounted: weakref.WeakSet[Mounted] = weakref.WeakSet()


def _forked() -> None:
    for one in list(_mounted):
        one._forked()


def _ended() -> None:
    for one in list(_mounted):
        one._closing.close()  # without the lock, which a thread that is being ended may hold


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
atexit.register(_ended)


def mounted(bundle: Mounted | Bundle | Path | str, **how: Any) -> Mounted:
    """The bundle, mounted as `how` says unless it is already."""
    return bundle if isinstance(bundle, Mounted) else Mounted(bundle, **how)


def parts() -> Iterable[tuple[str, str]]:
    """Name and version of each library that this process serves with."""
    for name in PARTS:
        if name in sys.modules:
            yield name, importlib.metadata.version(DISTRIBUTIONS.get(name, name))


def asked(method: str, path: str, query: bytes, headers: Iterable[tuple[str, str]]) -> Request:
    """A request as our contract reads it: its headers and its query, not its body."""
    listed = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    scope = {"type": "http", "method": method, "path": path, "query_string": query, "headers": listed}
    return Request(scope, _bodiless, cast(Any, None))  # no site: there is one model, and nothing picks among several


async def _bodiless() -> Mapping[str, Any]:
    raise RuntimeError("the framework has read the body")
