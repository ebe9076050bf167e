"""The slow targets with every model of the zoo: the artefact answers like the original."""

from __future__ import annotations

import os
from pathlib import Path

import engines
import packed
import pytest
import zoo
from conforming import conforms, pairs, unfit

from anyport import targets
from anyport.bundle import read
from anyport.errors import Impossible

pytestmark = pytest.mark.slow
FREE = {t for t in targets.TABLE if not targets.get(t).SPEC.answers and not engines.elsewhere(t)}
"""Those whose engine is no service that someone has to start first, nor in another environment, where these same tests
are run for it: the others have slow tests of their own."""


FAMILIES = (("azure_functions", "gcf", "lambda"), ("databricks", "redshift", "snowflake", "trino"))
"""Targets that answer by the same code: each exhibit is asked in one of a family, and in all with ZOO=whole."""


FEW = {"clickhouse": ("counts", "fixed_batch", "nullable_columns", "odd_names", "xgboost_numbers")}
"""Targets whose engine takes seconds to plan a large model, once for each of the questions of a check: what they are
asked in full, and with ZOO=whole everything; tests/slow/test_clickhouse.py asks it all golden rows of every exhibit."""


def in_turn(target: str, name: str) -> bool:
    """Whether it is this target's turn with an exhibit."""
    if target in FEW and os.environ.get("ZOO") != "whole":
        return name in FEW[target]
    family = next((f for f in FAMILIES if target in f), None)
    if family is None or os.environ.get("ZOO") == "whole":
        return True
    return list(zoo.load()).index(name) % len(family) == family.index(target)


ASKED = [pair for pair in pairs(tier="slow") if pair.values[0] in FREE and in_turn(*pair.values)]


@pytest.mark.parametrize(("target", "name"), ASKED)
def test_an_artefact_answers_as_the_original_did(shelf: packed.Shelf, tmp_path: Path, target: str, name: str) -> None:
    engines.need(target)
    bundle = read(shelf.bundle(name))
    if unfit(target, bundle) is not None:
        with pytest.raises(Impossible):
            targets.build(bundle, target, tmp_path / "artefact")
        return
    conforms(bundle, target, tmp_path / "artefact")


@pytest.mark.parametrize(("target", "given"), [
    ("sqlserver", {"engine": "python"}), ("bigquery", {"engine": "onnx", "bucket": "models"}),
], ids=["sqlserver-python", "bigquery-onnx"])  # fmt: skip
@pytest.mark.parametrize("name", [n for n, e in zoo.load().items() if e.form == "graph"])
def test_a_graph_in_a_databases_own_runtime_answers_as_the_original_did(
    shelf: packed.Shelf, tmp_path: Path, target: str, given: dict[str, str], name: str
) -> None:
    bundle, module = read(shelf.bundle(name)), targets.get(target)
    if targets.fits(module, bundle, targets.options(module, given)) is not None:
        assert target == "bigquery"  # whose columns' names are limited, and which takes no graph behind an encoder
        with pytest.raises(Impossible):
            targets.build(bundle, target, tmp_path / "artefact", **given)
        return
    conforms(bundle, target, tmp_path / "artefact", **given)
