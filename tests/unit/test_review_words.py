"""Words of reviews: how texts are cut, and which words set good reviews apart."""

import builtins
from collections import Counter

import pytest

from onefold.segments.insight import words
from onefold.segments.insight.describe import describe
from tests.clientele import END, crowd

SEGMENTS = {"质量不好": ["质量", "不", "好"], "很失望": ["很", "失望"], "不太满意": ["不", "太", "满意"], "杯": ["杯"]}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Great MUG!", ["great", "mug"]),
        ("It isn't very good", ["it", "not good"]),
        ("it isn’t as bad as I feared", ["it", "not bad", "as", "i", "feared"]),
        ("No, good", ["good"]),
        ("never again", ["never again"]),
        ("cannot recommend", ["not recommend"]),
        ("Nicht gut, aber schön", ["nicht gut", "aber", "schön"]),
        ("l'été 2024 x2", ["l'été", "x"]),
        ("质量不好，很失望", ["质量", "不好", "很", "失望"]),
        ("不太满意", ["不满意"]),
        ("nice 杯!", ["nice", "杯"]),
        ("Очень хорошо", ["очень", "хорошо"]),
        ("", []),
        ("not", []),
    ],
)
def test_a_text_is_cut_into_words_and_what_is_negated_is_joined(text, found):
    assert list(words.terms(text, lambda run: SEGMENTS[run])) == found


def test_without_a_segmenter_chinese_is_left_out():
    assert list(words.terms("nice 质量不好 mug", None)) == ["nice", "mug"]


def test_words_of_one_side_are_ranked_and_words_of_all_are_not():
    good = Counter({"the": 100, "love": 30, "rare": 1, "mug": 50})
    bad = Counter({"the": 95, "broke": 25, "mug": 40})
    ranked = words.compared(good, bad, good + bad)
    assert [ranked[0].word, ranked[-1].word] == ["love", "broke"]
    assert ranked[0].score > words.SURE
    assert ranked[-1].score < -words.SURE
    assert all(abs(word.score) < words.SURE for word in ranked if word.word in ("the", "mug", "rare"))
    assert words.compared(good, Counter(), good) == []


def test_where_all_reviews_say_one_word_it_sets_nothing_apart():
    assert words.compared(Counter(ok=5), Counter(ok=4), Counter(ok=9)) == []


def test_the_score_is_that_of_the_paper():
    """Equation 16 and 22 by hand, for one word of two."""
    (word,) = [w for w in words.compared(Counter(a=3, b=1), Counter(a=1, b=5), Counter(a=4, b=6)) if w.word == "a"]
    a, b = 3 + 200, 1 + 200
    odds = words.log(a / (4 + 500 - a)) - words.log(b / (6 + 500 - b))
    assert word.score == pytest.approx(odds / (1 / a + 1 / b) ** 0.5)


def test_without_rjieba_the_insight_says_what_is_left_out(monkeypatch):
    real = builtins.__import__

    def no_rjieba(name, *rest):
        if name == "rjieba":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", no_rjieba)
    words.chinese.cache_clear()
    made = crowd(3, 1_000)
    found = describe(made.members, *made.tables(), END).words
    words.chinese.cache_clear()
    assert found.note.startswith("Chinese in ")
    assert {word.word for word in found.good} <= {
        "great",
        "sturdy",
        "mug",
        "not bad",
        "love",
        "colour",
        "at",
        "all",
        "the",
    }
    assert found.good_reviews > 20


def test_with_rjieba_good_and_bad_words_of_both_scripts_are_told():
    pytest.importorskip("rjieba")
    made = crowd(3, 3_000)
    found = describe(made.members, *made.tables(), END).words
    assert {"love", "满意", "物流"} <= {word.word for word in found.good}
    assert {"never again", "失望", "不好看"} <= {word.word for word in found.bad}
    assert not found.note
