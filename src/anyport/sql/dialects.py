"""The dialects of MariaDB, SQL Server and BigQuery, as data; sources beside each, measured where no page says it."""

from __future__ import annotations

from anyport.sql.dialect import Dialect

LARGEST = "1.7976931348623157e308"
"""Stands for an infinity where columns cannot hold one."""
TANH = "case when {0} > 20e0 then 1e0 when {0} < -20e0 then -1e0 else 1e0 - 2e0 / (exp(2e0 * {0}) + 1e0) end"
"""tanh where there is none; beyond 20 it is 1 in double."""

MARIADB = Dialect(
    name="MariaDB",
    types={"double": "double", "bigint": "bigint", "int32": "int", "int16": "smallint", "int8": "tinyint",
           "uint8": "tinyint unsigned", "uint16": "smallint unsigned", "uint32": "int unsigned",
           "uint64": "bigint unsigned", "boolean": "boolean", "index": "int",
           "text": "longtext character set utf8mb4 collate utf8mb4_bin", "timestamp": "datetime(6)"},
    casts={"bigint": "signed", "text": "char", "boolean": "signed"},
    quote="`",
    name_bytes=64,
    infinity=None,
    most=LARGEST,
    missing="{}",
    cut="truncate({}, 0)",
    functions={"log": "ln({0})", "pow": "power({0}, {1})", "tanh": TANH},
    raises=True,
    single=None,
    escape={"'": "''", "\\": "\\\\", "\n": "\\n", "\r": "\\r"},
    text="_utf8mb4'{}'",
    binary="cast(convert({} using utf8mb4) as binary)",
    micros="timestampdiff(microsecond, timestamp'1970-01-01 00:00:00', {})",
    columns=4096,
    longest=16_777_216,
    fenced="union all select {} from dual where false",
)  # fmt: skip
"""Neither infinity nor NaN (https://mariadb.com/kb/en/floating-point-accuracy/); what is out of range is error 1690.
utf8mb4_bin ignores trailing spaces, so texts are compared as bytes. Names: 64 characters
(https://mariadb.com/kb/en/identifier-names/); 4,096 columns (https://mariadb.com/kb/en/innodb-limitations/: 1,017 of a
table, but a view is none). A statement is at most max_allowed_packet, 16 MB by default
(https://mariadb.com/kb/en/server-system-variables/#max_allowed_packet). A layer that is a UNION is not merged into the
next, which would copy its expressions into every place that uses them; conditions on keys are still pushed into it:
one row of 128,000 takes 0.02 s (behind a LIMIT 20 s, merged 0.06 s, but then 20,000 rows take 159 s instead of 2.6)."""

BIGQUERY = Dialect(
    name="BigQuery",
    types={"double": "FLOAT64", "bigint": "INT64", "uint64": "BIGNUMERIC", "boolean": "BOOL", "text": "STRING",
           "timestamp": "TIMESTAMP", "index": "INT64"},
    quote="`",
    name_bytes=300,
    infinity="cast('inf' as FLOAT64)",
    missing="if(is_nan({0}), null, {0})",
    functions={"log": "ln({0})"},
    raises=True,
    single=None,
    escape={"'": "\\'", "\\": "\\\\", "\n": "\\n", "\r": "\\r"},
    micros="unix_micros({})",
    columns=10_000,
    longest=1_024_000,
    code="{codes}[ordinal({at}.slot)]",
    leaf="array_agg({last}.{leaf} order by n0.node)",
    picked="{{0}}[ordinal({tree})]",
    carried="any_value(l.{0}) as {0}",
    gathered="select {carried},\n    {values}\n  from (select *, generate_uuid() as one from {before}) as l\n  "
             "cross join {source}\n  group by l.one",
)  # fmt: skip
"""What is out of range is an error: "All operators will throw an error if the computation result overflows"
(https://cloud.google.com/bigquery/docs/reference/standard-sql/operators, .../mathematical_functions). Escapes:
.../lexical#string_and_bytes_literals. Limits: https://cloud.google.com/bigquery/quotas."""
TSQL = Dialect(
    name="SQL Server",
    types={"double": "double precision", "bigint": "bigint", "int32": "int", "int16": "smallint",
           "int8": "smallint", "uint8": "tinyint", "uint16": "int", "uint64": "decimal(20)", "boolean": "bit",
           "text": "nvarchar(max)", "timestamp": "datetimeoffset(6)", "index": "int"},
    casts={"text": "nvarchar(4000)"},
    quote="[",
    name_bytes=256,
    infinity=None,
    most=LARGEST,
    missing="{}",
    cut="case when {0} < 0 then ceiling({0}) else floor({0}) end",
    subnormal=False,
    functions={"log": "log({0})", "pow": "power({0}, {1})", "tanh": TANH},
    greatest=None,
    raises=True,
    single=None,
    escape={"'": "''", "\n": "' + char(10) + N'"},
    text="N'{}'",
    truths=False,
    binary="({} + N'|') collate Latin1_General_100_BIN2",
    mark="|",
    micros="datediff_big(microsecond, '1970-01-01', {})",
    depth=6,
    cases=10,
    columns=4096,
    longest=65_536 * 4096,
    code="case {at}.slot {codes} end",
    leaf="max(case when n0.node = {tree} then {last}.{leaf} end)",
    gathered="select *\n  from {before} cross apply (select\n    {values}\n  from {source}) as walked{before}",
)  # fmt: skip
"""CASE: "SQL Server allows for only 10 levels of nesting in CASE expressions"
(https://learn.microsoft.com/sql/t-sql/language-elements/case-transact-sql). Neither infinity nor NaN, and an overflow
is an error (https://learn.microsoft.com/sql/t-sql/data-types/float-and-real-transact-sql). `=` ignores trailing spaces
under every collation, so a mark stands behind both sides. A backslash before a line feed joins two lines of a literal
(https://learn.microsoft.com/sql/t-sql/language-elements/sql-server-utilities-statements-backslash), so line feeds are
not in literals. Names: 128 characters; 4,096 columns of a SELECT; a batch has 65,536 packets of 4,096 bytes
(https://learn.microsoft.com/sql/sql-server/maximum-capacity-specifications-for-sql-server)."""
