"""PyTorch: every form it is saved in, its free axes, and graphs that answer as forward does."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="runs in .envs/torch: make test-slow")

import deep  # noqa: E402
import zoo_deep  # noqa: E402

from anyport.batch import Column  # noqa: E402
from anyport.errors import BadData, Impossible, Mistake, Untrusted  # noqa: E402
from anyport.frameworks import torch as framework  # noqa: E402
from anyport.predictor import GraphPredictor  # noqa: E402
from anyport.trust import held  # noqa: E402

pytestmark = pytest.mark.slow


def only(found: Any) -> Any:
    """The one candidate."""
    (candidate,) = deep.graphs(found).values()
    return candidate


def forward(model: Any, *args: Any, **kwargs: Any) -> Any:
    """The module's own answer in eval mode."""
    with torch.no_grad():
        return model.eval()(*args, **kwargs)


def test_a_dict_of_tensors_and_a_model_left_in_training_mode() -> None:
    model, data = zoo_deep.torch_mlp()
    with pytest.warns(UserWarning, match=r"training mode \(BatchNorm1d, Dropout\)"):
        found = deep.original(model, data, "torch")
    assert [(f.name, f.dtype, f.shape) for f in found.signature.inputs] == [
        ("numbers", "float32", (3,)), ("city", "int64", ()),
    ]  # fmt: skip
    assert [f.name for f in found.signature.outputs] == ["logits", "probability"]
    assert deep.fault(found, only(found)) == ""
    assert model.training
    assert model.body[3].training
    asked = framework.ask(model, {k: v.numpy() for k, v in data.items()})
    np.testing.assert_allclose(asked["logits"], forward(model, data)["logits"].numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "shapes"),
    [
        (zoo_deep.torch_cnn, [(1, None, None)]),
        (zoo_deep.torch_flat_cnn, [(2, 8, 8)]),
        (zoo_deep.torch_attention, [(None,), (None,)]),
    ],
)
def test_axes_are_free_exactly_where_the_module_takes_any_size(make: Any, shapes: Any) -> None:
    model, data = make()
    found = deep.original(model, data, "torch")
    assert [f.shape for f in found.signature.inputs] == shapes
    assert deep.fault(found, only(found)) == ""


def test_a_free_axis_runs_at_sizes_never_seen() -> None:
    model, data = zoo_deep.torch_attention()
    found = deep.original(model, data, "torch")
    ids, mask = torch.randint(0, 50, (5, 29)), torch.ones(5, 29, dtype=torch.int64)
    mask[1, 3:] = 0
    predictor = GraphPredictor(found.signature, only(found).fast, None)
    got = predictor.predict({"input_ids": Column(ids.numpy()), "attention_mask": Column(mask.numpy())})
    np.testing.assert_allclose(
        got.outputs["prediction"].values, forward(model, ids, mask).numpy(), rtol=1e-4, atol=1e-6
    )


def test_torchscript(tmp_path: Path) -> None:
    path, data = zoo_deep.torch_script(tmp_path)
    model = framework.load(path, held(None))
    found = deep.original(model, data, "torch")
    assert [f.name for f in found.signature.outputs] == ["output_0", "output_1"]
    assert deep.fault(found, only(found)) == ""
    np.testing.assert_array_equal(
        framework.ask(model, {"x": data[0].numpy(), "scale": data[1].numpy()})["output_1"],
        forward(model, *data)[1].numpy(),
    )


@pytest.mark.parametrize("free", [True, False])
def test_an_exported_program_with_and_without_a_free_batch(tmp_path: Path, free: bool) -> None:
    path, data = zoo_deep.torch_program(tmp_path, free=free)
    model = framework.load(path, held(None))
    found = deep.original(model, data, "torch")
    assert found.signature.inputs[0].shape == (5,)
    assert deep.fault(found, only(found)) == ""
    expected = torch.cat([model.module()(data[i : i + 1].repeat(2, 1))[:1] for i in range(len(data))])
    np.testing.assert_allclose(
        framework.ask(model, {"input": data.numpy()})["prediction"], expected.detach(), rtol=1e-6
    )


def test_a_table_goes_in_as_one_tensor() -> None:
    import pandas as pd

    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 3)), columns=["a", "b", "c"])
    frame["c"] = np.arange(30)
    found = deep.original(model, frame, "torch")
    assert found.signature.container == "array"
    candidate = only(found)
    assert candidate.encoder is not None
    assert deep.fault(found, candidate) == ""
    assert deep.fault(found, candidate, exact=True) == ""
    expected = forward(model, torch.tensor(frame.to_numpy(), dtype=torch.float32)).numpy()
    np.testing.assert_allclose(framework.ask(model, frame.to_numpy())["prediction"], expected, rtol=1e-6)


def test_double_and_bfloat16_modules_keep_their_precision() -> None:
    x = np.random.default_rng(1).normal(size=(8, 4))
    double = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh()).double()
    found = deep.original(double, x, "torch")
    assert found.signature.inputs[0].dtype == "float64"
    assert deep.fault(found, only(found), tolerance=deep.Tolerance(rtol=1e-12, atol=1e-14)) == ""
    half = torch.nn.Linear(4, 2).bfloat16()
    asked = framework.ask(half, {"input": x.astype(np.float32)})["prediction"]
    np.testing.assert_array_equal(asked, forward(half, torch.tensor(x).bfloat16()).float().numpy())


def test_an_input_that_nothing_reads_is_still_taken() -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def forward(self, x: Any, unused: Any) -> Any:
            return self.layer(x)

    found = deep.original(Net(), {"x": torch.randn(6, 2), "unused": torch.randn(6, 3)}, "torch")
    assert [f.name for f in found.signature.inputs] == ["x", "unused"]
    assert deep.fault(found, only(found)) == ""


def test_the_python_form_keeps_torch_s_own_formats(tmp_path: Path) -> None:
    script, data = zoo_deep.torch_script(tmp_path)
    program, x = zoo_deep.torch_program(tmp_path)
    (tmp_path / "kept").mkdir()
    for path, given in ((script, {"x": data[0].numpy(), "scale": data[1].numpy()}), (program, {"input": x.numpy()})):
        model = framework.load(path, held(None))
        name = framework.save(model, tmp_path / "kept")
        assert name == f"model{path.suffix}"
        again = framework.ask(framework.load(tmp_path / "kept" / name, held(None)), given)
        for output, array in framework.ask(model, given).items():
            np.testing.assert_array_equal(again[output], array)
    assert framework.save(torch.nn.Linear(2, 1), tmp_path / "kept") is None


def test_what_cannot_be_exported_says_why() -> None:
    class Loop(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.stack([row.clamp(min=float(np.median(row.numpy()))) for row in x])

    found = deep.original(Loop(), torch.randn(4, 3), "torch")
    with pytest.raises(Impossible, match="cannot export"):
        deep.graphs(found)


def test_rows_that_share_an_answer_are_no_rows() -> None:
    class Mean(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x.mean()

    with pytest.raises(BadData, match="a row for each is needed"):
        deep.original(Mean(), torch.randn(4, 3), "torch")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"x": np.zeros((3, 2)), "y": np.zeros((4, 2))}, "differ in their number of rows: x 3, y 4"),
        (np.array(["a"]), "dtype <U1"),
        (np.float32(1), "first axis must be the rows"),
        ({}, "no tensors"),
    ],
)
def test_an_example_that_is_none_is_named(data: Any, says: str) -> None:
    with pytest.raises(BadData, match=says):
        framework.hints(torch.nn.Linear(2, 1), data)


def test_weights_alone_say_what_to_do(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 1).state_dict(), tmp_path / "w.pt")
    with pytest.raises(Mistake, match=r"weights \(a state_dict\)") as caught:
        framework.load(tmp_path / "w.pt", held("all"))
    assert "load_state_dict" in caught.value.fix


def test_a_pickled_module_needs_consent(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.BatchNorm1d(1)).eval()
    torch.save(model, tmp_path / "m.pt")
    with pytest.raises(Untrusted, match="torch"):
        framework.load(tmp_path / "m.pt", held(None))
    loaded = framework.load(tmp_path / "m.pt", held("torch"))
    x = torch.randn(3, 2)
    assert torch.equal(forward(loaded, x), forward(model, x))


class Hostile:
    def __reduce__(self) -> Any:
        import os

        return os.system, ("echo hostile > hostile.txt",)


@pytest.mark.parametrize("trust", [None, "torch", "all"])
def test_a_hostile_file_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trust: str | None) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": torch.nn.Linear(2, 1), "x": Hostile()}, tmp_path / "m.pt")
    with pytest.raises(Untrusted, match="system"):
        framework.load(tmp_path / "m.pt", held(trust))
    path, _ = zoo_deep.torch_program(tmp_path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "bad.pt2", "w") as bad:
        for name in archive.namelist():
            content = archive.read(name)
            bad.writestr(name, (tmp_path / "m.pt").read_bytes() if name.endswith("sample_inputs/model.pt") else content)
    if trust != "all":
        with pytest.raises((Untrusted, Mistake)):
            framework.load(tmp_path / "bad.pt2", held(trust))
        assert not (tmp_path / "hostile.txt").exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x02.", b"PK\x03\x04 cut short"])
def test_a_damaged_file_is_a_mistake(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.pt").write_bytes(content)
    with pytest.raises(Mistake, match=r"m\.pt"):
        framework.load(tmp_path / "m.pt", held("all"))


def test_a_zip_that_is_no_model_is_a_mistake(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt2", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(Mistake, match="not one that torch wrote"):
        framework.load(tmp_path / "m.pt2", held("all"))
