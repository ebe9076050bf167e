"""What opening a pickle would import and call, found by reading its opcodes and never by running them."""

from __future__ import annotations

import opcode
import pickletools
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import IO, Any, Literal

from anyport.errors import Mistake

Verdict = Literal["known", "unknown", "dangerous"]


@cache
def names() -> tuple[frozenset[str], tuple[str, ...], dict[str, str]]:
    """pickle_names.toml: (known names, prefixes of code that travels along, dangerous pattern → why)."""
    table = tomllib.loads(Path(__file__).with_name("pickle_names.toml").read_text(encoding="utf-8"))
    dangers = {pattern: why for why, patterns in table["dangerous"].items() for pattern in patterns}
    return frozenset(table["known"]), tuple(table["own_code"]), dangers


@dataclass(frozen=True, order=True)
class Import:
    """One name that a pickle asks for; `why` is said of the dangerous, and of those that carry code."""

    name: str
    verdict: Verdict
    why: str = ""

    @property
    def root(self) -> str:
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class Finding:
    """What a file would do when it is opened."""

    imports: tuple[Import, ...]
    """Sorted by name, each once."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions that the file itself states it was written with, by distribution."""
    modules: frozenset[str] = frozenset()
    """Modules that functions carried by value import when they run."""
    joblib: bool = False
    """Whether arrays lie between the opcodes, as joblib writes them."""

    def asking(self) -> tuple[Import, ...]:
        """The imports that need consent."""
        return tuple(i for i in self.imports if i.verdict != "known")

    def says(self) -> str:
        """The finding in lines, the dangerous first."""
        dangerous = [f"  DANGEROUS {i.name}: {i.why}" for i in self.imports if i.verdict == "dangerous"]
        roots: dict[str, list[Import]] = {}
        for i in self.imports:
            if i.verdict == "unknown":
                roots.setdefault(i.root, []).append(i)
        asked = []
        for root, found in sorted(roots.items()):
            why = next((f" ({i.why})" for i in found if i.why), "")
            asked.append(f"  {root}: {len(found)} name{'s' * (len(found) > 1)}, e.g. {found[0].name}{why}")
        known = sum(i.verdict == "known" for i in self.imports)
        return "\n".join([*dangerous, *asked, f"  {known} names that only build data"])


def judge(name: str) -> Import:
    """The verdict on one dotted name. Danger is decided first, and for whole modules below a name too."""
    known, own_code, dangers = names()
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        head = ".".join(parts[:end])
        for pattern, why in dangers.items():
            if head == pattern or ("*" in pattern and fnmatchcase(head, pattern)):
                return Import(name, "dangerous", why)
    if name in known:
        return Import(name, "known")
    carries = name.startswith(own_code)
    return Import(name, "unknown", "carries its own code, which can do anything" if carries else "")


def normal(module: str, name: str) -> str:
    """The dotted name as Python 3 resolves it: pickles of Python 2 say __builtin__ and copy_reg."""
    import _compat_pickle

    module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
    return f"{_compat_pickle.IMPORT_MAPPING.get(module, module)}.{name}"


def scan(file: IO[bytes]) -> Finding:
    """Read one whole pickle (also joblib's, already decompressed) from where the file stands to its end.

    Raises Mistake for what is no pickle, is cut short, cannot be resolved without running it, or goes on
    after its end.
    """
    found = _Found()
    _walk(file, found, depth=0)
    rest = file.read(1 << 20)
    if rest:
        second = _starts_pickle(rest)
        raise Mistake(
            "holds a second pickle after the first" if second else "goes on after the end of its pickle",
            fix="save the one model into a file of its own",
        )
    return Finding(tuple(sorted(map(judge, found.names))), found.versions, frozenset(found.modules), found.joblib)


def _starts_pickle(data: bytes) -> bool:
    return data[:1] == b"\x80" or data[:1] in b"(c]}"


class Unresolvable(Mistake):
    """A pickle that computes what it imports; only running it would tell."""


# The stand-ins for what an opcode would make. Nothing is ever called.
class _Mark: ...


@dataclass(eq=False)
class _Global:
    name: str


@dataclass(eq=False)
class _Made:
    """The result of a call, with what the call was given."""

    of: Any
    args: tuple[Any, ...]
    state: Any = None


@dataclass
class _Found:
    names: set[str] = field(default_factory=set)
    versions: dict[str, str] = field(default_factory=dict)
    modules: set[str] = field(default_factory=set)
    joblib: bool = False


LITERALS = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
})  # fmt: skip
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
KEPT = 4096
"""Longer strings and bytes name nothing; they are dropped, so that a scan needs little memory."""
DEEPEST = 8


def _walk(file: IO[bytes], found: _Found, *, depth: int) -> None:
    """One pickle, from its first opcode to STOP."""
    if depth > DEEPEST:
        raise Mistake("nests pickles in pickles without end")
    machine = _Machine(found)
    try:
        for op, arg, _ in pickletools.genops(file):
            machine.step(op.name, arg)
            if op.name == "BUILD" and _is_wrapper(machine.stack[-1]):
                found.joblib = True
                _skip_array(file, machine.stack[-1], found, depth=depth)
    except Mistake:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        raise Mistake(f"is not a pickle, or it is damaged: {error}") from error


class _Machine:
    """The pickle machine with stand-ins for values: stack, marks and memo as in pickle.py, nothing imported."""

    def __init__(self, found: _Found) -> None:
        self.found = found
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, op: str, arg: Any) -> None:
        stack = self.stack
        if op in LITERALS:
            stack.append(None if isinstance(arg, (str, bytes, bytearray)) and len(arg) > KEPT else arg)
        elif op in CONSTANTS:
            stack.append(CONSTANTS[op])
        elif op == "MARK":
            stack.append(_Mark)
        elif op in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[len(self.memo) if op == "MEMOIZE" else arg] = stack[-1]
        elif op in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[arg])
        elif op in ("GLOBAL", "INST"):
            if op == "INST":
                args = tuple(self._to_mark())
                stack.append(_Made(self._import(*arg.split(" ", 1)), args))
            else:
                stack.append(self._import(*arg.split(" ", 1)))
        elif op == "STACK_GLOBAL":
            name, module = stack.pop(), stack.pop()
            stack.append(self._import(module, name))
        elif op in ("EXT1", "EXT2", "EXT4"):
            raise Unresolvable(f"uses the extension code {arg}, whose meaning only the saving program knew")
        elif op in ("PERSID", "BINPERSID"):
            raise Mistake("refers to objects outside the file (persistent ids); only its own program opens it")
        elif op in ("NEXT_BUFFER", "READONLY_BUFFER"):
            raise Mistake("keeps its buffers outside the file (protocol 5, out of band)")
        elif op in ("REDUCE", "NEWOBJ"):
            args, of = stack.pop(), stack.pop()
            stack.append(self._call(of, args))
        elif op == "NEWOBJ_EX":
            _, args, of = stack.pop(), stack.pop(), stack.pop()
            stack.append(self._call(of, args))
        elif op == "OBJ":
            of, *rest = self._to_mark()
            stack.append(self._call(of, tuple(rest)))
        elif op == "BUILD":
            state = stack.pop()
            if isinstance(stack[-1], _Made):
                stack[-1].state = state
            self._versions(state)
        else:
            self._collect(op)

    def _collect(self, op: str) -> None:
        """Containers: only tuples and the string keys of dicts matter to anything above."""
        stack = self.stack
        if op.startswith("EMPTY_"):
            stack.append({"EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}.get(op, list)())
        elif op in ("TUPLE1", "TUPLE2", "TUPLE3"):
            size = int(op[-1])
            if len(stack) < size:
                raise IndexError("the stack is empty")
            stack[-size:] = [tuple(stack[-size:])]
        elif op == "TUPLE":
            stack.append(tuple(self._to_mark()))
        elif op in ("LIST", "FROZENSET"):
            self._to_mark()
            stack.append([])
        elif op == "DICT":
            made: dict[str, Any] = {}
            _fill(made, self._to_mark())
            stack.append(made)
        elif op in ("APPENDS", "ADDITEMS"):
            self._to_mark()
        elif op == "APPEND":
            stack.pop()
        elif op == "SETITEMS":
            items = self._to_mark()
            _fill(stack[-1], items)
        elif op == "SETITEM":
            value, key = stack.pop(), stack.pop()
            _fill(stack[-1], [key, value])
        elif op == "POP":
            stack.pop()
        elif op == "POP_MARK":
            self._to_mark()
        elif op == "DUP":
            stack.append(stack[-1])
        elif op == "STOP":
            stack.pop()
        elif op not in ("PROTO", "FRAME"):
            raise ValueError(f"opcode {op}")

    def _to_mark(self) -> list[Any]:
        items = []
        while (item := self.stack.pop()) is not _Mark:
            items.append(item)
        return items[::-1]

    def _import(self, module: Any, name: Any) -> _Global:
        if not isinstance(module, str) or not isinstance(name, str):
            raise Unresolvable("computes the name of what it imports, so nobody can say what it does before it runs")
        full = normal(module, name)
        self.found.names.add(full)
        return _Global(full)

    def _call(self, of: Any, args: Any) -> _Made:
        args = args if isinstance(args, tuple) else ()
        if isinstance(of, _Global):
            if of.name.endswith(".subimport") and args and isinstance(args[0], str):
                self.found.modules.add(args[0])
            if of.name == "builtins.getattr" and len(args) > 1 and isinstance(args[0], _Global):
                self._import(args[0].name, args[1])
        elif isinstance(of, _Made) and of.args == ("CodeType",):
            self.found.modules.update(_imported(args))
        return _Made(of, args)

    def _versions(self, state: Any) -> None:
        if isinstance(state, dict) and isinstance(state.get("_sklearn_version"), str):
            self.found.versions["scikit-learn"] = state["_sklearn_version"]


def _fill(target: Any, items: list[Any]) -> None:
    if isinstance(target, dict):
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, str):
                target[key] = value


def _imported(code: tuple[Any, ...]) -> Iterator[str]:
    """The modules that a code object's own IMPORT_NAME instructions name (two bytes an instruction)."""
    raw = next((a for a in code if isinstance(a, bytes)), b"")
    names = next((a for a in code[7:] if isinstance(a, tuple) and a and all(isinstance(n, str) for n in a)), ())
    extended = 0
    for at in range(0, len(raw) - 1, 2):
        argument = raw[at + 1] | extended << 8
        extended = argument if raw[at] == opcode.EXTENDED_ARG else 0
        if raw[at] == opcode.opmap["IMPORT_NAME"] and argument < len(names):
            yield names[argument]


def _is_wrapper(made: Any) -> bool:
    return isinstance(made, _Made) and isinstance(made.of, _Global) and made.of.name.endswith(".NumpyArrayWrapper")


def _skip_array(file: IO[bytes], wrapper: _Made, found: _Found, *, depth: int) -> None:
    """Step over the array that joblib wrote here; one of objects is another pickle, and is walked."""
    import numpy as np

    state = wrapper.state if isinstance(wrapper.state, dict) else {}
    made, shape = state.get("dtype"), state.get("shape")
    if not isinstance(made, _Made) or not isinstance(made.args[0], str) or not isinstance(shape, tuple):
        raise Mistake("is damaged: an array of joblib's without dtype or shape")
    has_objects = made.args[0].startswith("O")
    if isinstance(made.state, tuple) and len(made.state) > 7:
        has_objects = bool(made.state[7] & 1)  # numpy's NPY_ITEM_REFCOUNT
    if has_objects:
        _walk(file, found, depth=depth + 1)
        return
    if state.get("numpy_array_alignment_bytes") is not None:
        file.read(int.from_bytes(file.read(1), "little"))
    left = np.dtype(made.args[0]).itemsize
    for axis in shape:
        left *= int(axis.args[1]) if isinstance(axis, _Made) else axis
    while left > 0:
        data = file.read(min(left, 1 << 24))
        if not data:
            raise Mistake("is damaged: it ends inside an array")
        left -= len(data)
