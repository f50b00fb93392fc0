"""Protovalidate to domain error: the shape of a request, checked before its handler sees it.

The rules stand in the contract; here they are compiled once and each violation becomes a `FieldViolation` with a path
such as `markets[0]` and a sentence that says what would pass. Speed: a good request costs a few microseconds.
"""

from __future__ import annotations

from typing import Any, cast

import protovalidate
from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from services.chassis.errors import FIELDS_MAX
from services.domain.errors import DomainError, FieldViolation, Reason

ENUM_NAMES_MAX = 12

_validator = protovalidate.Validator()


def prepare(request_type: type[Message]) -> None:
    """Compile the rules of a request, so that a wrong rule stops the start and no first call is slow."""
    _validator.collect_violations(request_type())


def check(request: Message) -> None:
    """Raise FIELD_INVALID naming every field of `request` that breaks a rule of the contract (at most 20)."""
    violations = _validator.collect_violations(request)
    if violations:
        raise _refusal(cast(Descriptor, request.DESCRIPTOR), violations)


def _refusal(descriptor: Descriptor, violations: list[protovalidate.Violation]) -> DomainError:
    fields = tuple(_explain(descriptor, violation.proto) for violation in violations[:FIELDS_MAX])
    first = fields[0]
    more = len(violations) - 1
    message = f"{first.field}: {first.description}" if first.field else first.description
    if more:
        message += f" ({more} more: see the details)"
    return DomainError(Reason.FIELD_INVALID, message, metadata={"field": first.field}, fields=fields)


def _explain(descriptor: Descriptor, violation: Any) -> FieldViolation:
    path, leaf = "", None
    inside: Descriptor | None = descriptor
    for element in violation.field.elements if violation.field else ():
        path += ("." if path else "") + element.field_name + _subscript(element.subscript)
        leaf = inside.fields_by_name.get(element.field_name) if inside is not None else None
        inside = leaf.message_type if leaf is not None else None
        if inside is not None and inside.GetOptions().map_entry:
            leaf = inside.fields_by_name["value"]
            inside = leaf.message_type
    return FieldViolation(path, _teach(violation, leaf))


def _subscript(subscript: Any) -> str:
    if subscript is None:
        return ""
    value = subscript.value
    return f'["{value}"]' if isinstance(value, str) else f"[{str(value).lower() if value is True else value}]"


def _teach(violation: Any, leaf: FieldDescriptor | None) -> str:
    """Return the rule's sentence, completed where it would not say what passes."""
    text = str(violation.message or "breaks the rule " + (violation.rule_id or "of the contract"))
    if violation.for_key:
        return f"the key {text}"
    if leaf is None:
        return text
    if violation.rule_id == "required":
        wanted = _wanted(leaf)
        return f"is required: {wanted}" if wanted else "is required"
    if leaf.enum_type is not None and violation.rule_id.startswith("enum."):
        return f"must be {_enum_names(leaf.enum_type)}"
    return text


def _wanted(leaf: FieldDescriptor) -> str:
    """Return what a missing field must hold, from its enum or its predefined rule."""
    if leaf.enum_type is not None:
        return f"must be {_enum_names(leaf.enum_type)}"
    rules = leaf.GetOptions().Extensions[validate_pb2.field]
    kind = rules.WhichOneof("type")
    if kind is None:
        return ""
    typed = getattr(rules, kind)
    if kind == "string" and typed.uuid:
        return "must be a UUID"
    for rule, _ in typed.ListFields():
        if rule.is_extension:
            predefined = rule.GetOptions().Extensions[validate_pb2.predefined]
            return next((str(cel.message) for cel in predefined.cel if cel.message), "")
    return ""


def _enum_names(enum: EnumDescriptor) -> str:
    names = [value.name for value in enum.values if value.number != 0]
    shown = names[:ENUM_NAMES_MAX]
    return "one of " + ", ".join(shown) + (", ..." if len(names) > len(shown) else "")
