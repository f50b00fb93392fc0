"""Server reflection that knows the served services and what they need, and nothing else.

Both names are served, `v1` (what newer tools ask first) and `v1alpha`; their messages are the same on the wire. The
answers come from a descriptor pool built from the served services' files alone, so that a room does not describe the
contracts it merely imports. A room that answers at the edge for the whole mesh is given the descriptor set instead.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")
SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


def load(services: Iterable[str]) -> None:
    """Import the generated modules of services, so that they are known here; raises ImportError for one without any."""
    for service in services:
        package, _, name = service.rpartition(".")
        importlib.import_module(f"{package}.{_CAPITAL.sub('_', name).lower()}_pb2")


def pool_of_services(services: Iterable[str]) -> descriptor_pool.DescriptorPool:
    """Return a pool with the files of `services` and all they import, from the generated code."""
    source = descriptor_pool.Default()
    pool = descriptor_pool.DescriptorPool()
    seen: set[str] = set()
    for service in services:
        _add(source.FindFileContainingSymbol(service), pool, seen)
    _add(error_details_pb2.DESCRIPTOR, pool, seen)  # so that tools can read the details of an error
    return pool


def pool_of_set(descriptors: descriptor_pb2.FileDescriptorSet) -> descriptor_pool.DescriptorPool:
    """Return a pool with the files of a descriptor set."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptors.file:
        pool.Add(file)
    return pool


def handlers(services: Iterable[str], pool: descriptor_pool.DescriptorPool) -> dict[str, Any]:
    """Return what grpc serves, by path: a list of `services`, and files from `pool`."""
    _describe_itself(pool)
    servicer = _Servicer([*services, *SERVICES], pool)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return {f"/{name}/ServerReflectionInfo": handler for name in SERVICES}


def _describe_itself(pool: descriptor_pool.DescriptorPool) -> None:
    """Add reflection's own files, since a tool that lists services then describes each of them."""
    alpha = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(alpha)
    stable = descriptor_pb2.FileDescriptorProto()
    stable.CopyFrom(alpha)
    stable.name, stable.package = alpha.name.replace("v1alpha", "v1"), alpha.package.replace("v1alpha", "v1")
    for message in stable.message_type:
        for field in message.field:
            if field.type_name:  # an empty one that is set would say that the field is a message
                field.type_name = field.type_name.replace("v1alpha", "v1")
    for service in stable.service:
        for method in service.method:
            method.input_type = method.input_type.replace("v1alpha", "v1")
            method.output_type = method.output_type.replace("v1alpha", "v1")
    for file in (alpha, stable):
        pool.Add(file)


class _Servicer(ReflectionServicer):
    """Finds methods too, which the pool does not know as symbols: `grpcurl describe package.Service.Method`."""

    def _file_containing_symbol(self, request: Any, fully_qualified_name: str) -> Any:
        inner: Any = super()
        answer = inner._file_containing_symbol(request, fully_qualified_name)
        parent = fully_qualified_name.rpartition(".")[0]
        if answer.HasField("error_response") and parent:
            return inner._file_containing_symbol(request, parent)
        return answer


def _add(file: FileDescriptor, pool: descriptor_pool.DescriptorPool, seen: set[str]) -> None:
    if file.name in seen:
        return
    seen.add(file.name)
    for needed in file.dependencies:
        _add(needed, pool, seen)
    proto = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(proto)
    pool.AddSerializedFile(proto.SerializeToString())
