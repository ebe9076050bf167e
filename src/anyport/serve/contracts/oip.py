"""The Open Inference Protocol v2 over REST, as KServe, Triton and MLServer speak it, with the binary tensor extension.

Sources: kserve/open-inference-protocol, specification/protocol/inference_rest.md; triton-inference-server/server,
docs/protocol/extension_binary_data.md and extension_model_repository.md. Errors are {"error": text}; refused rows (422)
are listed under "errors" too, as on our own routes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

import anyport
from anyport import codec
from anyport.batch import Outcome
from anyport.codec import Body
from anyport.errors import Mistake
from anyport.serve import oip_schemas, shapes, tabular, tensors
from anyport.serve.reply import Problem, Reply
from anyport.serve.request import Request, Route
from anyport.serve.tensors import Tensor
from anyport.signature import Signature

if TYPE_CHECKING:
    from anyport.serve.model import Served
    from anyport.serve.site import Site

MODEL = "/v2/models/{name}"
VERSION = "/v2/models/{name}/versions/{version}"
LENGTH = b"inference-header-content-length"
BINARY = b"application/octet-stream"
TOLD = 20
"""Refused cells that the text of an error repeats."""


def routes() -> Iterator[Route]:
    """Those of the protocol, and of Triton's index and configuration."""
    yield Route("GET", "/v2", server, refuse, says=oip_schemas.server)
    yield Route("GET", "/v2/health/live", live, refuse, open=True, says=oip_schemas.live)
    yield Route("GET", "/v2/health/ready", ready, refuse, open=True, says=oip_schemas.ready)
    yield Route("POST", "/v2/repository/index", index, refuse, says=oip_schemas.index)
    for path in (MODEL, VERSION):
        yield Route("GET", path, metadata, refuse, says=oip_schemas.metadata)
        yield Route("GET", f"{path}/ready", model_ready, refuse, open=True, says=oip_schemas.model_ready)
        yield Route("GET", f"{path}/config", config, refuse, says=oip_schemas.config)
        yield Route("POST", f"{path}/infer", infer, refuse, says=oip_schemas.infer)


def picked(request: Request) -> Served:
    """The model that the path names."""
    return request.site.pick(request.params["name"], request.params.get("version"), request.headers)


async def server(request: Request) -> Reply:
    """Name, version and extensions of the server."""
    return Reply(200, msgspec.json.encode(about()))


def about() -> dict[str, Any]:
    """What the server says of itself."""
    return {"name": "anyport", "version": anyport.__version__, "extensions": ["binary_tensor_data"]}


async def live(request: Request) -> Reply:
    """The process runs."""
    return Reply(200, b'{"live":true}')


async def ready(request: Request) -> Reply:
    """200 when every model answers, else 503."""
    return said_ready(request.site.ready)


def said_ready(yes: bool, **more: str) -> Reply:
    """KServe's client reads the body, Triton's the status."""
    return Reply(200 if yes else 503, msgspec.json.encode({**more, "ready": yes}))


async def model_ready(request: Request) -> Reply:
    """200 when this model answers, else 503."""
    model = picked(request)
    return said_ready(model.predictor is not None, name=model.name)


async def metadata(request: Request) -> Reply:
    """The model's columns and outputs as tensors."""
    return Reply(200, msgspec.json.encode(described(request.site, picked(request))))


def described(site: Site, model: Served) -> dict[str, Any]:
    """The metadata of a model. An output with one number a class says the classes in `parameters`, as MLServer does."""
    outputs = []
    for field in model.signature.outputs:
        told = tabular.described(field)
        labels = codec.keys(field)
        outputs.append(told if labels is None else {**told, "parameters": {"labels": field.levels}})
    return {
        "name": model.name, "versions": [one.version for one in site.models if one.name == model.name],
        "platform": platform(model), "inputs": [tabular.described(field) for field in model.signature.inputs],
        "outputs": outputs,
    }  # fmt: skip


def platform(model: Served) -> str:
    """The protocol's word for what runs the model: PROJECT_FORMAT."""
    return "onnxruntime_onnx" if model.bundle.form == "graph" else f"{model.bundle.manifest.framework}_python"


async def config(request: Request) -> Reply:
    """The model's configuration as Triton words it (docs/protocol/extension_model_configuration.md)."""
    model = picked(request)

    def listed(fields: Sequence[Any]) -> list[dict[str, Any]]:
        told = [tabular.described(field) for field in fields]
        kinds = ["TYPE_STRING" if one["datatype"] == "BYTES" else f"TYPE_{one['datatype']}" for one in told]
        return [
            {"name": one["name"], "data_type": kind, "dims": one["shape"]}
            for one, kind in zip(told, kinds, strict=True)
        ]

    said = {
        "name": model.name, "platform": platform(model), "max_batch_size": 0,
        "input": listed(model.signature.inputs), "output": listed(model.signature.outputs),
    }  # fmt: skip
    return Reply(200, msgspec.json.encode(said))


async def index(request: Request) -> Reply:
    """Every model and its state; with {"ready": true} those alone that answer."""
    body = await request.body()
    asked = codec.parse(body) if body.strip() else {}
    if not isinstance(asked, dict):
        raise Problem(400, "BadBody", "the body of an index request is an object", 'send {} or {"ready": true}')
    return Reply(200, msgspec.json.encode(states(request.site, only_ready=bool(asked.get("ready")))))


def states(site: Site, *, only_ready: bool) -> list[dict[str, str]]:
    """Name, version and state of every model."""
    found = [(model, model.predictor is not None) for model in site.models]
    return [
        {"name": model.name, "version": model.version, "state": "READY" if up else "LOADING", "reason": ""}
        for model, up in found
        if up or not only_ready
    ]


async def infer(request: Request) -> Reply:
    """The answers as tensors, in JSON or behind it as bytes, as the request wants them."""
    model = picked(request)
    return await request.answer(model, Infer(model, request.headers.get(LENGTH)))


class Input(msgspec.Struct):
    """$request_input."""

    name: str
    shape: list[int]
    datatype: str
    data: Any = msgspec.UNSET
    parameters: dict[str, Any] | None = None


class Output(msgspec.Struct):
    """$request_output."""

    name: str
    parameters: dict[str, Any] | None = None


class Asked(msgspec.Struct):
    """$inference_request. Keys that it does not know are let pass, as Triton does."""

    inputs: list[Input]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[Output] | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Outputs that a request wants, and which of them as bytes."""

    names: tuple[str, ...]
    binary: frozenset[str]


class Infer:
    """One inference request in JSON, with the bytes of some tensors behind it. A Wire."""

    def __init__(self, model: Served, length: bytes | None) -> None:
        self.model = model
        self.length = length
        """What Inference-Header-Content-Length says."""

    def decode(self, body: bytes, signature: Signature, /) -> Body:
        """Mistake (400) where the request or a tensor is malformed."""
        head, rest = parted(body, self.length)
        try:
            # tritonclient writes NaN and Infinity, and Triton reads them
            asked = msgspec.convert(shapes.python_json(head, float), Asked)
        except msgspec.ValidationError as error:
            raise Mistake(f"this is no inference request: {error}", fix='send {"inputs": [{"name", …}]}') from error
        self.id = asked.id
        self.wanted = wanted(asked, signature)
        return tabular.body(inputs(asked, rest), signature)

    def encode(self, outcome: Outcome, signature: Signature, /) -> Reply:
        """One JSON object, and behind it the bytes of the tensors that were wanted so."""
        fields = {field.name: field for field in signature.outputs}
        listed, parts = [], []
        for tensor in tabular.answers(outcome, [fields[name] for name in self.wanted.names]):
            said: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.values.shape}
            if tensor.name in self.wanted.binary:
                parts.append(raw(tensor))
                said["parameters"] = {"binary_data_size": len(parts[-1])}
            else:
                said["data"] = tensors.to_json(tensor)
            listed.append(said)
        answer: dict[str, Any] = {"model_name": self.model.name, "model_version": self.model.version}
        if self.id is not None:
            answer["id"] = self.id
        head = msgspec.json.encode({**answer, "outputs": listed})
        if not self.wanted.binary:
            return Reply(200, head)
        return Reply(200, b"".join([head, *parts]), BINARY, ((LENGTH, b"%d" % len(head)),))


def raw(tensor: Tensor) -> bytes:
    """A tensor's bytes. Problem 400 where JSON alone could say it."""
    try:
        return tensors.to_raw(tensor)
    except Mistake as error:
        raise Problem(400, "BadBody", error.what, error.fix) from error


def parted(body: bytes, length: bytes | None) -> tuple[bytes, memoryview]:
    """The JSON of a request and the bytes behind it. Mistake where the header that parts them cannot be right."""
    if length is None:
        return body, memoryview(b"")
    if not length.isdigit() or len(length) > 18 or int(length) > len(body):
        said = length[: codec.SHOWN].decode("latin-1")
        what = f"Inference-Header-Content-Length: expected 0 to {len(body)} (the body's length), got {said}"
        raise Mistake(what, fix="it is the length of the JSON object before the bytes of the tensors")
    return body[: int(length)], memoryview(body)[int(length) :]


def wanted(asked: Asked, signature: Signature) -> Wanted:
    """The outputs asked for, all by default. Mistake for one that the model does not have."""
    known = tuple(field.name for field in signature.outputs)
    all_binary = flag(asked.parameters, "binary_data_output", default=False)
    if not asked.outputs:
        return Wanted(known, frozenset(known if all_binary else ()))
    names = tuple(output.name for output in asked.outputs)
    check_outputs(names, known)
    for output in asked.outputs:
        refuse_parameters(f"output {output.name!r}", output.parameters or {})
    return Wanted(names, frozenset(o.name for o in asked.outputs if flag(o.parameters, "binary_data", all_binary)))


def check_outputs(names: Sequence[str], known: Sequence[str]) -> None:
    """Mistake unless each is one of the model's outputs, named once."""
    for name in names:
        if name not in known:
            raise Mistake(f"there is no output {name!r}", fix=f"the model gives: {', '.join(known)}")
    if len(set(names)) < len(names):
        raise Mistake("an output is asked for twice")


def refuse_parameters(what: str, given: dict[str, Any]) -> None:
    """Mistake for a parameter whose meaning would be lost if it were let pass."""
    for name in ("shared_memory_region", "classification"):
        if given.get(name):
            raise Mistake(f"{what}: {name} is not taken here", fix="leave it out")


def flag(parameters: dict[str, Any] | None, name: str, default: bool) -> bool:
    """A parameter that is true or false."""
    given = (parameters or {}).get(name, default)
    if not isinstance(given, bool):
        raise Mistake(f"the parameter {name} is true or false, got {codec.shown(given)}")
    return given


def inputs(asked: Asked, rest: memoryview) -> list[Tensor]:
    """The tensors of a request, in order. Mistake where one is malformed, or the bytes are not just theirs."""
    made, at = [], 0
    for given in asked.inputs:
        told = given.parameters or {}
        refuse_parameters(f"input {given.name!r}", told)
        size = told.get("binary_data_size")
        if size is None:
            if given.data is msgspec.UNSET:
                raise Mistake(f"input {given.name!r} has no data", fix="give data or binary_data_size")
            tensor = tensors.from_json(given.name, given.datatype, given.shape, given.data)
        else:
            if type(size) is not int or not 0 <= size <= len(rest) - at:
                what = f"input {given.name!r}: binary_data_size is {codec.shown(size)}, {len(rest) - at} bytes are left"
                raise Mistake(what, fix="Inference-Header-Content-Length says where the bytes begin")
            if given.data is not msgspec.UNSET:
                raise Mistake(f"input {given.name!r} has data and binary_data_size", fix="leave one of them out")
            tensor = tensors.from_raw(given.name, given.datatype, given.shape, rest[at : at + size])
            at += size
        made.append(mark(tensor, told.get("missing", (asked.parameters or {}).get("missing"))))
    if at != len(rest):
        raise Mistake(f"{len(rest) - at} bytes behind the JSON are no input's", fix="binary_data_size of each adds up")
    return made


def mark(tensor: Tensor, text: Any) -> Tensor:
    """A tensor whose elements that are this text are missing; None for no such text."""
    if text is None:
        return tensor
    if not isinstance(text, str):
        raise Mistake(f"the parameter missing is the text of a missing value, got {codec.shown(text)}")
    return tensors.marked(tensor, text)


def worded(problem: Problem) -> str:
    """A problem as one text: what, the first refused cells, and what to do next."""
    errors: Sequence[dict[str, Any]] = problem.more.get("errors") or ()
    told = [
        f"row {one['row']}, column {one['column']!r}: expected {one['expected']}, got {one['got']}"
        for one in errors[:TOLD]
    ]
    if len(errors) > TOLD:
        told.append(f"and {len(errors) - TOLD} more")
    # the fix of refused rows offers ?partial=true, which is not of this contract
    fix = "" if errors else problem.fix
    number = f" (id {problem.more['id']})" if "id" in problem.more else ""
    what = f"{problem.what}{number}" + (f": {'; '.join(told)}" if told else "")
    return f"{what}; {fix}" if fix else what


def refuse(problem: Problem) -> Reply:
    """{"error": text}, and the refused cells."""
    said: dict[str, Any] = {"error": worded(problem)}
    if problem.more.get("errors"):
        said["errors"] = problem.more["errors"]
    return Reply(problem.status, msgspec.json.encode(said), headers=problem.headers)
