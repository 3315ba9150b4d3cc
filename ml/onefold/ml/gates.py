"""What data a prediction needs, and what of that is there: in numbers, and in plain words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from onefold.graph.errors import NotReady
from onefold.graph.model import Instant
from onefold.ml.features import Population
from onefold.ml.panel import DAY, WARM_UP_DAYS, Panel

Kind = Literal["full", "small"]
"""``full``: linear models and trees. ``small``: the buying process and linear models, which small data bear better."""


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition."""

    kind: Kind
    """The model it opens; without ``small`` there is none."""
    what: str
    there: int
    needed: int

    @property
    def is_open(self) -> bool:
        """Whether there is enough."""
        return self.there >= self.needed

    @property
    def words(self) -> str:
        """What is there of what is needed."""
        return f"{self.what}: {self.there} of {self.needed} needed"


@dataclass(frozen=True, slots=True)
class Needs:
    """The least data for which a model is tried."""

    customers: int = 100
    returning: int = 30
    """Customers with a second order day."""
    each_outcome: int = 25
    """Customers who left, and who stayed, in the training windows and in the held-out one."""
    full_customers: int = 1_001
    """For trees: up to 1,000 customers the smaller model has the lower log loss."""
    full_returning: int = 300


NEEDS: Final = Needs()


def of_population(known: Population, cutoff: Instant, horizon_days: int, needs: Needs = NEEDS) -> tuple[Gate, ...]:
    """The conditions on customers and history of a model that predicts ``horizon_days`` from ``cutoff`` on."""
    days = 0 if known.first_order is None else (cutoff - known.first_order) // DAY
    return (
        Gate("small", "customers with an order", known.customers, needs.customers),
        Gate("small", "customers with a second order", known.returning, needs.returning),
        Gate("small", "days of history", days, WARM_UP_DAYS + 2 * horizon_days),
        Gate("full", "customers with an order", known.customers, needs.full_customers),
        Gate("full", "customers with a second order", known.returning, needs.full_returning),
    )


def of_outcomes(train: Panel, test: Panel, needs: Needs = NEEDS) -> tuple[Gate, ...]:
    """The conditions on what customers did in the windows to learn from, and in the held-out one."""

    def customers(rows: Panel, churned: bool) -> int:
        return len(np.unique(rows.customer[rows.churned == churned]))

    counted = (
        ("customers who left in the training windows", customers(train, True)),
        ("customers who stayed in the training windows", customers(train, False)),
        ("customers who left in the held-out window", customers(test, True)),
        ("customers who stayed in the held-out window", customers(test, False)),
    )
    return tuple(Gate("small", what, there, needs.each_outcome) for what, there in counted)


def require(gates: Iterable[Gate]) -> None:
    """Raises :class:`NotReady` saying all that is missing, and by how much, where there can be no model at all."""
    short = [gate.words for gate in gates if gate.kind == "small" and not gate.is_open]
    if short:
        raise NotReady("churn model", "too little to learn from; " + "; ".join(short))
