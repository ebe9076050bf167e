"""Pack MiniLM as a text embedder: python examples/minilm/pack.py WHEEL OUT.anyport"""

from __future__ import annotations

import ast
import sys
import sysconfig
from pathlib import Path

from embedder import load

import anyport


def sentences() -> list[str]:
    """Real English, there wherever Python is: the first lines of its modules' documentation."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    texts = [ast.get_docstring(ast.parse(path.read_bytes())) or "" for path in sorted(folder.glob("*.py"))]
    return [text.splitlines()[0] for text in texts if text]


def main(wheel: str, out: str) -> None:
    made = anyport.pack(load(Path(wheel)), sentences(), name="minilm", out=out)
    print(f"{made.path}: form {made.form}, {made.signature.outputs[0].says()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
