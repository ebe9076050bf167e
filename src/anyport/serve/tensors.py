"""Tensors of the Open Inference Protocol v2: their datatypes, and how JSON, raw bytes and protobuf lists hold them.

Sources: kserve/open-inference-protocol, specification/protocol/inference_rest.md and open_inference_grpc.proto; raw
bytes: triton-inference-server/server, docs/protocol/extension_binary_data.md.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from anyport import codec
from anyport.errors import Mistake

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DTYPES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8", "BF16": "<f4", "BYTES": "O",
}  # fmt: skip
"""Datatype → dtype of `Tensor.values`. numpy has no bfloat16; every one of them is a float32."""
CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
"""Datatype → the field of InferTensorContents that holds it; 16-bit floats have none."""
AXES = 8
"""Most axes of a tensor."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named tensor. `values` has the tensor's shape and the dtype that DTYPES gives; elements of BYTES are str
    or bytes. `valid` has the same shape and is False where an element is missing (None: nowhere); a missing float is
    NaN instead."""

    name: str
    datatype: str
    values: NDArray[Any]
    valid: NDArray[np.bool_] | None = None


def counted(name: str, datatype: str, shape: Sequence[int]) -> int:
    """How many elements a tensor of this shape has. Mistake where datatype or shape are none."""
    if datatype not in DTYPES:
        raise Mistake(f"input {name!r}: there is no datatype {datatype!r}", fix=f"datatypes: {', '.join(DTYPES)}")
    if not 1 <= len(shape) <= AXES or min(shape) < 0:
        raise Mistake(f"input {name!r}: expected the shape of a batch, [rows] or [rows, …], got {list(shape)}")
    count = math.prod(shape)
    if shape[0] and not count:
        # a few bytes could ask for any number of such rows
        raise Mistake(f"input {name!r}: the rows of shape {list(shape)} have no elements")
    return count


def from_json(name: str, datatype: str, shape: Sequence[int], data: Any) -> Tensor:
    """A tensor from a JSON value: its elements in row-major order, flat or nested as its shape. null is missing,
    infinities are "Infinity" and "-Infinity". Mistake naming the element that is not of the datatype."""
    count = counted(name, datatype, shape)
    leaves, found = codec.flatten(data)
    if leaves is None or len(leaves) != count or (len(found) > 1 and list(found) != list(shape)):
        got = codec.shown(data) if leaves is None else f"{len(leaves)} nested as {list(found)}"
        raise Mistake(f"input {name!r}: expected {count} elements, flat or nested as {list(shape)}, got {got}")
    return from_list(name, datatype, shape, leaves)


def from_list(name: str, datatype: str, shape: Sequence[int], leaves: list[Any]) -> Tensor:
    """A tensor from its elements in row-major order, None where missing. Mistake naming a wrong one."""
    import numpy as np

    count = counted(name, datatype, shape)
    if len(leaves) != count:
        raise Mistake(f"input {name!r}: shape {list(shape)} has {count} elements, got {len(leaves)}")
    dtype = np.dtype(DTYPES[datatype])
    kinds = set(map(type, leaves))
    gone = NoneType in kinds
    valid = np.array([leaf is not None for leaf in leaves], bool) if gone else None
    if kinds - {NoneType} - TYPES[dtype.kind]:
        bad = next(i for i, leaf in enumerate(leaves) if leaf is not None and type(leaf) not in TYPES[dtype.kind])
        raise wrong(name, datatype, bad, leaves[bad])
    if dtype.kind == "O":
        values = np.empty(count, object)
        values[:] = leaves
    elif dtype.kind == "f":
        values, valid = floats(name, datatype, leaves), None
    else:
        filled = [0 if leaf is None else leaf for leaf in leaves] if gone else leaves
        if dtype.kind in "iu" and filled:
            limits = np.iinfo(dtype)
            for extreme in (min(filled), max(filled)):
                if not limits.min <= extreme <= limits.max:
                    raise wrong(name, datatype, filled.index(extreme), extreme)
        values = np.array(filled, dtype)
    return Tensor(name, datatype, values.reshape(shape), None if valid is None else valid.reshape(shape))


def floats(name: str, datatype: str, leaves: list[Any]) -> NDArray[Any]:
    """Numbers of a float datatype, NaN where missing. Mistake for one that the datatype cannot hold."""
    import numpy as np

    made = [math.nan if leaf is None else codec.INFINITE.get(leaf, leaf) for leaf in leaves]
    for i, leaf in enumerate(made):
        if isinstance(leaf, str | codec.Beyond) or (type(leaf) is int and abs(leaf) >= 1 << 1023):
            raise wrong(name, datatype, i, leaf)
    exact = np.array(made, np.float64)
    with np.errstate(over="ignore"):
        values = exact.astype(DTYPES[datatype])
    lost = np.isinf(values) & ~np.isinf(exact)
    if lost.any():
        raise wrong(name, datatype, int(lost.argmax()), leaves[int(lost.argmax())])
    return cut(values) if datatype == "BF16" else values


def cut(values: NDArray[Any]) -> NDArray[Any]:
    """float32 rounded towards zero to what a bfloat16 holds."""
    import numpy as np

    made: NDArray[Any] = (np.ascontiguousarray(values, "<f4").view("<u4") & 0xFFFF0000).view("<f4")
    return made


def wrong(name: str, datatype: str, at: int, value: Any) -> Mistake:
    """What to say of an element that is not of its tensor's datatype."""
    shown = repr(value)[: codec.SHOWN] if isinstance(value, bytes) else codec.shown(value)
    return Mistake(f"input {name!r}: element {at} is {shown}, which is no {datatype}")


NoneType = type(None)
TYPES: dict[str, set[type]] = {
    "b": {bool}, "i": {int}, "u": {int}, "f": {float, int, str, codec.Beyond}, "O": {str, bytes},
}  # fmt: skip
"""Kind of `values` → types of the elements it is made from. A str among floats is an infinity or wrong."""


def from_raw(name: str, datatype: str, shape: Sequence[int], data: bytes | memoryview) -> Tensor:
    """A tensor from its bytes: little-endian, row-major, nothing between the elements; a BOOL is one byte, 0 or 1,
    an element of BYTES its length as uint32 and then itself. Mistake where the bytes are not just these."""
    import numpy as np

    count = counted(name, datatype, shape)
    if datatype == "BYTES":
        found = texts(name, count, data)  # before anything of that size is made
        values = np.empty(count, object)
        values[:] = found
        return Tensor(name, datatype, values.reshape(shape))
    size = 2 if datatype == "BF16" else np.dtype(DTYPES[datatype]).itemsize
    if len(data) != count * size:
        what = f"input {name!r}: {datatype} of shape {list(shape)} is {count * size} bytes, got {len(data)}"
        raise Mistake(what, fix="binary_data_size and the bytes themselves must be of the shape")
    if datatype == "BF16":
        values = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    elif datatype == "BOOL":
        octets = np.frombuffer(data, np.uint8)
        if (octets > 1).any():
            at = int((octets > 1).argmax())
            raise Mistake(f"input {name!r}: element {at} is the byte {octets[at]}, which is no BOOL (0 or 1)")
        values = octets.view(bool)
    else:
        values = np.frombuffer(data, DTYPES[datatype])
    return Tensor(name, datatype, values.reshape(shape))


def texts(name: str, count: int, data: bytes | memoryview) -> list[bytes]:
    """The elements of a BYTES tensor. Mistake unless there are just so many."""
    data = bytes(data)
    if count * 4 > len(data):
        raise Mistake(f"input {name!r}: {count} elements of BYTES are at least {count * 4} bytes, got {len(data)}")
    found, at, read = [], 0, struct.Struct("<I").unpack_from
    for number in range(count):
        start = at + 4
        if start > len(data):
            raise Mistake(f"input {name!r}: the bytes end before element {number} of {count}")
        at = start + read(data, at)[0]
        if at > len(data):
            what = f"input {name!r}: element {number} is {at - start} bytes long, only {len(data) - start} are left"
            raise Mistake(what, fix="each element is its length as a little-endian uint32, then its bytes")
        found.append(data[start:at])
    if at != len(data):
        raise Mistake(f"input {name!r}: {len(data) - at} bytes are left after {count} elements")
    return found


def marked(tensor: Tensor, text: str) -> Tensor:
    """The tensor with every element that is this text missing; only BYTES has any."""
    import numpy as np

    if tensor.datatype != "BYTES":
        return tensor
    raw = text.encode()
    valid = np.array([v is not None and v not in (text, raw) for v in tensor.values.ravel().tolist()], bool)
    return replace(tensor, valid=valid.reshape(tensor.values.shape))


def to_json(tensor: Tensor) -> list[Any]:
    """The elements in row-major order, JSON-ready: null where missing or NaN, infinities as text."""
    import numpy as np

    flat = tensor.values.ravel()
    listed: list[Any] = flat.tolist()
    if flat.dtype.kind == "f" and not np.isfinite(flat).all():
        listed = codec.finite(listed)
    elif flat.dtype.kind == "O":
        listed = [cell.decode() if isinstance(cell, bytes) else cell for cell in listed]
    if tensor.valid is not None:
        listed = [cell if ok else None for cell, ok in zip(listed, tensor.valid.ravel().tolist(), strict=True)]
    return listed


def to_list(tensor: Tensor) -> list[Any]:
    """The elements in row-major order as InferTensorContents has them. Mistake where one is missing."""
    listed: list[Any] = whole(tensor).values.ravel().tolist()
    if tensor.datatype == "BYTES":
        listed = [cell.encode() if isinstance(cell, str) else cell for cell in listed]
    return listed


def to_raw(tensor: Tensor) -> bytes:
    """The tensor's bytes, as `from_raw` reads them. Mistake where an element is missing."""
    if tensor.datatype == "BYTES":
        return b"".join(struct.pack("<I", len(cell)) + cell for cell in to_list(tensor))
    values = whole(tensor).values
    if tensor.datatype == "BF16":
        return (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return values.astype(DTYPES[tensor.datatype]).tobytes()


def whole(tensor: Tensor) -> Tensor:
    """The tensor itself. Mistake where an element is missing, which only JSON can say of anything but a float."""
    if tensor.valid is not None and not tensor.valid.all():
        raise Mistake(
            f"output {tensor.name!r} has missing values, which no {tensor.datatype} can say", fix="ask for JSON"
        )
    return tensor
