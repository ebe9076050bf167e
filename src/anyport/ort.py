"""The one door to ONNX Runtime: telemetry off, one thread unless asked, deterministic."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from anyport.errors import need


def runtime() -> Any:
    """The onnxruntime module. Version 1.29+ sends telemetry unless this is set before its import."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    return need("onnxruntime")


def session(model: bytes | Path, *, threads: int = 1) -> Any:
    """An InferenceSession on the CPU. One thread: sums then run in tree order, and forks survive it."""
    ort = runtime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    source = model if isinstance(model, bytes) else str(model)
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
