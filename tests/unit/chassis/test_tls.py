"""A room takes plaintext on a private socket alone, half a certificate is none, and each part has its own."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from services.chassis.config import ConfigError, load
from services.chassis.tls import TlsConfig, check_listening, server_context
from services.launcher import certificates


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:7000", "0.0.0.0:7001", "localhost:1"])
def test_plaintext_is_refused_on_anything_but_a_private_socket(listen: str) -> None:
    with pytest.raises(ConfigError, match="PERPMESH_TLS_CERT"):
        check_listening(TlsConfig(), listen)
    check_listening(TlsConfig(), "unix:/run/perpmesh/room.sock")
    check_listening(TlsConfig(allow_plaintext=True), listen)
    pem = Path("x.pem")
    check_listening(TlsConfig(cert=pem, key=pem, authority=pem), listen)


def test_half_a_certificate_is_refused() -> None:
    with pytest.raises(ConfigError, match="go together"):
        load(TlsConfig, {"PERPMESH_TLS_CERT": "cert.pem"})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    config = TlsConfig(cert=tmp_path / "a", key=tmp_path / "b", authority=tmp_path / "c")
    with pytest.raises(ConfigError, match="cannot be read"):
        server_context(config)


def test_each_part_has_a_certificate_of_its_own_name_and_the_authoritys_key_is_kept_nowhere(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    certificates.make(folder, ("edge", "market_data"))
    assert sorted(path.name for path in folder.iterdir()) == [
        "authority.pem",
        "edge.key",
        "edge.pem",
        "market_data.key",
        "market_data.pem",
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    read = x509.load_pem_x509_certificate((folder / "market_data.pem").read_bytes())
    (name,) = read.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert name.value == "market_data"
    names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["market_data.perpmesh"]
    read.verify_directly_issued_by(x509.load_pem_x509_certificate((folder / "authority.pem").read_bytes()))
    before = (folder / "edge.pem").read_bytes()
    certificates.make(folder, ("edge",))
    assert (folder / "edge.pem").read_bytes() != before
