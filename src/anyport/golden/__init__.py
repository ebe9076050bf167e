"""Golden rows: inputs with the original's own answers, how they are made, stored and compared."""

from __future__ import annotations

from anyport.golden.ask import answer, single
from anyport.golden.compare import Comparison, Difference, compare
from anyport.golden.rows import Golden, make
from anyport.golden.rules import find_rules
from anyport.golden.store import read, write

__all__ = ["Comparison", "Difference", "Golden", "answer", "compare", "find_rules", "make", "read", "single", "write"]
