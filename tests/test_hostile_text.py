"""Text of any kind goes through the real server as CSV, JSON Lines and JSON, and every answer stays with its row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import served
from hypothesis import given, settings
from hypothesis import strategies as st
from test_contracts import LINES, equal, flat
from up import Up, up

MODEL = served.fitted()
CSV = "text/csv"
KINDS = (CSV, LINES, "application/json")
PIECES = st.sampled_from([
    '"', '""', ",", "\n", "\r\n", "\r", "\t", ";", "\\", "\\n", "'", "\x00", "\x1a", "\x85", "\u2028", "\ufeff", "NA",
    "nan", "NULL", "null", "true", "1e5", "{", "}", "[", "]", ":", "=cmd()", "Oslo", "Québec", "東京", "\U0010ffff",
])  # fmt: skip
TEXT = st.one_of(
    st.sampled_from(served.CITIES), st.just(""), st.text(st.characters(codec="utf-8"), max_size=12),
    st.lists(PIECES, max_size=6).map("".join),
)  # fmt: skip
ROW = st.fixed_dictionaries({
    "age": st.one_of(st.none(), st.floats(-1e6, 1e6)),
    "rooms": st.integers(-50, 50),
    "home city": st.one_of(st.none(), TEXT),
    "plan": st.sampled_from(served.PLANS),
    "owner": st.booleans(),
})  # fmt: skip
BAD = st.sampled_from(["silver", "", "gold ", 'go"ld', "gold\n", "\ufeffgold"])


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(served.bundle(tmp_path_factory.mktemp("hostile") / "homes", MODEL)) as server:
        yield server


def cell(value: Any) -> str:
    """A cell as RFC 4180 has it; only what is missing is bare and empty."""
    if value is None:
        return ""
    if isinstance(value, str):
        return '"' + value.replace('"', '""') + '"'
    return str(value).lower() if isinstance(value, bool) else repr(value)


def body(kind: str, rows: list[dict[str, Any]]) -> bytes:
    """Rows in a format, made by hand: a writer of ours could be wrong in the same way as the reader."""
    if kind == CSV:
        names = [f.name for f in served.SIGNATURE.inputs]
        lines = [",".join(map(cell, names)), *(",".join(cell(row[name]) for name in names) for row in rows)]
        return "".join(f"{line}\r\n" for line in lines).encode()
    if kind == LINES:
        return "".join(json.dumps(row, ensure_ascii=i % 2 == 0) + "\n" for i, row in enumerate(rows)).encode()
    return json.dumps(rows, ensure_ascii=False).encode()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None, database=None)
@given(rows=st.lists(ROW, min_size=1, max_size=8))
def test_answers_stay_with_their_rows(live: Up, kind: str, rows: list[dict[str, Any]]) -> None:
    status, _, data = live.raw(body(kind, rows), Content_Type=kind)
    assert status == 200, data
    found, expected = flat(kind, data), served.ask(MODEL, rows)
    assert len(found) == len(rows)
    assert equal(found, expected)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20, deadline=None, database=None)
@given(rows=st.lists(ROW, min_size=2, max_size=8), at=st.sets(st.integers(0, 7), min_size=1), plan=BAD)
def test_refusals_stay_with_their_rows(
    live: Up, kind: str, rows: list[dict[str, Any]], at: set[int], plan: str
) -> None:
    bad = {i % len(rows) for i in at}
    asked = [{**row, "plan": plan} if i in bad else row for i, row in enumerate(rows)]
    status, _, data = live.raw(body(kind, asked), "/predict?partial=true", Content_Type=kind)
    assert status == 200, data
    expected = served.ask(MODEL, rows)
    for i, (got, answer) in enumerate(zip(flat(kind, data), expected, strict=True)):
        if i in bad:
            assert not got["prediction"]
            assert [error["column"] for error in told(got)] == ["plan"]
        else:
            assert equal([got], [answer])
            assert not told(got)


def told(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """What is wrong with a row."""
    said = answer.get("errors") or []
    return json.loads(said) if isinstance(said, str) else said
