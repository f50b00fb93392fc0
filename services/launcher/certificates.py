"""The mesh's own authority and a certificate for each part, made anew at every start.

The authority's key never leaves the memory of the launcher and is forgotten with it, so nobody can sign another part
into a running mesh. The files are their owner's alone (0600).
"""

from __future__ import annotations

import datetime
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from services.chassis.clock import SYSTEM
from services.chassis.tls import server_name

LIFETIME = datetime.timedelta(days=400)
"""A mesh that runs longer must be restarted before; a start makes new ones."""
AUTHORITY = "authority.pem"
RENEW_BEFORE = datetime.timedelta(days=30)


def cert_of(folder: Path, part: str) -> Path:
    """Return where a part's certificate is."""
    return folder / f"{part}.pem"


def key_of(folder: Path, part: str) -> Path:
    """Return where a part's key is."""
    return folder / f"{part}.key"


def make_apart(folder: Path, parts: Iterable[str]) -> bool:
    """Write the same with a folder for each part, so that a container is given its own alone; say whether it did.

    What is there stays while it is whole and lives for `RENEW_BEFORE`: parts that run would not know new ones. A part
    that is missing makes all of them anew, since the authority's key is gone.
    """
    names = tuple(parts)
    if all(_lives(cert_of(folder / part, part)) and key_of(folder / part, part).is_file() for part in names):
        return False
    made = folder / ".made"
    make(made, names)
    for part in names:
        (folder / part).mkdir(mode=0o700, exist_ok=True)
        for source in (made / AUTHORITY, cert_of(made, part), key_of(made, part)):
            shutil.copy2(source, folder / part / source.name)
    shutil.rmtree(made)
    return True


def _lives(path: Path) -> bool:
    from cryptography import x509

    try:
        ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return False
    return ends - SYSTEM.now() > RENEW_BEFORE


def make(folder: Path, parts: Iterable[str]) -> None:
    """Write the authority's certificate and, for each part, a certificate with its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    from services.launcher.embedded import write_private  # which needs the plan, which needs this

    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def begun(subject: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = SYSTEM.now()
        return (
            x509.CertificateBuilder()
            .subject_name(named(subject))
            .issuer_name(named("perpmesh authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + LIFETIME)
        )

    def pem(certificate: x509.Certificate) -> str:
        return certificate.public_bytes(serialization.Encoding.PEM).decode()

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chmod(folder, 0o700)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = (
        begun("perpmesh authority", authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    write_private(folder / AUTHORITY, pem(authority))
    uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    for part in parts:
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(server_name(part))])
        certificate = (
            begun(part, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(names, critical=False)
            .add_extension(uses, critical=False)
            .sign(authority_key, hashes.SHA256())
        )
        write_private(cert_of(folder, part), pem(certificate))
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_private(key_of(folder, part), private.decode())
