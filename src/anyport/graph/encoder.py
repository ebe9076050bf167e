"""The encoder: raw columns → one tensor, as declarative data that numpy, HTTP, ONNX, SQL and C interpret alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

Level = str | int | float | bool


class Impute(msgspec.Struct, frozen=True, tag="impute"):
    """A missing value becomes `value`."""

    value: float


class Subtract(msgspec.Struct, frozen=True, tag="subtract"):
    """x - value, in double."""

    value: float


class Divide(msgspec.Struct, frozen=True, tag="divide"):
    """x / value, in double."""

    value: float


class Multiply(msgspec.Struct, frozen=True, tag="multiply"):
    """x * value, in double."""

    value: float


class Add(msgspec.Struct, frozen=True, tag="add"):
    """x + value, in double."""

    value: float


class Clip(msgspec.Struct, frozen=True, tag="clip"):
    """min(max(x, low), high); NaN stays NaN."""

    low: float
    high: float


class Float32(msgspec.Struct, frozen=True, tag="float32"):
    """Rounds x to the nearest float32, as scikit-learn's trees do before they compare."""


Step = Impute | Subtract | Divide | Multiply | Add | Clip | Float32


class Number(msgspec.Struct, frozen=True, tag="number"):
    """A number (bool, int, float; missing is NaN) through `steps`, in double, into one slot."""

    column: str
    slot: int
    steps: tuple[Step, ...] = ()


class Lookup(msgspec.Struct, frozen=True, tag="lookup", omit_defaults=True):
    """A value looked up in `levels`, into slots `slot` … `slot + width - 1`.

    One-hot, ordinal, target and count encodings, and whatever per-column arithmetic follows them, are all
    this. `table[i]` is what level i becomes; None is the identity (one-hot, width == len(levels)).
    `unknown` and `missing` are what a value outside `levels` and a missing value become; None: the row
    is refused (and the signature's Field says so too).
    """

    column: str
    slot: int
    width: int
    levels: tuple[Level, ...]
    table: tuple[tuple[float, ...], ...] | None = None
    unknown: tuple[float, ...] | None = None
    missing: tuple[float, ...] | None = None


class Indicator(msgspec.Struct, frozen=True, tag="indicator"):
    """`yes` where the column is missing, else `no`."""

    column: str
    slot: int
    yes: float = 1.0
    no: float = 0.0


class Bins(msgspec.Struct, frozen=True, tag="bins", omit_defaults=True):
    """A number through `steps`, then its bin: i = how many `edges` are <= x; then `table[i]` into the slots.

    `edges` ascend; `table` has len(edges) + 1 rows. `missing` is what NaN becomes (None: refused).
    """

    column: str
    slot: int
    width: int
    edges: tuple[float, ...]
    table: tuple[tuple[float, ...], ...]
    steps: tuple[Step, ...] = ()
    missing: tuple[float, ...] | None = None


class Text(msgspec.Struct, frozen=True, tag="text", omit_defaults=True):
    """A document's term counts (scikit-learn's CountVectorizer), into slots `slot` … + len(vocabulary) - 1."""

    column: str
    slot: int
    vocabulary: tuple[str, ...]
    """Terms in slot order."""
    analyzer: Literal["word", "char", "char_wb"] = "word"
    pattern: str = r"(?u)\b\w\w+\b"
    lowercase: bool = True
    accents: Literal["ascii", "unicode"] | None = None
    ngrams: tuple[int, int] = (1, 1)
    stop: tuple[str, ...] = ()
    binary: bool = False


Entry = Number | Lookup | Indicator | Bins | Text


class Encoder(msgspec.Struct, frozen=True, kw_only=True):
    """All entries, and the tensor [rows, width] that they fill. Slots that no entry fills are 0."""

    tensor: Literal["float32", "float64"]
    width: int
    entries: tuple[Entry, ...]


NUMBERS = {"value", "low", "high", "yes", "no", "table", "unknown", "missing", "edges"}
"""Keys that hold numbers only, so that a text there is one that JSON lacks."""
LACKING = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def write(encoder: Encoder) -> bytes:
    """encoder.json: NaN and infinities, which JSON lacks, are the texts "NaN", "Infinity", "-Infinity"."""

    def plain(value: Any) -> Any:
        if isinstance(value, float) and value - value != 0:
            return "NaN" if value != value else ("Infinity" if value > 0 else "-Infinity")
        return [plain(v) for v in value] if isinstance(value, tuple | list) else value

    return msgspec.json.encode(_mapped(msgspec.to_builtins(encoder), plain))


def read(data: bytes) -> Encoder:
    """The encoder that `write` wrote; msgspec.DecodeError for anything else."""
    if not any(f'"{text}"'.encode() in data for text in LACKING):
        return msgspec.json.decode(data, type=Encoder)

    def number(value: Any) -> Any:
        return [number(v) for v in value] if isinstance(value, list) else LACKING.get(value, value)

    return msgspec.convert(_mapped(msgspec.json.decode(data), number), Encoder)


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Plain data with `change` applied to whatever stands under a key of NUMBERS."""
    if isinstance(value, dict):
        return {k: change(v) if k in NUMBERS else _mapped(v, change) for k, v in value.items()}
    return [_mapped(v, change) for v in value] if isinstance(value, tuple | list) else value
