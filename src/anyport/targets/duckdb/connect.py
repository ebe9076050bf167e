"""Put the model beside this file onto a DuckDB connection: import connect; connect.register(connection)

Needs what requirements.txt pins, and nothing else. `python connect.py YOUR.duckdb "from NAME_predict('table')"` asks a
database and prints the answers as CSV.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
if "anyport" not in sys.modules:
    sys.path.insert(0, str(HERE / "runtime"))

TYPES = {"f": "DOUBLE", "i": "BIGINT", "u": "BIGINT", "b": "BOOLEAN", "s": "VARCHAR", "c": "VARCHAR", "d": "BIGINT"}
"""Of columns, by the first letter of their dtype; times are microseconds."""


def register(connection: Any, *, macros: bool = True) -> None:
    """Create the function that answers, and the macros that ask it. Once for each connection that is opened; its
    cursors share it. `macros=False`: the function alone."""
    import pyarrow as pa

    from anyport.arrow_out import schema, to_arrow
    from anyport.bundle import read
    from anyport.predictor import of

    bundle = read(HERE / "bundle")
    inputs, outputs = bundle.signature.inputs, bundle.signature.outputs
    predictor = of(bundle)
    answers = pa.schema([*widened(schema(outputs)), pa.field("refusal", pa.string())])

    def answer(*columns: Any) -> Any:
        outcome = predictor.predict(batch(inputs, [whole(c) for c in columns]))
        made = to_arrow(outcome, outputs)
        arrays = [a.cast(field.type) for a, field in zip(made.columns, answers, strict=False)]
        why: list[str | None] = [None] * made.num_rows
        for row, said in outcome.refused.items():
            why[row] = "; ".join(f"column {r.column!r}: expected {r.expected}, got {r.got}" for r in said[:1])
        return pa.StructArray.from_arrays([*arrays, pa.array(why, pa.string())], fields=list(answers))

    name = json.loads((HERE / "duckdb.json").read_text(encoding="utf-8"))["name"]
    kinds = [TYPES[f.dtype[0]] if f.dtype != "uint64" else "UBIGINT" for f in inputs for _ in range(f.width)]
    # DuckDB counts a function's parameters, and takes *columns for one
    named = [inspect.Parameter(f"c{i}", inspect.Parameter.POSITIONAL_ONLY) for i in range(len(kinds))]
    answer.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]
    connection.create_function(
        f"{name}_answer", answer, kinds, struct(connection, answers), type="arrow", null_handling="special"
    )
    if macros:
        connection.execute((HERE / "model.sql").read_text(encoding="utf-8"))


def widened(fields: Any) -> Any:
    """Answers in the types that DuckDB's macros show: whole numbers in 64 bits, others double."""
    import pyarrow as pa

    for field in fields:
        kind = field.type
        if pa.types.is_integer(kind):
            kind = pa.int64()
        yield pa.field(field.name, pa.float64() if pa.types.is_floating(kind) else kind)


def struct(connection: Any, fields: Any) -> Any:
    """DuckDB's type of an answer."""
    names = {"int64": "BIGINT", "double": "DOUBLE", "bool": "BOOLEAN", "string": "VARCHAR"}
    return connection.struct_type({f.name: names[str(f.type)] for f in fields})


def whole(column: Any) -> Any:
    """One Arrow array."""
    import pyarrow as pa

    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def batch(fields: Any, columns: Any) -> dict[str, Any]:
    """Arrow arrays as the batch that a predictor takes; a tensor's are put together."""
    import numpy as np

    from anyport.arrow import split, to_column
    from anyport.batch import Column

    found: dict[str, Any] = {}
    at = 0
    for field in fields:
        part = columns[at : at + field.width]
        at += field.width
        if field.shape:
            pairs = map(split, part)
            flat = [values if valid is None else np.where(valid, values, np.nan) for valid, values in pairs]
            shaped = np.stack(flat, axis=1).reshape(len(flat[0]), *field.shape)
            found[field.name] = Column(shaped.astype(field.dtype))
        elif field.dtype == "datetime":
            valid, values = split(part[0])
            times = values.astype("datetime64[us]")
            found[field.name] = Column(times if valid is None else np.where(valid, times, np.datetime64("NaT", "us")))
        else:
            found[field.name] = to_column(part[0], field, {})
    return found


if __name__ == "__main__":
    import duckdb

    with duckdb.connect(sys.argv[1]) as database:
        register(database)
        database.sql(sys.argv[2]).write_csv("/dev/stdout")
