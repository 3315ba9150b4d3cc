"""Figures of a segment with how sure they are: shares, means of ratios, and the index against everybody (TGI)."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt
from typing import Final

import numpy as np
from scipy.stats import norm

from onefold.ml.features import FloatArray

FEW: Final = 1_000
"""Below so many customers a segment's figures are told with a warning."""
USUAL: Final = 0.95
WIDE: Final = 0.99
EXPECTED_AT_LEAST: Final = 5.0
"""Below so many expected customers an index says nothing."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and the interval that the true one lies in, at the confidence of the insight it belongs to."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of the segment beside the same of everybody."""

    segment: Estimate | None
    """None where there is nobody to measure it on."""
    whole: float | None
    of: int
    """How many of the segment it was measured on."""


def confidence_for(customers: int) -> float:
    """How sure an interval should be: 95 %, and 99 %, which is a third wider, for fewer than :data:`FEW` customers."""
    return USUAL if customers >= FEW else WIDE


def z_of(confidence: float) -> float:
    """How many standard errors an interval of this confidence reaches to each side."""
    return float(norm.ppf(0.5 + confidence / 2))


def share(count: int, of: int, confidence: float) -> Estimate | None:
    """A share with Wilson's score interval; None of nobody.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    if not of:
        return None
    z, p = z_of(confidence), count / of
    middle = (p + z * z / (2 * of)) / (1 + z * z / of)
    reach = z / (1 + z * z / of) * sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return Estimate(p, max(0.0, min(p, middle - reach)), min(1.0, max(p, middle + reach)))


def ratio(parts: FloatArray, wholes: FloatArray, confidence: float) -> Estimate | None:
    """``sum(parts) / sum(wholes)`` over customers, with the delta method's interval; None where the divisor is 0.

    One customer's orders belong together, so what varies is the customer: W. G. Cochran, "Sampling Techniques" (3rd
    ed., 1977), 6.4. Of one customer nothing is known about the spread: the interval is unbounded above, from 0.
    """
    total = float(wholes.sum())
    if not total:
        return None
    value, n = float(parts.sum()) / total, len(parts)
    if n < 2:
        return Estimate(value, 0.0, float("inf"))
    apart = parts - value * wholes
    reach = z_of(confidence) * sqrt(float(np.dot(apart, apart)) * n / (n - 1)) / total
    return Estimate(value, max(0.0, value - reach), value + reach)


def tgi(here: int, segment: int, everywhere: int, whole: int, confidence: float) -> Estimate | None:
    """The target group index: the share of a value in a segment ÷ its share in everybody × 100; 100 is as usual.

    ``here`` of ``segment`` customers have the value, and ``everywhere`` of ``whole``; the segment lies inside the
    whole. None where fewer than :data:`EXPECTED_AT_LEAST` of the segment would have the value if it were as everybody.

    The interval is the delta method's for the logarithm of p / (w·p + (1 − w)·q), with the shares p in the segment and
    q in the rest, which are independent, and w the segment's part of the whole. Taking segment and whole for
    independent, as is often done, makes it too wide. Half a customer is added to each count, so that none is no
    certainty (S. D. Walter, "The distribution of Levin's measure of attributable risk", Biometrika 62, 1975).
    """
    if not segment or segment * everywhere / whole < EXPECTED_AT_LEAST:
        return None
    value = 100.0 * ((here / segment) / (everywhere / whole))
    rest = whole - segment
    if not rest:
        return Estimate(value, value, value)
    p, q = (here + 0.5) / (segment + 1), (everywhere - here + 0.5) / (rest + 1)
    part = segment / whole
    pooled = part * p + (1 - part) * q
    variance = (1 / p - part / pooled) ** 2 * p * (1 - p) / segment
    variance += ((1 - part) / pooled) ** 2 * q * (1 - q) / rest
    middle, reach = log(p / pooled), z_of(confidence) * sqrt(variance)
    low = 0.0 if not here else 100.0 * exp(middle - reach)
    return Estimate(value, min(value, low), max(value, 100.0 * exp(middle + reach)))
