"""The contract agrees with the domain's words and with itself, and lives beside other packages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from google.api import field_behavior_pb2
from google.longrunning import operations_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.type import date_pb2

from onefold.graph import model
from onefold.service import status, wire
from onefold.v1 import (
    _buf,
    audit_service_pb2,
    errors_pb2,
    identity_pb2,
    identity_service_pb2,
    insight_pb2,
    prediction_service_pb2,
    profile_service_pb2,
    record_pb2,
    segment_service_pb2,
)
from onefold.v1._buf import validate_pb2 as rules

FILES: list[FileDescriptor] = [
    module.DESCRIPTOR
    for module in (
        audit_service_pb2,
        errors_pb2,
        identity_pb2,
        identity_service_pb2,
        insight_pb2,
        prediction_service_pb2,
        profile_service_pb2,
        record_pb2,
        segment_service_pb2,
    )
]


def messages() -> Iterator[Descriptor]:
    for file in FILES:
        yield from file.message_types_by_name.values()


def fields() -> Iterator[FieldDescriptor]:
    for message in messages():
        yield from message.fields


def rule(field: FieldDescriptor) -> rules.FieldRules:
    return field.GetOptions().Extensions[rules.field]


def bare_names(enum: EnumDescriptor) -> list[str]:
    prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
    return [value.name.removeprefix(prefix) for value in enum.values[1:]]


def test_every_field_says_how_it_behaves() -> None:
    silent = [f.full_name for f in fields() if not f.GetOptions().Extensions[field_behavior_pb2.field_behavior]]
    assert silent == []


def test_what_behaves_as_required_is_refused_when_it_is_missing() -> None:
    forgiving = [
        message.full_name + "." + field.name
        for message in messages()
        for field in message.fields
        if field_behavior_pb2.REQUIRED in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
        and field.name not in {v.field for v in wire.violations(GetMessageClass(message)())}
    ]
    assert forgiving == []


def test_traits_are_the_domains_with_their_types() -> None:
    held = {
        FieldDescriptor.TYPE_STRING: str,
        FieldDescriptor.TYPE_INT64: int,
        FieldDescriptor.TYPE_MESSAGE: date,
    }
    assert {f.name: held[f.type] for f in record_pb2.Traits.DESCRIPTOR.fields} == dict(model.TRAITS)
    assert {f.message_type for f in record_pb2.Traits.DESCRIPTOR.fields if f.message_type} == {date_pb2.Date.DESCRIPTOR}


def test_enums_are_the_domains() -> None:
    statuses = bare_names(record_pb2.OrderStatus.DESCRIPTOR)
    assurances = bare_names(record_pb2.Assurance.DESCRIPTOR)
    assert tuple(name.lower() for name in statuses) == model.ORDER_STATUSES
    assert [name.lower() for name in assurances] == [assurance.value for assurance in model.Assurance]


def test_every_reason_that_the_service_gives_is_in_the_contract() -> None:
    given = {row.reason for row in status.TABLE.values()} | {"INTERNAL"}
    assert given == set(bare_names(errors_pb2.ErrorReason.DESCRIPTOR))


def test_a_read_mask_may_name_each_field_of_a_profile() -> None:
    profile = {field.name for field in profile_service_pb2.Profile.DESCRIPTOR.fields}
    for request in (profile_service_pb2.GetProfileRequest, profile_service_pb2.BatchGetProfilesRequest):
        mask = request.DESCRIPTOR.fields_by_name["read_mask"]
        assert set(getattr(rule(mask).field_mask, "in")) == profile | {"*"}


def test_batches_are_the_requests_whose_items_are_checked_one_by_one() -> None:
    alone = {
        field.containing_type.full_name: field.name
        for field in fields()
        if rule(field).repeated.items.ignore == rules.IGNORE_ALWAYS
    }
    assert alone == dict(wire.BATCHES)


def test_every_instant_that_a_caller_gives_has_bounds() -> None:
    given = [
        field
        for field in fields()
        if field.message_type is not None
        and field.message_type.full_name == "google.protobuf.Timestamp"
        and field_behavior_pb2.OUTPUT_ONLY not in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    ]
    future = {f.full_name: [c.id for c in rule(f).cel] == ["timestamp.future"] for f in given}
    assert [f.full_name for f in given if not rule(f).timestamp.HasField("gte")] == []
    assert [name for name, bounded in future.items() if not bounded] == [
        "onefold.v1.ListEventsRequest.start_time",
        "onefold.v1.ListEventsRequest.end_time",
        "onefold.v1.OperatorBan.expire_time",
    ]


def test_training_says_what_its_operation_gives() -> None:
    method = prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"].methods_by_name["TrainModel"]
    told = method.GetOptions().Extensions[operations_pb2.operation_info]
    names = prediction_service_pb2.DESCRIPTOR.message_types_by_name
    assert names[told.response_type].full_name == "onefold.v1.Model"
    assert names[told.metadata_type].full_name == "onefold.v1.TrainModelMetadata"


IMPORT = "import sys; import onefold.v1.record_pb2"


def run(code: str, *path: Path) -> str:
    head = f"import sys; sys.path[:0] = {[str(folder) for folder in path]!r}; "
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", head + code], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_stubs_bring_no_other_top_level_package() -> None:
    assert run(IMPORT + "; print('buf' in sys.modules)") == "False"


@pytest.mark.parametrize("first", ["import buf.validate.validate_pb2", "import onefold.v1.record_pb2"])
def test_the_stubs_live_beside_anothers_copy_of_the_rules(tmp_path: Path, first: str) -> None:
    folder = tmp_path / "buf" / "validate"
    folder.mkdir(parents=True)
    ours = Path(_buf.__file__ or "").with_name("validate_pb2.py").read_text()
    # A copy of another version: the same file name with other bytes, which one process can't register twice.
    theirs = ours.replace("build.buf.validate", "build.bug.validate")
    assert theirs != ours
    (folder / "validate_pb2.py").write_text(theirs)
    loaded = run(
        f"{first}; import buf.validate.validate_pb2, onefold.v1.record_pb2; "
        "print('onefold.v1._buf.validate_pb2' in sys.modules)",
        tmp_path,
    )
    assert loaded == "False"
