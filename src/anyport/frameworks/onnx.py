"""ONNX: `.onnx` files and live ModelProto objects, asked through onnxruntime itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from anyport.errors import Impossible, Mistake, need
from anyport.frameworks import Candidate, Hints
from anyport.graph import adopt
from anyport.graph.foreign import candidate
from anyport.graph.labels import Classifier, classifier, output_names, unzip, zipped
from anyport.graph.rowwise import rowwise
from anyport.ort import runtime, session
from anyport.signature import Dtype, Field

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anyport.frameworks import Original
    from anyport.trust import Trust

NAME = "onnx"
SUFFIXES: Sequence[str] = (".onnx",)
EXECUTES = False


@dataclass(frozen=True)
class Ready:
    """A model with its session, and what its ports mean."""

    session: Any
    inputs: tuple[adopt.Port, ...]
    outputs: tuple[adopt.Port, ...]
    names: Mapping[str, str]
    """Graph output → our name."""
    zips: Mapping[str, tuple[Any, ...] | None]
    """Labels of each ZipMap output."""
    classifier: Classifier | None
    batch: int | None
    """0: axis 0 is free. A number: the rows the graph takes, no more and no fewer. None: a row is a whole call."""


_ready: list[tuple[Any, Ready]] = []
"""The last models asked (ModelProto is neither hashable nor weakly referable); a session costs milliseconds."""


def owns(model: Any) -> bool:
    return any(k.__name__ == "ModelProto" and k.__module__.startswith("onnx.") for k in type(model).__mro__)


def load(path: Path, trust: Trust) -> Any:
    """The ModelProto of a file, external data read in; Mistake if it is damaged or points outside its folder."""
    onnx = need("onnx")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except need("google.protobuf.message").DecodeError as error:
        raise Mistake(f"{path} is not an ONNX file, or is cut short: {error}") from error
    if not model.opset_import or not (model.graph.node or model.graph.output):
        raise Mistake(f"{path} holds no ONNX graph", fix="export the model again")
    for graph in adopt.graphs(model.graph):
        for tensor in graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                external(path, tensor)
    try:
        onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    except (ValueError, OSError, onnx.checker.ValidationError) as error:
        raise Mistake(f"{path}: its external data cannot be read: {error}") from error
    return model


def external(path: Path, tensor: Any) -> None:
    """Mistake unless the tensor's data file is a plain file beside (or below) the model."""
    where = next((e.value for e in tensor.external_data if e.key == "location"), "")
    file = path.parent / where
    if Path(where).is_absolute() or ".." in Path(where).parts or file.is_symlink():
        raise Mistake(f"{path}: tensor {tensor.name!r} keeps its data in {where!r}, outside the model's folder")
    if not file.is_file():
        raise Mistake(f"{path}: tensor {tensor.name!r} keeps its data in {where!r}, which is not there",
                      fix=f"put {where} beside {path.name}")  # fmt: skip


def ready(model: Any) -> Ready:
    """The model's session and ports; Mistake or Impossible where onnxruntime cannot run it."""
    for known, found in _ready:
        if known is model:
            return found
    given = adopt.outputs(model)
    made = Ready(
        session=opened(model),
        inputs=adopt.inputs(model),
        outputs=given,
        names=output_names(model),
        zips={p.name: zipped(model, p.name) for p in given if p.dtype == "maps"},
        classifier=classifier(model),
        batch=batch_of(adopt.inputs(model), given),
    )
    _ready[:] = [*_ready[-3:], (model, made)]
    return made


def opened(model: Any) -> Any:
    """A session of the graph as it is."""
    data = adopt.serialize(model)
    ort = runtime()
    try:
        return session(data)
    except failures() as error:
        text = str(error)
        upgrade = f"pip install -U onnxruntime (this is {ort.__version__}), or export the model for an older one"
        if found := re.search(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)", text):
            raise Mistake(f"the graph has IR version {found[1]}; onnxruntime {ort.__version__} reads up to {found[2]}",
                          fix=upgrade) from error  # fmt: skip
        if found := re.search(r"Opset (\d+) is under development.*domain (\S+) is till opset (\d+)", text, re.DOTALL):
            raise Mistake(f"the graph has opset {found[1]} of {found[2]}; onnxruntime {ort.__version__} runs up to "
                          f"{found[3]}", fix=upgrade) from error  # fmt: skip
        if found := re.search(r"(\S+?):(\w+)\(-?\d+\) is not a registered function/op", text):
            raise Impossible(f"the graph uses operator {found[2]} of domain {found[1]}, which onnxruntime has not",
                             fix="export the model without custom operators") from error  # fmt: skip
        raise Mistake(f"onnxruntime cannot open the graph: {text.splitlines()[0][:300]}") from error


def failures() -> tuple[type[Exception], ...]:
    """What onnxruntime raises; its exceptions share no base of their own."""
    state = runtime().capi.onnxruntime_pybind11_state
    names = "Fail InvalidArgument InvalidGraph InvalidProtobuf NoSuchFile NotImplemented RuntimeException"
    return tuple(getattr(state, name) for name in names.split())


def batch_of(inputs: Sequence[adopt.Port], outputs: Sequence[adopt.Port]) -> int | None:
    """How many rows one call takes (see Ready.batch)."""
    first = {p.dims[0] for p in inputs if p.dims}
    fixed = {d for d in first if isinstance(d, int)}
    single = any(p.dims == () for p in (*inputs, *outputs))
    if len(fixed) > 1 or (fixed and len(first) > len(fixed)):
        return None
    return fixed.pop() if fixed else (1 if single else 0)


def hints(model: Any, data: Any) -> Hints:
    """Inputs as the graph declares them.

    One input [N, k] given a table of k columns takes those columns; inputs that are all columns [N, 1]
    take a table; everything else is tensors.
    """
    found = ready(model)
    labels = {}
    if found.classifier is not None and found.classifier.labels is not None:
        labels["prediction"] = found.classifier.labels
    for port in found.inputs:
        if port.dtype == "sequence" or port.dtype == "maps" or port.dims is None:
            raise Impossible(f"the graph's input {port.name!r} is a {port.dtype} of unstated shape; tensors are needed")
    columns = table(found.inputs, data)
    if columns is not None:
        return Hints(container="array", columns=columns, labels=labels)
    scalars = found.batch is not None and all(is_column(p) for p in found.inputs) and not is_tensors(data)
    fields = tuple(field_of(p, found.batch, scalar=scalars) for p in found.inputs)
    return Hints(
        container="dataframe" if scalars else "tensors",
        columns=tuple(f.name for f in fields),
        labels=labels,
        inputs=fields,
    )


def table(inputs: Sequence[adopt.Port], data: Any) -> tuple[str, ...] | None:
    """The columns of `data`, when it is a table that the one input [N, k] takes whole; else None."""
    if len(inputs) != 1 or not hasattr(data, "columns") or inputs[0].dims is None or len(inputs[0].dims) != 2:
        return None
    names = getattr(data, "column_names", None) or list(data.columns)
    names = tuple(str(n) for n in names)
    width = inputs[0].dims[1]
    if inputs[0].dtype == "string" or len(names) != width or (width == 1 and names == (inputs[0].name,)):
        return None
    return names


def is_column(port: adopt.Port) -> bool:
    """Whether the input is one scalar a row: [N] or [N, 1]."""
    return port.dims is not None and (len(port.dims) <= 1 or (len(port.dims) == 2 and port.dims[1] == 1))


def is_tensors(data: Any) -> bool:
    """Whether the data comes as arrays rather than as a table: [N, 1] is then a tensor."""
    import numpy as np

    if isinstance(data, Mapping):
        return any(np.ndim(v) > 1 for v in data.values())
    return isinstance(data, np.ndarray) and data.ndim > 1


def field_of(port: adopt.Port, batch: int | None, *, scalar: bool) -> Field:
    """The Field of one input."""
    dims = port.dims or ()
    shape = tuple(d if isinstance(d, int) else None for d in (dims if batch is None else dims[1:]))
    text = port.dtype == "string"
    native = "object" if text else port.dtype
    return Field(name=port.name, dtype=cast(Dtype, port.dtype), shape=() if scalar else shape, native=native)


def ask(model: Any, native: Any) -> dict[str, NDArray[Any]]:
    """The graph's own answers: labels as the graph says them, a ZipMap as an array in the order of its labels."""
    import numpy as np

    found = ready(model)
    feed = feed_of(found, native)
    n = len(next(iter(feed.values())))
    if found.batch == 0:
        try:
            answers = answers_of(found, feed)
            if n == 1 or all(len(a) == n for a in answers.values()):
                return answers
        except failures():
            if n == 1:
                raise
    # the batch axis is fixed, or only said to be free: row by row, as its users ask it
    rows = [one_row(found, {k: v[i : i + 1] for k, v in feed.items()}) for i in range(n)]
    return {name: np.concatenate([r[name] for r in rows]) for name in rows[0]} if rows else {}


def feed_of(found: Ready, native: Any) -> dict[str, NDArray[Any]]:
    """The original's container as the graph's inputs; a bare array is the one input."""
    import numpy as np

    if len(found.inputs) == 1 and isinstance(native, np.ndarray):
        native = {found.inputs[0].name: native}
    return {p.name: tensor_of(native[p.name], p, call=found.batch is None) for p in found.inputs}


def one_row(found: Ready, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The answer to one row of a graph that takes `found.batch` rows a call; each output has one row."""
    import numpy as np

    ports = {p.name: p for p in found.inputs}
    called = {}
    for name, row in feed.items():
        if found.batch is None or ports[name].dims == ():
            called[name] = np.asarray(row[0]).reshape(() if ports[name].dims == () else row.shape[1:])
        else:
            called[name] = np.repeat(row, found.batch or 1, axis=0)
    ranks = {found.names.get(p.name, p.name): p.dims for p in found.outputs}
    answers = answers_of(found, called)
    whole = {k for k, d in ranks.items() if found.batch is None or d == ()}
    return {k: np.asarray(v)[None] if k in whole else np.asarray(v)[:1] for k, v in answers.items()}


def answers_of(found: Ready, feed: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """One run of the session, by our names."""
    import numpy as np

    given = found.session.run([p.name for p in found.outputs], dict(feed))
    answers: dict[str, NDArray[Any]] = {}
    for port, value in zip(found.outputs, given, strict=True):
        name = found.names.get(port.name, port.name)
        if port.dtype == "maps":
            labels = found.zips.get(port.name) or (tuple(value[0]) if value else ())
            value = np.array([[row[label] for label in labels] for row in value], np.float32).reshape(-1, len(labels))
        elif isinstance(value, list):
            value = np.stack(value)
        answers[name] = value.reshape(-1) if name == "prediction" and found.classifier is not None else value
    return answers


def tensor_of(values: Any, port: adopt.Port, *, call: bool) -> NDArray[Any]:
    """Rows as the tensor the graph wants; ValueError for what it cannot hold (a missing int or text)."""
    import numpy as np

    array = np.asarray(values)
    if port.dtype == "string":
        array = array.astype(object)
        if not all(isinstance(v, str) for v in array.ravel()):
            raise ValueError(f"input {port.name!r} is text, and a value is missing or not text")
    else:
        if array.dtype.kind in "fO" and np.dtype(port.dtype).kind in "iub":
            numbers = array.astype(np.float64)
            if not np.isfinite(numbers).all() or (numbers != np.trunc(numbers)).any():
                raise ValueError(f"input {port.name!r} holds {port.dtype}, and a value is missing or not whole")
        array = array.astype(port.dtype)
    rank = len(port.dims or ()) + (1 if call else 0)
    if array.ndim == 1 and rank == 2:
        return array.reshape(-1, 1)
    return array.reshape(-1) if rank == 1 else array


def candidates(original: Original) -> Iterator[Candidate]:
    """The graph itself with our names; where its batch axis is fixed, freed by declaration or by a Scan over rows."""
    model, signature, found = original.model, original.signature, ready(original.model)
    if any(p.dtype == "sequence" for p in found.outputs):
        raise Impossible("the graph answers with a sequence of tensors, which no target can carry")
    how: dict[str, Any] = {"names": found.names, "found": found.classifier}
    if found.batch == 0:
        yield candidate(model, signature, name="graph", why="the graph as it came", **how)
    elif found.batch == 1 and not any(p.dims == () for p in (*found.inputs, *found.outputs)):
        freed = adopt.copy(model)
        adopt.free_batch(freed)
        yield candidate(freed, signature, name="free", why="the graph, its batch axis of 1 declared free", **how)
    if found.batch == 0 and is_free(original, found):
        return
    plain = adopt.copy(model)
    unzip(plain)
    rows = rowwise(plain, batch=1 if found.batch == 0 else found.batch)
    yield candidate(rows, signature, name="rows", why="the graph row by row, inside a Scan", **how)


def is_free(original: Original, found: Ready) -> bool:
    """Whether the graph does answer two rows at once, as it declares."""
    from anyport.batch import take
    from anyport.native import native

    two = native(take(original.data, [0, 0]), original.signature)
    try:
        return all(len(a) == 2 for a in answers_of(found, feed_of(found, two)).values())
    except failures():
        return False


def save(model: Any, folder: Path) -> str:
    """The graph as it came, in one file."""
    (folder / "model.onnx").write_bytes(adopt.serialize(model))
    return "model.onnx"


def boundaries(original: Original) -> Mapping[str, NDArray[Any]]:
    return {}


def requirements(model: Any) -> tuple[str, ...]:
    return ("onnx", "onnxruntime")
