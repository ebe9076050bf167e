"""Inside SQL Server's Python: the rows of InputDataSet in, the keys and answers of each of them out.

NULL comes as None or as NaN, by the server's version and the column's type; so texts have a mark before them, and
whole numbers, which would come as floats, are texts (learn.microsoft.com/sql/machine-learning/python:
python-libraries-and-data-types). What goes out is floats and texts only, of which NaN and None are NULL.
"""

from typing import Any

LARGEST = 1.7976931348623157e308  # stands for an infinity, which SQL Server has not


def fail(what: str, hint: str) -> None:
    """The error that the caller of the procedure sees."""
    raise RuntimeError(f"{what}; {hint}")


def values(column: list[Any], kind: str) -> list[Any]:
    """A column of InputDataSet as Python's own values, None where it is missing."""
    if kind == "text":
        return [v[1:] if isinstance(v, str) else None for v in column]
    if kind == "whole":
        return [int(v) if isinstance(v, str) else None for v in column]
    found = [None if v is None or v != v else float(v) for v in column]
    return [v if v is None or abs(v) < LARGEST else v * 2 for v in found]


def floats(cells: list[Any]) -> list[float]:
    """Answers as float64. ValueError for a whole number that a float does not hold."""
    made = []
    for cell in cells:
        value = float("nan") if cell is None else float(cell)
        if isinstance(cell, int) and value != cell:
            raise ValueError(f"the answer {cell} is beyond what SQL Server's Python passes on exactly")
        made.append(min(max(value, -LARGEST), LARGEST) if value == value else value)
    return made


def answered(
    opened: Any, given: Any, model: bytes, digest: str, table: str, kinds: list[str], keys: int, texts: list[bool]
) -> Any:
    """OutputDataSet: a column for each key, each answer and the refusal, named by their places. `kinds`: of the columns
    c0, c1 …; `keys`: how many k0, k1 … there are; `texts`: which answers are texts."""
    import sys

    import pandas

    held = sys.__dict__.setdefault("anyport_models", {})  # outlives this script where its process does
    answering = opened(held, digest, lambda: model, fail, table, "")
    columns = [values(given[f"c{i}"].tolist(), kind) for i, kind in enumerate(kinds)]
    rows = answering(columns, None) if len(given) else []
    made = {}
    for i in range(keys):
        cells = [v if isinstance(v, str) else None for v in given[f"k{i}"].tolist()]
        made[f"k{i}"] = pandas.Series(cells, dtype=object)
    for i, text in enumerate(texts):
        cells = [row[i] for row in rows]
        # pandas 3 would else take texts for its own type, in which None is NaN
        made[f"a{i}"] = pandas.Series(cells, dtype=object) if text else pandas.Series(floats(cells), dtype="float64")
    return pandas.DataFrame(made)
