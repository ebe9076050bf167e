"""The dialect of ClickHouse, as data; sources beside it, measured (ClickHouse 26.9) where no page says it."""

from __future__ import annotations

from anyport.sql.dialect import Dialect

CLICKHOUSE = Dialect(
    name="ClickHouse",
    types={"double": "Nullable(Float64)", "float32": "Nullable(Float32)", "bigint": "Nullable(Int64)",
           "int32": "Nullable(Int32)", "int16": "Nullable(Int16)", "int8": "Nullable(Int8)",
           "uint8": "Nullable(UInt8)", "uint16": "Nullable(UInt16)", "uint32": "Nullable(UInt32)",
           "uint64": "Nullable(UInt64)", "boolean": "Nullable(Bool)", "text": "Nullable(String)",
           "timestamp": "Nullable(DateTime64(6, 'UTC'))", "index": "Nullable(Int32)"},
    quote="`",
    within={"\\": "\\\\", "\n": "\\n", "\r": "\\r"},
    name_bytes=10_000,
    number="{}",
    infinity="inf",
    missing="multiIf(isNaN(toFloat64({0})),null,{0})",
    choice="multiIf({},{})",
    chained=True,
    functions={
        "f32": "toFloat64(toFloat32({0}))",
        "add32": "toFloat64(toFloat32({0}+{1}))",
        "int": "accurateCastOrNull(trunc({0}),'Int64')",
    },
    greatest=None,
    single=None,
    escape={"'": "\\'", "\\": "\\\\", "\n": "\\n", "\r": "\\r"},
    binary="toString({})",
    codes=True,
    micros="dateDiff('microsecond',toDateTime64('1970-01-01 00:00:00',6,'UTC'),{})",
    once="ignore({})=0",
    points=False,
    depth=60,
    terms=100,
    longest=1_000_000,
)  # fmt: skip
"""Types are NOT NULL but for Nullable (https://clickhouse.com/docs/sql-reference/data-types/nullable). A number with a
point is a Float64; infinities and NaN are as in IEEE 754, so that nothing compares with NaN
(https://clickhouse.com/docs/sql-reference/data-types/float). Two Float32 add up to a Float64, so each sum is rounded.
greatest(NaN, 1) is 1 and greatest(1, NaN) is NaN, so neither it nor least is asked. CAST of NaN to an integer is an
error, in rows that are refused too; accurateCastOrNull gives NULL. Texts compare by their bytes
(https://clickhouse.com/docs/sql-reference/operators#comparison-operators); what an Enum does not know is an error, so
texts are compared as String. Backslashes escape in texts and in names
(https://clickhouse.com/docs/sql-reference/syntax#string, #identifiers). dateDiff takes dates and times of every kind
and no number. CASE becomes multiIf (https://clickhouse.com/docs/sql-reference/functions/conditional-functions#multiif),
whose conditions stand in one call; it is planned and answered sooner than `if`. What only branches use is found anew in
each (https://clickhouse.com/docs/operations/settings/settings#short_circuit_function_evaluation): see Dialect.once."""
