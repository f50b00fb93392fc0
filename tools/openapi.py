"""OpenAPI 3.1 from the contract: every public call as Envoy's transcoder serves it, with the contract's own comments.

What the transcoder does decides here (Envoy's `grpc_json_transcoder` with the print options of `envoy/edge.yaml`):
fields keep their names, 64-bit integers are strings, fields without presence are always there, a field of a message
that is no body and no part of the path is a query parameter, one of an inner message with a dot. A call that streams
answers with one JSON object a line, or with server-sent events.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from buf.validate import validate_pb2
from google.api import annotations_pb2, http_pb2  # type: ignore[import-untyped, unused-ignore]
from google.protobuf import descriptor_pb2
from perpmesh.errors.v1 import reason_pb2
from perpmesh.type.v1 import access_pb2, rules_pb2

Schema = dict[str, Any]
Field = descriptor_pb2.FieldDescriptorProto

HTTP = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INTERNAL": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""The HTTP status that the transcoder gives each gRPC code."""
EDGE_STATUSES = {
    408: "The request did not arrive in time.",
    413: "The request is larger than 64 KiB.",
    431: "The headers are larger than 16 KiB.",
}
"""What Envoy itself answers, beside the statuses of reasons."""

_DECIMAL = "(0|[1-9][0-9]{0,17})([.][0-9]{1,18})?"
_RULES: Mapping[str, Schema] = {
    "positive_decimal": {"pattern": f"^(?=.*[1-9]){_DECIMAL}$"},
    "non_negative_decimal": {"pattern": f"^{_DECIMAL}$"},
    "signed_decimal": {"pattern": f"^-?{_DECIMAL}$"},
    "market_name": {"pattern": "^[A-Z0-9]{1,20}(-[A-Z0-9]{1,20}){0,2}-PERP$", "maxLength": 48},
    "venue_name": {"pattern": "^[a-z][a-z0-9_]{1,31}$"},
    "evm_address": {"pattern": "^0x[0-9a-fA-F]{40}$"},
}
"""The rules of `perpmesh/type/v1/rules.proto`."""
_EXAMPLES = {"market_name": "BTC-PERP", "venue_name": "lighter", "positive_decimal": "0.25"}
_WELL_KNOWN: Mapping[str, Schema] = {
    ".google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    ".google.protobuf.Duration": {
        "type": "string",
        "pattern": "^-?[0-9]{1,12}([.][0-9]{1,9})?s$",
        "examples": ["1.5s"],
    },
    ".google.protobuf.FieldMask": {"type": "string"},
    ".google.protobuf.Empty": {"type": "object"},
    ".google.protobuf.Struct": {"type": "object"},
    ".google.protobuf.Any": {"type": "object", "properties": {"@type": {"type": "string"}}},
}
_T = Field.Type
_SCALARS: Mapping[int, Schema] = {
    _T.Value("TYPE_STRING"): {"type": "string"},
    _T.Value("TYPE_BYTES"): {"type": "string", "contentEncoding": "base64"},
    _T.Value("TYPE_BOOL"): {"type": "boolean"},
    _T.Value("TYPE_INT32"): {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1},
    _T.Value("TYPE_UINT32"): {"type": "integer", "format": "int64", "minimum": 0, "maximum": 2**32 - 1},
    _T.Value("TYPE_INT64"): {"type": "string", "pattern": "^-?[0-9]{1,19}$"},
    _T.Value("TYPE_UINT64"): {"type": "string", "pattern": "^[0-9]{1,19}$"},
    _T.Value("TYPE_DOUBLE"): {"type": "number", "format": "double"},
}
_MESSAGE, _ENUM = _T.Value("TYPE_MESSAGE"), _T.Value("TYPE_ENUM")
_REPEATED = Field.Label.Value("LABEL_REPEATED")


class Contract:
    """The files of the contract, by name of what they declare, with comments."""

    def __init__(self, files: Iterable[descriptor_pb2.FileDescriptorProto]) -> None:
        self.messages: dict[str, descriptor_pb2.DescriptorProto] = {}
        self.enums: dict[str, descriptor_pb2.EnumDescriptorProto] = {}
        self.services: list[tuple[str, descriptor_pb2.ServiceDescriptorProto]] = []
        self.comments: dict[tuple[str, str], str] = {}
        for file in files:
            places = {tuple(one.path): one.leading_comments for one in file.source_code_info.location}
            for index, message in enumerate(file.message_type):
                self._message(f".{file.package}.{message.name}", message, (4, index), places)
            for index, enum in enumerate(file.enum_type):
                self._enum(f".{file.package}.{enum.name}", enum, (5, index), places)
            for index, service in enumerate(file.service):
                name = f"{file.package}.{service.name}"
                self.services.append((name, service))
                self._note(name, "", places.get((6, index), ""))
                for at, method in enumerate(service.method):
                    self._note(name, method.name, places.get((6, index, 2, at), ""))

    def comment(self, name: str, member: str = "") -> str:
        """Return the comment of a declaration, or of a member of one, as Markdown."""
        return self.comments.get((name, member), "")

    def _note(self, name: str, member: str, text: str) -> None:
        lines = [line.strip() for line in text.strip().splitlines()]
        paragraphs = re.split(r"\n\s*\n", "\n".join(lines))
        self.comments[name, member] = "\n\n".join(" ".join(one.split("\n")) for one in paragraphs).strip()

    def _message(
        self, name: str, message: descriptor_pb2.DescriptorProto, path: tuple[int, ...], places: Mapping[Any, str]
    ) -> None:
        self.messages[name] = message
        self._note(name, "", places.get(path, ""))
        for index, field in enumerate(message.field):
            self._note(name, field.name, places.get((*path, 2, index), ""))
        for index, inner in enumerate(message.nested_type):
            self._message(f"{name}.{inner.name}", inner, (*path, 3, index), places)
        for index, enum in enumerate(message.enum_type):
            self._enum(f"{name}.{enum.name}", enum, (*path, 4, index), places)

    def _enum(
        self, name: str, enum: descriptor_pb2.EnumDescriptorProto, path: tuple[int, ...], places: Mapping[Any, str]
    ) -> None:
        self.enums[name] = enum
        self._note(name, "", places.get(path, ""))
        for index, value in enumerate(enum.value):
            self._note(name, value.name, places.get((*path, 2, index), ""))


class Schemas:
    """The schemas of messages, made as they are named."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self.made: dict[str, Schema] = {}

    def of(self, name: str, *, answer: bool) -> Schema:
        """Return a reference to a message's schema. One of an answer requires what is always printed."""
        if name in _WELL_KNOWN:
            return dict(_WELL_KNOWN[name])
        key = name.removeprefix(".perpmesh.").removeprefix(".") + ("" if answer else ".Input")
        if key not in self.made:
            self.made[key] = {}
            self.made[key] = self._message(name, answer)
        return {"$ref": f"#/components/schemas/{key}"}

    def _message(self, name: str, answer: bool) -> Schema:
        message = self._contract.messages[name]
        properties = {field.name: self.field(name, field, answer=answer) for field in message.field}
        if answer:
            required = [field.name for field in message.field if _always_printed(field)]
        else:
            required = [field.name for field in message.field if needed(field)]
        schema: Schema = {"type": "object", "description": self._contract.comment(name), "properties": properties}
        if required:
            schema["required"] = required
        if not answer:
            schema["additionalProperties"] = False
        return schema

    def field(self, owner: str, field: Field, *, answer: bool) -> Schema:
        """Return the schema of a field, its comment and its rules."""
        schema = self._value(field, answer)
        rules = rules_of(field)
        if field.label == _REPEATED and not _is_map(self._contract, field):
            items = schema | _limits(rules.repeated.items, field, answer)
            schema = {"type": "array", "items": items}
            if not answer:
                listed = rules.repeated
                schema |= {"minItems": listed.min_items} if listed.HasField("min_items") else {}
                schema |= {"maxItems": listed.max_items} if listed.HasField("max_items") else {}
                schema |= {"uniqueItems": True} if listed.unique else {}
        else:
            schema |= _limits(rules, field, answer)
        comment = self._contract.comment(owner, field.name)
        return schema | ({"description": comment} if comment else {})

    def _value(self, field: Field, answer: bool) -> Schema:
        if field.type == _ENUM:
            values = [value.name for value in self._contract.enums[field.type_name].value]
            return {"type": "string", "enum": values if answer or not rules_of(field).required else values[1:]}
        if field.type == _MESSAGE:
            if _is_map(self._contract, field):
                value = self._contract.messages[field.type_name].field[1]
                return {"type": "object", "additionalProperties": self._value(value, answer)}
            return self.of(field.type_name, answer=answer)
        return dict(_SCALARS[field.type])


def rules_of(field: Field) -> validate_pb2.FieldRules:
    """Return the rules of shape of a field."""
    return field.options.Extensions[validate_pb2.field]


def needed(field: Field) -> bool:
    """Say whether a request must carry a field."""
    rules = rules_of(field)
    return (rules.required and not in_oneof(field)) or rules.repeated.min_items > 0


def in_oneof(field: Field) -> bool:
    """Say whether a field is one of several of which one may be set."""
    return field.HasField("oneof_index") and not field.proto3_optional


def _always_printed(field: Field) -> bool:
    """Say whether the transcoder prints a field whatever its value: no message, no field with presence."""
    return field.label != _REPEATED and field.type != _MESSAGE and not field.HasField("oneof_index")


def _is_map(contract: Contract, field: Field) -> bool:
    return (
        field.type == _MESSAGE
        and contract.messages.get(field.type_name, descriptor_pb2.DescriptorProto()).options.map_entry
    )


def _limits(rules: validate_pb2.FieldRules, field: Field, answer: bool) -> Schema:
    """Return what a rule says of one value; an answer is held to types alone, since a rule skips what is empty."""
    if answer:
        return {}
    found: Schema = {}
    text = rules.string
    for name, limits in _RULES.items():
        if text.Extensions[getattr(rules_pb2, name)]:
            found |= limits | ({"examples": [_EXAMPLES[name]]} if name in _EXAMPLES else {})
    if text.HasField("pattern"):
        found["pattern"] = text.pattern
    if text.HasField("min_len"):
        found["minLength"] = text.min_len
    if text.HasField("max_len"):
        found["maxLength"] = text.max_len
    if text.uuid:
        found["format"] = "uuid"
    for numbers in (rules.int32, rules.uint32):
        if field.type in (_T.Value("TYPE_INT32"), _T.Value("TYPE_UINT32")):
            found |= {"minimum": numbers.gte} if numbers.HasField("gte") else {}
            found |= {"maximum": numbers.lte} if numbers.HasField("lte") else {}
    return found


def bindings(method: descriptor_pb2.MethodDescriptorProto) -> Iterator[tuple[str, str, bool]]:
    """Yield (verb, path, whether the request is the body) of every REST route of a call."""
    if not method.options.HasExtension(annotations_pb2.http):
        return
    rule: http_pb2.HttpRule = method.options.Extensions[annotations_pb2.http]
    for one in (rule, *rule.additional_bindings):
        verb = str(one.WhichOneof("pattern"))
        yield verb, str(getattr(one, verb)), one.body == "*"


def document(contract: Contract, version: str) -> dict[str, Any]:
    """Return the whole document."""
    schemas = Schemas(contract)
    paths: dict[str, dict[str, Any]] = {}
    tags = []
    for service, declared in contract.services:
        public = [method for method in declared.method if method.options.HasExtension(annotations_pb2.http)]
        if public:
            tags.append({"name": service, "description": contract.comment(service)})
        for method in public:
            for verb, path, has_body in bindings(method):
                operation = _operation(contract, schemas, service, method, path, has_body=has_body)
                paths.setdefault(re.sub(r"=[^}]*}", "}", path), {})[verb] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Perpmesh",
            "version": version,
            "description": "Perpetual futures of several venues as one market. The same calls are served over gRPC, "
            "gRPC-web and REST on one port; decimals are strings, times are UTC.",
        },
        "servers": [{"url": "/"}],
        "tags": tags,
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": {"Error": _error(), **dict(sorted(schemas.made.items()))},
            "responses": _responses(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _operation(
    contract: Contract,
    schemas: Schemas,
    service: str,
    method: descriptor_pb2.MethodDescriptorProto,
    path: str,
    *,
    has_body: bool,
) -> dict[str, Any]:
    comment = contract.comment(service, method.name)
    summary, _, more = comment.partition("\n\n")
    request = contract.messages[method.input_type]
    in_path = set(re.findall(r"{([a-z_.]+)", path))
    parameters = [
        _parameter(schemas, method.input_type, field, "path") for field in request.field if field.name in in_path
    ]
    operation: dict[str, Any] = {
        "operationId": f"{service.rpartition('.')[2]}.{method.name}",
        "tags": [service],
        "summary": summary,
    }
    if more:
        operation["description"] = more
    if has_body:
        body = {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                field.name: schemas.field(method.input_type, field, answer=False)
                for field in request.field
                if field.name not in in_path
            },
        }
        required = [one.name for one in request.field if needed(one) and one.name not in in_path]
        if required:
            body["required"] = required
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    else:
        parameters += _query(contract, schemas, method.input_type, in_path)
    if parameters:
        operation["parameters"] = parameters
    answer = {"schema": schemas.of(method.output_type, answer=True)}
    said = contract.comment(method.output_type) or "The answer."
    content: dict[str, Any] = {"application/json": answer}
    if method.server_streaming:
        said += " One JSON object a line; as server-sent events where they are accepted."
        content["text/event-stream"] = {"schema": {"type": "string"}}
    operation["responses"] = {"200": {"description": said, "content": content}} | {
        str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted({*HTTP.values(), *EDGE_STATUSES})
    }
    if method.options.Extensions[access_pb2.access] != access_pb2.ACCESS_PUBLIC:
        operation["security"] = [{"token": []}]
    return operation


def _query(contract: Contract, schemas: Schemas, message: str, in_path: set[str], prefix: str = "") -> list[Schema]:
    found = []
    for field in contract.messages[message].field:
        if field.name in in_path and not prefix:
            continue
        inner = field.type == _MESSAGE and field.type_name not in _WELL_KNOWN
        if inner and field.label != _REPEATED:
            found += _query(contract, schemas, field.type_name, set(), f"{prefix}{field.name}.")
        elif not inner:
            found.append(_parameter(schemas, message, field, "query", prefix))
    return found


def _parameter(schemas: Schemas, message: str, field: Field, place: str, prefix: str = "") -> Schema:
    schema = schemas.field(message, field, answer=False)
    about = schema.pop("description", "")
    required = place == "path" or (needed(field) and not prefix)
    if place == "path" and "minLength" not in schema:
        schema["minLength"] = 1
    return {"name": prefix + field.name, "in": place, "required": required, "description": about, "schema": schema}


def _error() -> Schema:
    details = {
        "type": "array",
        "description": "A `google.rpc.ErrorInfo` with the reason, and where it helps `BadRequest` and `RetryInfo`.",
        "items": {"type": "object", "properties": {"@type": {"type": "string"}}, "required": ["@type"]},
    }
    return {
        "type": "object",
        "description": "What every call that fails answers, whoever refused it: `google.rpc.Status` as JSON.",
        "properties": {
            "code": {"type": "integer", "description": "The gRPC code."},
            "message": {"type": "string", "description": "What was wrong, and what would pass."},
            "details": details,
        },
        "required": ["code", "message", "details"],
    }


def _responses() -> dict[str, Any]:
    """Return one answer for each status, with the reasons it may have."""
    reasons: dict[int, list[str]] = {}
    for value in reason_pb2.Reason.DESCRIPTOR.values:
        info = value.GetOptions().Extensions[reason_pb2.info]
        if value.number:
            reasons.setdefault(HTTP[info.code], []).append(value.name.removeprefix("REASON_"))
    found = {}
    for status in sorted({*HTTP.values(), *EDGE_STATUSES}):
        names = ", ".join(f"`{name}`" for name in reasons.get(status, ()))
        said = EDGE_STATUSES.get(status) or f"Refused or failed{': ' + names if names else ''}."
        schema = {"$ref": "#/components/schemas/Error"}
        found[str(status)] = {"description": said, "content": {"application/json": {"schema": schema}}}
    return found
