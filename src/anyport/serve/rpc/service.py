"""GRPCInferenceService of the Open Inference Protocol v2, and gRPC's health check: routes that take and give protobuf.

A call is a Request at the path /package.Service/Method, so that keys, limits, counters and faults are those of HTTP.
Source: kserve/open-inference-protocol, specification/protocol/open_inference_grpc.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from anyport.batch import Outcome
from anyport.codec import Body
from anyport.errors import Mistake
from anyport.serve import tabular, tensors
from anyport.serve.contracts import oip
from anyport.serve.reply import TEXT, Problem, Reply
from anyport.serve.request import Request, Route
from anyport.serve.rpc.messages import messages
from anyport.serve.tensors import CONTENTS, Tensor
from anyport.signature import Signature

if TYPE_CHECKING:
    from anyport.serve.model import Served

INFERENCE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"
KIND = b"application/grpc+proto"
SERVING, NOT_SERVING = 1, 2
MOST = 4096
"""Characters of an error: it travels in a header, of which clients take 8 KiB."""


def routes() -> Iterator[Route]:
    """Every method that takes one message and gives one."""
    for name, handler in (("ServerLive", live), ("ServerReady", ready), ("ModelReady", model_ready)):
        yield Route("POST", f"/{INFERENCE}/{name}", handler, refuse, open=True)
    for name, handler in (
        ("ServerMetadata", server), ("ModelMetadata", metadata), ("ModelInfer", infer), ("RepositoryIndex", index),
    ):  # fmt: skip
        yield Route("POST", f"/{INFERENCE}/{name}", handler, refuse)
    yield Route("POST", f"/{HEALTH}/Check", check, refuse, open=True)


def refuse(problem: Problem) -> Reply:
    """The text of a gRPC status."""
    return Reply(problem.status, oip.worded(problem)[:MOST].encode(), TEXT, problem.headers)


async def read(request: Request, name: str) -> Any:
    """The request's message. Problem 400 where the bytes are none."""
    from google.protobuf.message import DecodeError

    try:
        return messages()[name].FromString(await request.body())
    except DecodeError as error:
        raise Problem(400, "BadBody", f"the request is no {name}: {error}") from error


def reply(message: str, /, **fields: Any) -> Reply:
    """A message as a reply."""
    return Reply(200, messages()[message](**fields).SerializeToString(), KIND)


def picked(request: Request, name: str, version: str) -> Served:
    """The model of a name, and of a version unless that is empty."""
    return request.site.pick(name, version or None, request.headers)


async def live(request: Request) -> Reply:
    """The process runs."""
    return reply("ServerLiveResponse", live=True)


async def ready(request: Request) -> Reply:
    """Whether every model answers."""
    return reply("ServerReadyResponse", ready=request.site.ready)


async def model_ready(request: Request) -> Reply:
    """Whether one model answers."""
    asked = await read(request, "ModelReadyRequest")
    return reply("ModelReadyResponse", ready=picked(request, asked.name, asked.version).predictor is not None)


async def server(request: Request) -> Reply:
    """Name, version and extensions of the server."""
    said = oip.about()
    return reply("ServerMetadataResponse", name=said["name"], version=said["version"])


async def metadata(request: Request) -> Reply:
    """The model's columns and outputs as tensors."""
    asked = await read(request, "ModelMetadataRequest")
    said = oip.described(request.site, picked(request, asked.name, asked.version))
    for output in said["outputs"]:
        output.pop("parameters", None)  # this message has no place for them
    return reply("ModelMetadataResponse", **said)


async def index(request: Request) -> Reply:
    """Every model and its state: Triton's extension."""
    asked = await read(request, "RepositoryIndexRequest")
    return reply("RepositoryIndexResponse", models=oip.states(request.site, only_ready=asked.ready))


async def check(request: Request) -> Reply:
    """gRPC's health check (grpc/grpc-proto, grpc/health/v1/health.proto), which Kubernetes' grpc probes call."""
    asked = await read(request, "HealthCheckRequest")
    if asked.service not in ("", INFERENCE):
        raise Problem(404, "NotFound", f"there is no service {asked.service!r} here", f'ask for "" or {INFERENCE}')
    return reply("HealthCheckResponse", status=SERVING if request.site.ready else NOT_SERVING)


async def infer(request: Request) -> Reply:
    """The answers as tensors, raw where the request's are."""
    asked = await read(request, "ModelInferRequest")
    model = picked(request, asked.model_name, asked.model_version)
    return await request.answer(model, Infer(model, asked))


class Infer:
    """One ModelInferRequest. A Wire; the body was read before, as it names the model."""

    def __init__(self, model: Served, asked: Any) -> None:
        self.model = model
        self.asked = asked

    def decode(self, body: bytes, signature: Signature, /) -> Body:
        """Mistake (400) where a tensor is malformed."""
        known = tuple(field.name for field in signature.outputs)
        self.names = tuple(output.name for output in self.asked.outputs) or known
        oip.check_outputs(self.names, known)
        for output in self.asked.outputs:
            oip.refuse_parameters(f"output {output.name!r}", parameters(output))
        return tabular.body(inputs(self.asked), signature)

    def encode(self, outcome: Outcome, signature: Signature, /) -> Reply:
        """A ModelInferResponse."""
        fields = {field.name: field for field in signature.outputs}
        made = tabular.answers(outcome, [fields[name] for name in self.names])
        # 16-bit floats have no list of their own, and a response is raw as a whole or not at all
        raw = bool(self.asked.raw_input_contents) or any(tensor.datatype not in CONTENTS for tensor in made)
        answer = messages()["ModelInferResponse"](
            model_name=self.model.name, model_version=self.model.version, id=self.asked.id
        )
        for tensor in made:
            told = answer.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.values.shape)
            try:
                if raw:
                    answer.raw_output_contents.append(tensors.to_raw(tensor))
                else:
                    getattr(told.contents, CONTENTS[tensor.datatype]).extend(tensors.to_list(tensor))
            except Mistake as error:
                raise Problem(400, "BadBody", error.what, "ask for JSON over HTTP") from error
        return Reply(200, answer.SerializeToString(), KIND)


def inputs(asked: Any) -> list[Tensor]:
    """The tensors of a request, in order. Mistake where one is malformed."""
    raw = asked.raw_input_contents
    if raw and len(raw) != len(asked.inputs):
        raise Mistake(f"raw_input_contents: expected one for each of {len(asked.inputs)} inputs, got {len(raw)}")
    common = parameters(asked).get("missing")
    made = []
    for number, given in enumerate(asked.inputs):
        told = parameters(given)
        oip.refuse_parameters(f"input {given.name!r}", told)
        if not raw:
            tensor = listed(given)
        elif given.HasField("contents"):
            raise Mistake(f"input {given.name!r} has contents and raw_input_contents", fix="leave one of them out")
        else:
            tensor = tensors.from_raw(given.name, given.datatype, given.shape, raw[number])
        made.append(oip.mark(tensor, told.get("missing", common)))
    return made


def listed(given: Any) -> Tensor:
    """A tensor from its `contents`. Mistake where they are not in the list of its datatype."""
    tensors.counted(given.name, given.datatype, given.shape)
    place = CONTENTS.get(given.datatype)
    if place is None:
        raise Mistake(f"input {given.name!r}: {given.datatype} has no list", fix="send it in raw_input_contents")
    for field, _ in given.contents.ListFields():
        if field.name != place:
            raise Mistake(f"input {given.name!r}: expected {given.datatype} in {place}, got {field.name}")
    return tensors.from_list(given.name, given.datatype, given.shape, list(getattr(given.contents, place)))


def parameters(message: Any) -> dict[str, Any]:
    """The parameters of a message by name."""
    found = {}
    for name, value in message.parameters.items():
        choice = value.WhichOneof("parameter_choice")
        found[name] = None if choice is None else getattr(value, choice)
    return found
