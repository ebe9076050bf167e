"""Opening a pickle with nothing but what was consented to: every import is asked for, however it is disguised."""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Callable
from types import ModuleType
from typing import IO, Any, ClassVar

from anyport.errors import Mistake, Untrusted
from anyport.scan import Import, judge, normal

Permit = Callable[[Import], bool]


def unpickle(file: IO[bytes], permit: Permit | None, *, joblib: bool = False) -> Any:
    """The object of a pickle, or of a (decompressed) joblib file, whose arrays lie between the opcodes.

    `permit` None permits everything. Raises Untrusted for the first import that `permit` does not allow, else
    what the pickle itself raises.
    """
    return (_Joblib if joblib else _Plain)(file, permit).load()


def fetch(permit: Permit, module: str, name: str, found: Any) -> Any:
    """`found`, which was imported as module.name, if that name and the object's own home are both permitted.

    An innocent module may hold a dangerous object under a name of its own (`sklearn.utils.fixes` imports
    `os`), and protocol 4 walks dotted names; so the object is asked where it really comes from.
    """
    asked = normal(module, name)
    allow(permit, judge(asked))
    if asked == "builtins.getattr":
        return _guarded(permit)
    if isinstance(found, ModuleType):
        allow(permit, Import(found.__name__, "dangerous", "is a whole module"))
        return found
    home = getattr(found, "__module__", None)
    own = getattr(found, "__qualname__", None) or getattr(found, "__name__", None)
    if isinstance(home, str) and isinstance(own, str):
        real = judge(normal(home, own))
        # Below one consented root, names may be re-exported freely; danger is danger under any name.
        if real.name != asked and (real.verdict == "dangerous" or real.root != asked.partition(".")[0]):
            allow(permit, real)
    return found


def allow(permit: Permit, name: Import) -> None:
    """Raise Untrusted unless `name` is permitted."""
    if not permit(name):
        why = f", which {name.why}" if name.verdict == "dangerous" and name.why else ""
        raise Untrusted(f"it reaches for {name.name}{why}", fix=f"only if you trust its author: --trust {name.name}")


def _guarded(permit: Permit) -> Callable[..., Any]:
    """getattr as enum members and bound methods need it: no private names, no way round `permit`."""

    def getattr_of_a_pickle(obj: Any, name: str) -> Any:
        where = getattr(obj, "__module__", None) or type(obj).__module__
        own = getattr(obj, "__qualname__", type(obj).__qualname__)
        if isinstance(obj, ModuleType) or name.startswith("_"):
            raise Untrusted(f"it reaches for the attribute {name!r} of {where}.{own}")
        return fetch(permit, where, f"{own}.{name}", getattr(obj, name))

    return getattr_of_a_pickle


class _Plain(pickle.Unpickler):
    """The C unpickler with consent at its one door."""

    def __init__(self, file: IO[bytes], permit: Permit | None) -> None:
        super().__init__(file)
        self._permit = permit

    def find_class(self, module: str, name: str, /) -> Any:
        if self._permit is None:
            return super().find_class(module, name)
        allow(self._permit, judge(normal(module, name)))  # before the import, which runs code already
        return fetch(self._permit, module, name, super().find_class(module, name))


class _Array:
    """Stands where joblib says NumpyArrayWrapper: what it knows of the array that follows in the file."""

    subclass: Any
    shape: tuple[int, ...]
    order: str
    dtype: Any
    numpy_array_alignment_bytes: int | None = None

    def read(self, file: IO[bytes], permit: Permit | None) -> Any:
        """The array, in this machine's byte order (format of joblib 0.10 and later, numpy_pickle.py)."""
        import numpy as np

        if self.dtype.hasobject:
            return _Plain(file, permit).load()
        if self.numpy_array_alignment_bytes is not None:
            file.read(int.from_bytes(file.read(1), "little"))
        shape = tuple(int(axis) for axis in self.shape)
        count = int(np.prod(shape, dtype=object))
        data = file.read(count * self.dtype.itemsize)
        if len(data) != count * self.dtype.itemsize:
            raise Mistake("is damaged: it ends inside an array")
        array = np.frombuffer(bytearray(data), dtype=self.dtype, count=count)
        array = array.reshape(shape[::-1]).T if self.order == "F" else array.reshape(shape)
        native = self.dtype.newbyteorder("=")
        return array if native == self.dtype else array.astype(native)


_Python: Any = pickle._Unpickler  # the one written in Python: it lets an opcode be extended


class _Joblib(_Python):  # type: ignore[misc]  # typeshed hides what this class is made for
    """Reads joblib's files without joblib: its own unpickler opens object arrays by plain pickle in older versions."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(_Python.dispatch)

    def __init__(self, file: IO[bytes], permit: Permit | None) -> None:
        super().__init__(file)
        self._permit = permit
        self._handle = file

    def find_class(self, module: str, name: str) -> Any:
        if normal(module, name) == "joblib.numpy_pickle.NumpyArrayWrapper":
            return _Array
        if self._permit is None:
            return super().find_class(module, name)
        allow(self._permit, judge(normal(module, name)))
        return fetch(self._permit, module, name, super().find_class(module, name))

    def load_build(self) -> None:
        super().load_build()
        if isinstance(self.stack[-1], _Array):
            self.stack.append(self.stack.pop().read(self._handle, self._permit))

    dispatch[pickle.BUILD[0]] = load_build


def missing(names: tuple[Import, ...]) -> tuple[str, ...]:
    """Top-level modules among `names` that are not installed here."""
    roots = sorted({i.root for i in names} - {"__main__"})
    return tuple(root for root in roots if importlib.util.find_spec(root) is None)
