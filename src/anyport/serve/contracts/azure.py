"""Azure ML's online endpoint contract: /score and /swagger.json; `Healthy` at / is plain.py's.

Source: azureml-inference-server-http 1.5.1 (routes.py, input_parsers.py, swagger.py); input_data is the form of
MLflow models deployed without code, https://learn.microsoft.com/azure/machine-learning/how-to-deploy-mlflow-models.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import msgspec

from anyport import codec
from anyport.batch import Outcome
from anyport.codec import Body, shown
from anyport.errors import Mistake
from anyport.serve import formats, openapi, shapes, swagger, words
from anyport.serve.model import Served
from anyport.serve.reply import Problem, Reply
from anyport.serve.request import Request, Route
from anyport.signature import Field, Signature


def routes() -> Iterator[Route]:
    """Azure's."""
    yield Route("POST", "/score", score, refuse, says=says)
    yield Route("GET", "/score", query, refuse)
    yield Route("OPTIONS", "/score", options, refuse, open=True)
    yield Route("GET", "/swagger.json", document, refuse)


async def score(request: Request) -> Reply:
    """The answers of the first model."""
    formats.media(request, {b"application/json": formats.JSON})
    model = request.site.pick(None, None, request.headers)
    return await request.answer(model, Score(), partial=request.flag("partial"))


async def query(request: Request) -> Reply:
    """The answer to one row, given as query parameters."""
    given = parse_qs(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    return await request.answer(request.site.pick(None, None, request.headers), Query(given))


async def options(request: Request) -> Reply:
    """200 and nothing, as Azure's own server answers without CORS."""
    return Reply(200, b"", headers=((b"allow", b"GET, HEAD, POST, OPTIONS"),))


async def document(request: Request) -> Reply:
    """Swagger 2.0, which Azure shows to clients; with ?version=3, OpenAPI 3."""
    version = request.query.get("version", "2")
    if version not in swagger.VERSIONS:
        known = ", ".join(swagger.VERSIONS)
        raise Problem(404, "NotFound", f"Swagger version [{version}] is not valid", f"supported versions: {known}")
    model = request.site.pick(None, None, request.headers)
    return Reply(200, msgspec.json.encode(swagger.VERSIONS[version](model)))


class Score:
    """Our own JSON; {"data": [rows]}, answered like a list of rows; or {"input_data": …}, answered as MLflow's models
    answer there, with bare predictions."""

    def __init__(self) -> None:
        self.key = ""
        self.form: codec.Form = "records"

    def decode(self, body: bytes, signature: Signature, /) -> Body:
        """The rows."""
        value = codec.parse(body)
        own = {field.name for field in signature.inputs}
        found = [key for key in ("data", "input_data") if isinstance(value, dict) and key in value and key not in own]
        if not found:
            read = codec.read(value, signature)
            self.form = read.form
            return read
        self.key = found[0]
        more = sorted(value.keys() - {self.key, "params"})
        if more:
            raise Mistake(f"there is no key {more[0]!r} beside {self.key}", fix=f"send {self.key} alone")
        if not isinstance(value.get("params"), dict | None):
            raise Mistake(f"params: expected an object, got {shown(value['params'])}")
        rows = value[self.key]
        if self.key == "input_data" and isinstance(rows, dict) and "data" in rows:
            return shapes.split(rows, signature, self.key)
        return shapes.keyed(rows, signature, self.key)

    def encode(self, outcome: Outcome, signature: Signature, /) -> Reply:
        """The answers."""
        if self.key == "input_data":
            return Reply(200, msgspec.json.encode(shapes.predictions(outcome, signature)))
        return Reply(200, codec.answer(outcome, self.form, signature))


class Query:
    """One row as query parameters. Each is JSON (`?age=3&owner=true`), or text as it stands; a name that comes twice
    is a list."""

    def __init__(self, given: dict[str, list[str]]) -> None:
        self.given = given

    def decode(self, body: bytes, signature: Signature, /) -> Body:
        """The row; the body is not looked at."""
        fields = {field.name: field for field in signature.inputs}
        row: dict[str, Any] = {}
        for name, texts in self.given.items():
            cells = [cell(text, fields.get(name)) for text in texts]
            row[name] = cells[0] if len(cells) == 1 else cells
        return codec.read(row, signature)

    def encode(self, outcome: Outcome, signature: Signature, /) -> Reply:
        """The answer."""
        return Reply(200, codec.answer(outcome, "row", signature))


def cell(text: str, field: Field | None) -> Any:
    """The value of one parameter. Text columns take numbers for the text they are: a postcode is one."""
    try:
        value = codec.parse(text.encode())
    except Mistake:
        return text
    texts = field is not None and field.is_text and not field.shape and isinstance((field.levels or ("",))[0], str)
    return text if texts and not isinstance(value, str | None) else value


def refuse(problem: Problem) -> Reply:
    """{"message": text}, as Azure's server has it, with every refused cell beside."""
    said = {"message": words.line(problem), **problem.more}
    return Reply(words.status(problem), msgspec.json.encode(said), headers=problem.headers)


def says(model: Served) -> dict[str, Any]:
    """Its OpenAPI operation."""
    row, answer = openapi.ref(model, "Row"), openapi.ref(model, "Answer")
    rows = {"type": "array", "items": {"anyOf": [row, {"type": "array"}]}}
    body = {"anyOf": [row, rows, openapi.only("data", rows), openapi.only("input_data", {"type": ["object", "array"]})]}
    said = {"anyOf": [answer, {"type": "array"}, {"type": "object", "required": ["columns"]}]}
    return openapi.operation(
        f"Predict with {model.name} {model.version}, as Azure ML asks", {"application/json": body},
        {"application/json": said}, openapi.only("message", {"type": "string"}),
        ("400", "401", "413", "415", "500", "503"),
    )  # fmt: skip
