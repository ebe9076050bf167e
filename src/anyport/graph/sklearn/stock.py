"""The fallback: skl2onnx converts one estimator, and its nodes are copied into our graph.

Only what none of our own families knows comes here. skl2onnx rounds to float32 where the original does
not, so its graphs often lose the proof; those that pass it are welcome.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from anyport.errors import Impossible, need
from anyport.graph.build import Builder, plain
from anyport.graph.sklearn import Answers, Features, Tensor
from anyport.graph.sklearn import arithmetic as m

OPSETS = {"": 18, "ai.onnx.ml": 3}
RETIRED = ("TreeEnsembleClassifier", "TreeEnsembleRegressor")
"""ai.onnx.ml 5, which our graphs declare, has neither."""

_patching = Lock()


def stock(b: Builder, estimator: Any, x: Features) -> Any:
    """Answers or Features of an estimator, through skl2onnx; Impossible with its reason where it cannot."""
    kind = type(estimator).__name__
    if type(estimator).__module__.partition(".")[0] != "sklearn":
        raise Impossible(f"{type(estimator).__module__}.{kind} has no converter")
    value = x.tensor()
    reasons = []
    for dtype in ("float64", "float32") if b.float == "float64" else ("float32",):
        try:
            model = converted(estimator, x.width, dtype)
        except Exception as error:  # a converter of someone else's may raise anything; its words are the reason
            reasons.append(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:120]}")
            continue
        retired = {n.op_type for n in model.graph.node} & set(RETIRED)
        if retired:
            raise Impossible(f"skl2onnx writes {kind} as {', '.join(sorted(retired))}, in float32 only")
        return answers(b, estimator, x, inline(b, model, value if b.float == dtype else b.cast(value, dtype)))
    raise Impossible(f"{kind} has no converter of ours, and skl2onnx says: {'; '.join(dict.fromkeys(reasons))}")


def converted(estimator: Any, width: int, dtype: str) -> Any:
    """skl2onnx's model of [N, width] numbers."""
    from sklearn.base import is_classifier

    skl2onnx = need("skl2onnx")
    types = need("skl2onnx.common.data_types")
    kind = types.DoubleTensorType if dtype == "float64" else types.FloatTensorType
    options = {id(estimator): {"zipmap": False}} if is_classifier(estimator) else None
    with plain_attributes():
        return skl2onnx.convert_sklearn(
            estimator, initial_types=[("X", kind([None, width]))], options=options, target_opset=OPSETS
        )


@contextmanager
def plain_attributes() -> Iterator[None]:
    """While skl2onnx runs, numpy scalars and bools in attributes become Python's: protobuf 7.34+ refuses them
    (onnx/ir-py#175), and skl2onnx 1.20 writes them."""
    container: Any = need("skl2onnx.common._container")
    with _patching:
        original = container.make_node

        def make_node(*arguments: Any, **attributes: Any) -> Any:
            return original(*arguments, **{k: plain(v) for k, v in attributes.items()})

        container.make_node = make_node
        try:
            yield
        finally:
            container.make_node = original


def inline(b: Builder, model: Any, value: str) -> list[str]:
    """Copy the model's nodes into our graph, every name made new; the names of its outputs."""
    graph = model.graph
    names = {"": "", graph.input[0].name: value}

    def renamed(name: str) -> str:
        if name not in names:
            names[name] = b.name("stock")
        return names[name]

    for initializer in graph.initializer:
        copy = type(initializer)()
        copy.CopyFrom(initializer)
        copy.name = renamed(initializer.name)
        b.initializers[copy.name] = copy
    for node in graph.node:
        b.nodes.append(copied(node, renamed))
    return [renamed(o.name) for o in graph.output]


def copied(node: Any, renamed: Any) -> Any:
    """A node under new names, with those inside its subgraphs."""
    copy = type(node)()
    copy.CopyFrom(node)
    copy.name = ""
    copy.input[:] = [renamed(i) for i in node.input]
    copy.output[:] = [renamed(o) for o in node.output]
    for attribute in copy.attribute:
        for graph in [attribute.g] if attribute.HasField("g") else attribute.graphs:
            for value in (*graph.input, *graph.output, *graph.initializer):
                value.name = renamed(value.name)
            nodes = [copied(inner, renamed) for inner in graph.node]
            del graph.node[:]
            graph.node.extend(nodes)
    return copy


def answers(b: Builder, estimator: Any, x: Features, outputs: list[str]) -> Any:
    """skl2onnx's outputs in our form: class labels as indices, one-target answers as [N]."""
    import numpy as np

    if not hasattr(estimator, "predict"):
        made = estimator.transform(np.ones((1, x.width)))
        return Tensor(b, b.cast(outputs[0], b.float), int(made.shape[1]))
    classes = getattr(estimator, "classes_", None)
    if classes is not None:
        if isinstance(classes, list) or np.asarray(classes).ndim != 1:
            raise Impossible(f"{type(estimator).__name__} with several targets goes through no converter")
        probability = b.cast(outputs[1], b.float) if hasattr(estimator, "predict_proba") else None
        return Answers(prediction=index(b, outputs[0], np.asarray(classes)), probability=probability)
    expected = np.asarray(estimator.predict(np.ones((1, x.width))))
    dtype = "int64" if expected.dtype.kind in "iu" else b.float
    prediction = b.cast(outputs[0], dtype)
    shape = b.constant([-1, *expected.shape[1:]], "int64")
    return Answers(prediction=b.add("Reshape", [prediction, shape]))


def index(b: Builder, label: str, classes: Any) -> str:
    """Labels [N], text or whole numbers, → their index."""
    flat = b.add("Reshape", [label, b.constant([-1], "int64")])
    numbers = list(range(len(classes)))
    if classes.dtype.kind in "OU":
        keys = [str(c) for c in classes]
        return b.add("LabelEncoder", [flat], domain="ai.onnx.ml", keys_strings=keys, values_int64s=numbers)
    same = b.add("Equal", [m.tall(b, b.cast(flat, "int64")), b.constant(classes.astype("int64"))])
    return b.add("ArgMax", [b.cast(same, "int32")], axis=1, keepdims=0)
