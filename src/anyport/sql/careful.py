"""Columns where an overflow is an error: kept from it, or told apart from those that need care."""

from __future__ import annotations

from collections.abc import Mapping

from anyport.sql.dialect import Dialect
from anyport.sql.size import TINY, Limits


def number(d: Dialect, x: str, known: Mapping[str, int]) -> str:
    """The number of a text; NULL where it is none of those that the model knows."""
    compared = d.binary.format(x)
    return f"case {' '.join(f'when {compared} = {d.literal(k)} then {i}' for k, i in known.items())} end"


def outside(d: Dialect, x: str, limit: float, near: float) -> str:
    """Whether a column is so large, or so near to zero, that arithmetic with it may fail."""
    if limit == 0.0 or near == float("inf"):
        return f"{x} is not null"
    return f"abs({x}) > {d.double(limit)} or ({x} <> 0 and abs({x}) < {d.double(near)})"


def within(d: Dialect, x: str, limit: float) -> str:
    """A column as arithmetic takes it where an overflow is an error: beyond `limit` it is infinite (or `limit`, where
    there is no infinity), and nearer to zero than TINY it is TINY."""
    most = d.double(limit)
    up, down = (d.double(float("inf")), d.double(float("-inf"))) if d.infinity else (most, f"-{most}")
    tiny = d.double(TINY)
    near = f"when {x} > 0 and {x} < {tiny} then {tiny} when {x} < 0 and {x} > -{tiny} then -{tiny}"
    return f"case when {x} > {most} then {up} when {x} < -{most} then {down} {near} else {x} end"


def lonely(d: Dialect, x: str, most: Limits, name: str) -> str:
    """A column that may be larger where no other one is large."""
    joint, own = d.double(most.joint), most.alone[name]
    lost = f"when large < 2 and abs({x}) > {d.double(own)} then {d.branch(float('nan'))} " if name in most.gone else ""
    far = f"when large < 2 and abs({x}) > {joint} then {within(d, x, own)}"
    return f"case {lost}{far} else {within(d, x, most.joint)} end"
