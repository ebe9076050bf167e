"""The protobuf messages of GRPCInferenceService and of gRPC's health check, built from a table when first asked for.

The table states the wire contract that kserve/open-inference-protocol publishes as
specification/protocol/open_inference_grpc.proto, and grpc/grpc-proto as grpc/health/v1/health.proto; a test holds it
to the descriptors that NVIDIA's client brings. Generated code would register its names for the whole process, where
those of a client library may stand already; the pool here is our own.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from anyport.errors import need

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import DescriptorProto

PACKAGE = "inference"
TABLE = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "bool live=1",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "bool ready=1",
    "ModelReadyRequest": "string name=1, string version=2",
    "ModelReadyResponse": "bool ready=1",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "string name=1, string version=2, repeated string extensions=3",
    "ModelMetadataRequest": "string name=1, string version=2",
    "ModelMetadataResponse": (
        "string name=1, repeated string versions=2, string platform=3, repeated .TensorMetadata inputs=4, "
        "repeated .TensorMetadata outputs=5"
    ),
    "ModelMetadataResponse.TensorMetadata": "string name=1, string datatype=2, repeated int64 shape=3",
    "InferParameter": (
        "choice bool bool_param=1, choice int64 int64_param=2, choice string string_param=3, "
        "choice double double_param=4, choice uint64 uint64_param=5"
    ),
    "InferTensorContents": (
        "repeated bool bool_contents=1, repeated int32 int_contents=2, repeated int64 int64_contents=3, "
        "repeated uint32 uint_contents=4, repeated uint64 uint64_contents=5, repeated float fp32_contents=6, "
        "repeated double fp64_contents=7, repeated bytes bytes_contents=8"
    ),
    "ModelInferRequest": (
        "string model_name=1, string model_version=2, string id=3, map parameters=4, "
        "repeated .InferInputTensor inputs=5, repeated .InferRequestedOutputTensor outputs=6, "
        "repeated bytes raw_input_contents=7"
    ),
    "ModelInferRequest.InferInputTensor": (
        "string name=1, string datatype=2, repeated int64 shape=3, map parameters=4, InferTensorContents contents=5"
    ),
    "ModelInferRequest.InferRequestedOutputTensor": "string name=1, map parameters=2",
    "ModelInferResponse": (
        "string model_name=1, string model_version=2, string id=3, map parameters=4, "
        "repeated .InferOutputTensor outputs=5, repeated bytes raw_output_contents=6"
    ),
    "ModelInferResponse.InferOutputTensor": (
        "string name=1, string datatype=2, repeated int64 shape=3, map parameters=4, InferTensorContents contents=5"
    ),
    # Triton's: one answer of a stream
    "ModelStreamInferResponse": "string error_message=1, ModelInferResponse infer_response=2",
    "RepositoryIndexRequest": "string repository_name=1, bool ready=2",
    "RepositoryIndexResponse": "repeated .ModelIndex models=1",
    "RepositoryIndexResponse.ModelIndex": "string name=1, string version=2, string state=3, string reason=4",
    # on the wire, an enum is an int32, and nothing shows the package's name
    "HealthCheckRequest": "string service=1",
    "HealthCheckResponse": "int32 status=1",
}
"""Message → its fields. A type with a dot is nested in the message; `choice`: of the oneof parameter_choice;
`map`: from string to InferParameter."""
FIELD = re.compile(r"(?:(repeated|choice) )?([.\w]+) (\w+)=(\d+)")


@cache
def messages() -> dict[str, Any]:
    """The class of every message. Missing without protobuf."""
    need("google.protobuf")
    from google.protobuf import descriptor_pool, message_factory
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    file = FileDescriptorProto(name="anyport/inference.proto", package=PACKAGE, syntax="proto3")
    made: dict[str, DescriptorProto] = {}
    for name, fields in TABLE.items():
        outer, _, own = name.rpartition(".")
        made[name] = made[outer].nested_type.add(name=own) if outer else file.message_type.add(name=own)
        for field in filter(None, fields.split(", ")):
            add(made[name], name, field)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {n: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{n}")) for n in TABLE}


def add(message: DescriptorProto, owner: str, text: str) -> None:
    """One field, from its line in the table."""
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Proto

    found = FIELD.fullmatch(text)
    assert found is not None, f"{owner}: {text}"
    label, kind, name, number = found.groups()
    if kind == "map":  # protobuf's own spelling of one
        entry = message.nested_type.add(name="ParametersEntry")
        entry.options.map_entry = True
        add(entry, owner, "string key=1")
        add(entry, owner, "InferParameter value=2")
        add(message, owner, f"repeated .ParametersEntry {name}={number}")
        return
    field = message.field.add(
        name=name, number=int(number), type=getattr(Proto, f"TYPE_{kind.upper()}", Proto.TYPE_MESSAGE),
        label=Proto.LABEL_REPEATED if label == "repeated" else Proto.LABEL_OPTIONAL,
    )  # fmt: skip
    if field.type == Proto.TYPE_MESSAGE:
        field.type_name = f".{PACKAGE}.{owner}{kind}" if kind.startswith(".") else f".{PACKAGE}.{kind}"
    if label == "choice":
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
