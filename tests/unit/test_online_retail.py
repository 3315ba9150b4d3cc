"""The online retail reader: what a shop would make of each kind of line."""

import gzip
from collections import Counter
from pathlib import Path

import protovalidate
import pytest

from onefold.graph.errors import InvalidInput
from onefold.service.importing import online_retail
from onefold.service.importing.entries import Entry, Parsed, Reason, Reject
from onefold.v1 import record_pb2 as pb

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"


def line(
    invoice: str,
    sku: str,
    quantity: int,
    price: str,
    at: str = "2011-01-10 10:00:00",
    customer: str = "17850.0",
    country: str = "United Kingdom",
) -> str:
    return f"{invoice},{sku},A  THING ,{quantity},{at},{price},{customer},{country}\n"


def read(tmp_path: Path, *lines: str, tally: Counter[str] | None = None) -> list[Entry]:
    path = tmp_path / "retail.csv"
    path.write_text(HEADER + "".join(lines), "utf-8")
    return list(online_retail.read(path, tally))


def orders(entries: list[Entry]) -> dict[str, pb.Order]:
    items = [entry.item for entry in entries if isinstance(entry, Parsed)]
    assert not [v for item in items for v in protovalidate.collect_violations(item)]
    return {item.order.key.order_id: item.order for item in items if item.HasField("order")}


def rejects(entries: list[Entry]) -> list[tuple[int, Reason]]:
    return [(entry.line, entry.reason) for entry in entries if isinstance(entry, Reject)]


def pounds(money: object) -> float:
    return money.units + money.nanos / 1e9  # type: ignore[attr-defined, no-any-return]


def test_an_invoice_is_an_order_of_its_customer_with_exact_amounts_on_londons_clock(tmp_path: Path) -> None:
    entries = read(tmp_path, line("1", "A", 6, "2.55", "2011-07-01 12:30:00"), line("1", "B", 1, "0.001"))
    customer, order = (entry.item for entry in entries if isinstance(entry, Parsed))
    assert customer.customer.key == pb.CustomerKey(source="online_retail", source_id="17850")
    assert customer.customer.traits.country == "GB"
    assert order.order.customer == customer.customer.key
    assert order.order.place_time.ToJsonString() == "2011-07-01T11:30:00Z"
    assert order.order.utc_offset_minutes == 60
    assert (order.order.total.units, order.order.total.nanos) == (15, 301_000_000)
    assert [(x.sku, x.name, x.quantity) for x in order.order.lines] == [
        ("A", "A THING", 6),
        ("B", "A THING", 1),
    ]
    assert order.order.status == pb.ORDER_STATUS_DELIVERED


def test_the_same_product_at_the_same_price_is_summed_and_counted(tmp_path: Path) -> None:
    tally: Counter[str] = Counter()
    entries = read(tmp_path, line("1", "A", 1, "2.0"), line("1", "A", 1, "2.0"), line("1", "A", 3, "1.5"), tally=tally)
    assert [(x.sku, x.quantity) for x in orders(entries)["1"].lines] == [("A", 2), ("A", 3)]
    assert tally["lines summed"] == 1


def test_what_names_no_customer_belongs_to_nobody(tmp_path: Path) -> None:
    entries = read(tmp_path, line("1", "A", 1, "2.0", customer=""), line("2", "DAMAGED", -9, "0.0", customer=""))
    assert rejects(entries) == [(2, Reason.NO_CUSTOMER), (3, Reason.NO_CUSTOMER)]
    assert not orders(entries)


def test_a_gift_stays_on_its_order_but_makes_none(tmp_path: Path) -> None:
    tally: Counter[str] = Counter()
    entries = read(
        tmp_path,
        line("1", "A", 1, "2.0"),
        line("1", "GIFT", 1, "0.0"),
        line("2", "GIFT", 1, "0.0"),
        tally=tally,
    )
    assert {x.sku for x in orders(entries)["1"].lines} == {"A", "GIFT"}
    assert rejects(entries) == [(4, Reason.NOTHING_SOLD)]
    assert tally["gift lines"] == 2


def test_postage_and_fees_are_charged_but_are_no_purchase(tmp_path: Path) -> None:
    entries = read(
        tmp_path,
        line("1", "A", 1, "2.0"),
        line("1", "POST", 1, "18.0"),
        line("2", "POST", 1, "18.0"),
        line("3", "BANK CHARGES", 1, "15.0"),
        line("4", "M", 1, "30.0"),
    )
    found = orders(entries)
    assert set(found) == {"1", "4"}
    assert pounds(found["1"].total) == 20
    assert [x.category for x in found["1"].lines] == ["", "shipping"]
    assert rejects(entries) == [(4, Reason.NOTHING_SOLD), (5, Reason.NOTHING_SOLD)]


def test_a_return_is_refunded_on_the_latest_earlier_order_that_sold_it(tmp_path: Path) -> None:
    entries = read(
        tmp_path,
        line("1", "A", 5, "2.0", "2011-01-01 10:00:00"),
        line("2", "A", 5, "2.0", "2011-01-02 10:00:00"),
        line("C3", "A", -2, "2.0", "2011-01-03 10:00:00"),
        line("4", "A", 5, "2.0", "2011-01-04 10:00:00"),
    )
    found = orders(entries)
    (refund,) = found["2"].refunds
    assert (refund.refund_id, refund.sku, refund.quantity, pounds(refund.amount)) == ("C3-1", "A", 2, 4.0)
    assert refund.refund_time.ToJsonString() == "2011-01-03T10:00:00Z"
    assert not found["1"].refunds
    assert not found["4"].refunds


def test_a_return_spreads_over_orders_and_what_remains_is_rejected(tmp_path: Path) -> None:
    entries = read(
        tmp_path,
        line("1", "A", 5, "2.0", "2011-01-01 10:00:00"),
        line("2", "A", 5, "2.0", "2011-01-02 10:00:00"),
        line("C3", "A", -12, "2.0", "2011-01-03 10:00:00"),
    )
    found = orders(entries)
    assert [found[n].refunds[0].quantity for n in ("1", "2")] == [5, 5]
    assert len({found[n].refunds[0].refund_id for n in ("1", "2")}) == 2
    (reject,) = [entry for entry in entries if isinstance(entry, Reject)]
    assert (reject.line, reject.reason) == (4, Reason.NO_ORDER)
    assert "2 of 12" in reject.words
    assert reject.row[0] == "C3"


def test_a_return_looks_for_its_own_price_first_and_never_gives_back_more_than_was_paid(
    tmp_path: Path,
) -> None:
    entries = read(
        tmp_path,
        line("1", "A", 1, "2.0", "2011-01-01 10:00:00"),
        line("2", "A", 1, "3.0", "2011-01-02 10:00:00"),
        line("3", "A", 1, "1.0", "2011-01-02 11:00:00"),
        line("C4", "A", -1, "2.0", "2011-01-03 10:00:00"),
        line("C5", "A", -1, "2.0", "2011-01-04 10:00:00"),
        line("C6", "A", -1, "2.0", "2011-01-05 10:00:00"),
    )
    found = orders(entries)
    assert found["1"].refunds[0].refund_id == "C4-1"
    assert found["2"].refunds[0].refund_id == "C5-1"
    assert not found["3"].refunds
    assert rejects(entries) == [(7, Reason.NO_ORDER)]


def test_another_customers_order_is_never_refunded(tmp_path: Path) -> None:
    entries = read(
        tmp_path,
        line("1", "A", 1, "2.0", "2011-01-01 10:00:00", customer="1.0"),
        line("C2", "A", -1, "2.0", "2011-01-03 10:00:00", customer="2.0"),
    )
    assert not orders(entries)["1"].refunds
    assert rejects(entries) == [(3, Reason.NO_ORDER)]


def test_a_discount_is_money_back_on_the_latest_orders(tmp_path: Path) -> None:
    entries = read(
        tmp_path,
        line("1", "A", 1, "10.0", "2011-01-01 10:00:00"),
        line("2", "A", 1, "4.0", "2011-01-02 10:00:00"),
        line("C3", "D", -1, "6.0", "2011-01-03 10:00:00"),
        line("C4", "CRUK", -1, "9.5", "2011-01-04 10:00:00"),
    )
    found = orders(entries)
    assert [(r.reason, pounds(r.amount), r.sku) for r in found["2"].refunds] == [("discount", 4.0, "")]
    assert [(r.reason, pounds(r.amount)) for r in found["1"].refunds] == [
        ("discount", 2.0),
        ("commission", 8.0),
    ]
    (reject,) = [entry for entry in entries if isinstance(entry, Reject)]
    assert "1.50 GBP more" in reject.words


def test_an_order_given_back_in_full_is_cancelled_on_its_day_and_returned_later(tmp_path: Path) -> None:
    entries = read(
        tmp_path,
        line("1", "A", 1, "2.0", "2011-01-01 10:00:00"),
        line("C2", "A", -1, "2.0", "2011-01-01 10:12:00"),
        line("3", "A", 2, "2.0", "2011-01-02 10:00:00"),
        line("C4", "A", -1, "2.0", "2011-01-02 11:00:00"),
        line("C5", "A", -1, "2.0", "2011-01-05 10:00:00"),
    )
    found = orders(entries)
    assert found["1"].status == pb.ORDER_STATUS_CANCELLED
    assert found["3"].status == pb.ORDER_STATUS_RETURNED


def test_a_customer_comes_before_its_orders_and_again_when_it_moves(tmp_path: Path) -> None:
    entries = read(
        tmp_path,
        line("2", "A", 1, "2.0", "2011-01-02 10:00:00", country="Channel Islands"),
        line("1", "A", 1, "2.0", "2011-01-01 10:00:00", country="Unspecified"),
        line("3", "A", 1, "2.0", "2011-01-03 10:00:00", country="Channel Islands"),
    )
    seen = [
        entry.item.order.key.order_id or entry.item.customer.traits.country or "unknown"
        for entry in entries
        if isinstance(entry, Parsed)
    ]
    assert seen == ["unknown", "1", "Channel Islands", "2", "3"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (line("1", "A", 0, "2.0"), "Quantity '0'"),
        (line("1", "A", -1, "2.0"), "does not go with invoice '1'"),
        (line("C1", "A", 1, "2.0"), "does not go with invoice 'C1'"),
        (line("1", "A", 1, "-2.0"), "negative"),
        (line("1", "A", 1, "two"), "no decimal number"),
        (line("1", "A", 1, "2.0000001"), "six decimals"),
        (line("1", "A", 1, "NaN"), "out of range"),
        (line("1", "A", 1, "2.0", at="yesterday"), "yesterday"),
    ],
)
def test_a_cell_that_cant_be_read_rejects_its_row_alone(tmp_path: Path, row: str, words: str) -> None:
    entries = read(tmp_path, row, line("2", "A", 1, "2.0"))
    (reject,) = [entry for entry in entries if isinstance(entry, Reject)]
    assert (reject.line, reject.reason) == (2, Reason.BAD_VALUE)
    assert words in reject.words
    assert set(orders(entries)) == {"2"}


def test_an_invoice_has_one_customer(tmp_path: Path) -> None:
    entries = read(tmp_path, line("1", "A", 1, "2.0"), line("1", "B", 1, "2.0", customer="5.0"))
    assert rejects(entries) == [(3, Reason.BAD_VALUE)]
    assert len(orders(entries)["1"].lines) == 1


def test_bytes_that_are_no_text_and_rows_of_another_width_are_rejected_alone(tmp_path: Path) -> None:
    path = tmp_path / "retail.csv.gz"
    bad = line("1", "A", 1, "2.0").encode().replace(b"THING", b"TH\xffNG")
    path.write_bytes(gzip.compress(HEADER.encode() + bad + b"1,2,3\n\n" + line("2", "A", 1, "2.0").encode()))
    entries = list(online_retail.read(path))
    assert rejects(entries) == [(2, Reason.NOT_UTF8), (3, Reason.WRONG_WIDTH)]
    assert set(orders(entries)) == {"2"}


def test_another_file_is_refused_as_a_whole(tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("InvoiceNo,StockCode\n1,2\n")
    with pytest.raises(InvalidInput, match="lacks the columns Description, Quantity"):
        list(online_retail.read(other))
    with pytest.raises(InvalidInput, match="can't be read: No such file"):
        list(online_retail.read(tmp_path / "none.csv"))
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InvalidInput, match="is empty"):
        list(online_retail.read(tmp_path / "empty.csv"))


def test_a_file_cut_short_says_after_which_line(tmp_path: Path) -> None:
    whole = gzip.compress((HEADER + "".join(line(str(n), f"S{n}", n, "2.0") for n in range(1, 500))).encode())
    path = tmp_path / "cut.csv.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidInput, match=r"cut\.csv\.gz \(after line \d+\): can't be read on"):
        list(online_retail.read(path))


def test_the_same_file_gives_the_same_entries(tmp_path: Path) -> None:
    lines = [
        line("1", "A", 1, "2.0"),
        line("2", "A", 2, "2.0"),
        line("C3", "A", -3, "2.0", "2011-02-01 10:00:00"),
    ]
    assert read(tmp_path, *lines) == read(tmp_path, *lines)
