"""What is wrong with a rule, and where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from onefold.graph.errors import InvalidInput, Violation
from onefold.segments.tree import Span


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    at: Span
    words: str


class InvalidRule(InvalidInput):
    """A rule is not of the language, or says what can't be; carries every problem with its line and column."""

    def __init__(self, text: str, problems: Sequence[Problem]) -> None:
        super().__init__([Violation(_place(text, problem.at), problem.words) for problem in problems])
        self.text = text
        self.problems = tuple(problems)

    def shown(self) -> str:
        """Each problem under its line of the rule, with a mark under the place."""
        return "\n".join(_shown(self.text, problem) for problem in self.problems)


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Of a character, both counted from 1."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about a word that is not known."""
    near = get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def _place(text: str, at: Span) -> str:
    line, column = line_and_column(text, at[0])
    return f"line {line}, column {column}"


def _shown(text: str, problem: Problem) -> str:
    start, end = problem.at
    first = text.rfind("\n", 0, start) + 1
    line = text[first:].split("\n", 1)[0]
    # What comes before the mark is as wide as what comes before the place: a tab stays a tab.
    before = "".join(c if c == "\t" else " " for c in line[: start - first])
    mark = "^" * max(1, min(end, first + len(line)) - start)
    return f"{_place(text, problem.at)}: {problem.words}\n  {line}\n  {before}{mark}"
