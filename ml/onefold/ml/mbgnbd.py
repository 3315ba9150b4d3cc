"""When customers buy and when they leave, as a stochastic process: the MBG/NBD model.

A customer buys at a constant rate until, after some purchase (the first included), they leave unseen. Rates differ
between customers by a gamma distribution, the chances to leave by a beta distribution. Source: E. Batislam,
M. Denizel, A. Filiztekin, "Empirical validation and comparison of models for customer base analysis", International
Journal of Research in Marketing 24 (2007), with the likelihood as corrected by U. Wagner and D. Hoppe, "Erratum on
the MBG/NBD Model", ibid. 25 (2008). Unlike the BG/NBD it lets a customer of one order leave.

Time is in weeks throughout. Arrays broadcast against each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import minimize
from scipy.special import betaln, expit, gammaln, hyp2f1

from onefold.ml.features import FloatArray

PENALTY: Final = 1e-3
"""On the squared logarithms of the parameters, beside the mean negative log-likelihood: it keeps the parameters of a
small shop finite."""


@dataclass(frozen=True, slots=True)
class History:
    """What the model knows of customers; one entry each."""

    repeats: FloatArray
    """Order days after the first."""
    last: FloatArray
    """Weeks from the first order to the last."""
    age: FloatArray
    """Weeks from the first order to the cutoff."""


@dataclass(frozen=True, slots=True)
class MbgNbd:
    """A fitted model."""

    r: float
    """Shape of the gamma distribution of rates."""
    alpha: float
    """Its rate, in weeks."""
    a: float
    """First parameter of the beta distribution of the chance to leave after a purchase."""
    b: float

    def alive(self, of: History) -> FloatArray:
        """The probability that the customer has not left."""
        stretch = np.log(self.alpha + of.age) - np.log(self.alpha + of.last)
        log_odds_left = np.log(self.a) - np.log(self.b + of.repeats) + (self.r + of.repeats) * stretch
        return np.asarray(expit(-log_odds_left))

    def no_purchase(self, of: History, weeks: float | FloatArray) -> FloatArray:
        """The probability of no purchase within so many weeks from the cutoff."""
        return 1.0 - self.alive(of) * self._returns(of, weeks)

    def rate(self, of: History) -> FloatArray:
        """Expected purchases a week of a customer who has not left."""
        return np.asarray((self.r + of.repeats) / (self.alpha + of.age))

    def expected_purchases(self, of: History, weeks: float | FloatArray) -> FloatArray:
        """Expected purchases within so many weeks from the cutoff, the chance of having left included.

        Batislam et al. (2007), with the hypergeometric function in Euler's other form, in which the number of
        purchases does not blow it up.
        """
        a = self.a if abs(self.a - 1.0) > 1e-6 else 1.0 + 1e-6
        share = weeks / (self.alpha + of.age + weeks)
        leaving = hyp2f1(a + self.b - self.r, a - 1.0, a + self.b + of.repeats, share) * (1.0 - share) ** (a - 1.0)
        return np.asarray(self.alive(of) * (a + self.b + of.repeats) / (a - 1.0) * (1.0 - leaving))

    def return_quantile(self, of: History, within: float, share: float) -> FloatArray:
        """Weeks from the cutoff by which this share of those who return ``within`` so many weeks has returned."""
        reached = share * self._returns(of, within)
        shape = self.r + of.repeats
        return np.asarray((self.alpha + of.age) * np.expm1(-np.log1p(-reached) / shape))

    def _returns(self, of: History, weeks: float | FloatArray) -> FloatArray:
        """The probability of a purchase within so many weeks, of a customer who has not left."""
        since = self.alpha + of.age
        return np.asarray(-np.expm1((self.r + of.repeats) * (np.log(since) - np.log(since + weeks))))


def fit(customers: History) -> MbgNbd:
    """The parameters of the greatest penalised likelihood; the same customers in any order give the same bits.

    Customers who are alike are counted once with their number as weight, so a large base costs little more than a
    small one.
    """
    rows = np.column_stack([customers.repeats, customers.last, customers.age])
    kinds, count = np.unique(rows, axis=0, return_counts=True)
    distinct = History(*kinds.T)
    weight = count / count.sum()

    def loss(logs: FloatArray) -> float:
        return float(-weight @ _log_likelihood(MbgNbd(*np.exp(logs).tolist()), distinct) + PENALTY * (logs @ logs))

    found = minimize(loss, np.zeros(4), method="L-BFGS-B", bounds=[(-8.0, 8.0)] * 4)
    return MbgNbd(*(float(f"{value:.9g}") for value in np.exp(found.x)))


def _log_likelihood(model: MbgNbd, of: History) -> FloatArray:
    """Of each customer: Wagner and Hoppe (2008), equation 3."""
    shape = model.r + of.repeats
    rest = gammaln(shape) - gammaln(model.r) + model.r * np.log(model.alpha) - betaln(model.a, model.b)
    stayed = betaln(model.a, model.b + of.repeats + 1.0) - shape * np.log(model.alpha + of.age)
    left = betaln(model.a + 1.0, model.b + of.repeats) - shape * np.log(model.alpha + of.last)
    return np.asarray(rest + np.logaddexp(stayed, left))
