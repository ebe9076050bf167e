"""PyTorch: nn.Module with an example, TorchScript files, exported programs (.pt2)."""

from __future__ import annotations

import contextlib
import os
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from anyport.errors import BadData, Impossible, Mistake, Untrusted, need
from anyport.frameworks import Candidate, Hints
from anyport.signature import Dtype, Field

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anyport.frameworks import Original
    from anyport.trust import Trust

NAME = "torch"
SUFFIXES: Sequence[str] = (".pt", ".pth", ".pt2", ".torchscript")
EXECUTES = True


def owns(model: Any) -> bool:
    kinds = {f"{k.__module__}.{k.__name__}" for k in type(model).__mro__}
    return bool(kinds & {"torch.nn.modules.module.Module", "torch.export.exported_program.ExportedProgram"})


def load(path: Path, trust: Trust) -> Any:
    """TorchScript and exported programs as they are; a pickled module with the caller's consent.

    Mistake for weights without their module.
    """
    torch = need("torch")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except zipfile.BadZipFile as error:
        raise Mistake(
            f"{path} is no torch file of today's format, or is cut short",
            fix="save it again: torch.jit.script(model).save(...) or torch.export.save(torch.export.export(...), ...)",
        ) from error
    inside = {m.partition("/")[2] for m in members}
    try:
        if "constants.pkl" in inside:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated since torch 2.10
                return torch.jit.load(str(path), map_location="cpu")
        if "models/model.json" in inside or "serialized_exported_program.json" in {*members, *inside}:
            return exported_program(path, trust)
    except (RuntimeError, ValueError, KeyError, AssertionError) as error:
        raise Mistake(f"torch {torch.__version__} cannot read {path}: {first_line(error)}") from error
    if any("aotinductor" in m for m in members):
        fix = "torch.export.save(torch.export.export(model, (example,)), path)"
        raise Mistake(f"{path} holds code compiled for one machine", fix=fix)
    if "data.pkl" not in inside:
        raise Mistake(f"{path} is a zip archive, but not one that torch wrote")
    return pickled(path, trust)


def exported_program(path: Path, trust: Trust) -> Any:
    """A .pt2 file; its example inputs are pickles, which torch opens with its weights-only reader unless
    everything is trusted."""
    torch = need("torch")
    before = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    if not trust.all:
        os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        return torch.export.load(str(path))
    except pickle.UnpicklingError as error:
        what = f"{path} holds pickled objects beside its tensors: {first_line(error)}"
        raise Untrusted(what, fix="--trust all") from error
    finally:
        if before is None:
            os.environ.pop("TORCH_FORCE_WEIGHTS_ONLY_LOAD", None)
        else:
            os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = before


def pickled(path: Path, trust: Trust) -> Any:
    """What torch.save wrote: a whole module (consent is asked for the names it imports, and no other name is
    imported), or an error that says what to do with weights."""
    from anyport.scan import judge, normal
    from anyport.trust import consent

    torch = need("torch")
    with contextlib.suppress(pickle.UnpicklingError):
        found = torch.load(str(path), map_location="cpu", weights_only=True)
        kind = "weights (a state_dict)" if isinstance(found, Mapping) else f"a {type(found).__name__}"
        raise Mistake(
            f"{path} holds {kind}, and not the module that they belong to",
            fix="model.load_state_dict(torch.load(...)), then anyport.pack(model, example) from Python, "
            "or torch.jit.script(model).save('model.pt')",
        )
    try:
        asked = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise Mistake(f"torch {torch.__version__} cannot read {path}: {first_line(error)}") from error
    consent(path, tuple(judge(name) for name in asked), trust)

    class Permitted(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            found = judge(normal(module, name))
            if not trust.covers(found):
                consent(path, (found,), trust)
            return super().find_class(module, name)

    reader: Any = type("reader", (), {"Unpickler": Permitted, "load": pickle.load, "__name__": "pickle"})
    try:
        model = torch.load(str(path), map_location="cpu", weights_only=False, pickle_module=reader)
    except (ImportError, AttributeError) as error:
        raise Mistake(
            f"{path} was saved with a class that is not here: {first_line(error)}",
            fix="pack the live model from the code that defines it, or save it as TorchScript or .pt2",
        ) from error
    if not owns(model):
        raise Mistake(f"{path} holds a {type(model).__name__}, not a module")
    return model


def first_line(error: BaseException) -> str:
    """The first line of an error's text, at most 300 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def hints(model: Any, data: Any) -> Hints:
    """Inputs from the example, their free axes from trying; a table goes in as one tensor of its columns."""
    from anyport.graph.from_torch import Call, export, program_fields

    if data is None:
        return Hints()
    if hasattr(data, "columns"):
        columns = getattr(data, "column_names", None) or list(data.columns)
        return Hints(container="array", columns=tuple(str(c) for c in columns))
    noted(model)
    call = Call(model)
    arrays = inputs_of(call, data)
    if call.program:
        fields = program_fields(model, tuple(arrays))
        return Hints(container="tensors", inputs=fields, data={f.name: arrays[f.name].astype(f.dtype) for f in fields})
    free = export(model, arrays).free
    fields = tuple(
        Field(
            name=name,
            dtype=cast(Dtype, array.dtype.name),
            shape=tuple(None if (name, axis) in free else size for axis, size in enumerate(array.shape) if axis),
            native=array.dtype.name,
        )
        for name, array in arrays.items()
    )
    return Hints(container="tensors", inputs=fields, data=arrays)


def noted(model: Any) -> None:
    """Warn where the module is in training mode and that matters."""
    kinds = ("Dropout", "BatchNorm", "RReLU")
    inner = model.modules() if hasattr(model, "modules") else ()
    sensitive = sorted({type(m).__name__ for m in inner if any(k in type(m).__name__ for k in kinds) and m.training})
    if sensitive:
        listed = ", ".join(sensitive)
        warnings.warn(f"the model is in training mode ({listed}): it is packed in eval mode", stacklevel=3)


def inputs_of(call: Any, data: Any) -> dict[str, NDArray[Any]]:
    """The example by the names of forward's parameters: a tensor or array is the first, a tuple is several in
    order, a dict names them. Floats from numpy take the parameters' dtype, as the user would have cast them."""
    if isinstance(data, Mapping):
        named = {str(k): v for k, v in data.items()}
    elif isinstance(data, tuple):
        named = dict(zip(call.names(len(data)), data, strict=True))
    else:
        named = {call.names(1)[0]: data}
    if not named:
        raise BadData("the example holds no tensors")
    arrays = {name: as_array(name, value, call.float_) for name, value in named.items()}
    sizes = {name: len(a) for name, a in arrays.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{k} {v}" for k, v in sizes.items())
        raise BadData(f"the example's tensors differ in their number of rows: {listed}")
    return arrays


def as_array(name: str, value: Any, float_: str) -> NDArray[Any]:
    """One tensor of the example as a numpy array with a row axis."""
    import numpy as np

    given_as_tensor = type(value).__module__.partition(".")[0] == "torch"
    if isinstance(value, Mapping):
        raise BadData(f"the example's {name!r} is a dict inside a dict", fix="flatten the module's inputs to tensors")
    array = value.detach().cpu().numpy() if given_as_tensor else np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise BadData(f"the example's {name!r} has dtype {array.dtype}; tensors of numbers are needed")
    if array.ndim == 0:
        raise BadData(f"the example's {name!r} is a single number; its first axis must be the rows", fix="x[None]")
    return array.astype(float_) if array.dtype.kind == "f" and not given_as_tensor else array


def ask(model: Any, native: Any) -> dict[str, NDArray[Any]]:
    """forward's own answers in eval mode, without gradients: `prediction` for one tensor, keys of a dict, fields
    of a named tuple, `output_0` … of a tuple."""
    from anyport.graph.from_torch import Call

    call = Call(model)
    if not isinstance(native, Mapping):
        native = {call.names(1)[0]: native.astype(call.float_)}
    return call.arrays(native)


def candidates(original: Original) -> Iterator[Candidate]:
    """torch.onnx's graph: by torch.export where that can read the module, else by tracing."""
    from anyport.graph.foreign import candidate
    from anyport.graph.from_torch import Call, export
    from anyport.native import native

    given = native(original.data, original.signature)
    if not isinstance(given, Mapping):
        call = Call(original.model)
        given = {call.names(1)[0]: given.astype(call.float_)}
    found = export(original.model, given)
    if not found.graphs:
        raise Impossible("torch.onnx cannot export the module: " + "; ".join(found.failures))
    for name, why, graph in found.graphs:
        yield candidate(graph, original.signature, name=name, why=why, names={})


def save(model: Any, folder: Path) -> str | None:
    """TorchScript and exported programs in their own formats; None for a module, which is pickled with its code."""
    torch = need("torch")
    if type(model).__name__ == "ExportedProgram":
        torch.export.save(model, folder / "model.pt2")
        return "model.pt2"
    if isinstance(model, torch.jit.ScriptModule):
        model.save(str(folder / "model.pt"))
        return "model.pt"
    return None


def boundaries(original: Original) -> Mapping[str, NDArray[Any]]:
    return {}


def requirements(model: Any) -> tuple[str, ...]:
    return ("torch", "numpy")
