"""How a person is named on the command line: by an identity, a record, or any identifier."""

from __future__ import annotations

from uuid import UUID

from onefold.graph.errors import InvalidInput, Violation
from onefold.v1 import identity_pb2, record_pb2


def parse_subject(text: str, region: str = "") -> identity_pb2.Subject:
    """``customer:crm:17``, ``order:shop:A-1``, ``email:ann@example.org``, or an identity's id.

    ``region`` is that of a phone in national form. Raises InvalidInput that says what was perhaps meant.
    """
    if _is_uuid(text):
        return identity_pb2.Subject(identity=text)
    kind, _, rest = text.partition(":")
    if kind in ("customer", "order"):
        source, _, own_id = rest.partition(":")
        if not source or not own_id:
            raise _invalid(f"{text!r} lacks a part: a record is {kind}:SOURCE:ID, as {kind}:crm:17")
        if kind == "customer":
            return identity_pb2.Subject(customer=record_pb2.CustomerKey(source=source, source_id=own_id))
        return identity_pb2.Subject(order=record_pb2.OrderKey(source=source, order_id=own_id))
    if not kind or not rest:
        meant = f"; is email:{text} meant?" if "@" in text else ""
        raise _invalid(f"should be customer:SOURCE:ID, order:SOURCE:ID, KIND:VALUE or an identity's id{meant}")
    return identity_pb2.Subject(identifier=record_pb2.Identifier(kind=kind, value=rest, region=region))


def in_words_of_the_command(error: InvalidInput, subject: identity_pb2.Subject) -> InvalidInput:
    """What the service says of a subject, without the paths of a request that nobody here has written."""
    return InvalidInput([_in_words(violation, subject) for violation in error.violations])


def _in_words(violation: Violation, subject: identity_pb2.Subject) -> Violation:
    if not violation.field.startswith("subject"):
        return violation
    given = subject.identifier
    if violation.field.endswith(".region"):
        return Violation("--region", violation.rule)
    if given.kind == "phone" and not given.region and not given.value.startswith("+"):
        return Violation("SUBJECT", "is not a phone number as it stands: write it with its country code: phone:+44…")
    return Violation("SUBJECT", violation.rule)


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def _invalid(rule: str) -> InvalidInput:
    return InvalidInput([Violation("SUBJECT", rule)])
