"""The Predictor protocol: anything that answers a Batch, be it a function, a URL or a SQL query."""

from __future__ import annotations

from typing import Protocol

from anyport.batch import Batch, Outcome


class Predictor(Protocol):
    """Answers rows. The rows fit the Signature; what the original refuses is refused here too."""

    def predict(self, inputs: Batch, /) -> Outcome:
        """One answer per row, in order; refused rows are invalid in every output and listed."""
