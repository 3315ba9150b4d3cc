"""Any CSV by a mapping: what rows become, and what mappings and rows are told that can't be read."""

from pathlib import Path

import protovalidate
import pytest

from onefold.graph.errors import InvalidInput
from onefold.service.importing import csv_mapping, csv_reader
from onefold.service.importing.entries import Entry, Parsed, Reason, Reject
from onefold.v1 import record_pb2 as pb

EXAMPLES = Path(__file__).parents[2] / "examples" / "csv"

EVENTS = """\
timezone: Europe/Berlin
event:
  source: {constant: app}
  event_id: id
  type: what
  event_time: when
  device: {kind: device, value: install, assurance: verified}
  customer: {source: {constant: crm}, source_id: who}
  properties:
    price: {column: price, type: double}
    tags: {column: tags, type: list}
"""
EVENT_HEADER = "id,what,when,install,who,price,tags\n"


def read(tmp_path: Path, mapping: str, data: str | bytes) -> list[Entry]:
    (tmp_path / "m.yaml").write_text(mapping, "utf-8")
    path = tmp_path / "data.csv"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return list(csv_reader.read(path, csv_mapping.load(tmp_path / "m.yaml")))


def items(entries: list[Entry]) -> list[pb.Item]:
    found = [entry.item for entry in entries if isinstance(entry, Parsed)]
    assert not [v for item in found for v in protovalidate.collect_violations(item)]
    return found


def the_reject(entries: list[Entry]) -> Reject:
    (reject,) = [entry for entry in entries if isinstance(entry, Reject)]
    return reject


def test_a_row_becomes_a_customer_with_identifiers_traits_and_properties() -> None:
    mapping = csv_mapping.load(EXAMPLES / "customers.yaml")
    ann, ben = (item.customer for item in items(list(csv_reader.read(EXAMPLES / "customers.csv", mapping))))
    assert (ann.key.source, ann.key.source_id, ann.region) == ("crm", "1001", "GB")
    assert [(i.kind, i.value, i.assurance) for i in ann.identifiers] == [
        ("email", "ann.archer@example.org", pb.ASSURANCE_VERIFIED),
        ("phone", "020 7946 0123", pb.ASSURANCE_UNSPECIFIED),
    ]
    assert (ann.traits.given_name, ann.traits.country, ann.traits.birth_date.year) == ("Ann", "GB", 1984)
    assert ann.properties["newsletter"].bool_value
    assert not ben.properties["newsletter"].bool_value
    assert ann.observe_time.ToJsonString() == "2024-01-05T09:30:00Z"
    assert [i.kind for i in ben.identifiers] == ["email"]
    assert not ben.traits.HasField("birth_date")


def test_rows_with_one_order_id_are_one_order_and_no_customer_makes_a_guest_order() -> None:
    mapping = csv_mapping.load(EXAMPLES / "orders.yaml")
    known, guest = (item.order for item in items(list(csv_reader.read(EXAMPLES / "orders.csv", mapping))))
    assert known.customer.source_id == "1001"
    assert [(x.sku, x.quantity, x.unit_price.units, x.unit_price.nanos) for x in known.lines] == [
        ("TEA-01", 2, 4, 500_000_000),
        ("MUG-07", 1, 9, 950_000_000),
    ]
    assert (known.status, list(known.coupons)) == (pb.ORDER_STATUS_SHIPPED, ["WINTER"])
    assert not guest.HasField("customer")
    assert [i.value for i in guest.identifiers] == ["gwen@example.com"]
    assert not guest.coupons


def test_a_row_becomes_an_event_of_a_device_or_a_customer(tmp_path: Path) -> None:
    data = EVENT_HEADER + "1,view,2024-07-01 10:00:00,d-1,,2.5,a|b\n2,login,2024-07-01T10:00:00Z,d-1,7,,\n"
    view, login = (item.event for item in items(read(tmp_path, EVENTS, data)))
    assert view.event_time.ToJsonString() == "2024-07-01T08:00:00Z"
    assert (view.utc_offset_minutes, login.utc_offset_minutes) == (120, 0)
    assert not view.HasField("customer")
    assert login.customer.source_id == "7"
    assert view.device == pb.Identifier(kind="device", value="d-1", assurance=pb.ASSURANCE_VERIFIED)
    assert view.properties["price"].double_value == 2.5
    assert list(view.properties["tags"].string_list_value.values) == ["a", "b"]
    assert not login.properties


def test_one_row_may_be_a_customer_and_its_order(tmp_path: Path) -> None:
    mapping = """\
customer: {source: {constant: crm}, source_id: who, observe_time: {column: at, format: unix}}
order:
  source: {constant: crm}
  order_id: number
  customer: {source: {constant: crm}, source_id: who}
  place_time: {column: at, format: unix_ms}
  status: {constant: paid}
  currency_code: {constant: EUR}
  total: total
"""
    entries = read(tmp_path, mapping, "who,number,at,total\n7,1,1700000000,12.34\n7,,1700000000,\n,,,\n")
    found = items(entries)
    assert [item.WhichOneof("item") for item in found] == ["customer", "order", "customer"]
    assert found[0].customer.observe_time.seconds == 1_700_000_000
    assert found[1].order.place_time.seconds == 1_700_000
    assert (found[1].order.total.units, found[1].order.total.nanos) == (12, 340_000_000)
    assert (the_reject(entries).line, the_reject(entries).reason) == (4, Reason.NO_KEY)


def test_a_byte_order_mark_quotes_and_another_encoding_are_read(tmp_path: Path) -> None:
    mapping = (
        "encoding: latin-1\ncustomer: {source: {constant: c}, source_id: id, observe_time: t, traits: {city: City}}\n"
    )
    data = 'id,t,City\n1,2024-01-01T00:00:00Z,"Köln, Süd"\n'
    assert items(read(tmp_path, mapping, data.encode("latin-1")))[0].customer.traits.city == "Köln, Süd"
    utf8 = mapping.replace("encoding: latin-1\n", "")
    assert items(read(tmp_path, utf8, b"\xef\xbb\xbf" + data.encode()))[0].customer.traits.city == "Köln, Süd"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1,view,yesterday,d,,,\n", "event.event_time: Invalid isoformat string: 'yesterday'"),
        ("1,view,,d,,,\n", "event.event_time"),
        ("1,view,2024-01-01,d,,much,\n", "event.properties.price"),
        ("1,view,2024-01-01,d,,inf,\n", "no finite number"),
    ],
)
def test_a_cell_that_cant_be_read_rejects_its_row_alone_and_names_the_field(
    tmp_path: Path, row: str, words: str
) -> None:
    entries = read(tmp_path, EVENTS, EVENT_HEADER + row + "2,view,2024-01-01,d,,,\n")
    assert words in the_reject(entries).words
    assert (the_reject(entries).line, the_reject(entries).reason) == (2, Reason.BAD_VALUE)
    assert [item.event.event_id for item in items(entries)] == ["2"]


def test_an_order_with_a_row_that_cant_be_read_is_left_out_as_a_whole(tmp_path: Path) -> None:
    data = (EXAMPLES / "orders.csv").read_text("utf-8").replace("MUG-07;Mug;1;", "MUG-07;Mug;one;")
    entries = read(tmp_path, (EXAMPLES / "orders.yaml").read_text("utf-8"), data)
    assert [item.order.key.order_id for item in items(entries)] == ["A-2"]
    row, order = (entry for entry in entries if isinstance(entry, Reject))
    assert (row.line, row.words) == (3, "order.line.quantity: 'one' is no whole number")
    assert (order.line, order.words) == (2, "order 'A-1' is left out: line 3 of it can't be read")


def test_a_word_without_a_meaning_rejects_the_row(tmp_path: Path) -> None:
    data = (EXAMPLES / "orders.csv").read_text("utf-8").replace(";P;", ";Q;")
    entries = read(tmp_path, (EXAMPLES / "orders.yaml").read_text("utf-8"), data)
    assert the_reject(entries).words == "order.status: 'Q' is none of P, S, X"


def test_a_time_without_offset_needs_a_time_zone(tmp_path: Path) -> None:
    entries = read(tmp_path, EVENTS.replace("timezone: Europe/Berlin\n", ""), EVENT_HEADER + "1,view,2024-01-01,d,,,\n")
    assert "give the mapping a timezone" in the_reject(entries).words


@pytest.mark.parametrize(
    ("old", "new", "field", "rule"),
    [
        ("event_id: id", "event_id: no", "event.event_id (line 4)", "put it in quotes"),
        ("event_id: id", "event_id: [id]", "event.event_id (line 4)", "mapping of names"),
        ("event_id: id", "event_id: {}", "event.event_id (line 4)", "needs a column or a constant"),
        ("event_id: id", "event: id", "event.event_id (line 2)", "is missing"),
        ("what", "{colum: what}", "event.type.colum (line 5)", "did you mean 'column'"),
        ("Europe/Berlin", "Berlin", "timezone (line 1)", "no IANA time zone"),
        ("Europe/Berlin", "../etc", "timezone (line 1)", "no IANA time zone"),
        ("type: double", "type: float", "event.properties.price.type (line 10)", "'double'"),
        ("assurance: verified", "assurance: sure", "event.device.assurance (line 7)", "'verified'"),
    ],
)
def test_a_mapping_that_breaks_a_rule_is_told_field_and_line(
    tmp_path: Path, old: str, new: str, field: str, rule: str
) -> None:
    (tmp_path / "m.yaml").write_text(EVENTS.replace(old, new, 1), "utf-8")
    with pytest.raises(InvalidInput) as caught:
        csv_mapping.load(tmp_path / "m.yaml")
    told = {violation.field: violation.rule for violation in caught.value.violations}
    assert rule in told[field]


def test_a_mapping_needs_something_to_map_and_a_file_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("delimiter: ;\n", "utf-8")
    with pytest.raises(InvalidInput, match="needs a customer, an order or an event"):
        csv_mapping.load(tmp_path / "m.yaml")
    with pytest.raises(InvalidInput, match="No such file"):
        csv_mapping.load(tmp_path / "none.yaml")


def test_a_file_without_a_mapped_column_is_refused_by_the_field_that_asks_for_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(tmp_path, EVENTS, "id,what,When,install,who,price,tags,tags\n")
    assert {violation.field: violation.rule for violation in caught.value.violations} == {
        "event.event_time": "the file has no column 'when'; did you mean 'When'?",
        "event.properties.tags": "the file has column 'tags' twice",
    }
