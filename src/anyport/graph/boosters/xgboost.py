"""XGBoost: its JSON model → a table; floats compared and added as its CPU predictor does."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anyport.errors import Impossible
from anyport.graph.build import Builder
from anyport.graph.sklearn import Answers, Features, Tensor
from anyport.graph.sklearn import arithmetic as m
from anyport.graph.trees import LEAF, LESS, MEMBER, Link, Tree, TreeTable, join
from anyport.graph.trees_emit import emit, pair

if TYPE_CHECKING:
    from numpy.typing import NDArray

HALF = 1.5 * 2.0**-24
"""1 / (1 + exp(-x)) is over 0.5 in float32 from the next x on."""
LINKS: dict[str, Link] = {
    **dict.fromkeys(("reg:squarederror", "reg:squaredlogerror", "reg:absoluteerror", "reg:quantileerror",
                     "reg:pseudohubererror", "reg:linear", "reg:expectileerror", "binary:logitraw", "rank:pairwise",
                     "rank:ndcg", "rank:map"), "identity"),
    **dict.fromkeys(("reg:logistic", "binary:logistic"), "logistic"),
    **dict.fromkeys(("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft"), "exp"),
    "binary:hinge": "hinge",
    "multi:softprob": "softmax",
    "multi:softmax": "softmax",
}  # fmt: skip


@dataclass(frozen=True)
class Model:
    """The learner's JSON, and the trees that `predict` uses."""

    learner: dict[str, Any]
    first: int
    last: int
    missing: float

    @property
    def objective(self) -> str:
        return str(self.learner["objective"]["name"])

    @property
    def booster(self) -> str:
        return str(self.learner["gradient_booster"]["name"])

    @property
    def body(self) -> dict[str, Any]:
        gradient: dict[str, Any] = self.learner["gradient_booster"]
        body: dict[str, Any] = gradient.get("gbtree", gradient)["model"]
        return body

    @property
    def outputs(self) -> int:
        known = self.learner["learner_model_param"]
        return max(int(known["num_class"]), int(known.get("num_target", 1)), 1)

    @property
    def width(self) -> int:
        return int(self.learner["learner_model_param"]["num_feature"])


def booster(model: Any) -> Any:
    return model if type(model).__name__ == "Booster" else model.get_booster()


def read(model: Any) -> Model:
    """A Booster uses all its trees; the scikit-learn classes stop at the best iteration."""
    learner = json.loads(bytes(booster(model).save_raw("json")))["learner"]
    gradient = learner["gradient_booster"]
    indptr = gradient.get("gbtree", gradient)["model"].get("iteration_indptr", [0, 0])
    end, missing = 0, math.nan
    if model is not booster(model):
        end = int(model._get_iteration_range(None)[1])
        missing = math.nan if model.missing is None else float(model.missing)
    return Model(learner, 0, int(indptr[end] if end else indptr[-1]), missing)


def link(model: Model) -> Link:
    if model.objective not in LINKS:
        raise Impossible(f"XGBoost's objective {model.objective!r} has no known output")
    return LINKS[model.objective]


def base_scores(model: Model) -> NDArray[Any]:
    """Where the sums start, in the space of the scores: the saved value is an answer (ProbToMargin undoes the link)."""
    import numpy as np

    saved = json.loads(model.learner["learner_model_param"]["base_score"])
    base = np.atleast_1d(np.asarray(saved, np.float32))
    kind = link(model)
    if kind == "logistic":
        base = -np.log(np.float32(1) / base - np.float32(1))
    elif kind == "exp":
        base = np.log(base)
    return np.broadcast_to(base, (model.outputs,))


def table(model: Model) -> TreeTable:
    import numpy as np

    body = model.body
    dropped = model.learner["gradient_booster"].get("weight_drop")
    trees = []
    for i in range(model.first, model.last):
        weight = np.float32(1.0 if dropped is None else dropped[i])
        trees.append(_tree(body["trees"][i], int(body["tree_info"][i]), weight))
    return join(
        trees,
        width=model.width,
        outputs=model.outputs,
        start=base_scores(model),
        cast32=True,
        add="float32",
        cut="floor",
        link=link(model),
    )


def _tree(tree: dict[str, Any], target: int, weight: Any) -> Tree:
    """In a category split the listed categories go right: the children change sides, and with them missing."""
    import numpy as np

    left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
    leaf = left == -1
    categorical = (np.array(tree["split_type"]) == 1) & ~leaf
    conditions = np.array(tree["split_conditions"], np.float32)
    size = max(int(tree["tree_param"].get("size_leaf_vector", 1)), 1)
    if size > 1:
        vectors = np.array(tree["leaf_weights"], np.float32).reshape(-1, size)
        values = np.zeros((len(left), size), np.float32)
        values[leaf] = vectors[right[leaf]]
    else:
        values = np.where(leaf, conditions, np.float32(0))[:, None]
    sets = {}
    for node, begin, count in zip(
        tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True
    ):
        sets[int(node)] = tree["categories"][begin : begin + count]
    default_left = np.array(tree["default_left"]).astype(bool)
    return Tree(
        mode=np.where(leaf, LEAF, np.where(categorical, MEMBER, LESS)),
        feature=np.where(leaf, 0, np.array(tree["split_indices"])),
        threshold=conditions.astype(np.float64),
        left=np.where(leaf, -1, np.where(categorical, right, left)),
        right=np.where(leaf, -1, np.where(categorical, left, right)),
        missing_left=default_left ^ categorical,
        values=values * weight,
        target=0 if size > 1 else target,
        sets=sets,
    )


@contextmanager
def single(b: Builder) -> Iterator[None]:
    """Arithmetic in float32, as XGBoost's own: ties between classes are then its ties."""
    outer, b.float = b.float, "float32"
    try:
        yield
    finally:
        b.float = outer


def scores(b: Builder, model: Model, x: Features) -> str:
    """Margins [N, outputs] in float32. A zero in a sparse matrix is missing (behind a sparse preprocessor)."""
    import numpy as np

    if getattr(x, "sparse", False):
        known = b.add("Where", [b.add("Equal", [x.tensor(), b.constant(0.0)]), b.constant(math.nan), x.tensor()])
        x = Replaced(b, known, x.width, x)
    if not math.isnan(model.missing):
        mark = b.constant(np.float32(model.missing), "float32")
        absent = b.add("Equal", [b.cast(x.tensor(), "float32"), mark])
        known = b.add("Where", [absent, b.constant(math.nan), x.tensor()])
        x = Replaced(b, known, x.width, x)
    if model.booster == "gblinear":
        return _linear(b, model, x)
    return emit(b, table(model), x, dtype="float32")


@dataclass(frozen=True)
class Replaced(Tensor):
    """Features whose missing mark became NaN; the encoder's slots still tell where they come from."""

    source: Features

    def slots(self) -> list[int] | None:
        return self.source.slots()


def _linear(b: Builder, model: Model, x: Features) -> str:
    """gblinear: a missing feature adds nothing. 3.2 starts every output from the first base score."""
    import numpy as np

    weights = np.array(model.body["weights"], np.float32).reshape(-1, model.outputs)
    value = b.cast(x.tensor(), "float32")
    known = b.add("Where", [b.add("IsNaN", [value]), b.constant(np.float32(0), "float32"), value])
    bias = weights[-1] + base_scores(model)[0]
    return b.add("Gemm", [known, b.constant(weights[:-1], "float32"), b.constant(bias, "float32")])


def linked(b: Builder, model: Model, margins: str) -> str:
    """What `Booster.predict` gives, [N, outputs], in float32."""
    kind = link(model)
    if kind == "logistic":
        return b.add("Sigmoid", [margins])
    if kind == "exp":
        return b.add("Exp", [margins])
    if kind == "softmax":
        return m.softmax(b, margins)
    if kind == "hinge":
        return b.cast(m.above(b, margins), "float32")
    return margins


def out(b: Builder, value: str) -> str:
    """A float32 value in the builder's dtype."""
    return value if b.float == "float32" else b.cast(value, b.float)


def regressor(b: Builder, model: Any, x: Features) -> Answers:
    """Booster, XGBRegressor, XGBRanker, XGBRFRegressor: what `predict` gives."""
    parsed = read(model)
    margins = scores(b, parsed, x)
    with single(b):
        found = linked(b, parsed, margins)
        if parsed.objective == "multi:softmax":
            found = b.cast(m.argmax(b, found), "float32")
        elif parsed.outputs == 1:
            found = m.flat(b, found)
    return Answers(prediction=out(b, found))


def classifier(b: Builder, model: Any, x: Features) -> Answers:
    """XGBClassifier, XGBRFClassifier: an index into classes_, and probabilities. Several yes-no targets at once
    become `per_target`."""
    parsed = read(model)
    kind = link(parsed)
    if kind not in ("logistic", "softmax", "hinge"):
        raise Impossible(f"an XGBClassifier with the objective {parsed.objective!r}")
    margins = scores(b, parsed, x)
    limit = HALF if kind == "logistic" else 0.0
    with single(b):
        found = linked(b, parsed, margins)
        if kind == "softmax":
            pairs = [(m.argmax(b, found), found)]
        else:
            pairs = []
            for k in range(parsed.outputs):
                chance = found if parsed.outputs == 1 else m.columns(b, found, [k])
                pairs.append((m.above(b, m.column(b, margins, k), limit), pair(b, chance)))
    parts = tuple(Answers(label, out(b, chance)) for label, chance in pairs)
    return parts[0] if len(parts) == 1 else Answers(per_target=parts)


CONVERTERS = {
    **dict.fromkeys(("Booster", "XGBModel", "XGBRegressor", "XGBRFRegressor", "XGBRanker"), regressor),
    **dict.fromkeys(("XGBClassifier", "XGBRFClassifier"), classifier),
}
