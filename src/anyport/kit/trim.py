"""What no prediction needs of site-packages, deleted: python trim.py FOLDER. The standard library is all it takes."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

NOT_RUN = (
    "**/__pycache__", "**/tests", "**/*.pyi", "**/*.pyx", "**/*.pxd", "**/*.h", "**/*.a", "numpy/f2py",
    "numpy/distutils",
    "numpy/_pyinstaller", "numpy/doc", "numpy/typing", "onnxruntime/transformers", "onnxruntime/tools",
    "onnxruntime/quantization", "onnxruntime/datasets", "onnxruntime/backend", "onnxruntime/ThirdPartyNotices.txt",
    "onnxruntime/capi/libonnxruntime.so*",
)  # fmt: skip
"""What site-packages hold that no prediction imports: tests, headers, stubs, build tools, converters; and a second
ONNX Runtime of 35 MB, for programs in C, which Python's own module holds once more."""


def trim(site: Path) -> None:
    """Delete from a copy of site-packages what no prediction imports (licences and metadata stay)."""
    for pattern in NOT_RUN:
        for path in sorted(site.glob(pattern), reverse=True):
            if path.is_dir():
                shutil.rmtree(path)
            elif path.exists():
                path.unlink()


if __name__ == "__main__":
    trim(Path(sys.argv[1]))
