"""Operators on doubles that ONNX Runtime 1.12 has no kernel for, said in those that it has: the values are the same.

Measured with onnxruntime 1.12.1; https://github.com/microsoft/onnxruntime/blob/v1.12.1/docs/OperatorKernels.md lists
what it has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anyport.errors import Impossible, need

if TYPE_CHECKING:
    from numpy.typing import NDArray

WHOLE = 2.0**53
"""From here on a double has no fraction."""


@dataclass(frozen=True)
class Said:
    """A node that is said in others."""

    node: Any
    graph: Any
    type: Any
    """Of its first input: a TypeProto.Tensor."""
    held: Mapping[str, NDArray[Any]]
    made: list[Any] = field(default_factory=list)

    def constant(self, value: Any, dtype: str = "float64") -> str:
        """A value of the graph."""
        import numpy as np

        name = f"{self.graph.name}/{self.node.output[0]}/{len(self.graph.initializer)}"
        self.graph.initializer.append(need("onnx").numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def step(self, op: str, *inputs: str, result: str = "", **attributes: Any) -> str:
        """A node; gives the name of its value."""
        result = result or f"{self.graph.name}/{self.node.output[0]}/{op}{len(self.made)}"
        self.made.append(need("onnx").helper.make_node(op, list(inputs), [result], **attributes))
        return result


def is_nan(s: Said) -> list[Any]:
    """Whatever is not itself."""
    x = s.node.input[0]
    s.step("Not", s.step("Equal", x, x), result=s.node.output[0])
    return s.made


def floor(s: Said) -> list[Any]:
    """Without the fraction, less one where that is more; what is beyond 2^53, infinite or NaN is its own floor."""
    proto, x = need("onnx").TensorProto, s.node.input[0]
    small = s.step("Less", s.step("Abs", x), s.constant(WHOLE))
    held = s.step("Where", small, x, s.constant(0.0))
    cut = s.step("Cast", s.step("Cast", held, to=proto.INT64), to=proto.DOUBLE)
    over = s.step("Cast", s.step("Less", held, cut), to=proto.DOUBLE)
    s.step("Where", small, s.step("Sub", cut, over), x, result=s.node.output[0])
    return s.made


def split(s: Said) -> list[Any]:
    """A slice for each part. Impossible where the parts' sizes are calculated."""
    axis = next((a.i for a in s.node.attribute if a.name == "axis"), 0)
    parts = len(s.node.output)
    dims = [d.dim_value for d in s.type.shape.dim]
    whole = dims[axis] if -len(dims) <= axis < len(dims) else 0
    if len(s.node.input) > 1 and s.node.input[1] in s.held:
        sizes = [int(v) for v in s.held[s.node.input[1]]]
    elif len(s.node.input) < 2 and whole:
        each = -(-whole // parts)
        sizes = [min(each, whole - each * i) for i in range(parts)]
    else:
        raise Impossible("the graph holds Split over sizes that it calculates, which ONNX Runtime 1.12 has not")
    begin = 0
    for name, size in zip(s.node.output, sizes, strict=True):
        ends = [s.constant([v], "int64") for v in (begin, begin + size, axis)]
        s.step("Slice", s.node.input[0], *ends, result=name)
        begin += size
    return s.made


def relu(s: Said) -> list[Any]:
    """The larger of it and 0: a Relu behind a Gemm becomes a FusedGemm, which it then has not."""
    s.step("Max", s.node.input[0], s.constant(0.0), result=s.node.output[0])
    return s.made


def unfused(s: Said) -> list[Any]:
    """The same node over its input times 1, for the same reason."""
    one = s.step("Mul", s.node.input[0], s.constant(1.0))
    s.made.append(s.node)
    s.node.input[0] = one
    return s.made


ABSENT: Mapping[tuple[str, str], Callable[[Said], list[Any]]] = {
    ("", "IsNaN"): is_nan, ("", "Floor"): floor, ("", "Split"): split, ("", "Relu"): relu,
    ("", "Sigmoid"): unfused, ("", "Tanh"): unfused, ("", "LeakyRelu"): unfused,
}  # fmt: skip
