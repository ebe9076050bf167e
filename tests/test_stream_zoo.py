"""Files of real models: what `predict_file` writes is what the original answers, from whatever format it read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import packed
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import zoo

from anyport.arrow_out import flat_names
from anyport.bundle import read
from anyport.predictor import of
from anyport.signature import Signature
from anyport.stream import predict_file

NAMES = (
    "penguin_species", "boosted_categories", "zero_padded_ids", "nullable_columns", "odd_names", "documents", "times",
    "double_thresholds", "two_answers", "several_numbers", "components", "bool_labels", "wide",
)  # fmt: skip


def table(rows: Any, signature: Signature) -> Any:
    """Rows of any container as an Arrow table with the signature's names."""
    names = [f.name for f in signature.inputs]
    if not isinstance(rows, pd.DataFrame):
        array = np.asarray(rows, dtype=object if isinstance(rows[0], str) else None)
        rows = pd.DataFrame(array.reshape(len(array), -1), columns=names)
    return pa.Table.from_pandas(rows[names], preserve_index=False).replace_schema_metadata(None)


def put(rows: Any, path: Path) -> Path:
    """A table as Parquet, CSV or JSON Lines."""
    if path.suffix == ".parquet":
        pq.write_table(rows, path)
    elif path.suffix == ".csv":
        plain = [c.combine_chunks().dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in rows.columns]
        pyarrow.csv.write_csv(pa.table(plain, names=rows.column_names), path)
    else:
        words = {math.inf: "Infinity", -math.inf: "-Infinity"}
        lines = [{k: words.get(v, v) if isinstance(v, float) else v for k, v in r.items()} for r in rows.to_pylist()]
        path.write_bytes(msgspec.json.Encoder().encode_lines(lines))
    return path


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_answered_as_the_original_answers(name: str, shelf: packed.Shelf, tmp_path: Path) -> None:
    made = zoo.load()[name].make()
    bundle = read(shelf.bundle(name))
    rows = table(made.fresh, bundle.signature)
    wanted = zoo.answers(made, made.fresh)
    for suffix in (".parquet", ".csv", ".jsonl"):
        source = put(rows, tmp_path / f"in{suffix}")
        out = tmp_path / "out.parquet"
        summary = predict_file(of(bundle), source, out, signature=bundle.signature, batch_rows=37, workers=2)
        assert (summary.rows, summary.rejected) == (len(rows), 0)
        got = pq.read_table(out)
        for field in bundle.signature.outputs:
            columns = [got[n].to_pylist() for n in flat_names(field)]
            want = np.asarray(wanted[field.name]).reshape(len(rows), -1)
            answered = np.array(columns, dtype=want.dtype if want.dtype.kind in "fiub" else object).T
            if want.dtype.kind == "f":
                tolerance = bundle.manifest.tolerance
                np.testing.assert_allclose(answered, want, rtol=tolerance.rtol, atol=tolerance.atol, err_msg=field.name)
            else:
                np.testing.assert_array_equal(answered, want.astype(answered.dtype), err_msg=field.name)
