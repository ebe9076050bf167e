"""The golden rows through an application's own test client: does it answer as the original model did?"""

from __future__ import annotations

from collections.abc import Callable

from anyport.batch import Outcome, Refusal, concat
from anyport.client import bodies, decode_answers
from anyport.codec import parse
from anyport.errors import Mistake
from anyport.golden.compare import Comparison, compare
from anyport.golden.store import read
from anyport.integrations.mounted import Mounted

Post = Callable[[bytes], tuple[int, bytes]]
"""Posts a JSON body to the application's …/predict?partial=true; gives status and body."""


def replay(model: Mounted, post: Post) -> Comparison:
    """All golden rows, asked in batches; `.ok` where every answer is the original's, within the bundle's tolerance.

    Mistake where the bundle carries no golden rows, or where a reply is not 200.
    """
    file = model.bundle.member("golden.npz")
    if file is None:
        raise Mistake(f"{model.bundle.path} carries no golden rows")
    golden = read(file, model.signature)
    refused: dict[int, tuple[Refusal, ...]] = {}
    parts = []
    before = 0
    for body, count in bodies(golden.inputs, model.signature):
        status, reply = post(body)
        if status != 200:
            raise Mistake(f"the application answered {status}: {reply[:200]!r}")
        answers = parse(reply)
        found = decode_answers(answers if isinstance(answers, list) else [answers], model.signature)
        parts.append(found.outputs)
        refused |= {before + row: said for row, said in found.refused.items()}
        before += count
    return compare(
        golden.outcome, Outcome(concat(parts), refused), model.signature,
        tolerance=model.bundle.manifest.tolerance, excluded=golden.excluded,
    )  # fmt: skip
