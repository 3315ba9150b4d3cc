"""Texts as they are compared: without regard to case."""

from __future__ import annotations

from unicodedata import normalize


def folded(text: str) -> str:
    """The text in the one form that stands for all its cases and compositions (Unicode's canonical caseless matching).

    A rule's texts are folded as it is read. Whoever writes a feature that is a text folds it too, so that every back
    end compares plainly and alike.
    """
    return normalize("NFC", normalize("NFD", text).casefold())
