"""Units, as far as they tell apart what can't be compared: days, amounts of money, and plain numbers.

Counts of orders, views and pieces are all plain: comparing carts to orders makes sense.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

Measure = frozenset[tuple[str, int]]
"""Powers of base units: amount per day is ``{("amount", 1), ("days", -1)}``; a plain number is empty."""

_BASE: Final = ("days", "amount", "micros")

PLAIN: Final[Measure] = frozenset()
DAYS: Final[Measure] = frozenset({("days", 1)})


def measure_of(unit: str) -> Measure:
    """What a figure in that unit measures."""
    return frozenset({(unit, 1)}) if unit in _BASE else PLAIN


def product(a: Measure, b: Measure, power: int = 1) -> Measure:
    """The measure of ``a × b`` or, with a ``power`` of -1, of ``a ÷ b``."""
    powers = Counter(dict(a))
    for base, each in b:
        powers[base] += power * each
    return frozenset((base, each) for base, each in powers.items() if each)


def words(measure: Measure) -> str:
    """How an error says it."""
    if not measure:
        return "a plain number"
    over = [_power(base, each) for base, each in sorted(measure) if each > 0]
    under = [_power(base, -each) for base, each in sorted(measure) if each < 0]
    return " / ".join([" × ".join(over) or "1", *under])


def _power(base: str, power: int) -> str:
    return base if power == 1 else f"{base}^{power}"
