"""What the edge's script knows of the contract: which fields a REST body may hold, and what passes for each type.

`envoy/requests.lua` is a template like `envoy/edge.yaml`; this fills its tables. So a field that is added to a message
is known at the edge without anyone naming it here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import (
        DescriptorProto,
        EnumDescriptorProto,
        FieldDescriptorProto,
        FileDescriptorSet,
    )

SCRIPT = Path(__file__).resolve().parents[2] / "envoy" / "requests.lua"

_PASSES = {
    "TYPE_STRING": "a text in quotes; decimals are texts too",
    "TYPE_BOOL": "true or false",
    "TYPE_INT32": "a whole number from -2147483648 to 2147483647",
    "TYPE_UINT32": "a whole number from 0 to 4294967295",
    "TYPE_INT64": "a whole number of 64 bits",
    "TYPE_UINT64": "a whole number of 64 bits, not negative",
    "TYPE_DOUBLE": "a number",
    "TYPE_BYTES": "a text in base64",
    "type.googleapis.com/google.protobuf.Duration": "a span in seconds, such as 1.5s",
    "type.googleapis.com/google.protobuf.Timestamp": "a time, such as 2026-01-31T12:00:00Z",
}
"""What passes for each type, by the name the transcoder gives it."""

_OURS = ".perpmesh."
_NAME = re.compile(r"\$\{([a-z_]+)\}")


def requests_script(files: FileDescriptorSet, unknown_path: str) -> str:
    """Return the script of the edge; `unknown_path` is the JSON of the answer to a path that is no call."""
    messages = dict(_messages(files))
    bodies = dict(_bodies(files))
    enums = {
        f"type.googleapis.com/{name[1:]}": "one of " + ", ".join(value.name for value in enum.value if value.number)
        for name, enum in _enums(files)
    }
    held = _held(messages, {kind for kind in bodies.values() if kind})
    values = {
        "passing_values": "\n".join(f"['{kind}'] = '{words}'," for kind, words in (_PASSES | enums).items()),
        "messages": "\n".join(f"['{name}'] = {{{_fields(messages, messages[name])}}}," for name in sorted(held)),
        "bodies": "\n".join(
            f"['{path}'] = {repr(kind) if kind else 'false'}," for path, kind in sorted(bodies.items())
        ),
        "unknown_path": f"'{unknown_path}'",
    }
    return _NAME.sub(lambda match: values[match[1]], SCRIPT.read_text())


def _bodies(files: FileDescriptorSet) -> Iterator[tuple[str, str]]:
    """Give the gRPC path of each public call with the message in its body, empty for a call that takes none."""
    from google.api import annotations_pb2  # type: ignore[import-untyped, unused-ignore]

    for file in files.file:
        for service in file.service:
            for method in service.method:
                if method.options.HasExtension(annotations_pb2.http):
                    rule = method.options.Extensions[annotations_pb2.http]
                    assert rule.body in ("", "*"), f"{method.name} names a field as its body; the edge's script reads *"
                    yield f"/{file.package}.{service.name}/{method.name}", method.input_type if rule.body else ""


def _messages(files: FileDescriptorSet) -> Iterator[tuple[str, DescriptorProto]]:
    """Give each message of ours by its full name, which begins with a dot, inner ones too."""
    for file in files.file:
        if f".{file.package}.".startswith(_OURS):
            waiting = [(f".{file.package}.{message.name}", message) for message in file.message_type]
            while waiting:
                name, message = waiting.pop()
                yield name, message
                waiting += [(f"{name}.{inner.name}", inner) for inner in message.nested_type]


def _enums(files: FileDescriptorSet) -> Iterator[tuple[str, EnumDescriptorProto]]:
    for file in files.file:
        if f".{file.package}.".startswith(_OURS):
            yield from ((f".{file.package}.{enum.name}", enum) for enum in file.enum_type)
    for name, message in _messages(files):
        yield from ((f"{name}.{enum.name}", enum) for enum in message.enum_type)


def _held(messages: dict[str, DescriptorProto], roots: set[str]) -> set[str]:
    """Return the messages that bodies hold, however deep."""
    held: set[str] = set()
    waiting = [name for name in roots if name in messages]
    while waiting:
        name = waiting.pop()
        if name not in held:
            held.add(name)
            waiting += [field.type_name for field in messages[name].field if field.type_name in messages]
    return held


def _fields(messages: dict[str, DescriptorProto], message: DescriptorProto) -> str:
    return ", ".join(_field(messages, field) for field in message.field)


def _field(messages: dict[str, DescriptorProto], field: FieldDescriptorProto) -> str:
    kind = messages.get(field.type_name)
    if kind is None:
        return f"{{'{field.name}'}}"
    if kind.options.map_entry:
        held = next(inner.type_name for inner in kind.field if inner.number == 2)
        return f"{{'{field.name}', '{held}', true}}"
    return f"{{'{field.name}', '{field.type_name}'}}"
