"""What every test shares: one thread, a home of its own, and the zoo packed once per session."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", ORT_DISABLE_TELEMETRY="1", NO_COLOR="1")
sys.path.insert(0, str(Path(__file__).parent))

import packed
import sandbox

pytest.register_assert_rewrite("conforming")  # its assertions then show what they compared

collect_ignore = ["slow"]  # these run in environments of their own, when named: make test-slow


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--target", action="append", default=[], help="only the tests of this target (may be repeated)")


def pytest_configure(config: pytest.Config) -> None:
    from anyport import targets

    for name in targets.TABLE:
        config.addinivalue_line("markers", f"target_{name.replace('-', '_')}: a test of the target {name}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --target, everything but these targets' own tests is left out."""
    from anyport import targets
    from anyport.errors import Mistake

    wanted = config.getoption("--target")
    if not wanted:
        return
    for name in wanted:
        try:
            targets.get(name)
        except Mistake as error:
            raise pytest.UsageError(str(error)) from error
    marks = {f"target_{name.replace('-', '_')}" for name in wanted}
    keep = [i for i in items if any(i.get_closest_marker(m) for m in marks)]
    config.hook.pytest_deselected(items=[i for i in items if i not in keep])
    items[:] = keep


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this session share: pytest-xdist gives each its own below one."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@pytest.fixture(scope="session", autouse=True)
def home(common: Path) -> Iterator[Path]:
    """Settings and cache of the tests' own: nothing is read from the user's, or left there."""
    folder = common / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        for variable in ("ANYPORT_TRUST", "ANYPORT_ZETASQL"):
            patch.delenv(variable, raising=False)
        yield folder


@pytest.fixture(scope="session", autouse=True)
def servers() -> Iterator[None]:
    """What the checks of this process share ends with it."""
    import engines

    yield
    engines.SERVERS.close()


@pytest.fixture(scope="session")
def shelf(common: Path, home: Path) -> packed.Shelf:
    """Bundles of the zoo, packed once per session however many processes run it."""
    return packed.Shelf(common / "shelf")


@pytest.fixture(scope="session")
def penguins(shelf: packed.Shelf) -> Path:
    """The example's bundle."""
    return shelf.bundle("penguin_species")


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory, penguins: Path) -> Path:
    """The folder that the documentation's examples start from."""
    folder = tmp_path_factory.mktemp("sandbox")
    sandbox.fill(folder, penguins)
    return folder


@pytest.fixture
def box(filled: Path, tmp_path: Path) -> sandbox.Sandbox:
    """A copy of it."""
    shutil.copytree(filled, tmp_path / "box")
    return sandbox.Sandbox(tmp_path / "box")
