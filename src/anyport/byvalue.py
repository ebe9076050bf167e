"""Python objects as bytes that carry the user's own code with them, and what those bytes need to be opened."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from anyport.errors import Impossible, Mistake, need
from anyport.kit.lock import distribution
from anyport.scan import scan

OURS = ("anyport", "cloudpickle")
"""Never carried: anyport is beside every Python form, cloudpickle must be imported to open one."""


def dumps(model: Any) -> bytes:
    """The model by cloudpickle. Code of `__main__`, of notebooks, local classes, and of modules that belong to no
    installed distribution travels by value; libraries by name."""
    cloudpickle = need("cloudpickle")
    with _carried(cloudpickle):
        try:
            return bytes(cloudpickle.dumps(model, protocol=5))
        except RecursionError as error:
            raise Impossible("the model refers to itself too deeply to be saved") from error
        except Exception as error:  # __reduce__ and __getstate__ of any class run here
            raise Impossible(
                f"the model cannot be saved: {type(error).__name__}: {error}",
                fix="leave out what cannot be saved (locks, files, connections) in its __getstate__",
            ) from error


def distributions(data: bytes) -> tuple[str, ...]:
    """The distributions that opening and running the bytes needs, by name, sorted.

    Raises Mistake where they would need a module of the user's that did not travel along.
    """
    finding = scan(io.BytesIO(data))
    opened = {i.name.rpartition(".")[0] or i.root for i in finding.imports}
    found = set()
    for module in sorted(opened | finding.modules):
        root = module.partition(".")[0]
        if root in sys.stdlib_module_names or root in (*OURS[:1], "__main__"):
            continue
        name = distribution(module)
        if name is None and module in opened:
            raise Mistake(
                f"the model needs {module}, which belongs to no installed distribution and could not be carried along",
                fix=f"install {root} from a registry, or write it in Python",
            )
        if name is None and _is_own(root):
            raise Mistake(
                f"the model imports {module} only when it runs, so that module does not travel along with it",
                fix=f"import {root} at the top of the file that defines the model",
            )
        if name is not None:
            found.add(name)
    return tuple(sorted(found))


def _is_own(root: str) -> bool:
    """Whether a module can be imported here and is neither Python's nor a library's."""
    module = sys.modules.get(root)
    return getattr(module, "__file__", None) is not None or hasattr(module, "__path__")


@contextmanager
def _carried(cloudpickle: ModuleType) -> Iterator[None]:
    """While the block runs, the user's own modules are pickled by value."""
    before = set(cloudpickle.list_registry_pickle_by_value())
    own = [
        module for root, module in list(sys.modules.items())
        if "." not in root and root not in sys.stdlib_module_names and root not in (*OURS, "__main__", "__mp_main__")
        and root not in before and isinstance(module, ModuleType) and module.__name__ == root
        and _is_own(root) and distribution(root) is None
    ]  # fmt: skip
    for module in own:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in own:
            cloudpickle.unregister_pickle_by_value(module)
