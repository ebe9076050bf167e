"""A small builder for ONNX graphs: names values, holds constants, and writes a checked model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from anyport.errors import need
from anyport.signature import Signature

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

OPSETS = {"": 18, "ai.onnx.ml": 5, "com.microsoft": 1}
"""What onnxruntime 1.31 and 1.32 run; ai.onnx.ml 5 brings TreeEnsemble with double outputs."""


class Builder:
    """One graph being written. Values are names (str); `float` is the dtype that arithmetic runs in."""

    def __init__(self, float_: str = "float64", taken: Iterable[str] = ()) -> None:
        """`taken`: names of inputs and outputs to come, which no value in between may have."""
        self.float = float_
        self.taken = frozenset(taken)
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.trees: list[tuple[Any, list[int] | None]] = []
        """Every tree table emitted, and the encoder slots its features are (None: not the encoder's own)."""
        self._count = 0

    def name(self, hint: str) -> str:
        """A name not used before."""
        self._count += 1
        while f"{hint}_{self._count}" in self.taken:
            self._count += 1
        return f"{hint}_{self._count}"

    def input(self, name: str, dtype: DTypeLike, shape: Sequence[int | str | None]) -> str:
        """Declare a graph input; the batch axis is "N"."""
        import numpy as np

        helper = need("onnx").helper
        kind = (
            need("onnx").TensorProto.STRING
            if dtype in (str, "string")
            else helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        )
        self.inputs.append(helper.make_tensor_value_info(name, kind, list(shape)))
        return name

    def constant(self, value: ArrayLike, dtype: DTypeLike | None = None, hint: str = "c") -> str:
        """A constant tensor; floats take the builder's float dtype unless `dtype` says otherwise."""
        import numpy as np

        array = np.asarray(value) if dtype is None else np.asarray(value, dtype=dtype)
        if dtype is None and array.dtype.kind == "f":
            array = array.astype(self.float)
        name = self.name(hint)
        onnx = need("onnx")
        if array.dtype.kind in "OU":
            shape = array.shape
            values = [str(v).encode() for v in array.ravel()]
            self.initializers[name] = onnx.helper.make_tensor(name, onnx.TensorProto.STRING, shape, values)
        else:
            # not ascontiguousarray: it makes scalars one-dimensional
            self.initializers[name] = onnx.numpy_helper.from_array(np.require(array, requirements="C"), name)
        return name

    def add(
        self,
        op: str,
        inputs: Sequence[str],
        /,
        *,
        outputs: int = 1,
        domain: str = "",
        hint: str = "",
        **attributes: Any,
    ) -> str:
        """Add a node with one output and give its name. For more outputs see `add_many`."""
        return self.add_many(op, inputs, outputs=outputs, domain=domain, hint=hint, **attributes)[0]

    def add_many(
        self, op: str, inputs: Sequence[str], /, *, outputs: int, domain: str = "", hint: str = "", **attributes: Any
    ) -> list[str]:
        """Add a node with several outputs and give their names. Attributes become plain Python values:
        protobuf 7.34+ refuses numpy scalars and bools among ints (onnx/ir-py#175)."""
        names = [self.name(hint or op.lower()) for _ in range(outputs)]
        made = need("onnx").helper.make_node(
            op, list(inputs), names, domain=domain, **{k: plain(v) for k, v in attributes.items()}
        )
        self.nodes.append(made)
        return names

    def cast(self, value: str, dtype: DTypeLike) -> str:
        """Cast to a numpy dtype, or to "string"."""
        import numpy as np

        onnx = need("onnx")
        to = (
            onnx.TensorProto.STRING
            if dtype in (str, "string")
            else onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        )
        return self.add("Cast", [value], to=to)

    def output(self, value: str, name: str, dtype: DTypeLike, shape: Sequence[int | str | None]) -> None:
        """Declare `value` as the graph output `name`."""
        import numpy as np

        onnx = need("onnx")
        self.nodes.append(onnx.helper.make_node("Identity", [value], [name]))
        kind = (
            onnx.TensorProto.STRING
            if dtype in (str, "string")
            else onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        )
        self.outputs.append(onnx.helper.make_tensor_value_info(name, kind, list(shape)))

    def serialize(self) -> bytes:
        """The checked model. The same calls give the same bytes."""
        onnx = need("onnx")
        graph = onnx.helper.make_graph(
            self.nodes, "anyport", self.inputs, self.outputs, list(self.initializers.values())
        )
        used = {node.domain for node in self.nodes} | {""}
        opsets = [onnx.helper.make_opsetid(domain, OPSETS[domain]) for domain in sorted(used)]
        model = onnx.helper.make_model(graph, opset_imports=opsets, producer_name="anyport", ir_version=10)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))


def names(signature: Signature) -> set[str]:
    """What the inputs and outputs of a model's graphs are called."""
    return {*signature.ports.values(), *(f.name for f in signature.outputs)}


def plain(value: Any) -> Any:
    """numpy scalars and arrays as Python numbers and lists; everything else as it is."""
    import numpy as np

    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        return (value.astype(np.int64) if value.dtype == bool else value).tolist()
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value
