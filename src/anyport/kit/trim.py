"""What no prediction needs of site-packages, deleted: python trim.py FOLDER [whole]; the standard library is enough."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

NEVER_RUN = (
    "**/__pycache__", "**/tests", "**/*.pyi", "**/*.pyx", "**/*.pxd", "**/*.h", "**/*.a", "numpy/_pyinstaller",
    "numpy/doc", "onnxruntime/transformers", "onnxruntime/tools", "onnxruntime/quantization", "onnxruntime/datasets",
    "onnxruntime/backend", "onnxruntime/ThirdPartyNotices.txt", "onnxruntime/capi/libonnxruntime.so*",
)  # fmt: skip
"""What nothing that runs imports: tests, headers, stubs, converters; and a second ONNX Runtime of 35 MB, for programs
in C, which Python's own module holds once more."""
NOT_OURS = ("numpy/f2py", "numpy/distutils", "numpy/typing")
"""What anyport's runtime does not import, and the libraries of a model of form python may."""


def trim(site: Path, *, whole: bool = False) -> None:
    """Delete from a copy of site-packages what no prediction imports (licences and metadata stay); with `whole`, only
    what no library imports."""
    for pattern in NEVER_RUN if whole else NEVER_RUN + NOT_OURS:
        for path in sorted(site.glob(pattern), reverse=True):
            if path.is_dir():
                shutil.rmtree(path)
            elif path.exists():
                path.unlink()


if __name__ == "__main__":
    trim(Path(sys.argv[1]), whole=sys.argv[2:] == ["whole"])
