"""Triton + ONNX Runtime: triton_graph.py GRAPH PORT starts nvidia-pytriton's tritonserver, which holds no ONNX Runtime
backend but the Python one: triton_model.py is its model."""

import os
import shutil
import site
import sys
import sysconfig
from pathlib import Path

graph, port = sys.argv[1:]
packages = Path(site.getsitepackages()[0])
triton = packages / "pytriton" / "tritonserver"
home = Path("triton-models").absolute()
shutil.rmtree(home, ignore_errors=True)
version = home / "model" / "1"
version.mkdir(parents=True)
shutil.copy(Path(__file__).with_name("triton_model.py"), version / "model.py")
shutil.copy(graph, version / "model.onnx")
(home / "model" / "config.pbtxt").write_text("""\
backend: "python"
max_batch_size: 32
dynamic_batching { }
input [ { name: "X" data_type: TYPE_FP32 dims: [ 30 ] } ]
output [ { name: "probability" data_type: TYPE_FP32 dims: [ 2 ] } ]
instance_group [ { kind: KIND_CPU count: 1 } ]
""")
backends = Path("triton-backends").absolute()
shutil.rmtree(backends, ignore_errors=True)
shutil.copytree(triton / "backends", backends)
stub = triton / "python_backend_stubs" / f"{sys.version_info[0]}.{sys.version_info[1]}" / "triton_python_backend_stub"
shutil.copy(stub, backends / "python" / stub.name)
os.environ["LD_LIBRARY_PATH"] = f"{packages / 'nvidia_pytriton.libs'}:{sysconfig.get_config_var('LIBDIR')}"
os.environ["TRITON_PACKAGES"] = str(packages)
os.environ["PYTHONHOME"] = sys.base_prefix
os.execv(triton / "bin" / "tritonserver", [
    "tritonserver", f"--model-repository={home}", f"--backend-directory={backends}", f"--http-port={port}",
    "--http-address=127.0.0.1", "--allow-grpc=false", "--allow-metrics=false", "--log-verbose=0",
])  # fmt: skip
