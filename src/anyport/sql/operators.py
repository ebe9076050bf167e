"""ONNX operators on arrays of expressions, with a batch of one row: https://onnx.ai/onnx/operators/"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from itertools import pairwise
from typing import Any

from anyport.errors import Impossible
from anyport.predictor import MISSING
from anyport.sql import shapes
from anyport.sql.expr import Node, Pool
from anyport.sql.symbols import Operator, axes_of, each, mapped, nodes, plain, symbolic, whole
from anyport.sql.tree import ensemble

DOUBLE, SINGLE, BOOL = 11, 1, 9
"""onnx.TensorProto element types."""
NO_TIME = -(2**63)
"""What a missing time is to a graph that takes raw inputs."""


def equal(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    """Equal; a time compared with the number that stands for none is asked whether it is missing."""

    def one(a: Node, b: Node) -> Node:
        for x, y in ((a, b), (b, a)):
            if y.op == "const" and y.kind == "i" and y.data == NO_TIME:
                return pool.apply("missing", x)
        return pool.apply("eq", a, b)

    return mapped(one, *(nodes(pool, g) for g in given))


def cast(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    to = attributes["to"]
    import numpy as np

    onnx_kinds = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 11: np.float64, 2: np.uint8, 3: np.int8}
    if not symbolic(given[0]):
        return given[0].astype(onnx_kinds[to])

    def one(a: Node) -> Node:
        if to == DOUBLE:
            return pool.apply("float", a)
        if to == SINGLE:
            # doubles that a float32 came from; what is added to it later is added in double
            return a.args[0] if a.op == "float" and a.args[0].kind == "b" else pool.apply("f32", pool.floated(a))
        if to == BOOL:
            return a if a.kind == "b" else pool.apply("not", pool.apply("eq", a, pool.const(0)))
        if to in (6, 7):
            return a if a.kind == "i" or a.op == "tree" else pool.apply("int", a)
        raise Impossible("the graph turns a number into text, which every engine writes in another way")

    return mapped(one, given[0])


def matmul(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    import numpy as np

    a, b = given
    if not symbolic(a) and not symbolic(b):
        return a @ b
    a, b = nodes(pool, a), nodes(pool, b)
    if a.ndim != 2 or b.ndim != 2:
        raise Impossible("the graph multiplies stacks of matrices")
    out = np.empty((a.shape[0], b.shape[1]), object)
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            out[i, j] = pool.sum([pool.apply("mul", x, y) for x, y in zip(a[i], b[:, j], strict=True)])
    return out


def gemm(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    a, b = given[0], given[1]
    a = a.T if attributes.get("transA") else a
    b = b.T if attributes.get("transB") else b
    made = matmul(pool, [a, b], {})
    for name in ("alpha", "beta"):
        if attributes.get(name, 1.0) != 1.0:
            raise Impossible(f"Gemm with {name}")
    return made if len(given) < 3 or given[2] is None else each("add", "add")(pool, [made, given[2]], {})


def reduced(join: Callable[[Pool, list[Node]], Node], numpy_name: str) -> Operator:
    """A reduction along axes."""

    def run(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
        import numpy as np

        x, keep = given[0], bool(attributes.get("keepdims", 1))
        axes = axes_of(given, attributes)
        axes = tuple(range(x.ndim)) if axes is None or not len(axes) else tuple(a % x.ndim for a in axes)
        if not symbolic(x):
            return np.asarray(getattr(np, numpy_name)(x, axis=axes, keepdims=keep))
        rest = [a for a in range(x.ndim) if a not in axes]
        moved = np.transpose(x, [*rest, *axes]).reshape(*(x.shape[a] for a in rest), -1)
        out = np.empty(moved.shape[:-1], object)
        flat = out.reshape(-1)
        for i, line in enumerate(moved.reshape(-1, moved.shape[-1])):
            flat[i] = join(pool, line.tolist())
        return np.expand_dims(out, axes) if keep else out

    return run


def total(pool: Pool, terms: list[Node]) -> Node:
    return pool.sum(terms)


def mean(pool: Pool, terms: list[Node]) -> Node:
    return pool.apply("div", pool.sum(terms), pool.const(float(len(terms))))


def paired(pool: Pool, op: str, terms: Sequence[Node]) -> Node:
    """min or max of many terms, two by two: parsers nest no deeper than a hundred."""
    terms = list(terms)
    while len(terms) > 1:
        pairs = [pool.apply(op, a, b) for a, b in zip(terms[::2], terms[1::2], strict=False)]
        terms = [*pairs, *terms[2 * len(pairs) :]]
    return terms[0]


def chain(op: str) -> Callable[[Pool, list[Node]], Node]:
    return lambda pool, terms: paired(pool, op, terms)


def best(op: str) -> Operator:
    """ArgMax and ArgMin: the first of the largest along one axis; 0 where none is there."""

    def run(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
        import numpy as np

        if attributes.get("select_last_index"):
            raise Impossible("ArgMax of the last index")
        x, axis = nodes(pool, given[0]), attributes.get("axis", 0) % given[0].ndim
        keep = bool(attributes.get("keepdims", 1))
        moved = np.moveaxis(x, axis, -1)
        out = np.empty(moved.shape[:-1], object)
        flat = out.reshape(-1)
        for i, line in enumerate(moved.reshape(-1, moved.shape[-1])):
            flat[i] = first_best(pool, line.tolist(), op)
        return np.expand_dims(out, axis) if keep else out

    return run


def first_best(pool: Pool, terms: list[Node], op: str) -> Node:
    """The index of the first of the best terms."""
    if len(terms) == 2:
        return pool.apply("where", pool.apply(op, terms[1], terms[0]), pool.const(1), pool.const(0))
    top = paired(pool, "max" if op == "gt" else "min", terms)
    index = pool.const(0)  # also where all of them are missing
    for i in range(len(terms) - 1, 0, -1):
        index = pool.apply("where", pool.apply("eq", terms[i], top), pool.const(i), index)
    return pool.apply("where", pool.apply("eq", terms[0], top), pool.const(0), index)


def gather(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    """Elements at constant places; or a table's row that the input row decides."""
    import numpy as np

    data, index = given
    axis = attributes.get("axis", 0) % data.ndim
    if not symbolic(index):
        return np.take(data, index.astype(np.int64), axis=axis)
    if axis != 0:
        raise Impossible("Gather of a place that depends on the row, from another axis than the first")
    out = np.empty((*index.shape, *data.shape[1:]), object)
    for at in np.ndindex(index.shape):
        for rest in np.ndindex(data.shape[1:]):
            out[(*at, *rest)] = picked(pool, index[at], [data[(i, *rest)] for i in range(data.shape[0])])
    return out


def picked(pool: Pool, index: Node, choices: Sequence[Any]) -> Node:
    """choices[index]; through a lookup or a tree, whose own values become the choices."""
    constant = not isinstance(choices[0], Node)
    if constant and index.op == "lookup":
        codes, other, gone = index.data
        made = [(k, plain(choices[v])) for k, v in codes]
        return pool.lookup(index.args[0], made, plain(choices[other]), plain(choices[gone]))
    if constant and index.op == "tree":
        return pool.node("tree", index.args, index.data.with_values(lambda v: float(choices[int(v)])), "f")
    options = [c if isinstance(c, Node) else pool.const(c) for c in choices]
    if all(o is options[0] for o in options):
        return options[0]
    if index.op == "where":
        return pool.apply("where", index.args[0], *(picked(pool, a, choices) for a in index.args[1:]))
    if index.op == "const":
        return options[int(index.data)]
    return pool.apply("pick", index, *options)


def gather_elements(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    import numpy as np

    data, index = given
    axis = attributes.get("axis", 0) % data.ndim
    if not symbolic(index):
        return np.take_along_axis(data, index, axis)
    out = np.empty(index.shape, object)
    for at in np.ndindex(index.shape):
        line = data[(*at[:axis], slice(None), *at[axis + 1 :])]
        out[at] = picked(pool, index[at], list(line))
    return out


def label_encoder(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    """Texts to numbers. https://onnx.ai/onnx/operators/onnx_aionnxml_LabelEncoder.html"""
    if "keys_strings" not in attributes:
        raise Impossible("LabelEncoder of numbers")
    if "values_strings" in attributes:
        raise Impossible("LabelEncoder that gives texts")
    single = "values_floats" in attributes
    values = attributes["values_floats"] if single else attributes["values_int64s"]
    default = attributes.get("default_float", -0.0) if single else attributes.get("default_int64", -1)
    table = dict(zip(attributes["keys_strings"], [v.item() if hasattr(v, "item") else v for v in values], strict=True))
    gone = table.pop(MISSING, default)
    return mapped(lambda x: pool.lookup(x, tuple(table.items()), default, gone), nodes(pool, given[0]))


def tree_ensemble(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    import numpy as np

    x = nodes(pool, given[0])
    single = attributes["leaf_weights"].dtype == np.float32
    made = [ensemble(pool, line.tolist(), attributes, single=single) for line in x]
    out = np.empty((len(made), len(made[0])), object)
    for i, line in enumerate(made):
        out[i, :] = line
    return out


def sigmoid(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    one = pool.const(1.0)
    return mapped(lambda x: pool.apply("div", one, pool.apply("add", one, pool.apply("exp", pool.apply("neg", x)))),
                  nodes(pool, given[0]))  # fmt: skip


def softmax(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    import numpy as np

    x, axis = nodes(pool, given[0]), attributes.get("axis", -1) % given[0].ndim
    moved = np.moveaxis(x, axis, -1)
    out = np.empty(moved.shape, object)
    for at in np.ndindex(moved.shape[:-1]):
        line = moved[at].tolist()
        top = paired(pool, "max", line)
        raised = [pool.apply("exp", pool.apply("sub", v, top)) for v in line]
        whole_ = pool.sum(raised)
        out[at] = [pool.apply("div", v, whole_) for v in raised]
    return np.moveaxis(out, -1, axis)


def clip(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    made = given[0]
    for op, limit in (("max", given[1] if len(given) > 1 else None), ("min", given[2] if len(given) > 2 else None)):
        if limit is not None:
            made = each(op, f"{op}imum")(pool, [made, limit], {})
    return made


def variadic(op: str, numpy_name: str) -> Operator:
    one = each(op, numpy_name)
    return lambda pool, given, attributes: reduce(lambda a, b: one(pool, [a, b], attributes), given)


def power(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    """Small whole powers are products, which every engine rounds alike."""

    def one(a: Node, b: Node) -> Node:
        if b.op == "const" and b.data in (2, 2.0):
            return pool.apply("mul", a, a)
        if b.op == "const" and b.data in (1, 1.0):
            return a
        if b.op == "const" and b.data in (0.5,):
            return pool.apply("sqrt", a)
        return pool.apply("pow", a, b)

    return mapped(one, *(nodes(pool, g) for g in given))


def cumulative(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    import numpy as np

    if attributes.get("exclusive") or attributes.get("reverse"):
        raise Impossible("CumSum from behind")
    x, axis = nodes(pool, given[0]), int(whole(given[1], "an axis")) % given[0].ndim
    out = np.moveaxis(x.copy(), axis, -1)
    for at in np.ndindex(out.shape[:-1]):
        line = out[at]
        for i, j in pairwise(range(len(line))):
            line[j] = pool.apply("add", line[i], line[j])
    return np.moveaxis(out, -1, axis)


def relu(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    return mapped(lambda x: pool.apply("max", x, pool.const(0.0)), nodes(pool, given[0]))


TABLE: Mapping[tuple[str, str], Operator] = {
    **{("", name): each(op, numpy) for name, op, numpy in (
        ("Add", "add", "add"), ("Sub", "sub", "subtract"), ("Mul", "mul", "multiply"), ("Neg", "neg", "negative"),
        ("Abs", "abs", "absolute"), ("Exp", "exp", "exp"), ("Log", "log", "log"), ("Sqrt", "sqrt", "sqrt"),
        ("Tanh", "tanh", "tanh"), ("Sin", "sin", "sin"), ("Cos", "cos", "cos"), ("Floor", "floor", "floor"),
        ("Sign", "sign", "sign"), ("Less", "lt", "less"), ("LessOrEqual", "le", "less_equal"),
        ("Greater", "gt", "greater"), ("GreaterOrEqual", "ge", "greater_equal"), ("And", "and", "logical_and"),
        ("Or", "or", "logical_or"), ("Not", "not", "logical_not"), ("IsNaN", "missing", "isnan"),
        ("IsInf", "isinf", "isinf"), ("Where", "where", "where"), ("Div", "div", ""), ("Mod", "mod", ""),
    )},
    ("", "Equal"): equal, ("", "Cast"): cast, ("", "MatMul"): matmul, ("", "Gemm"): gemm, ("", "Gather"): gather,
    ("", "GatherElements"): gather_elements, ("", "Sigmoid"): sigmoid, ("", "Softmax"): softmax, ("", "Clip"): clip,
    ("", "Pow"): power, ("", "CumSum"): cumulative, ("", "Relu"): relu,
    **{("", name): run for name, run in (
        ("Reshape", shapes.reshape), ("Slice", shapes.slice_), ("Concat", shapes.concat), ("Split", shapes.split),
        ("Shape", shapes.shape_of), ("Expand", shapes.expand), ("Unsqueeze", shapes.unsqueeze),
        ("Squeeze", shapes.squeeze), ("Identity", shapes.identity), ("Constant", shapes.constant),
    )},
    ("", "Max"): variadic("max", "maximum"), ("", "Min"): variadic("min", "minimum"),
    ("", "Sum"): variadic("add", "add"),
    ("", "Transpose"): lambda pool, given, a: given[0].transpose(a["perm"]) if "perm" in a else given[0].T,
    ("", "Flatten"): lambda pool, given, a: given[0].reshape(given[0].shape[0], -1),
    ("", "ReduceSum"): reduced(total, "sum"), ("", "ReduceMean"): reduced(mean, "mean"),
    ("", "ReduceMax"): reduced(chain("max"), "max"), ("", "ReduceMin"): reduced(chain("min"), "min"),
    ("", "ArgMax"): best("gt"), ("", "ArgMin"): best("lt"),
    ("ai.onnx.ml", "LabelEncoder"): label_encoder, ("ai.onnx.ml", "TreeEnsemble"): tree_ensemble,
}  # fmt: skip
"""Domain and operator → what it does."""
