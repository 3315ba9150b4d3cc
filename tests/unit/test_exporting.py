"""Files of members, as a spreadsheet reads them."""

from __future__ import annotations

import pyarrow as pa

from onefold.service import exporting


def test_no_text_is_a_formula_to_a_spreadsheet_and_numbers_stay() -> None:
    texts = ["=1+1", "+1", "-2+3", "@sum(1)", "leeds", None]
    table = pa.table({"city": texts, "spend": [-1.5, 2.0, 3.0, 4.0, 5.0, 6.0]})
    lines = b"".join(exporting.csv_lines(table.to_reader())).decode().splitlines()
    assert lines == ["city,spend", "'=1+1,-1.5", "'+1,2.0", "'-2+3,3.0", "'@sum(1),4.0", "leeds,5.0", ",6.0"]
