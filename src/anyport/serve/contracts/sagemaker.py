"""SageMaker's hosting contract: /ping, /invocations (which is MLflow's too), /execution-parameters.

Source: awsdocs/amazon-sagemaker-developer-guide, your-algorithms-inference-code.md and -batch-code.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from anyport import codec
from anyport.batch import Outcome
from anyport.codec import Body
from anyport.serve import formats, openapi
from anyport.serve.contracts import mlflow
from anyport.serve.formats import Format, Negotiated
from anyport.serve.model import Served
from anyport.serve.reply import Reply
from anyport.serve.request import Request, Route
from anyport.serve.tables import Headless
from anyport.serve.wire import Wire
from anyport.signature import Signature


def routes() -> Iterator[Route]:
    """SageMaker's."""
    yield Route("GET", "/ping", ping, mlflow.refuse, open=True)
    yield Route("POST", "/invocations", invocations, mlflow.refuse, says=says)
    yield Route("GET", "/execution-parameters", parameters, mlflow.refuse, open=True)


async def ping(request: Request) -> Reply:
    """200 with no body when every model answers, else 503."""
    return Reply(200 if request.site.ready else 503, b"")


async def invocations(request: Request) -> Reply:
    """The answers of the first model."""
    model = request.site.pick(None, None, request.headers)
    return await request.answer(model, await wire(request), partial=request.flag("partial"))


async def parameters(request: Request) -> Reply:
    """How a batch transform should ask: one request a worker at a time, as many records as fit in the payload."""
    settings = request.site.settings
    said = {
        "MaxConcurrentTransforms": settings.workers, "BatchStrategy": "MULTI_RECORD",
        "MaxPayloadInMB": min(max(settings.max_body >> 20, 1), 100),
    }  # fmt: skip
    return Reply(200, msgspec.json.encode(said))


class Invocation:
    """A body of /invocations: MLflow's JSON and its reply, or the wire that was negotiated."""

    def __init__(self, otherwise: Negotiated) -> None:
        self.otherwise = otherwise
        self.mlflow = False

    def decode(self, body: bytes, signature: Signature, /) -> Body:
        """The rows; MLflow's keys are looked for in JSON only."""
        if self.otherwise.reads is not formats.JSON:
            return self.otherwise.decode(body, signature)
        value = mlflow.parse(body, signature)
        self.mlflow = mlflow.meant(value, signature)
        read = mlflow.read(value, signature) if self.mlflow else codec.read(value, signature)
        self.otherwise.form = "records" if self.mlflow else read.form
        return read

    def encode(self, outcome: Outcome, signature: Signature, /) -> Reply:
        """The answers; who asks for another format than JSON gets that."""
        if self.mlflow and self.otherwise.writes is formats.JSON:
            return mlflow.answer(outcome, signature)
        return self.otherwise.encode(outcome, signature)


async def wire(request: Request) -> Wire:
    """What reads and writes this request. CSV is headerless unless its first line is the column names."""
    table = Headless()
    csv = Format(formats.CSV.types, table.read, table.write)
    chosen = formats.negotiated(request, [csv if one is formats.CSV else one for one in formats.ALL])
    return Invocation(await chosen.imported())


def says(model: Served) -> dict[str, Any]:
    """Its OpenAPI operation."""
    row = openapi.ref(model, "Row")
    rows: list[dict[str, Any]] = [{"type": "array", "items": row}, {"type": "object", "required": ["columns"]}]
    body = {"anyOf": [row, *rows, *({"type": "object", "required": [key]} for key in mlflow.READS)]}
    answer = openapi.ref(model, "Answer")
    said = {"anyOf": [answer, {"type": "array", "items": answer}, {"type": "object"}]}
    return openapi.operation(
        f"Predict with {model.name} {model.version}, as SageMaker and MLflow ask",
        formats.contents(body), formats.contents(said), {"type": "object", "required": ["error_code", "message"]},
        ("400", "401", "406", "413", "415", "500", "503"),
    )  # fmt: skip
