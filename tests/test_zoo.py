"""Every model of the zoo: packed in the form it should be, and fresh rows answered as its own library answers them."""

from __future__ import annotations

from typing import Any

import numpy as np
import packed
import pytest
import zoo

import anyport
from anyport.model import Model

NAMES = sorted(zoo.load())


@pytest.fixture(scope="module")
def models(shelf: packed.Shelf) -> Any:
    """Loaded models by name; a Python form was packed by us, in this home, and needs no further consent."""
    loaded: dict[str, Model] = {}

    def get(name: str) -> Model:
        if name not in loaded:
            loaded[name] = anyport.load(shelf.bundle(name))
        return loaded[name]

    return get


def alike(expected: dict[str, Any], got: dict[str, Any], model: Model) -> None:
    """Assert that labels are equal and numbers within the tolerance that the bundle states."""
    tolerance = model.bundle.manifest.tolerance
    assert list(got) == [f.name for f in model.signature.outputs]
    assert set(got) == set(expected)
    for name, values in expected.items():
        field = model.signature.output(name)
        assert field is not None
        if field.dtype == "string" or (field.levels is not None and name.startswith("prediction")):
            assert np.asarray(got[name]).tolist() == np.asarray(values).tolist(), name
            assert {type(v) for v in np.asarray(got[name]).tolist()} == {type(v) for v in np.asarray(values).tolist()}
        else:
            np.testing.assert_allclose(
                np.asarray(got[name], float), np.asarray(values, float), rtol=tolerance.rtol, atol=tolerance.atol,
                err_msg=name,
            )  # fmt: skip


def test_there_are_enough_of_every_kind() -> None:
    exhibits = zoo.load().values()
    assert len(exhibits) >= 24
    assert {e.framework for e in exhibits} >= {"sklearn", "lightgbm", "xgboost", "catboost", "onnx", "python"}
    assert {e.form for e in exhibits} == {"graph", "python"}
    assert all(len(e.breaks) > 30 for e in exhibits), "each says what it is there to break"


@pytest.mark.parametrize("name", NAMES)
def test_it_is_packed_in_its_form(shelf: packed.Shelf, name: str) -> None:
    bundle = anyport.inspect(shelf.bundle(name))
    exhibit = zoo.load()[name]
    assert bundle.manifest.framework == exhibit.framework
    assert bundle.form == exhibit.form, bundle.manifest.why_no_graph
    if bundle.form == "graph":
        kept = [t for t in bundle.manifest.tried if t.name == bundle.manifest.kept]
        assert len(kept) == 1
        assert not kept[0].rejected
        assert kept[0].rows >= 500
        assert not bundle.manifest.why_no_graph
    else:
        assert bundle.manifest.why_no_graph


@pytest.mark.parametrize("name", NAMES)
def test_fresh_rows_are_answered_as_by_the_original(models: Any, name: str) -> None:
    made, model = zoo.load()[name].make(), models(name)
    got = model.predict(made.fresh)
    if hasattr(got, "columns"):
        got = folded(got, model)
    alike(zoo.answers(made, made.fresh), got, model)


def folded(frame: Any, model: Model) -> dict[str, Any]:
    """probability_0, probability_1, … of a DataFrame as one array."""
    columns = {}
    for field in model.signature.outputs:
        wide = [c for c in frame.columns if c.startswith(f"{field.name}_") and c[len(field.name) + 1 :].isdigit()]
        columns[field.name] = frame[wide].to_numpy() if field.shape else frame[field.name].to_numpy()
    return columns


@pytest.mark.parametrize("name", [n for n in NAMES if n != "fixed_batch"])  # its rows are tensors
def test_one_row_as_a_dict_is_answered_as_by_the_original(models: Any, name: str) -> None:
    made, model = zoo.load()[name].make(), models(name)
    names = [f.name for f in model.signature.inputs]
    expected = zoo.answers(made, made.fresh)
    for row in range(min(len(made.fresh), 25)):
        if hasattr(made.fresh, "iloc"):
            record = dict(zip(names, made.fresh.iloc[row].tolist(), strict=True))
        else:
            item = made.fresh[row]
            record = {names[0]: item} if isinstance(item, str) else dict(zip(names, item.tolist(), strict=True))
        got = model.predict(record)
        assert all(not isinstance(v, np.generic) for v in got.values()), "plain Python values"
        alike({k: v[row : row + 1] for k, v in expected.items()}, {k: [v] for k, v in got.items()}, model)
