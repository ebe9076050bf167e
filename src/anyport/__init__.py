"""anyport: one trained model, packed once, running anywhere, and proven to answer the same there as in the notebook.

The whole API: `pack`, `inspect`, `load`, `build`, `check`, `deploy`, `connect`. Importing this module imports nothing
else.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # typing itself would be half of what importing this costs
if TYPE_CHECKING:
    from anyport.bundle import Bundle, Tolerance
    from anyport.bundle import read as inspect
    from anyport.conformance import check
    from anyport.deployment import deploy
    from anyport.errors import (
        AnyportError,
        BadData,
        Busy,
        Mistake,
        NotThere,
        ServerError,
        TooSlow,
        Unauthorized,
        Unreachable,
    )
    from anyport.model import Model, load
    from anyport.packing import pack
    from anyport.remote import AsyncRemoteModel, RemoteModel, connect, connect_async
    from anyport.targets import build

__version__ = "0.1.0"
__all__ = [
    "AnyportError", "AsyncRemoteModel", "BadData", "Bundle", "Busy", "Mistake", "Model", "NotThere", "RemoteModel",
    "ServerError", "Tolerance", "TooSlow", "Unauthorized", "Unreachable", "__version__", "build", "check", "connect",
    "connect_async", "deploy", "inspect", "load", "pack",
]  # fmt: skip

WHERE = {
    **{
        name: ("anyport.errors", name)
        for name in (
            "AnyportError",
            "BadData",
            "Busy",
            "Mistake",
            "NotThere",
            "ServerError",
            "TooSlow",
            "Unauthorized",
            "Unreachable",
        )
    },
    "AsyncRemoteModel": ("anyport.remote", "AsyncRemoteModel"),
    "Bundle": ("anyport.bundle", "Bundle"),
    "Model": ("anyport.model", "Model"),
    "RemoteModel": ("anyport.remote", "RemoteModel"),
    "Tolerance": ("anyport.bundle", "Tolerance"),
    "build": ("anyport.targets", "build"),
    "check": ("anyport.conformance", "check"),
    "connect": ("anyport.remote", "connect"),
    "connect_async": ("anyport.remote", "connect_async"),
    "deploy": ("anyport.deployment", "deploy"),
    "inspect": ("anyport.bundle", "read"),
    "load": ("anyport.model", "load"),
    "pack": ("anyport.packing", "pack"),
}


def __getattr__(name: str) -> object:
    if name not in WHERE:
        raise AttributeError(f"module 'anyport' has no attribute {name!r}")
    module, attribute = WHERE[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
