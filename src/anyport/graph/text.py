"""Documents into term counts exactly as scikit-learn's CountVectorizer does, without scikit-learn."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping

from anyport.graph.encoder import Text

SPACES = re.compile(r"\s\s+")


def counter(entry: Text) -> Callable[[str], Mapping[int, int]]:
    """document → {index of term in the vocabulary: count}."""
    place = {term: i for i, term in enumerate(entry.vocabulary)}
    terms = analyzer(entry)
    binary = entry.binary

    def count(document: str) -> Mapping[int, int]:
        counts: dict[int, int] = {}
        for term in terms(document):
            i = place.get(term)
            if i is not None:
                counts[i] = 1 if binary else counts.get(i, 0) + 1
        return counts

    return count


def analyzer(entry: Text) -> Callable[[str], list[str]]:
    """document → its terms, in scikit-learn's order of work: lower case, accents, tokens, stop words, n-grams."""
    low, high = entry.ngrams
    stop = frozenset(entry.stop)
    if entry.analyzer == "word":
        found = re.compile(entry.pattern).findall

        def split(text: str) -> list[str]:
            tokens = [t for t in found(text) if t not in stop] if stop else found(text)
            return tokens if high == 1 else word_ngrams(tokens, low, high)

    elif entry.analyzer == "char":

        def split(text: str) -> list[str]:
            text = SPACES.sub(" ", text)
            return [text[i : i + n] for n in range(low, min(high, len(text)) + 1) for i in range(len(text) - n + 1)]

    else:

        def split(text: str) -> list[str]:
            return [gram for word in SPACES.sub(" ", text).split() for gram in padded_ngrams(f" {word} ", low, high)]

    lower, accents = entry.lowercase, entry.accents

    def analyze(document: str) -> list[str]:
        if lower:
            document = document.lower()
        if accents is not None:
            document = strip_accents(document, ascii_=accents == "ascii")
        return split(document)

    return analyze


def strip_accents(text: str, *, ascii_: bool) -> str:
    """scikit-learn's strip_accents_ascii and strip_accents_unicode."""
    normal = unicodedata.normalize("NFKD", text)
    if ascii_:
        return normal.encode("ASCII", "ignore").decode("ASCII")
    return "".join(c for c in normal if not unicodedata.combining(c))


def word_ngrams(tokens: list[str], low: int, high: int) -> list[str]:
    """Runs of low … high tokens, joined by a space."""
    return [" ".join(tokens[i : i + n]) for n in range(low, high + 1) for i in range(len(tokens) - n + 1)]


def padded_ngrams(word: str, low: int, high: int) -> list[str]:
    """Character n-grams of one padded word; a word shorter than n is counted once, whole, and ends the search."""
    made = []
    for n in range(low, high + 1):
        made.append(word[:n])
        made += [word[i : i + n] for i in range(1, len(word) - n + 1)]
        if len(word) <= n:
            break
    return made
