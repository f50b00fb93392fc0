"""What a method's descriptor says: its messages, its access rule, whether it may be repeated.

Read once at start from the generated code, so that the contract alone decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from perpmesh.type.v1 import access_pb2

Access = access_pb2.Access
"""The contract's access rule: `ACCESS_PUBLIC`, `ACCESS_READ`, `ACCESS_TRADE` or `ACCESS_INTERNAL`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method of a contract."""

    path: str
    """As it travels: `/perpmesh.marketdata.v1.MarketDataService/GetPrice`."""
    name: str
    """The last part, such as `GetPrice`."""
    request: type[Message]
    """The class of its request."""
    response: type[Message]
    """The class of its response."""
    streams: bool
    """Whether the server streams."""
    access: int
    """Who may call, a value of `perpmesh.type.v1.Access`."""
    repeatable: bool
    """Whether the same call may be sent twice: idempotent, or without side effects."""

    @property
    def full_name(self) -> str:
        """Return the path without its leading slash."""
        return self.path[1:]


def service_methods(service: str) -> dict[str, Method]:
    """Return the methods of a service by name, or raise KeyError when its generated module is not imported."""
    found: ServiceDescriptor = descriptor_pool.Default().FindServiceByName(service)
    return {method.name: _read(service, method) for method in found.methods}


def find_method(path: str) -> Method:
    """Return the method behind a path, or raise KeyError when its generated module is not imported."""
    service, _, name = path.removeprefix("/").partition("/")
    return service_methods(service)[name]


def _read(service: str, method: MethodDescriptor) -> Method:
    options = method.GetOptions()
    if method.client_streaming:
        raise ValueError(f"{service}/{method.name} streams from the client, which contracts here do not use (4.11)")
    return Method(
        path=f"/{service}/{method.name}",
        name=method.name,
        request=message_factory.GetMessageClass(method.input_type),
        response=message_factory.GetMessageClass(method.output_type),
        streams=method.server_streaming,
        access=options.Extensions[access_pb2.access],
        repeatable=options.idempotency_level != descriptor_pb2.MethodOptions.IDEMPOTENCY_UNKNOWN,
    )
