"""TensorFlow: SavedModel folders, asked through their serving signature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyport.errors import Impossible, Mistake, need
from anyport.frameworks import Candidate, Hints

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anyport.frameworks import Original
    from anyport.graph.from_tensorflow import Spec
    from anyport.trust import Trust

NAME = "tensorflow"
SUFFIXES: Sequence[str] = ("/saved_model.pb",)
EXECUTES = False

SIGNATURES = ("serving_default", "serve", "predict")
"""In order of asking; a model with a single signature is asked by that one."""
OUTSIDE = {
    "ReadFile",
    "WriteFile",
    "MatchingFiles",
    "PyFunc",
    "PyFuncStateless",
    "EagerPyFunc",
    "DebugIdentity",
    "Print",
}
"""Operators that reach files or Python when a graph that holds them runs."""


@dataclass(frozen=True, eq=False)
class Saved:
    """A SavedModel that was read: its serving signature, and what keeps its variables alive."""

    path: Path
    held: Any
    serve: Any


def owns(model: Any) -> bool:
    return isinstance(model, Saved)


def load(path: Path, trust: Trust) -> Saved:
    """The SavedModel's serving signature; its operators are looked through before anything is loaded."""
    from anyport.graph.from_tensorflow import first_line, tensorflow

    folder = path if path.is_dir() else path.parent
    looked_through(folder, trust)
    tf = tensorflow()
    try:
        held = tf.saved_model.load(str(folder))
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise Mistake(f"TensorFlow {tf.__version__} cannot read {folder}: {first_line(error)}") from error
    signatures = getattr(held, "signatures", {})
    name = next(
        (s for s in SIGNATURES if s in signatures), next(iter(signatures), None) if len(signatures) == 1 else None
    )
    if name is None:
        listed = ", ".join(signatures) or "none"
        raise Mistake(f"{folder} has no serving signature (signatures: {listed})", fix="model.export(folder)")
    return Saved(folder, held, signatures[name])


def looked_through(folder: Path, trust: Trust) -> None:
    """Untrusted where the graph holds operators that reach outside it; Mistake where it cannot be read."""
    from anyport.graph.from_tensorflow import tensorflow
    from anyport.scan import Import
    from anyport.trust import consent

    tensorflow()
    found = need("tensorflow.core.protobuf.saved_model_pb2").SavedModel()
    try:
        found.ParseFromString((folder / "saved_model.pb").read_bytes())
    except need("google.protobuf.message").DecodeError as error:
        raise Mistake(f"{folder / 'saved_model.pb'} is damaged: {error}") from error
    if not found.meta_graphs:
        raise Mistake(f"{folder / 'saved_model.pb'} holds no graph")
    nodes = [n for m in found.meta_graphs for n in m.graph_def.node]
    nodes += [n for m in found.meta_graphs for f in m.graph_def.library.function for n in f.node_def]
    outside = sorted({n.op for n in nodes} & OUTSIDE)
    asked = tuple(Import(f"tensorflow.raw_ops.{op}", "dangerous", "reaches files or Python") for op in outside)
    consent(folder, asked, trust)


def specs(model: Saved) -> list[Spec]:
    """The signature's inputs, in the order of their names."""
    from anyport.graph.from_tensorflow import spec

    return [spec(name, s.shape, s.dtype) for name, s in sorted(model.serve.structured_input_signature[1].items())]


def hints(model: Saved, data: Any) -> Hints:
    from anyport.graph.from_tensorflow import described

    if data is None:
        return Hints()
    fields, container, columns = described(specs(model), data)
    return Hints(container=container, columns=columns, inputs=fields)


def ask(model: Saved, native: Any) -> dict[str, NDArray[Any]]:
    """The serving signature's own answers."""
    from anyport.graph.from_tensorflow import fed, fixed_rows
    from anyport.graph.rowwise import asked_by_row

    wanted = specs(model)
    arrays = fed(wanted, native)
    rows = fixed_rows(wanted)

    def answer(named: Mapping[str, Any]) -> dict[str, Any]:
        tensors = tensors_of(wanted, named)
        return {k: as_numpy(v) for k, v in answers(model, wanted, tensors).items()}

    return answer(arrays) if rows is None else asked_by_row(answer, arrays, rows)


def tensors_of(wanted: Sequence[Spec], named: Mapping[str, Any]) -> list[Any]:
    """Arrays as tensors of the inputs' dtypes, in the order of `wanted`."""
    from anyport.graph.from_tensorflow import tensorflow

    tf = tensorflow()
    return [tf.constant(named[s.name], dtype=s.dtype) for s in wanted]


def as_numpy(tensor: Any) -> Any:
    """A tensor as an array; text as objects of str."""
    import numpy as np

    array = tensor.numpy()
    if array.dtype != object:
        return array
    decoded = np.empty(array.shape, object)
    decoded.ravel()[:] = [v.decode() if isinstance(v, bytes) else v for v in array.ravel()]
    return decoded


def answers(model: Saved, wanted: Sequence[Spec], tensors: Sequence[Any]) -> dict[str, Any]:
    """The signature's outputs by our names."""
    from anyport.graph.from_tensorflow import named

    given = model.serve(**dict(zip([s.name for s in wanted], tensors, strict=True)))
    return named(dict(sorted(given.items())), (), [s.name for s in wanted])


def candidates(original: Original) -> Iterator[Candidate]:
    """tf2onnx's graph of the signature."""
    from anyport.graph.foreign import candidate
    from anyport.graph.from_tensorflow import graphs

    model, wanted = original.model, specs(original.model)
    if any(f.dtype == "string" for f in original.signature.inputs):
        raise Impossible("tf2onnx has no graph for text inputs that onnxruntime runs by itself")
    outputs = [f.name for f in original.signature.outputs]
    for name, why, graph in graphs(lambda tensors: answers(model, wanted, tensors), wanted, outputs):
        yield candidate(graph, original.signature, name=name, why=why, names={})


def save(model: Saved, folder: Path) -> str:
    """The SavedModel folder as it was read, without what serving does not need."""
    import shutil

    shutil.copytree(model.path, folder / "model.saved", ignore=shutil.ignore_patterns("assets.extra", "fingerprint.pb"))
    return "model.saved"


def boundaries(original: Original) -> Mapping[str, NDArray[Any]]:
    return {}


def requirements(model: Any) -> tuple[str, ...]:
    import importlib.metadata

    try:
        importlib.metadata.version("tensorflow-cpu")
    except importlib.metadata.PackageNotFoundError:
        return ("tensorflow",)
    return ("tensorflow-cpu",)
