import pytest

from onefold.graph.errors import NotReady
from onefold.ml import gates
from onefold.ml.features import Population
from onefold.ml.gates import Gate
from tests.histories import DAY

NOW = 20_000 * DAY


def of(customers, returning, days, horizon=90):
    known = Population(customers, returning, customers, NOW - days * DAY, "GBP", 30.0)
    return gates.of_population(known, NOW, horizon)


def test_enough_of_everything_opens_every_gate():
    assert all(gate.is_open for gate in of(5_000, 2_000, 700))


def test_what_is_missing_is_said_with_how_much_there_is_and_how_much_is_needed():
    with pytest.raises(NotReady) as raised:
        gates.require(of(40, 5, 100))
    assert raised.value.missing == (
        "too little to learn from; customers with an order: 40 of 100 needed; "
        "customers with a second order: 5 of 30 needed; days of history: 100 of 210 needed"
    )


def test_a_thousand_customers_are_enough_for_a_small_model_and_not_for_trees():
    found = of(1_000, 500, 700)
    gates.require(found)
    assert [gate.words for gate in found if not gate.is_open] == ["customers with an order: 1000 of 1001 needed"]
    assert all(gate.is_open for gate in of(1_001, 500, 700))


def test_a_longer_horizon_needs_a_longer_history():
    gates.require(of(5_000, 2_000, 390, horizon=180))
    with pytest.raises(NotReady, match="days of history: 389 of 390 needed"):
        gates.require(of(5_000, 2_000, 389, horizon=180))


def test_only_what_every_model_needs_stands_in_the_way_of_a_model():
    gates.require([Gate("full", "customers", 1, 2), Gate("small", "customers", 2, 2)])
    with pytest.raises(NotReady, match="customers: 1 of 2 needed"):
        gates.require([Gate("small", "customers", 1, 2)])
