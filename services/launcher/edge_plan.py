"""What the edge of a mesh is rendered from, and what Prometheus reads of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from services.chassis.tls import EDGE
from services.launcher import certificates
from services.launcher.config import Config
from services.launcher.edge import Edge, EdgeTls, Upstream
from services.launcher.plan import AUTH_PAGE, LOOPBACK, ROOMS, Ground, Room, instances, upstreams
from services.launcher.reference import is_there


def edge_of(ground: Ground) -> Edge:
    """Return what the edge of this mesh is rendered from."""
    here = {room.name: upstreams(ground, room) for room in ground.rooms}
    here |= {f"{room.name}.page": upstreams(ground, room, ".page") for room in ground.rooms if room.has_page}
    descriptors = ground.checkout / "gen" / "perpmesh.binpb"
    return edge_for(
        ground.config,
        here,
        descriptors=descriptors,
        access_log=ground.layout.logs / "access.log",
        reference=ground.layout.state if is_there(ground.checkout / "gen") else None,
        tls=edge_tls(ground.layout.certificates) if ground.config.mesh_tls else None,
    )


def edge_tls(folder: Path) -> EdgeTls:
    """Return the edge's certificate in a folder."""
    return EdgeTls(
        cert=certificates.cert_of(folder, EDGE),
        key=certificates.key_of(folder, EDGE),
        authority=folder / certificates.AUTHORITY,
    )


def targets(ground: Ground) -> list[dict[str, object]]:
    """Return what Prometheus reads of this mesh, as its file-based discovery has it (`deploy/prometheus`)."""
    rooms: list[dict[str, object]] = [
        {
            "targets": [f"{LOOPBACK}:{ground.ports[f'{name}.metrics']}"],
            "labels": {"room": room.name, "replica": name},
        }
        for room in ground.rooms
        for name in instances(room, ground.config.scale)
    ]
    edge = {"__metrics_path__": "/stats/prometheus", "room": "edge", "replica": "edge"}
    return [*rooms, {"targets": [f"{LOOPBACK}:{ground.config.admin_port}"], "labels": edge}]


def upstreams_of(config: Config) -> dict[str, tuple[Upstream, ...]]:
    """Return the addresses of rooms that run elsewhere, as the settings name them."""
    found: dict[str, tuple[Upstream, ...]] = {}
    for upstream in config.edge_upstreams:
        room, _, address = upstream.partition("=")
        found[room] = (*found.get(room, ()), _address(address))
    return found


def _address(text: str) -> Upstream:
    host, _, port = text.rpartition(":")
    return Upstream(host=host, port=int(port))


def _runs_once(room: Room, there: tuple[Upstream, ...]) -> bool:
    """Say whether nobody stands in for a room: it cannot have replicas, or has one here. A name may be of several."""
    return not room.scales or (len(there) == 1 and there[0].host == LOOPBACK)


def edge_for(
    config: Config,
    upstreams: Mapping[str, tuple[Upstream, ...]],
    *,
    descriptors: Path,
    access_log: Path,
    reference: Path | None = None,
    tls: EdgeTls | None = None,
) -> Edge:
    """Return what an edge is rendered from whose rooms are at `upstreams`."""
    rooms = [room for room in ROOMS if room.name in upstreams]
    return Edge(
        host=config.edge_host,
        port=config.edge_port,
        admin_port=config.admin_port,
        descriptors=descriptors,
        access_log=access_log,
        reference=reference,
        traces=_address(config.traces_endpoint) if config.traces_endpoint else None,
        traces_ratio=config.traces_ratio,
        services={service: upstreams[room.name] for room in rooms for service in room.services},
        answers_for_all=next((upstreams[room.name] for room in rooms if room.answers_for_all), ()),
        web=next((upstreams[room.name] for room in rooms if room.web), ()),
        alone=frozenset(
            service for room in rooms if _runs_once(room, upstreams[room.name]) for service in room.services
        ),
        keys=upstreams.get(AUTH_PAGE, ()),
        tls=tls,
        parts={
            room.name: (*room.services, *(["mesh"] if room.answers_for_all else []), *(["web"] if room.web else []))
            for room in rooms
        },
        issuer=config.auth_issuer,
        audience=config.auth_audience,
        sign_ins_per_minute=config.sign_ins_per_minute,
        user_requests_per_s=config.user_requests_per_s,
        shares_limits=config.edge_shares_limits,
        cors_origins=config.cors_origins,
        ip_requests_per_s=config.ip_requests_per_s,
        orders_max=config.edge_orders_max,
        streams_per_connection_max=config.streams_per_connection_max,
    )
