"""The contract as a whole: every call has a route, rules and comments, and the edge knows it."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2
from perpmesh.errors.v1 import reason_pb2
from perpmesh.type.v1 import access_pb2

ROOT = Path(__file__).resolve().parents[2]
BUF = Path(sys.executable).parent / "buf"

Method = tuple[str, str, descriptor_pb2.MethodDescriptorProto]


@cache
def files() -> tuple[descriptor_pb2.FileDescriptorProto, ...]:
    """Return our files with their comments."""
    built = subprocess.run(
        [BUF, "build", "--as-file-descriptor-set", "-o", "-"], cwd=ROOT, check=True, capture_output=True
    )
    every = descriptor_pb2.FileDescriptorSet.FromString(built.stdout)
    return tuple(one for one in every.file if one.package.startswith("perpmesh."))


def methods() -> Iterator[Method]:
    for file in files():
        for service in file.service:
            for method in service.method:
                yield f"{file.package}.{service.name}", method.name, method


def access_of(method: descriptor_pb2.MethodDescriptorProto) -> int:
    return int(method.options.Extensions[access_pb2.access])


def bindings(method: descriptor_pb2.MethodDescriptorProto) -> list[tuple[str, str]]:
    if not method.options.HasExtension(annotations_pb2.http):
        return []
    rule: http_pb2.HttpRule = method.options.Extensions[annotations_pb2.http]
    found = []
    for one in (rule, *rule.additional_bindings):
        verb = str(one.WhichOneof("pattern"))
        found.append((verb, str(getattr(one, verb))))
    return found


def test_every_call_says_who_may_make_it_and_whether_it_may_be_repeated() -> None:
    for service, name, method in methods():
        assert access_of(method) != access_pb2.ACCESS_UNSPECIFIED, f"{service}.{name} has no access rule"
        assert method.options.HasField("idempotency_level"), f"{service}.{name} has no idempotency_level"


def test_every_public_call_has_a_rest_route_and_no_internal_one_has() -> None:
    for service, name, method in methods():
        internal = access_of(method) == access_pb2.ACCESS_INTERNAL
        assert bool(bindings(method)) != internal, f"{service}.{name}: {bindings(method)}"


def test_internal_and_public_calls_do_not_share_a_service() -> None:
    for service, group in itertools.groupby(methods(), key=lambda one: one[0]):
        kinds = {access_of(method) == access_pb2.ACCESS_INTERNAL for _, _, method in group}
        assert len(kinds) == 1, service


def test_no_two_calls_have_one_route() -> None:
    seen: dict[tuple[str, str], str] = {}
    for service, name, method in methods():
        for verb, path in bindings(method):
            shape = "/".join("*" if part.startswith("{") and ":" not in part else part for part in path.split("/"))
            known = seen.setdefault((verb, shape), f"{service}.{name}")
            assert known == f"{service}.{name}", f"{verb} {path}: {known} and {service}.{name}"


def test_reading_is_get_and_get_has_no_side_effects() -> None:
    for service, name, method in methods():
        if any(verb == "get" for verb, _ in bindings(method)):
            level = method.options.idempotency_level
            assert level == descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS, f"{service}.{name}"


def test_only_watch_calls_stream_and_all_of_them_say_present_live_heartbeat_and_end() -> None:
    messages = {f".{file.package}.{message.name}": message for file in files() for message in file.message_type}
    for service, name, method in methods():
        assert not method.client_streaming
        assert method.server_streaming == name.startswith("Watch"), f"{service}.{name}"
        if method.server_streaming:
            fields = {field.name for field in messages[method.output_type].field}
            assert {"cursor", "live", "heartbeat", "end"} <= fields, (
                f"{service}.{name} lacks some of the stream's shape"
            )


def test_every_request_and_response_belongs_to_one_call() -> None:
    for service, name, method in methods():
        assert method.input_type.rsplit(".", 1)[1] == f"{name}Request", service
        assert method.output_type.rsplit(".", 1)[1] == f"{name}Response", service


def test_every_creating_call_has_a_request_id() -> None:
    messages = {f".{file.package}.{one.name}": one for file in files() for one in file.message_type}
    for service, name, method in methods():
        if name.startswith(("Create", "Place")) and access_of(method) != access_pb2.ACCESS_PUBLIC:
            fields = {field.name for field in messages[method.input_type].field}
            assert "request_id" in fields, f"{service}.{name}"


def test_everything_is_commented() -> None:
    missing = []
    for file in files():
        commented = {
            tuple(location.path) for location in file.source_code_info.location if location.leading_comments.strip()
        }
        for kind, index, one in _declared(file):
            if (kind, index) not in commented:
                missing.append(f"{file.name}: {one.name}")
            if kind == 5:
                missing += [
                    f"{file.name}: {value.name}"
                    for number, value in enumerate(one.value)
                    if (kind, index, 2, number) not in commented
                ]
    assert missing == []


def _declared(file: descriptor_pb2.FileDescriptorProto):  # type: ignore[no-untyped-def]
    """Yield (field number in the file, index, declaration) of messages, enums and services."""
    for kind, declared in ((4, file.message_type), (5, file.enum_type), (6, file.service)):
        for index, one in enumerate(declared):
            yield kind, index, one


def test_every_reason_states_category_code_and_advice() -> None:
    for value in reason_pb2.Reason.DESCRIPTOR.values:
        info = value.GetOptions().Extensions[reason_pb2.info]
        assert info.code, value.name
        assert info.advice.endswith("."), value.name
        assert value.number == 0 or info.category != reason_pb2.CATEGORY_UNSPECIFIED, value.name
        assert not (info.retry_safe and info.code in ("INVALID_ARGUMENT", "NOT_FOUND")), value.name


def test_a_service_package_imports_only_shared_words() -> None:
    for file in files():
        package = file.package.split(".")[1]
        for other in file.dependency:
            parts = other.split("/")
            if parts[0] == "perpmesh" and parts[1] != package:
                allowed = {"type"} | ({"marketdata", "execution", "portfolio"} if package == "stream" else set())
                assert parts[1] in allowed, f"{file.name} imports {other}"
                assert package != "type", f"{file.name} imports {other}"


def test_whatever_is_served_is_promised() -> None:
    """`buf breaking` holds only what the baseline holds: a room that starts is in it, with every service it has."""
    promised = descriptor_pb2.FileDescriptorSet.FromString((ROOT / "proto" / "baseline.binpb").read_bytes())
    held = {f"{file.package}.{service.name}" for file in promised.file for service in file.service}
    assert {service for service, _, _ in methods()} <= held
