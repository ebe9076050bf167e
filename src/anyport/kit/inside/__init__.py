"""A model inside a database's own Python: the bytes that a table keeps of it, and the text that opens them there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from anyport.bundle import Bundle
from anyport.errors import Impossible
from anyport.kit.archive import zip_folder
from anyport.kit.dated import dated
from anyport.kit.runtime import carry as carry_runtime

RUNTIME = ("msgspec", "numpy", "onnxruntime")
"""What it needs of the database's Python."""


LEAST = "1.24"
"""onnxruntime that adds TreeEnsemble's leaves rightly: 1.23.2 does not (measured: 35 of 2,000 labels of a booster)."""
LEAST_DATED = "1.12"


def packed(
    bundle: Bundle, carry: Callable[[Bundle, Path], Path], *, engine: str, most_mb: float, old_runtime: bool = False
) -> bytes:  # fmt: skip
    """What the database needs to answer: the bundle, and the part of anyport that answers, as one archive; with
    `old_runtime` its graph in older operators too, where they can say it. Impossible where `engine` keeps no value of
    that size."""
    size = sum((bundle.path / name).stat().st_size for name in bundle.manifest.files) / 1e6
    if size > most_mb:
        raise Impossible(
            f"the bundle has {size:.0f} MB; what carries it into {engine} takes {most_mb:.0f} MB", fix="--to rest"
        )
    with tempfile.TemporaryDirectory(prefix="anyport-") as work:
        folder = Path(work) / "model"
        folder.mkdir()
        carry(bundle, folder)
        least, graph = LEAST, bundle.member("fast.onnx")
        if old_runtime and graph is not None:
            try:
                (folder / "bundle.onnx").write_bytes(dated(graph.read_bytes()))
                least = LEAST_DATED
            except Impossible:
                least = LEAST  # it goes as it is, to a server that has a newer one
        (folder / "least.txt").write_text(least, encoding="utf-8")
        carry_runtime(folder / "runtime", "anyport.predictor", "anyport.bundle")
        shutil.copyfile(Path(__file__).with_name("answer.py"), folder / "runtime" / "anyport_answer.py")
        return zip_folder(folder, Path(work) / "model.zip").read_bytes()


def loader() -> str:
    """The text that defines `opened`, for the database's own script."""
    return Path(__file__).with_name("loader.py").read_text(encoding="utf-8")


__all__ = ["RUNTIME", "loader", "packed"]
