"""Every error anyport raises on purpose; each knows its exit code and what to type next.

AnyportError            exit 70   our bug
├── Mistake             exit 2    the caller's: bad file, bad data, bad option
│   ├── BadData                   rows or columns that do not fit the signature
│   ├── BadBundle                 a bundle that is damaged, hostile or too new
│   └── Untrusted                 reading this needs the caller's consent
├── Missing             exit 3    a library, program or engine is not installed
│   └── Offline                   a registry could not be reached
├── Impossible          exit 4    cannot be done for this model, with the reason
└── ParityFailed        exit 5    the artefact answers differently from the original
"""

from __future__ import annotations

import importlib
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
    """Rows or columns that do not fit the signature."""

    status = 422


class BadBundle(Mistake):
    """A bundle or artefact that is damaged, hostile, or written by a newer anyport."""


class Untrusted(Mistake):
    """Reading this file can execute code, and the caller has not consented."""


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


# module → the extra that brings it, where the two names differ
EXTRAS = {
    "sklearn": "sklearn", "skl2onnx": "sklearn", "joblib": "sklearn", "pandas": "pandas", "polars": "polars",
    "pyarrow": "arrow", "onnx": "onnx", "xgboost": "xgboost", "lightgbm": "lightgbm", "catboost": "catboost",
    "torch": "torch", "tensorflow": "tensorflow", "keras": "keras", "skops": "skops", "cloudpickle": "python",
    "mlflow": "mlflow", "uvicorn": "serve", "httptools": "serve", "cryptography": "sign", "uv": "python",
}  # fmt: skip


def need(module: str) -> ModuleType:
    """Import `module`, or raise `Missing` with the line that installs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        root = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != root:
            raise
        extra = EXTRAS.get(root)
        line = f"pip install 'anyport[{extra}]'" if extra else f"pip install {root}"
        raise Missing(f"{root} is not installed here", fix=line) from error
