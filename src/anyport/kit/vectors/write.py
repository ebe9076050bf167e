"""Vectors into their table: binary COPY into a temporary one, and from there in one statement, whole or not at all."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

from anyport.kit.vectors.encode import Embedded
from anyport.kit.vectors.spec import Filling
from anyport.sql.dialect import POSTGRES

HEAD = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
TAIL = struct.pack("!h", -1)
"""https://www.postgresql.org/docs/18/sql-copy.html, Binary Format"""
STAGED = "pg_temp.anyport_staged"


def stage(connection: Any) -> None:
    """The temporary table that this connection writes through."""
    connection.execute(
        f"create temporary table if not exists anyport_staged (key text, embedding vector, unsearchable text, "
        f"refusal text, source bytea) on commit delete rows; truncate {STAGED}"
    )


def write(connection: Any, spec: Filling, key_type: str, rows: Iterable[tuple[str, bytes, Embedded]]) -> None:
    """Key as text, digest and what was found, as one transaction."""
    with connection.transaction():
        with connection.cursor().copy(f"copy {STAGED} from stdin (format binary)") as copy:
            copy.write(HEAD)
            for key, source, found in rows:
                copy.write(record(key, source, found))
            copy.write(TAIL)
        connection.execute(
            f"insert into {spec.vectors} (key, embedding, unsearchable, refusal, model, source, filled_at) "
            f"select s.key::{key_type}, s.embedding, s.unsearchable::double precision[], s.refusal, "
            f"{POSTGRES.literal(spec.model)}, s.source, now() from {STAGED} s on conflict (key) do update set "
            "embedding = excluded.embedding, unsearchable = excluded.unsearchable, refusal = excluded.refusal, "
            "model = excluded.model, source = excluded.source, filled_at = excluded.filled_at"
        )


def record(key: str, source: bytes, found: Embedded) -> bytes:
    """One row in COPY's binary format. A vector is its length, a zero, and its numbers as float4 (vector_recv)."""
    vector = wide = None
    if found.values is not None and not found.why:
        vector = struct.pack("!hh", len(found.values), 0) + found.values.astype(">f4").tobytes()
    elif found.values is not None:
        wide = ("{" + ",".join(map(repr, found.values.tolist())) + "}").encode()
    why = found.why.encode() if found.why else None
    cells = (key.encode(), vector, wide, why, source)
    return struct.pack("!h", len(cells)) + b"".join(
        struct.pack("!i", -1) if cell is None else struct.pack("!i", len(cell)) + cell for cell in cells
    )
