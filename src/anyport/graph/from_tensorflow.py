"""TensorFlow functions → ONNX by tf2onnx, with the batch axis free or run row by row."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from anyport.errors import BadData, Impossible, need
from anyport.graph.rowwise import rowwise
from anyport.signature import Container, Dtype, Field

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPSET = 18


def tensorflow() -> Any:
    """The tensorflow module, without its start-up messages and its search for a GPU."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return need("tensorflow")


@dataclass(frozen=True)
class Spec:
    """One input tensor as the model states it."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    """With the batch axis."""


def spec(name: str, shape: Any, dtype: Any) -> Spec:
    """A Spec from TensorFlow's or Keras' own shape and dtype."""
    kind = str(getattr(dtype, "name", dtype))
    if shape is None or getattr(shape, "rank", 0) is None:
        raise Impossible(f"the model does not state the shape of its input {name!r}")
    if kind not in Dtype.__args__ and kind != "bfloat16":  # type: ignore[attr-defined]
        raise Impossible(f"the model's input {name!r} holds {kind}, which no target can carry")
    return Spec(name, kind, tuple(None if a is None else int(a) for a in shape))


def fixed_rows(specs: Sequence[Spec]) -> int | None:
    """The number of rows a call takes, where the batch axis is not free."""
    return next((s.shape[0] for s in specs if s.shape and s.shape[0] is not None), None)


def described(specs: Sequence[Spec], data: Any) -> tuple[tuple[Field, ...] | None, Container, tuple[str, ...]]:
    """Fields, container and column names of a model with these inputs, asked with this data.

    A table whose columns are the inputs' names feeds inputs [N, 1]; a table of k columns feeds one input
    [N, k] (Fields then come from the data: None); everything else is tensors.
    """
    import numpy as np

    names = tuple(s.name for s in specs)
    listed = getattr(data, "column_names", None)
    columns = tuple(str(c) for c in (getattr(data, "columns", ()) if listed is None else listed))
    one_each = all(len(s.shape) <= 1 or s.shape[1:] == (1,) for s in specs)
    if columns and not (one_each and set(names) == set(columns)):
        if len(specs) == 1 and len(specs[0].shape) == 2 and specs[0].shape[1] in (None, len(columns)):
            return None, "array", columns
        stated = ", ".join(f"{s.name} {list(s.shape[1:])}" for s in specs)
        raise BadData(
            f"the model takes {stated}; the table has {len(columns)} columns",
            fix="pass a dict of arrays by input name",
        )
    flat = {str(k) for k, v in data.items() if np.ndim(v) == 1} if isinstance(data, Mapping) else set()
    fields = []
    for s in specs:
        scalar = bool(columns) or len(s.shape) <= 1 or (s.name in flat and s.shape[1:] == (1,))
        native = "object" if s.dtype == "string" else s.dtype
        shape = () if scalar else s.shape[1:]
        fields.append(Field(name=s.name, dtype=cast(Dtype, s.dtype), shape=shape, native=native))
    return tuple(fields), "dataframe" if columns else "tensors", names


def fed(specs: Sequence[Spec], native: Any) -> dict[str, NDArray[Any]]:
    """The original's container as arrays in each input's dtype and rank; ValueError for what they cannot hold."""
    import numpy as np

    if isinstance(native, np.ndarray):
        native = {specs[0].name: native}
    made = {}
    for s in specs:
        array = np.asarray(native[s.name])
        if s.dtype == "string":
            array = array.astype(object)
            if not all(isinstance(v, str) for v in array.ravel()):
                raise ValueError(f"input {s.name!r} is text, and a value is missing or not text")
        else:
            if array.dtype.kind in "fO" and np.dtype(s.dtype).kind in "iub":
                numbers = array.astype(np.float64)
                if not np.isfinite(numbers).all() or (numbers != np.trunc(numbers)).any():
                    raise ValueError(f"input {s.name!r} holds {s.dtype}, and a value is missing or not whole")
            array = array.astype(s.dtype)
        made[s.name] = array.reshape(-1, 1) if array.ndim == 1 and len(s.shape) == 2 else array
    return made


def named(given: Any, names: Sequence[str], inputs: Sequence[str]) -> dict[str, Any]:
    """What a model gave, by name: `prediction` for one tensor, keys of a dict, `names` of several where they fit."""
    if isinstance(given, Mapping):
        answers = {str(k): v for k, v in given.items()}
        if len(answers) == 1:
            answers = {"prediction": next(iter(answers.values()))}
    elif isinstance(given, list | tuple):
        fits = len(names) == len(given) == len(set(names))
        answers = {names[i] if fits else f"output_{i}": v for i, v in enumerate(given)}
        if len(answers) == 1:
            answers = {"prediction": given[0]}
    else:
        answers = {"prediction": given}
    return {k + "_answer" if k in inputs else k: v for k, v in answers.items()}


def graphs(
    call: Callable[[Sequence[Any]], Mapping[str, Any]], specs: Sequence[Spec], outputs: Sequence[str]
) -> Iterator[tuple[str, str, Any]]:
    """Name, why and ModelProto of a function of tensors (in the order of `specs`) that gives `outputs` by name.

    Impossible, with tf2onnx's words, where neither a free batch axis nor a single row converts.
    """
    failures = []
    rows = fixed_rows(specs)
    if rows is None:
        try:
            yield "tf2onnx", "tf2onnx's graph", convert(call, specs, outputs, rows=None)
            return
        except Exception as error:  # tf2onnx raises whatever its handlers do
            failures.append(first_line(error))
    try:
        single = convert(call, specs, outputs, rows=rows or 1)
        yield "tf2onnx rows", "a graph of one row, run for each inside a Scan", rowwise(single, batch=rows or 1)
    except Exception as error:  # as above
        failures.append(first_line(error))
        raise Impossible("tf2onnx cannot convert the model: " + "; ".join(dict.fromkeys(failures))) from error


def convert(
    call: Callable[[Sequence[Any]], Mapping[str, Any]],
    specs: Sequence[Spec],
    outputs: Sequence[str],
    *,
    rows: int | None,
) -> Any:
    """tf2onnx's graph of `call`; its ports have our names."""
    import logging

    from anyport.graph.adopt import graphs as graphs_of
    from anyport.graph.adopt import inputs, rename

    tf = tensorflow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tf2onnx = need("tf2onnx")
        logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
        wanted = [
            tf.TensorSpec((rows, *s.shape[1:]) if s.shape else (), s.dtype, name=f"in_{i}") for i, s in enumerate(specs)
        ]

        def flat(*tensors: Any) -> Any:
            found = call(tensors)
            return tuple(tf.identity(found[name]) for name in outputs)

        function = tf.function(flat, input_signature=wanted)
        graph, _ = tf2onnx.convert.from_function(
            function,
            input_signature=wanted,
            opset=OPSET,
            custom_op_handlers={"Erfc": (one_off, []), "Expm1": (one_off, [])},
        )
    has = need("onnx").defs.has
    nodes = [n for g in graphs_of(graph.graph) for n in g.node]
    # tf2onnx leaves what it does not know in the graph under TensorFlow's name, and only logs it
    failed = sorted(
        {n.op_type for n in nodes if n.domain in ("", "ai.onnx.ml") and not has(n.op_type, OPSET, n.domain)}
    )
    if failed:
        raise Impossible(f"tf2onnx has no counterpart of {', '.join(failed)}")
    # tensors that the model holds outside its variables (Keras' Normalization) come out as inputs
    captured = {inner.name: outer for outer, inner in function.get_concrete_function().graph.captures}
    for value in list(graph.graph.input):
        if value.name in captured:
            graph.graph.initializer.append(
                need("onnx").numpy_helper.from_array(captured[value.name].numpy(), value.name)
            )
            graph.graph.input.remove(value)
    present = {p.name for p in inputs(graph)}
    for i, s in enumerate(specs):
        if f"in_{i}" in present:
            rename(graph, f"in_{i}", s.name)
    for output, name in zip(list(graph.graph.output), outputs, strict=True):
        rename(graph, output.name, name)
    return graph


def one_off(context: Any, node: Any, name: str, args: Any) -> None:
    """tf2onnx's handler for two operators it does not know: Erfc is 1 - Erf(x) (Keras' gelu), Expm1 is Exp(x) - 1."""
    import numpy as np

    output = node.output[0]
    kind, shape = context.get_dtype(output), context.get_shape(output)
    one = context.make_const(f"{name}_one", np.array(1, need("onnx").helper.tensor_dtype_to_np_dtype(kind))).output[0]
    inner = context.make_node("Erf" if node.type == "Erfc" else "Exp", [node.input[0]], name=f"{name}_inner").output[0]
    ends = [one, inner] if node.type == "Erfc" else [inner, one]
    context.remove_node(node.name)
    context.make_node("Sub", ends, name=name, outputs=[output], shapes=[shape], dtypes=[kind])


def first_line(error: BaseException) -> str:
    """The first line of an error's text, at most 300 characters, with its type."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}"
