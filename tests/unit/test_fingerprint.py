"""What tells a repeat from another request: what was sent, and nothing about the process that reads it."""

from __future__ import annotations

import os
import subprocess
import sys

from onefold.graph.ingest import Batch
from onefold.graph.model import Customer
from onefold.service.convert import fingerprint
from onefold.v1 import record_pb2
from tests.items import NOW

NAMES = [f"colour_{n}" for n in range(12)]

READ = """
import sys
from onefold.service.convert import fingerprint
from onefold.v1.record_pb2 import Item
print(fingerprint(map(Item.FromString, map(bytes.fromhex, sys.argv[1:]))))
"""


def item(names: list[str], **more: str) -> record_pb2.Item:
    customer = record_pb2.Customer(key=record_pb2.CustomerKey(source="crm", source_id="é \U0001fae8"))
    customer.identifiers.add(kind="email", value="ann@example.org")
    for name in names:
        customer.properties[name].string_value = name
    for name, value in more.items():
        customer.properties[name].string_value = value
    customer.properties["sizes"].string_list_value.values.extend(["s", "m"])
    customer.properties["weight"].double_value = 0.1
    return record_pb2.Item(customer=customer)


def test_it_is_the_same_in_every_process_in_whatever_order_properties_come() -> None:
    sent = [item(NAMES), item(NAMES[::-1])]
    expected = fingerprint(sent)
    assert fingerprint(sent[::-1]) == expected
    for seed in ("1", "2"):
        command = [sys.executable, "-c", READ, *(i.SerializeToString().hex() for i in sent)]
        done = subprocess.run(
            command, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == expected


def test_it_is_what_it_always_was() -> None:
    assert fingerprint([item(NAMES[:3])]) == "acb58c8fdd8fc73d64d01ebd068044b5"


def test_it_is_another_one_for_whatever_else_is_said() -> None:
    assert len({fingerprint(said) for said in _said()}) == len(list(_said()))


def _said() -> list[list[record_pb2.Item]]:
    plain, empty, other = item([]), record_pb2.Item(), item([])
    other.customer.identifiers[0].region = "GB"
    spoken_of = record_pb2.Item(order=record_pb2.Order(customer=plain.customer.key))
    return [
        [],
        [empty],
        [plain],
        [plain, plain],
        [plain, empty],
        [empty, plain],
        [other],
        [spoken_of],
        [item([], a="b")],
        [item([], b="a")],
        [item([], a="a", b="b")],
        [item([], a="b", b="a")],
    ]


def test_items_that_came_through_no_door_are_the_same_in_whatever_order_their_properties_are() -> None:
    one, other = (Customer("crm", "1", NOW, properties={n: n for n in names}) for names in (NAMES, NAMES[::-1]))
    assert Batch([one]).fingerprint == Batch([other]).fingerprint
    assert Batch([one]).fingerprint != Batch([Customer("crm", "1", NOW)]).fingerprint
