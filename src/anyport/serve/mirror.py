"""Mirror: a copy of requests and answers goes to a shadow version, which is asked the same and compared, later."""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING

import msgspec

from anyport import codec
from anyport.batch import Batch, Outcome, Refusal, concat, rows, take
from anyport.golden.compare import compare

if TYPE_CHECKING:
    from anyport.serve.model import Served

log = logging.getLogger("anyport.serve")

WAITING = 256
"""Copies that may wait; what comes when there are so many is dropped, and counted."""
JOINED = 32
"""Copies that are compared in one run of the shadow."""
ROWS = 1024
"""Rows of a long batch that are compared: its first."""

Copy = tuple["Served", bytes, bytes] | tuple["Served", Batch, Outcome]
"""Who answered, the question, the answer: as bytes of JSON, or as rows."""


class Mirror:
    """The shadow of one name. `offer` costs an answer nothing but a place in a queue; everything else happens in a
    thread, and nothing that goes wrong there reaches a caller."""

    def __init__(self, shadow: Served, share: float) -> None:
        self.shadow = shadow
        self.share = share
        self._waiting: deque[Copy] = deque()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"anyport-shadow-{shadow.name}")
        self._lock = Lock()
        self._busy = False
        self._closed = False

    def offer(self, copy: Copy) -> None:
        """Compare this, if it falls into the share and there is room. From any thread."""
        if self.share < 1 and random.random() >= self.share:
            return
        with self._lock:
            if self._closed:
                return
            if len(self._waiting) >= WAITING:
                self.shadow.slot.shadowed(dropped=1)
                return
            self._waiting.append(copy)
            if self._busy:
                return
            self._busy = True
            self._pool.submit(self._work)

    def close(self) -> None:
        """Compare no more. What is under way ends by itself."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
        self._pool.shutdown(wait=False)

    def _work(self) -> None:
        """Compare until nothing waits."""
        while True:
            with self._lock:
                taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), JOINED))]
                if not taken:
                    self._busy = False
                    return
            for model in dict.fromkeys(copy[0] for copy in taken):
                self._compare(model, [copy for copy in taken if copy[0] is model])

    def _compare(self, model: Served, copies: Sequence[Copy]) -> None:
        """Ask the shadow what these were asked, and count how it differs."""
        slot = self.shadow.slot
        try:
            read = [asked(copy) for copy in copies]
            inputs = concat([batch for batch, _ in read])
            expected = together([outcome for _, outcome in read])
            got = self._ask(inputs)
            found = compare(expected, got, model.signature, tolerance=model.bundle.manifest.tolerance, show=0)
        except Exception:
            if not self._closed:
                slot.shadowed(failed=len(copies))
                log.warning("the shadow %s %s failed", self.shadow.name, self.shadow.version, exc_info=True)
            return
        refusals = len(set(expected.refused) ^ set(got.refused))
        slot.shadowed(
            rows=found.rows, differing=found.wrong, labels=found.flips, refusals=refusals, largest=found.worst
        )

    def _ask(self, batch: Batch) -> Outcome:
        """The shadow's own answers. A model that may not be safe with two threads keeps to its one."""
        predictor = self.shadow.predictor
        assert predictor is not None, "a shadow is loaded before it is shown"
        if self.shadow.off:
            return self.shadow.pool.submit(predictor.predict, batch).result()
        return predictor.predict(batch)


def asked(copy: Copy) -> tuple[Batch, Outcome]:
    """The rows of a copy and the answers that they got; of a long batch the first."""
    model, question, answer = copy
    if isinstance(question, bytes):
        from anyport import client  # brings http.client and email, of which a function's start has no need

        assert isinstance(answer, bytes)
        batch = codec.decode(question, model.signature).batch
        said = msgspec.json.decode(answer)
        return batch, client.decode_answers(said if isinstance(said, list) else [said], model.signature)
    assert isinstance(answer, Outcome)
    if rows(question) <= ROWS:
        return question, answer
    first = slice(0, ROWS)
    return take(question, first), Outcome(
        take(answer.outputs, first), {row: said for row, said in answer.refused.items() if row < ROWS}
    )


def together(outcomes: Sequence[Outcome]) -> Outcome:
    """The answers to several batches as those to all of their rows."""
    refused: dict[int, tuple[Refusal, ...]] = {}
    start = 0
    for outcome in outcomes:
        refused |= {start + row: said for row, said in outcome.refused.items()}
        start += rows(outcome.outputs)
    return Outcome(concat([outcome.outputs for outcome in outcomes]), refused)
