"""Batches and outcomes as framed bytes between two processes: npz without pickles, and JSON."""

from __future__ import annotations

import io
import struct
from typing import IO, Any

import msgspec

from anyport import errors
from anyport.batch import Batch, Outcome, Refusal
from anyport.errors import AnyportError, BadData
from anyport.golden.store import get, put
from anyport.predictor import Predictor
from anyport.signature import Field, Signature

MAX_FRAME = 1 << 40
HEAD = struct.Struct("<Q")


def send(stream: IO[bytes], payload: bytes) -> None:
    """Write one frame: its length, eight bytes little-endian, and the payload."""
    stream.write(HEAD.pack(len(payload)))
    stream.write(payload)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes | None:
    """The next frame; None where the other side has closed. BadData when it stops in the middle of one."""
    head = _exactly(stream, HEAD.size)
    if not head:
        return None
    (size,) = HEAD.unpack(head.ljust(HEAD.size, b"\0"))
    payload = _exactly(stream, size) if len(head) == HEAD.size and size < MAX_FRAME else b""
    if len(head) < HEAD.size or len(payload) < size:
        raise BadData("the other process stopped in the middle of a message")
    return payload


def _exactly(stream: IO[bytes], size: int) -> bytes:
    parts = []
    while size and (part := stream.read(min(size, 1 << 24))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def answering(predictor: Predictor, signature: Signature, questions: IO[bytes], answers: IO[bytes]) -> None:
    """Answer framed batches until the other side closes; our own errors go back as JSON."""
    while (question := receive(questions)) is not None:
        try:
            batch, _ = to_batch(question, signature.inputs)
            reply = of_outcome(predictor.predict(batch), signature.outputs)
        except AnyportError as error:
            reply = msgspec.json.encode(error.as_dict())
        send(answers, reply)


def raised(reply: bytes) -> None:
    """Raise the error that a reply is, if it is one (an outcome is a zip file and starts with PK)."""
    if reply.startswith(b"{"):
        told = msgspec.json.decode(reply, type=dict[str, Any])
        raise getattr(errors, told["error"])(told["what"], fix=told["fix"])


def of_batch(batch: Batch, fields: tuple[Field, ...], **facts: Any) -> bytes:
    """Columns of a batch, and JSON-ready facts beside them."""
    import numpy as np

    arrays: dict[str, Any] = {"facts": np.frombuffer(msgspec.json.encode(facts), np.uint8)}
    for index, field in enumerate(fields):  # by number: a column's name may hold anything, a zip member's may not
        put(arrays, f"c{index}", batch[field.name], field)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def to_batch(data: bytes, fields: tuple[Field, ...]) -> tuple[Batch, dict[str, Any]]:
    """The inverse of `of_batch`."""
    import numpy as np

    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = dict(file)
    facts: dict[str, Any] = msgspec.json.decode(arrays["facts"].tobytes())
    return {field.name: get(arrays, f"c{index}", field) for index, field in enumerate(fields)}, facts


def of_outcome(outcome: Outcome, fields: tuple[Field, ...]) -> bytes:
    refused = {str(row): [[r.column, r.expected, r.got] for r in rs] for row, rs in outcome.refused.items()}
    return of_batch(outcome.outputs, fields, refused=refused)


def to_outcome(data: bytes, fields: tuple[Field, ...]) -> Outcome:
    outputs, facts = to_batch(data, fields)
    return Outcome(outputs, {int(row): tuple(Refusal(*r) for r in rs) for row, rs in facts["refused"].items()})
