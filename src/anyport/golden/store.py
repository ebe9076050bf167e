"""golden.npz: golden rows with numpy only, no pickle; text as one UTF-8 block with offsets."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from anyport.batch import Batch, Column, Outcome, Refusal
from anyport.errors import BadBundle
from anyport.golden.rows import Golden
from anyport.signature import Field, Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray


def write(golden: Golden, signature: Signature, path: Path) -> None:
    """Write golden rows. Same rows, same bytes (numpy's zip members carry no clock)."""
    import numpy as np

    arrays: dict[str, NDArray[Any]] = {}
    # by number: a column's name may hold anything, a zip member's may not
    for i, field in enumerate(signature.inputs):
        put(arrays, f"in{i}", golden.inputs[field.name], field)
    for i, field in enumerate(signature.outputs):
        put(arrays, f"out{i}", golden.outcome.outputs[field.name], field)
    refused = {
        str(row): [[r.column, r.expected, r.got] for r in reasons] for row, reasons in golden.outcome.refused.items()
    }
    facts = {
        "why": list(golden.why), "noise": golden.noise, "excluded": list(golden.excluded),
        "unexplained": golden.unexplained,
        "refused": refused,
    }  # fmt: skip
    arrays["facts"] = np.frombuffer(msgspec.json.encode(facts, order="deterministic"), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    path.write_bytes(buffer.getvalue())


def put(arrays: dict[str, NDArray[Any]], key: str, column: Column, field: Field) -> None:
    """One column as plain arrays."""
    import numpy as np

    plain = column.plain()
    if field.is_text:
        text = [b"" if v is None else msgspec.json.encode(v) for v in plain.values.ravel().tolist()]
        arrays[key + "/text"] = np.frombuffer(b"".join(text), np.uint8)
        arrays[key + "/ends"] = np.cumsum([len(t) for t in text], dtype=np.int64)
        arrays[key + "/shape"] = np.array(plain.values.shape, np.int64)
    elif field.dtype == "datetime":
        arrays[key] = plain.values.astype("datetime64[us]").astype(np.int64)
    else:
        arrays[key] = plain.values
    if plain.valid is not None:
        arrays[key + "/valid"] = plain.valid


def get(arrays: Any, key: str, field: Field) -> Column:
    """The inverse of `put`."""
    import numpy as np

    valid = arrays.get(key + "/valid")
    if field.is_text:
        data, ends = arrays[key + "/text"].tobytes(), arrays[key + "/ends"].tolist()
        values = np.empty(len(ends), object)
        start = 0
        for i, end in enumerate(ends):
            values[i] = msgspec.json.decode(data[start:end]) if end > start else None
            start = end
        return Column(values.reshape(arrays[key + "/shape"]), valid)
    values = arrays[key]
    return Column(values.astype("datetime64[us]") if field.dtype == "datetime" else values, valid)


def read(path: Path, signature: Signature) -> Golden:
    """Read golden rows; BadBundle when the file does not hold the signature's columns."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        facts = msgspec.json.decode(arrays["facts"].tobytes())
        inputs: Batch = {f.name: get(arrays, f"in{i}", f) for i, f in enumerate(signature.inputs)}
        outputs: Batch = {f.name: get(arrays, f"out{i}", f) for i, f in enumerate(signature.outputs)}
    except (KeyError, ValueError, OSError, msgspec.DecodeError) as error:
        raise BadBundle(f"{path} does not hold this bundle's golden rows: {error}") from error
    refused = {int(row): tuple(Refusal(*r) for r in rs) for row, rs in facts["refused"].items()}
    return Golden(
        inputs,
        Outcome(outputs, refused),
        tuple(facts["why"]),
        facts["noise"],
        tuple(facts["excluded"]),
        facts["unexplained"],
    )
