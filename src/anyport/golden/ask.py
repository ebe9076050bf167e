"""Asking the original: a batch at once where it answers, row by row where it raises."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from anyport.batch import Batch, Column, Outcome, Refusal, rows, take
from anyport.frameworks import Original, get
from anyport.native import native
from anyport.predictor import blank

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK = 4096
"""Rows asked at a time."""


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """The original's native libraries on one thread, where threadpoolctl is installed (scikit-learn brings it):
    asking row by row, OpenMP's barriers cost 70 ms a call on a busy machine, against 4."""
    try:
        from threadpoolctl import threadpool_limits
    except ModuleNotFoundError:
        yield
        return
    with threadpool_limits(1):
        yield


def raw(original: Original, inputs: Batch) -> dict[str, NDArray[Any]]:
    """The model's own answers, as its own library gives them; raises what it raises."""
    with quiet():
        answers = get(original.framework).ask(original.model, native(inputs, original.signature))
    n = rows(inputs)
    for name, array in answers.items():
        if len(array) != n:
            raise ValueError(f"the model gave {len(array)} values of {name!r} for {n} rows")
    return answers


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings from extreme inputs: what counts is the answer."""
    import numpy as np

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def answer(original: Original, inputs: Batch) -> Outcome:
    """The original's answers to all rows, in batches; where a batch raises it is halved until single rows
    raise, and those are refused with the original's own words."""
    n = rows(inputs)
    found: dict[str, NDArray[Any]] = {}
    refused: dict[int, tuple[Refusal, ...]] = {}
    todo = [(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK)]
    while todo:
        start, stop = todo.pop()
        try:
            answers = raw(original, take(inputs, slice(start, stop)))
        except Exception as error:  # whatever the original raises is its refusal
            if stop - start == 1:
                refused[start] = (refusal(error),)
            else:
                middle = (start + stop) // 2
                todo += [(start, middle), (middle, stop)]
            continue
        for name, array in answers.items():
            if name not in found:
                found[name] = room(array, n)
            elif found[name].dtype != array.dtype:
                import numpy as np

                found[name] = found[name].astype(np.result_type(found[name].dtype, array.dtype))
            found[name][start:stop] = array
    return outcome(original, found, refused, n)


def single(original: Original, inputs: Batch) -> Outcome:
    """The original's answers asked strictly one row at a time."""
    n = rows(inputs)
    found: dict[str, NDArray[Any]] = {}
    refused: dict[int, tuple[Refusal, ...]] = {}
    for row in range(n):
        try:
            answers = raw(original, take(inputs, slice(row, row + 1)))
        except Exception as error:  # whatever the original raises is its refusal
            refused[row] = (refusal(error),)
            continue
        for name, array in answers.items():
            # a slice, since a single item of a text array would be a numpy.str_
            found.setdefault(name, room(array, n))[row : row + 1] = array
    return outcome(original, found, refused, n)


def refusal(error: Exception) -> Refusal:
    """The original's exception as a refusal of the whole row."""
    text = str(error).strip().splitlines()
    return Refusal("", "a row that the model answers", f"{type(error).__name__}: {text[0] if text else ''}"[:200])


def room(array: NDArray[Any], n: int) -> NDArray[Any]:
    """An empty array for n rows like those of `array`; text as objects."""
    import numpy as np

    dtype = object if array.dtype.kind in "OUS" else array.dtype
    return np.zeros((n, *array.shape[1:]), dtype)


def outcome(
    original: Original, found: Mapping[str, NDArray[Any]], refused: dict[int, tuple[Refusal, ...]], n: int
) -> Outcome:
    """Arrays as an Outcome in the signature's dtypes."""
    import numpy as np

    if not found:
        outputs = original.signature.outputs
        return Outcome(blank(original.signature, n) if outputs else {}, dict(sorted(refused.items())))
    valid = None
    if refused:
        valid = np.ones(n, bool)
        valid[list(refused)] = False
    fields = {f.name: f for f in original.signature.outputs}
    columns = {}
    for name, array in found.items():
        field = fields.get(name)
        if field is not None and field.dtype != "string" and array.dtype != object:
            array = array.astype(field.dtype)
        columns[name] = Column(array, valid)
    return Outcome(columns, dict(sorted(refused.items())))
