"""PyTorch modules → ONNX: how forward is called, which axes are free, and the exporter that reads it."""

from __future__ import annotations

import contextlib
import logging
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from anyport.errors import Impossible, need
from anyport.graph.rowwise import asked_by_row, rowwise
from anyport.signature import Dtype, Field

if TYPE_CHECKING:
    from numpy.typing import NDArray

Axis = tuple[str, int]
"""Input name and axis, 0 being the batch's."""


class Call:
    """How a module's forward takes named tensors and names what it gives."""

    def __init__(self, model: Any) -> None:
        torch = need("torch")
        self.model = model
        self.program = type(model).__name__ == "ExportedProgram"
        self.script = isinstance(model, torch.jit.ScriptModule)
        self.parameters, self.open = parameters(model)
        held = [*model.parameters(), *model.buffers()] if not self.program else [*model.state_dict.values()]
        floats = [t for t in held if t.is_floating_point()]
        self.dtype = floats[0].dtype if floats else torch.float32
        self.device = held[0].device if held else torch.device("cpu")
        self.float_ = {torch.float64: "float64", torch.float16: "float16"}.get(self.dtype, "float32")
        self.module = model.module() if self.program else model

    def names(self, n: int) -> list[str]:
        """Names for n tensors that came in order."""
        return [self.parameters[i] if i < len(self.parameters) else f"input_{i}" for i in range(n)]

    def tensors(self, named: Mapping[str, Any]) -> list[Any]:
        """Arrays as tensors on the module's device; bfloat16 modules take their floats rounded."""
        torch = need("torch")
        made = []
        for array in named.values():
            tensor = torch.tensor(array, device=self.device)
            rounds = self.dtype is torch.bfloat16 and tensor.is_floating_point()
            made.append(tensor.to(self.dtype) if rounds else tensor)
        return made

    def run(self, names: Sequence[str], tensors: Sequence[Any]) -> dict[str, Any]:
        """forward on tensors in the order of `names`."""
        named = dict(zip(names, tensors, strict=True))
        if self.program:
            unflatten = need("torch.utils._pytree").tree_unflatten
            args, kwargs = unflatten([named[n] for n in self.parameters], self.model.call_spec.in_spec)
            given = self.module(*args, **kwargs)
        elif all(n in self.parameters for n in names):
            given = self.module(**named)
        elif len(self.parameters) == 1 and not self.open:
            given = self.module(named)
        else:
            given = self.module(*tensors)
        return answers(given, names)

    def arrays(self, named: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        """forward's answers as numpy arrays, in eval mode and without gradients; each with a row for each row."""
        n = len(next(iter(named.values())))
        size = fixed_rows(self.model) if self.program else None
        if size is not None:
            return asked_by_row(self._arrays, named, size)
        found = self._arrays(named)
        for name, array in found.items():
            if array.ndim == 0 or len(array) != n:
                raise ValueError(f"forward gave {name!r} of shape {array.shape} for {n} rows; a row for each is needed")
        return found

    def _arrays(self, named: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        torch = need("torch")
        with evaluated(self.module), torch.no_grad():
            found = self.run(list(named), self.tensors(named))
        return {k: (v.float() if v.dtype is torch.bfloat16 else v).cpu().numpy() for k, v in found.items()}


def parameters(model: Any) -> tuple[tuple[str, ...], bool]:
    """Names of forward's tensor inputs, and whether it takes further ones (*args)."""
    import inspect

    if type(model).__name__ == "ExportedProgram":
        return tuple(program_names(model)), False
    if hasattr(model, "forward") and hasattr(model.forward, "schema"):
        return tuple(a.name for a in model.forward.schema.arguments if a.name != "self"), False
    found = inspect.signature(model.forward).parameters.values()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    open_ = any(p.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD) for p in found)
    return tuple(p.name for p in found if p.kind in named), open_


def program_names(program: Any) -> list[str]:
    """An exported program's inputs: keys of dicts where it takes dicts, else the graph's own names."""
    given = [str(n) for n in program.graph_signature.user_inputs]
    if program.example_inputs is None:
        return given
    paths = need("torch.utils._pytree").tree_flatten_with_path(program.example_inputs)[0]
    keys = [getattr(path[-1], "key", None) if path else None for path, _ in paths]
    named = [key if isinstance(key, str) else own for key, own in zip(keys, given, strict=True)]
    return named if len(set(named)) == len(named) else given


def placeholders(program: Any) -> list[Any]:
    """The fake tensors of an exported program's inputs, in order."""
    wanted = set(program.graph_signature.user_inputs)
    return [n.meta["val"] for n in program.graph.nodes if n.op == "placeholder" and n.name in wanted]


def program_fields(program: Any, given: Sequence[str]) -> tuple[Field, ...]:
    """Fields of an exported program: dtypes and free axes as it states them."""
    names = program_names(program)
    if sorted(names) != sorted(given):
        raise Impossible(f"the exported program takes {', '.join(names)}; the example has {', '.join(given)}")
    fields = []
    for name, value in zip(names, placeholders(program), strict=True):
        dtype = str(value.dtype).removeprefix("torch.").replace("bfloat16", "float32")
        shape = tuple(s if isinstance(s, int) else None for s in value.shape[1:])
        fields.append(Field(name=name, dtype=cast(Dtype, dtype), shape=shape, native=dtype))
    return tuple(fields)


def fixed_rows(program: Any) -> int | None:
    """The number of rows an exported program takes, where its batch axis is not free."""
    fixed = [v.shape[0] for v in placeholders(program) if len(v.shape) and isinstance(v.shape[0], int)]
    return fixed[0] if fixed else None


def answers(given: Any, inputs: Sequence[str]) -> dict[str, Any]:
    """What forward gave, by name; nothing but tensors is kept."""
    torch = need("torch")
    if isinstance(given, torch.Tensor):
        named = {"prediction": given}
    elif isinstance(given, Mapping):
        named = {str(k): v for k, v in given.items()}
    elif hasattr(given, "_fields"):
        named = dict(zip(given._fields, given, strict=True))
    elif isinstance(given, tuple | list):
        named = {f"output_{i}": v for i, v in enumerate(given)} if len(given) > 1 else {"prediction": given[0]}
    else:
        raise TypeError(f"forward gave a {type(given).__name__}; tensors, a dict or a tuple of tensors are needed")
    kept = {k + "_answer" if k in inputs else k: v for k, v in named.items() if isinstance(v, torch.Tensor)}
    if not kept:
        raise TypeError("forward gave no tensors")
    return kept


@contextlib.contextmanager
def evaluated(module: Any) -> Iterator[None]:
    """The module and all in it in eval mode; each is put back as it was. Exported programs have the one mode."""
    modes = [(m, m.training) for m in module.modules() if getattr(m, "training", False)]
    if modes and type(module).__name__ != "GraphModule":
        module.eval()
    try:
        yield
    finally:
        for inner, training in modes:
            inner.training = training


@dataclass(frozen=True)
class Exported:
    """What became of a module's export."""

    free: frozenset[Axis]
    """Axes, the batch's aside, that the graph takes in any size."""
    graphs: tuple[tuple[str, str, Any], ...]
    """Name, why, ModelProto with our names."""
    failures: tuple[str, ...]


_exported: weakref.WeakKeyDictionary[Any, dict[Any, Exported]] = weakref.WeakKeyDictionary()
"""An export takes seconds, and both the signature (free axes) and the candidates need it."""


def export(model: Any, example: Mapping[str, NDArray[Any]]) -> Exported:
    """The module's graph with its batch axis free, and every other axis that the module itself takes in any size."""
    key = tuple((k, v.shape[1:], v.dtype.name) for k, v in example.items())
    known = _exported.setdefault(model, {})
    if key not in known:
        known[key] = attempt(Call(model), {k: rows_of(v, 3) for k, v in example.items()})
    return known[key]


def rows_of(array: NDArray[Any], n: int) -> NDArray[Any]:
    """n rows, the first ones over again where there are fewer: torch.export takes sizes 0 and 1 for fixed."""
    import numpy as np

    return np.take(array, np.arange(n) % len(array), axis=0)


def attempt(call: Call, example: dict[str, NDArray[Any]]) -> Exported:
    """Exporters in order of preference; the first graph that answers as the module does at other sizes too."""
    groups = [] if call.program else free_groups(call, example)
    exporters: list[tuple[str, str, Callable[..., Any]]] = [
        ("dynamo", "torch.export's graph", by_export), ("traced", "the traced graph", by_trace),
    ]  # fmt: skip
    if call.script:
        exporters = exporters[1:]
    if call.program:
        exporters = exporters[:1]
    failures: list[str] = []
    for name, why, exporter in exporters:
        for free in [groups, []] if groups else [[]]:
            try:
                graph = quietly(exporter, call, example, free)
                fault = unlike(call, graph, example, free)
            except Exception as error:  # exporters raise whatever the module's code led them to
                fault = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}"
            if not fault:
                return Exported(frozenset(a for g in free for a in g), ((name, why, graph),), tuple(failures))
            failures.append(f"{name}{' with free axes' if free else ''}: {fault}")
    single = {k: v[:1] for k, v in example.items()}
    for name, _, exporter in exporters:
        try:
            graph = one_row(quietly(exporter, call, single, None), call)
            fault = unlike(call, graph, example, [])
        except Exception as error:  # as above
            fault = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}"
        if not fault:
            made = (f"{name} rows", "a graph of one row, run for each inside a Scan", graph)
            return Exported(frozenset(), (made,), tuple(failures))
        failures.append(f"{name} row by row: {fault}")
    return Exported(frozenset(), (), tuple(failures))


def one_row(graph: Any, call: Call) -> Any:
    """A graph for one row, or for as many as an exported program takes, run for each row."""
    return rowwise(graph, batch=(fixed_rows(call.model) or 1) if call.program else 1)


def free_groups(call: Call, example: Mapping[str, NDArray[Any]]) -> list[list[Axis]]:
    """Axes that the module takes in another size: alone, or together with axes of the same size and position
    in other inputs (token ids and their mask)."""
    axes = [(name, axis) for name, array in example.items() for axis in range(1, array.ndim)]
    alone = [[a] for a in axes if answers_at(call, example, [a])]
    rest: dict[tuple[int, int], list[Axis]] = {}
    for name, axis in axes:
        if [(name, axis)] not in alone:
            rest.setdefault((axis, example[name].shape[axis]), []).append((name, axis))
    return alone + [group for group in rest.values() if len(group) > 1 and answers_at(call, example, group)]


def answers_at(call: Call, example: Mapping[str, NDArray[Any]], group: Sequence[Axis]) -> bool:
    """Whether the module answers with these axes one longer, and more than twice as long."""
    for change in (lambda s: s + 1, lambda s: 2 * s + 3):
        try:
            call.arrays(resized(example, group, change))
        except Exception:  # the module's own code says no in its own words
            return False
    return True


def resized(
    example: Mapping[str, NDArray[Any]], group: Sequence[Axis], change: Callable[[int], int]
) -> dict[str, NDArray[Any]]:
    """The example with some axes in another size, its own values repeated."""
    import numpy as np

    made = dict(example)
    for name, axis in group:
        size = example[name].shape[axis]
        made[name] = np.take(made[name], np.arange(change(size)) % max(size, 1), axis=axis)
    return made


def quietly(exporter: Callable[..., Any], *arguments: Any) -> Any:
    """Run an exporter without its log lines and deprecation warnings, the module in eval mode."""
    noisy = [logging.getLogger(n) for n in ("torch.onnx", "torch.onnx._internal.exporter", "onnxscript", "onnx_ir")]
    levels = [n.level for n in noisy]
    for logger in noisy:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), evaluated(arguments[0].module):
            warnings.simplefilter("ignore")
            return exporter(*arguments)
    finally:
        for logger, level in zip(noisy, levels, strict=True):
            logger.setLevel(level)


def flat(call: Call, names: Sequence[str]) -> Any:
    """The module as one that takes tensors in order and gives a tuple of tensors."""
    torch = need("torch")

    class Flat(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.inner = call.module

        def forward(self, *tensors: Any) -> Any:
            return tuple(call.run(names, tensors).values())

    return Flat().eval()


def by_export(call: Call, example: Mapping[str, NDArray[Any]], free: Sequence[Sequence[Axis]] | None) -> Any:
    """torch.onnx's exporter on torch.export; `free` None fixes every axis."""
    torch = need("torch")
    names = list(example)
    outputs = list(call.arrays(example))
    if call.program:
        names = list(call.parameters)
        made = torch.onnx.export(call.model, dynamo=True, verbose=False, input_names=names, output_names=outputs)
        return made.model_proto
    dims: list[dict[int, Any]] = [{0: torch.export.Dim("N")} if free is not None else {} for _ in names]
    for i, group in enumerate(free or ()):
        dim = torch.export.Dim(f"free_{i}")
        for name, axis in group:
            dims[names.index(name)][axis] = dim
    made = torch.onnx.export(
        flat(call, names), tuple(call.tensors(example)), dynamo=True, verbose=False, input_names=names,
        output_names=outputs, dynamic_shapes={"tensors": tuple(dims)},
    )  # fmt: skip
    return made.model_proto


def by_trace(call: Call, example: Mapping[str, NDArray[Any]], free: Sequence[Sequence[Axis]] | None) -> Any:
    """torch.onnx's older exporter, which traces the module (or reads TorchScript)."""
    import io

    torch = need("torch")
    names = list(example)
    outputs = list(call.arrays(example))
    axes: dict[str, dict[int, str]] = {}
    if free is not None:
        axes = {name: {0: "N"} for name in (*names, *outputs)}
        for i, group in enumerate(free):
            for name, axis in group:
                axes[name][axis] = f"free_{i}"
    file = io.BytesIO()
    if call.script:
        names = [p for p in call.parameters if p in example]
    torch.onnx.export(
        call.module if call.script else flat(call, names), tuple(call.tensors({n: example[n] for n in names})), file,
        dynamo=False, input_names=names, output_names=outputs, dynamic_axes=axes,
    )  # fmt: skip
    return need("onnx").load_from_string(file.getvalue())


def unlike(call: Call, graph: Any, example: Mapping[str, NDArray[Any]], free: Sequence[Sequence[Axis]]) -> str:
    """How the graph's answers differ from the module's, at 1, 3 and 5 rows and other sizes of free axes; "" if not.

    A first look only: candidates are proven on many rows.
    """
    import numpy as np

    from anyport.ort import session

    run = session(bytes(graph.SerializeToString()))
    names = [o.name for o in run.get_outputs()]
    fed = {i.name for i in run.get_inputs()}
    tries = [{k: rows_of(v, n) for k, v in example.items()} for n in (3, 1, 5)]
    tries += [resized(example, group, lambda s: s + 1) for group in free]
    for values in tries:
        expected = call.arrays(values)
        got = dict(zip(names, run.run(None, {k: v for k, v in values.items() if k in fed}), strict=True))
        for name, array in expected.items():
            found = got.get(name)
            if found is None or found.shape != array.shape:
                return f"{name!r} has shape {None if found is None else found.shape}, the module's has {array.shape}"
            if not np.allclose(found, array, rtol=1e-3, atol=1e-4, equal_nan=True):
                return f"{name!r} differs by {np.max(np.abs(found.astype(float) - array)):.3g}"
    return ""
