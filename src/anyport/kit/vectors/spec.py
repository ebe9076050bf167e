"""Filling: which rows go through the model and where their vectors lie, as fill.json says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from anyport.sql.dialect import POSTGRES

Distance = Literal["cosine", "l2", "ip"]
OPERATORS: Mapping[Distance, str] = {"cosine": "<=>", "l2": "<->", "ip": "<#>"}
"""What pgvector calls each distance; ip is the negative inner product, so that less is nearer."""
LENGTH = 1e18
"""Longest vector whose distances single precision still holds: they are sums of squares, and it ends at 3.4e38."""
HALF = 65504.0
"""Largest number of half precision, which the index is kept in above 2,000 dimensions."""
TINY = {False: 1e-18, True: 6e-5}
"""Below this a vector has no direction: its square, or in half precision itself, is 0."""


class Filling(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Names are as PostgreSQL keeps them, without quotes."""

    name: str
    model: str
    """Version of the model; rows that another one filled are filled again."""
    table_schema: str
    table: str
    key: str
    columns: Mapping[str, str]
    """Input of the model → column of the table."""
    schema: str
    width: int
    distance: Distance
    m: int
    ef_construction: int
    ef_search: int
    iterative: Literal["relaxed_order", "strict_order", "off"]
    reader: str = ""
    """A role that may search."""

    @property
    def half(self) -> bool:
        """Whether the index is in half precision: pgvector's takes 2,000 dimensions of single (hnsw, 0.8)."""
        return self.width > 2000

    @property
    def rows(self) -> str:
        """The table of rows, quoted."""
        return f"{POSTGRES.ident(self.table_schema)}.{POSTGRES.ident(self.table)}"

    def own(self, suffix: str) -> str:
        """Something of ours, quoted, in its schema."""
        return f"{POSTGRES.ident(self.schema)}.{POSTGRES.ident(self.name + suffix)}"

    @property
    def vectors(self) -> str:
        return self.own("_vectors")

    @property
    def index(self) -> str:
        return self.own("_vectors_hnsw")

    @property
    def search(self) -> str:
        return self.own("_search")

    @property
    def indexed(self) -> str:
        """What the index holds, of a row of vectors."""
        return f"(embedding::halfvec({self.width}))" if self.half else "embedding"

    @property
    def create_index(self) -> str:
        kind = "halfvec" if self.half else "vector"
        return (
            f"create index if not exists {POSTGRES.ident(self.name + '_vectors_hnsw')} on {self.vectors} using hnsw "
            f"({self.indexed} {kind}_{self.distance}_ops) with (m = {self.m}, ef_construction = {self.ef_construction})"
        )

    @property
    def digest(self) -> str:
        """SQL that says what a row `t` held when it was embedded."""
        cells = ", ".join(f"t.{POSTGRES.ident(column)}" for column in sorted(set(self.columns.values())))
        return f"sha256(convert_to(row({cells})::text, 'UTF8'))"

    @property
    def waiting(self) -> str:
        """SQL: a row `t`, with its vector `v` or none, has to go through the model."""
        model = POSTGRES.literal(self.model)
        return f"(v.key is null or v.model <> {model} or v.source <> {self.digest})"

    @property
    def joined(self) -> str:
        """SQL: every row `t` that has a key, with its vector `v` or none."""
        key = POSTGRES.ident(self.key)
        return f"from {self.rows} t left join {self.vectors} v on v.key = t.{key} where t.{key} is not null"
