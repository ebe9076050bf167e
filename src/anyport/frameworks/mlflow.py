"""MLflow model folders: the model inside is read by its own framework here, without mlflow where its file is known."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyport.errors import Missing, Mistake, Untrusted, need
from anyport.frameworks import Candidate, Framework, Hints, get, of_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anyport.frameworks import Original
    from anyport.trust import Trust

NAME = "mlflow"
SUFFIXES: Sequence[str] = ("/MLmodel",)
EXECUTES = True

FLAVORS: Mapping[str, tuple[str, str, str]] = {
    "sklearn": ("sklearn", "pickled_model", "scikit-learn"),
    "xgboost": ("xgboost", "data", "xgboost"),
    "lightgbm": ("lightgbm", "data", "lightgbm"),
    "catboost": ("catboost", "data", "catboost"),
    "onnx": ("onnx", "data", "onnx"),
    "pytorch": ("torch", "model_data", "torch"),
    "keras": ("keras", "data", "keras"),
    "tensorflow": ("keras", "data", "tensorflow"),
}
"""MLflow's flavor → our framework, the key of its file in MLmodel, its distribution."""
PICKLES = (".pkl", ".pickle", ".joblib", ".cloudpickle", ".skops")
VERSIONS = {"sklearn": "sklearn_version", "lightgbm": "lgb_version", "xgboost": "xgb_version"}
"""Where MLmodel says what a pickle was written with."""


@dataclass(frozen=True, eq=False)
class Folder:
    """A model folder that was read."""

    path: Path
    inner: Any
    framework: str
    columns: tuple[str, ...] | None
    """Input names of MLflow's signature."""


def owns(model: Any) -> bool:
    kind = type(model)
    return isinstance(model, Folder) or (kind.__name__ == "PyFuncModel" and kind.__module__ == "mlflow.pyfunc")


def load(path: Path, trust: Trust) -> Folder:
    """The model in a folder. What may be unpickled is the caller's word alone: the list of trusted types that
    MLflow keeps in the folder is not read."""
    folder = path if path.is_dir() else path.parent
    stated = mlmodel(folder)
    flavors = stated.get("flavors") or {}
    columns = signature_columns(stated)
    own_code(folder, flavors, trust)
    for name, (framework, key, distribution) in FLAVORS.items():
        flavor = flavors.get(name)
        if not isinstance(flavor, dict):
            continue
        file = member(folder, str(flavor.get(key) or flavor.get("saved_model_dir") or "data"))
        if file.name.endswith(PICKLES):
            from anyport import trust as door

            same_version(folder, distribution, flavor.get(VERSIONS.get(name, "")))
            inner = door.load(file, trust)
            return Folder(folder, inner, of_model(inner), columns)
        if file.is_dir():
            framework, file = inside(file, framework)
        inner = get(framework).load(file, trust)
        return Folder(folder, inner, framework, columns)
    return Folder(folder, pyfunc(folder, flavors, trust), "python", columns)


def mlmodel(folder: Path) -> dict[str, Any]:
    """The MLmodel file; Mistake where it is none."""
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise Missing("PyYAML is not installed here, and MLmodel is YAML", fix="pip install pyyaml") from error
    try:
        stated = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Mistake(f"{folder / 'MLmodel'} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(stated, dict) or not isinstance(stated.get("flavors"), dict):
        raise Mistake(f"{folder / 'MLmodel'} names no flavors, so it describes no model")
    return stated


def member(folder: Path, name: str) -> Path:
    """A file or folder below `folder`; Mistake where it is elsewhere or absent."""
    file = folder / name
    if Path(name).is_absolute() or not file.resolve().is_relative_to(folder.resolve()):
        raise Mistake(f"{folder / 'MLmodel'} points outside its folder: {name}")
    if not file.exists():
        raise Mistake(f"{folder} lacks {name}, which MLmodel says holds the model")
    return file


def inside(folder: Path, framework: str) -> tuple[str, Path]:
    """The framework and file of a folder that holds one model: a SavedModel, or `model` with a suffix we read."""
    for found in (folder, folder / "model"):
        if (found / "saved_model.pb").is_file():
            return "tensorflow", found
    for suffix in get(framework).SUFFIXES:
        if (folder / f"model{suffix}").is_file():
            return framework, folder / f"model{suffix}"
    listed = ", ".join(sorted(p.name for p in folder.iterdir())[:8])
    raise Mistake(f"{folder} holds no {framework} model that anyport reads (it holds: {listed})")


def own_code(folder: Path, flavors: Mapping[str, Any], trust: Trust) -> None:
    """Python that travels in the folder goes on the import path, with full consent only."""
    for flavor in flavors.values():
        code = flavor.get("code") if isinstance(flavor, dict) else None
        if not code:
            continue
        place = member(folder, str(code))
        if not trust.all:
            brought = ", ".join(sorted(p.relative_to(place).as_posix() for p in place.rglob("*.py"))[:5])
            raise Untrusted(
                f"{folder} brings Python code of its own ({brought}), which opening it runs", fix="--trust all"
            )
        if str(place) not in sys.path:
            sys.path.insert(0, str(place))
        return


def same_version(folder: Path, distribution: str, wanted: Any) -> None:
    """Missing, naming both versions, where a pickle was written with another version than is here."""
    import importlib.metadata

    try:
        here = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        here = ""
    if wanted and str(wanted) != here:
        raise Missing(
            f"{folder} was saved with {distribution} {wanted}, and here is {here or 'none'}",
            fix=f"pip install {distribution}=={wanted}",
        )


def pyfunc(folder: Path, flavors: Mapping[str, Any], trust: Trust) -> Any:
    """A model that only mlflow can put together: its pickle is scanned, anything else needs full consent."""
    from anyport.scan import scan
    from anyport.trust import consent

    flavor = flavors.get("python_function")
    if not isinstance(flavor, dict):
        raise Mistake(f"{folder / 'MLmodel'} has flavors anyport does not read: {', '.join(sorted(flavors))}")
    pickled = flavor.get("python_model")
    if flavor.get("loader_module") == "mlflow.pyfunc.model" and pickled and str(pickled).endswith(PICKLES):
        file = member(folder, str(pickled))
        with file.open("rb") as content:
            consent(file, scan(content).asking(), trust)
    elif not trust.all:
        loader = flavor.get("loader_module")
        raise Untrusted(f"{folder} is opened by running {loader}", fix="--trust all")
    return need("mlflow.pyfunc").load_model(str(folder))


def signature_columns(stated: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Column names of the signature; None for tensors or no signature."""
    signature = stated.get("signature")
    text = signature.get("inputs") if isinstance(signature, dict) else None
    if not text:
        return None
    try:
        listed = json.loads(text)
    except (TypeError, ValueError):
        return None
    if not isinstance(listed, list) or any(not isinstance(i, dict) or i.get("type") == "tensor" for i in listed):
        return None
    names = tuple(str(i["name"]) for i in listed if "name" in i)
    return names if len(names) == len(listed) else None


def example(model: Folder) -> Any:
    """The rows that MLflow kept beside the model as a DataFrame; None where it kept none."""
    file = model.path / "input_example.json"
    if not file.is_file():
        return None
    kept = json.loads(file.read_text(encoding="utf-8"))
    pandas = need("pandas")
    if isinstance(kept, dict) and set(kept) >= {"columns", "data"}:
        return pandas.DataFrame(kept["data"], columns=kept["columns"])
    return pandas.DataFrame(kept) if isinstance(kept, list) and kept and isinstance(kept[0], dict) else None


def inner(model: Any) -> tuple[Framework, Any]:
    """The framework that answers, and what it is asked with. A live PyFuncModel is asked as what it wraps."""
    if isinstance(model, Folder):
        return get(model.framework), model.inner
    raw = model.get_raw_model() if hasattr(model, "get_raw_model") else model
    name = of_model(raw) if raw is not model else "python"
    return (get("python"), model) if name in ("python", NAME) else (get(name), raw)


def hints(model: Any, data: Any) -> Hints:
    framework, found = inner(model)
    said = framework.hints(found, data)
    columns = model.columns if isinstance(model, Folder) else None
    if said.columns is None and said.inputs is None and columns is not None:
        return dataclasses.replace(said, columns=columns)
    return said


def ask(model: Any, native: Any) -> dict[str, NDArray[Any]]:
    framework, found = inner(model)
    return framework.ask(found, native)


def candidates(original: Original) -> Iterator[Candidate]:
    framework, found = inner(original.model)
    yield from framework.candidates(dataclasses.replace(original, model=found, framework=framework.NAME))


def boundaries(original: Original) -> Mapping[str, NDArray[Any]]:
    framework, found = inner(original.model)
    return framework.boundaries(dataclasses.replace(original, model=found, framework=framework.NAME))


def requirements(model: Any) -> tuple[str, ...]:
    """What the model inside needs; for one that only mlflow opens, mlflow and the folder's own list, as far as
    it is installed here."""
    import importlib.metadata
    import re

    framework, found = inner(model)
    if framework.NAME != "python":
        return (*framework.requirements(found), "pyyaml")
    listed = []
    file = model.path / "requirements.txt" if isinstance(model, Folder) else None
    if file is not None and file.is_file():
        listed = re.findall(r"^([A-Za-z0-9][A-Za-z0-9._-]*)", file.read_text(encoding="utf-8"), re.M)
    here = {re.sub(r"[-_.]+", "-", d.metadata["Name"]).lower() for d in importlib.metadata.distributions()}
    wanted = {re.sub(r"[-_.]+", "-", n).lower() for n in (*listed, "mlflow", "mlflow-skinny", "pyyaml")}
    return tuple(sorted(wanted & here))


def save(model: Any, folder: Path) -> str | None:
    """The folder as it was read, without the rows that MLflow kept as an example; None for a live PyFuncModel."""
    import shutil

    if not isinstance(model, Folder):
        return None
    shutil.copytree(
        model.path, folder / "model.mlflow", ignore=shutil.ignore_patterns("*input_example*", "__pycache__")
    )
    return "model.mlflow"
