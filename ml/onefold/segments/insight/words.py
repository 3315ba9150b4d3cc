"""Which words set good reviews apart from bad ones (I6), in Latin script, in Chinese, and in others that put spaces.

Words are ranked by the log-odds of their use with an informative Dirichlet prior, in standard errors: B. Monroe, M.
Colaresi and K. Quinn, "Fightin' Words", Political Analysis 16 (2008), 3.5.1. The prior are all of the reviews, so that
words which everybody uses fall to the middle without a list of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import log, sqrt
from typing import Final

from onefold.segments.folding import folded
from onefold.segments.insight.relations import Relations

GOOD_FROM: Final = 4.0
BAD_TO: Final = 2.0
REVIEWS: Final = 50_000
"""How many reviews are read, the newest first."""
PRIOR: Final = 500.0
"""How many words the prior weighs, as in the paper."""
SURE: Final = 1.96
USED_AT_LEAST: Final = 3

Segmenter = Callable[[str], Iterable[str]]
"""Cuts a text without spaces into words."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word that one sort of reviews has more than the other."""

    word: str
    good: int
    """Good reviews that have it."""
    bad: int
    score: float
    """Standard errors of its log-odds; above 0 for good."""


@dataclass(frozen=True, slots=True)
class Words:
    """What the segment's reviews say."""

    good: tuple[Word, ...]
    bad: tuple[Word, ...]
    """The clearest first; only what is more than chance."""
    good_reviews: int
    bad_reviews: int
    note: str = ""
    """What could not be read."""


def words(relations: Relations, most: int) -> Words:
    """Words of good (rated 4 or more) and bad (2 or less) reviews, ``most`` of each at most.

    A review is an event with a ``text`` and a ``rating``. Chinese needs ``rjieba``; without it a note says so.
    """
    reviews = relations.rows(_REVIEWS, reviews=REVIEWS)
    segmenter = chinese()
    good = Counter[str]()
    bad = Counter[str]()
    every = Counter[str]()
    counts = {"good": 0, "bad": 0}
    unread = 0
    for text, rating in reviews:
        used = set(terms(text, segmenter))
        unread += segmenter is None and _HAN.search(text) is not None
        every.update(used)
        if rating >= GOOD_FROM:
            counts["good"] += 1
            good.update(used)
        elif rating <= BAD_TO:
            counts["bad"] += 1
            bad.update(used)
    ranked = compared(good, bad, every)
    return Words(
        tuple([word for word in ranked if word.score >= SURE and word.good >= USED_AT_LEAST][:most]),
        tuple([word for word in reversed(ranked) if word.score <= -SURE and word.bad >= USED_AT_LEAST][:most]),
        counts["good"],
        counts["bad"],
        f"Chinese in {unread:,} reviews is left out: pip install 'onefold[words]'" if unread else "",
    )


_REVIEWS: Final = """
    SELECT map_extract_value(properties, 'text') AS text,
        try_cast(map_extract_value(properties, 'rating') AS DOUBLE) AS rating
    FROM happened
    WHERE inside AND text <> '' AND rating IS NOT NULL
    ORDER BY placed DESC, identity, text, rating
    LIMIT $reviews
"""


def compared(good: Counter[str], bad: Counter[str], every: Counter[str]) -> list[Word]:
    """The words of both sides by their score, the best first; ``every`` counts what the prior knows of."""
    all_words, of_good, of_bad = every.total(), good.total(), bad.total()
    if not of_good or not of_bad or len(every) == 1:  # a word beside no other is as likely as can be on either side
        return []
    found = []
    for word in good.keys() | bad.keys():
        prior = PRIOR * every[word] / all_words
        a, b = good[word] + prior, bad[word] + prior
        odds = log(a / (of_good + PRIOR - a)) - log(b / (of_bad + PRIOR - b))
        found.append(Word(word, good[word], bad[word], odds / sqrt(1 / a + 1 / b)))
    return sorted(found, key=lambda word: (-word.score, word.word))


_HAN: Final = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]+")
_LETTER: Final = "[^\\W\\d_\u3400-\u4dbf\u4e00-\u9fff]"
_TOKEN: Final = re.compile(f"({_HAN.pattern})|({_LETTER}+(?:['’]{_LETTER}+)*)|(.)", re.DOTALL)

_NEGATIONS: Final = {
    "not", "no", "never", "without", "nicht", "kein", "keine", "nie", "pas", "jamais", "sans", "nunca", "sin",
    "不", "没", "没有", "不是", "不够", "并不", "并非", "未", "无",
}  # fmt: skip
_FILLERS: Final = {
    "a", "an", "the", "so", "very", "too", "that", "really", "all", "as", "at", "is", "was", "been", "sehr", "zu", "si",
    "très", "muy", "tan", "很", "太", "是", "怎么", "那么", "特别", "非常", "的",
}  # fmt: skip
"""What may stand between a negation and what is negated."""


def terms(text: str, segmenter: Segmenter | None) -> Iterator[str]:
    """The words of a text in lower case; one that is negated comes joined with its negation: ``not good``, ``不好``.

    Runs of Chinese are cut by the segmenter, or left out without one.
    """
    negation = ""
    for word in _tokens(folded(text), segmenter):
        if word == "cannot" or word.endswith(("n't", "n’t")):
            negation = "not"
        elif word in _NEGATIONS:
            negation = word
        elif not word:
            negation = ""
        elif not negation:
            yield word
        elif word not in _FILLERS:
            yield f"{negation}{'' if _HAN.match(word) else ' '}{word}"
            negation = ""


def _tokens(text: str, segmenter: Segmenter | None) -> Iterator[str]:
    """Words in their order, and an empty text where a sentence or a part of it ends."""
    for han, letters, other in _TOKEN.findall(text):
        if letters:
            yield letters
        elif han:
            yield from segmenter(han) if segmenter else ()
        elif other in _ENDS:
            yield ""


_ENDS: Final = frozenset(".,;:!?()\n。，；：！？、（）…")


@cache
def chinese() -> Segmenter | None:
    """What cuts Chinese into words; None where ``rjieba`` is not installed."""
    try:
        import rjieba
    except ImportError:
        return None
    cut: Callable[[str], Sequence[str]] = rjieba.cut
    return cut
