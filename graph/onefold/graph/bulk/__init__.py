"""The columns front of :mod:`onefold.graph.resolve`: the same rules in the same order, over millions of rows.

The whole graph, a first load or a what-if comes as :class:`EvidenceColumns`, rows of integer codes with tables that
say what each code means, and leaves as a :class:`ColumnPartition`. Texts are touched only where canonical order has to
break a tie, and for refusals.
"""

from onefold.graph.bulk.columns import ColumnPartition, EvidenceColumns, columns_of
from onefold.graph.bulk.resolve import resolve_columns

__all__ = ["ColumnPartition", "EvidenceColumns", "columns_of", "resolve_columns"]
