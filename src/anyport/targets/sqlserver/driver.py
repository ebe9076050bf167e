"""Plays SQL Server's external host in a process of its own: runs a script over rows by the documented contract.

The contract is that of Microsoft's own Python extension (github.com/microsoft/sql-server-language-extensions,
language-extensions/python/src/PythonDataSet.cpp, read 2026-11): a column without NULL is an array of its type, one with
NULL an object array with None; parameters are globals; of OutputDataSet each column must be float64, or texts and None.
"""

from __future__ import annotations

import contextlib
import math
import sys
import traceback
from typing import Any, BinaryIO

import msgspec

ARRAYS = {"float": "float64", "nvarchar": "object"}
"""SQL type of a column → dtype without NULL."""


def given(columns: dict[str, tuple[str, list[Any]]]) -> Any:
    """InputDataSet."""
    import numpy as np
    import pandas as pd

    made = {}
    for name, (kind, cells) in columns.items():
        dtype = "object" if any(c is None for c in cells) else ARRAYS[kind]
        array = np.empty(len(cells), dtype)
        array[:] = cells
        made[name] = array
    return pd.DataFrame(made, copy=False)


def taken(frame: Any) -> list[list[Any]]:
    """The columns of OutputDataSet, as SQL Server gets them. TypeError for what it would not take."""
    import numpy as np

    columns = []
    for name in frame.columns:
        array = np.array(frame[name])
        cells = array.tolist()
        if array.dtype == "float64":
            columns.append([c if math.isfinite(c) else None for c in cells])
        elif array.dtype == "object" and all(c is None or isinstance(c, str) for c in cells):
            columns.append(cells)
        else:
            raise TypeError(f"column {name} of OutputDataSet is {array.dtype}: neither floats nor texts")
    return columns


def main(source: BinaryIO, sink: BinaryIO) -> None:
    """One answer for each request: {"script", "model", "columns"} first, then {"columns"} alone."""
    import pandas as pd

    space: dict[str, Any] = {"__name__": "__main__"}
    script: Any = None
    while size := source.read(8):
        asked = msgspec.msgpack.decode(source.read(int.from_bytes(size, "big")))
        if "script" in asked:
            script, space["anyport_model"] = compile(asked["script"], "<script>", "exec"), asked["model"]
        space |= {"InputDataSet": given(asked["columns"]), "OutputDataSet": pd.DataFrame()}
        try:
            with contextlib.redirect_stdout(sys.stderr):
                exec(script, space)  # noqa: S102  # it is what sp_execute_external_script does
            answer: dict[str, Any] = {"columns": taken(space["OutputDataSet"])}
        except Exception as error:  # whatever the script raises is the statement's error
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        data = msgspec.msgpack.encode(answer)
        sink.write(len(data).to_bytes(8, "big") + data)
        sink.flush()


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
