"""engine=onnx without BigQuery: the shipped query, ML.PREDICT in it done by ONNX Runtime, all else by DuckDB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anyport.errors import BadBundle, BadData, Impossible, need
from anyport.kit.dated import IR, OPSETS
from anyport.kit.standin import stand_ins, transpiled
from anyport.kit.view import View, ViewPredictor
from anyport.ort import runtime
from anyport.ort import session as opened_graph
from anyport.signature import Signature
from anyport.sql.dialect import DUCKDB

PREDICTED = "anyport_predicted"
"""The table that stands for the result of ML.PREDICT."""
TYPES = {"tensor(double)": "FLOAT64", "tensor(float)": "FLOAT64", "tensor(int64)": "INT64", "tensor(bool)": "BOOL",
         "tensor(string)": "STRING"}  # fmt: skip
"""https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create-onnx: the types of columns."""


def parted(view: str) -> tuple[str, list[str], list[str]]:
    """The model that a statement asks, and for DuckDB the query of its rows and the statement over PREDICTED."""
    sqlglot = need("sqlglot")
    exp = sqlglot.exp
    try:
        tree = sqlglot.parse_one(view, read="bigquery", error_level=sqlglot.ErrorLevel.RAISE)
    except sqlglot.errors.SqlglotError as error:
        raise Impossible(f"sqlglot cannot read this GoogleSQL: {str(error)[:400]}") from error
    found = list(tree.find_all(exp.Predict))
    if len(found) != 1:
        raise BadBundle(f"up.sql asks ML.PREDICT {len(found)} times", fix="anyport build again")
    [asked] = found
    rows, model = asked.expression.unnest().sql(dialect="bigquery"), asked.this.sql(dialect="bigquery")
    if not isinstance(asked.parent, exp.Table) or asked.parent.db.lower() != "ml":
        raise BadBundle("up.sql asks PREDICT, but not that of ML", fix="anyport build again")
    asked.parent.replace(exp.to_table(PREDICTED))
    return model, transpiled(rows, "bigquery"), transpiled(tree.sql(dialect="bigquery"), "bigquery")


class Model:
    """model.onnx under ML.PREDICT's contract."""

    def __init__(self, file: Path) -> None:
        onnx = need("onnx")
        loaded = onnx.load(file)
        onnx.checker.check_model(loaded, full_check=True)
        newer = [o for o in loaded.opset_import if o.version > OPSETS.get(o.domain, 0)]
        if loaded.ir_version > IR or newer:
            raise Impossible(f"model.onnx is newer than ONNX Runtime 1.12: IR {loaded.ir_version}, {newer}")
        self.session = opened_graph(file, threads=1)
        self.inputs = {i.name: TYPES[i.type] for i in self.session.get_inputs()}
        self.outputs = self.session.get_outputs()

    def predict(self, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
        """The rows with the model's outputs beside them, as an arrow table. BadData where a row does not fit."""
        import numpy as np

        arrow = need("pyarrow")
        columns = dict(zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True))
        lacking = [name for name in self.inputs if name not in columns]
        if lacking or any(o.name in columns for o in self.outputs):
            raise BadData(f"ML.PREDICT: the query has not the columns {lacking}, or has one of the model's outputs")
        feed = {}
        for name, kind in self.inputs.items():
            if any(v is None for v in columns[name]):
                raise BadData(f"ML.PREDICT: the input {name} has a NULL")
            dtype: Any = {"FLOAT64": np.float64, "INT64": np.int64, "BOOL": bool, "STRING": object}[kind]
            feed[name] = np.array(columns[name], dtype).reshape(-1, 1)
        made = {name: arrow.array(list(cells)) for name, cells in columns.items()}
        found = self.session.run(None, feed) if rows else [None] * len(self.outputs)
        for out, array in zip(self.outputs, found, strict=True):
            types = {
                "FLOAT64": arrow.float64(),
                "INT64": arrow.int64(),
                "BOOL": arrow.bool_(),
                "STRING": arrow.string(),
            }
            element = types[TYPES[out.type]]
            if len(out.shape) > 2:
                raise BadData(f"ML.PREDICT: the output {out.name} has {len(out.shape)} axes")
            type_ = element if len(out.shape) == 1 else arrow.list_(element)
            made[out.name] = arrow.array([] if array is None else array.tolist(), type_)
        return arrow.table(made)


@contextmanager
def predicting(
    signature: Signature, view: View, dataset: str, statement: str, file: Path
) -> Iterator[tuple[ViewPredictor, str]]:
    """A predictor of `statement`, which makes the view; and ONNX Runtime's version."""
    _, [rows], [made] = parted(statement)
    model = Model(file)

    def up(session: Any) -> None:
        asked = session.raw.execute(rows)
        names = [d[0] for d in asked.description]
        session.raw.register("given", model.predict(names, asked.fetchall()))
        session.raw.execute(f"create or replace table {DUCKDB.ident(PREDICTED)} as select * from given")
        session.raw.unregister("given")
        session.raw.execute(made)

    with stand_ins(dataset) as opened:
        yield ViewPredictor(signature, view, opened, up), str(runtime().__version__)
