"""A frame as it would have been: of an instant that is over, from what the graph knows today."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from onefold.graph import columns, people
from onefold.graph.model import Instant
from onefold.graph.reader import Reader
from onefold.graph.segments import listed
from onefold.segments import features
from onefold.segments.columns import PREDICTIONS
from onefold.segments.frame import evaluated
from onefold.service.defined import Defined


def frame_as_of(reader: Reader, defined: Defined, as_of: Instant) -> pa.Table:
    """Everybody who had done something, or was an identity, before an instant, with features, labels and segments as of
    then.

    Orders, refunds and events are those of before it. Who is who, traits and lists are those of today, since nobody
    knows when they were learned; predictions are unknown. Raises DeadlineExceeded, Unavailable.
    """
    asked = defined.catalogue
    orders = columns.wide_orders(reader, as_of)
    lines = columns.wide_lines(reader, as_of)
    events = columns.wide_events(reader, as_of, properties=features.event_properties(asked))
    everybody = _there(people.people(reader), orders, events, as_of)
    unpredicted = PREDICTIONS.empty_table()
    against = features.population(orders, lines, unpredicted, as_of)
    known = features.compute(everybody, orders, lines, events, unpredicted, as_of, against, asked)
    static = {key: listed(reader, list) for key, list in defined.lists.items()}
    return evaluated(known, asked, static, as_of)


def _there(everybody: pa.Table, orders: pa.Table, events: pa.Table, as_of: Instant) -> pa.Table:
    doers = pa.chunked_array([*orders["identity"].chunks, *events["identity"].chunks], pa.string())
    did = pc.is_in(everybody["identity"], value_set=pc.unique(doers))
    known = pc.less(everybody["created_at"].cast(pa.int64()), as_of)
    return everybody.filter(pc.or_(did, known))
