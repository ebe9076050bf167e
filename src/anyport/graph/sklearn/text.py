"""Documents: counts of terms stay in the encoder (tokens are a regular expression's), tf-idf is arithmetic."""

from __future__ import annotations

from typing import Any

from anyport.errors import Impossible
from anyport.graph.build import Builder
from anyport.graph.encoder import Text
from anyport.graph.sklearn import Features
from anyport.graph.sklearn import arithmetic as m
from anyport.graph.sklearn.cells import SELF, Cell, Levels, Term, missing
from anyport.graph.sklearn.curves import normalizer
from anyport.graph.sklearn.frame import Frame, graph_frame, lift


def counts(b: Builder, t: Any, x: Features) -> Frame:
    """CountVectorizer on one text column."""
    features = lift(x)
    feature = features.features[0]
    if features.width != 1 or not isinstance(feature, Cell) or not isinstance(feature.source, Levels):
        raise Impossible(f"{type(t).__name__} on anything but one column of text")
    if feature.other is not SELF or feature.hits or not missing(feature.missing):
        raise Impossible(f"{type(t).__name__} behind a transformer that changes the text")
    for name in ("preprocessor", "tokenizer"):
        if getattr(t, name) is not None:
            raise Impossible(f"{type(t).__name__} with a {name} of its own, which is Python code")
    if callable(t.analyzer) or callable(t.strip_accents) or t.input != "content":
        raise Impossible(f"{type(t).__name__} with an analyzer of its own, which is Python code")
    terms = sorted(t.vocabulary_, key=t.vocabulary_.__getitem__)
    column, pattern = feature.source.column, t.token_pattern or ""
    entry = Text(
        column=column, slot=0, vocabulary=tuple(terms), analyzer=t.analyzer, pattern=pattern,
        lowercase=bool(t.lowercase), accents=t.strip_accents, ngrams=(int(t.ngram_range[0]), int(t.ngram_range[1])),
        stop=tuple(sorted(t.get_stop_words() or ())) if t.analyzer == "word" else (), binary=bool(t.binary),
    )  # fmt: skip
    return features.having((Term(entry, i) for i in range(len(terms))), sparse=True)


def tfidf(b: Builder, t: Any, x: Features) -> Frame:
    """TfidfTransformer: counts, damped where asked, times idf, over their norm."""
    features = lift(x)
    value = features.tensor()
    if t.sublinear_tf:
        zero = b.add("Equal", [value, b.constant(0.0)])
        safe = b.add("Where", [zero, b.constant(1.0), value])
        value = b.add("Where", [zero, b.constant(0.0), m.shift(b, b.add("Log", [safe]), 1.0)])
    if t.use_idf:
        value = m.scale(b, value, t.idf_.reshape(1, -1))
    made = graph_frame(b, value, features.width, like=features)
    made = made if t.norm is None else normalizer(b, t, made)
    return made.having(made.features, sparse=True)


def tfidf_vectorizer(b: Builder, t: Any, x: Features) -> Frame:
    return tfidf(b, t._tfidf, counts(b, t, x))


def hashing(b: Builder, t: Any, x: Features) -> Frame:
    raise Impossible("HashingVectorizer keeps no vocabulary, and no graph can hash text as it does")


CONVERTERS = {
    "CountVectorizer": counts, "TfidfTransformer": tfidf, "TfidfVectorizer": tfidf_vectorizer,
    "HashingVectorizer": hashing,
}  # fmt: skip
