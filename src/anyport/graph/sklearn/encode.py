"""Encoders of categories: tables of what the fitted encoder itself answers to every value it tells apart."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from anyport.graph.build import Builder
from anyport.graph.sklearn import Features
from anyport.graph.sklearn.cells import SELF, Ask, Feature, Part, Term, missing, tabled
from anyport.graph.sklearn.frame import Frame, graph_frame, lift

UNSEEN = "\uffff\u0000unseen"
"""A text no one was fitted on."""


def one_hot(b: Builder, t: Any, x: Features) -> Frame:
    """Every option of OneHotEncoder: drop, unknown and infrequent categories, None and NaN."""
    return _tables(b, t, lift(x), t._n_features_outs, sparse=bool(t.sparse_output))


def ordinal(b: Builder, t: Any, x: Features) -> Frame:
    """Codes, with the values for unknown and missing."""
    return _tables(b, t, lift(x), [1] * len(t.categories_), sparse=False)


def target(b: Builder, t: Any, x: Features) -> Frame:
    """Smoothed target means, one output a class where there are more than two."""
    each = len(t.encodings_) // len(t.categories_)
    return _tables(b, t, lift(x), [each] * len(t.categories_), sparse=False)


def _tables(b: Builder, t: Any, x: Frame, widths: Sequence[int], *, sparse: bool) -> Frame:
    import numpy as np

    dtype = np.dtype(getattr(t, "dtype", np.float64)).name
    made: list[Feature] = []
    start = 0
    for i, width in enumerate(widths):
        categories = t.categories_[i].tolist()
        ask = asking(t, i, slice(start, start + width), categories)
        feature = x.features[i]
        if isinstance(feature, (Part, Term)):
            made += graph_table(b, x.select([i]), ask, categories, dtype)
        else:
            made += tabled(feature, ask, categories, dtype=dtype)
        start += width
    return x.having(made, sparse=sparse)


def asking(t: Any, column: int, outputs: slice, categories: list[Any]) -> Ask:
    """The fitted encoder's own answers for values of one column; other columns hold their first category."""
    import numpy as np
    from scipy import sparse

    others = [c[0] for c in t.categories_]
    numbers = all(isinstance(c, (int, float)) for c in categories)
    unseen: Any = _between(categories) if numbers else UNSEEN

    def answer(values: list[Any]) -> Any:
        rows = np.empty((len(values), len(others)), dtype=object)
        rows[:] = others
        for r, value in enumerate(values):
            rows[r, column] = unseen if value is SELF else value
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = t.transform(rows)
        made = made.to_numpy() if hasattr(made, "to_numpy") else made
        return (sparse.csr_matrix(made) if sparse.issparse(made) else np.asarray(made))[:, outputs]

    return refusing(answer)


def _between(categories: list[Any]) -> float:
    """A number that is none of the categories."""
    known = [float(c) for c in categories if not missing(c)]
    return max(known, default=0.0) + 0.5 if max(known, default=0.0) < 1e15 else -math.pi


def refusing(answer: Callable[[list[Any]], Any]) -> Ask:
    """Ask for all values at once, or one by one where one of them is refused."""
    import numpy as np
    from scipy import sparse

    def ask(values: list[Any]) -> tuple[Any, Sequence[bool]]:
        try:
            return answer(values), [False] * len(values)
        except (ValueError, TypeError):
            rows: list[Any] = []
            for value in values:
                try:
                    rows.append(answer([value]))
                except (ValueError, TypeError):
                    rows.append(None)
        some = next((row for row in rows if row is not None), np.zeros((1, 0)))
        filled = [some * 0 if row is None else row for row in rows]
        stacked = sparse.vstack(filled).tocsr() if sparse.issparse(some) else np.concatenate(filled)
        return stacked, [row is None for row in rows]

    return ask


def graph_table(b: Builder, x: Frame, ask: Ask, categories: list[Any], dtype: str) -> list[Feature]:
    """A table of a feature that is computed in the graph: exact comparison with each category."""
    import numpy as np

    known = [float(c) for c in categories if not missing(c)]
    matrix, raises = ask([*known, math.nan, SELF])
    rows = matrix if isinstance(matrix, np.ndarray) else matrix.toarray()
    rows = np.where(np.asarray(raises)[:, None], 0.0, rows)
    value = x.tensor()
    equal = b.cast(b.add("Equal", [value, b.constant([known], b.float)]), b.float)
    gone = b.cast(b.add("IsNaN", [value]), b.float)
    some = b.add("Add", [b.add("ReduceMax", [equal, b.constant([1], "int64")], keepdims=1), gone])
    other = b.add("Sub", [b.constant(1.0, b.float), some])
    codes = b.add("Concat", [equal, gone, other], axis=1)
    # a product would let a NaN in one row of the table into every answer
    made = b.add("Gather", [b.constant(rows, b.float), b.add("ArgMax", [codes], axis=1, keepdims=0)], axis=0)
    return list(graph_frame(b, made, rows.shape[1], dtype=dtype).features)


CONVERTERS = {"OneHotEncoder": one_hot, "OrdinalEncoder": ordinal, "TargetEncoder": target}
