"""Renders `envoy/edge.yaml`, for the launcher and for the image alike.

The template holds Envoy's language; the contract's descriptor set says which calls exist, which stream and which may
be retried; an `Edge` says where things are. So a call added to the contract and served by a room is routed without
anyone editing a route. `edge_errors.py` says what its own answers mean.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from services.chassis.tls import server_name
from services.launcher.edge_errors import DETAILED_ERRORS, ERRORS, EdgeReason, Json, json_body, status_details
from services.launcher.edge_requests import requests_script
from services.launcher.reference import OPENAPI, PAGE

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import FileDescriptorSet


class EdgeError(Exception):
    """The edge cannot be rendered; the message is one sentence that says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """One address of a room, as Envoy reaches it."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeTls:
    """The edge's own certificate, and the authority of the rooms'."""

    cert: Path
    key: Path
    authority: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """Everything the template is given. Bounds carry their unit; what happens at each is in `envoy/edge.yaml`."""

    host: str
    port: int
    admin_port: int
    descriptors: Path
    """The contract's descriptor set, `gen/perpmesh.binpb`."""
    access_log: Path
    services: Mapping[str, tuple[Upstream, ...]]
    """Full name of each served gRPC service, with the addresses of its room."""
    answers_for_all: tuple[Upstream, ...]
    """The room that answers health and reflection for the whole mesh."""
    web: tuple[Upstream, ...]
    """The room that serves the page and the WebSocket door, over HTTP/1.1."""
    alone: frozenset[str] = frozenset()
    """Those of the services whose room runs once: calls wait for it while it is restarted."""
    keys: tuple[Upstream, ...] = ()
    """Auth's page of public keys; without one the edge lets the rooms alone decide who calls."""
    tls: EdgeTls | None = None
    """With what the rooms are reached; None for rooms that take plaintext."""
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The clusters that are each room's, by its name, which its certificate must carry."""
    reference: Path | None = None
    """The folder with the reference that is served (`reference.py`); None serves none."""
    traces: Upstream | None = None
    """Where traces go (OTLP over gRPC); None for none."""
    traces_ratio: float = 0.1
    """The share of calls that are traced."""
    issuer: str = "perpmesh"
    audience: str = "perpmesh"
    """The `iss` and `aud` of access tokens."""
    cors_origins: tuple[str, ...] = ()
    sign_ins_per_minute: int = 300
    """Challenges, sign-ins, refreshes and exchanges a minute from one IPv4 address or IPv6 /64. Beyond it: 429."""
    user_requests_per_s: int = 200
    """Requests a second of one user, twice as many at once. Beyond it: 429."""
    shares_limits: bool = False
    """Whether that is counted by auth for all edges together; otherwise each Envoy counts by itself."""
    ip_requests_per_s: int = 1000
    """Requests a second from one IPv4 address or IPv6 /64; twice as many at once. Beyond it: 429."""
    streams_per_connection_max: int = 256
    """HTTP/2 streams of one client connection; a client waits or opens another connection beyond it."""
    connections_max: int = 10_000
    """Client connections; further ones are closed at once."""
    upstream_requests_max: int = 10_000
    """Calls and streams open toward one room; further ones get 503."""
    orders_max: int = 64
    """New orders on their way to execution; further ones get 429."""
    heap_bytes_max: int = 1 << 30
    """Memory of Envoy; at 98 % of it new requests get 503."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of the contract that is public, that is, has a REST route."""

    service: str
    method: str
    streams: bool
    reads: bool
    repeats: bool
    """Whether the contract lets it be made again: it has no side effects, or the same request has them once."""
    """Without side effects, so that sending it twice is harmless."""
    open: bool
    """Whether it needs no token."""

    @property
    def path(self) -> str:
        """The path of the call over gRPC."""
        return f"/{self.service}/{self.method}"


_WEB = "web"
_KEYS = "auth.page"
_AUTH = "perpmesh.auth.v1.AuthService"
_ORDERS = frozenset(("perpmesh.execution.v1.ExecutionService", name) for name in ("PlaceOrder", "BatchPlaceOrders"))
"""Calls that bring new orders."""
_MESH_SERVICES = (
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What the edge needs to know of the contract."""

    calls: tuple[Call, ...]
    """Every public call, in the order of the descriptor set."""
    files: FileDescriptorSet


def read_contract(descriptors: Path) -> Contract:
    """Return what the descriptor set says.

    Raises `EdgeError` when the file is missing or is no descriptor set.
    """
    from google.api import annotations_pb2  # type: ignore[import-untyped, unused-ignore]
    from google.protobuf import descriptor_pb2
    from google.protobuf.message import DecodeError
    from perpmesh.type.v1 import access_pb2

    try:
        files = descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes())
    except (OSError, DecodeError) as error:
        raise EdgeError(f"The descriptor set {descriptors} cannot be read ({error}): run `make gen`.") from error
    calls = tuple(
        Call(
            service=f"{file.package}.{service.name}",
            method=method.name,
            streams=method.server_streaming,
            reads=method.options.idempotency_level == descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS,
            repeats=method.options.idempotency_level != descriptor_pb2.MethodOptions.IDEMPOTENCY_UNKNOWN,
            open=method.options.Extensions[access_pb2.access] == access_pb2.ACCESS_PUBLIC,
        )
        for file in files.file
        for service in file.service
        for method in service.method
        if method.options.HasExtension(annotations_pb2.http)
    )
    return Contract(calls=calls, files=files)


def render(template: str, edge: Edge) -> str:
    """Return Envoy's configuration as JSON text.

    Raises `EdgeError` when the template names what nobody gives, or the edge serves a service the contract lacks.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    tree = cast("dict[str, Json]", yaml.load(template, Loader=loader))  # a safe loader, in C where built
    fragments = cast("dict[str, Json]", tree.pop("fragments"))
    contract = read_contract(edge.descriptors)
    calls = contract.calls
    unknown = set(edge.services) - {call.service for call in calls}
    if unknown:
        raise EdgeError(f"{', '.join(sorted(unknown))} is served by a room and not in the contract: run `make gen`.")
    values: dict[str, Json] = {
        "edge_host": edge.host,
        "edge_port": edge.port,
        "admin_port": edge.admin_port,
        "descriptors": str(edge.descriptors),
        "access_log": str(edge.access_log),
        "heap_bytes_max": edge.heap_bytes_max,
        "connections_max": edge.connections_max,
        "streams_per_connection_max": edge.streams_per_connection_max,
        "ip_requests_per_s": edge.ip_requests_per_s,
        "ip_burst": 2 * edge.ip_requests_per_s,
        "cors_origins": [{"exact": origin} for origin in edge.cors_origins],
        "rest_services": list(cast("list[Json]", list(dict.fromkeys(call.service for call in calls)))),
        "requests_script": requests_script(contract.files, json.dumps(json_body(ERRORS[404]))),
        "web_cluster": _WEB,
        "door_affinity": fragments["door_affinity"] if _may_be_several(edge.web) else [],
        "sign_in_paths": "|".join(re.escape(call.path) for call in calls if _begins_session(call)),
        "sign_ins_per_minute": edge.sign_ins_per_minute,
        "sign_ins_per_second": max(1, edge.sign_ins_per_minute // 60),
        "sign_ins_interval": f"{60 * max(1, edge.sign_ins_per_minute // 60) // edge.sign_ins_per_minute or 1}s",
        "tracing": _fill(fragments["tracing"], {"percent": 100 * edge.traces_ratio}) if edge.traces else None,
        "reference": list(_reference(fragments, edge)),
        "token_filters": list(_token_filters(fragments, calls, edge)),
        "errors": list(_error_mappers(fragments)),
        "calls": list(_routes(fragments, calls, edge)),
        "clusters": list(_clusters(fragments, edge)),
    }
    return json.dumps(_fill(tree, values), indent=1)


def _reference(fragments: Mapping[str, Json], edge: Edge) -> Iterator[Json]:
    """Give the routes of the reference, which the edge answers by itself."""
    if edge.reference is not None:
        for path, file, kind in (("/openapi.json", OPENAPI, "application/json"), ("/reference", PAGE, "text/html")):
            values: dict[str, Json] = {
                "path": path,
                "file": str(edge.reference / file),
                "kind": f"{kind}; charset=utf-8",
            }
            yield _fill(fragments["reference_route"], values)


def _begins_session(call: Call) -> bool:
    """Say whether a call is one of those that guess at secrets: public, of auth, and not a mere look."""
    return call.service == _AUTH and call.open and not call.reads


def _token_filters(fragments: Mapping[str, Json], calls: Iterable[Call], edge: Edge) -> Iterator[Json]:
    """Give the filters that need auth's keys, where those can be had."""
    if not edge.keys:
        return
    rules = [_fill(fragments["open_rule" if call.open else "token_rule"], {"path": call.path}) for call in calls]
    rules += cast("list[Json]", fragments["other_rules"])
    values: dict[str, Json] = {
        "issuer": edge.issuer,
        "audience": edge.audience,
        "keys_cluster": _KEYS,
        "token_rules": rules,
        "user_requests_per_s": edge.user_requests_per_s,
        "user_burst": 2 * edge.user_requests_per_s,
        "ip_requests_per_s": edge.ip_requests_per_s,
        "ip_burst": 2 * edge.ip_requests_per_s,
    }
    yield from cast("list[Json]", _fill(fragments["token_filters"], values))
    yield _fill(fragments["user_limit"], values)
    if edge.shares_limits:
        yield _fill(fragments["shared_limit"], {"limits_cluster": _AUTH})


def _routes(fragments: Mapping[str, Json], calls: Iterable[Call], edge: Edge) -> Iterator[Json]:
    """Give one route for every served call, one for each service that is not served, and those of the mesh itself."""
    unserved: dict[str, None] = {}
    for call in calls:
        if call.service not in edge.services:
            unserved[call.service] = None
            continue
        kind = "stream_route" if call.streams else "read_route" if call.reads else "write_route"
        if (call.service, call.method) in _ORDERS:
            kind = "order_route"
        route = cast("dict[str, dict[str, Json]]", _fill(fragments[kind], {"path": call.path, "cluster": call.service}))
        if call.service in edge.alone:
            repeats = call.repeats and not call.streams
            route["route"]["retry_policy"] = fragments["patient_repeats" if repeats else "patient_others"]
        yield cast("Json", route)
    for service in unserved:
        yield _fill(fragments["unserved_route"], {"path": f"/{service}/"})
    for service in _MESH_SERVICES:
        yield _fill(fragments["service_route"], {"path": f"/{service}/", "cluster": "mesh"})


def _clusters(fragments: Mapping[str, Json], edge: Edge) -> Iterator[Json]:
    """Give one cluster for each served service, one for the mesh's own calls and one for the page."""
    for name, upstreams in (*edge.services.items(), ("mesh", edge.answers_for_all)):
        yield _cluster(fragments, "grpc_cluster", name, upstreams, edge)
    yield _cluster(fragments, "http_cluster", _WEB, edge.web, edge)
    if edge.keys:
        yield _cluster(fragments, "http_cluster", _KEYS, edge.keys, edge)
    if edge.traces:
        yield _cluster(fragments, "grpc_cluster", "traces", (edge.traces,), edge)


def _cluster(fragments: Mapping[str, Json], kind: str, name: str, upstreams: tuple[Upstream, ...], edge: Edge) -> Json:
    cluster = _fill(
        fragments[kind],
        {
            "cluster": name,
            "discovery": "STATIC" if all(_is_address(upstream.host) for upstream in upstreams) else "STRICT_DNS",
            "upstream_requests_max": edge.upstream_requests_max,
            "orders_max": edge.orders_max,
            "endpoints": [
                _fill(fragments["endpoint"], {"host": upstream.host, "port": upstream.port}) for upstream in upstreams
            ],
        },
    )
    assert isinstance(cluster, dict)
    part = next((part for part, clusters in edge.parts.items() if name in clusters), "")
    if edge.tls is not None and part:
        values: dict[str, Json] = {
            "server_name": server_name(part),
            "alpn": "h2" if kind == "grpc_cluster" else "http/1.1",
            "cert": str(edge.tls.cert),
            "key": str(edge.tls.key),
            "authority": str(edge.tls.authority),
        }
        cluster["transport_socket"] = _fill(fragments["upstream_tls"], values)
    if _may_be_several(upstreams):
        cluster |= cast("dict[str, Json]", fragments[f"{name if name in (_WEB, _KEYS) else 'grpc'}_replicas"])
    return cluster


def _may_be_several(upstreams: tuple[Upstream, ...]) -> bool:
    """Say whether there may be replicas: several addresses, or a name, which may stand for several."""
    return len(upstreams) > 1 or any(not _is_address(upstream.host) for upstream in upstreams)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _error_mappers(fragments: Mapping[str, Json]) -> Iterator[Json]:
    """Give, for each status, the answer to a gRPC caller and then the answer to everyone else."""
    yield from (fragments["unreadable_error"], fragments["refused_error"])
    for expression, status, reason in DETAILED_ERRORS:
        for kind in ("grpc_web_error", "grpc_error", "http_error"):
            yield _detailed_mapper(fragments, kind, expression, status, reason)
    for status, reason in ERRORS.items():
        for kind in ("grpc_web_error", "grpc_error", "http_error"):
            yield _fill(fragments[kind], _mapper_values(status, reason))
    yield _fill(fragments["other_error"], {"body": json_body(ERRORS[500])})


def _mapper_values(status: int, reason: EdgeReason) -> dict[str, Json]:
    return {
        "status": status,
        "message": reason.message,
        "code": str(reason.grpc_code),
        "details": status_details(reason),
        "body": json_body(reason),
    }


def _detailed_mapper(
    fragments: Mapping[str, Json], kind: str, expression: str, status: int, reason: EdgeReason
) -> dict[str, Json]:
    """Return the answer of one kind to what the details of a refusal say, instead of its status."""
    mapper = cast("dict[str, Json]", _fill(fragments[kind], _mapper_values(status, reason)))
    chosen = cast("dict[str, Json]", mapper["filter"])
    door: list[Json] = []
    if "and_filter" in chosen:
        door = cast("list[Json]", cast("dict[str, Json]", chosen["and_filter"])["filters"])[1:]
    told = cast("dict[str, Json]", _fill(fragments["token_error"], {"expression": expression, "door": door}))
    if not door:  # an `and` of one is refused by Envoy
        filters = cast(
            "list[Json]", cast("dict[str, Json]", cast("dict[str, Json]", told["filter"])["and_filter"])["filters"]
        )
        told = {"filter": filters[0]}
    return {"status_code": status, **mapper, **told}


_NAME = re.compile(r"\$\{([a-z_]+)\}")


def _fill(node: Json, values: Mapping[str, Json]) -> Json:
    """Return a copy of `node` with every `${name}` replaced by its value; a list in a list is spliced in.

    Raises `EdgeError` for a name that has no value.
    """
    if isinstance(node, dict):
        return {key: _fill(value, values) for key, value in node.items()}
    if isinstance(node, list):
        filled: list[Json] = []
        for item in node:
            value = _fill(item, values)
            spliced = isinstance(item, str) and isinstance(value, list)
            filled.extend(cast("list[Json]", value) if spliced else [value])
        return filled
    if not isinstance(node, str):
        return node
    names = _NAME.findall(node)
    missing = [name for name in names if name not in values]
    if missing:
        raise EdgeError(f"envoy/edge.yaml names ${{{missing[0]}}}, which the renderer does not give.")
    if names and node == f"${{{names[0]}}}":
        return values[names[0]]
    return _NAME.sub(lambda match: str(values[match[1]]), node)
