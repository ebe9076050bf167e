"""MLflow's scoring protocol: its keys on /invocations, /health and /version.

Source: mlflow/pyfunc/scoring_server/__init__.py of MLflow 3.17; https://mlflow.org/docs/latest/ml/deployment/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

import anyport
from anyport import codec
from anyport.batch import Outcome
from anyport.codec import Body, shown
from anyport.errors import Mistake
from anyport.serve import shapes, words
from anyport.serve.reply import Problem, Reply
from anyport.serve.request import Request, Route
from anyport.signature import Signature

READS: dict[str, Callable[[Any, Signature, str], Body]] = {
    "dataframe_split": shapes.split,
    "dataframe_records": shapes.listed,
    "instances": shapes.listed,
    "inputs": shapes.keyed,
}
"""Key of the body → how the rows under it are read."""
CODES = {401: "UNAUTHENTICATED", 404: "RESOURCE_DOES_NOT_EXIST", 500: "INTERNAL_ERROR", 503: "TEMPORARILY_UNAVAILABLE"}


def routes() -> Iterator[Route]:
    """Those that are MLflow's alone; sagemaker.py has /invocations and /ping, which both share."""
    yield Route("GET", "/health", health, refuse, open=True)
    yield Route("GET", "/version", version, refuse, open=True)


def parse(body: bytes, signature: Signature) -> Any:
    """The JSON value of a body; in MLflow's own form, NaN is a missing cell: its client writes missing numbers so."""
    try:
        return codec.parse(body)
    except Mistake:
        value = shapes.python_json(body, shapes.CELLS.get)
        if not meant(value, signature):
            raise
        return value


def meant(value: Any, signature: Signature) -> bool:
    """Whether a JSON body is MLflow's: it has one of its keys, and the model no column of that name."""
    own = {field.name for field in signature.inputs}
    return isinstance(value, dict) and any(key in value and key not in own for key in READS)


def read(value: dict[str, Any], signature: Signature) -> Body:
    """The rows. `params` are passed to no model of ours, which MLflow ignores with a warning in its log."""
    found = [key for key in READS if key in value]
    if len(found) > 1:
        raise Mistake(f"the body has {' and '.join(found)}", fix=f"send exactly one of {', '.join(READS)}")
    more = sorted(value.keys() - {found[0], "params"})
    if more:
        raise Mistake(f"there is no key {more[0]!r} beside {found[0]}", fix=f"send {found[0]} and, at most, params")
    if not isinstance(value.get("params"), dict | None):
        raise Mistake(f"params: expected an object, got {shown(value['params'])}")
    return READS[found[0]](value[found[0]], signature, found[0])


def answer(outcome: Outcome, signature: Signature) -> Reply:
    """{"predictions": […]}: what the pyfunc would return, so labels for a classifier."""
    return Reply(200, msgspec.json.encode({"predictions": shapes.predictions(outcome, signature)}))


def refuse(problem: Problem) -> Reply:
    """{"error_code", "message"} as MlflowException has it, and our own keys beside."""
    status = words.status(problem)
    said = {
        "error_code": CODES.get(status, "BAD_REQUEST"), "message": words.line(problem),
        "error": problem.error, "what": problem.what, "fix": problem.fix, **problem.more,
    }  # fmt: skip
    return Reply(status, msgspec.json.encode(said), headers=problem.headers)


async def health(request: Request) -> Reply:
    """200 and an empty line when every model answers, else 503."""
    return Reply(200 if request.site.ready else 503, b"\n")


async def version(request: Request) -> Reply:
    """anyport's version; MLflow's server says its own."""
    return Reply(200, anyport.__version__.encode())
