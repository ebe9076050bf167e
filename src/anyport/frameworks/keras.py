"""Keras 3: `.keras` and `.h5` files and live models, on the TensorFlow backend where a graph is wanted."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyport.errors import Impossible, Mistake, need
from anyport.frameworks import Candidate, Hints

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anyport.frameworks import Original
    from anyport.graph.from_tensorflow import Spec
    from anyport.scan import Import
    from anyport.trust import Trust

NAME = "keras"
SUFFIXES: Sequence[str] = (".keras", ".h5", ".hdf5")
EXECUTES = True


def owns(model: Any) -> bool:
    return any(k.__name__ == "Model" and k.__module__.startswith("keras.") for k in type(model).__mro__)


def load(path: Path, trust: Trust) -> Any:
    """The model of a file. Its configuration is read first: a Lambda layer is code in the file, and needs
    `--trust keras.layers.Lambda`; classes outside Keras need theirs."""
    from anyport.graph.from_tensorflow import first_line
    from anyport.trust import consent

    asked = imports(configuration(path))
    consent(path, tuple(asked), trust)
    keras = keras_()
    runs_code = any(i.name == "keras.layers.Lambda" for i in asked)
    try:
        return keras.saving.load_model(str(path), compile=False, safe_mode=not runs_code)
    except (ValueError, TypeError, OSError, KeyError, ImportError) as error:
        raise Mistake(
            f"keras {keras.__version__} cannot read {path}: {first_line(error)}",
            fix="pack the live model from the code that defines its classes",
        ) from error


def keras_() -> Any:
    """The keras module, its TensorFlow quiet."""
    import os

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return need("keras")


def configuration(path: Path) -> Any:
    """The JSON that describes the model; Mistake where a file holds none."""
    if path.suffix == ".keras":
        try:
            with zipfile.ZipFile(path) as archive:
                return json.loads(archive.read("config.json"))
        except (zipfile.BadZipFile, KeyError, ValueError) as error:
            raise Mistake(f"{path} is not a Keras file, or is cut short: {error}") from error
    h5py = need("h5py")
    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
    except OSError as error:
        raise Mistake(f"{path} is not an HDF5 file, or is cut short") from error
    if text is None:
        raise Mistake(f"{path} holds weights without their model", fix="model.save('model.keras')")
    return json.loads(text)


def imports(config: Any) -> list[Import]:
    """Everything in a configuration that Keras would run or import from outside itself."""
    from anyport.scan import Import, judge

    found: dict[str, Import] = {}
    todo = [config]
    while todo:
        item = todo.pop()
        if isinstance(item, list):
            todo += item
        if not isinstance(item, dict):
            continue
        todo += item.values()
        name, module = item.get("class_name"), item.get("module")
        if name in ("Lambda", "__lambda__"):
            found["lambda"] = Import("keras.layers.Lambda", "dangerous", "runs code given as bytes")
        elif name == "function" and isinstance(item.get("config"), str):
            if module not in (None, "builtins", "keras.activations"):
                found[f"{module}.{item['config']}"] = judge(f"{module}.{item['config']}")
        elif (
            isinstance(name, str) and isinstance(module, str) and module.partition(".")[0] not in ("keras", "builtins")
        ):
            found[f"{module}.{name}"] = judge(f"{module}.{name}")
    return [found[k] for k in sorted(found)]


def specs(model: Any, data: Any = None) -> list[Spec]:
    """The model's inputs: as it states them, or as the data shows them for a model that states none."""
    import numpy as np

    from anyport.graph.from_tensorflow import spec

    stated = inputs_stated(model)
    if stated:
        return [spec(name, t.shape, t.dtype) for name, t in stated]
    arrays = data if isinstance(data, Mapping) else {"inputs": data}
    made = []
    for name, value in arrays.items():
        array = np.asarray(value)
        kind = {"f": "float32", "O": "string", "U": "string"}.get(array.dtype.kind, array.dtype.name)
        made.append(spec(str(name), (None, *array.shape[1:]), kind))
    return made


def structure_of(model: Any) -> Any:
    """What the model's call takes, in its own structure of symbolic tensors; None of a subclass that states nothing."""
    try:
        return model.input
    except (AttributeError, ValueError):
        listed = getattr(model, "inputs", None)  # of a Sequential that was built and not yet called
        return listed[0] if listed else None


def inputs_stated(model: Any) -> list[tuple[str, Any]]:
    """Names and symbolic tensors of the model's inputs; [] of a subclass that states none."""
    structure = structure_of(model)
    if structure is None:
        return []
    if isinstance(structure, dict):
        return [(str(k), v) for k, v in structure.items()]
    listed = structure if isinstance(structure, list | tuple) else [structure]
    return [(str(t.name), t) for t in listed]


def hints(model: Any, data: Any) -> Hints:
    import numpy as np

    from anyport.graph.from_tensorflow import described

    if data is None:
        return Hints()
    if isinstance(data, list | tuple) and len(data) == len(inputs_stated(model)) > 1:
        data = {name: np.asarray(v) for (name, _), v in zip(inputs_stated(model), data, strict=True)}
    fields, container, columns = described(specs(model, data), data)
    arrays = {str(k): v for k, v in data.items()} if isinstance(data, dict) else None
    return Hints(container=container, columns=columns, inputs=fields, data=arrays)


def ask(model: Any, native: Any) -> dict[str, NDArray[Any]]:
    """The model's own answers, with training=False: `prediction` for one output, the outputs' names for several."""
    from anyport.graph.from_tensorflow import fed, fixed_rows
    from anyport.graph.rowwise import asked_by_row

    keras = keras_()
    wanted = specs(model, native)
    arrays = fed(wanted, native)
    rows = fixed_rows(wanted)

    def answer(named: Mapping[str, Any]) -> dict[str, Any]:
        tensors = [keras.ops.convert_to_tensor(named[s.name], dtype=s.dtype) for s in wanted]
        return {k: keras.ops.convert_to_numpy(v) for k, v in answers(model, wanted, tensors).items()}

    return answer(arrays) if rows is None else asked_by_row(answer, arrays, rows)


def answers(model: Any, wanted: Sequence[Spec], tensors: Sequence[Any]) -> dict[str, Any]:
    """One call of the model, in the structure that it takes, by our names."""
    from anyport.graph.from_tensorflow import named

    names = [s.name for s in wanted]
    structure: Any = dict(zip(names, tensors, strict=True))
    stated = structure_of(model)
    if stated is not None and not isinstance(stated, dict):
        structure = list(tensors) if isinstance(stated, list | tuple) else tensors[0]
    elif stated is None and names == ["inputs"]:
        structure = tensors[0]
    given = model(structure, training=False)
    return named(given, list(getattr(model, "output_names", None) or ()), names)


def candidates(original: Original) -> Iterator[Candidate]:
    """tf2onnx's graph of the model's call."""
    from anyport.graph.foreign import candidate
    from anyport.graph.from_tensorflow import graphs
    from anyport.native import native

    keras = keras_()
    if keras.config.backend() != "tensorflow":
        raise Impossible(
            f"Keras runs on {keras.config.backend()} here; graphs are made on its TensorFlow backend",
            fix="KERAS_BACKEND=tensorflow anyport pack …",
        )
    model = original.model
    wanted = specs(model, native(original.data, original.signature))
    if any(s.dtype == "string" for s in wanted):
        raise Impossible("tf2onnx has no graph for text inputs that onnxruntime runs by itself")
    outputs = [f.name for f in original.signature.outputs]
    for name, why, graph in graphs(lambda tensors: answers(model, wanted, tensors), wanted, outputs):
        yield candidate(graph, original.signature, name=name, why=why, names={})


def save(model: Any, folder: Path) -> str | None:
    """A `.keras` file where Keras alone can read it back; None for models with code of their own, which is pickled."""
    if structure_of(model) is None:
        return None
    file = folder / "model.keras"
    model.save(str(file))
    if imports(configuration(file)):
        file.unlink()
        return None
    return file.name


def boundaries(original: Original) -> Mapping[str, NDArray[Any]]:
    return {}


def requirements(model: Any) -> tuple[str, ...]:
    from anyport.frameworks import tensorflow

    backend = keras_().config.backend()
    return ("keras", *(tensorflow.requirements(model) if backend == "tensorflow" else (backend,)))
