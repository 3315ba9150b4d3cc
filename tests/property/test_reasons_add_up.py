"""Whatever the features, and whatever the horizon: contributions and the base are the log-odds."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onefold.ml import features
from onefold.ml.panel import KEYS
from onefold.ml.score import reasons, score
from tests.histories import HORIZON_DAYS, small, trained

# A customer has ordered, on the day of the first order or later; everything else may be anything, or unknown.
ANY = st.none() | st.floats(-1e6, 1e6)
DAYS = st.floats(0, 3_000)


@st.composite
def a_customer(draw):
    row = {key: draw(ANY) for key in KEYS}
    last = draw(DAYS)
    return {
        **row,
        "identity": "ann",
        "orders": float(draw(st.integers(1, 500))),
        "days_since_order": last,
        "days_since_first_order": last + draw(DAYS),
    }


@pytest.mark.parametrize("model", [trained, small])
@settings(max_examples=40, deadline=None)
@given(rows=st.lists(a_customer(), min_size=1, max_size=3), days=st.integers(1, HORIZON_DAYS))
def test_contributions_and_the_base_are_the_log_odds(model, rows, days):
    scores = score(model(), pa.Table.from_pylist(rows, schema=features.SCHEMA), days)
    assert np.isfinite(scores.log_odds).all()
    apart = scores.contributions.sum(axis=1) + scores.base_log_odds - scores.log_odds
    assert np.abs(apart).max() <= 1e-9
    told = reasons(scores, 0)
    total = scores.base_log_odds + told.other + sum(reason.contribution for reason in told.reasons)
    assert total == pytest.approx(scores.log_odds[0], abs=1e-9)
