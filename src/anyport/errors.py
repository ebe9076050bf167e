"""Every error anyport raises on purpose; each knows its exit code and what to type next.

AnyportError            exit 70   our bug
├── Mistake             exit 2    the caller's: bad file, bad data, bad option
│   ├── BadData                   rows or columns that do not fit the signature
│   ├── BadBundle                 a bundle that is damaged, hostile or too new
│   ├── Untrusted                 reading this needs the caller's consent
│   ├── Unauthorized              the server wants an API key, or another one
│   └── NotThere                  the server has no such model or route
├── Missing             exit 3    a library, program or engine is not installed
│   └── Offline                   a registry could not be reached
├── Impossible          exit 4    cannot be done for this model, with the reason
├── ParityFailed        exit 5    the artefact answers differently from the original
└── ServerError         exit 70   a server failed, or answered with something that is no answer
    ├── Unreachable     exit 3    no server answers there
    ├── Busy            exit 3    the server takes no more just now
    └── TooSlow         exit 3    no answer came in time
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar


class AnyportError(Exception):
    """Base of the tree; `what` happened, and `fix`: what to type or change next."""

    exit_code: ClassVar[int] = 70
    status: ClassVar[int] = 500

    def __init__(self, what: str, *, fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}\n  next: {self.fix}" if self.fix else self.what

    def as_dict(self) -> dict[str, Any]:
        """The error as JSON-ready data: `error`, `what`, `fix`, `exit_code`."""
        return {"error": type(self).__name__, "what": self.what, "fix": self.fix, "exit_code": self.exit_code}


class Mistake(AnyportError):
    """The caller's mistake."""

    exit_code = 2
    status = 400


class BadData(Mistake):
    """Rows or columns that do not fit the signature.

    `problems`: every cell at fault where that is known, each with `row`, `column`, `expected` and `got`.
    """

    status = 422

    def __init__(self, what: str, *, fix: str = "", problems: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(what, fix=fix)
        self.problems = tuple(problems)


class BadBundle(Mistake):
    """A bundle or artefact that is damaged, hostile, or written by a newer anyport."""


class Untrusted(Mistake):
    """Reading this file can execute code, and the caller has not consented."""


class Unauthorized(Mistake):
    """The server wants an API key, or another one."""

    status = 401


class NotThere(Mistake):
    """The server has no such model or route."""

    status = 404


class Missing(AnyportError):
    """A library, program or engine is not installed here."""

    exit_code = 3
    status = 501


class Offline(Missing):
    """A package registry could not be reached; says nothing about compatibility."""


class Impossible(AnyportError):
    """This cannot be done for this model."""

    exit_code = 4
    status = 400


class ParityFailed(AnyportError):
    """The artefact's answers differ from the original model's."""

    exit_code = 5


class ServerError(AnyportError):
    """A server failed, or answered with something that is no answer."""


class Unreachable(ServerError):
    """No server answers there, or the connection broke before an answer was whole."""

    exit_code = 3


class Busy(ServerError):
    """The server takes no more just now (429, 503). `after`: seconds to wait, where it said so."""

    exit_code = 3
    status = 503

    def __init__(self, what: str, *, fix: str = "", after: float | None = None) -> None:
        super().__init__(what, fix=fix)
        self.after = after


class TooSlow(ServerError):
    """No answer came in time: ours ran out, or the server's (408, 504)."""

    exit_code = 3
    status = 504


# module → the extra that brings it, where the two names differ
EXTRAS = {
    "sklearn": "sklearn", "skl2onnx": "sklearn", "joblib": "sklearn", "pandas": "pandas", "polars": "polars",
    "pyarrow": "arrow", "onnx": "onnx", "xgboost": "xgboost", "lightgbm": "lightgbm", "catboost": "catboost",
    "torch": "torch", "tensorflow": "tensorflow", "keras": "keras", "skops": "skops", "cloudpickle": "python",
    "mlflow": "mlflow", "uvicorn": "serve", "httptools": "serve", "cryptography": "sign", "uv": "python",
    "httpx": "client", "grpc": "grpc", "google": "grpc", "opentelemetry": "otel",
    "fastapi": "fastapi", "pydantic": "fastapi", "uvicorn_worker": "fastapi", "flask": "flask", "django": "django",
    "rest_framework": "django", "psycopg": "postgres", "pymysql": "mysql", "sqlglot": "sql", "duckdb": "duckdb",
    "chdb": "clickhouse",
    "pyodbc": "sqlserver", "google.cloud.bigquery": "bigquery", "google.cloud.storage": "bigquery",
}  # fmt: skip


def need(module: str) -> ModuleType:
    """Import `module`, or raise `Missing` with the line that installs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        root = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != root:
            raise
        extra = EXTRAS.get(module) or EXTRAS.get(root)
        line = f"pip install 'anyport[{extra}]'" if extra else f"pip install {root}"
        raise Missing(f"{root} is not installed here", fix=line) from error
