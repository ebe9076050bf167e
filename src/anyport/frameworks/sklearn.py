"""scikit-learn: pickles, joblib and skops files, live estimators, pipelines and meta-estimators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from anyport.errors import BadData, Impossible
from anyport.frameworks import Candidate, Hints

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anyport.frameworks import Original
    from anyport.graph.build import Builder
    from anyport.graph.encoder import Encoder
    from anyport.graph.sklearn.slots import Encoding
    from anyport.trust import Trust

NAME = "sklearn"
SUFFIXES: Sequence[str] = (".pkl", ".pickle", ".joblib", ".skops")
EXECUTES = True

OTHERS = ("xgboost", "lightgbm", "catboost", "keras", "torch", "tensorflow", "skorch")
"""Their scikit-learn classes inherit from ours, and are their own."""


def owns(model: Any) -> bool:
    kinds = type(model).__mro__
    if type(model).__module__.partition(".")[0] in OTHERS:
        return False
    return any(kind.__module__.partition(".")[0] == "sklearn" for kind in kinds)


def load(path: Path, trust: Trust) -> Any:
    from anyport import trust as door

    return door.load(path, trust)


def hints(model: Any, data: Any) -> Hints:
    from anyport.graph.sklearn import known

    if known.takes_text(model):
        return Hints(container="list", columns=("text",), labels=labels(model))
    columns = known.names(model)
    if columns is not None:
        levels = known.levels(model, columns)
        return Hints(container="dataframe", columns=columns, levels=levels, labels=labels(model))
    return Hints(container="dataframe" if mixed(data) else "array", labels=labels(model))


def mixed(data: Any) -> bool:
    """Whether a table holds anything but numbers: an array cannot carry it."""
    if not (hasattr(data, "dtypes") and hasattr(data, "columns")):
        return False
    return any(getattr(dtype, "kind", "O") not in "biuf" for dtype in data.dtypes)


def labels(model: Any) -> dict[str, tuple[Any, ...]]:
    """Class labels by output name; empty for anything but a classifier."""
    import numpy as np

    classes = getattr(model, "classes_", None)
    if classes is None or not hasattr(model, "predict") or is_a("regressor", model):
        return {}
    if isinstance(classes, list) and classes and isinstance(classes[0], np.ndarray):
        return {f"prediction_{i}": tuple(c.tolist()) for i, c in enumerate(classes)}
    if many_labels(model):
        return {f"prediction_{i}": (0, 1) for i in range(len(classes))}
    return {"prediction": tuple(np.asarray(classes).tolist())}


def is_a(kind: Literal["classifier", "regressor", "clusterer", "outlier_detector"], model: Any) -> bool:
    from sklearn.utils import get_tags

    try:
        return bool(get_tags(model).estimator_type == kind)
    except (AttributeError, TypeError):
        return False


def many_labels(model: Any) -> bool:
    """Whether `classes_` names independent yes-no targets (MLPClassifier, OneVsRestClassifier on indicators)."""
    final = model.steps[-1][1] if hasattr(model, "steps") else model
    if hasattr(final, "best_estimator_"):
        return many_labels(final.best_estimator_)
    if hasattr(final, "multilabel_"):
        return bool(final.multilabel_)
    binarizer = getattr(final, "_label_binarizer", None)
    return binarizer is not None and getattr(binarizer, "y_type_", "").startswith("multilabel")


def ask(model: Any, native: Any) -> dict[str, NDArray[Any]]:
    import numpy as np

    if hasattr(model, "predict"):
        predicted = np.asarray(model.predict(native))
        if is_a("outlier_detector", model):
            return {"prediction": predicted, "score": np.asarray(model.decision_function(native))}
        chance = model.predict_proba(native) if hasattr(model, "predict_proba") else None
        if predicted.ndim == 2 and (is_a("classifier", model) or chance is not None):
            return targets(predicted, chance)
        if chance is None:
            return {"prediction": predicted}
        return {"prediction": predicted, "probability": np.asarray(chance)}
    if hasattr(model, "transform"):
        made = model.transform(native)
        made = made.toarray() if hasattr(made, "toarray") else np.asarray(made)
        if made.ndim == 1:  # SparsePCA flattens a single row
            made = made.reshape(len(native), -1)
        return {"transform": made.astype(np.float64) if made.dtype == object else made}
    if hasattr(model, "score_samples"):
        return {"score": np.asarray(model.score_samples(native))}
    raise BadData(f"a {type(model).__name__} answers no new rows: it has neither predict nor transform")


def targets(predicted: NDArray[Any], chance: Any) -> dict[str, NDArray[Any]]:
    """Answers of a classifier of several targets: one `prediction_i` each, and its probabilities."""
    import numpy as np

    answers = {f"prediction_{i}": predicted[:, i] for i in range(predicted.shape[1])}
    if isinstance(chance, list):
        return answers | {f"probability_{i}": np.asarray(c) for i, c in enumerate(chance)}
    return answers if chance is None else answers | {"probability": np.asarray(chance)}


def candidates(original: Original) -> Iterator[Candidate]:
    exact = exact_graph(original)
    doubt = DOUBT if decides_by_arithmetic(original) else ""
    for name, float_, tensor, why in PRECISIONS:
        fast, encoder, trees = graph(original, float_, tensor, without_prediction=True)
        yield Candidate(name, why, fast, encoder, exact, trees, "" if name == "float64" else doubt)


PRECISIONS: tuple[tuple[str, str, Literal["float32", "float64"], str], ...] = (
    ("float32", "float32", "float32", "columns encoded in double, rounded once; arithmetic in float32"),
    ("mixed", "float64", "float32", "columns encoded in double, rounded once to float32; arithmetic in double"),
    ("float64", "float64", "float64", "everything in double, rounded where the original rounds"),
)


def exact_graph(original: Original) -> bytes | None:
    """The double graph over raw inputs; None where ONNX cannot say what the encoder does."""
    from anyport.graph.emit import emit_encoder

    b, encoding = converted(original, "float64", "float64", without_prediction=False)
    try:
        encoding.finish(lambda encoder: (emit_encoder(b, encoder, original.signature), "float64"))
    except Impossible:
        return None
    return b.serialize()


def graph(
    original: Original, float_: str, tensor: Literal["float32", "float64"], *, without_prediction: bool
) -> tuple[bytes, Encoder, Mapping[str, NDArray[Any]] | None]:
    """The graph over the encoder's tensor "X", the encoder, and the tree tables."""
    b, encoding = converted(original, float_, tensor, without_prediction=without_prediction)
    encoder = encoding.finish(lambda e: (b.input("X", tensor, ["N", e.width]), tensor))
    tables = None
    if b.trees:
        from anyport.graph.trees import to_npz_arrays

        tables = to_npz_arrays(b.trees)
    return b.serialize(), encoder, tables


def converted(
    original: Original, float_: str, tensor: Literal["float32", "float64"], *, without_prediction: bool
) -> tuple[Builder, Encoding]:
    """The model's nodes and outputs, and the encoding they read. Impossible with the reason where there are none."""
    from anyport.graph.build import Builder, names
    from anyport.graph.sklearn import convert, known
    from anyport.graph.sklearn.frame import frame
    from anyport.graph.sklearn.slots import Encoding

    b = Builder(float_, names(original.signature))
    fields = original.signature.inputs
    encoding = Encoding(b, tensor, fields)
    x = frame(b, encoding, known.names(original.model) or [f.name for f in fields])
    try:
        declare(b, convert(b, original.model, x), original, without_prediction=without_prediction)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        # a scikit-learn whose private attributes differ: the Python form still answers, and the bundle says why
        kind = type(original.model).__name__
        raise Impossible(f"the converter of {kind} failed: {type(error).__name__}: {error}") from error
    return b, encoding


def declare(b: Builder, answers: Any, original: Original, *, without_prediction: bool) -> None:
    """The answers as graph outputs, by the names of the signature."""
    for field in original.signature.outputs:
        dims = ["N", *field.shape]
        kind, _, target = field.name.partition("_")
        if kind == "transform":
            b.output(answers.tensor(), field.name, b.float, dims)
        elif kind == "score":
            b.output(needed(answers.decision, field.name), field.name, b.float, dims)
        elif kind == "probability" and not target and answers.per_target:
            chances = [second(b, needed(a.probability, field.name)) for a in answers.per_target]
            b.output(b.add("Concat", chances, axis=1), field.name, b.float, dims)
        else:
            one = answers.per_target[int(target)] if target else answers
            if kind == "probability":
                b.output(needed(one.probability, field.name), field.name, b.float, dims)
            elif not (without_prediction and implied(b, one)):
                labelled = field.levels is not None or not field.is_float
                b.output(needed(one.prediction, field.name), field.name, "int64" if labelled else b.float, dims)


def needed(value: str | None, name: str) -> str:
    if value is None:
        raise Impossible(f"the converter of this model gives no {name}")
    return value


def second(b: Builder, value: str) -> str:
    """The chance of yes, [N, 1], of [N, 2]."""
    return b.add("Slice", [value, *(b.constant([v], "int64") for v in (1, 2, 1))])


def implied(b: Builder, answers: Any) -> bool:
    """Whether the label is the argmax of the very value that is the probability: a reader can do that itself.
    (Where a decision is thresholded it is not: saturated probabilities tie where decisions do not.)"""
    if answers.probability is None:
        return False
    made = next((n for n in b.nodes if answers.prediction in n.output), None)
    return made is not None and made.op_type == "ArgMax" and made.input[0] == answers.probability


DOUBT = "its labels hang on sums in single precision: now and then one would flip, too rarely for a proof to see"
TREES = (
    "DecisionTreeClassifier", "ExtraTreeClassifier", "RandomForestClassifier", "ExtraTreesClassifier",
    "GradientBoostingClassifier", "HistGradientBoostingClassifier", "IsolationForest",
)  # fmt: skip


def decides_by_arithmetic(original: Original) -> bool:
    """Whether labels hang on arithmetic: in float32 some row then falls on the other side of the threshold, too
    rarely for any proof to see. Trees over the encoder's own columns compare as the
    original compares, and add in double, in every candidate."""
    labels = [f for f in original.signature.outputs if f.name.startswith("prediction") and not f.is_float]
    if not labels:
        return False
    model = original.model
    while hasattr(model, "steps") or hasattr(model, "best_estimator_"):
        model = model.steps[-1][1] if hasattr(model, "steps") else model.best_estimator_
    if type(model).__name__ not in TREES:
        return True
    b, _ = converted(original, "float64", "float64", without_prediction=False)
    return any(slots is None for _, slots in b.trees)


def boundaries(original: Original) -> Mapping[str, NDArray[Any]]:
    from anyport.graph.boundaries import raw_boundaries

    try:
        b, encoding = converted(original, "float64", "float64", without_prediction=False)
    except Impossible:
        return {}
    return raw_boundaries(encoding.encoder(), b.trees, original.signature)


def requirements(model: Any) -> tuple[str, ...]:
    from anyport.graph.sklearn import known

    return known.distributions(model)
