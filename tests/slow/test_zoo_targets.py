"""The slow targets with every model of the zoo: the artefact answers like the original."""

from __future__ import annotations

from pathlib import Path

import engines
import packed
import pytest
from conforming import conforms, pairs, unfit

from anyport import targets
from anyport.bundle import read
from anyport.errors import Impossible

pytestmark = pytest.mark.slow
FREE = {target for target in targets.TABLE if not targets.get(target).SPEC.answers}
"""Those whose engine is no service that someone has to start first; the others have slow tests of their own."""


@pytest.mark.parametrize(("target", "name"), [pair for pair in pairs(tier="slow") if pair.values[0] in FREE])
def test_an_artefact_answers_as_the_original_did(shelf: packed.Shelf, tmp_path: Path, target: str, name: str) -> None:
    engines.need(target)
    bundle = read(shelf.bundle(name))
    if unfit(target, bundle) is not None:
        with pytest.raises(Impossible):
            targets.build(bundle, target, tmp_path / "artefact")
        return
    conforms(bundle, target, tmp_path / "artefact")
