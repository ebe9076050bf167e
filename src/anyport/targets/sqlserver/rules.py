"""What SQL Server demands of a text beyond its grammar, and how the words that DuckDB has not are said there."""

from __future__ import annotations

from typing import Any

from anyport.errors import Impossible, need
from anyport.kit.standin import transpiled
from anyport.targets.sqlserver.nodes import read_json

CASES = 10
"""https://learn.microsoft.com/sql/t-sql/language-elements/case-transact-sql#remarks (Msg 125); IIF counts too."""
LEVELS = 32
"""Nested subqueries; each layer of a view reads the one before
(https://learn.microsoft.com/sql/sql-server/maximum-capacity-specifications-for-sql-server, by copies of it)."""
COLLATION = "Latin1_General_100_BIN2"


def lawful(text: str) -> None:
    """Impossible where CASE nests too deeply, a comparison stands where a value has to, or a value where a condition
    has to: Msg 125, 102 and 4145."""
    sqlglot = need("sqlglot")
    exp = sqlglot.exp
    tree = sqlglot.parse_one(text, read="tsql", error_level=sqlglot.ErrorLevel.RAISE)
    comparisons = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.In, exp.Is, exp.Between)
    joined = (exp.And, exp.Or, exp.Not)
    # (node, a condition has to stand here, CASE around it)
    todo: list[tuple[Any, bool, int]] = [(tree, False, 0)]
    while todo:
        node, condition, cases = todo.pop()
        if isinstance(node, exp.Paren):
            todo.append((node.this, condition, cases))
            continue
        if isinstance(node, (*comparisons, *joined)) != condition:
            what = "a value where a condition" if condition else "a condition where a value"
            raise Impossible(f"{what} has to stand: {node.sql(dialect='tsql')[:80]}")
        cases += isinstance(node, (exp.Case, exp.If)) and not isinstance(node.parent, exp.Case)
        if cases > CASES:
            raise Impossible(f"CASE nests deeper than {CASES}: {node.sql(dialect='tsql')[:80]}")
        # the WHEN of CASE x WHEN 1 is a value
        when = isinstance(node, exp.If) and not (isinstance(node.parent, exp.Case) and node.parent.this)
        for name, child in node.args.items():
            for one in child if isinstance(child, list) else [child]:
                if isinstance(one, exp.Expression):
                    asks = isinstance(node, joined) or (name == "this" and (when or isinstance(node, exp.Where)))
                    asks = asks or (name == "on" and isinstance(node, exp.Join))
                    todo.append((one, asks, cases))


def in_duckdb(text: str) -> list[str]:
    """T-SQL as DuckDB's: + of texts is ||, and DuckDB compares texts as the binary collation does."""
    exp = need("sqlglot").exp

    def text_like(node: Any) -> bool:
        added = isinstance(node, exp.Add) and (text_like(node.this) or text_like(node.expression))
        return added or isinstance(node, (exp.National, exp.Chr))

    def change(node: Any) -> Any:
        if isinstance(node, exp.Table) and isinstance(node.this, exp.OpenJSON):
            return read_json(node.this)
        if isinstance(node, exp.Lateral) and node.args.get("cross_apply"):
            node.set("cross_apply", None)
        if isinstance(node, exp.Add) and text_like(node):
            return exp.DPipe(this=node.this.transform(change), expression=node.expression.transform(change))
        if isinstance(node, exp.Collate) and node.expression.name == COLLATION:
            return node.this.transform(change)
        if isinstance(node, exp.DataType) and any(e.name.lower() == "max" for e in node.expressions):
            return exp.DataType.build("text")
        return node

    return transpiled(text, "tsql", change)
