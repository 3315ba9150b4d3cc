import numpy as np
import pytest

from onefold.ml import mbgnbd
from onefold.ml.mbgnbd import History, MbgNbd

MODEL = MbgNbd(r=0.8, alpha=6.0, a=0.6, b=1.9)


def drawn(model, customers, weeks, seed=1):
    """Customers who buy and leave as the model says, seen for so many weeks after their first order; and how many
    orders each places in the ten weeks after."""
    random = np.random.default_rng(seed)
    repeats, last, later = np.zeros(customers), np.zeros(customers), np.zeros(customers)
    rate = random.gamma(model.r, 1 / model.alpha, customers)
    leaves = random.beta(model.a, model.b, customers)
    for customer in range(customers):
        at = 0.0
        while random.random() >= leaves[customer]:
            at += random.exponential(1 / rate[customer])
            if at > weeks + 10:
                break
            if at > weeks:
                later[customer] += 1
            else:
                repeats[customer], last[customer] = repeats[customer] + 1, at
    return History(repeats, last, np.full(customers, float(weeks))), later


def test_the_parameters_of_drawn_customers_are_found_again():
    seen, _ = drawn(MODEL, 6_000, 52)
    found = mbgnbd.fit(seen)
    assert found.r / found.alpha == pytest.approx(MODEL.r / MODEL.alpha, rel=0.15)
    assert found.a / (found.a + found.b) == pytest.approx(MODEL.a / (MODEL.a + MODEL.b), rel=0.15)


def test_predictions_are_what_drawn_customers_do():
    seen, later = drawn(MODEL, 20_000, 52, seed=2)
    assert MODEL.no_purchase(seen, 10.0).mean() == pytest.approx((later == 0).mean(), abs=0.01)
    assert MODEL.expected_purchases(seen, 10.0).mean() == pytest.approx(later.mean(), rel=0.05)
    often = seen.repeats >= 3
    assert MODEL.expected_purchases(seen, 10.0)[often].mean() == pytest.approx(later[often].mean(), rel=0.08)


def test_a_customer_of_one_order_fades_as_one_who_was_regular_does():
    one = History(np.zeros(3), np.zeros(3), np.array([1.0, 20.0, 100.0]))
    regular = History(np.full(3, 8.0), np.full(3, 16.0), np.array([17.0, 30.0, 100.0]))
    for alive in (MODEL.alive(one), MODEL.alive(regular)):
        assert (np.diff(alive) < 0).all()
        assert ((alive > 0) & (alive < 1)).all()
    assert MODEL.alive(regular)[2] < MODEL.alive(one)[2]


def test_with_more_weeks_a_purchase_is_likelier_and_more_are_expected():
    of = History(np.array([0.0, 3.0]), np.array([0.0, 30.0]), np.array([40.0, 40.0]))
    weeks = np.array([[0.0], [1.0], [4.0], [26.0], [1e6]])
    none, expected = MODEL.no_purchase(of, weeks), MODEL.expected_purchases(of, weeks)
    assert none[0] == pytest.approx([1.0, 1.0])
    assert expected[0] == pytest.approx([0.0, 0.0])
    assert (np.diff(none, axis=0) < 0).all()
    assert (np.diff(expected, axis=0) > 0).all()
    assert none[-1] == pytest.approx(1 - MODEL.alive(of), abs=0.01)
    assert (expected >= 1 - none - 1e-12).all()


def test_expected_purchases_have_no_seam_where_the_formula_divides_by_zero():
    of = History(np.array([5.0]), np.array([30.0]), np.array([40.0]))
    around = [MbgNbd(0.8, 6.0, a, 1.9).expected_purchases(of, 10.0)[0] for a in (0.999, 1.0, 1.001)]
    assert around[1] == pytest.approx((around[0] + around[2]) / 2, rel=1e-4)


def test_many_purchases_do_not_overflow():
    of = History(np.array([400.0]), np.array([300.0]), np.array([301.0]))
    assert MODEL.expected_purchases(of, 10.0)[0] == pytest.approx(400 / 307 * 10, rel=0.05)


def test_half_of_those_who_return_have_returned_by_the_median():
    of = History(np.array([0.0, 6.0]), np.array([0.0, 30.0]), np.array([40.0, 33.0]))
    median = MODEL.return_quantile(of, 12.0, 0.5)
    returned = 1 - MODEL.no_purchase(of, 12.0)
    assert 1 - MODEL.no_purchase(of, median) == pytest.approx(returned / 2)


def test_the_order_of_customers_does_not_matter_to_the_last_bit():
    seen, _ = drawn(MODEL, 300, 52)
    turned = np.random.default_rng(1).permutation(300)
    shuffled = History(seen.repeats[turned], seen.last[turned], seen.age[turned])
    assert mbgnbd.fit(shuffled) == mbgnbd.fit(seen)


def test_a_shop_where_nobody_returned_gives_finite_parameters():
    found = mbgnbd.fit(History(np.zeros(20), np.zeros(20), np.linspace(1, 30, 20)))
    assert all(0 < value < np.inf for value in (found.r, found.alpha, found.a, found.b))
