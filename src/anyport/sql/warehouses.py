"""The dialects of Snowflake, Redshift, Databricks and Trino, as data; sources beside each."""

from __future__ import annotations

from anyport.sql.dialect import Dialect
from anyport.sql.dialects import TANH

SNOWFLAKE = Dialect(
    name="Snowflake",
    types={"double": "float", "bigint": "bigint", "uint64": "number(20)", "boolean": "boolean", "text": "varchar",
           "timestamp": "timestamp_tz", "index": "integer"},
    name_bytes=4 * 255,
    number="'{}'::float",
    exponent="'{}'::float",
    infinity="'inf'::float",
    missing="nullif({}, 'NaN'::float)",
    choice="iff({},{},{})",
    functions={"log": "ln({0})"},
    raises=True,
    single=None,
    escape={"'": "''", "\\": "\\\\", "\n": "\\n", "\r": "\\r"},
    binary="collate({}, 'utf8')",
    micros="date_part(epoch_microsecond, {})",
    longest=1_000_000,
)  # fmt: skip
"""A number with an exponent is a NUMBER like any other (`system$typeof(1e10)` is NUMBER(11,0),
https://docs.snowflake.com/en/sql-reference/functions/system_typeof), so doubles are read from texts, which is exact.
NaN equals itself (https://docs.snowflake.com/en/sql-reference/data-types-numeric#special-values). No page says what
arithmetic that overflows gives, so nothing is led to it; there is no single precision. Backslashes escape
(https://docs.snowflake.com/en/sql-reference/data-types-text#escape-sequences-in-single-quoted-string-constants).
The collation 'utf8' compares bytes, whatever the column's own is
(https://docs.snowflake.com/en/sql-reference/collation). Names: 255 characters
(https://docs.snowflake.com/en/sql-reference/identifiers-syntax). Longer statements run, but Snowflake cuts the text
that it keeps of them (https://docs.snowflake.com/en/user-guide/query-size-limits); of views no page says anything."""

REDSHIFT = Dialect(
    name="Redshift",
    types={"double": "double precision", "float32": "real", "bigint": "bigint", "int32": "integer",
           "int16": "smallint", "int8": "smallint", "uint8": "smallint", "uint16": "integer", "uint64": "numeric(20)",
           "boolean": "boolean", "text": "varchar(65535)", "timestamp": "timestamp", "index": "integer"},
    name_bytes=127,
    number="'{}'::float8",
    exponent="'{}'::float8",
    infinity="'Infinity'::float8",
    missing="case when {0} <> {0} or {0} = 'NaN'::float8 then null else {0} end",
    functions={"log": "ln({0})", "tanh": TANH},
    raises=True,
    vanishing=-650.0,
    single=None,
    escape={"'": "''", "\\": "' || chr(92) || '"},
    binary="collate({} || '|', 'case_sensitive')",
    mark="|",
    micros="datediff(microsecond, '1970-01-01'::timestamp, {})",
    columns=1600,
    longest=16_000_000,
)  # fmt: skip
"""A number with a point is a DECIMAL, exponent or not, so doubles are read from texts. Whether NaN equals itself no
page says; either way it is found. Overflow and underflow are errors (as in PostgreSQL 8.0, from memory, 2026-11). A
backslash escapes in some places and is not documented (https://github.com/jOOQ/jOOQ/issues/10628), and E'…' is unknown
(https://github.com/npgsql/npgsql/issues/515), so none is written. Trailing blanks do not count
(https://docs.aws.amazon.com/redshift/latest/dg/r_Examples_with_character_types.html), so a mark stands behind both
sides; a collation may ignore case (https://docs.aws.amazon.com/redshift/latest/dg/r_COLLATE.html). Names: 127 bytes
(https://docs.aws.amazon.com/redshift/latest/dg/r_names.html); 1,600 columns
(https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_TABLE_usage.html); a statement has at most 16 MB
(https://docs.aws.amazon.com/redshift/latest/dg/c_redshift-sql.html)."""

DATABRICKS = Dialect(
    name="Databricks",
    types={"double": "double", "float32": "float", "bigint": "bigint", "int32": "int", "int16": "smallint",
           "int8": "tinyint", "uint8": "smallint", "uint16": "int", "uint64": "decimal(20)", "boolean": "boolean",
           "text": "string", "timestamp": "timestamp", "index": "int"},
    quote="`",
    name_bytes=4 * 255,
    number="{}D",
    exponent="{}D",
    infinity="cast('Infinity' as double)",
    missing="nullif({}, cast('NaN' as double))",
    choice="if({},{},{})",
    cut="case when {0} < 0 then ceil({0}) else floor({0}) end",
    functions={
        "log": "ln({0})",
        "floor": "case when abs({0}) < 4503599627370496D then cast(floor({0}) as double) else {0} end",
    },
    single="cast({} as float)",
    nan_above=True,
    escape={"'": "\\'", "\\": "\\\\", "\n": "\\n", "\r": "\\r", "{": "' || '{"},
    micros="unix_micros({})",
    depth=32,
    longest=16_000_000,
)  # fmt: skip
"""Doubles: https://docs.databricks.com/sql/language-manual/data-types/double-type.html; NaN equals itself, and
infinities are as in IEEE 754 (.../data-types/special-floating-point-values.html). floor gives a BIGINT
(.../functions/floor.html). Escapes: .../data-types/string-type.html; `${` would be a variable of the session
(https://spark.apache.org/docs/latest/configuration.html, spark.sql.variable.substitute), so it is in no text. Names:
.../sql-ref-names.html. The parser recurses, so deep trees are in pieces. A statement of the API has at most 16 MiB
(https://docs.databricks.com/api/workspace/statementexecution/executestatement; both from memory, 2026-11)."""

TRINO = Dialect(
    name="Trino",
    types={"double": "double", "float32": "real", "bigint": "bigint", "int32": "integer", "int16": "smallint",
           "int8": "tinyint", "uint8": "smallint", "uint16": "integer", "uint64": "decimal(20)", "boolean": "boolean",
           "text": "varchar", "timestamp": "timestamp(6) with time zone", "index": "integer"},
    name_bytes=4 * 255,
    infinity="cast('Infinity' as double)",
    missing="if(is_nan({0}), null, {0})",
    choice="if({},{},{})",
    cut="truncate({})",
    functions={"log": "ln({0})"},
    single="cast({} as real)",
    nan_above=True,  # not in Trino, where a comparison with NaN is false, but in what stands in for it
    micros="cast(round(to_unixtime({}) * 1e6) as bigint)",
    depth=32,
    longest=1_000_000,
)  # fmt: skip
"""A number with an exponent is a DOUBLE (https://trino.io/docs/current/language/types.html#double); arithmetic is IEEE
754's, division by zero included (https://trino.io/docs/current/functions/math.html). Names are the connector's affair;
255 characters is the least that one of the usual keeps, and the parser recurses, so deep trees are in pieces (both from
memory, 2026-11). A query has at most 1,000,000 characters
(https://trino.io/docs/current/admin/properties-query-management.html#query-max-length, from memory, 2026-11)."""
