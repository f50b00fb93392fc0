"""Mutual TLS between the parts of the mesh: who a connection comes from is a certificate's word.

Every part has a certificate of the mesh's own authority, whose common name is the part's name (`market_data`, `edge`)
and whose DNS name is `<name>.perpmesh`. A room takes connections with such a certificate alone, calls of those names
alone that its allow list holds; who calls another room asks for that room by name, so that a stranger behind an address
is found out. Without certificates a room listens on a private socket (`unix:`), or not at all, unless it is told so.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from services.chassis.config import ConfigError, setting

EDGE = "edge"
"""The name of the edge, which may make public calls and no internal ones."""
_DOMAIN = "perpmesh"


@dataclass(frozen=True, kw_only=True)
class TlsConfig:
    """A part's certificate, and whom it takes calls from."""

    cert: Path | None = setting(
        "PERPMESH_TLS_CERT", "The part's certificate and its chain, as PEM; its common name is its name.", default=None
    )
    key: Path | None = setting("PERPMESH_TLS_KEY", "The private key of the certificate, as PEM.", default=None)
    authority: Path | None = setting(
        "PERPMESH_TLS_CA", "The certificate of the authority that the mesh's parts are signed by, as PEM.", default=None
    )
    callers: tuple[str, ...] = setting(
        "PERPMESH_CALLERS",
        "Which parts may call this room, by the names in their certificates, such as edge,stream; without certificates "
        "it says nothing.",
        default=(),
    )
    allow_plaintext: bool = setting(
        "PERPMESH_ALLOW_PLAINTEXT",
        "Whether the room may listen without certificates on something else than a private socket: for tests, and for "
        "a network that is private by other means.",
        default=False,
    )

    def __post_init__(self) -> None:
        """Refuse half a certificate."""
        given = [self.cert is not None, self.key is not None, self.authority is not None]
        if any(given) and not all(given):
            raise ValueError("PERPMESH_TLS_CERT, PERPMESH_TLS_KEY and PERPMESH_TLS_CA go together: set all or none.")

    @property
    def is_on(self) -> bool:
        """Say whether there is a certificate."""
        return self.cert is not None


def server_name(part: str) -> str:
    """Return the DNS name in a part's certificate."""
    return f"{part}.{_DOMAIN}"


def check_listening(config: TlsConfig, listen: str) -> None:
    """Raise ConfigError for a room that would take plaintext from anyone who reaches its port."""
    if not config.is_on and not config.allow_plaintext and not listen.startswith("unix:"):
        raise ConfigError(
            f"A room takes no plaintext on {listen}: set PERPMESH_TLS_CERT, PERPMESH_TLS_KEY and PERPMESH_TLS_CA, "
            "listen on a private socket (unix:/path), or set PERPMESH_ALLOW_PLAINTEXT=true on a private network."
        )


def server_credentials(config: TlsConfig) -> grpc.ServerCredentials:
    """Return what a gRPC server needs to take connections with a certificate of ours alone."""
    cert, key, authority = _read(config)
    return grpc.ssl_server_credentials([(key, cert)], root_certificates=authority, require_client_auth=True)


def channel_credentials(config: TlsConfig) -> grpc.ChannelCredentials:
    """Return what a call to another room needs."""
    cert, key, authority = _read(config)
    return grpc.ssl_channel_credentials(root_certificates=authority, private_key=key, certificate_chain=cert)


def server_context(config: TlsConfig) -> ssl.SSLContext | None:
    """Return the same for a server over asyncio; None without a certificate."""
    if config.cert is None or config.key is None or config.authority is None:
        return None
    _read(config)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(config.authority)
    context.load_cert_chain(config.cert, config.key)
    return context


def _read(config: TlsConfig) -> tuple[bytes, bytes, bytes]:
    if config.cert is None or config.key is None or config.authority is None:
        raise ConfigError("There is no certificate: set PERPMESH_TLS_CERT, PERPMESH_TLS_KEY and PERPMESH_TLS_CA.")
    try:
        return config.cert.read_bytes(), config.key.read_bytes(), config.authority.read_bytes()
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be read ({error.strerror}): name a readable file.") from None
